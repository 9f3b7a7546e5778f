"""The files that a clip is made of: a name that changes when they do, and the hash of their bytes."""

from __future__ import annotations

import hashlib
from pathlib import Path

from bench.data import Clip
from bench.files import sha256
from datasets.media.frames import frames_mark, number_frames


def name_clip(clip: Clip) -> str:
    """A name that follows from the key and from each source's name, size and time of change; of a folder of frames,
    from all of them."""
    marks = [clip.key, *(f"{path.name}\x1f{_mark(path)}" for path in _sources(clip))]
    return hashlib.sha256("\x1e".join(marks).encode()).hexdigest()[:32]


def hash_sources(clip: Clip) -> str:
    """The sha256 of all bytes of the sources, frame by frame for a folder."""
    digest = hashlib.sha256()
    for path in _sources(clip):
        for file in sorted(number_frames(path, clip.key).paths) if path.is_dir() else [path]:
            digest.update(bytes.fromhex(sha256(file)))
    return digest.hexdigest()


def _sources(clip: Clip) -> list[Path]:
    files = clip.files
    return [path for path in (files.frames, files.video, files.audio, files.transcript) if path is not None]


def _mark(path: Path) -> str:
    try:
        if path.is_dir():
            return frames_mark(path)
        stat = path.stat()
        return f"{stat.st_size}\x1f{stat.st_mtime_ns}"
    except OSError as error:
        return f"out of reach: {error.errno}"
