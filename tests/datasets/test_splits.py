"""Validation folds and the fingerprint of a split."""

from collections import Counter
from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from bench.types import Clip
from datasets.catalog.ekman6 import INFO
from datasets.rows import assign_folds, compute_fingerprint

CLIPS = [
    Clip(f"{name}/{n}", label, "train", f"{name}/{n}") for label, name in enumerate(INFO.classes) for n in range(28)
]


def test_folds_are_stratified_and_of_one_size():
    folds = assign_folds(CLIPS, "ekman6")
    counts = Counter((clip.target, folds[clip.group]) for clip in CLIPS)
    assert set(counts.values()) == {5, 6}
    sizes = Counter(folds.values())
    assert max(sizes.values()) - min(sizes.values()) <= 1


@given(st.randoms())
def test_the_order_of_the_list_does_not_matter(random):
    mixed = random.sample(CLIPS, len(CLIPS))
    assert assign_folds(mixed, "ekman6") == assign_folds(CLIPS, "ekman6")


def test_each_data_set_is_cut_in_its_own_way():
    assert assign_folds(CLIPS, "ekman6") != assign_folds(CLIPS, "other")


def test_a_group_stays_whole():
    grouped = [replace(clip, group=f"{clip.target % 3}-{i // 4}") for i, clip in enumerate(CLIPS)]
    folds = assign_folds(grouped, "ekman6")
    assert set(folds) == {clip.group for clip in grouped}  # as a dict it has one fold per group


def test_the_fingerprint_follows_every_key_label_and_split():
    splits = {"train": CLIPS[:4], "val": CLIPS[4:6], "test": CLIPS[6:8]}
    same = {"test": CLIPS[6:8], "val": CLIPS[5:3:-1], "train": CLIPS[3::-1]}
    assert compute_fingerprint(splits, INFO) == compute_fingerprint(same, INFO)
    others = [
        {**splits, "train": CLIPS[:3]},
        {**splits, "train": CLIPS[:5], "val": CLIPS[5:6]},
        {**splits, "test": [replace(CLIPS[6], target=5), CLIPS[7]]},
        {**splits, "test": [replace(CLIPS[6], key="anger/x"), CLIPS[7]]},
    ]
    assert len({compute_fingerprint(splits, INFO), *(compute_fingerprint(other, INFO) for other in others)}) == 5
