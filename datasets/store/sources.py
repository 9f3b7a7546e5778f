"""The files that a clip is made of: marks that change when they do, and the hash of their bytes."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable
from pathlib import Path
from stat import S_ISDIR

from bench.data import Clip
from bench.files import sha256
from datasets.media.frames import frames_mark, number_frames, picture_names


def quick_mark(clip: Clip, ends: tuple[str, ...] = ()) -> str:
    """Name, size and time of change of each source; of a folder of frames its own time, and those of the pictures
    named in `ends`. A picture rewritten between them goes unseen: `full_mark` sees it."""
    marks = [clip.files.text]
    for role, path in sources(clip):
        marks += [role, path.name, _stat(path), *(_stat(path / name) for name in ends if role == "frames")]
    return _hash(marks)[:24]


def full_mark(clip: Clip) -> str:
    """The same with every picture of a folder of frames: their number, total size and latest time."""
    return _hash([quick_mark(clip), _all_frames(clip)])[:24]


def ends_of(clip: Clip) -> tuple[str, ...]:
    """The names of the first and the last picture of a folder of frames."""
    try:
        names = picture_names(clip.files.frames) if clip.files.frames is not None else []
    except OSError:
        names = []
    return tuple(dict.fromkeys(names[:1] + names[-1:]))


def hash_sources(clip: Clip) -> str:
    """The sha256 of all bytes of the sources and of what each is for; of a folder frame by frame, with their names."""
    marks = [clip.files.text]
    for role, path in sources(clip):
        files = sorted(number_frames(path, clip.key, clip.files.root).paths) if path.is_dir() else [path]
        marks += [role, *(f"{file.name if path.is_dir() else ''}\x1f{sha256(file)}" for file in files)]
    return _hash(marks)


def name_prepared(clip: Clip, content: str) -> str:
    """The name of a prepared file: it follows from the clip's key, its sources' names and their content."""
    return _hash([clip.key, *(path.name for _, path in sources(clip)), content])[:32]


def sources(clip: Clip) -> list[tuple[str, Path]]:
    """What each file or folder of a clip is for, and where it is."""
    files = clip.files
    parts = {"frames": files.frames, "video": files.video, "audio": files.audio, "transcript": files.transcript}
    return [(role, path) for role, path in parts.items() if path is not None]


def _hash(marks: Iterable[str]) -> str:
    return hashlib.sha256("\x1e".join(marks).encode("utf-8", "surrogateescape")).hexdigest()


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
