"""The files that a clip is made of: marks that change when they do, and the hash of their bytes."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path
from stat import S_ISDIR

from bench.data import Clip
from bench.files import sha256
from datasets.media.frames import frames_mark, number_frames


def quick_mark(clip: Clip, ends: tuple[str, ...] = ()) -> str:
    """Name, size and time of change of each source; of a folder of frames its own time, and those of the pictures
    named in `ends`. A picture rewritten between them goes unseen: `full_mark` sees it."""
    marks = [clip.files.text]
    for path in sources(clip):
        marks += [path.name, _stat(path), *(_stat(path / name) for name in ends if path == clip.files.frames)]
    return hashlib.sha256("\x1e".join(marks).encode()).hexdigest()[:24]


def full_mark(clip: Clip) -> str:
    """The same with every picture of a folder of frames: their number, total size and latest time."""
    return hashlib.sha256(f"{quick_mark(clip)}\x1e{_all_frames(clip)}".encode()).hexdigest()[:24]


def ends_of(clip: Clip) -> tuple[str, ...]:
    """The names of the first and the last picture of a folder of frames."""
    try:
        names = sorted(os.listdir(clip.files.frames)) if clip.files.frames is not None else []
    except OSError:
        names = []
    return tuple(dict.fromkeys(names[:1] + names[-1:]))


def hash_sources(clip: Clip) -> str:
    """The sha256 of all bytes of the sources, frame by frame for a folder."""
    digest = hashlib.sha256(clip.files.text.encode())
    for path in sources(clip):
        for file in sorted(number_frames(path, clip.key).paths) if path.is_dir() else [path]:
            digest.update(bytes.fromhex(sha256(file)))
    return digest.hexdigest()


def name_prepared(clip: Clip, content: str) -> str:
    """The name of a prepared file: it follows from the clip's key, its sources' names and their content."""
    marks = [clip.key, *(path.name for path in sources(clip)), content]
    return hashlib.sha256("\x1e".join(marks).encode()).hexdigest()[:32]


def sources(clip: Clip) -> list[Path]:
    """The files and folders of a clip that are there to be read."""
    files = clip.files
    return [path for path in (files.frames, files.video, files.audio, files.transcript) if path is not None]


def _all_frames(clip: Clip) -> str:
    if clip.files.frames is None:
        return ""
    try:
        return frames_mark(clip.files.frames)
    except OSError as error:
        return f"out of reach: {error.errno}"


def _stat(path: Path) -> str:
    try:
        stat = os.stat(path)
        return f"{'' if S_ISDIR(stat.st_mode) else stat.st_size}\x1f{stat.st_mtime_ns}"
    except OSError as error:
        return f"out of reach: {error.errno}"
