"""Warnings above a table name what is inconsistent and the rows concerned, and nothing else."""

from __future__ import annotations

import re

import pytest

from reports.runs import ON_TEST_WARNING, SAMPLE_WARNING, find_inconsistencies
from tests.reports.tables.by_hand import TWO, by_hand

WEIGHTS = {"weights_video": "", "weights_audio": "", "weights_all": ""}


def run(arm="mart", seed=0, fold=0, **told):
    return by_hand(None, arm, seed, fold, files=False, error="not run", **told)


def spec(**values):
    return {"spec": values}


def mixed(*told):
    """Parse warnings on mixtures: name -> value -> its rows and number of runs."""
    groups = re.compile(r"([^\s:]+) \(([^()]*(?:\([^()]*\))?[^()]*): (\d+) runs?\)")
    assert all(text.startswith("MIXED ") for text in told)
    return [
        (text.removeprefix("MIXED ").partition(":")[0], *(found.groups() for found in groups.finditer(text)))
        for text in told
    ]


def test_consistent_runs_have_no_warning():
    assert find_inconsistencies([run("mbt"), run("mart"), run("mart", 1), run("mart", card=TWO)]) == ()
    assert find_inconsistencies([]) == ()


def test_a_run_on_the_sample_is_reported():
    assert find_inconsistencies([run(**spec(data="sample"))]) == (SAMPLE_WARNING,)
    assert "BUILT-IN SAMPLE" in SAMPLE_WARNING


@pytest.mark.parametrize(("protocol", "told"), [("clean", ()), ("refit", ()), ("best-on-test", (ON_TEST_WARNING,))])
def test_a_best_on_test_run_is_reported(protocol, told):
    assert find_inconsistencies([run("mbt"), run(**spec(protocol=protocol))]) == told


@pytest.mark.parametrize(
    ("preset", "config", "weights", "scratch"),
    [
        ("paper", WEIGHTS, {}, True),
        ("paper", WEIGHTS, {"weights_video": "a" * 64}, False),
        ("paper", WEIGHTS, {"weights_teacher": "a" * 64}, True),
        ("quick", WEIGHTS, {}, False),
        ("paper", {"lr": 0.1}, {}, False),
    ],
)
def test_a_line_of_the_papers_sizes_without_published_weights_is_named(preset, config, weights, scratch):
    told = find_inconsistencies([run(config=config, record={"preset": preset}, **spec(weights=weights))])
    assert [("FROM SCRATCH" in line, "(mart)" in line) for line in told] == [(True, True)] * scratch


def test_presets_commits_and_versions_are_listed_with_their_rows():
    runs = [run("mbt"), run("mart"), run("mart", 1, record={"preset": "paper"})]
    assert mixed(*find_inconsistencies(runs)) == [("presets", ("quick", "mbt, mart", "2"), ("paper", "mart", "1"))]
    runs = [run("mbt"), run("mart", provenance={"commit": "abcdef0123456789"})]
    assert mixed(*find_inconsistencies(runs)) == [("commits", ("1a2b3c4d", "mbt", "1"), ("abcdef01", "mart", "1"))]
    runs = [run("mbt"), run("mart", provenance={"torch": "2.10.0"})]
    assert mixed(*find_inconsistencies(runs)) == [
        ("versions of torch", ("2.11.0", "mbt", "1"), ("2.10.0", "mart", "1"))
    ]


def test_runs_of_changed_code_are_counted_and_named():
    dirty = {"provenance": {"dirty": True}}
    (told,) = find_inconsistencies([run("mbt"), run("mart", **dirty), run("mart", 1)])
    assert "1 of 3 runs" in told and "commit" in told and "(mart)" in told
    (told,) = find_inconsistencies([run("mbt", **dirty), run("mart", **dirty)])
    assert "2 of 2 runs" in told and "commit" in told and "(mbt, mart)" in told


@pytest.mark.parametrize("what", ["split", "content"])
def test_fingerprints_that_differ_for_one_fold_and_seed_are_reported(what):
    first = spec(**{what: what[0] * 64})
    (told,) = find_inconsistencies([run("mbt", **first), run("mart", **spec(**{what: "a" * 64}))])
    groups = ((what[0] * 8, "mbt", "1"), ("aaaaaaaa", "mart", "1"))
    assert mixed(told) == [(f"fingerprints of {what} on Ekman-6", *groups)]
    assert ("not compared" in told) == (what == "split")


@pytest.mark.parametrize("other", [{"seed": 1}, {"fold": 1}, {"card": TWO}])
def test_splits_may_differ_between_seeds_folds_and_data_sets_and_content_between_folds_and_data_sets(other):
    assert find_inconsistencies([run("mbt"), run("mart", **other, **spec(split="a" * 64))]) == ()
    told = find_inconsistencies([run("mbt"), run("mart", **other, **spec(content="a" * 64))])
    assert len(told) == (1 if "seed" in other else 0)  # the lists of two folds need not hold the same clips


@pytest.mark.parametrize("field", ["size", "mels"])
def test_content_may_differ_between_methods_that_open_clips_in_other_sizes_and_a_split_may_not(field):
    config = {"size": 32, "mels": 32}
    pair = [run("mbt", config=config), run("mart", config={**config, field: 64}, **spec(content="a" * 64))]
    assert find_inconsistencies(pair) == ()
    assert find_inconsistencies([run("mbt", config=config), run("mart", config=config, **spec(content="a" * 64))]) != ()
    pair = [run("mbt", config=config), run("mart", config={**config, field: 64}, **spec(split="a" * 64))]
    assert len(find_inconsistencies(pair)) == 1 and "split" in find_inconsistencies(pair)[0]


def test_only_places_that_are_mixed_are_listed():
    runs = [run("mbt"), run("mart"), run("probe", 1), run("mbt", 1), run("mart", 1, **spec(split="a" * 64))]
    groups = (("ffffffff", "probe, mbt", "2"), ("aaaaaaaa", "mart", "1"))
    assert mixed(*find_inconsistencies(runs)) == [("fingerprints of split on Ekman-6", *groups)]


def test_many_lines_are_named_in_part():
    runs = [run(f"arm{n}") for n in range(7)] + [run("mart", record={"preset": "paper"})]
    ((_, many, one),) = mixed(*find_inconsistencies(runs))
    assert many == ("quick", "arm0, arm1, arm2, arm3 and 3 more", "7") and one == ("paper", "mart", "1")


def test_all_inconsistencies_are_reported_together():
    config = {**WEIGHTS, "lr": 0.1}
    odd = {"config": config, "record": {"preset": "paper"}, "provenance": {"commit": "b" * 40, "torch": "3"}}
    made = spec(data="sample", protocol="best-on-test")["spec"]
    told = find_inconsistencies(
        [run("mbt", **spec(data="sample")), run("mart", **odd, spec=made, run={"label_suffix": "odd"})]
    )
    assert [text.partition(":")[0] for text in told] == [
        *("BUILT-IN SAMPLE", "EPOCH CHOSEN ON TEST", "FROM SCRATCH"),
        *("MIXED presets", "MIXED commits", "MIXED versions of torch"),
    ]
    assert "mart (odd)" in told[2] and "mart (odd)" in told[3]
