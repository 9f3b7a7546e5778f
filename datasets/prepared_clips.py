"""Prepared clips opened for training: the frames, sound and words of their segments, through a cache.

Clips that fit into the cache are decoded and parsed once a process, not once an epoch. Of a set that does not fit,
the clips that were read first stay, so that memory does not grow with the data. A prepared file is named by its
content, so its path identifies it.

Key: S segments, T frames, h w pixels of an encoded frame, H W pixels of a crop, F sound frames, M mel bins.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from bench.errors import MediaError, StoreError
from bench.rng import RngTree
from bench.types import Clip, Modality, OpenedClip, Sampling, Word
from datasets.decode.audio import SILENCE_LEVEL
from datasets.decode.video import GOP_SIZE, ColourPlanes, FrameDecoder
from datasets.prepare import open_prepared_file
from datasets.segments import MISSING_FRAME, cut_segments

MASK_BINS_DIVISOR, MAX_MASK_FRAMES = 8, 20  # SpecAugment: at most one eighth of the bins, at most 20 frames of 10 ms

CACHE_BYTES = 256_000_000  # bytes of decoded frames, sound, and what stands around them
CLIP_BYTES, WORD_BYTES, FRAME_BYTES = 2_000, 200, 12  # bytes of a clip, of a word and of a frame's place in it, about


@dataclass(frozen=True)
class PreparedClipSet:
    """A ClipSet over prepared files; holds paths and labels only."""

    clips: tuple[Clip, ...]
    paths: tuple[Path, ...]

    def read(self, index: int, sampling: Sampling, streams: RngTree, epoch: int) -> OpenedClip:
        """Clip `index` opened; random moments, crop, flip and SpecAugment follow from (seed, epoch, clip key)."""
        key = self.clips[index].key
        rng = streams.numpy("augmentation", epoch, key) if sampling.training else None
        return open_clip(self.paths[index], sampling, rng)


def open_clip(path: Path, sampling: Sampling, rng: np.random.Generator | None) -> OpenedClip:
    """The segments of a prepared clip; with `rng` at random moments, cropped, flipped and masked at random.

    The draws of a modality that is absent are made all the same, so that each clip has its own fixed sequence.
    """
    kept = CACHE.open(path)
    facts, words = kept.facts, kept.words
    found: dict[Modality, Any] = {"video": facts["frames"], "audio": facts["sound"], "words": words}
    has = {name: bool(there) and name in sampling.modalities for name, there in found.items()}
    segments = cut_segments(facts["frames"], facts["sound"], words, sampling, rng)
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
    said = tuple(segment.words for segment in segments)
    return OpenedClip(torch.from_numpy(video), torch.from_numpy(audio), said, torch.tensor(list(has.values())))


def _read_video(kept: CachedClip, places: list[np.ndarray], corner: np.ndarray, flipped: bool, out: np.ndarray) -> None:
    """Fill (S, T, H, W, 3) with one crop of the frames at `places`."""
    size = out.shape[2]
    sides = zip(corner, kept.facts["size"], strict=True)
    top, left = (int(share * (side - size + 1) * (1 - 1e-9)) for share, side in sides)
    kept.read_frames(np.stack(places), Crop(top, left, size, flipped), out)


def _read_audio(kept: CachedClip, places: list[np.ndarray], out: np.ndarray) -> None:
    """Fill (S, F, M) with the sound frames at `places`; silence past the end of the sound."""
    out[:] = SILENCE_LEVEL
    for segment, filled in zip(places, out, strict=True):
        known = segment != MISSING_FRAME
        if known.any():
            filled[known] = kept.read_audio(segment[known])


def _mask_audio(audio: np.ndarray, drawn: np.ndarray) -> None:
    """SpecAugment (Park et al., 2019): one band of bins and one of frames of each segment become its mean."""
    frames, mels = audio.shape[1:]
    for s, mean in enumerate(audio.mean((1, 2))):
        bins = int(drawn[s, 0] * (mels // MASK_BINS_DIVISOR + 1))
        start = int(drawn[s, 1] * (mels - bins + 1))
        audio[s, :, start : start + bins] = mean
        steps = int(drawn[s, 2] * (MAX_MASK_FRAMES + 1))
        start = int(drawn[s, 3] * (frames - steps + 1))
        audio[s, start : start + steps] = mean


@dataclass(frozen=True)
class Crop:
    """The part of a frame that is wanted: rows, columns, and whether it is mirrored."""

    top: int
    left: int
    size: int
    flipped: bool

    def apply(self, picture: np.ndarray) -> np.ndarray:
        """(..., H, W) of (..., h, w)."""
        part = picture[..., self.top : self.top + self.size, self.left : self.left + self.size]
        return part[..., ::-1] if self.flipped else part


class CachedClip:
    """A prepared clip: its facts and words, and its frames and sound, from memory where they were kept."""

    def __init__(self, path: Path, store: ClipCache) -> None:
        self.path, self._cache = path, store
        self._opened: Any = None
        self.facts: dict[str, Any] = json.loads(self._file.metadata()["facts"])
        self.words = [Word(*row) for row in self.facts.pop("words")]
        self._index: np.ndarray | None = None
        self._offsets: np.ndarray = np.zeros(1, dtype=np.int64)
        self._pictures: np.ndarray | None = None  # (n, h, w, 3); rows are valid where `_decoded` says so
        self._decoded: np.ndarray = np.zeros(0, dtype=bool)
        self._sound: np.ndarray | None = None

    @property
    def _file(self) -> Any:
        if self._opened is None:
            self._opened = open_prepared_file(self.path)
        return self._opened

    @property
    def overhead(self) -> int:
        """Bytes of what a kept clip holds beside frames and sound: its words and its index."""
        return CLIP_BYTES + WORD_BYTES * len(self.words) + FRAME_BYTES * int(self.facts["frames"])

    def close(self) -> None:
        """Let go of the file until more of it is wanted."""
        self._opened = None

    def read_frames(self, places: np.ndarray, crop: Crop, out: np.ndarray) -> None:
        """Fill (S, T, H, W, 3) with the frames at (S, T) places of 1/30 s."""
        if self._index is None:
            self._index, self._offsets = self._file.get_tensor("index"), self._file.get_tensor("offsets")
            count, (height, width) = len(self._offsets) - 1, self.facts["size"]
            if self._cache.reserve(3 * count * height * width):
                self._pictures = np.empty((count, height, width, 3), dtype=np.uint8)
                self._decoded = np.zeros(count, dtype=bool)
        frames = self._index[places]
        if self._pictures is None:
            self._decode_crops(frames, crop, out)
            return
        if not self._decoded[frames].all():
            self._decode_groups(self._pictures, frames)
        rows, columns = slice(crop.top, crop.top + crop.size), slice(crop.left, crop.left + crop.size)
        part = self._pictures[:, rows, columns]
        out[:] = (part[:, :, ::-1] if crop.flipped else part)[frames]

    def read_audio(self, places: np.ndarray) -> np.ndarray:
        """Read (F, M) float16 log mel energies at places of 10 ms, all of which are there; at least one."""
        if self._sound is None:
            stored = self._file.get_slice("sound")
            if not self._cache.reserve(np.dtype(np.float16).itemsize * int(np.prod(stored.get_shape()))):
                first = int(places.min())
                part: np.ndarray = stored[first : int(places.max()) + 1][places - first]
                return part
            self._sound = self._file.get_tensor("sound")
        found: np.ndarray = self._sound[places]
        return found

    def _decode_crops(self, frames: np.ndarray, crop: Crop, out: np.ndarray) -> None:
        """Each wanted frame decoded, and of it nothing but the crop put in its places."""
        shown = out.reshape(-1, *out.shape[2:])
        for frame, colours in self._decode_frames(np.unique(frames).tolist()):
            first, *others = np.flatnonzero(frames == frame)
            np.stack([crop.apply(colour) for colour in colours], axis=-1, out=shown[first])
            shown[others] = shown[first]

    def _decode_groups(self, pictures: np.ndarray, frames: np.ndarray) -> None:
        """Whole groups, since their first frames are decoded anyway."""
        groups = np.unique(frames[~self._decoded[frames]] // GOP_SIZE)
        wanted = [frame for group in groups * GOP_SIZE for frame in range(group, min(group + GOP_SIZE, len(pictures)))]
        for frame, colours in self._decode_frames(wanted):
            np.stack(colours, axis=-1, out=pictures[frame])
        self._decoded[wanted] = True

    def _decode_frames(self, wanted: Iterable[int]) -> Iterator[tuple[int, ColourPlanes]]:
        offsets, packets = self._offsets.tolist(), self._file.get_slice("packets")
        try:
            yield from self._cache.decoder.decode(
                lambda number: packets[offsets[number] : offsets[number + 1]].tobytes(), wanted
            )
        except MediaError as error:
            raise StoreError(
                f"{self.path} is damaged: its {error}; remove the file, and it is prepared again"
            ) from None


class ClipCache:
    """The clips of a process, as long as they fit."""

    def __init__(self, room: int = CACHE_BYTES) -> None:
        self.free_bytes = room
        self.decoder = FrameDecoder()
        self._clips: dict[Path, CachedClip] = {}

    def reserve(self, size: int) -> bool:
        """Whether so many bytes more fit; they are taken as used."""
        if size > self.free_bytes:
            return False
        self.free_bytes -= size
        return True

    def open(self, path: Path) -> CachedClip:
        """The clip of a prepared file; one that does not stay keeps nothing."""
        if path in self._clips:
            return self._clips[path]
        clip = CachedClip(path, self)
        if self.reserve(clip.overhead):
            self._clips[path] = clip
        else:
            clip._cache = NO_CACHE
        return clip


NO_CACHE = ClipCache(0)
CACHE = ClipCache()
