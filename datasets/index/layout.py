"""The folder tree that all data sets are reached in: lists or an annotation file, and media by class and clip."""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

from bench.data import Card, Clip, Files, Problem
from bench.errors import DataError
from datasets.index.links import refusal
from datasets.index.lists import LAYOUT, VIDEO_SUFFIXES, read_rows

AUDIO_SUFFIXES = (".mp3", ".wav", ".flac", ".m4a", ".ogg")


def index_tree(root: Path, card: Card) -> tuple[list[Clip], list[Clip], list[Problem]]:
    """All listed clips, those of them that have a picture or a sound, and what is wrong with the others.

    Raises DataError for a tree without lists or media, an unknown class, or a name that leaves the folder.
    """
    listed, problems = read_rows(root, card)
    media, found = _scan_media(root, card)
    problems += found
    if not media:
        links = sum(problem.what == "link" for problem in found)
        refused = f" (links not followed, as they leave it or lead nowhere: {links})" if links else ""
        raise DataError(f"{root} holds no media of {card.title}{refused}; {LAYOUT}")
    clips = []
    for row in listed:
        files = media.pop(row.key, None)
        if files is None or not (files.frames or files.video or files.audio):
            problems.append(Problem("missing", row.key, "listed, but no picture or sound was found"))
        else:
            clips.append(replace(row, files=files))
    problems += [Problem("unlisted", key, "media without a row in any list") for key in sorted(media)]
    return listed, clips, problems


def _scan_media(root: Path, card: Card) -> tuple[dict[str, Files], list[Problem]]:
    """Key -> media, from one listing a folder; of two files for one part the first counts, and the other is told."""
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
        for name, place in _class_folders(root, folder, card, problems):
            for entry in _entries(place):
                key, path = _key_of(name, entry, suffixes), Path(entry.path)
                if key is None:
                    continue
                why = refusal(path, root) if entry.is_symlink() else None
                if why is not None:
                    problems.append(Problem("link", key, f"{folder}/{name}/{entry.name} is {why}"))
                    continue
                used = found.setdefault(key, {}).setdefault(part, path)
                if used != path:
                    shown = path.relative_to(root)
                    problems.append(Problem("two files", key, f"{used.relative_to(root)} is used, {shown} is not"))
    return {key: Files(**parts) for key, parts in found.items()}, list(dict.fromkeys(problems))


def _class_folders(root: Path, folder: str, card: Card, problems: list[Problem]) -> Iterable[tuple[str, Path]]:
    """(class, folder) below a media folder; another spelling of case is taken, and told."""
    by_lower = {name.lower(): name for name in card.classes}
    base = root / folder
    if base.is_symlink() and (why := refusal(base, root)):
        problems.append(Problem("link", folder, why))
        return
    for entry in _entries(base):
        where = f"{folder}/{entry.name}"
        if entry.is_symlink() and (why := refusal(Path(entry.path), root)):
            problems.append(Problem("link", where, why))
        elif os.path.isdir(entry.path):
            name = by_lower.get(entry.name.lower())
            if name is None:
                problems.append(Problem("class", where, "folder of a class the card lacks"))
                continue
            if name != entry.name:
                problems.append(Problem("case", where, f"taken for class '{name}'"))
            yield name, Path(entry.path)


def _entries(folder: Path) -> list[os.DirEntry[str]]:
    try:
        with os.scandir(folder) as entries:
            return sorted(entries, key=lambda entry: entry.name)
    except (FileNotFoundError, NotADirectoryError):
        return []
    except OSError as error:
        raise DataError(f"cannot read {folder}: {error.strerror or error}") from None


def _key_of(name: str, entry: os.DirEntry[str], suffixes: tuple[str, ...]) -> str | None:
    """The key of a folder of frames (no suffixes) or of a media file; None for anything else."""
    if not suffixes:
        folder = os.path.isdir(entry.path) or (entry.is_symlink() and not os.path.exists(entry.path))
        return f"{name}/{entry.name}" if folder else None
    if not (entry.is_symlink() or entry.is_file()):
        return None
    stem, dot, suffix = entry.name.rpartition(".")
    return f"{name}/{stem}" if dot and stem and f".{suffix.lower()}" in suffixes else None
