"""The same content under two names: told, and dropped from the side of a split that would learn it by heart."""

from pathlib import Path

from bench.types import Clip
from datasets.prepare import PreparedClip, StoreRow, drop_leaking_duplicates, find_duplicates


def clip(key, split, looks="", sounds=""):
    row = StoreRow(key, "", "", (), key, "", True, (), 30, 100, 0, looks, sounds)
    return PreparedClip(Clip(key, 0, split, key), Path(key), row, ())


def leaks(*items):
    splits = {split: [item for item in items if item.clip.split == split] for split in ("train", "val", "test")}
    told = find_duplicates(items)
    kept, lost = drop_leaking_duplicates(splits)
    return {split: [item.clip.key for item in found] for split, found in kept.items()}, told, lost


def test_a_copy_of_a_test_clip_is_neither_trained_nor_selected_on():
    kept, told, lost = leaks(
        clip("joy/a", "train", "p1", "s1"), clip("joy/b", "val", "p1", "s1"), clip("joy/c", "test", "p1", "s1")
    )
    assert kept == {"train": [], "val": [], "test": ["joy/c"]}
    assert [(p.what, p.where) for p in told] == [
        ("same content", "joy/a")
    ] and "picture and sound as joy/b, joy/c" in told[0].why
    assert {(p.what, p.where) for p in lost} == {("leak", "joy/a"), ("leak", "joy/b")}


def test_the_same_picture_or_the_same_sound_is_enough():
    kept, told, _ = leaks(
        clip("joy/a", "train", "p1", "s1"),
        clip("joy/b", "test", "p1", "s2"),
        clip("fear/c", "train", "p3", "s2"),
        clip("fear/d", "train", "p4", "s4"),
    )
    assert kept["train"] == ["fear/d"]
    assert {p.where: p.why for p in told} == {
        "joy/a": "the same picture as joy/b",
        "fear/c": "the same sound as joy/b, under 2 classes",
    }


def test_copies_on_one_side_are_told_and_kept():
    kept, told, lost = leaks(clip("joy/a", "train", "p"), clip("joy/b", "train", "p"), clip("joy/c", "test", "q"))
    assert kept["train"] == ["joy/a", "joy/b"] and len(told) == 1 and not lost


def test_silence_and_black_are_nobodys_copy():
    kept, told, lost = leaks(clip("joy/a", "train"), clip("joy/b", "test"))
    assert kept["train"] and not told and not lost


def test_thousands_of_clips_of_one_picture_cost_no_more_than_their_number():
    items = [clip(f"joy/{number:05d}", "test" if number % 2 else "train", "card") for number in range(10_000)]
    kept, told, lost = leaks(*items)
    assert not kept["train"] and len(lost) == 5_000 and len(told) == 1 and "and 9995 more" in told[0].why
