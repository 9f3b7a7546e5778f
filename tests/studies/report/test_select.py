"""Tests of selecting runs: one kind of data, one preset, one set of settings; omissions are listed."""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import replace

import pytest

from bench.errors import ConfigError
from bench.mlflow import MlflowStore
from bench.record import RunFolder
from bench.requests import RequestedPlan, add_requests
from bench.tasks import Classification, Regression, TargetRange
from bench.types import DatasetInfo
from studies.requests import find_arm, parse_filter
from studies.select import (
    ReportQuery,
    normalise_settings,
    read_records,
    select_any_runs,
    select_current,
    select_runs,
)
from studies.studies import STUDIES
from tests.reports.made import MOOD, make_run, make_search, request_for

SETS = {"epochs": 3}


def chosen(results, study="ablation", runs="", preset="", settings=None):
    """Select the runs of a study, or with study "" those that match a filter."""
    found, _ = select_current(read_records(results)[0])
    wish = ReportQuery(parse_filter(runs) if runs else ReportQuery().run_filter, preset, settings)
    if not study:
        return select_any_runs(found, wish, MlflowStore(results))
    return select_runs(found, STUDIES[study][0], wish, MlflowStore(results))


@pytest.fixture(params=[True, False], ids=["stored", "unknown"])
def made(request):
    """Return a maker of runs, all with stored requests or all without; the selection is the same."""

    def make(results, arms, **values):
        stored = {"request": {}} if request.param else {}
        return [make_run(results, arm, **{"clips": 12, **stored, **values}) for arm in arms]

    return make


def arms(choice):
    return [run.arm for run in choice.runs]


def left(choice):
    """Return reason -> number of runs left out."""
    return Counter(why for _, why in choice.excluded)


def labels(choice):
    return [run.label for run in choice.runs]


def test_runs_are_sorted_by_arm_data_set_fold_and_seed(tmp_path, made):
    made(tmp_path, ["mart", "mbt", "probe"], seed=1)
    made(tmp_path, ["mart"], seed=0)
    made(tmp_path, ["mart"], dataset="iemocap", fold=3)
    made(tmp_path, ["mart"], dataset="iemocap", fold=1)
    made(tmp_path, ["mart"], dataset="videoemotion8")
    found = chosen(tmp_path, "comparison")
    places = [(run.arm, run.record.spec.dataset, run.record.spec.fold, run.record.spec.seed) for run in found.runs]
    assert places == [
        ("probe", "ekman6", 0, 1),
        ("mbt", "ekman6", 0, 1),
        ("mart", "ekman6", 0, 0),
        ("mart", "ekman6", 0, 1),
        ("mart", "videoemotion8", places[4][2], 0),
        ("mart", "iemocap", 1, 0),
        ("mart", "iemocap", 3, 0),
    ]
    assert found.excluded == ()


def test_arms_and_protocols_that_a_study_does_not_name_are_not_in_it(tmp_path, made):
    made(tmp_path, ["mart", "probe"])
    made(tmp_path, ["mart", "mbt"], protocol="best-on-test")
    assert labels(chosen(tmp_path)) == ["mart"]
    assert labels(chosen(tmp_path, "optimism")) == [
        "mbt (EPOCH CHOSEN ON TEST)",
        "mart",
        "mart (EPOCH CHOSEN ON TEST)",
    ]


def test_a_record_of_another_version_is_left_out_and_reported(tmp_path, made):
    made(tmp_path, ["mart", "mbt"])
    for version in (90, 91, 91):
        made(tmp_path, ["mart"], version=version, seed=version + len(list((tmp_path / "runs").iterdir())))
    found, expected = select_current(read_records(tmp_path)[0])
    assert sorted(one.record.arm for one in found) == ["mart", "mbt"]
    version = found[0].record.spec.version
    assert [re.findall(r"\d+", line) for line in sorted(expected)] == [
        ["1", "90", str(version)],
        ["2", "91", str(version)],
    ]
    assert all("mart" in line and "left out" in line for line in expected)


def test_a_record_of_an_unknown_method_is_left_out_and_reported(tmp_path, made):
    made(tmp_path, ["mart"], method="gone")
    found, expected = select_current(read_records(tmp_path)[0])
    (line,) = expected
    assert found == [] and " of gone " in line and "left out" in line


def test_a_trial_of_a_search_is_no_run(tmp_path, made):
    made(tmp_path, ["mart"], stage="trial")
    assert read_records(tmp_path) == ([], [])


@pytest.mark.parametrize("study", ["ablation", ""])
def test_the_sample_is_left_out_if_there_are_real_data(tmp_path, study, made):
    made(tmp_path, ["mart", "mbt", "mbt-long"], data="sample")
    assert arms(chosen(tmp_path, study)) and chosen(tmp_path, study).excluded == ()
    made(tmp_path, ["mart"])
    found = chosen(tmp_path, study)
    assert arms(found) == ["mart"] and found.runs[0].record.spec.data == "real"
    assert left(found) == {"made on the built-in sample": 3}


def test_the_sample_is_selected_if_requested(tmp_path, made):
    made(tmp_path, ["mart"])
    made(tmp_path, ["mart", "mbt"], data="sample")
    assert arms(chosen(tmp_path, runs="data=sample")) == ["mbt", "mart"]


def test_the_preset_of_most_arms_wins_and_the_other_is_reported(tmp_path, made):
    made(tmp_path, ["mbt", "mbt-long", "mart"])
    made(tmp_path, ["mbt", "mart"], preset="paper")
    made(tmp_path, ["mart"], preset="paper", seed=1)
    made(tmp_path, ["mart"], preset="paper", seed=2)
    found = chosen(tmp_path)
    assert (found.preset, found.settings, len(found.runs)) == ("quick", (), 3)
    assert left(found) == {"preset paper": 4}


def test_of_two_presets_with_as_many_arms_paper_wins_though_quick_has_more_runs(tmp_path, made):
    for seed in range(3):
        made(tmp_path, ["mbt", "mart"], seed=seed)
    made(tmp_path, ["mbt", "mart"], preset="paper")
    found = chosen(tmp_path)
    assert found.preset == "paper" and left(found) == {"preset quick": 6}


def test_the_settings_of_most_arms_win_and_the_others_are_reported(tmp_path, made):
    made(tmp_path, ["mbt", "mart", "mbt-long"], set=SETS)
    made(tmp_path, ["mbt", "mart"])
    found = chosen(tmp_path)
    assert found.settings == (("epochs", "3"),) and labels(found) == ["mbt", "mbt-long", "mart"]
    assert left(found) == {"preset quick": 2}
    made(tmp_path, ["mbt-long"])
    found = chosen(tmp_path)
    assert found.settings == () and left(found) == {"preset quick, epochs=3": 3}


def test_values_that_only_some_arms_can_have_are_one_set_with_those_that_cannot(tmp_path, made):
    made(tmp_path, ["mart", "mbt-long"], set={"epochs": 3, "pretrain_epochs": 2})
    made(tmp_path, ["mbt"], set={"epochs": 3})
    found = chosen(tmp_path)
    assert arms(found) == ["mbt", "mbt-long", "mart"] and found.excluded == ()
    assert found.settings == (("epochs", "3"), ("pretrain_epochs", "2"))


def test_the_settings_of_a_quick_study_are_its_usual_ones(tmp_path, made):
    """Select the patch that `masking` sets under the quick preset."""
    made(tmp_path, ["mart", "mart-mask-tube"])
    made(tmp_path, ["mart", "mart-mask-tube"], set={"patch": 12, "audio_patch": 16})
    assert chosen(tmp_path, "masking").settings == (("audio_patch", "16"), ("patch", "12"))
    assert chosen(tmp_path, "ablation").settings == ()


@pytest.mark.parametrize(
    ("preset", "settings", "expected"),
    [
        ("paper", None, ("paper", ())),
        ("quick", None, ("quick", ())),
        ("", {"epochs": "3"}, ("quick", (("epochs", "3"),))),
        ("", {"epochs": "03"}, ("quick", (("epochs", "3"),))),
        ("", {"epochs": "40"}, ("quick", ())),  # the value of quick
        ("quick", {"epochs": "3"}, ("quick", (("epochs", "3"),))),
    ],
    ids=str,
)
def test_a_requested_preset_and_settings_are_selected(tmp_path, preset, settings, expected, made):
    made(tmp_path, ["mart", "mbt", "mbt-long"])
    made(tmp_path, ["mart", "mbt"], preset="paper")
    made(tmp_path, ["mart"], set=SETS)
    found = chosen(tmp_path, preset=preset, settings=settings)
    assert (found.preset, found.settings) == expected and found.runs
    for run in found.runs:
        assert run.record.preset == expected[0]
        assert (
            normalise_settings([run.arm], expected[0], {n: str(run.record.spec.config[n]) for n in ("epochs",)})
            == expected[1]
        )
    assert len(found.runs) + len(found.excluded) == 6


def test_settings_without_runs_select_nothing_and_list_the_existing_runs(tmp_path, made):
    made(tmp_path, ["mart", "mbt"])
    found = chosen(tmp_path, preset="paper")
    assert found.runs == () and left(found) == {"preset quick": 2}
    found = chosen(tmp_path, settings={"epochs": "5"})
    assert found.runs == () and left(found) == {"preset quick": 2}


def test_an_invalid_setting_is_an_error(tmp_path, made):
    made(tmp_path, ["mart"])
    with pytest.raises(ConfigError, match=r"^--set epochs: "):
        chosen(tmp_path, settings={"epochs": "many"})


def test_a_failed_run_counts_until_it_is_finished(tmp_path, made):
    made(tmp_path, ["mart"], error="out of memory")
    found = chosen(tmp_path)
    assert [run.failed for run in found.runs] == [True] and found.excluded == ()
    made(tmp_path, ["mart"])  # the same run again
    assert [run.failed for run in chosen(tmp_path).runs] == [False] and chosen(tmp_path).excluded == ()


def test_a_run_that_failed_on_other_clips_yields_to_one_that_did_not(tmp_path, made):
    for seed in range(3):
        made(tmp_path, ["mart"], content="a" * 64, error="broken clip", seed=seed)
    assert [run.failed for run in chosen(tmp_path).runs] == [True] * 3
    for seed in range(2):
        made(tmp_path, ["mart"], content="b" * 64, seed=seed)
    found = chosen(tmp_path)
    assert [(run.record.spec.seed, run.failed) for run in found.runs] == [(0, False), (1, False), (2, True)]


def test_of_several_failures_the_last_is_the_run(tmp_path, made):
    record = made(tmp_path, ["mart"], error="first")[0]
    for attempt in (9, 10, 2):
        RunFolder(tmp_path / "runs" / record.key).write_record(
            replace(record, attempt=attempt, error=replace(record.error, message=f"try {attempt}"))
        )
    assert [run.record.error.message for run in chosen(tmp_path).runs] == ["try 10"]


@pytest.mark.parametrize("study", ["ablation", ""])
@pytest.mark.parametrize("what", ["content", "split"])
def test_duplicates_on_other_clips_are_reported_and_the_most_common_clips_used(tmp_path, what, study, made):
    made(tmp_path, ["mart"], **{what: "a" * 64})
    usual = made(tmp_path, ["mart", "mbt", "mbt-long"], **{what: "b" * 64})
    found = chosen(tmp_path, study)
    assert sorted(run.record.key for run in found.runs) == sorted(record.key for record in usual)
    other = next(path.name for path in (tmp_path / "runs").iterdir() if path.name not in {r.key for r in usual})
    assert [(key, "duplicate of another run" in why) for key, why in found.excluded] == [(other, True)]


def tuned(results, arm, winner, **values):
    """Make a run with the values of a search."""
    return make_run(results, arm, clips=12, set=winner["winner"]["params"], **{"request": {"winner": winner}, **values})


def test_shared_and_per_arm_rows_of_one_arm_have_distinct_labels(tmp_path):
    shared = make_search(tmp_path, "mart", params={"lr": 0.0015})
    own = make_search(tmp_path, "mart-no-masking", params={"lr": 0.0007})
    for arm, winner in (("mart", shared), ("mart-no-masking", shared), ("mart-no-masking", own)):
        tuned(tmp_path, arm, winner)
    found = chosen(tmp_path)
    assert labels(found) == ["mart-no-masking (shared)", "mart-no-masking (per-arm)", "mart (per-arm)"]
    assert found.settings == () and {run.search_trials for run in found.runs} == {6}
    assert "shared (values searched for mart): mart-no-masking." in found.tuning_note
    assert {run.search for run in found.runs} == {shared["digest"], own["digest"]}


def test_rows_with_preset_and_with_tuned_values_have_distinct_labels(tmp_path, made):
    made(tmp_path, ["mart", "mbt"])
    tuned(tmp_path, "mart", make_search(tmp_path, "mart", params={"lr": 0.0015}))
    assert labels(chosen(tmp_path)) == ["mbt (untuned)", "mart (untuned)", "mart (per-arm)"]


def test_an_arm_that_has_nothing_to_search_is_not_called_untuned(tmp_path, made):
    made(tmp_path, ["majority", "mbt"])
    tuned(tmp_path, "mart", make_search(tmp_path, "mart", params={"lr": 0.0015}))
    found = chosen(tmp_path, "comparison")
    assert labels(found) == ["majority", "mbt (untuned)", "mart (per-arm)"]
    assert "untuned (values of the preset): mbt." in found.tuning_note


def test_rows_with_equal_tuning_have_no_tuning_label(tmp_path):
    tuned(tmp_path, "mart", make_search(tmp_path, "mart", params={"lr": 0.0015}))
    tuned(tmp_path, "mbt", make_search(tmp_path, "mbt", params={"lr": 0.0005}))
    found = chosen(tmp_path)
    assert labels(found) == ["mbt", "mart"] and {run.tuning for run in found.runs} == {"per-arm"}


def test_a_winner_with_the_presets_values_is_labelled_by_its_request(tmp_path):
    same = {"lr": find_arm("mart").method.config.from_preset("quick").model_dump()["lr"]}
    tuned(tmp_path, "mart-no-masking", make_search(tmp_path, "mart", params=same))
    assert [(run.tuning, run.tuned_by) for run in chosen(tmp_path).runs] == [("shared", "mart")]


def test_of_a_continued_search_the_last_winner_counts(tmp_path):
    for time, lr, tried in (("2026-01-01T00:00:00Z", 0.0015, 6), ("2026-01-02T00:00:00Z", 0.0017, 20)):
        winner = make_search(tmp_path, "mart", params={"lr": lr}, tried={"finished": tried})
        for seed in range(3 if tried == 6 else 1):
            tuned(tmp_path, "mart", winner, seed=seed, request={"winner": winner, "time": time})
    found = chosen(tmp_path)
    assert [(run.record.spec.seed, run.search_trials) for run in found.runs] == [(0, 20)]
    assert left(found) == {"superseded by better values of the continued search": 3}


def test_the_same_winner_of_a_larger_search_is_one_line_with_how_many_it_tried_last(tmp_path):
    for time, tried in (("2026-01-01T00:00:00Z", 6), ("2026-01-02T00:00:00Z", 20)):
        winner = make_search(tmp_path, "mart", params={"lr": 0.0015}, tried={"finished": tried})
        tuned(tmp_path, "mart", winner, request={"winner": winner, "time": time})
    assert [run.search_trials for run in chosen(tmp_path).runs] == [20] and chosen(tmp_path).excluded == ()


def test_a_study_that_tunes_each_arm_leaves_out_shared_values_of_other_studies(tmp_path):
    own, shared = (make_search(tmp_path, arm, params={"lr": lr}) for arm, lr in (("mbt", 0.0005), ("mart", 0.0015)))
    tuned(tmp_path, "mbt", shared, request={"winner": shared, "study": "ablation"})
    assert [run.tuning for run in chosen(tmp_path, "comparison").runs] == ["shared"]
    tuned(tmp_path, "mbt", own)
    assert [run.tuning for run in chosen(tmp_path, "comparison").runs] == ["per-arm"]
    tuned(tmp_path, "mbt", shared, request={"winner": shared, "study": "comparison"})
    assert [run.tuning for run in chosen(tmp_path, "comparison").runs] == ["shared", "per-arm"]


def test_searched_values_of_an_unknown_request_count_as_user_settings(tmp_path):
    make_search(tmp_path, "mart", params={"lr": 0.0015})
    make_run(tmp_path, "mart-no-masking", clips=12, set={"lr": 0.0015})
    found = chosen(tmp_path)
    assert labels(found) == ["mart-no-masking"] and found.settings == (("lr", "0.0015"),)
    assert [(run.tuning, run.request) for run in found.runs] == [("none", "unknown request")]


def plan(folds=(0,), seeds=(0,), dataset="ekman6"):
    return RequestedPlan({dataset: tuple(folds)}, tuple(seeds), ("clean",))


def test_the_plan_of_a_study_is_collected_from_the_requests_of_all_its_runs(tmp_path):
    for study, seeds in (("ablation", (0, 1)), ("ablation", (1, 2)), ("comparison", range(9)), ("", range(9))):
        make_run(tmp_path, "mart", clips=12, request={"study": study, "plan": plan(seeds=seeds)})
    make_run(tmp_path, "mbt", clips=12, request={"study": "ablation", "plan": plan((3,), dataset="iemocap")})
    assert chosen(tmp_path).planned == {"ekman6": {(0, 0), (0, 1), (0, 2)}, "iemocap": {(3, 0)}}


def test_requests_with_other_settings_or_another_preset_are_planned_separately(tmp_path):
    make_run(tmp_path, "mart", clips=12, request={"study": "ablation", "plan": plan()})
    make_run(tmp_path, "mbt", clips=12, request={"study": "ablation", "plan": plan()})
    make_run(tmp_path, "mart", clips=12, set=SETS, request={"study": "ablation", "plan": plan(seeds=range(9))})
    make_run(tmp_path, "mart", preset="paper", clips=12, request={"study": "ablation", "plan": plan(seeds=range(8))})
    assert chosen(tmp_path).planned == {"ekman6": {(0, 0)}}
    lie = {"study": "ablation", "plan": plan(seeds=range(7)), "settings": {}}
    make_run(tmp_path, "mart", clips=12, seed=1, set=SETS, request=lie)
    assert chosen(tmp_path, preset="quick").planned == {"ekman6": {(0, 0)}}
    assert len(chosen(tmp_path, settings={"epochs": "3"}).planned["ekman6"]) == 9
    assert len(chosen(tmp_path, preset="paper").planned["ekman6"]) == 8


def test_a_protocol_that_is_not_clean_is_part_of_every_label(tmp_path, made):
    made(tmp_path, ["mart"], protocol="best-on-test")
    assert labels(chosen(tmp_path, "optimism")) == ["mart (EPOCH CHOSEN ON TEST)"]
    made(tmp_path, ["mbt"], protocol="refit", stop=4)
    assert labels(chosen(tmp_path, "", runs="protocol=refit")) == ["mbt (refit on train + val)"]


@pytest.mark.parametrize("seed", range(6))
def test_the_clean_row_of_an_arm_is_above_its_flagged_one_whatever_their_keys(tmp_path, seed, made):
    made(tmp_path, ["mart"], protocol="best-on-test", seed=seed)
    made(tmp_path, ["mart"], seed=seed)
    assert labels(chosen(tmp_path, "optimism")) == ["mart", "mart (EPOCH CHOSEN ON TEST)"]


def test_labels_of_runs_without_a_study_show_differing_presets_and_settings(tmp_path, made):
    made(tmp_path, ["mart"])
    made(tmp_path, ["mart"], set=SETS)
    made(tmp_path, ["mbt"], preset="paper")
    found = chosen(tmp_path, "", runs="dataset=ekman6")
    assert labels(found) == ["mbt (paper)", "mart (quick)", "mart (quick; epochs=3)"]
    assert sorted(found.preset.split(", ")) == ["paper", "quick"]
    assert labels(chosen(tmp_path, "", runs="preset=quick,arm=mart")) == ["mart", "mart (epochs=3)"]


def test_runs_without_a_study_have_the_arm_of_the_first_matching_request(tmp_path):
    record = make_run(tmp_path, "mart", clips=12, set={"mask": "none"}, request={})
    folder = RunFolder(tmp_path / "runs" / record.key)
    add_requests(folder, [request_for(record, arm="mart-no-masking", time="2999-01-01T00:00:00Z")])
    assert labels(chosen(tmp_path, "", runs="dataset=ekman6")) == ["mart (mask=none)"]
    assert labels(chosen(tmp_path, "", runs="arm=mart-no*")) == ["mart-no-masking"]


def test_a_custom_data_set_is_sorted_after_registered_ones(tmp_path, made):
    own = DatasetInfo("aaa", "Mine", Classification(("good", "bad"), (1, -1)), {}, "", "", "", "")
    made(tmp_path, ["mart"], card=own)
    made(tmp_path, ["mart"], dataset="iemocap")
    found = chosen(tmp_path, "comparison")
    assert [run.info.title for run in found.runs] == ["IEMOCAP", "Mine"]


def test_a_failed_run_on_custom_data_has_dataset_info_with_its_name(tmp_path, made):
    own = DatasetInfo("aaa", "Mine", Classification(("good", "bad"), (1, -1)), {}, "", "", "", "")
    made(tmp_path, ["mart"], card=own, error="stopped")
    assert [run.info.title for run in chosen(tmp_path, "comparison").runs] == ["aaa"]


def test_a_failed_run_on_custom_data_counts_beside_the_finished_ones(tmp_path, made):
    own = DatasetInfo("aaa", "Mine", Classification(("good", "bad"), (1, -1)), {}, "", "", "", "")
    made(tmp_path, ["mart"], card=own)
    made(tmp_path, ["mart"], card=own, seed=1, error="stopped")
    found = chosen(tmp_path, "comparison")
    assert [(run.failed, run.info) for run in found.runs] == [(False, own), (True, own)] and not found.excluded


def test_a_run_knows_whether_its_encoders_started_from_published_weights(tmp_path, made):
    made(tmp_path, ["probe", "mbt", "mart"], preset="paper")
    made(tmp_path, ["mart"], preset="paper", weights={"weights_video": "a" * 64}, seed=1)
    found = [(run.arm, run.record.spec.seed, run.from_scratch) for run in chosen(tmp_path, "comparison").runs]
    assert found == [("probe", 0, False), ("mbt", 0, True), ("mart", 0, True), ("mart", 1, False)]


def test_runs_with_other_targets_than_most_are_left_out(tmp_path):
    other = replace(MOOD, task=Regression((TargetRange("sentiment", -1, 1),)))
    for seed in range(2):
        make_run(tmp_path, "mart", card=MOOD, clips=12, seed=seed)
    make_run(tmp_path, "mbt", card=other, clips=12)
    choice = chosen(tmp_path)
    assert arms(choice) == ["mart", "mart"] and left(choice) == {
        "other classes or targets than most runs on the data set": 1
    }


def test_a_failed_run_has_the_targets_of_the_others(tmp_path):
    make_run(tmp_path, "mart", card=MOOD, clips=12)
    make_run(tmp_path, "mart", card=MOOD, seed=1, error="out of memory")
    assert [run.info for run in chosen(tmp_path).runs] == [MOOD, MOOD]
