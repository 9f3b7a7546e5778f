"""A folder of numbered pictures: which of them stands where on the time line of 30 a second."""

from __future__ import annotations

import os
import re
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from bench.data import Problem
from datasets.index.links import refusal
from datasets.segments import RATE

SUFFIXES = (".jpg", ".jpeg")
LONGEST = 10  # seconds; a longer gap in the numbers is no still but a jump, and is closed


@dataclass(frozen=True)
class Numbered:
    """The pictures in the order of their numbers, and the place of each, of 1/30 s."""

    paths: tuple[Path, ...]
    places: tuple[int, ...]
    problems: tuple[Problem, ...]


def number_frames(folder: Path, key: str, root: Path | None = None) -> Numbered:
    """The pictures of imgs/<Class>/<clip>/ placed by the last number in their names, the lowest first.

    Only pictures count. One that lies outside the data folder, or has no number of its own, is left out and told.
    """
    root = root or folder
    numbered: dict[int, Path] = {}
    told: Counter[str] = Counter()
    for entry in _pictures(folder):
        why = refusal(Path(entry.path), root) if entry.is_symlink() else None
        digits = re.findall(r"[0-9]+", Path(entry.name).stem)
        if why is not None or not entry.is_file():
            told[why or "no file"] += 1
        elif not digits:
            told["without a number"] += 1
        elif int(digits[-1]) in numbered:
            told["of a number that another has"] += 1
        else:
            numbered[int(digits[-1])] = Path(entry.path)
    problems = [Problem("frames", key, f"left out, {count} of the pictures: {what}") for what, count in told.items()]
    order = sorted(numbered)
    places, found = _place(order, key)
    return Numbered(tuple(numbered[number] for number in order), tuple(places), (*problems, *found))


def _place(order: list[int], key: str) -> tuple[list[int], list[Problem]]:
    """The place of each number, counted from the first; what lies between them is told."""
    steps = np.diff(order)
    jumps = int((steps > LONGEST * RATE).sum())
    steps[steps > LONGEST * RATE] = 1
    missing = int((steps - 1).sum())
    problems = []
    if missing:
        problems.append(Problem("frames", key, f"numbers missing: {missing}; each shows the frame before it"))
    if jumps:
        problems.append(Problem("frames", key, f"jumps of over {LONGEST} s in the numbers: {jumps}; closed"))
    return [0, *np.cumsum(steps).tolist()][: len(order)], problems


def picture_names(folder: Path) -> list[str]:
    """The names of the pictures of a folder, in order."""
    return [entry.name for entry in _pictures(folder)]


def frames_mark(folder: Path) -> str:
    """What changes when a picture of the folder does: their number, total size and latest time of change."""
    stats = [_stat(entry) for entry in _pictures(folder)]
    sizes, times = [stat.st_size for stat in stats], [stat.st_mtime_ns for stat in stats]
    return f"{len(stats)}\x1f{sum(sizes)}\x1f{max(times, default=0)}"


def _stat(entry: os.DirEntry[str]) -> os.stat_result:
    """Of what a link leads to, or of the link itself where that is nothing."""
    try:
        return entry.stat()
    except OSError:
        return entry.stat(follow_symlinks=False)


def _pictures(folder: Path) -> list[os.DirEntry[str]]:
    with os.scandir(folder) as entries:
        return sorted(
            (entry for entry in entries if entry.name.lower().endswith(SUFFIXES)), key=lambda entry: entry.name
        )
