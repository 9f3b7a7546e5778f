"""The clips of a custom data set: the rows of a CSV manifest, or the files of a folder of classes.

Labels are read as they are written; datasets/registry.py makes the data set's info from them.
"""

from __future__ import annotations

import csv
import os
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from io import StringIO
from pathlib import Path, PurePosixPath
from typing import TypeVar

from bench.config import propose_name
from bench.errors import DataError
from bench.types import ClipSources, DataIssue, Split
from datasets.index import MEDIA_FOLDERS, make_name_issue, read_text
from datasets.paths import explain_unsafe_link, is_valid_name, list_folder
from datasets.rows import AUDIO_SUFFIXES, SPLIT_NAMES, VIDEO_SUFFIXES, make_clip_sources, parse_key

T = TypeVar("T")
MANIFEST_COLUMNS = ("clip", "label", "split", "group", "video", "audio", "frames", "transcript", "text", "sentiment")
MEDIA_COLUMNS = ("video", "audio", "frames")
MEDIA_KINDS = {
    **dict.fromkeys(VIDEO_SUFFIXES, "video"),
    **dict.fromkeys(AUDIO_SUFFIXES, "audio"),
    ".srt": "transcript",
}
SPLIT_VALUES: dict[str, Split] = {**SPLIT_NAMES, "validation": "val"}
SENTIMENT_VALUES = {
    **dict.fromkeys(("-1", "-", "negative", "neg"), -1),
    **dict.fromkeys(("0", "neutral", "neu"), 0),
    **dict.fromkeys(("1", "+1", "+", "positive", "pos"), 1),
}


@dataclass(frozen=True)
class ManifestEntry:
    """A clip of one's own; what is not said is None."""

    location: str  # the line or the file that says so
    label: str
    clip: str
    files: ClipSources
    split: Split | None = None
    group: str | None = None
    sentiment: int | None = None


def read_manifest(path: Path) -> tuple[list[ManifestEntry], list[DataIssue]]:
    """The clips of a csv file with a header, in its order; its paths are relative to the file's folder.

    Raises DataError for a file or a line that cannot be used. A clip whose media are not there is told and kept
    without them; columns that mean nothing here are told.
    """
    text = read_text(path)
    if "\0" in text:
        raise DataError(f"{path.name} holds a zero byte; is it a csv file in UTF-8?")
    reader = csv.DictReader(StringIO(text, newline=""), strict=True)
    try:
        columns = [name.strip().lower() for name in reader.fieldnames or ()]
        reader.fieldnames = columns
        _check_columns(columns, path)
        entries, problems = [], []
        for row in reader:
            if any((value or "").strip() for name, value in row.items() if name is not None):
                entry, told = _parse_row(row, path, reader.line_num)
                entries.append(entry)
                problems += told
    except csv.Error as error:
        raise DataError(f"{path.name}:{reader.line_num}: no readable csv ({error})") from None
    if not entries:
        raise DataError(f"{path} lists no clips; columns: {', '.join(MANIFEST_COLUMNS)}")
    unused = [name for name in columns if name and name not in MANIFEST_COLUMNS]
    if unused:
        why = f"not used: {', '.join(unused)}; known: {', '.join(MANIFEST_COLUMNS)}"
        problems.append(DataIssue("columns", path.name, why))
    return entries, [*problems, *_report_unlisted(entries, path.parent)]


def _report_unlisted(entries: Sequence[ManifestEntry], root: Path) -> list[DataIssue]:
    """Media that lie beside those of the rows and that no row names, told once a folder."""
    files = [path for e in entries for path in (e.files.video, e.files.audio, e.files.frames) if path is not None]
    named = {path.parent / path.name for path in files}
    problems = []
    for folder in sorted({path.parent for path in files}):
        found = [entry.name for entry in list_folder(folder) if Path(entry.path) not in named and entry.is_file()]
        media = [name for name in found if _find_media_kind(name) in MEDIA_COLUMNS and is_valid_name(name)]
        if media:
            where = str(folder.relative_to(root)) if folder != root else root.name
            problems.append(DataIssue("unlisted", where, f"{len(media)} files that no row names, first {media[0]}"))
    return problems


def read_class_folders(root: Path) -> tuple[list[ManifestEntry], list[DataIssue]]:
    """The clips of <Class>/<clip>.mp4, with sound files and subtitles of the same name beside them."""
    entries, problems = [], []
    for folder in list_folder(root):
        if not folder.is_dir() or folder.name.startswith("."):
            continue
        if not is_valid_name(folder.name):
            problems.append(make_name_issue(root.name, folder.name))
            continue
        held = list_folder(Path(folder.path))
        parts, told = _sort_class_files(root, folder, held)
        problems += [*_report_skipped(folder.name, held), *told]
        for stem, found in parts.items():
            if "transcript" not in found and (written := _find_made_transcript(root, folder.name, stem)):
                found["transcript"] = written
            where = f"{folder.name}/{stem}"
            if set(found) - {"transcript"}:
                entries.append(ManifestEntry(where, folder.name, stem, make_clip_sources(found, root)))
            elif found:
                problems.append(DataIssue("unlisted", where, "subtitles without a clip"))
    files = [entry.name for entry in list_folder(root) if entry.is_file()]
    loose = [name for name in files if _find_media_kind(name) in MEDIA_COLUMNS]
    if loose:
        why = f"{len(loose)} clips that lie in no class, first {loose[0]!a}; not read"
        problems.append(DataIssue("unlisted", root.name, why))
    if not entries:
        names = ", ".join(ascii(entry.name) for entry in list_folder(root)[:5]) or "nothing"
        links = sum(problem.what == "link" for problem in problems)
        refused = f"; links not followed, as they leave it: {links}" if links else ""
        raise DataError(
            f"{root} holds no <Class>/<clip>.mp4 (it holds {names}{refused}); docs/data.md shows the forms there are"
        )
    return entries, problems


def _sort_class_files(
    root: Path, folder: os.DirEntry[str], files: Sequence[os.DirEntry[str]]
) -> tuple[dict[str, dict[str, Path]], list[DataIssue]]:
    """Clip -> the files of a class folder by what each is for."""
    parts: dict[str, dict[str, Path]] = defaultdict(dict)
    problems = []
    for file in files:
        stem, part = file.name.rpartition(".")[0], _find_media_kind(file.name)
        if not is_valid_name(file.name):
            problems.append(make_name_issue(folder.name, file.name))
            continue
        if not stem or part is None or file.name.startswith("."):
            continue
        where = f"{folder.name}/{file.name}"
        linked = file.is_symlink() or folder.is_symlink()
        if linked and (why := explain_unsafe_link(Path(file.path), root)):
            problems.append(DataIssue("link", where, why))
        elif part in parts[stem]:
            problems.append(DataIssue("two files", where, f"not used: {parts[stem][part].name} is there as well"))
        elif file.is_file():
            parts[stem][part] = Path(file.path)
    return parts, problems


def _report_skipped(label: str, files: Sequence[os.DirEntry[str]]) -> list[DataIssue]:
    """Report folders within a class, and files that are no media by their names, once a class."""
    shown = [file.name for file in files if not file.name.startswith(".") and is_valid_name(file.name)]
    names = [name for name in shown if _find_media_kind(name) is None]
    if label == "srt" or not names:
        return []
    why = f"{len(names)} folders or files that are no clips by their names, first {names[0]}; not read"
    return [DataIssue("unlisted", label, why)]


def is_media_tree(root: Path) -> bool:
    """Whether a folder is laid out as the authors' tools write it: imgs/, mp3/, video/ above the classes."""
    tops = {folder for folder, part, _ in MEDIA_FOLDERS if part != "transcript"}
    return any(entry.name in tops and entry.is_dir() for entry in list_folder(root))


def _find_made_transcript(root: Path, label: str, clip: str) -> Path | None:
    """The transcript that transcribing wrote below srt/."""
    stem, dot, suffix = clip.rpartition(".")
    path = root / "srt" / label / f"{stem if dot and stem and f'.{suffix.lower()}' in VIDEO_SUFFIXES else clip}.srt"
    return path if path.is_file() and explain_unsafe_link(path, root) is None else None


def _find_media_kind(name: str) -> str | None:
    """Return what a file is for, by its suffix; None where that says nothing."""
    return MEDIA_KINDS.get(f".{name.rpartition('.')[2].lower()}")


def _check_columns(columns: Sequence[str], path: Path) -> None:
    if "label" not in columns:
        near = propose_name("label", columns) if columns else "the file is empty"
        near = "separate the columns by commas" if len(columns) == 1 and ";" in columns[0] else near
        raise DataError(f"{path.name} has no column 'label' ({near}); columns: {', '.join(MANIFEST_COLUMNS)}")
    if not set(MEDIA_COLUMNS) & set(columns):
        raise DataError(f"{path.name} has none of the columns {', '.join(MEDIA_COLUMNS)}: where are the clips?")
    twice = sorted({name for name in columns if name and columns.count(name) > 1})
    if twice:
        raise DataError(f"{path.name} has the column '{twice[0]}' twice")


def _parse_row(row: dict[str, str | None], path: Path, line: int) -> tuple[ManifestEntry, list[DataIssue]]:
    where = f"{path.name}:{line}"
    if None in row:
        raise DataError(f"{where} has more cells than the header; put text with commas into quotes")
    cells = {name: (value or "").strip() for name, value in row.items()}
    named = next((cells[part] for part in MEDIA_COLUMNS if cells.get(part)), "")
    stated = PurePosixPath(named)
    clip = cells.get("clip") or (stated.name if cells.get("frames") == named else stated.stem)
    if not cells["label"]:
        raise DataError(f"{where} has no label")
    label, clip = parse_key(f"{cells['label']}/{clip}", where)
    files: dict[str, Path] = {}
    problems = []
    for part in (*MEDIA_COLUMNS, "transcript"):
        if name := cells.get(part):
            if fault := _check_path(path.parent, name, part, where):
                problems.append(DataIssue(fault[0], f"{label}/{clip}", fault[1]))
            else:
                files[part] = path.parent / name
    has_words = cells.get("transcript") or cells.get("text")
    if not has_words and (written := _find_made_transcript(path.parent, label, clip)):
        files["transcript"] = written
    entry = ManifestEntry(
        where,
        label,
        clip,
        make_clip_sources(files, path.parent, cells.get("text", "")),
        _parse_choice(cells.get("split", ""), SPLIT_VALUES, "split", where),
        cells.get("group") or None,
        _parse_choice(cells.get("sentiment", ""), SENTIMENT_VALUES, "sentiment", where),
    )
    return entry, problems


def _check_path(folder: Path, name: str, part: str, where: str) -> tuple[str, str] | None:
    """Return the kind and reason of what keeps a path of the manifest from being used; raises DataError for one that
    leaves its folder."""
    if PurePosixPath(name).is_absolute() or ".." in PurePosixPath(name).parts or "\\" in name:
        raise DataError(
            f"{where}: '{name}' is no path below {folder}; write it from there on, with /, as in video/clip.mp4"
        )
    path = folder / name
    try:
        why = explain_unsafe_link(path, folder)
    except OSError as error:  # a name too long
        raise DataError(f"{where}: '{name[:80]}' is no name of a file ({error.strerror})") from None
    if why is not None:
        there = path.is_symlink() or path.exists()
        return ("link", f"{name} is {why}") if there else ("no file", f"{name} is not there")
    if path.is_dir() != (part == "frames"):
        return "no file", f"{name} is {'a folder' if path.is_dir() else 'no folder'}"
    return None


def _parse_choice(text: str, known: Mapping[str, T], column: str, where: str) -> T | None:
    if not text:
        return None
    if text.lower() not in known:
        raise DataError(f"{where}: unknown {column} '{text}'; {propose_name(text.lower(), known)}")
    return known[text.lower()]
