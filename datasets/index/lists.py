"""The lists of a data set: which clip is of which class, in which split, and beside which others it must stay."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path, PurePosixPath
from typing import Any

from bench.data import Card, Clip, Problem, Split
from bench.errors import DataError
from bench.names import propose

LAYOUT = "wanted: imgs/<Class>/<clip>/000001.jpg or video/<Class>/<clip>.mp4, and trainlist01.txt + testlist01.txt"
VIDEO_SUFFIXES = (".mp4", ".avi", ".mkv", ".webm", ".flv", ".mpg", ".mov")
SUBSETS: dict[str, Split] = {"training": "train", "validation": "test", "testing": "test", "test": "test"}
TWINS = 0.05  # of the names at most; where more occur under several classes, each class numbers its clips anew


def read_rows(root: Path, card: Card) -> tuple[list[Clip], list[Problem]]:
    """The clips of the official lists, or else of the annotation file, in their order; media are not looked at.

    Each clip stands there once, and a group in one split only: what is in both lists is kept in test alone.
    Raises DataError for lists that are missing or cannot be read, an unknown class, a name that leaves the folder.
    """
    lists: dict[Split, Path] = {"train": root / "trainlist01.txt", "test": root / "testlist01.txt"}
    there = [path for path in lists.values() if path.exists()]
    if len(there) == 2:
        rows = [row for split, path in lists.items() for row in _list_rows(path, split, card)]
        problems: list[Problem] = []
    elif there:
        raise DataError(
            f"{root} has {there[0].name} but not the other list; trainlist01.txt and testlist01.txt are wanted"
        )
    else:
        rows, problems = _annotation_rows(root, card)
    seen: dict[tuple[str, Split], Clip] = {}
    for row in rows:
        if (row.key, row.split) in seen:
            problems.append(Problem("duplicate", row.key, f"listed twice in {row.split}; kept once"))
        seen.setdefault((row.key, row.split), row)
    tied, found = _tie_twins(list(seen.values()))
    tested = {row.group for row in tied if row.split == "test"}
    leaks = {row.key for row in tied if row.split == "train" and row.group in tested}
    found += [Problem("leak", key, "listed in train and in test; kept in test only") for key in sorted(leaks)]
    return [row for row in tied if row.split == "test" or row.key not in leaks], problems + found


def _tie_twins(rows: Sequence[Clip]) -> tuple[list[Clip], list[Problem]]:
    """Clips of one name under two classes, taken for one video: told, and grouped by the bare name.

    Where more than 5 % of the names occur under several classes, a name says nothing beyond its class.
    """
    labels: dict[str, set[str]] = defaultdict(set)
    for row in rows:
        label, name = row.key.split("/")
        labels[name].add(label)
    twins = {name for name, among in labels.items() if len(among) > 1}
    if len(twins) > TWINS * len(labels):
        return list(rows), []
    problems = [
        Problem(
            "two classes", name, f"listed under {' and '.join(sorted(labels[name]))}; kept under each, never parted"
        )
        for name in sorted(twins)
    ]
    names = [row.key.split("/")[1] for row in rows]
    return [replace(row, group=name) if name in twins else row for row, name in zip(rows, names, strict=True)], problems


def _list_rows(path: Path, split: Split, card: Card) -> Iterable[Clip]:
    """Lines "<Class>/<clip>" with or without the class's own number behind them, counted from 1 or from 0.

    Where most numbers at the end are not the class's own, as in "joy/clip 1", "joy/clip 2", all are part of the names.
    """
    lines = [(f"{path.name}:{number}", line.strip()) for number, line in enumerate(_text(path).splitlines(), 1)]
    named = [(where, *_split_key(name, where)) for where, name in lines if name]
    own = [_ends_in_own_number(label, clip, card) for _, label, clip in named]
    numbered = own.count(True) > own.count(False)
    for (where, label, clip), strip in zip(named, own, strict=True):
        yield _row(label, clip.rpartition(" ")[0].strip() if strip and numbered else clip, split, card, where)


def _ends_in_own_number(label: str, clip: str, card: Card) -> bool | None:
    """Whether the number behind a clip is that of its class; None where there is no number."""
    head, _, tail = clip.rpartition(" ")
    if not head.strip() or not tail.isdecimal():
        return None
    spelt = _spell(label, card)
    return spelt in card.classes and tail in {str(card.classes.index(spelt) + base) for base in (0, 1)}


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8-sig")
    except OSError as error:
        raise DataError(f"cannot read {path}: {error.strerror or error}") from None
    except UnicodeDecodeError:
        raise DataError(f"{path} is not in UTF-8; save it as UTF-8") from None


def _annotation_rows(root: Path, card: Card) -> tuple[list[Clip], list[Problem]]:
    """Rows of the one json file that has a "database": bare clip names, subset and label."""
    for path in sorted(root.glob("*.json")):
        database = _database(path)
        if database is None:
            continue
        if not isinstance(database, dict):
            raise DataError(f'{path.name}: "database" must hold {{"<clip>": {{"subset": .., "annotations": ..}}}}')
        rows, problems = [], []
        for name, entry in database.items():
            where = f"{path.name}: '{name}'"
            try:
                subset, label = entry["subset"], entry["annotations"]["label"]
            except (KeyError, TypeError):
                raise DataError(f"{where} has no subset or no annotations.label") from None
            if not (isinstance(subset, str) and isinstance(label, str)):
                raise DataError(f"{where}: subset and annotations.label must be text, not {subset!r} and {label!r}")
            row = _row(label, name, SUBSETS.get(subset, "train"), card, where)
            if subset in SUBSETS:
                rows.append(row)
            else:
                problems.append(Problem("subset", row.key, f"unknown subset '{subset}' in {path.name}; left out"))
        return rows, problems
    raise DataError(f"{root} has no lists of {card.title}; {LAYOUT}, or an annotation .json")


def _database(path: Path) -> Any:
    """What stands under "database"; None in a file that has no such entry or is no json."""
    if not path.is_file():
        return None
    try:
        return json.loads(_text(path))["database"]
    except (ValueError, KeyError, TypeError):
        return None


def _split_key(name: str, where: str) -> tuple[str, str]:
    parts = PurePosixPath(name).parts
    if len(parts) != 2 or ".." in parts or name.startswith("/") or "\\" in name or "\0" in name:
        raise DataError(f"{where}: '{name}' is not <Class>/<clip> inside the data folder; correct the list")
    return parts[0], parts[1]


def _spell(label: str, card: Card) -> str:
    """The card's spelling of a class that is written in another case."""
    return {name.lower(): name for name in card.classes}.get(label.lower(), label)


def _row(label: str, clip: str, split: Split, card: Card, where: str) -> Clip:
    """A listed clip, its key "<Class>/<clip>" without the suffix of a video, in a group of its own."""
    label, clip = _split_key(f"{label}/{clip}", where)
    label = _spell(label, card)
    if label not in card.classes:
        raise DataError(f"{where} names class '{label}', which {card.title} lacks; {propose(label, card.classes)}")
    stem, _, suffix = clip.rpartition(".")
    if stem and f".{suffix.lower()}" in VIDEO_SUFFIXES:
        clip = stem
    key = f"{label}/{clip}"
    return Clip(key, card.classes.index(label), split, key)
