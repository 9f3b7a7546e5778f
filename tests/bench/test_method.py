"""Tests of a method's "module:NAME" references, and of the notes that its review adds to a record."""

from dataclasses import replace
from types import FunctionType

import pytest

from bench.errors import ConfigError
from bench.explanations import StoredWordOutcome
from bench.method import resolve
from bench.mlflow import MlflowRun, MlflowStore
from bench.record import RunFolder
from bench.timing import Timer
from bench.tracker import RunTracker
from bench.types import DatasetSplits, Explanation, PlantedWord, SampleTruth
from tests import toys
from tests.toys import CARD, TOY, number_clips

FIGURES = {"loud.png": None}
SPLITS = DatasetSplits(
    CARD,
    *(number_clips(split, 2) for split in ("train", "val", "test")),
    "f" * 64,
    "c" * 64,
    truth={"low/val0": SampleTruth((), (PlantedWord("grief", 0.5, "tone"),))},
)


def review(truth, explanations, splits):
    """Return the number of explained and of planted words of each split."""
    return {
        f"{name}/{split}": float(sum(len(words(clips[key])) for key in keys if key in clips))
        for name, clips, words in (
            ("explained", explanations, lambda clip: clip.verdicts),
            ("planted", truth, lambda clip: clip.words),
        )
        for split, keys in splits.items()
    }


def test_a_reference_resolves_to_the_value_that_it_names():
    assert resolve("tests.toys:sampling", FunctionType) is toys.sampling
    assert resolve("tests.toys:TOY", type(TOY)) is TOY


@pytest.mark.parametrize(
    "reference", ["tests.toys", "tests.nowhere:TOY", "tests.toys:NOTHING", ":TOY", "tests.toys:CARD"]
)
def test_a_reference_to_nothing_of_its_kind_is_one_line_that_names_it(reference):
    with pytest.raises(ConfigError, match=f"'{reference}' is not the module:NAME of a function") as caught:
        resolve(reference, FunctionType)
    assert "\n" not in str(caught.value)


def test_a_method_has_a_review_and_figures_only_where_it_names_them():
    assert (TOY.load_review(), TOY.load_figures()) == (None, {})
    named = replace(TOY, review=f"{__name__}:review", figures=f"{__name__}:FIGURES")
    assert (named.load_review(), named.load_figures()) == (review, FIGURES)


@pytest.mark.parametrize(
    ("config", "weights", "expected"),
    [
        ({"weights_eye": "", "weights_ear": ""}, {}, True),
        ({"weights_eye": "file", "weights_ear": ""}, {"weights_eye": "a" * 64}, False),
        ({"weights_eye": "", "weights_ear": ""}, {"weights_words": "a" * 64}, True),  # not an encoder
        ({"lr": 0.1}, {}, False),  # a record of a version without pretrained weights
    ],
)
def test_a_run_is_from_scratch_where_no_encoder_started_from_weights(config, weights, expected):
    method = replace(TOY, encoder_weights=("weights_eye", "weights_ear"))
    assert method.is_from_scratch(config, weights) is expected
    assert not TOY.is_from_scratch(config, weights)


def test_the_review_of_a_stage_is_noted_under_its_name(tmp_path, quiet):
    tracker = RunTracker(MlflowRun(MlflowStore(tmp_path)), quiet, RunFolder(tmp_path), Timer())
    words = (StoredWordOutcome("grief", 0.5, None),)
    tracker.log_explanations("warm", dict.fromkeys(("low/train0", "mid/train0", "low/val0"), Explanation(None, words)))
    noted = tracker.make_notes(SPLITS, review)
    assert noted == {"warm/explained/train": 2, "warm/explained/val": 1, "warm/planted/train": 0, "warm/planted/val": 1}
    assert tracker.make_notes(SPLITS, None) == {}
