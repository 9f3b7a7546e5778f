"""Clips that are kept in memory give what the file gives, and no more is kept than there is room for."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save_file

from datasets.media.pictures import pack, unpack
from datasets.store.kept import CLIP, WORD, Store

SIDES = (8, 8, 8, 12, 8, 8)  # pixels: a folder of pictures may hold more than one size
FRAMES = len(SIDES)
OF_CLIP = CLIP + WORD + 8 * FRAMES
OF_PICTURES, OF_SOUND = 3 * 10 * sum(SIDES), 40 * 4 * 2


@pytest.fixture
def path(tmp_path: Path) -> Path:
    rng = np.random.default_rng(0)
    jpegs = [pack(rng.integers(0, 255, (side, 10, 3), dtype=np.uint8)) for side in SIDES]
    data = {
        "index": np.arange(FRAMES),
        "offsets": np.cumsum([0, *(len(jpeg) for jpeg in jpegs)]),
        "jpegs": np.frombuffer(b"".join(jpegs), dtype=np.uint8),
        "sound": rng.random((40, 4)).astype(np.float16),
    }
    facts = {"frames": FRAMES, "sound": 40, "words": [["joy", 0.1, 0.2]], "content": "", "problems": []}
    save_file(data, tmp_path / "clip.safetensors", metadata={"facts": json.dumps(facts)})
    return tmp_path / "clip.safetensors"


@pytest.mark.parametrize("room", [0, OF_CLIP, OF_CLIP + 500, 1_000_000])
def test_kept_or_not_a_clip_is_the_same(path: Path, room: int) -> None:
    fresh, store = Store(0).open(path), Store(room)
    for frames in ([0, 1, 1, 5], [2, 2, 0, 3], [0, 1, 4, 5]):
        kept = store.open(path)
        pictures, wanted = kept.pictures(frames), fresh.pictures(frames)
        assert pictures.keys() == wanted.keys() == set(frames)
        assert all(np.array_equal(pictures[frame], wanted[frame]) for frame in frames)
        for places in (np.array([3, 4, 5]), np.array([39, 0])):
            assert np.array_equal(kept.sound(places), fresh.sound(places))


def test_what_was_kept_is_not_decoded_again(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    decoded: list[bytes] = []
    monkeypatch.setattr("datasets.kept.unpack", lambda data: decoded.append(data) or unpack(data))
    store = Store()
    for _ in range(2):
        store.open(path).pictures([0, 1, 1, 3])
    assert len(decoded) == 3


def test_no_more_is_kept_than_there_is_room_for(path: Path) -> None:
    whole = OF_CLIP + OF_SOUND + OF_PICTURES
    for room, left in ((OF_CLIP - 1, OF_CLIP - 1), (OF_CLIP, 0), (OF_CLIP + OF_SOUND, 0), (whole + 7, 7)):
        store = Store(room)
        for _ in range(2):
            clip = store.open(path)
            clip.sound(np.array([0]))
            clip.pictures(range(FRAMES))
        assert store.room == left
        assert (store.open(path) is clip) == (room >= OF_CLIP)
