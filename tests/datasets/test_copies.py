"""Duplicates under two names: reported, and dropped from the earlier split if they are in two."""

from pathlib import Path

from bench.types import Clip
from datasets.prepare import PreparedClip, StoreRow, drop_leaking_duplicates, find_duplicates


def clip(key, split, looks="", sounds=""):
    row = StoreRow(key, key, "", True, (), 30, 100, 0, looks, sounds)
    return PreparedClip(Clip(key, 0, split, key), Path(key), row, ())


def resolve(*items):
    splits = {split: [item for item in items if item.clip.split == split] for split in ("train", "val", "test")}
    duplicates = find_duplicates(items)
    remaining, dropped = drop_leaking_duplicates(splits)
    return {split: [item.clip.key for item in found] for split, found in remaining.items()}, duplicates, dropped


def test_a_copy_of_a_test_clip_is_neither_trained_nor_selected_on():
    remaining, duplicates, dropped = resolve(
        clip("joy/a", "train", "p1", "s1"), clip("joy/b", "val", "p1", "s1"), clip("joy/c", "test", "p1", "s1")
    )
    assert remaining == {"train": [], "val": [], "test": ["joy/c"]}
    assert [(p.what, p.where) for p in duplicates] == [
        ("same content", "joy/a")
    ] and "audio and video as joy/b, joy/c" in duplicates[0].why
    assert {(p.what, p.where) for p in dropped} == {("leak", "joy/a"), ("leak", "joy/b")}
    assert {p.why for p in dropped} == {f"same content as joy/c in test; left out of {s}" for s in ("train", "val")}


def test_the_same_video_or_the_same_audio_is_enough():
    remaining, duplicates, _ = resolve(
        clip("joy/a", "train", "p1", "s1"),
        clip("joy/b", "test", "p1", "s2"),
        clip("fear/c", "train", "p3", "s2"),
        clip("fear/d", "train", "p4", "s4"),
    )
    assert remaining["train"] == ["fear/d"]
    assert {p.where: p.why for p in duplicates} == {
        "joy/a": "same video as joy/b",
        "fear/c": "same audio as joy/b (2 classes)",
    }


def test_copies_within_one_split_are_reported_and_used():
    remaining, duplicates, dropped = resolve(
        clip("joy/a", "train", "p"), clip("joy/b", "train", "p"), clip("joy/c", "test", "q")
    )
    assert remaining["train"] == ["joy/a", "joy/b"] and len(duplicates) == 1 and not dropped


def test_silent_or_black_clips_are_no_copies():
    remaining, duplicates, dropped = resolve(clip("joy/a", "train"), clip("joy/b", "test"))
    assert remaining["train"] and not duplicates and not dropped


def test_thousands_of_clips_of_the_same_video_are_compared_in_linear_time():
    items = [clip(f"joy/{number:05d}", "test" if number % 2 else "train", "card") for number in range(10_000)]
    remaining, duplicates, dropped = resolve(*items)
    assert (
        not remaining["train"]
        and len(dropped) == 5_000
        and len(duplicates) == 1
        and "and 9995 more" in duplicates[0].why
    )
