"""Prepared clips as they were read before: what fits into KEPT is decoded and parsed once a process, not once an epoch.

A prepared file is named by its content, so that its path tells what is in it. Of a set that does not fit, what was read
first stays, so that the memory does not grow with the data.

Key: P packed frames of a clip, h w pixels of a packed frame, F sound frames, M mel bins.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from safetensors import safe_open

from bench.data import Word
from datasets.media import unpack
from datasets.prepared import read_facts

KEPT = 256_000_000  # bytes of decoded frames and sound


class KeptClip:
    """A prepared clip: its facts and words, and its frames and sound, from memory where they were kept."""

    def __init__(self, path: Path, store: Store) -> None:
        self.path, self._store = path, store
        self.facts: dict[str, Any] = read_facts(path)
        self.words = [Word(*row) for row in self.facts["words"]]
        self._index: np.ndarray | None = None
        self._pictures: np.ndarray | None = None  # (P, h, w, 3), filled where _decoded
        self._decoded = np.zeros(0, dtype=bool)
        self._sound: np.ndarray | None = None

    def index(self) -> np.ndarray:
        """Place of 1/30 s -> packed frame."""
        if self._index is None:
            with safe_open(self.path, framework="numpy") as file:
                self._index = file.get_tensor("index")
        return self._index

    def pictures(self, frames: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """(pictures (n, h, w, 3) uint8, rows): pictures[rows] are those of the packed frames."""
        if self._pictures is None:
            wanted, rows = np.unique(frames, return_inverse=True)
            found, packed = self._decode(wanted)
            if not self._store.has_room(packed * found[0].nbytes):
                return np.stack(found), rows.reshape(frames.shape)
            self._pictures = np.empty((packed, *found[0].shape), dtype=np.uint8)
            self._decoded = np.zeros(packed, dtype=bool)
        else:
            wanted = np.unique(frames[~self._decoded[frames]])
            found, _ = self._decode(wanted) if len(wanted) else ([], 0)
        for frame, picture in zip(wanted, found, strict=True):
            self._pictures[frame] = picture
        self._decoded[wanted] = True
        return self._pictures, frames

    def _decode(self, frames: np.ndarray) -> tuple[list[np.ndarray], int]:
        """The pictures of packed frames, and how many frames the file has."""
        with safe_open(self.path, framework="numpy") as file:
            offsets, jpegs = file.get_tensor("offsets"), file.get_slice("jpegs")
            packed = (jpegs[int(offsets[frame]) : int(offsets[frame + 1])] for frame in frames)
            return [unpack(data.tobytes()) for data in packed], len(offsets) - 1

    def sound(self, places: np.ndarray) -> np.ndarray:
        """Log mel energies (F, M) at places of 10 ms; at least one."""
        if self._sound is None:
            with safe_open(self.path, framework="numpy") as file:
                sound = file.get_slice("sound")
                frames, mels = sound.get_shape()
                if not self._store.has_room(4 * frames * mels):
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
        """The clip of a prepared file."""
        clip = self._clips.get(path)
        if clip is None:
            clip = KeptClip(path, self)
            if self.has_room(8 * int(clip.facts["frames"])):  # its index
                self._clips[path] = clip
        return clip


STORE = Store()
