"""Tests of explanation files: explanations of val clips are read as they were written, and no others are stored."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from bench.explanations import StoredWordOutcome, read_explanations, write_explanations
from bench.types import DatasetSplits, Explanation, MaskSnapshot, PlantedWord, SampleTruth
from tests.toys import CARD, number_clips

SPLITS = DatasetSplits(
    CARD,
    *(number_clips(split, 2) for split in ("train", "val", "test")),
    "f" * 64,
    "c" * 64,
    truth={"low/val0": SampleTruth((), (PlantedWord("grief", 0.5, None), PlantedWord("calm", 1.5, "emotion")))},
    is_sample=True,
)
MASK = MaskSnapshot(
    torch.tensor([[True, False]]),
    torch.tensor([[False, True]]),
    (1, 2),
    (4, 4),
    (4, 2),
    torch.arange(24.0).reshape(1, 6, 4),
)
EXPLANATION = Explanation(
    torch.tensor([[0.5, -0.25, 0.0]]),
    (
        StoredWordOutcome("grief", 0.5, None),
        StoredWordOutcome("calm", 1.5, "emotion"),
        StoredWordOutcome("joy", 2.5, "sentiment"),
        StoredWordOutcome("gloom", 3.5, "degree"),
    ),
    recovered=torch.tensor([[0.2, 0.3, 0.5]]),
    feature=torch.tensor([1.0, 2.0]),
    masks={"audio": MASK},
)


def written(folder: Path, **stages):
    return write_explanations(folder, "mart", SPLITS, stages), read_explanations(folder)


def test_explanations_are_read_as_they_were_written(tmp_path):
    names, found = written(tmp_path, pretrain={"low/val0": EXPLANATION})
    assert sorted(names) == sorted(path.name for path in tmp_path.iterdir())
    assert (found.method, found.title, found.sample, found.classes) == ("mart", "Toy clips", True, CARD.classes)
    one = found.stages["pretrain"]["low/val0"]
    for name in ("curve", "recovered", "feature"):
        np.testing.assert_array_equal(getattr(one, name), getattr(EXPLANATION, name).numpy())
    mask = one.masks["audio"]
    for name in ("hidden", "hints", "content"):
        np.testing.assert_array_equal(getattr(mask, name), getattr(MASK, name).numpy())
    assert (mask.grid, mask.patch, mask.stride) == (MASK.grid, MASK.patch, MASK.stride)


def test_a_word_has_the_check_that_drops_it_and_the_one_that_should(tmp_path):
    _, found = written(tmp_path, pretrain={"low/val0": EXPLANATION})
    assert found.stages["pretrain"]["low/val0"].words == (
        StoredWordOutcome("grief", 0.5, None),
        StoredWordOutcome("calm", 1.5, "emotion", "emotion"),
        StoredWordOutcome("joy", 2.5, "sentiment"),
        StoredWordOutcome("gloom", 3.5, "degree"),
    )


def test_only_validation_clips_are_stored(tmp_path):
    keys = {clip.key for clips in (SPLITS.train, SPLITS.val, SPLITS.test) for clip in clips.clips}
    _, found = written(tmp_path, finetune=dict.fromkeys(keys, replace(EXPLANATION, masks={})))
    val = [clip.key for clip in SPLITS.val.clips]
    assert list(found.stages["finetune"]) == list(found.labels) == val
    assert found.shown == ("low/val0", "mid/val0", "high/val0")


def test_empty_explanations_write_no_file(tmp_path):
    names, found = written(tmp_path, pretrain={}, finetune={"low/val0": Explanation(None, ())})
    assert (names, found, list(tmp_path.iterdir())) == ([], None, [])
