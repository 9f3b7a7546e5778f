"""Opening a prepared clip: just the frames, sound and words that its segments want.

Key: S segments, T frames, H W pixels, F sound frames, M mel bins.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import safe_open

from bench.data import Clip, Modality, Sample, Sampling, Word
from bench.streams import Streams
from datasets.media import unpack
from datasets.prepared import read_facts
from datasets.segments import MISSING, RATE, cut
from datasets.sound import FLOOR

KEPT = 256_000_000  # bytes of decoded frames that a process keeps
MASK_BINS, MASK_FRAMES = 8, 20  # SpecAugment: at most one eighth of the bins, at most 20 frames of 10 ms


@dataclass(frozen=True)
class PreparedClips:
    """A ClipSet over prepared files; holds paths and labels only."""

    clips: tuple[Clip, ...]
    paths: tuple[Path, ...]

    def read(self, index: int, sampling: Sampling, streams: Streams, epoch: int) -> Sample:
        """Clip `index` opened; random moments, crop, flip and SpecAugment follow from (seed, epoch, clip key)."""
        key = self.clips[index].key
        rng = streams.numpy("augmentation", epoch, key) if sampling.training else None
        return open_clip(self.paths[index], sampling, rng)


def open_clip(path: Path, sampling: Sampling, rng: np.random.Generator | None) -> Sample:
    """The segments of a prepared clip; with `rng` at random moments, cropped, flipped and masked at random.

    The draws of a modality that is absent are made all the same, so that each clip has its own fixed sequence.
    """
    facts: dict[str, Any] = read_facts(path)
    words = [Word(*row) for row in facts["words"]]
    found: dict[Modality, Any] = {"video": facts["frames"], "audio": facts["sound"], "words": words}
    has = {name: bool(there) and name in sampling.modalities for name, there in found.items()}
    segments = cut(facts["frames"], facts["sound"], words, sampling, rng)
    corner = rng.random(2) if rng is not None else np.full(2, 0.5)
    flipped = rng is not None and rng.random() < 0.5
    shape = (sampling.segments, sampling.frames, sampling.size, sampling.size, 3)
    video, audio = np.zeros(shape, dtype=np.uint8), np.zeros((sampling.segments, 100, sampling.mels), dtype=np.float32)
    with safe_open(path, framework="numpy") as file:
        if has["video"]:
            _read_video(path, file, [segment.frames for segment in segments], corner, flipped, video)
        if has["audio"]:
            _read_audio(file, [segment.sound for segment in segments], audio)
    if rng is not None:
        masks = rng.random((sampling.segments, 4))
        if has["audio"]:
            _mask_audio(audio, masks)
    present = torch.tensor(list(has.values()))
    return Sample(
        torch.from_numpy(video), torch.from_numpy(audio), tuple(segment.words for segment in segments), present
    )


def slots(seconds: float, sampling: Sampling) -> list[tuple[float, float]]:
    """(start, end) in seconds of the S slots of a clip; beyond its end lie the looped copies of a short one."""
    length = max(seconds, sampling.segments * sampling.frames * sampling.stride / RATE)
    edges = np.linspace(0, length, sampling.segments + 1).tolist()
    return list(pairwise(edges))


class _Decoded:
    """Frames as they were decoded, so that a set whose frames fit into KEPT is decoded once and not once an epoch; of a
    larger one the first that were read. A prepared file is named by its content, so that its path tells its frames."""

    def __init__(self) -> None:
        self.bytes = 0
        self.frames: dict[tuple[Path, int], np.ndarray] = {}

    def keep(self, path: Path, frame: int, picture: np.ndarray) -> None:
        """Remember a frame while there is room."""
        if self.bytes + picture.nbytes <= KEPT:
            self.bytes += picture.nbytes
            self.frames[path, frame] = picture


_DECODED = _Decoded()


def _read_video(
    path: Path, file: Any, places: list[np.ndarray], corner: np.ndarray, flipped: bool, out: np.ndarray
) -> None:
    """Fill (S, T, H, W, 3) with one crop of the frames at `places`; every frame is decoded once."""
    index, offsets, jpegs = file.get_tensor("index"), file.get_tensor("offsets"), file.get_slice("jpegs")
    size, cropped = out.shape[2], dict[int, np.ndarray]()
    for s, segment in enumerate(places):
        for t, frame in enumerate(index[segment].tolist()):
            if frame not in cropped:
                picture = _DECODED.frames.get((path, frame))
                if picture is None:
                    picture = unpack(jpegs[int(offsets[frame]) : int(offsets[frame + 1])].tobytes())
                    _DECODED.keep(path, frame, picture)
                cropped[frame] = _crop(picture, size, corner, flipped)
            out[s, t] = cropped[frame]


def _crop(picture: np.ndarray, size: int, corner: np.ndarray, flipped: bool) -> np.ndarray:
    top = int(corner[0] * (picture.shape[0] - size + 1) * (1 - 1e-9))
    left = int(corner[1] * (picture.shape[1] - size + 1) * (1 - 1e-9))
    cropped = picture[top : top + size, left : left + size]
    return cropped[:, ::-1] if flipped else cropped


def _read_audio(file: Any, places: list[np.ndarray], out: np.ndarray) -> None:
    """Fill (S, F, M) with the sound frames at `places`; silence past the end of the sound."""
    sound = file.get_slice("sound")
    for s, segment in enumerate(places):
        known = segment != MISSING
        out[s] = FLOOR
        if known.any():
            first, last = int(segment[known].min()), int(segment[known].max())
            out[s, known] = sound[first : last + 1][segment[known] - first]


def _mask_audio(audio: np.ndarray, drawn: np.ndarray) -> None:
    """SpecAugment (Park et al., 2019): one band of bins and one of frames of each segment become its mean."""
    segments, frames, mels = audio.shape
    for s in range(segments):
        mean = audio[s].mean()
        bins = int(drawn[s, 0] * (mels // MASK_BINS + 1))
        start = int(drawn[s, 1] * (mels - bins + 1))
        audio[s, :, start : start + bins] = mean
        steps = int(drawn[s, 2] * (MASK_FRAMES + 1))
        start = int(drawn[s, 3] * (frames - steps + 1))
        audio[s, start : start + steps] = mean
