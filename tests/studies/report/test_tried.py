"""Tests of the number of configurations that were tried with an arm: what counts, and what does not."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from bench.record import Failure, RunFolder
from bench.requests import RequestedPlan, StoredRequest, add_requests
from reports.runs import read_searches
from studies.requests import find_arm
from studies.select import count_tried, count_tried_in
from tests.reports.made import make_run, make_search
from tests.studies.report.test_build import built

MART = ("mart", "ekman6", "real")
LR = {"lr": 0.0015}


def hand_made(results, arm="mart", **values):
    """Make a run of a command, with 12 test clips."""
    return make_run(results, arm, **{"clips": 12, "request": {}, **values})


def make_trial(results, arm="mart", seed=1000, error=None, **values):
    """Make the record of a trial, as a search leaves it: stage `trial`, no requests."""
    found = make_run(results, arm, clips=12, seed=seed, stage="trial", **{"set": values})
    if error:
        failed = replace(found, scores={}, files={}, error=Failure(error, "lr too high", ""))
        folder = RunFolder(results / "runs" / found.key)
        (folder.path / "record.json").unlink()
        folder.write_record(failed)
    return found


def make_listed(results, arm="mart", *values, **more):
    """Make the summary of a search whose trials have these values, and all others of the preset."""
    trials = [
        {"number": number, "state": "complete", "value": 0.3, "spent": 60.0, "params": params}
        for number, params in enumerate(values)
    ]
    return make_search(results, arm, trials=trials, tried={"finished": len(trials)}, params=values[-1], **more)


def test_different_values_count_and_seeds_folds_protocols_and_repetitions_do_not(tmp_path):
    for seed in (0, 1):
        hand_made(tmp_path, seed=seed)
        hand_made(tmp_path, seed=seed, set=LR)
    hand_made(tmp_path, protocol="best-on-test")
    hand_made(tmp_path, protocol="refit", stop=3)
    hand_made(tmp_path, dataset="iemocap", fold=1)
    hand_made(tmp_path, dataset="iemocap", fold=2)
    hand_made(tmp_path, data="sample", set={"lr": 0.002})
    hand_made(tmp_path, error="RuntimeError: broke", set={"lr": 0.3})
    assert count_tried_in(tmp_path) == {
        MART: 3,
        ("mart", "iemocap", "real"): 1,
        ("mart", "ekman6", "sample"): 1,
    }


def test_an_arm_is_counted_for_itself_and_its_pinned_values_are_not_tried(tmp_path):
    hand_made(tmp_path)
    hand_made(tmp_path, "mart-no-masking")
    hand_made(tmp_path, "mart-no-verification", set=LR)
    found = count_tried_in(tmp_path)
    assert found == dict.fromkeys([MART, ("mart-no-masking", *MART[1:]), ("mart-no-verification", *MART[1:])], 1)


def test_a_run_that_two_arms_requested_counts_for_both(tmp_path):
    record = hand_made(tmp_path, set={"mask": "none"})  # mart --set mask=none
    hand_made(tmp_path)
    assert count_tried_in(tmp_path)[MART] == 2
    plan = RequestedPlan({"ekman6": (0,)}, (0,), ("clean",))
    add_requests(RunFolder(tmp_path / "runs" / record.key), [StoredRequest("", "mart-no-masking", "quick", plan)])
    assert count_tried_in(tmp_path) == {MART: 2, ("mart-no-masking", "ekman6", "real"): 1}


def test_other_weights_are_another_configuration(tmp_path):
    for sha in ("a" * 64, "a" * 64, "b" * 64):
        made = {"weights": {"weights_video": sha}, "set": {}}
        hand_made(tmp_path, seed=int(sha[0], 16), **made)
    assert count_tried_in(tmp_path) == {MART: 2}


def test_trials_count_whatever_their_outcome_and_once_for_several_seeds(tmp_path):
    make_trial(tmp_path, lr=0.001)
    make_trial(tmp_path, lr=0.001, seed=1001)
    make_trial(tmp_path, lr=0.002, error="pruned")
    make_trial(tmp_path, lr=0.003, error="nan")
    hand_made(tmp_path, set={"lr": 0.002}, request=None)
    assert count_tried_in(tmp_path) == {MART: 3}


def test_a_search_and_its_records_and_its_winner_count_once(tmp_path):
    winner = make_listed(tmp_path, "mart", {"lr": 0.001}, {"lr": 0.002}, {"lr": 0.0015})
    make_trial(tmp_path, lr=0.001)
    hand_made(tmp_path, set={"lr": 0.0015}, request={"winner": winner})
    assert count_tried_in(tmp_path)[MART] == 3
    hand_made(tmp_path, set={"lr": 0.1})
    assert count_tried_in(tmp_path)[MART] == 4


def test_a_whole_number_is_the_same_value_as_a_float(tmp_path):
    make_listed(tmp_path, "mart", {"w_tacl": 1}, {"w_tacl": 2})
    assert hand_made(tmp_path, set={"w_tacl": 2.0}).spec.config["w_tacl"] == 2.0
    assert count_tried_in(tmp_path)[MART] == 2


def test_shared_values_count_with_the_trials_of_the_search_that_found_them(tmp_path):
    winner = make_listed(tmp_path, "mart", {"lr": 0.001}, {"lr": 0.002}, {"lr": 0.0015})
    hand_made(tmp_path, set=LR, request={"winner": winner})
    hand_made(tmp_path, "mart-no-masking", set=LR, request={"winner": winner})
    hand_made(tmp_path, "mbt")
    found = count_tried_in(tmp_path)
    assert found == {MART: 3, ("mart-no-masking", *MART[1:]): 3, ("mbt", *MART[1:]): 1}


@pytest.mark.parametrize("known", ["summary", "request"])
def test_a_search_whose_trials_are_elsewhere_counts_with_its_stored_number(tmp_path, known):
    winner = make_search(tmp_path, "mart", tried={"finished": 18, "pruned": 1, "failed": 1})  # of an older version
    if known == "request":
        (path,) = tmp_path.glob("searches/*/search.json")
        path.unlink()
    hand_made(tmp_path, set=LR, request={"winner": winner})
    assert count_tried_in(tmp_path)[MART] == 20
    for number in range(19):  # its trials come: each but the winner is one of the 20
        make_trial(tmp_path, lr=0.002 + number / 1000)
    assert count_tried_in(tmp_path)[MART] == 20


def test_runs_of_another_version_of_the_method_do_not_count(tmp_path):
    hand_made(tmp_path)
    hand_made(tmp_path, version=1, set=LR)
    old = make_listed(tmp_path, "mart", {"lr": 0.5}, {"lr": 0.6}, version=1)
    assert find_arm("mart").method.version != 1 and old["version"] == 1
    assert count_tried_in(tmp_path) == {MART: 1}


def test_unreadable_files_are_skipped(tmp_path):
    hand_made(tmp_path)
    make_listed(tmp_path, "mart", {"lr": 0.5})
    (tmp_path / "runs" / "0broken").mkdir()
    (tmp_path / "runs" / "0broken" / "record.json").write_text("{")
    broken = tmp_path / "searches" / "0broken"
    broken.mkdir()
    for trials in ([{"params": [1]}], [3], 3):
        (broken / "search.json").write_text(json.dumps({**make_search(tmp_path, "mbt"), "trials": trials}))
        assert len(read_searches(tmp_path)[1]) == 1
        assert count_tried_in(tmp_path)[MART] == 2


def test_an_empty_folder_has_no_counts(tmp_path):
    assert count_tried_in(tmp_path) == {} == count_tried([], [])


def test_a_report_prints_the_number_next_to_every_test_score(tmp_path):
    for lr in (0.1, 0.01, 0.001):
        hand_made(tmp_path, set={"lr": lr})
    hand_made(tmp_path, "mbt", set={"lr": 0.01})
    report = built(tmp_path, settings={"lr": "0.01"}).report
    assert {run.configurations_tried for run in report.runs if run.arm == "mart"} == {3}
    tables = [table for section in report.sections for table in section.tables]
    assert {table.name.rpartition("_")[0] for table in tables} >= {"ablation_cost"}
    for table in tables:
        if any(column.title == "Acc E" for column in table.columns):
            places = [at for at, column in enumerate(table.columns) if column.title == "tried"]
            assert places, table.name
            shown = {row.id: row.cells[places[0]].text for row in table.rows if row.id in ("mart", "ours/mart")}
            assert set(shown.values()) == {"3"}, table.name
            assert any(entry.term == "Tried" for entry in table.legend)
