"""What is told of val comes back from its files as it was; nothing else is kept."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from bench.explanations import StoredWordOutcome, read_explanations, write_explanations
from bench.types import DatasetSplits, Explanation, MaskSnapshot, PlantedWord, SampleTruth
from tests.toys import CARD, number_clips

CORPUS = DatasetSplits(
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
TOLD = Explanation(
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


def kept(folder: Path, **stages):
    return write_explanations(folder, "mart", CORPUS, stages), read_explanations(folder)


def test_what_is_told_comes_back_as_it_was(tmp_path):
    names, found = kept(tmp_path, pretrain={"low/val0": TOLD})
    assert sorted(names) == sorted(path.name for path in tmp_path.iterdir())
    assert (found.method, found.title, found.sample, found.classes) == ("mart", "Toy clips", True, CARD.classes)
    one = found.stages["pretrain"]["low/val0"]
    for name in ("curve", "recovered", "feature"):
        np.testing.assert_array_equal(getattr(one, name), getattr(TOLD, name).numpy())
    mask = one.masks["audio"]
    for name in ("hidden", "hints", "content"):
        np.testing.assert_array_equal(getattr(mask, name), getattr(MASK, name).numpy())
    assert (mask.grid, mask.patch, mask.stride) == (MASK.grid, MASK.patch, MASK.stride)


def test_a_word_has_the_check_that_drops_it_and_the_one_that_ought_to(tmp_path):
    _, found = kept(tmp_path, pretrain={"low/val0": TOLD})
    assert found.stages["pretrain"]["low/val0"].words == (
        StoredWordOutcome("grief", 0.5, None),
        StoredWordOutcome("calm", 1.5, "emotion", "emotion"),
        StoredWordOutcome("joy", 2.5, "sentiment"),
        StoredWordOutcome("gloom", 3.5, "degree"),
    )


def test_only_validation_clips_are_kept(tmp_path):
    keys = {clip.key for clips in (CORPUS.train, CORPUS.val, CORPUS.test) for clip in clips.clips}
    _, found = kept(tmp_path, finetune=dict.fromkeys(keys, replace(TOLD, masks={})))
    val = [clip.key for clip in CORPUS.val.clips]
    assert list(found.stages["finetune"]) == list(found.labels) == val
    assert found.shown == ("low/val0", "mid/val0", "high/val0")


def test_where_nothing_is_told_there_is_no_file(tmp_path):
    names, found = kept(tmp_path, pretrain={}, finetune={"low/val0": Explanation(None, ())})
    assert (names, found, list(tmp_path.iterdir())) == ([], None, [])
