"""Prepared clips as they were read before: what fits into KEPT is decoded and parsed once a process, not once an epoch.

A prepared file is named by its content, so that its path tells what is in it. Of a set that does not fit, what was read
first stays, so that the memory does not grow with the data.

Key: h w pixels of a packed frame, F sound frames, M mel bins.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
from safetensors import safe_open

from bench.data import Word
from datasets.media.pictures import unpack
from datasets.store.prepared import read_facts

KEPT = 256_000_000  # bytes of decoded frames, sound, and what stands around them
CLIP, WORD = 2_000, 200  # bytes of a clip and of a word of it, about


class KeptClip:
    """A prepared clip: its facts and words, and its frames and sound, from memory where they were kept."""

    def __init__(self, path: Path, store: Store) -> None:
        self.path, self._store = path, store
        self.facts: dict[str, Any] = read_facts(path)
        self.words = [Word(*row) for row in self.facts["words"]]
        self._index: np.ndarray | None = None
        self._pictures: dict[int, np.ndarray] = {}
        self._sound: np.ndarray | None = None

    @property
    def overhead(self) -> int:
        """Bytes of what a kept clip holds beside frames and sound: its words and its index."""
        return CLIP + WORD * len(self.words) + 8 * int(self.facts["frames"])

    def index(self) -> np.ndarray:
        """Place of 1/30 s -> packed frame."""
        if self._index is None:
            with safe_open(self.path, framework="numpy") as file:
                self._index = file.get_tensor("index")
        return self._index

    def pictures(self, frames: Iterable[int]) -> dict[int, np.ndarray]:
        """Packed frame -> (h, w, 3) uint8; frames of one clip may differ in size."""
        wanted = set(frames)
        found = {frame: self._pictures[frame] for frame in wanted & self._pictures.keys()}
        missing = sorted(wanted - found.keys())
        if missing:
            with safe_open(self.path, framework="numpy") as file:
                offsets, jpegs = file.get_tensor("offsets"), file.get_slice("jpegs")
                for frame in missing:
                    found[frame] = unpack(jpegs[int(offsets[frame]) : int(offsets[frame + 1])].tobytes())
                    if self._store.has_room(found[frame].nbytes):
                        self._pictures[frame] = found[frame]
        return found

    def sound(self, places: np.ndarray) -> np.ndarray:
        """Log mel energies (F, M) at places of 10 ms; at least one."""
        if self._sound is None:
            with safe_open(self.path, framework="numpy") as file:
                sound = file.get_slice("sound")
                frames, mels = sound.get_shape()
                if not self._store.has_room(np.dtype(np.float16).itemsize * frames * mels):
                    first = int(places.min())
                    part: np.ndarray = sound[first : int(places.max()) + 1][places - first]
                    return part
                self._sound = np.asarray(sound[:])
        found: np.ndarray = self._sound[places]
        return found


class Store:
    """The clips of a process, as long as they fit."""

    def __init__(self, room: int = KEPT) -> None:
        self.room = room
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
            return KeptClip(path, NOWHERE)
        self._clips[path] = clip
        return clip


NOWHERE = Store(0)
STORE = Store()
