"""Prepared clips opened for training: the frames, audio and words of their segments, through a cache.

Clips that fit into the cache are decoded once per process, not once per epoch. The cache never evicts: if a set does
not fit, the clips read first stay cached, and memory does not grow with the data. A prepared file is named by its
content, so its path is the cache key.

Key: S segments, T frames, h w pixels of an encoded frame, H W pixels of a crop, F audio frames, M mel bins.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch

from bench.errors import MediaError, StoreError
from bench.rng import RngTree
from bench.types import FEATURES, Clip, OpenedClip, Sampling, SegmentWords, Word
from datasets.prepare import open_prepared_file
from datasets.segments import cut_segments
from datasets.streams.audio import fill_audio, mask_audio
from datasets.streams.video import GOP_SIZE, ColourPlanes, Crop, FrameDecoder

NO_FEATURES: Mapping[str, int] = {}
CACHE_BYTES = 256_000_000  # decoded frames and audio with their overhead
CLIP_BYTES, WORD_BYTES, FRAME_BYTES = 2_000, 200, 12  # approximate overhead of a clip, a word, a frame's index entry


@dataclass(frozen=True)
class PreparedClipSet:
    """ClipSet over prepared files; holds paths and labels only, so it is cheap to send to loader processes."""

    clips: tuple[Clip, ...]
    paths: tuple[Path, ...]
    features: Mapping[str, int] = field(default_factory=dict)  # `DatasetInfo.features`

    @property
    def contents(self) -> tuple[str, ...]:
        """Return the name of each clip's prepared file, a hash of its sources, and of the store."""
        return tuple(f"{path.parent.name}/{path.name}" for path in self.paths)

    def read(self, index: int, sampling: Sampling, streams: RngTree, epoch: int) -> OpenedClip:
        """Open clip `index`; in training its augmentation depends only on (seed, epoch, clip key)."""
        key = self.clips[index].key
        rng = streams.numpy("augmentation", epoch, key) if sampling.training else None
        return open_clip(self.paths[index], sampling, rng, self.features)


def open_clip(
    path: Path, sampling: Sampling, rng: np.random.Generator | None, features: Mapping[str, int] = NO_FEATURES
) -> OpenedClip:
    """Open the segments of a prepared clip; with `rng` at random moments, cropped, flipped and masked at random.

    `features` are the arrays of the data set, with their D; an absent one is opened as one step of zeros. The random
    draws of an absent stream are made too, so that they do not shift those of the others. Raises StoreError for a
    missing or damaged file.
    """
    clip = CACHE.open(path)
    facts, words = clip.facts, clip.words
    found: dict[str, Any] = {"video": facts["frames"], "audio": facts["sound"], "text": words}
    has = {name: bool(content) and sampling.reads_stream(name) for name, content in found.items()}
    segments = cut_segments(facts["frames"], facts["sound"], words, sampling, rng)
    corner = rng.random(2) if rng is not None else np.full(2, 0.5)
    flipped = rng is not None and rng.random() < 0.5
    size, mels = sampling.video.size, sampling.audio.mels
    video = np.zeros((sampling.segments, sampling.video.frames, size, size, 3), dtype=np.uint8)
    audio = np.zeros((sampling.segments, 100, mels), dtype=np.float32)
    if has["video"]:
        crop = Crop.place(corner, clip.facts["size"], size, flipped)
        clip.read_frames(np.stack([segment.frames for segment in segments]), crop, video)
    if has["audio"]:
        fill_audio(clip.read_audio, [segment.sound for segment in segments], audio)
    arrays = {
        f"{FEATURES}{name}": clip.read_features(name, width) if sampling.reads_stream(f"{FEATURES}{name}") else None
        for name, width in features.items()
    }
    clip.close()
    if rng is not None:
        masks = rng.random((sampling.segments, 4))
        if has["audio"]:
            mask_audio(audio, masks)
    by_segment = tuple(segment.words for segment in segments)
    streams: dict[str, torch.Tensor | SegmentWords] = {
        "video": torch.from_numpy(video),
        "audio": torch.from_numpy(audio),
        "text": by_segment if has["text"] else ((),) * sampling.segments,
    }
    for (name, values), width in zip(arrays.items(), features.values(), strict=True):
        streams[name] = torch.zeros((1, width)) if values is None else torch.from_numpy(values)
    return OpenedClip(streams, {**has, **{name: values is not None for name, values in arrays.items()}})


class CachedClip:
    """Open prepared clip: facts and words, and frames and audio that are read from memory if cached."""

    def __init__(self, path: Path, cache: ClipCache) -> None:
        self.path, self._cache = path, cache
        self._opened: Any = None
        self.facts: dict[str, Any] = json.loads(self._file.metadata()["facts"])
        self.words = [Word(*row) for row in self.facts.pop("words")]
        self._index: np.ndarray | None = None
        self._offsets: np.ndarray = np.zeros(1, dtype=np.int64)
        self._frames: np.ndarray | None = None  # (n, h, w, 3); a frame is valid if its entry in `_decoded` is true
        self._decoded: np.ndarray = np.zeros(0, dtype=bool)
        self._audio: np.ndarray | None = None

    @property
    def _file(self) -> Any:
        if self._opened is None:
            self._opened = open_prepared_file(self.path)
        return self._opened

    @property
    def overhead(self) -> int:
        """Return the bytes that a cached clip takes without frames and audio: words and index."""
        return CLIP_BYTES + WORD_BYTES * len(self.words) + FRAME_BYTES * int(self.facts["frames"])

    def close(self) -> None:
        """Close the file; a later read opens it again."""
        self._opened = None

    def read_frames(self, places: np.ndarray, crop: Crop, out: np.ndarray) -> None:
        """Fill (S, T, H, W, 3) with the frames at (S, T) places of 1/30 s."""
        if self._index is None:
            self._index, self._offsets = self._file.get_tensor("index"), self._file.get_tensor("offsets")
            count, (height, width) = len(self._offsets) - 1, self.facts["size"]
            if self._cache.reserve(3 * count * height * width):
                self._frames = np.empty((count, height, width, 3), dtype=np.uint8)
                self._decoded = np.zeros(count, dtype=bool)
        numbers = self._index[places]
        if self._frames is None:
            self._decode_crops(numbers, crop, out)
            return
        if not self._decoded[numbers].all():
            self._decode_groups(self._frames, numbers)
        rows, columns = slice(crop.top, crop.top + crop.size), slice(crop.left, crop.left + crop.size)
        part = self._frames[:, rows, columns]
        out[:] = (part[:, :, ::-1] if crop.flipped else part)[numbers]

    def read_audio(self, places: np.ndarray) -> np.ndarray:
        """Return (F, M) float16 log-mel energies at `places` of 10 ms; at least one, all inside the audio."""
        if self._audio is None:
            stored = self._file.get_slice("sound")
            if not self._cache.reserve(np.dtype(np.float16).itemsize * int(np.prod(stored.get_shape()))):
                first = int(places.min())
                part: np.ndarray = stored[first : int(places.max()) + 1][places - first]
                return part
            self._audio = self._file.get_tensor("sound")
        found: np.ndarray = self._audio[places]
        return found

    def read_features(self, name: str, width: int) -> np.ndarray | None:
        """Return the (L, D) array of a name; None if the clip has none, or one of another D than `width`."""
        if self.facts.get("features", {}).get(name) != width:
            return None
        values: np.ndarray = self._file.get_tensor(f"{FEATURES}{name}")
        return values

    def _decode_crops(self, numbers: np.ndarray, crop: Crop, out: np.ndarray) -> None:
        """Decode each frame of (S, T) `numbers` once and write its crop to all of its places in `out`."""
        crops = out.reshape(-1, *out.shape[2:])
        for number, colours in self._decode_frames(np.unique(numbers).tolist()):
            first, *others = np.flatnonzero(numbers == number)
            np.stack([crop.apply(colour) for colour in colours], axis=-1, out=crops[first])
            crops[others] = crops[first]

    def _decode_groups(self, frames: np.ndarray, numbers: np.ndarray) -> None:
        """Decode into `frames` the whole groups of pictures that hold `numbers`, as each decodes from its start."""
        groups = np.unique(numbers[~self._decoded[numbers]] // GOP_SIZE)
        needed = [number for group in groups * GOP_SIZE for number in range(group, min(group + GOP_SIZE, len(frames)))]
        for number, colours in self._decode_frames(needed):
            np.stack(colours, axis=-1, out=frames[number])
        self._decoded[needed] = True

    def _decode_frames(self, needed: Iterable[int]) -> Iterator[tuple[int, ColourPlanes]]:
        offsets, packets = self._offsets.tolist(), self._file.get_slice("packets")
        try:
            yield from self._cache.decoder.decode(
                lambda number: packets[offsets[number] : offsets[number + 1]].tobytes(), needed
            )
        except MediaError as error:
            raise StoreError(f"{self.path} is damaged: {error}; remove the file to prepare it again") from None


class ClipCache:
    """Cache of the clips of a process, up to a number of bytes."""

    def __init__(self, capacity: int = CACHE_BYTES) -> None:
        self.free_bytes = capacity
        self.decoder = FrameDecoder()
        self._clips: dict[Path, CachedClip] = {}

    def reserve(self, size: int) -> bool:
        """Return whether `size` more bytes fit; if so, count them as used."""
        if size > self.free_bytes:
            return False
        self.free_bytes -= size
        return True

    def open(self, path: Path) -> CachedClip:
        """Open a prepared file and cache the clip if it fits; otherwise the clip caches nothing itself."""
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
