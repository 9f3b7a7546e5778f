"""Clips that are kept in memory give what the file gives, and no more is kept than there is room for."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save_file

from datasets.kept import Store
from datasets.media import pack

FRAMES = 6


@pytest.fixture
def path(tmp_path: Path) -> Path:
    rng = np.random.default_rng(0)
    jpegs = [pack(rng.integers(0, 255, (8, 10, 3), dtype=np.uint8)) for _ in range(FRAMES)]
    offsets = np.cumsum([0, *(len(jpeg) for jpeg in jpegs)])
    data = {
        "index": np.arange(FRAMES),
        "offsets": offsets,
        "jpegs": np.frombuffer(b"".join(jpegs), dtype=np.uint8),
        "sound": rng.random((40, 4)).astype(np.float32),
    }
    facts = {"frames": FRAMES, "sound": 40, "words": [["joy", 0.1, 0.2]], "content": "", "problems": []}
    save_file(data, tmp_path / "clip.safetensors", metadata={"facts": json.dumps(facts)})
    return tmp_path / "clip.safetensors"


@pytest.mark.parametrize("room", [0, 100, 1_000_000])
def test_kept_or_not_a_clip_is_the_same(path: Path, room: int) -> None:
    fresh = Store(0).open(path)
    store = Store(room)
    for frames in ([[0, 1], [1, 5]], [[2, 2], [0, 3]], [[0, 1], [4, 5]]):
        kept = store.open(path)
        pictures, rows = kept.pictures(np.array(frames))
        wanted, places = fresh.pictures(np.array(frames))
        assert pictures[rows].shape == (2, 2, 8, 10, 3)
        assert np.array_equal(pictures[rows], wanted[places])
        for place in (np.array([3, 4, 5]), np.array([39, 0])):
            assert np.array_equal(kept.sound(place), fresh.sound(place))


def test_no_more_is_kept_than_there_is_room_for(path: Path) -> None:
    of_index, of_pictures, of_sound = 8 * FRAMES, FRAMES * 8 * 10 * 3, 40 * 4 * 4
    for room, left in ((0, 0), (of_index, 0), (of_index + of_sound, 0), (of_index + of_sound + of_pictures + 7, 7)):
        store = Store(room)
        for _ in range(2):
            clip = store.open(path)
            clip.sound(np.array([0]))
            clip.pictures(np.array([0, 1]))
        assert store.room == left
        assert (store.open(path) is clip) == (room > 0)
