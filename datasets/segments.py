"""The timeline of a clip: its slots, and the frames, audio and words of each segment (METHOD.md section 1).

Key: S slots, T frames, F = 100 audio frames of 10 ms. Pure arithmetic: nothing here reads a file.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from bench.types import Sampling, Word

FRAME_RATE = 30  # frames of picture a second
AUDIO_FRAME_RATE = 100  # frames of sound a second
MISSING_FRAME = -1  # a sound frame past the end of a sound that is shorter than its picture


@dataclass(frozen=True)
class Segment:
    """Places on the clip's own time lines."""

    frames: np.ndarray  # (T,) int, of 1/30 s; empty without picture
    sound: np.ndarray  # (F,) int, of 10 ms; MISSING past its end
    words: tuple[Word, ...]


def cut_segments(
    frames: int, sound: int, words: Sequence[Word], sampling: Sampling, rng: np.random.Generator | None
) -> list[Segment]:
    """The S segments of a clip of `frames` (1/30 s) and `sound` (10 ms) places; 0 where a modality is absent.

    Picture and sound share one moment of the slot: drawn from `rng`, or its middle without one. A clip too short for
    S segments of T frames is looped up to that length; looped copies bring no words.
    """
    seconds = frames / FRAME_RATE if frames else sound / AUDIO_FRAME_RATE
    spans = compute_slots(seconds, sampling)
    length = spans[-1][1]
    drawn = rng.random(sampling.segments) if rng is not None else np.full(sampling.segments, 0.5)
    moments = np.array([start for start, _ in spans]) + drawn * (length / sampling.segments)
    seen = _place_video_frames(moments, frames, length, sampling)
    heard = _place_audio_frames(moments, sound, seconds, length)
    return [
        Segment(shown, sounded, tuple(word for word in words if start <= word.start < min(end, seconds)))
        for shown, sounded, (start, end) in zip(seen, heard, spans, strict=True)
    ]


def compute_slots(seconds: float, sampling: Sampling) -> list[tuple[float, float]]:
    """(start, end) in seconds of the S slots of a clip; beyond its end lie the looped copies of a short one."""
    length = max(seconds, sampling.segments * sampling.frames * sampling.stride / FRAME_RATE)
    edges = [number * (length / sampling.segments) for number in range(sampling.segments)]
    return list(pairwise([*edges, length]))


def _place_video_frames(moments: np.ndarray, frames: int, length: float, sampling: Sampling) -> np.ndarray:
    """(S, T) places around the moments, shifted to stay inside the looped clip."""
    if not frames:
        return np.zeros((len(moments), 0), dtype=np.int64)
    span = (sampling.frames - 1) * sampling.stride + 1
    latest = max(0, round(length * FRAME_RATE) - span)
    first = np.rint(moments * FRAME_RATE - span / 2).astype(np.int64).clip(0, latest)
    return (first[:, None] + np.arange(sampling.frames) * sampling.stride) % frames


def _place_audio_frames(moments: np.ndarray, sound: int, seconds: float, length: float) -> np.ndarray:
    """(S, F) places of one second around the moments, shifted to stay inside the looped clip."""
    if not sound:
        return np.full((len(moments), AUDIO_FRAME_RATE), MISSING_FRAME)
    latest = max(0, round(length * AUDIO_FRAME_RATE) - AUDIO_FRAME_RATE)
    first = np.rint(moments * AUDIO_FRAME_RATE - AUDIO_FRAME_RATE / 2).astype(np.int64).clip(0, latest)
    places = (first[:, None] + np.arange(AUDIO_FRAME_RATE)) % max(1, round(seconds * AUDIO_FRAME_RATE))
    return np.where(places < sound, places, MISSING_FRAME)
