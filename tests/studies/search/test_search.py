"""Tests of searches: they use only val, start with the preset's values, and end when the budget is spent."""

import shutil
import time
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path

import pytest
from optuna.trial import create_trial

from bench.errors import ConfigError
from bench.execute import RunEnvironment, RunRequest
from bench.mlflow import MlflowStore
from bench.record import find_finished_runs
from bench.timing import sum_compute_seconds
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
def environment(results: Path, ready_optuna: Path, quiet) -> RunEnvironment:
    shutil.copy(ready_optuna, results / "optuna.db")
    return RunEnvironment(results, MlflowStore(results), quiet, lambda *given: [], threads=1)


def make_search(
    environment: RunEnvironment, budget: Budget, options: SearchOptions | None = None, config: ToyConfig | None = None
) -> HyperparameterSearch:
    base = RunRequest("toy", TOY, config or ToyConfig(epochs=2), "quick", GUARDED, FIRST_TRIAL_SEED, stage="trial")
    storage = Storage(make_storage_url(environment.results, None))
    return HyperparameterSearch(
        base, RunKeyResolver(environment).make_spec(base), set(), options or SearchOptions(), budget, storage
    )


def run_out(search: HyperparameterSearch, environment: RunEnvironment, limit: int = 50) -> list[str]:
    lines = []
    while len(lines) < limit and (lease := search.lease_next()) is not None:
        lines.append(run_trial(search, lease, environment))
    return lines


def complete_all(search: HyperparameterSearch, limit: int = 50) -> None:
    """Lease trials one by one and complete each at once, without a run."""
    while limit and (lease := search.lease_next()) is not None:
        lease.complete(0.5)
        limit -= 1


def test_a_search_never_opens_the_test_split_and_runs_exactly_the_requested_number_of_trials(environment):
    search = make_search(environment, Budget(trials=5))
    run_out(search, environment)
    assert search.is_over() and search.count_trials().total == 5 and search.lease_next() is None
    records = [folder.read_record() for folder in find_finished_runs(environment.results)]
    assert records and all(record.spec.stage == "trial" for record in records)
    assert {record.scores["test/acc_e"] for record in records} == {None}


def test_the_first_trial_has_the_presets_values(environment):
    search = make_search(environment, Budget(trials=2))
    complete_all(search)
    first, second = search.get_trials()
    assert first.params == {"lr": 0.05} and first.user_attrs["origin"] == "own values"
    assert second.params != first.params


def test_the_presets_values_win_a_tie(environment):
    search = make_search(environment, Budget(trials=3), config=ToyConfig(epochs=2, batch=8))
    complete_all(search)
    winner = search.find_best_trial()
    assert winner is not None and winner.number == 0 and winner.params == {"lr": 0.05}


def test_a_search_object_created_again_continues_and_repeats_no_values(environment):
    complete_all(make_search(environment, Budget(trials=3)))
    search = make_search(environment, Budget(trials=7))
    complete_all(search)
    values = [trial.params["lr"] for trial in search.get_trials()]
    assert len(values) == 7 == len(set(values))


def test_equal_histories_continue_in_the_same_way(environment, tmp_path):
    drawn = []
    for name in ("a", "b"):
        search = make_search(replace(environment, results=tmp_path / name), Budget(trials=6))
        for value in (0.2, 0.4, 0.3, 0.5, 0.1, 0.6):
            lease = search.lease_next()
            assert lease is not None
            lease.complete(value)
        drawn.append([trial.params for trial in search.get_trials()])
    assert drawn[0] == drawn[1]


@pytest.mark.parametrize("name", SAMPLERS)
def test_every_sampler_draws_within_the_ranges(environment, name):
    search = make_search(environment, Budget(trials=4), SearchOptions(sampler=name))
    while (lease := search.lease_next()) is not None:
        assert 0.001 <= lease.params["lr"] <= 1.0
        lease.complete(lease.params["lr"])
    assert search.count_trials().finished == 4


def test_a_sampler_of_another_name_is_proposed():
    with pytest.raises(ConfigError, match="did you mean 'tpe'"):
        make_sampler("tpee", "x", 0)


def test_a_failed_trial_counts_for_the_budget_and_has_no_score(environment):
    search = make_search(environment, Budget(trials=3), config=ToyConfig(epochs=1, fail="nan"))
    lines = run_out(search, environment)
    assert search.count_trials().failed == 3 and search.find_best_trial() is None and search.is_over()
    assert all("failed: nan" in line for line in lines)
    assert {trial.value for trial in search.get_trials()} == {None}


def test_an_interrupted_trial_is_run_again_with_its_values_and_counts_once(environment):
    search = make_search(environment, Budget(trials=2))
    run_out(search, environment, 1)
    lease = search.lease_next()
    assert lease is not None
    values = lease.params
    lease.release()
    run_out(search, environment)
    finished = [trial for trial in search.get_trials() if trial.state.name == "COMPLETE"]
    assert [trial.params for trial in finished][-1] == values and search.count_trials().total == 2
    assert [trial.user_attrs["kind"] for trial in search.get_trials() if trial.state.name == "FAIL"] == ["interrupted"]


def test_crashed_trials_are_repeated_by_the_next_commands_up_to_a_limit(environment):
    broken = make_search(environment, Budget(trials=2), config=ToyConfig(epochs=1, fail="error"))
    attempts = []
    for command in ("a", "a", "b", "c", "d"):
        broken.command_id = command
        broken.retry_crashed()
        run_out(broken, environment)
        attempts.append(len(broken.get_trials()))
    assert attempts == [2, 2, 4, 6, 6] and broken.count_trials().failed == 2


def test_ten_failures_in_a_row_end_a_search(environment):
    search = make_search(environment, Budget(target=0.9))
    for _ in range(10):
        lease = search.lease_next()
        assert lease is not None
        lease.fail("nan", "x")
    assert search.is_over() and search.lease_next() is None


def test_a_target_ends_a_search(environment):
    search = make_search(environment, Budget(trials=10, target=0.3))
    lease = search.lease_next()
    assert lease is not None
    lease.complete(0.31)
    assert search.is_over() and search.lease_next() is None


def test_hours_end_a_search(environment):
    search = make_search(environment, Budget(hours=1.0))
    for trial in range(3):
        lease = search.lease_next()
        assert lease is not None and not search.is_over()
        lease.set_attributes(seconds=1200.0 + trial)
        lease.complete(0.5)
    assert search.is_over() and search.lease_next() is None and search.compute_seconds() == 3603.0


def test_hours_are_those_of_training_and_scoring_and_not_of_preparing_or_waiting(environment):
    def load(request: SplitRequest) -> DatasetSplits:
        time.sleep(0.5)
        return guarded(request)

    search = make_search(environment, Budget(trials=2), SearchOptions(seeds=2))
    search.base_request = replace(search.base_request, dataset=Dataset(CARD, load))
    since = time.perf_counter()
    run_out(search, environment)
    wall = time.perf_counter() - since
    records = [folder.read_record() for folder in find_finished_runs(environment.results)]
    spent = sum(sum_compute_seconds(record.seconds) for record in records)
    assert len(records) == 4 and all(record.seconds["prepare"] >= 0.5 for record in records)
    assert search.compute_seconds() == pytest.approx(spent, abs=0.01) and 0 < spent < wall - 2
    assert search.trial_history()[-1]["spent"] == pytest.approx(spent, abs=0.01)


def test_an_interrupted_trial_costs_nothing_since_its_repetition_resumes_its_runs(environment):
    search = make_search(environment, Budget(trials=1))
    lease = search.lease_next()
    assert lease is not None
    lease.set_attributes(seconds=50.0)
    lease.release()
    assert search.compute_seconds() == 0.0
    lease = search.lease_next()
    assert lease is not None and lease.trial.user_attrs["seconds"] == 0.0
    lease.set_attributes(seconds=80.0)
    lease.complete(0.5)
    assert search.compute_seconds() == 80.0


def test_a_running_trial_and_one_that_stored_no_seconds_count_by_the_clock(environment):
    search = make_search(environment, Budget(hours=0.1 / 3600))
    lease = search.lease_next()
    assert lease is not None
    time.sleep(0.1)
    assert search.compute_seconds() >= 0.1 and search.lease_next() is None and not search.is_over()
    lease.complete(0.5)
    assert search.compute_seconds() == 0.0 and not search.is_over()
    start = datetime(2026, 1, 1)
    old = create_trial(value=0.5, params={"lr": 0.1}, distributions=make_distributions(ToyConfig(), search.ranges))
    old.datetime_start, old.datetime_complete = start, start + timedelta(seconds=60)
    search.study.add_trial(old)
    assert search.compute_seconds() == 60.0


def test_a_trial_of_several_seeds_has_their_mean_and_separate_validation_folds(environment):
    search = make_search(environment, Budget(trials=1), SearchOptions(seeds=3))
    run_out(search, environment)
    (trial,) = search.get_trials()
    records = [folder.read_record() for folder in find_finished_runs(environment.results)]
    assert {record.spec.seed for record in records} == {
        FIRST_TRIAL_SEED,
        FIRST_TRIAL_SEED + 1,
        FIRST_TRIAL_SEED + 2,
    }
    assert trial.value == pytest.approx(sum(record.scores["val/acc_e"] for record in records) / 3)
    assert set(trial.intermediate_values) == {0, 1, 2}


def test_val_curves_are_reported_to_the_pruner_epoch_by_epoch(environment):
    search = make_search(environment, Budget(trials=1), config=ToyConfig(epochs=4))
    run_out(search, environment)
    assert set(search.get_trials()[0].intermediate_values) == {0, 1, 2, 3}


def test_a_budget_or_a_pruner_may_change_but_other_data_or_values_are_another_search(environment):
    search = make_search(environment, Budget(trials=3))
    assert (
        make_search(environment, Budget(trials=9), SearchOptions(sampler="random", pruner="none")).name == search.name
    )
    assert make_search(environment, Budget(trials=3), SearchOptions(seeds=2)).name != search.name
    assert make_search(environment, Budget(trials=3), config=ToyConfig(epochs=3)).name != search.name


def test_a_range_is_widened_to_include_the_configs_value():
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
