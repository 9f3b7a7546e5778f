"""A record is named by its values alone: its arm, whose values it has, and what was set by hand."""

from __future__ import annotations

from dataclasses import replace

import pytest

from bench.files import sha256
from studies.ask import find_arm, known_arms
from studies.report.naming import Name, in_words, names_of, settings_of
from studies.report.searches import read_searches
from tests.reports.made import make_run, make_search

ARMS = tuple(known_arms())
PINNED = tuple(name for name, arm in known_arms().items() if arm.overrides)
OF_MART = ("mart", "mart-no-masking", "mart-mask-tube", "mbt-long", "mart-video")
TUNED = {"lr": 0.0015, "weight_decay": 0.01, "pretrain_lr": 0.0007}


def names(tmp_path, record, full="mart"):
    return names_of(record, read_searches(tmp_path)[0], full)


def free(arm, params):
    """The values of a search that an arm takes."""
    found = find_arm(arm)
    return {name: value for name, value in params.items() if name in found.method.config.model_fields}


@pytest.mark.parametrize("preset", ["quick", "paper"])
@pytest.mark.parametrize("arm", ARMS)
def test_the_record_of_a_preset_is_named_as_its_arm_and_nothing_else(tmp_path, arm, preset):
    assert names(tmp_path, make_run(tmp_path, arm, preset=preset, error="stopped")) == [Name(arm, "own", (), 1)]


@pytest.mark.parametrize("arm", ARMS)
def test_the_label_of_a_record_is_not_believed(tmp_path, arm):
    record = make_run(tmp_path, arm, error="stopped")
    assert names(tmp_path, replace(record, arm="another")) == [Name(arm, "own", (), 1)]


def test_values_that_make_another_arm_name_that_arm(tmp_path):
    record = make_run(tmp_path, "mart", set={"mask": "none"}, error="stopped")
    assert names(tmp_path, record) == [Name("mart-no-masking", "own", (), 1)]


def test_two_arms_with_one_config_share_their_record(tmp_path):
    """The full method with its mask pinned to what a search chose is what the pinned arm is with that search."""
    values = dict(find_arm("mart-mask-random").overrides)
    make_search(tmp_path, "mart", params={**values, "lr": 0.0015})
    record = make_run(tmp_path, "mart", set={**values, "lr": 0.0015}, error="stopped")
    assert {(one.arm, one.values, one.settings) for one in names(tmp_path, record)} == {
        ("mart", "re-tuned", ()),
        ("mart-mask-random", "frozen", ()),
    }


@pytest.mark.parametrize("preset", ["quick", "paper"])
@pytest.mark.parametrize("arm", ["mart", "mbt", *OF_MART[1:]])
def test_the_values_of_an_own_search_are_re_tuned(tmp_path, arm, preset):
    params = free(arm, {"lr": 0.0017, "weight_decay": 0.01})
    make_search(tmp_path, arm, params=params, preset=preset)
    record = make_run(tmp_path, arm, set=params, preset=preset, error="stopped")
    assert names(tmp_path, record) == [Name(arm, "re-tuned", (), 6)]


@pytest.mark.parametrize("preset", ["quick", "paper"])
@pytest.mark.parametrize("arm", [*OF_MART[1:], "mbt", "mbt-video"])
def test_the_values_of_the_full_methods_search_are_frozen(tmp_path, arm, preset):
    make_search(tmp_path, "mart", params=TUNED, preset=preset)
    record = make_run(tmp_path, arm, set=free(arm, TUNED), preset=preset, error="stopped")
    assert names(tmp_path, record) == [Name(arm, "frozen", (), 6)]


@pytest.mark.parametrize("arm", ["probe", "majority"])
def test_an_arm_that_has_nothing_of_what_was_searched_keeps_its_own_values(tmp_path, arm):
    make_search(tmp_path, "mart", params=TUNED)
    assert names(tmp_path, make_run(tmp_path, arm, error="stopped")) == [Name(arm, "own", (), 1)]


def test_a_search_leaves_alone_what_an_arm_pins(tmp_path):
    make_search(tmp_path, "mart", params={**TUNED, "mask_to": 0.7, "w_cue": 0.3})
    record = make_run(tmp_path, "mart-mask-random", set={**TUNED, "w_cue": 0.3}, error="stopped")
    assert record.spec.config["mask_to"] == 0.9
    assert names(tmp_path, record) == [Name("mart-mask-random", "frozen", (), 6)]


def test_the_search_of_another_arm_than_the_full_method_freezes_nothing(tmp_path):
    make_search(tmp_path, "mart-video", params=TUNED)
    record = make_run(tmp_path, "mart-no-masking", set=TUNED, error="stopped")
    assert [(one.arm, one.values) for one in names(tmp_path, record)] == [("mart-no-masking", "own")]
    assert [one.values for one in names(tmp_path, record, full="mart-video")] == ["frozen"]


@pytest.mark.parametrize(("arm", "values"), [("mart", "re-tuned"), ("mart-no-masking", "frozen"), ("mbt", "frozen")])
def test_a_winner_with_the_presets_values_makes_a_run_tuned(tmp_path, arm, values):
    same = {"lr": find_arm("mart").method.config.preset("quick").model_dump()["lr"]}
    make_search(tmp_path, "mart", params=same)
    assert names(tmp_path, make_run(tmp_path, arm, error="stopped")) == [Name(arm, values, (), 6)]


def test_an_arm_can_be_frozen_and_re_tuned_at_once(tmp_path):
    make_search(tmp_path, "mart", params={"lr": 0.0015})
    make_search(tmp_path, "mart-no-masking", params={"lr": 0.0015}, tried={"finished": 9})
    record = make_run(tmp_path, "mart-no-masking", set={"lr": 0.0015}, error="stopped")
    assert sorted((one.values, one.tried) for one in names(tmp_path, record)) == [("frozen", 6), ("re-tuned", 9)]


def test_of_two_searches_with_one_winner_the_larger_counts(tmp_path):
    make_search(tmp_path, "mart", params={"lr": 0.0015}, tried={"finished": 4})
    make_search(tmp_path, "mart", params={"lr": 0.0015, "weight_decay": 0.04}, tried={"finished": 30})
    record = make_run(tmp_path, "mart", set={"lr": 0.0015}, error="stopped")
    assert names(tmp_path, record) == [Name("mart", "re-tuned", (), 30)]


@pytest.mark.parametrize(
    "other",
    [
        {"fold": 2},
        {"dataset": "perr"},
        {"preset": "paper"},
        {"preset": "paper", "base": find_arm("mart").method.config.preset("quick").model_dump(mode="json")},
        {"data": "sample"},
        {"winner": None},
    ],
    ids=lambda other: " and ".join(other),
)
def test_a_search_of_something_else_explains_nothing(tmp_path, other):
    make_search(tmp_path, "mart", params={"lr": 0.0015}, **other)
    record = make_run(tmp_path, "mart", set={"lr": 0.0015}, error="stopped")
    assert names(tmp_path, record) == [Name("mart", "own", (("lr", "0.0015"),), 1)]


def test_a_search_that_was_asked_for_with_other_values_explains_only_runs_with_these(tmp_path):
    make_search(tmp_path, "mart", params={"lr": 0.0015}, set={"epochs": 3})
    with_both = make_run(tmp_path, "mart", set={"lr": 0.0015, "epochs": 3}, error="stopped")
    without = make_run(tmp_path, "mart", set={"lr": 0.0015}, error="stopped")
    assert names(tmp_path, with_both) == [Name("mart", "re-tuned", (("epochs", "3"),), 6)]
    assert names(tmp_path, without) == [Name("mart", "own", (("lr", "0.0015"),), 1)]


@pytest.mark.parametrize("arm", ["mart", "mbt", "mbt-long"])
def test_values_set_by_hand_are_told_by_field(tmp_path, arm):
    record = make_run(tmp_path, arm, set={"lr": 0.1, "epochs": 3}, error="stopped")
    assert names(tmp_path, record) == [Name(arm, "own", (("epochs", "3"), ("lr", "0.1")), 1)]


def test_a_file_is_told_by_its_sha256(tmp_path):
    lexicon = tmp_path / "words.json"
    lexicon.write_text("{}")
    sha = sha256(lexicon)
    record = make_run(tmp_path, "mart", set={"lexicon": "file"}, weights={"lexicon": sha}, error="stopped")
    assert names(tmp_path, record) == [Name("mart", "own", (("lexicon", sha),), 1)]
    assert settings_of(["mart"], "quick", {"lexicon": str(lexicon)}) == (("lexicon", sha),)
    assert in_words((("epochs", "3"), ("lexicon", sha))) == f"epochs=3, lexicon={sha[:8]}"


@pytest.mark.parametrize("arm", PINNED)
def test_a_record_with_another_value_than_an_arm_pins_is_not_that_arm(tmp_path, arm):
    record = make_run(tmp_path, arm, error="stopped")
    for field in find_arm(arm).overrides:
        other = replace(record, spec=replace(record.spec, config={**record.spec.config, field: "another"}))
        assert arm not in {one.arm for one in names(tmp_path, other)}, field


def test_a_record_of_a_preset_or_method_that_is_not_known_has_no_name(tmp_path):
    record = make_run(tmp_path, "mart", error="stopped")
    assert names(tmp_path, replace(record, preset="tiny")) == []
    assert names(tmp_path, replace(record, spec=replace(record.spec, method="gone"))) == []


@pytest.mark.parametrize(
    ("given", "told"),
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
def test_a_command_and_its_record_tell_the_same_of_values_set_by_hand(tmp_path, given, told):
    record = make_run(tmp_path, "mart", set=given, error="stopped")
    assert settings_of(["mart"], "quick", given) == told
    assert [one.settings for one in names(tmp_path, record) if one.arm == "mart"] == [told]


def test_settings_are_told_by_whichever_arm_has_the_field():
    given = {"pretrain_epochs": "2", "lr": "0.1"}
    assert settings_of(["mbt", "mart"], "quick", given) == (("lr", "0.1"), ("pretrain_epochs", "2"))
    assert settings_of(["mbt"], "quick", given) == (("lr", "0.1"),)
    assert settings_of(["mart-no-masking", "mart"], "quick", {"mask": "random"}) == (("mask", "random"),)


def test_a_search_with_another_file_explains_nothing(tmp_path):
    lexicon = {"lexicon": "a" * 64}
    make_search(tmp_path, "mart", params={"lr": 0.0015}, weights={"lexicon": "b" * 64})
    (other,), _ = read_searches(tmp_path)
    record = make_run(tmp_path, "mart", set={"lr": 0.0015}, weights=lexicon)
    assert [name.values for name in names_of(record, [other], "mart")] == ["own"]
    assert [name.values for name in names_of(record, [replace(other, weights=lexicon)], "mart")] == ["re-tuned"]
