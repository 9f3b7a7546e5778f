"""Timeline of a clip: its slots, and the frames, audio and words of each segment (docs/methods.md).

Key: S segments (one per slot), T frames, F = 100 audio frames of 10 ms. Pure arithmetic; reads no file.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from bench.types import Sampling, Word

FRAME_RATE = 30  # video frames per second
AUDIO_FRAME_RATE = 100  # audio frames per second
MISSING_FRAME = -1  # audio frame past the end of audio that is shorter than its video


@dataclass(frozen=True)
class Segment:
    """Segment of a clip, as indices on the clip's video and audio timelines."""

    frames: np.ndarray  # (T,) int, of 1/30 s; empty without video
    sound: np.ndarray  # (F,) int, of 10 ms; MISSING_FRAME past the end of the audio
    words: tuple[Word, ...]


def cut_segments(
    frames: int, sound: int, words: Sequence[Word], sampling: Sampling, rng: np.random.Generator | None
) -> list[Segment]:
    """Cut a clip of `frames` video frames (1/30 s) and `sound` audio frames (10 ms) into S segments.

    A count of 0 means that the modality is absent. Video and audio of a segment are centred on one moment of its slot,
    drawn from `rng`, or the middle if `rng` is None. A clip too short for S segments of T frames is looped up to that
    length; looped copies have no words.
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
    """Return (start, end) in seconds of the S slots of a clip; slots after `seconds` are looped copies."""
    length = max(seconds, sampling.segments * sampling.video.frames * sampling.video.stride / FRAME_RATE)
    edges = [number * (length / sampling.segments) for number in range(sampling.segments)]
    return list(pairwise([*edges, length]))


def _place_video_frames(moments: np.ndarray, frames: int, length: float, sampling: Sampling) -> np.ndarray:
    """Return (S, T) frame indices around the moments, shifted to stay inside the looped clip."""
    if not frames:
        return np.zeros((len(moments), 0), dtype=np.int64)
    frames_per_segment, stride = sampling.video.frames, sampling.video.stride
    span = (frames_per_segment - 1) * stride + 1
    latest = max(0, round(length * FRAME_RATE) - span)
    first = np.rint(moments * FRAME_RATE - span / 2).astype(np.int64).clip(0, latest)
    places: np.ndarray = (first[:, None] + np.arange(frames_per_segment) * stride) % frames
    return places


def _place_audio_frames(moments: np.ndarray, sound: int, seconds: float, length: float) -> np.ndarray:
    """Return (S, F) indices of one second of audio around the moments, shifted to stay inside the looped clip."""
    if not sound:
        return np.full((len(moments), AUDIO_FRAME_RATE), MISSING_FRAME)
    latest = max(0, round(length * AUDIO_FRAME_RATE) - AUDIO_FRAME_RATE)
    first = np.rint(moments * AUDIO_FRAME_RATE - AUDIO_FRAME_RATE / 2).astype(np.int64).clip(0, latest)
    places = (first[:, None] + np.arange(AUDIO_FRAME_RATE)) % max(1, round(seconds * AUDIO_FRAME_RATE))
    return np.where(places < sound, places, MISSING_FRAME)
