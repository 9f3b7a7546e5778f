"""Compare parts of a file, frame by frame and sample by sample, with the slices of its whole decoding."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bench.types import Clip, ClipSources
from datasets.decode import clip as decoding
from datasets.decode import video
from datasets.decode.audio import SAMPLE_RATE, read_samples
from datasets.decode.container import find_places
from datasets.segments import FRAME_RATE


class FrameRecorder:
    """Stand-in for the encoder that stores a digest of each frame as its packet."""

    def __init__(self, side: int) -> None:
        self.size, self.packets = (side, side), []

    @property
    def count(self) -> int:
        return len(self.packets)

    @property
    def last_number(self) -> int:
        return max(0, self.count - 1)

    def add(self, frame: Any) -> None:
        self.packets.append(hashlib.sha256(frame.to_ndarray(format="rgb24").tobytes()).digest())

    def close(self) -> tuple[bytes, ...]:
        return tuple(self.packets)


def make_parts(files: ClipSources, spans: Sequence[tuple[float | None, float | None]]) -> list[Clip]:
    return [Clip(f"joy/p{n}", 0, "train", "g", files, start, end) for n, (start, end) in enumerate(spans)]


def read_frame_digests(found: Any) -> list[bytes]:
    """Return the digest of the frame at each place."""
    return [found.packets[number] for number in found.index]


def read_media(clips: Sequence[Clip]) -> dict[int, Any]:
    """Return number -> media of each part, with digests in place of packets."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(video, "FrameEncoder", FrameRecorder)
        return dict(decoding._read_media(clips, 24))


def check_slices(files: ClipSources, spans: Sequence[tuple[float | None, float | None]]) -> dict[int, Any]:
    """Assert that each part equals its slice of the whole file, and return the media of the parts."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(video, "FrameEncoder", FrameRecorder)
        frames: list[bytes] = []
        if files.frames is not None:
            frames = read_frame_digests(video.read_frame_folder(files.frames, 24, "k")[0])
        elif files.video is not None:
            frames = read_frame_digests(video.read_video(files.video, 24, "k")[0])
    source = files.audio or files.video
    samples = read_samples(source, "k")[0] if source is not None else np.zeros(0)
    clips = make_parts(files, spans)
    media = read_media(clips)
    assert sorted(media) == list(range(len(clips)))
    for number, clip in enumerate(clips):
        (first, stop), (begin, end) = find_places(clip, FRAME_RATE), find_places(clip, SAMPLE_RATE)
        if first < len(frames):
            shown = read_frame_digests(media[number].video)
            expected = frames[first:stop]
            assert len(shown) == len(expected), (clip, len(shown), len(expected))
            wrong = [n for n, (a, b) in enumerate(zip(shown, expected, strict=True)) if a != b]
            assert not wrong, (clip, wrong[:5])
        heard = media[number].samples
        assert np.array_equal(heard if heard is not None else np.zeros(0), samples[begin:end]), clip
    return media


def path_of(root: Path, name: str) -> Path:
    return root / name
