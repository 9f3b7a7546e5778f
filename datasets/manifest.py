"""Clips of a custom data set: the rows of a CSV manifest or the files of a folder of classes.

Labels are read as written; datasets/registry.py derives the description of the data set from them.
"""

from __future__ import annotations

import csv
import math
import os
import re
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from io import StringIO
from pathlib import Path, PurePosixPath
from typing import TypeVar

from bench.config import propose_name
from bench.errors import DataError
from bench.types import FEATURES, ClipSources, DataIssue, Split
from datasets.index import MEDIA_FOLDERS, make_name_issue, read_text
from datasets.paths import explain_unsafe_link, is_valid_name, list_folder
from datasets.rows import (
    AUDIO_SUFFIXES,
    SPLIT_NAMES,
    VIDEO_SUFFIXES,
    make_clip_sources,
    parse_key,
    remove_media_suffix,
)
from datasets.streams.features import ARRAY_SUFFIXES

T = TypeVar("T")
MANIFEST_COLUMNS = (
    *("clip", "label", "split", "group", "video", "audio", "frames", "start", "end", "transcript", "text"),
    "sentiment",
)
MEDIA_COLUMNS = ("video", "audio", "frames")
TARGET_PREFIX = "target/"  # of columns with numbers to predict
NO_LABEL = "-"  # placeholder for the class while the name of a clip is checked
MEDIA_KINDS = {
    **dict.fromkeys(VIDEO_SUFFIXES, "video"),
    **dict.fromkeys(AUDIO_SUFFIXES, "audio"),
    ".srt": "transcript",
}
_SECONDS = re.compile(r"[0-9]{1,7}(?:\.[0-9]{1,30})?")
_CLOCK = re.compile(r"(?:([0-9]{1,4}):([0-5][0-9])|([0-9]{1,5})):([0-5][0-9](?:\.[0-9]{1,30})?)")  # h:mm:ss or m:ss
SPLIT_VALUES: dict[str, Split] = {**SPLIT_NAMES, "validation": "val"}
SENTIMENT_VALUES = {
    **dict.fromkeys(("-1", "-", "negative", "neg"), -1),
    **dict.fromkeys(("0", "neutral", "neu"), 0),
    **dict.fromkeys(("1", "+1", "+", "positive", "pos"), 1),
}


@dataclass(frozen=True)
class ManifestEntry:
    """Clip of a custom data set; None for a field that is not stated."""

    location: str  # its row ("manifest.csv:2") or its files ("<Class>/<clip>"), for messages
    label: str  # "" where the manifest has only targets
    clip: str
    files: ClipSources
    split: Split | None = None
    group: str | None = None
    sentiment: int | None = None
    targets: Mapping[str, float] = field(default_factory=dict)  # columns target/<name>
    start: float | None = None  # seconds in its files; None: from their start
    end: float | None = None  # None: to the end of its files
    media: tuple[str, ...] = ()  # stated paths of video, audio and frames, whether they exist or not


def read_manifest(path: Path) -> tuple[list[ManifestEntry], list[DataIssue]]:
    """Return the clips of a CSV file with a header, in its order; paths are relative to the file's folder.

    Missing media files, unknown columns and media without a row are reported as issues. Raises DataError for a file or
    a row that cannot be used.
    """
    text = read_text(path)
    if "\0" in text:
        raise DataError(f"{path.name} has a zero byte; save it as CSV in UTF-8")
    reader = csv.DictReader(StringIO(text, newline=""), strict=True)
    try:
        columns = [name.strip().lower() for name in reader.fieldnames or ()]
        reader.fieldnames = columns
        _check_columns(columns, path)
        entries, problems = [], []
        for row in reader:
            if any((value or "").strip() for name, value in row.items() if name is not None):
                entry, issues = _parse_row(row, path, reader.line_num)
                entries.append(entry)
                problems += issues
    except csv.Error as error:
        raise DataError(f"{path.name}:{reader.line_num}: not readable CSV ({error}); correct the row") from None
    if not entries:
        raise DataError(f"{path} lists no clips; add rows with the columns {', '.join(MANIFEST_COLUMNS)}")
    unused = [name for name in columns if name and name not in MANIFEST_COLUMNS and not is_target_column(name)]
    unused = [name for name in unused if not is_feature_column(name)]
    if unused:
        why = f"unknown, ignored: {', '.join(unused)} (known: {', '.join(MANIFEST_COLUMNS)})"
        problems.append(DataIssue("columns", path.name, why))
    return entries, [*problems, *_report_unlisted(entries, path.parent)]


def _report_unlisted(entries: Sequence[ManifestEntry], root: Path) -> list[DataIssue]:
    """Report media files without a row, once for each folder that holds media of the rows."""
    files = [path for e in entries for path in (e.files.video, e.files.audio, e.files.frames) if path is not None]
    named = {path.parent / path.name for path in files}
    problems = []
    for folder in sorted({path.parent for path in files}):
        found = [entry.name for entry in list_folder(folder) if Path(entry.path) not in named and entry.is_file()]
        media = [name for name in found if _find_media_kind(name) in MEDIA_COLUMNS and is_valid_name(name)]
        if media:
            where = str(folder.relative_to(root)) if folder != root else root.name
            why = f"{len(media)} media files without a row, first {media[0]}; not used"
            problems.append(DataIssue("unlisted", where, why))
    return problems


def read_class_folders(root: Path) -> tuple[list[ManifestEntry], list[DataIssue]]:
    """Return the clips of a folder <Class>/<clip>.mp4, each with the audio and subtitle files of the same name.

    Raises DataError if there is no clip.
    """
    entries, problems = [], []
    for folder in list_folder(root):
        if not folder.is_dir() or folder.name.startswith("."):
            continue
        if not is_valid_name(folder.name):
            problems.append(make_name_issue(root.name, folder.name))
            continue
        files = list_folder(Path(folder.path))
        parts, issues = _sort_class_files(root, folder, files)
        problems += [*_report_skipped(folder.name, files), *issues]
        for stem, found in parts.items():
            if "transcript" not in found and (written := _find_made_transcript(root, folder.name, stem)):
                found["transcript"] = written
            where = f"{folder.name}/{stem}"
            if set(found) - {"transcript"}:
                entries.append(ManifestEntry(where, folder.name, stem, make_clip_sources(found, root)))
            elif found:
                problems.append(DataIssue("unlisted", where, "subtitles without a video or audio file; not used"))
    loose = [
        entry.name for entry in list_folder(root) if entry.is_file() and _find_media_kind(entry.name) in MEDIA_COLUMNS
    ]
    if loose:
        why = f"{len(loose)} media files outside the class folders, first {loose[0]!a}; not used"
        problems.append(DataIssue("unlisted", root.name, why))
    if not entries:
        names = ", ".join(ascii(entry.name) for entry in list_folder(root)[:5]) or "nothing"
        links = sum(problem.what == "link" for problem in problems)
        refused = f"; {links} links that leave it or are broken were not followed" if links else ""
        raise DataError(
            f"{root}: no clips <Class>/<clip>.mp4 (it contains {names}{refused}); see docs/data.md for the layouts"
        )
    return entries, problems


def _sort_class_files(
    root: Path, folder: os.DirEntry[str], files: Sequence[os.DirEntry[str]]
) -> tuple[dict[str, dict[str, Path]], list[DataIssue]]:
    """Return clip -> part ("video", "audio", "transcript") -> file of a class folder, and the issues found."""
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
            problems.append(DataIssue("two files", where, f"ignored: {parts[stem][part].name} is used"))
        elif file.is_file():
            parts[stem][part] = Path(file.path)
    return parts, problems


def _report_skipped(label: str, files: Sequence[os.DirEntry[str]]) -> list[DataIssue]:
    """Report subfolders and files without a media suffix, once for each class."""
    shown = [file.name for file in files if not file.name.startswith(".") and is_valid_name(file.name)]
    names = [name for name in shown if _find_media_kind(name) is None]
    if label == "srt" or not names:
        return []
    why = f"{len(names)} folders or files without a media suffix, first {names[0]}; not used"
    return [DataIssue("unlisted", label, why)]


def is_media_tree(root: Path) -> bool:
    """Return whether a folder has the layout of the authors' tools: imgs/, mp3/ or video/ above the classes."""
    tops = {folder for folder, part, _ in MEDIA_FOLDERS if part != "transcript"}
    return any(entry.name in tops and entry.is_dir() for entry in list_folder(root))


def _find_made_transcript(root: Path, label: str, clip: str) -> Path | None:
    """Return the transcript that `transcribe` wrote below srt/<Class>/, or srt/ without classes; None without one."""
    name = f"{remove_media_suffix(clip)}.srt"
    paths = [root / "srt" / label / name, root / "srt" / name]
    return next((path for path in paths if path.is_file() and explain_unsafe_link(path, root) is None), None)


def _find_media_kind(name: str) -> str | None:
    """Return "video", "audio" or "transcript" by the suffix of a file, or None for any other suffix."""
    return MEDIA_KINDS.get(f".{name.rpartition('.')[2].lower()}")


def is_target_column(name: str) -> bool:
    """Return whether a column holds a number to predict: target/<name>."""
    return name.startswith(TARGET_PREFIX) and len(name) > len(TARGET_PREFIX)


def is_feature_column(name: str) -> bool:
    """Return whether a column names arrays made elsewhere: features/<name>."""
    return name.startswith(FEATURES) and len(name) > len(FEATURES)


def _check_columns(columns: Sequence[str], path: Path) -> None:
    if "label" not in columns and not any(map(is_target_column, columns)):
        hint = propose_name("label", columns) if columns else "the file is empty"
        hint = "separate the columns by commas" if len(columns) == 1 and ";" in columns[0] else hint
        valid = ", ".join(MANIFEST_COLUMNS)
        raise DataError(
            f"{path.name} has no column 'label' or 'target/NAME' ({hint}); add one (valid columns: {valid})"
        )
    if not set(MEDIA_COLUMNS) & set(columns) and not any(map(is_feature_column, columns)):
        names = ", ".join((*MEDIA_COLUMNS, f"{FEATURES}NAME"))
        raise DataError(f"{path.name} has none of the columns {names}; add at least one of them")
    repeated = sorted({name for name in columns if name and columns.count(name) > 1})
    if repeated:
        raise DataError(f"{path.name} has the column '{repeated[0]}' twice; remove one")


def _parse_row(row: dict[str, str | None], path: Path, line: int) -> tuple[ManifestEntry, list[DataIssue]]:
    where = f"{path.name}:{line}"
    if None in row:
        raise DataError(f"{where} has more cells than the header; quote text that contains commas")
    cells = {name: (value or "").strip() for name, value in row.items()}
    features = [name for name in cells if is_feature_column(name)]
    first = next((cells[part] for part in (*MEDIA_COLUMNS, *features) if cells.get(part)), "")
    path_of_first = PurePosixPath(first)
    start, end = _parse_span(cells, where)
    stem = path_of_first.name if cells.get("frames") == first else path_of_first.stem
    clip = cells.get("clip") or stem + name_span(start, end)
    targets = {
        name.removeprefix(TARGET_PREFIX): parse_number(text, name, where)
        for name, text in cells.items()
        if is_target_column(name)
    }
    if not cells.get("label") and not targets:
        raise DataError(f"{where} has no label; fill in the column 'label'")
    label, clip = parse_key(f"{cells.get('label') or NO_LABEL}/{clip}", where)
    label = label if cells.get("label") else ""
    files: dict[str, Path] = {}
    problems = []
    for part in (*MEDIA_COLUMNS, "transcript", *features):
        if name := cells.get(part):
            if part in features and PurePosixPath(name).suffix.lower() not in ARRAY_SUFFIXES:
                raise DataError(f"{where}: column '{part}': '{name}' is not a .npy or .npz file; convert it")
            if reason := _check_path(path.parent, name, part, where):
                problems.append(DataIssue(reason[0], f"{label}/{clip}", reason[1]))
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
        targets,
        start,
        end,
        tuple(str(PurePosixPath(cells[part])) for part in MEDIA_COLUMNS if cells.get(part)),
    )
    return entry, problems


def _parse_span(cells: Mapping[str, str], where: str) -> tuple[float | None, float | None]:
    """Return the columns 'start' and 'end' in seconds; a start of 0 without an end is the whole file.

    Raises DataError for a cell that is not a time, and for an end that is not after the start.
    """
    start, end = (_parse_time(cells.get(column, ""), column, where) for column in ("start", "end"))
    if end is not None and end <= (start or 0.0):
        raise DataError(
            f"{where}: column 'end' is '{cells['end']}', not after the start '{cells.get('start') or 0}'; correct one"
        )
    return (start or None) if end is None else (start or 0.0), end


def _parse_time(text: str, column: str, where: str) -> float | None:
    """Return a time in seconds, rounded to microseconds, or None for an empty cell."""
    if not text:
        return None
    if _SECONDS.fullmatch(text):
        return round(float(text), 6)
    clock = _CLOCK.fullmatch(text)
    if clock is None:
        raise DataError(f"{where}: column '{column}' is {text[:40]!r}, not a time; write seconds or h:mm:ss")
    hours, minutes, only_minutes, seconds = clock.groups(default="0")
    return round(int(hours) * 3600 + (int(minutes) + int(only_minutes)) * 60 + float(seconds), 6)


def name_span(start: float | None, end: float | None) -> str:
    """Return the end of the default name of a part, in seconds: "-90-95.5", "-90-end"; "" for a whole file."""
    if start is None and end is None:
        return ""
    first, last = (f"{second:.6f}".rstrip("0").rstrip(".") for second in (start or 0.0, end or 0.0))
    return f"-{first}-{'end' if end is None else last}"


def _check_path(folder: Path, name: str, part: str, where: str) -> tuple[str, str] | None:
    """Return (kind of issue, reason) if a path of the manifest cannot be used, else None.

    Raises DataError for a path that leaves the manifest's folder.
    """
    if PurePosixPath(name).is_absolute() or ".." in PurePosixPath(name).parts or "\\" in name:
        raise DataError(
            f"{where}: '{name}' is not a path below {folder}; write it relative to that folder, like video/clip.mp4"
        )
    path = folder / name
    try:
        why = explain_unsafe_link(path, folder)
    except OSError as error:  # a name too long
        raise DataError(f"{where}: '{name[:80]}' is not a valid file name ({error.strerror})") from None
    if why is not None:
        exists = path.is_symlink() or path.exists()
        return ("link", f"{name} is {why}") if exists else ("no file", f"{part}: no such file: {name}")
    if path.is_dir() != (part == "frames"):
        return "no file", f"{part}: {name} is {'a folder, not a file' if path.is_dir() else 'not a folder'}"
    return None


def parse_number(text: str, column: str, where: str) -> float:
    """Return a number of a manifest. Raises DataError for an empty cell, another text, or one that is not finite."""
    try:
        value = float(text) if text.isascii() and "_" not in text else math.nan
    except ValueError:
        value = math.nan
    if not abs(value) < 1e300:
        raise DataError(f"{where}: column '{column}' is {text[:40]!r}, not a number; correct it or remove the row")
    return value


def _parse_choice(text: str, known: Mapping[str, T], column: str, where: str) -> T | None:
    if not text:
        return None
    if text.lower() not in known:
        raise DataError(f"{where}: unknown {column} '{text}'; {propose_name(text.lower(), known)}")
    return known[text.lower()]
