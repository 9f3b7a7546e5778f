"""A search looks at val alone, begins with the method's own values, and ends when its budget is spent."""

import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from bench.errors import ConfigError
from bench.execute import RunEnvironment, RunRequest
from bench.mlflow import MlflowStore
from bench.record import find_finished_runs
from bench.types import Dataset, DatasetSplits, SplitRequest
from methods import METHODS, VARIANTS
from methods.mart.config import MartConfig
from studies.plan import RunKeyResolver
from studies.search import (
    FIRST_TRIAL_SEED,
    SAMPLERS,
    Budget,
    HyperparameterSearch,
    SearchOptions,
    find_search_ranges,
    get_config_values,
    make_distributions,
    make_sampler,
)
from studies.storage import Storage, make_storage_url
from studies.worker import run_trial
from tests.bench.test_protocol import Forbidden
from tests.toys import CARD, TOY, TOY_DATA, ToyConfig


def guarded(request: SplitRequest) -> DatasetSplits:
    return replace(TOY_DATA.load(request), test=Forbidden())


GUARDED = Dataset(CARD, guarded)


@pytest.fixture
def desk(results: Path, ready_optuna: Path, quiet) -> RunEnvironment:
    shutil.copy(ready_optuna, results / "optuna.db")
    return RunEnvironment(results, MlflowStore(results), quiet, lambda *given: [], threads=1)


def make_search(
    desk: RunEnvironment, budget: Budget, how: SearchOptions | None = None, config: ToyConfig | None = None
) -> HyperparameterSearch:
    base = RunRequest("toy", TOY, config or ToyConfig(epochs=2), "quick", GUARDED, FIRST_TRIAL_SEED, stage="trial")
    storage = Storage(make_storage_url(desk.results, None))
    return HyperparameterSearch(
        base, RunKeyResolver(desk).make_spec(base), set(), how or SearchOptions(), budget, storage
    )


def run_out(search: HyperparameterSearch, desk: RunEnvironment, most: int = 50) -> list[str]:
    lines = []
    while len(lines) < most and (claim := search.lease_next()) is not None:
        lines.append(run_trial(search, claim, desk))
    return lines


def answer_all(search: HyperparameterSearch, most: int = 50) -> None:
    """Claim one trial after the other, and say at once what came of it, without a run."""
    while most and (claim := search.lease_next()) is not None:
        claim.complete(0.5)
        most -= 1


def test_a_search_never_opens_the_test_split_and_makes_exactly_the_asked_number_of_trials(desk):
    search = make_search(desk, Budget(trials=5))
    run_out(search, desk)
    assert search.is_over() and search.count_trials().total == 5 and search.lease_next() is None
    records = [folder.read_record() for folder in find_finished_runs(desk.results)]
    assert records and all(record.spec.stage == "trial" for record in records)
    assert {record.scores["test/acc_e"] for record in records} == {None}


def test_the_first_trial_has_the_methods_own_values(desk):
    search = make_search(desk, Budget(trials=2))
    answer_all(search)
    first, second = search.get_trials()
    assert first.params == {"lr": 0.05} and first.user_attrs["origin"] == "own values"
    assert second.params != first.params


def test_own_values_win_a_tie(desk):
    search = make_search(desk, Budget(trials=3), config=ToyConfig(epochs=2, batch=8))
    answer_all(search)
    winner = search.find_best_trial()
    assert winner is not None and winner.number == 0 and winner.params == {"lr": 0.05}


def test_a_search_that_is_made_anew_goes_on_and_repeats_no_values(desk):
    answer_all(make_search(desk, Budget(trials=3)))
    search = make_search(desk, Budget(trials=7))
    answer_all(search)
    values = [trial.params["lr"] for trial in search.get_trials()]
    assert len(values) == 7 == len(set(values))


def test_the_same_history_is_gone_on_with_in_the_same_way(desk, tmp_path):
    drawn = []
    for name in ("a", "b"):
        search = make_search(replace(desk, results=tmp_path / name), Budget(trials=6))
        for value in (0.2, 0.4, 0.3, 0.5, 0.1, 0.6):
            claim = search.lease_next()
            assert claim is not None
            claim.complete(value)
        drawn.append([trial.params for trial in search.get_trials()])
    assert drawn[0] == drawn[1]


@pytest.mark.parametrize("name", SAMPLERS)
def test_every_sampler_draws_within_the_ranges(desk, name):
    search = make_search(desk, Budget(trials=4), SearchOptions(sampler=name))
    while (claim := search.lease_next()) is not None:
        assert 0.001 <= claim.params["lr"] <= 1.0
        claim.complete(claim.params["lr"])
    assert search.count_trials().finished == 4


def test_a_sampler_of_another_name_is_proposed():
    with pytest.raises(ConfigError, match="did you mean 'tpe'"):
        make_sampler("tpee", "x", 0)


def test_a_failed_trial_counts_for_the_budget_and_has_no_score(desk):
    search = make_search(desk, Budget(trials=3), config=ToyConfig(epochs=1, fail="nan"))
    lines = run_out(search, desk)
    assert search.count_trials().failed == 3 and search.find_best_trial() is None and search.is_over()
    assert all("failed: nan" in line for line in lines)
    assert {trial.value for trial in search.get_trials()} == {None}


def test_an_interrupted_trial_is_run_again_with_its_values_and_counts_once(desk):
    search = make_search(desk, Budget(trials=2))
    run_out(search, desk, 1)
    claim = search.lease_next()
    assert claim is not None
    values = claim.params
    claim.release()
    run_out(search, desk)
    finished = [trial for trial in search.get_trials() if trial.state.name == "COMPLETE"]
    assert [trial.params for trial in finished][-1] == values and search.count_trials().total == 2
    assert [trial.user_attrs["kind"] for trial in search.get_trials() if trial.state.name == "FAIL"] == ["interrupted"]


def test_what_crashed_is_tried_again_by_the_next_command_and_not_for_ever(desk):
    broken = make_search(desk, Budget(trials=2), config=ToyConfig(epochs=1, fail="error"))
    tries = []
    for command in ("a", "a", "b", "c", "d"):
        broken.command_id = command
        broken.retry_crashed()
        run_out(broken, desk)
        tries.append(len(broken.get_trials()))
    assert tries == [2, 2, 4, 6, 6] and broken.count_trials().failed == 2


def test_ten_failures_in_a_row_end_a_search(desk):
    search = make_search(desk, Budget(target=0.9))
    for _ in range(10):
        claim = search.lease_next()
        assert claim is not None
        claim.fail("nan", "x")
    assert search.is_over() and search.lease_next() is None


def test_a_target_ends_a_search(desk):
    search = make_search(desk, Budget(trials=10, target=0.3))
    claim = search.lease_next()
    assert claim is not None
    claim.complete(0.31)
    assert search.is_over() and search.lease_next() is None


def test_hours_end_a_search(desk):
    search = make_search(desk, Budget(hours=1e-9))
    answer_all(search)
    assert search.count_trials().total == 1


def test_a_trial_of_several_seeds_has_its_mean_and_validation_folds_of_their_own(desk):
    search = make_search(desk, Budget(trials=1), SearchOptions(seeds=3))
    run_out(search, desk)
    (trial,) = search.get_trials()
    records = [folder.read_record() for folder in find_finished_runs(desk.results)]
    assert {record.spec.seed for record in records} == {
        FIRST_TRIAL_SEED,
        FIRST_TRIAL_SEED + 1,
        FIRST_TRIAL_SEED + 2,
    }
    assert trial.value == pytest.approx(sum(record.scores["val/acc_e"] for record in records) / 3)
    assert set(trial.intermediate_values) == {0, 1, 2}


def test_curves_of_val_are_told_to_the_pruner_epoch_by_epoch(desk):
    search = make_search(desk, Budget(trials=1), config=ToyConfig(epochs=4))
    run_out(search, desk)
    assert set(search.get_trials()[0].intermediate_values) == {0, 1, 2, 3}


def test_a_budget_or_a_pruner_may_change_but_other_data_or_values_are_another_search(desk):
    search = make_search(desk, Budget(trials=3))
    assert make_search(desk, Budget(trials=9), SearchOptions(sampler="random", pruner="none")).name == search.name
    assert make_search(desk, Budget(trials=3), SearchOptions(seeds=2)).name != search.name
    assert make_search(desk, Budget(trials=3), config=ToyConfig(epochs=3)).name != search.name


def test_a_range_is_widened_to_hold_the_own_value():
    config = ToyConfig(lr=4.0)
    ranges = find_search_ranges(config, set())
    assert make_distributions(config, ranges)["lr"].high == 4.0 and get_config_values(config, ranges) == {"lr": 4.0}


@pytest.mark.parametrize("preset", ["quick", "paper"])
@pytest.mark.parametrize("name", VARIANTS)
def test_an_arm_searches_nothing_that_it_pins_or_that_changes_nothing(name, preset):
    arm = VARIANTS[name]
    config = METHODS[arm.method].config.from_preset(preset).override(arm.overrides)
    ranges = find_search_ranges(config, set(arm.overrides))
    assert ranges and not set(ranges) & set(arm.overrides)
    drawn = make_distributions(config, ranges)
    assert all(
        drawn[name]._contains(drawn[name].to_internal_repr(own))
        for name, own in get_config_values(config, ranges).items()
    )


def test_values_that_an_ablation_switches_off_are_not_searched():
    def names(**values):
        return set(find_search_ranges(MartConfig().override(values), set()))

    assert {"tau_degree", "mask_to", "w_patch", "w_kl", "tau"} <= names()
    assert "tau_degree" not in names(verify="emotion")
    assert not {"mask_to", "w_patch", "w_kl"} & names(mask="none")
    assert "mask_to" not in names(mask="random") and "w_patch" not in names(target="kl")
    assert not {"w_patch", "w_kl"} & names(target="pixel") and "tau" not in names(w_tacl=0.0)
