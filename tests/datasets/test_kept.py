"""Cache of opened clips: cached data equal those of the file, and the capacity is never exceeded."""

from __future__ import annotations

import json
from pathlib import Path

import av
import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from bench.errors import StoreError
from datasets.prepared_clips import CLIP_BYTES, FRAME_BYTES, WORD_BYTES, CachedClip, ClipCache
from datasets.streams.video import GOP_SIZE, Crop, FrameDecoder, FrameEncoder

FRAMES, HEIGHT, WIDTH, SIZE = 3 * GOP_SIZE + 2, 9, 15, 8
OF_CLIP = CLIP_BYTES + WORD_BYTES + FRAME_BYTES * FRAMES
OF_FRAMES, OF_AUDIO = 3 * HEIGHT * WIDTH * FRAMES, 40 * 4 * 2
CROP = Crop(1, 3, SIZE, True)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    rng, packer = np.random.default_rng(0), FrameEncoder(min(HEIGHT, WIDTH))
    for _ in range(FRAMES):
        packer.add(av.VideoFrame.from_ndarray(rng.integers(0, 255, (HEIGHT, WIDTH, 3), dtype=np.uint8)))
    packets = packer.close()
    data = {
        "index": np.arange(FRAMES, dtype=np.int32),
        "offsets": np.cumsum([0, *map(len, packets)]),
        "packets": np.frombuffer(b"".join(packets), dtype=np.uint8),
        "sound": rng.random((40, 4)).astype(np.float16),
    }
    words = [["joy", 0.1, 0.2]]
    facts = {"frames": FRAMES, "size": [HEIGHT, WIDTH], "sound": 40, "words": words, "content": "", "problems": []}
    save_file(data, tmp_path / "clip.safetensors", metadata={"facts": json.dumps(facts)})
    return tmp_path / "clip.safetensors"


def frames(clip: CachedClip, places: list[list[int]], crop: Crop = CROP) -> np.ndarray:
    out = np.zeros((*np.shape(places), SIZE, SIZE, 3), dtype=np.uint8)
    clip.read_frames(np.array(places), crop, out)
    return out


def audio(clip: CachedClip, places: list[int]) -> np.ndarray:
    return clip.read_audio(np.array(places))


@pytest.mark.parametrize("room", [0, OF_CLIP, OF_CLIP + 500, 1_000_000])
def test_a_clip_is_the_same_with_and_without_a_cache(path: Path, room: int) -> None:
    store = ClipCache(room)
    for crop in (CROP, Crop(0, 0, SIZE, False)):
        for places in ([[0, 1], [1, 5]], [[30, 2], [0, FRAMES - 1]], [[0, 1], [4, 20]]):
            fresh, kept = ClipCache(0).open(path), store.open(path)
            assert np.array_equal(frames(kept, places, crop), frames(fresh, places, crop))
            assert np.array_equal(audio(kept, [39, 0, 3]), audio(fresh, [39, 0, 3]))
            kept.close()


def test_cached_frames_are_not_decoded_again(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    decoded: list[bytes] = []
    decode = FrameDecoder._decode_packet
    monkeypatch.setattr(FrameDecoder, "_decode_packet", lambda self, data: decoded.append(data) or decode(self, data))
    store = ClipCache()
    for _ in range(2):
        frames(store.open(path), [[0, 1, GOP_SIZE + 1, 3]])
    assert len(decoded) == 2 * GOP_SIZE


def test_only_the_groups_of_the_requested_frames_are_decoded(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    decoded: list[bytes] = []
    decode = FrameDecoder._decode_packet
    monkeypatch.setattr(FrameDecoder, "_decode_packet", lambda self, data: decoded.append(data) or decode(self, data))
    frames(ClipCache(0).open(path), [[2 * GOP_SIZE + 1, 2 * GOP_SIZE, 2 * GOP_SIZE + 2]])
    assert len(decoded) == 3


def test_the_cache_never_exceeds_its_capacity(path: Path) -> None:
    whole = OF_CLIP + OF_AUDIO + OF_FRAMES
    for room, left in ((OF_CLIP - 1, OF_CLIP - 1), (OF_CLIP, 0), (OF_CLIP + OF_AUDIO, 0), (whole + 7, 7)):
        store = ClipCache(room)
        for _ in range(2):
            clip = store.open(path)
            audio(clip, [0])
            frames(clip, [[*range(FRAMES)]])
        assert store.free_bytes == left
        assert (store.open(path) is clip) == (room >= OF_CLIP)


def test_a_damaged_file_is_an_error_that_states_the_remedy(path: Path) -> None:
    packets = load_file(path)["packets"].tobytes()
    path.write_bytes(path.read_bytes().replace(packets, bytes(len(packets))))
    with pytest.raises(StoreError, match=r"is damaged: .*; remove the file to prepare it again"):
        frames(ClipCache(0).open(path), [[0, 1]])
