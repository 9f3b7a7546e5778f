"""The folder tree that the five data sets are reached in: lists or an annotation file, and media by class and clip."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from pathlib import Path

from bench.data import Card, Clip, Files, Problem
from bench.errors import DataError
from datasets.index.annotation import annotation_rows
from datasets.index.links import is_text, list_folder, refusal
from datasets.index.lists import list_rows
from datasets.index.official import official_rows
from datasets.index.rows import AUDIO_SUFFIXES, LAYOUT, VIDEO_SUFFIXES, Index, files_of, make_row, settle, spell
from datasets.index.rules import Rules
from datasets.splits import hold_out

PARTS = (  # folder, what it holds, the suffixes of its files; of two files for one part the first counts
    ("imgs", "frames", ()),
    ("img", "frames", ()),
    ("video", "video", VIDEO_SUFFIXES),
    ("mp3", "audio", AUDIO_SUFFIXES),
    ("video", "transcript", (".srt",)),
    ("srt", "transcript", (".srt",)),
)


def index_tree(root: Path, card: Card, rules: Rules | None = None, fold: int = 0) -> Index:
    """What a tree lists and holds, for one official list or one group left out.

    Raises DataError for a tree without lists or media, an unknown class, or a name that leaves the folder.
    """
    media, found = scan_media(root, card)
    listed, problems = read_rows(root, card, rules or Rules(), fold, list(media))
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
    told = {problem.where for problem in problems if problem.what in ("leak", "subset")}
    problems += [Problem("unlisted", key, "media without a row in any list") for key in sorted(media.keys() - told)]
    return Index(tuple(listed), tuple(clips), tuple(problems))


def read_rows(
    root: Path, card: Card, rules: Rules, fold: int, media: Sequence[str] = ()
) -> tuple[list[Clip], list[Problem]]:
    """The clips of the lists, or else of the annotation file, of the list that comes with the program, or of the tree
    itself where the names tell the split; each once, and a group in one split only."""
    number = 1 if rules.held_out else fold or 1
    problems: list[Problem] = []
    rows = list_rows(root, card, number)
    if rows is None and (annotated := annotation_rows(root, card, number)) is not None:
        rows, problems = annotated
    if rows is None:
        rows = official_rows(card, fold)
    if rows is None and (rules.split or rules.held_out):
        rows, problems = _named_rows(media, card, rules)
    if rows is None:
        lists = f"trainlist{number:02d}.txt and testlist{number:02d}.txt"
        said = f" for --fold {fold}" if fold > 1 else ""
        raise DataError(f"{root} has no lists of {card.title}{said}; wanted: {lists}, or an annotation .json")
    if rules.held_out is not None:
        rows, lost = _leave_out(rows, card, rules.held_out, fold)
        problems += lost
    settled, found = settle(rows, card, rules)
    return settled, problems + found


def _named_rows(media: Sequence[str], card: Card, rules: Rules) -> tuple[list[Clip], list[Problem]]:
    """Every clip of the tree, in the split that its name tells."""
    rows, problems = [], []
    for key in media:
        label, clip = key.split("/")
        split = rules.split(clip) if rules.split else "train"
        if split is None:
            problems.append(Problem("subset", key, "its name tells no split, and there is no list; left out"))
        else:
            rows.append(make_row(label, clip, split, card, key))
    return rows, problems


def _leave_out(
    rows: Sequence[Clip], card: Card, held_out: Callable[[str], int | None], fold: int
) -> tuple[list[Clip], list[Problem]]:
    """The rows split by the fold that each clip's name tells; those whose name tells none are left out."""
    folds = {row.key: held_out(row.key.partition("/")[2]) for row in rows}
    why = f"its name tells no {card.group}; left out"
    problems = [Problem("subset", key, why) for key, found in folds.items() if found is None]
    known = {key: found for key, found in folds.items() if found is not None}
    once = {row.key: row for row in rows if row.key in known}  # whatever splits the lists name
    return hold_out(list(once.values()), known, fold, len(card.folds)), problems


def scan_media(root: Path, card: Card) -> tuple[dict[str, Files], list[Problem]]:
    """Key -> media, from one listing a folder; of two files for one part the first counts, and the other is told."""
    found: dict[str, dict[str, Path]] = {}
    problems: list[Problem] = []
    for folder, part, suffixes in PARTS:
        for name, place in _class_folders(root, folder, card, problems):
            for entry in list_folder(place):
                key = _key_of(name, entry, suffixes)
                if key is None:
                    continue
                path = Path(entry.path)
                if not is_text(entry.name):
                    problems.append(odd_name(folder, entry.name))
                    continue
                why = refusal(path, root) if entry.is_symlink() else None
                if why is not None:
                    problems.append(Problem("link", key, f"{folder}/{name}/{entry.name} is {why}"))
                    continue
                used = found.setdefault(key, {}).setdefault(part, path)
                if used is not path:
                    shown = path.relative_to(root)
                    problems.append(Problem("two files", key, f"{used.relative_to(root)} is used, {shown} is not"))
    return {key: files_of(parts, root) for key, parts in found.items()}, list(dict.fromkeys(problems))


def odd_name(folder: str, name: str) -> Problem:
    """A file whose name cannot be written down."""
    return Problem("name", folder, f"{name!a} is not in UTF-8, or ends a line; rename it")


def _class_folders(root: Path, folder: str, card: Card, problems: list[Problem]) -> Iterable[tuple[str, Path]]:
    """(class, folder) below a media folder; another spelling of case, or another name of a class, is taken and told."""
    base = root / folder
    if base.is_symlink() and (why := refusal(base, root)):
        problems.append(Problem("link", folder, why))
        return
    for entry in list_folder(base):
        where = f"{folder}/{entry.name}"
        if not is_text(entry.name):
            problems.append(odd_name(folder, entry.name))
        elif entry.is_symlink() and (why := refusal(Path(entry.path), root)):
            problems.append(Problem("link", where, why))
        elif entry.is_dir():
            name = spell(entry.name, card)
            if name is None:
                problems.append(Problem("class", where, "folder of a class the card lacks"))
                continue
            if name != entry.name:
                problems.append(Problem("case", where, f"taken for class '{name}'"))
            yield name, Path(entry.path)


def _key_of(name: str, entry: os.DirEntry[str], suffixes: tuple[str, ...]) -> str | None:
    """The key of a folder of frames (no suffixes) or of a media file; None for anything else."""
    if not suffixes:
        folder = entry.is_dir() or (entry.is_symlink() and not os.path.exists(entry.path))
        return f"{name}/{entry.name}" if folder else None
    if not (entry.is_symlink() or entry.is_file()):
        return None
    stem, dot, suffix = entry.name.rpartition(".")
    return f"{name}/{stem}" if dot and stem and f".{suffix.lower()}" in suffixes else None
