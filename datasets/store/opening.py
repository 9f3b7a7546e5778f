"""Opening a prepared clip: just the frames, sound and words that its segments want.

Key: S segments, T frames, H W pixels, F sound frames, M mel bins.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from bench.data import Clip, Modality, Sample, Sampling
from bench.streams import Streams
from datasets.media.sound import FLOOR
from datasets.segments import MISSING, cut
from datasets.store.kept import STORE, Crop, KeptClip

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
    kept = STORE.open(path)
    facts, words = kept.facts, kept.words
    found: dict[Modality, Any] = {"video": facts["frames"], "audio": facts["sound"], "words": words}
    has = {name: bool(there) and name in sampling.modalities for name, there in found.items()}
    segments = cut(facts["frames"], facts["sound"], words, sampling, rng)
    corner = rng.random(2) if rng is not None else np.full(2, 0.5)
    flipped = rng is not None and rng.random() < 0.5
    shape = (sampling.segments, sampling.frames, sampling.size, sampling.size, 3)
    video, audio = np.zeros(shape, dtype=np.uint8), np.zeros((sampling.segments, 100, sampling.mels), dtype=np.float32)
    if has["video"]:
        _read_video(kept, [segment.frames for segment in segments], corner, flipped, video)
    if has["audio"]:
        _read_audio(kept, [segment.sound for segment in segments], audio)
    kept.close()
    if rng is not None:
        masks = rng.random((sampling.segments, 4))
        if has["audio"]:
            _mask_audio(audio, masks)
    present = torch.tensor(list(has.values()))
    return Sample(
        torch.from_numpy(video), torch.from_numpy(audio), tuple(segment.words for segment in segments), present
    )


def _read_video(kept: KeptClip, places: list[np.ndarray], corner: np.ndarray, flipped: bool, out: np.ndarray) -> None:
    """Fill (S, T, H, W, 3) with one crop of the frames at `places`."""
    size = out.shape[2]
    top, left = (
        int(share * (side - size + 1) * (1 - 1e-9)) for share, side in zip(corner, kept.facts["size"], strict=True)
    )
    kept.pictures(np.stack(places), Crop(top, left, size, flipped), out)


def _read_audio(kept: KeptClip, places: list[np.ndarray], out: np.ndarray) -> None:
    """Fill (S, F, M) with the sound frames at `places`; silence past the end of the sound."""
    for segment, filled in zip(places, out, strict=True):
        known = segment != MISSING
        if known.all():
            kept.sound(segment, filled)
            continue
        filled[:] = FLOOR
        if known.any():
            heard = np.empty((int(known.sum()), out.shape[2]), dtype=np.float32)
            kept.sound(segment[known], heard)
            filled[known] = heard


def _mask_audio(audio: np.ndarray, drawn: np.ndarray) -> None:
    """SpecAugment (Park et al., 2019): one band of bins and one of frames of each segment become its mean."""
    frames, mels = audio.shape[1:]
    for s, mean in enumerate(audio.mean((1, 2))):
        bins = int(drawn[s, 0] * (mels // MASK_BINS + 1))
        start = int(drawn[s, 1] * (mels - bins + 1))
        audio[s, :, start : start + bins] = mean
        steps = int(drawn[s, 2] * (MASK_FRAMES + 1))
        start = int(drawn[s, 3] * (frames - steps + 1))
        audio[s, start : start + steps] = mean
