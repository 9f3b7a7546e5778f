"""Index of a data folder: the clips of its lists and the media files of each.

The first source of clips that exists is used: the lists in the folder, an annotation file of the authors' tools, the
official list shipped in datasets/official, the names of the clips. Media are looked up by class and clip, and no name
may leave the data folder.
"""

from __future__ import annotations

import csv
import json
import os
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

from bench.config import propose_name
from bench.errors import DataError
from bench.types import Clip, ClipSources, DataIssue, DatasetInfo, Split
from datasets.paths import explain_unsafe_entry, explain_unsafe_link, is_valid_name, list_folder
from datasets.rows import (
    AUDIO_SUFFIXES,
    LAYOUT_HINT,
    MISSING,
    SPLIT_NAMES,
    VIDEO_SUFFIXES,
    Listing,
    NamingRules,
    find_class,
    has_media,
    hold_out_fold,
    make_clip,
    make_clip_sources,
    parse_key,
    validate_rows,
)

MEDIA_FOLDERS = (  # (folder, part of a clip, file suffixes); the first file found for a part is used
    ("imgs", "frames", ()),
    ("img", "frames", ()),
    ("video", "video", VIDEO_SUFFIXES),
    ("mp3", "audio", AUDIO_SUFFIXES),
    ("video", "transcript", (".srt",)),
    ("srt", "transcript", (".srt",)),
)


@dataclass(frozen=True)
class DatasetSource:
    """Description of a data set and the function that lists its clips."""

    info: DatasetInfo
    index: Callable[..., Listing]  # (folder or manifest, fold=)
    path: Path | None = None  # of a custom data set; None: find_data_folder searches for it
    drawn: DatasetInfo | None = None  # name and classes of the built-in sample, where the data set has no classes


def make_tree_source(info: DatasetInfo, rules: NamingRules) -> DatasetSource:
    """Return the source of a data set that is stored as a tree of lists and media."""
    return DatasetSource(info, partial(index_tree, info=info, rules=rules))


def index_tree(root: Path, info: DatasetInfo, rules: NamingRules | None = None, fold: int = 0) -> Listing:
    """List the clips of a tree with their media, for one official list or one held-out fold.

    Raises DataError for a tree without lists or media, an unknown class, or a name that leaves the folder.
    """
    media, found = scan_media(root, info)
    listed, problems = read_listed_clips(root, info, rules or NamingRules(), fold, list(media))
    problems += found
    if not media:
        links = sum(problem.what == "link" for problem in found)
        refused = f" ({links} links that leave the folder or are broken were not followed)" if links else ""
        raise DataError(f"{root}: no media files of {info.title}{refused}; {LAYOUT_HINT}")
    clips = []
    for row in listed:
        clip = replace(row, sources=media.pop(row.key, row.sources))
        if has_media(clip):
            clips.append(clip)
        else:
            problems.append(DataIssue("missing", row.key, MISSING))
    reported = {problem.where for problem in problems if problem.what in ("leak", "subset")}
    unlisted = sorted(media.keys() - reported)
    problems += [DataIssue("unlisted", key, "media files without a row in any list; not used") for key in unlisted]
    return Listing(tuple(listed), tuple(clips), tuple(problems))


def read_listed_clips(
    root: Path, info: DatasetInfo, rules: NamingRules, fold: int, media: Sequence[str] = ()
) -> tuple[list[Clip], list[DataIssue]]:
    """Return the listed clips, each once and each group in one split only, and what is wrong with the lists.

    See the module docstring for the order of sources. Raises DataError if there is none.
    """
    number = 1 if rules.test_fold else fold or 1
    problems: list[DataIssue] = []
    rows = read_split_lists(root, info, number)
    if rows is None and (annotated := read_annotation(root, info, number)) is not None:
        rows, problems = annotated
    if rows is None:
        rows = read_official_list(info, fold)
    if rows is None and (rules.split or rules.test_fold):
        rows, problems = _list_clips_by_name(media, info, rules)
    if rows is None:
        lists = f"trainlist{number:02d}.txt and testlist{number:02d}.txt"
        of_fold = f" for --fold {fold}" if fold > 1 else ""
        raise DataError(f"{root}: no lists of {info.title}{of_fold}; add {lists}, or an annotation .json")
    if rules.test_fold is not None:
        rows, unnamed = _split_by_named_fold(rows, info, rules.test_fold, fold)
        problems += unnamed
    validated, found = validate_rows(rows, info, rules)
    return validated, problems + found


def _list_clips_by_name(
    media: Sequence[str], info: DatasetInfo, rules: NamingRules
) -> tuple[list[Clip], list[DataIssue]]:
    """Return every clip of the tree in the split that its name contains."""
    rows, problems = [], []
    for key in media:
        label, clip = key.split("/")
        split = rules.split(clip) if rules.split else "train"
        if split is None:
            why = "its name contains no split and there is no list; left out"
            problems.append(DataIssue("subset", key, why))
        else:
            rows.append(make_clip(label, clip, split, info, key))
    return rows, problems


def _split_by_named_fold(
    rows: Sequence[Clip], info: DatasetInfo, held_out: Callable[[str], int | None], fold: int
) -> tuple[list[Clip], list[DataIssue]]:
    """Split the rows by the fold in each clip's name, whatever splits the lists state; drop names without a fold."""
    folds = {row.key: held_out(row.key.partition("/")[2]) for row in rows}
    why = f"its name contains no {info.group}; left out"
    problems = [DataIssue("subset", key, why) for key, found in folds.items() if found is None]
    known = {key: found for key, found in folds.items() if found is not None}
    unique = {row.key: row for row in rows if row.key in known}
    return hold_out_fold(list(unique.values()), known, fold, len(info.folds)), problems


def scan_media(root: Path, info: DatasetInfo) -> tuple[dict[str, ClipSources], list[DataIssue]]:
    """Return clip key -> media files, listing each folder once; a second file for the same part is reported."""
    found: dict[str, dict[str, Path]] = {}
    problems: list[DataIssue] = []
    for folder, part, suffixes in MEDIA_FOLDERS:
        for name, place in _find_class_folders(root, folder, info, problems):
            for entry in list_folder(place):
                key = _find_key(name, entry, suffixes)
                if key is None:
                    continue
                path = Path(entry.path)
                if not is_valid_name(entry.name):
                    problems.append(make_name_issue(folder, entry.name))
                    continue
                if why := explain_unsafe_entry(entry, root):
                    problems.append(DataIssue("link", key, f"{folder}/{name}/{entry.name} is {why}"))
                    continue
                used = found.setdefault(key, {}).setdefault(part, path)
                if used is not path:
                    shown = path.relative_to(root)
                    why = f"{used.relative_to(root)} is used, {shown} is ignored"
                    problems.append(DataIssue("two files", key, why))
    return {key: make_clip_sources(parts, root) for key, parts in found.items()}, list(dict.fromkeys(problems))


def make_name_issue(folder: str, name: str) -> DataIssue:
    """Return the issue of a file name that is not UTF-8 or has control characters."""
    return DataIssue("name", folder, f"{name!a} is not valid UTF-8 or has control characters; rename it")


def _find_class_folders(
    root: Path, folder: str, info: DatasetInfo, problems: list[DataIssue]
) -> Iterable[tuple[str, Path]]:
    """Yield (class, folder) below a media folder; another case or an alias of a class is accepted and reported."""
    base = root / folder
    if base.is_symlink() and (why := explain_unsafe_link(base, root)):
        problems.append(DataIssue("link", folder, why))
        return
    for entry in list_folder(base):
        where = f"{folder}/{entry.name}"
        if not is_valid_name(entry.name):
            problems.append(make_name_issue(folder, entry.name))
        elif why := explain_unsafe_entry(entry, root):
            problems.append(DataIssue("link", where, why))
        elif entry.is_dir():
            name = find_class(entry.name, info)
            if name is None:
                why = f"{info.title} has no such class; folder not used"
                problems.append(DataIssue("class", where, why))
                continue
            if name != entry.name:
                problems.append(DataIssue("case", where, f"read as class '{name}'"))
            yield name, Path(entry.path)


def _find_key(name: str, entry: os.DirEntry[str], suffixes: tuple[str, ...]) -> str | None:
    """Return the clip key of a folder of frames (no suffixes) or of a media file, or None for anything else."""
    if not suffixes:
        folder = entry.is_dir() or (entry.is_symlink() and not os.path.exists(entry.path))
        return f"{name}/{entry.name}" if folder else None
    if not (entry.is_symlink() or entry.is_file()):
        return None
    stem, dot, suffix = entry.name.rpartition(".")
    return f"{name}/{stem}" if dot and stem and f".{suffix.lower()}" in suffixes else None


def read_split_lists(root: Path, info: DatasetInfo, number: int) -> list[Clip] | None:
    """Read trainlistNN.txt and testlistNN.txt, or return None if both are missing.

    Raises DataError if only one of them exists, or for a line that names no clip.
    """
    lists: dict[Split, Path] = {
        "train": root / f"trainlist{number:02d}.txt",
        "test": root / f"testlist{number:02d}.txt",
    }
    present = [path for path in lists.values() if path.exists()]
    missing = [path for path in lists.values() if not path.exists()]
    if not present:
        return None
    if missing:
        raise DataError(f"{root}: {missing[0].name} is missing next to {present[0].name}; add it")
    return [row for split, path in lists.items() for row in _parse_split_list(path, split, info)]


def read_text(path: Path) -> str:
    """Return the text of a list; raises DataError for a file that cannot be read or is not UTF-8."""
    try:
        return path.read_text(encoding="utf-8-sig")
    except OSError as error:
        raise DataError(f"cannot read {path}: {error.strerror or error}; check its permissions") from None
    except UnicodeDecodeError:
        raise DataError(f"{path}: not UTF-8; save the file as UTF-8") from None


def _parse_split_list(path: Path, split: Split, info: DatasetInfo) -> Iterable[Clip]:
    """Yield the clips of lines "<Class>/<clip>" or "<Class>/<clip> <class number>", numbers starting at 1 or 0.

    If most numbers at the end are not the number of the class, as in "joy/clip 1", "joy/clip 2", they belong to the
    names.
    """
    lines = [(f"{path.name}:{number}", line.strip()) for number, line in enumerate(read_text(path).splitlines(), 1)]
    named = [(where, *parse_key(name, where)) for where, name in lines if name]
    matches = [_ends_in_class_number(label, clip, info) for _, label, clip in named]
    numbered = matches.count(True) > matches.count(False)
    for (where, label, clip), strip in zip(named, matches, strict=True):
        yield make_clip(label, clip.rpartition(" ")[0].strip() if strip and numbered else clip, split, info, where)


def _ends_in_class_number(label: str, clip: str, info: DatasetInfo) -> bool | None:
    """Return whether the number after a clip is that of its class, or None if there is no number."""
    head, _, tail = clip.rpartition(" ")
    if not head.strip() or not tail.isdecimal():
        return None
    name = find_class(label, info)
    return name is not None and tail in {str(info.classes.index(name) + base) for base in (0, 1)}


class _JsonObject(dict[str, Any]):
    """JSON object that also stores its pairs, since a dict drops all but one value of a repeated name."""

    def __init__(self, pairs: list[tuple[str, Any]]) -> None:
        super().__init__(pairs)
        self.pairs = pairs


def read_annotation(root: Path, info: DatasetInfo, number: int) -> tuple[list[Clip], list[DataIssue]] | None:
    """Return the clips of the JSON file that has a "database" entry, in its order, or None if there is no such file.

    Of several files the one whose name ends in the list's number is used. Clips of an unknown class or subset are left
    out and reported. Raises DataError for an invalid file, or if half of its clips or more are of unknown classes.
    """
    found = {path: database for path in sorted(root.glob("*.json")) if (database := _load_database(path)) is not None}
    numbered = [path for path in found if path.stem.endswith(f"{number:02d}")]
    path, *others = [*(numbered or (found if number == 1 else []))] or [None]
    if path is None:
        return None
    rows, problems = _parse_annotation(path, found[path], info)
    ignored = [DataIssue("two files", other.name, f"ignored: {path.name} is used") for other in others if other]
    return rows, [*ignored, *problems]


def has_annotation(root: Path) -> bool:
    """Return whether a folder has an annotation file of the authors' tools."""
    return any(_load_database(path) is not None for path in root.glob("*.json"))


def _parse_annotation(path: Path, database: Any, info: DatasetInfo) -> tuple[list[Clip], list[DataIssue]]:
    if not isinstance(database, _JsonObject) or not database.pairs:
        raise DataError(f'{path.name}: "database" must hold {{"<clip>": {{"subset": .., "annotations": ..}}}}')
    named = [entry.get("subset") for _, entry in database.pairs if isinstance(entry, dict)]
    tested = any(SPLIT_NAMES.get(name) == "test" for name in named if isinstance(name, str))
    # the authors call their test split "validation" if no subset is called "test"
    words: dict[str, Split] = {**SPLIT_NAMES, "validation": "val" if tested else "test"}
    rows, problems, unknown, bare = [], [], {}, 0
    for name, entry in database.pairs:
        where = f"{path.name}: '{name}'"
        subset, label = _parse_fields(entry, where)
        if find_class(label, info) is None:
            unknown[name] = label
            continue
        stated, _, clip = name.rstrip("/").rpartition("/")
        bare += not stated
        same_class = bool(stated) and find_class(stated, info) == find_class(label, info)
        row = make_clip(label, clip if same_class else name, "train", info, where)
        if subset not in words:
            why = f"unknown subset '{subset}' in {path.name}; left out"
            problems.append(DataIssue("subset", row.key, why))
        else:
            rows.append(Clip(row.key, row.target, words[subset], row.group))
    if unknown and len(unknown) >= len(database.pairs) / 2:
        name, label = next(iter(unknown.items()))
        tail = propose_name(label, info.classes)
        counted = f"{len(unknown)} of {len(database.pairs)} clips are of classes"
        raise DataError(f"{path.name}: {counted} unknown to {info.title}, first '{name}' of '{label}'; {tail}")
    for name, label in unknown.items():
        why = f"{info.title} has no class '{label}' ({path.name}); left out"
        problems.append(DataIssue("label", name, why))
    if bare:
        why = f"{bare} clips are listed without a class; of two clips of one name, one may be missing"
        problems.append(DataIssue("bare names", path.name, why))
    return rows, problems


def _parse_fields(entry: Any, where: str) -> tuple[str, str]:
    try:
        subset, label = entry["subset"], entry["annotations"]["label"]
    except (KeyError, TypeError):
        raise DataError(f"{where}: subset or annotations.label is missing") from None
    if not (isinstance(subset, str) and isinstance(label, str)):
        raise DataError(f"{where}: subset and annotations.label must be text, not {subset!r} and {label!r}")
    return subset, label


def _load_database(path: Path) -> Any:
    """Return the "database" entry of a JSON file, or None if it has none; raises DataError for invalid JSON."""
    if not path.is_file():
        return None
    try:
        return json.loads(read_text(path), object_pairs_hook=_JsonObject)["database"]
    except (KeyError, TypeError):
        return None
    except (ValueError, RecursionError) as error:
        raise DataError(f"{path}: not readable JSON ({error}); correct or remove the file") from None


def read_official_list(info: DatasetInfo, fold: int) -> list[Clip] | None:
    """Return the clips of the list shipped in datasets/official, in its order, or None if there is none."""
    path = Path(__file__).parent / "official" / (f"{info.name}-{fold:02d}.csv" if fold else f"{info.name}.csv")
    if not path.exists():
        return None
    with path.open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    return [make_clip(row["label"], row["clip"], SPLIT_NAMES[row["split"]], info, path.name) for row in rows]
