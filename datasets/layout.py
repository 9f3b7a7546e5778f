"""The folder tree that all data sets are reached in: lists or an annotation file, and media by class and clip."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from bench.data import Card, Clip, Files, Problem, Split
from bench.errors import DataError
from bench.names import propose

VIDEO_SUFFIXES = (".mp4", ".avi", ".mkv", ".webm", ".flv", ".mpg", ".mov")
AUDIO_SUFFIXES = (".mp3", ".wav", ".flac", ".m4a", ".ogg")
SUBSETS: dict[str, Split] = {"training": "train", "validation": "test", "testing": "test", "test": "test"}
_LAYOUT = "wanted: imgs/<Class>/<clip>/000001.jpg or video/<Class>/<clip>.mp4, and trainlist01.txt + testlist01.txt"


@dataclass(frozen=True)
class Row:
    """A line of a list: which clip, of which class, in which split."""

    key: str
    label: int
    split: Split


def index_tree(root: Path, card: Card) -> tuple[list[Clip], list[Problem]]:
    """The clips of a tree that have a picture or a sound, and what is wrong with the others.

    Raises DataError for a tree without lists or media, an unknown class, or a name that leaves the folder.
    """
    rows, problems = read_rows(root, card)
    media, found = _scan_media(root, card)
    problems += found
    if not media:
        raise DataError(f"{root} holds no media of {card.title}; {_LAYOUT}")
    clips = []
    for row in rows:
        files = media.pop(row.key, None)
        if files is None or not (files.frames or files.video or files.audio):
            problems.append(Problem("missing", row.key, "listed, but no picture or sound was found"))
        else:
            clips.append(Clip(row.key, row.label, row.split, row.key, files))
    problems += [Problem("unlisted", key, "media without a row in any list") for key in sorted(media)]
    return clips, problems


def read_rows(root: Path, card: Card) -> tuple[list[Row], list[Problem]]:
    """The rows of the official lists, or else of the annotation file; each clip once, in the lists' order."""
    lists = {split: root / f"{split}list01.txt" for split in ("train", "test")}
    there = [path for path in lists.values() if path.exists()]
    if len(there) == 2:
        rows = [row for split, path in lists.items() for row in _list_rows(path, split, card)]  # type: ignore[arg-type]
        problems: list[Problem] = []
    elif there:
        raise DataError(
            f"{root} has {there[0].name} but not the other list; trainlist01.txt and testlist01.txt are wanted"
        )
    else:
        rows, problems = _annotation_rows(root, card)
    seen: dict[str, Row] = {}
    for row in rows:
        before = seen.get(row.key)
        if before is None:
            seen[row.key] = row
        elif before.split == row.split:
            problems.append(Problem("duplicate", row.key, f"listed twice in {row.split}; kept once"))
        else:
            problems.append(Problem("leak", row.key, "listed in train and in test; kept in test only"))
            seen[row.key] = Row(row.key, row.label, "test")
    return list(seen.values()), problems


def _list_rows(path: Path, split: Split, card: Card) -> Iterable[Row]:
    """Lines "<Class>/<clip>" with or without a class number behind them."""
    for number, line in enumerate(path.read_text(encoding="utf-8", errors="replace").splitlines(), 1):
        name = line.strip()
        head, _, tail = name.rpartition(" ")
        if head and tail.isdigit():
            name = head.strip()
        if name:
            where = f"{path.name}:{number}"
            label, clip = _split_key(name, where)
            yield Row(*_keyed(label, clip, card, where), split)


def _annotation_rows(root: Path, card: Card) -> tuple[list[Row], list[Problem]]:
    """Rows of the one json file that has a "database": bare clip names, subset and label."""
    for path in sorted(root.glob("*.json")):
        try:
            database = json.loads(path.read_text(encoding="utf-8"))["database"]
        except (ValueError, KeyError, TypeError):
            continue
        rows, problems = [], []
        for name, entry in database.items():
            where = f"{path.name}: '{name}'"
            try:
                subset, label = entry["subset"], entry["annotations"]["label"]
            except (KeyError, TypeError):
                raise DataError(f"{where} has no subset or no annotations.label") from None
            key, index = _keyed(label, name, card, where)
            if subset in SUBSETS:
                rows.append(Row(key, index, SUBSETS[subset]))
            else:
                problems.append(Problem("subset", key, f"unknown subset '{subset}' in {path.name}; left out"))
        return rows, problems
    raise DataError(f"{root} has no lists of {card.title}; {_LAYOUT}, or an annotation .json")


def _split_key(name: str, where: str) -> tuple[str, str]:
    parts = PurePosixPath(name).parts
    if len(parts) != 2 or ".." in parts or name.startswith("/") or "\\" in name or "\0" in name:
        raise DataError(f"{where}: '{name}' is not <Class>/<clip> inside the data folder; correct the list")
    return parts[0], parts[1]


def _keyed(label: str, clip: str, card: Card, where: str) -> tuple[str, int]:
    """The clip's key "<Class>/<clip>" and the index of its class."""
    _split_key(f"{label}/{clip}", where)
    if label not in card.classes:
        raise DataError(f"{where} names class '{label}', which {card.title} lacks; {propose(label, card.classes)}")
    stem, dot, suffix = clip.rpartition(".")
    if dot and f".{suffix.lower()}" in VIDEO_SUFFIXES:
        clip = stem
    return f"{label}/{clip}", card.classes.index(label)


def _scan_media(root: Path, card: Card) -> tuple[dict[str, Files], list[Problem]]:
    """Key -> media, from one listing a folder."""
    found: dict[str, dict[str, Path]] = {}
    problems: list[Problem] = []
    for folder, part, suffixes in (
        ("imgs", "frames", ()),
        ("img", "frames", ()),
        ("video", "video", VIDEO_SUFFIXES),
        ("mp3", "audio", AUDIO_SUFFIXES),
        ("video", "transcript", (".srt",)),
        ("srt", "transcript", (".srt",)),
    ):
        base = root / folder
        for name, place in _class_folders(base, card, problems):
            for entry in _entries(place):
                key = _key_of(name, entry, suffixes)
                if key is None:
                    continue
                if not _is_inside(Path(entry.path), base):
                    problems.append(
                        Problem("link", key, f"{folder}/ holds a link that leaves the folder; not followed")
                    )
                else:
                    found.setdefault(key, {}).setdefault(part, Path(entry.path))
    return {key: Files(**parts) for key, parts in found.items()}, list(dict.fromkeys(problems))


def _class_folders(base: Path, card: Card, problems: list[Problem]) -> Iterable[tuple[str, Path]]:
    """(class, folder) below a media folder; another spelling of case is taken, and told."""
    by_lower = {name.lower(): name for name in card.classes}
    for entry in _entries(base):
        if entry.is_dir():
            name = by_lower.get(entry.name.lower())
            if name is None:
                problems.append(Problem("class", f"{base.name}/{entry.name}", "folder of a class the card lacks"))
                continue
            if name != entry.name:
                problems.append(Problem("case", f"{base.name}/{entry.name}", f"taken for class '{name}'"))
            yield name, Path(entry.path)


def _entries(folder: Path) -> list[os.DirEntry[str]]:
    try:
        with os.scandir(folder) as entries:
            return sorted(entries, key=lambda entry: entry.name)
    except (FileNotFoundError, NotADirectoryError):
        return []
    except PermissionError:
        raise DataError(f"cannot read {folder}: permission denied") from None


def _key_of(name: str, entry: os.DirEntry[str], suffixes: tuple[str, ...]) -> str | None:
    """The key of a folder of frames (no suffixes) or of a media file; None for anything else."""
    if not suffixes:
        return f"{name}/{entry.name}" if entry.is_dir() else None
    stem, dot, suffix = entry.name.rpartition(".")
    return f"{name}/{stem}" if dot and stem and f".{suffix.lower()}" in suffixes else None


def _is_inside(path: Path, base: Path) -> bool:
    return not path.is_symlink() or path.resolve().is_relative_to(base.resolve())
