"""Tests of assigning records to arms: by stored request, or else by the preset nearest to the config."""

from __future__ import annotations

from dataclasses import replace

import pytest

from bench.files import sha256
from bench.record import RunFolder
from bench.requests import add_requests
from studies.requests import find_arm, get_arms
from studies.select import format_settings, match_requests, normalise_settings, read_records
from studies.studies import STUDIES
from tests.reports.made import make_run, make_search, request_for

ARMS = tuple(get_arms())
PINNED = tuple(name for name, arm in get_arms().items() if arm.overrides)
ABLATION = STUDIES["ablation"][0]


def matches(results, record, arms=ARMS, study=""):
    """Return (arm, preset, tuning, settings) for each match of a record."""
    (found,) = [one for one in read_records(results)[0] if one.record.key == record.key]
    found = replace(found, record=record)
    return [
        (one.request.arm, one.record.preset, one.request.tuning, one.variant[1])
        for one in match_requests(found, arms, study)
    ]


def ask_again(results, record, **facts):
    add_requests(RunFolder(results / "runs" / record.key), [request_for(record, **facts)])


@pytest.mark.parametrize("request_", [None, {}], ids=["unknown", "stored"])
@pytest.mark.parametrize("preset", ["quick", "paper"])
@pytest.mark.parametrize("arm", ARMS)
def test_the_record_of_a_preset_is_of_its_arm_and_no_other(tmp_path, arm, preset, request_):
    record = make_run(tmp_path, arm, preset=preset, error="stopped", request=request_)
    assert matches(tmp_path, replace(record, arm="another")) == [(arm, preset, "none", ())]


def test_values_of_an_unknown_request_that_make_another_arm_are_of_that_arm(tmp_path):
    record = make_run(tmp_path, "mart", set={"mask": "none"}, error="stopped")
    assert matches(tmp_path, record) == [("mart-no-masking", "quick", "none", ())]


def test_a_stored_request_for_the_base_method_keeps_its_name_and_what_was_set(tmp_path):
    record = make_run(tmp_path, "mart", set={"mask": "none"}, error="stopped", request={})
    assert matches(tmp_path, record) == [("mart", "quick", "none", (("mask", "none"),))]
    assert matches(tmp_path, record, ["mart-no-masking"]) == []


def test_a_run_requested_by_two_arms_matches_both(tmp_path):
    """Match a run of the full method also as the pinned arm if a search selected the pinned value."""
    values = dict(find_arm("mart-mask-random").overrides)
    winner = make_search(tmp_path, "mart", params={**values, "lr": 0.0015})
    record = make_run(
        tmp_path, "mart", set={**values, "lr": 0.0015}, error="stopped", request={"winner": winner, "settings": {}}
    )
    ask_again(tmp_path, record, arm="mart-mask-random", winner=winner)
    assert matches(tmp_path, record) == [
        ("mart", "quick", "per-arm", ()),
        ("mart-mask-random", "quick", "shared", ()),
    ]
    assert matches(tmp_path, record, ["mart-mask-random"]) == [("mart-mask-random", "quick", "shared", ())]


def test_requests_of_the_study_are_preferred(tmp_path):
    winner = make_search(tmp_path, "mart", params={"lr": 0.0015})
    record = make_run(tmp_path, "mart", set={"lr": 0.0015}, error="stopped", request={})
    assert matches(tmp_path, record, ABLATION.arms, "ablation") == [("mart", "quick", "none", (("lr", "0.0015"),))]
    ask_again(tmp_path, record, study="ablation", winner=winner)
    assert matches(tmp_path, record, ABLATION.arms, "ablation") == [("mart", "quick", "per-arm", ())]
    assert len(matches(tmp_path, record, STUDIES["comparison"][0].arms, "comparison")) == 2


def test_a_run_equal_under_two_presets_matches_each_requested_preset(tmp_path):
    record = make_run(tmp_path, "probe", error="stopped", request={})
    ask_again(tmp_path, record, preset="paper", study="comparison")
    expected = matches(tmp_path, record, ["probe"])
    assert [(arm, preset) for arm, preset, *_ in expected] == [("probe", "quick"), ("probe", "paper")]


@pytest.mark.parametrize("arm", PINNED)
def test_a_record_that_contradicts_a_pinned_value_never_matches_that_arm(tmp_path, arm):
    record = make_run(tmp_path, arm, error="stopped")
    for field in find_arm(arm).overrides:
        other = replace(record, spec=replace(record.spec, config={**record.spec.config, field: "another"}))
        assert arm not in {one for one, *_ in matches(tmp_path, other)}, field
    ask_again(tmp_path, record, settings={})
    assert [one for one, *_ in matches(tmp_path, record)] == [arm]
    assert arm not in {one for one, *_ in matches(tmp_path, other)}


@pytest.mark.parametrize(
    "facts",
    [
        {"arm": "gone"},
        {"arm": "mbt"},
        {"arm": "mart-no-masking"},
        {"preset": "tiny"},
        {"settings": {}},
        {"settings": {"lr": "0.2"}},
        {"settings": {"lr": "0.1", "epochs": "40"}},
        {"settings": {"lr": "0.2"}, "tuning": "per-arm", "tuned_by": "mart"},
    ],
    ids=str,
)
def test_a_stored_request_that_contradicts_its_record_is_ignored(tmp_path, facts):
    record = make_run(tmp_path, "mart", set={"lr": 0.1}, error="stopped")
    ask_again(tmp_path, record, **{"settings": {"lr": "0.1"}, **facts})
    assert matches(tmp_path, record) == [("mart", "quick", "none", (("lr", "0.1"),))]


def test_a_record_of_an_unknown_preset_or_method_matches_no_arm(tmp_path):
    record = make_run(tmp_path, "mart", error="stopped")
    assert matches(tmp_path, replace(record, preset="tiny")) == []
    assert matches(tmp_path, replace(record, spec=replace(record.spec, method="gone"))) == []


@pytest.mark.parametrize("request_", [None, {}], ids=["unknown", "stored"])
@pytest.mark.parametrize("arm", ["mart", "mbt", "mbt-long", "mart-no-masking"])
def test_user_settings_are_listed_by_field(tmp_path, arm, request_):
    record = make_run(tmp_path, arm, set={"lr": 0.1, "epochs": 3}, error="stopped", request=request_)
    assert matches(tmp_path, record) == [(arm, "quick", "none", (("epochs", "3"), ("lr", "0.1")))]


def test_a_file_is_identified_by_its_sha256(tmp_path):
    lexicon = tmp_path / "words.json"
    lexicon.write_text("{}")
    sha = sha256(lexicon)
    record = make_run(tmp_path, "mart", set={"lexicon": "file"}, weights={"lexicon": sha}, error="stopped")
    assert matches(tmp_path, record) == [("mart", "quick", "none", (("lexicon", sha),))]
    assert normalise_settings(["mart"], "quick", {"lexicon": str(lexicon)}) == (("lexicon", sha),)
    assert normalise_settings(["mart"], "quick", {"lexicon": sha}) == (("lexicon", sha),)
    assert format_settings((("epochs", "3"), ("lexicon", sha))) == f"epochs=3, lexicon={sha[:8]}"


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({"lr": "0.10"}, (("lr", "0.1"),)),
        ({"lr": "1e-1"}, (("lr", "0.1"),)),
        ({"epochs": "3"}, (("epochs", "3"),)),
        ({"recompute": "yes"}, (("recompute", "True"),)),
        ({"mask": "random", "epochs": "03"}, (("epochs", "3"), ("mask", "random"))),
        ({"lr": "2e-3"}, ()),  # the preset's own
        ({"epochs": "40", "lr": "0.1"}, (("lr", "0.1"),)),
        ({}, ()),
    ],
    ids=str,
)
def test_a_command_and_its_record_give_equal_settings(tmp_path, given, expected):
    record = make_run(tmp_path, "mart", set=given, error="stopped")
    assert normalise_settings(["mart"], "quick", given) == expected
    assert [settings for arm, _, _, settings in matches(tmp_path, record) if arm == "mart"] == [expected]


def test_settings_are_normalised_by_an_arm_that_has_the_field():
    given = {"pretrain_epochs": "2", "lr": "0.1"}
    assert normalise_settings(["mbt", "mart"], "quick", given) == (("lr", "0.1"), ("pretrain_epochs", "2"))
    assert normalise_settings(["mbt"], "quick", given) == (("lr", "0.1"),)
    assert normalise_settings(["mart-no-masking", "mart"], "quick", {"mask": "random"}) == (("mask", "random"),)
