"""Tests of plans: every run once, disjoint and complete shards, and shared searches."""

from itertools import chain

import pytest

from bench.errors import ConfigError
from datasets.registry import DATASETS
from methods import METHODS
from reports.build import WITHOUT_PARTS
from studies.plan import ArmGroup, StudyRequest, make_plan
from studies.requests import find_arm, get_arms, resolve_config
from studies.search import FIRST_TRIAL_SEED, Budget
from studies.studies import PAPER_STUDIES, STUDIES

SEEDS = (0, 1, 2)
TRIALS = Budget(trials=5)


def order(*parts: ArmGroup, **changed) -> StudyRequest:
    return StudyRequest("x", parts, SEEDS, **changed)


def part(*arms: str, **changed) -> ArmGroup:
    return ArmGroup(arms, changed.pop("datasets", ("ekman6",)), **changed)


def test_an_arm_of_two_studies_is_planned_once():
    plan = make_plan(order(part("mbt", "mart"), part("mart", "mart-no-masking")))
    assert len(plan.runs) == 3 * len(SEEDS) == len(set(plan.runs))


@pytest.mark.parametrize("name", STUDIES)
def test_a_study_has_a_question_and_known_arms_and_data_sets(name):
    for study in STUDIES[name]:
        assert study.question.endswith("?") and len(study.question) < 200
        assert set(study.arms) <= set(get_arms()) and set(study.datasets) <= set(DATASETS)
        assert study.reference_method in METHODS and {*study.controls, *study.footnoted} <= set(get_arms())


@pytest.mark.parametrize("name", STUDIES)
def test_a_study_with_a_table_of_parts_has_arms_whose_methods_describe_them(name):
    for study in STUDIES[name]:
        described = [
            arm.method.describe(resolve_config(arm, "quick", {}).model_dump()) for arm in map(find_arm, study.arms)
        ]
        assert study.table in WITHOUT_PARTS or any(study.table in parts for parts in described)


def test_the_papers_studies_are_in_paper():
    assert {study.name for study in PAPER_STUDIES} == set(STUDIES) - {"paper", "optimism"}


def test_arms_of_shared_tuning_share_the_search_of_the_full_method():
    plan = make_plan(order(part("mbt", "mart-no-masking", "mart", tuning="shared"), budget=TRIALS))
    (search,) = plan.searches
    assert (search.arm, search.seed) == ("mart", FIRST_TRIAL_SEED)


def test_per_arm_tuning_has_one_search_per_arm_and_the_full_method_shares_its_search():
    arms = ("mbt", "mart-no-masking", "mart")
    plan = make_plan(order(part(*arms, tuning="shared"), part(*arms, tuning="per-arm"), budget=TRIALS))
    assert {search.arm for search in plan.searches} == set(arms)
    assert len([cell for cell in plan.runs if cell.arm == "mart"]) == len(SEEDS)  # shared and per-arm are one
    assert len([cell for cell in plan.runs if cell.arm == "mbt"]) == 2 * len(SEEDS)


def test_an_arm_without_ranges_is_not_tuned():
    plan = make_plan(order(part("majority", "mbt", tuning="per-arm"), budget=TRIALS))
    assert {cell.tuned_by for cell in plan.runs if cell.arm == "majority"} == {""}
    with pytest.raises(ConfigError, match="majority: no free config field has a search range"):
        make_plan(order(part("majority", tuning="per-arm"), budget=TRIALS))


def test_tuned_values_reach_the_fields_that_an_arm_has_and_does_not_pin():
    plan = make_plan(order(part("mart-no-masking", "mbt", tuning="shared"), budget=TRIALS))
    params = {"lr": 0.00123, "mask_to": 0.6, "mask": "random"}
    configs = {cell.arm: plan.request_for(cell, params).config for cell in plan.runs}
    assert configs["mbt"].lr == 0.00123 == configs["mart-no-masking"].lr
    assert configs["mart-no-masking"].mask == "none"


def test_a_search_on_the_test_list_is_refused():
    with pytest.raises(ConfigError, match="a search cannot use the test split"):
        make_plan(order(part("mbt", tuning="per-arm", protocol="best-on-test"), budget=TRIALS))


def test_a_refit_is_planned_with_the_clean_runs_it_takes_its_epochs_from():
    plan = make_plan(order(part("mbt", protocol="refit")))
    assert [cell.protocol for cell in plan.runs] == ["clean"] * 3 + ["refit"] * 3


def test_all_folds_are_planned_if_requested_and_the_data_exist(monkeypatch):
    wanted = order(part("mbt", datasets=("iemocap", "ekman6"), folds=()))
    assert {cell.fold for cell in make_plan(wanted).runs if cell.dataset == "iemocap"} == {1}  # the sample has one
    monkeypatch.setattr("studies.plan.find_data_folder", lambda card, data: data or ".")
    plan = make_plan(order(part("mbt", datasets=("iemocap", "ekman6"), folds=())))
    assert [len({cell.fold for cell in plan.runs if cell.dataset == name}) for name in ("iemocap", "ekman6")] == [5, 1]


@pytest.mark.parametrize("count", [1, 2, 3, 7])
@pytest.mark.parametrize("budget", [Budget(), TRIALS])
def test_shards_are_disjoint_and_complete_and_do_not_split_dependent_runs(count, budget):
    parts = (
        part("majority", "mbt", "mart", datasets=("ekman6", "iemocap"), tuning="per-arm"),
        part("mbt", protocol="refit", tuning="per-arm"),
    )
    whole = make_plan(order(*parts, budget=budget))
    shards = [make_plan(order(*parts, budget=budget, shard=(i + 1, count))) for i in range(count)]
    cells = list(chain.from_iterable(shard.runs for shard in shards))
    assert sorted(map(str, cells)) == sorted(map(str, whole.runs)) and len(cells) == len(set(cells))
    searches = list(chain.from_iterable(shard.searches for shard in shards))
    assert len(searches) == len(set(searches)) == len(whole.searches)
    for shard in shards:
        refits = {cell.arm for cell in shard.runs if cell.protocol == "refit"}
        clean = [cell for cell in shard.runs if cell.arm in refits and cell.protocol == "clean"]
        assert not refits or len([cell for cell in clean if cell.dataset == "ekman6"]) == len(SEEDS)
