"""Every command that requests a run stores the request with it, and reports label the run by it."""

from __future__ import annotations

import pytest

from bench.record import RunFolder
from bench.requests import read_requests
from methods import VARIANTS, Variant
from studies.studies import STUDIES, Study
from tests.studies.command_line import bench

TOY = ("--dataset", "toy", "--set", "epochs=1", "--threads", "1")
OF_STUDY = ("--datasets", "toy", "--set", "epochs=1", "--threads", "1")


@pytest.fixture(autouse=True)
def studies(monkeypatch):
    """Register two studies of the toy method and of an arm without dropout, and a name for both."""
    monkeypatch.setitem(VARIANTS, "toy-plain", Variant("toy", {"drop": 0.0}, "The toy without dropout"))
    first = Study("first", "Is it so?", ("toy-plain", "toy"), ("toy",), reference_method="toy")
    second = Study("second", "Why?", ("toy",), ("toy",), reference_method="toy", tuning="per-arm")
    for name, found in {"first": (first,), "second": (second,), "both": (first, second)}.items():
        monkeypatch.setitem(STUDIES, name, found)


def requests(results):
    """Return the stored requests of every final run."""
    found = []
    for path in results.glob("runs/*/record.json"):
        folder = RunFolder(path.parent)
        if folder.read_record().spec.stage == "final":
            stored, notes = read_requests(folder)
            assert notes == [] and all(one.time and one.plan.datasets == {"toy": (0,)} for one in stored)
            found.append(stored)
    return found


def facts_of(stored):
    return [(one.study, one.arm, one.tuning, one.tuned_by, one.settings, one.plan.seeds) for one in stored]


def run(results, *words):
    done = bench(*words, results=results)
    assert done.code == 0, done.out + done.err
    return done.out


def test_a_plain_command_stores_what_was_typed_and_set(results):
    run(results, "--method", "toy,toy-plain", "--seeds", "2", *TOY, "--tracking-uri", f"sqlite:///{results}/mlflow.db")
    stored = requests(results)
    facts = sorted(map(facts_of, stored))
    assert facts == sorted(
        [[("", arm, "none", "", {"epochs": "1"}, (0, 1))] for arm in ("toy", "toy-plain") for _ in range(2)]
    )
    (one,) = stored[0]
    assert one.command.startswith("python bench.py --method toy,toy-plain --seeds 2 --dataset toy --set epochs=1")
    assert (one.preset, one.search, one.tried, one.plan.protocols) == ("quick", "", 1, ("clean",))


def test_a_refit_asks_for_its_clean_runs_too(results):
    run(results, "--method", "toy", *TOY, "--protocol", "refit")
    assert {one.plan.protocols for stored in requests(results) for one in stored} == {("clean", "refit")}


def test_a_search_and_its_trials(results):
    run(results, "--method", "toy", "--trials", "2", *TOY)
    (search,) = results.glob("searches/*/search.json")
    ((one,),) = requests(results)
    assert facts_of([one]) == [("", "toy", "per-arm", "toy", {"epochs": "1"}, (0,))]
    assert (one.search, one.tried) == (search.parent.name, 2)
    assert len(list(results.glob("runs/*/requested_by.jsonl"))) == 1  # a trial is requested by its search only


def test_two_studies_that_ask_for_one_run_are_both_stored_and_both_reported(results):
    run(results, "study", "first", "--seeds", "1", *OF_STUDY)
    assert "1 done" in run(results, "study", "second", "--seeds", "2", *OF_STUDY)
    by_arm = {stored[0].arm + str(len(stored)): facts_of(stored) for stored in requests(results)}
    of_first = ("none", "", {"epochs": "1"}, (0,))
    of_second = ("none", "", {"epochs": "1"}, (0, 1))
    assert by_arm == {
        "toy-plain1": [("first", "toy-plain", *of_first)],
        "toy2": [("first", "toy", *of_first), ("second", "toy", *of_second)],
        "toy1": [("second", "toy", *of_second)],
    }
    before = sorted(map(facts_of, requests(results)))
    run(results, "study", "first", "--seeds", "1", *OF_STUDY)
    assert sorted(map(facts_of, requests(results))) == before


def test_a_name_for_several_studies_stores_a_request_of_each(results):
    run(results, "study", "both", "--seeds", "1", *OF_STUDY)
    assert sorted([one.study for one in stored] for stored in requests(results)) == [["first"], ["first", "second"]]


@pytest.mark.slow
def test_a_study_says_whose_tuned_values_each_arm_has(results):
    words = ("study", "first", "--seeds", "1", "--trials", "2", "--tuning", "shared,per-arm", *OF_STUDY)
    assert "values shared, per-arm" in run(results, *words)
    facts = sorted(fact[:4] for stored in requests(results) for fact in facts_of(stored))
    assert facts == [
        ("first", "toy", "per-arm", "toy"),
        ("first", "toy-plain", "per-arm", "toy-plain"),
        ("first", "toy-plain", "shared", "toy"),
    ]


def test_each_shard_knows_what_the_whole_study_asks_for(results):
    run(results, "study", "first", "--seeds", "2", "--shard", "1/2", *OF_STUDY)
    assert {one.plan.seeds for stored in requests(results) for one in stored} == {(0, 1)}
