"""Prepared clips as they were read before: what fits into KEPT is decoded and parsed once a process, not once an epoch.

A prepared file is named by its content, so that its path tells what is in it. Of a set that does not fit, what was read
first stays, so that the memory does not grow with the data.

Key: S segments, T frames, h w pixels of a packed frame, H W of a crop, F sound frames, M mel bins.
"""

from __future__ import annotations

import json
import mmap
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from bench.data import Word
from bench.errors import MediaError, StoreError
from datasets.media.packed import GROUP, Colours, Unpacker

KEPT = 256_000_000  # bytes of decoded frames, sound, and what stands around them
CLIP, WORD, FRAME = 2_000, 200, 12  # bytes of a clip, of a word and of a frame's place in it, about
KINDS = {"U8": np.uint8, "I32": np.int32, "I64": np.int64, "F16": np.float16}  # as safetensors spells them


@dataclass(frozen=True)
class Crop:
    """The part of a frame that is wanted: rows, columns, and whether it is mirrored."""

    top: int
    left: int
    size: int
    flipped: bool

    def of(self, picture: np.ndarray) -> np.ndarray:
        """(..., H, W) of (..., h, w)."""
        part = picture[..., self.top : self.top + self.size, self.left : self.left + self.size]
        return part[..., ::-1] if self.flipped else part


class PreparedFile:
    """A prepared file that is opened once a read; just the bytes that are asked for are touched.

    It is a safetensors file. Its header is parsed here, once, because that library parses it for every tensor.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._bytes: mmap.mmap | None = None
        data = self._map()
        start = 8 + int.from_bytes(data[:8], "little")
        try:
            header = json.loads(data[8:start])
            self.facts: dict[str, Any] = json.loads(header.pop("__metadata__")["facts"])
            self._places = {
                name: (start + told["data_offsets"][0], KINDS[told["dtype"]], told["shape"])
                for name, told in header.items()
            }
        except (ValueError, KeyError, TypeError):
            raise StoreError(f"{path} is damaged; remove it, and it is prepared again") from None

    def tensor(self, name: str, first: int = 0, end: int | None = None) -> np.ndarray:
        """Rows `first` to `end` of a tensor."""
        start, kind, shape = self._places[name]
        end = shape[0] if end is None else end
        row = int(np.prod(shape[1:], dtype=int)) * np.dtype(kind).itemsize
        found = np.frombuffer(self._map()[start + first * row : start + end * row], dtype=kind)
        return found.reshape(end - first, *shape[1:])

    def bytes(self, name: str, first: int, end: int) -> bytes:
        """Bytes `first` to `end` of a tensor of bytes."""
        start = self._places[name][0]
        return self._map()[start + first : start + end]

    def close(self) -> None:
        """Let go of the file until it is read again."""
        if self._bytes is not None:
            self._bytes.close()
            self._bytes = None

    def _map(self) -> mmap.mmap:
        if self._bytes is None:
            try:
                with self.path.open("rb") as file:
                    self._bytes = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
            except (OSError, ValueError) as error:  # gone, or empty
                raise StoreError(f"{self.path} cannot be read ({error}); run `prepare` again") from None
        return self._bytes


class KeptClip:
    """A prepared clip: its facts and words, and its frames and sound, from memory where they were kept."""

    def __init__(self, path: Path, store: Store) -> None:
        self._file, self._store = PreparedFile(path), store
        self.facts = self._file.facts
        self.words = [Word(*row) for row in self.facts.pop("words")]
        self._index: np.ndarray | None = None
        self._offsets: np.ndarray = np.zeros(1, dtype=np.int64)
        self._pictures: np.ndarray | None = None  # (n, h, w, 3); rows are valid where `_decoded` says so
        self._decoded: np.ndarray = np.zeros(0, dtype=bool)
        self._sound: np.ndarray | None = None

    @property
    def overhead(self) -> int:
        """Bytes of what a kept clip holds beside frames and sound: its words and its index."""
        return CLIP + WORD * len(self.words) + FRAME * int(self.facts["frames"])

    def close(self) -> None:
        """Let go of the file until more of it is wanted."""
        self._file.close()

    def pictures(self, places: np.ndarray, crop: Crop, out: np.ndarray) -> None:
        """Fill (S, T, H, W, 3) with the frames at (S, T) places of 1/30 s."""
        if self._index is None:
            self._index, self._offsets = self._file.tensor("index"), self._file.tensor("offsets")
            count, (height, width) = len(self._offsets) - 1, self.facts["size"]
            if self._store.has_room(3 * count * height * width):
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

    def sound(self, places: np.ndarray, out: np.ndarray) -> None:
        """Fill (F, M) with log mel energies at places of 10 ms, all of which are there; at least one."""
        if self._sound is None:
            if not self._store.has_room(np.dtype(np.float16).itemsize * self.facts["sound"] * out.shape[-1]):
                first = int(places.min())
                out[:] = self._file.tensor("sound", first, int(places.max()) + 1)[places - first]
                return
            self._sound = self._file.tensor("sound")
        out[:] = self._sound[places]

    def _decode_crops(self, frames: np.ndarray, crop: Crop, out: np.ndarray) -> None:
        """Each wanted frame decoded, and of it nothing but the crop put in its places."""
        places: dict[int, list[int]] = {}
        for place, frame in enumerate(frames.ravel().tolist()):
            places.setdefault(frame, []).append(place)
        shown = out.reshape(-1, *out.shape[2:])
        for frame, colours in self._unpack(places):
            first, *others = places[frame]
            for channel, colour in enumerate(colours):
                shown[first, :, :, channel] = crop.of(colour)
            for place in others:
                shown[place] = shown[first]

    def _decode_groups(self, pictures: np.ndarray, frames: np.ndarray) -> None:
        """Whole groups, since their first frames are decoded anyway."""
        groups = np.unique(frames[~self._decoded[frames]] // GROUP)
        wanted = [frame for group in groups * GROUP for frame in range(group, min(group + GROUP, len(pictures)))]
        for frame, colours in self._unpack(wanted):
            for channel, colour in enumerate(colours):
                pictures[frame, :, :, channel] = colour
        self._decoded[wanted] = True

    def _unpack(self, wanted: Iterable[int]) -> Iterator[tuple[int, Colours]]:
        offsets = self._offsets
        try:
            yield from self._store.unpacker.pictures(
                lambda number: self._file.bytes("packets", int(offsets[number]), int(offsets[number + 1])), wanted
            )
        except MediaError as error:
            path = self._file.path
            raise StoreError(f"{path} is damaged: its {error}; remove the file, and it is prepared again") from None


class Store:
    """The clips of a process, as long as they fit."""

    def __init__(self, room: int = KEPT) -> None:
        self.room = room
        self.unpacker = Unpacker()
        self._clips: dict[Path, KeptClip] = {}

    def has_room(self, size: int) -> bool:
        """Whether so many bytes more fit; they are taken as used."""
        if size > self.room:
            return False
        self.room -= size
        return True

    def open(self, path: Path) -> KeptClip:
        """The clip of a prepared file; one that does not stay keeps nothing."""
        if path in self._clips:
            return self._clips[path]
        clip = KeptClip(path, self)
        if not self.has_room(clip.overhead):
            clip._store = NOWHERE
            return clip
        self._clips[path] = clip
        return clip


NOWHERE = Store(0)
STORE = Store()
