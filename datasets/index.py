"""The index of a data folder: the clips of its lists, and the media found for them.

The lists in the folder come first, then an annotation file of the authors' tools, then the official list that comes
with the program, then the names of the clips. Media lie by class and clip. Every name stays inside the data folder.
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

MEDIA_FOLDERS = (  # folder, what it holds, the suffixes of its files; of two files for one part the first counts
    ("imgs", "frames", ()),
    ("img", "frames", ()),
    ("video", "video", VIDEO_SUFFIXES),
    ("mp3", "audio", AUDIO_SUFFIXES),
    ("video", "transcript", (".srt",)),
    ("srt", "transcript", (".srt",)),
)


@dataclass(frozen=True)
class DatasetSource:
    """One of the five, looked for in the usual places, or one's own, which is where it was named."""

    info: DatasetInfo
    index: Callable[..., Listing]  # (folder or manifest, fold=)
    path: Path | None = None  # of one's own


def make_tree_source(info: DatasetInfo, rules: NamingRules) -> DatasetSource:
    """Make a data set in the tree of lists and media."""
    return DatasetSource(info, partial(index_tree, info=info, rules=rules))


def index_tree(root: Path, info: DatasetInfo, rules: NamingRules | None = None, fold: int = 0) -> Listing:
    """What a tree lists and holds, for one official list or one group left out.

    Raises DataError for a tree without lists or media, an unknown class, or a name that leaves the folder.
    """
    media, found = scan_media(root, info)
    listed, problems = read_listed_clips(root, info, rules or NamingRules(), fold, list(media))
    problems += found
    if not media:
        links = sum(problem.what == "link" for problem in found)
        refused = f" (links not followed, as they leave it or lead nowhere: {links})" if links else ""
        raise DataError(f"{root} holds no media of {info.title}{refused}; {LAYOUT_HINT}")
    clips = []
    for row in listed:
        clip = replace(row, sources=media.pop(row.key, row.sources))
        if has_media(clip):
            clips.append(clip)
        else:
            problems.append(DataIssue("missing", row.key, MISSING))
    told = {problem.where for problem in problems if problem.what in ("leak", "subset")}
    problems += [DataIssue("unlisted", key, "media without a row in any list") for key in sorted(media.keys() - told)]
    return Listing(tuple(listed), tuple(clips), tuple(problems))


def read_listed_clips(
    root: Path, info: DatasetInfo, rules: NamingRules, fold: int, media: Sequence[str] = ()
) -> tuple[list[Clip], list[DataIssue]]:
    """The clips of the lists, or else of the annotation file, of the list that comes with the program, or of the tree
    itself where the names tell the split; each once, and a group in one split only."""
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
        said = f" for --fold {fold}" if fold > 1 else ""
        raise DataError(f"{root} has no lists of {info.title}{said}; wanted: {lists}, or an annotation .json")
    if rules.test_fold is not None:
        rows, lost = _split_by_named_fold(rows, info, rules.test_fold, fold)
        problems += lost
    settled, found = validate_rows(rows, info, rules)
    return settled, problems + found


def _list_clips_by_name(
    media: Sequence[str], info: DatasetInfo, rules: NamingRules
) -> tuple[list[Clip], list[DataIssue]]:
    """Every clip of the tree, in the split that its name tells."""
    rows, problems = [], []
    for key in media:
        label, clip = key.split("/")
        split = rules.split(clip) if rules.split else "train"
        if split is None:
            problems.append(DataIssue("subset", key, "its name tells no split, and there is no list; left out"))
        else:
            rows.append(make_clip(label, clip, split, info, key))
    return rows, problems


def _split_by_named_fold(
    rows: Sequence[Clip], info: DatasetInfo, held_out: Callable[[str], int | None], fold: int
) -> tuple[list[Clip], list[DataIssue]]:
    """The rows split by the fold that each clip's name tells; those whose name tells none are left out."""
    folds = {row.key: held_out(row.key.partition("/")[2]) for row in rows}
    why = f"its name tells no {info.group}; left out"
    problems = [DataIssue("subset", key, why) for key, found in folds.items() if found is None]
    known = {key: found for key, found in folds.items() if found is not None}
    once = {row.key: row for row in rows if row.key in known}  # whatever splits the lists name
    return hold_out_fold(list(once.values()), known, fold, len(info.folds)), problems


def scan_media(root: Path, info: DatasetInfo) -> tuple[dict[str, ClipSources], list[DataIssue]]:
    """Key -> media, from one listing a folder; of two files for one part the first counts, and the other is told."""
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
                    problems.append(DataIssue("two files", key, f"{used.relative_to(root)} is used, {shown} is not"))
    return {key: make_clip_sources(parts, root) for key, parts in found.items()}, list(dict.fromkeys(problems))


def make_name_issue(folder: str, name: str) -> DataIssue:
    """A file whose name cannot be written down."""
    return DataIssue("name", folder, f"{name!a} is not in UTF-8, or ends a line; rename it")


def _find_class_folders(
    root: Path, folder: str, info: DatasetInfo, problems: list[DataIssue]
) -> Iterable[tuple[str, Path]]:
    """(class, folder) below a media folder; another spelling of case, or another name of a class, is taken and told."""
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
                problems.append(DataIssue("class", where, "folder of a class the card lacks"))
                continue
            if name != entry.name:
                problems.append(DataIssue("case", where, f"taken for class '{name}'"))
            yield name, Path(entry.path)


def _find_key(name: str, entry: os.DirEntry[str], suffixes: tuple[str, ...]) -> str | None:
    """The key of a folder of frames (no suffixes) or of a media file; None for anything else."""
    if not suffixes:
        folder = entry.is_dir() or (entry.is_symlink() and not os.path.exists(entry.path))
        return f"{name}/{entry.name}" if folder else None
    if not (entry.is_symlink() or entry.is_file()):
        return None
    stem, dot, suffix = entry.name.rpartition(".")
    return f"{name}/{stem}" if dot and stem and f".{suffix.lower()}" in suffixes else None


def read_split_lists(root: Path, info: DatasetInfo, number: int) -> list[Clip] | None:
    """Read trainlistNN.txt and testlistNN.txt; None where there are none. Raises DataError for wrong ones."""
    lists: dict[Split, Path] = {
        "train": root / f"trainlist{number:02d}.txt",
        "test": root / f"testlist{number:02d}.txt",
    }
    there, lost = ([path for path in lists.values() if path.exists() == wanted] for wanted in (True, False))
    if not there:
        return None
    if lost:
        raise DataError(f"{root} has {there[0].name} but not the other list; {lost[0].name} is wanted too")
    return [row for split, path in lists.items() for row in _parse_split_list(path, split, info)]


def read_text(path: Path) -> str:
    """A list's text; raises DataError for a file that cannot be read, or is not in UTF-8."""
    try:
        return path.read_text(encoding="utf-8-sig")
    except OSError as error:
        raise DataError(f"cannot read {path}: {error.strerror or error}") from None
    except UnicodeDecodeError:
        raise DataError(f"{path} is not in UTF-8; save it as UTF-8") from None


def _parse_split_list(path: Path, split: Split, info: DatasetInfo) -> Iterable[Clip]:
    """Lines "<Class>/<clip>" with or without the class's own number behind them, counted from 1 or from 0.

    Where most numbers at the end are not the class's own, as in "joy/clip 1", "joy/clip 2", all are part of the names.
    """
    lines = [(f"{path.name}:{number}", line.strip()) for number, line in enumerate(read_text(path).splitlines(), 1)]
    named = [(where, *parse_key(name, where)) for where, name in lines if name]
    own = [_ends_in_class_number(label, clip, info) for _, label, clip in named]
    numbered = own.count(True) > own.count(False)
    for (where, label, clip), strip in zip(named, own, strict=True):
        yield make_clip(label, clip.rpartition(" ")[0].strip() if strip and numbered else clip, split, info, where)


def _ends_in_class_number(label: str, clip: str, info: DatasetInfo) -> bool | None:
    """Whether the number behind a clip is that of its class; None where there is no number."""
    head, _, tail = clip.rpartition(" ")
    if not head.strip() or not tail.isdecimal():
        return None
    name = find_class(label, info)
    return name is not None and tail in {str(info.classes.index(name) + base) for base in (0, 1)}


class _JsonObject(dict[str, Any]):
    """A JSON object that remembers each of its pairs, since a name that stands twice would hide one of them."""

    def __init__(self, pairs: list[tuple[str, Any]]) -> None:
        super().__init__(pairs)
        self.pairs = pairs


def read_annotation(root: Path, info: DatasetInfo, number: int) -> tuple[list[Clip], list[DataIssue]] | None:
    """The clips of the json file that has a "database", in its order; None where there is none.

    Of several the one whose name ends in the list's number counts. A class that the card lacks and an unknown subset
    cost their clips. Raises DataError where nothing else is there, and for entries that cannot be read.
    """
    found = {path: database for path in sorted(root.glob("*.json")) if (database := _load_database(path)) is not None}
    numbered = [path for path in found if path.stem.endswith(f"{number:02d}")]
    path, *others = [*(numbered or (found if number == 1 else []))] or [None]
    if path is None:
        return None
    rows, problems = _parse_annotation(path, found[path], info)
    return rows, [*(DataIssue("two files", other.name, f"{path.name} is used") for other in others if other), *problems]


def has_annotation(root: Path) -> bool:
    """Whether a folder has such a file."""
    return any(_load_database(path) is not None for path in root.glob("*.json"))


def _parse_annotation(path: Path, database: Any, info: DatasetInfo) -> tuple[list[Clip], list[DataIssue]]:
    if not isinstance(database, _JsonObject) or not database.pairs:
        raise DataError(f'{path.name}: "database" must hold {{"<clip>": {{"subset": .., "annotations": ..}}}}')
    named = [entry.get("subset") for _, entry in database.pairs if isinstance(entry, dict)]
    tested = any(SPLIT_NAMES.get(name) == "test" for name in named if isinstance(name, str))
    # "validation" is the authors' name for the test split where no other is called so
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
        own = bool(stated) and find_class(stated, info) == find_class(label, info)
        row = make_clip(label, clip if own else name, "train", info, where)
        if subset not in words:
            problems.append(DataIssue("subset", row.key, f"unknown subset '{subset}' in {path.name}; left out"))
        else:
            rows.append(Clip(row.key, row.target, words[subset], row.group))
    if unknown and len(unknown) >= len(database.pairs) / 2:
        name, label = next(iter(unknown.items()))
        tail = propose_name(label, info.classes)
        counted = f"{len(unknown)} of its {len(database.pairs)} clips are of classes"
        raise DataError(f"{path.name}: {counted} that {info.title} lacks, first '{name}' of '{label}'; {tail}")
    for name, label in unknown.items():
        problems.append(DataIssue("label", name, f"class '{label}' in {path.name} is none of {info.title}; left out"))
    if bare:
        why = f"{bare} clips are keyed without their class: a name under two classes can stand there but once"
        problems.append(DataIssue("bare names", path.name, why))
    return rows, problems


def _parse_fields(entry: Any, where: str) -> tuple[str, str]:
    try:
        subset, label = entry["subset"], entry["annotations"]["label"]
    except (KeyError, TypeError):
        raise DataError(f"{where} has no subset or no annotations.label") from None
    if not (isinstance(subset, str) and isinstance(label, str)):
        raise DataError(f"{where}: subset and annotations.label must be text, not {subset!r} and {label!r}")
    return subset, label


def _load_database(path: Path) -> Any:
    """What stands under "database"; None in a file that has no such entry. Raises DataError for a broken one."""
    if not path.is_file():
        return None
    try:
        return json.loads(read_text(path), object_pairs_hook=_JsonObject)["database"]
    except (KeyError, TypeError):
        return None
    except (ValueError, RecursionError) as error:
        raise DataError(f"{path} is no readable json ({error}); mend it, or move it away") from None


def read_official_list(info: DatasetInfo, fold: int) -> list[Clip] | None:
    """The clips of the list that comes with the program, in its order; None where none does."""
    path = Path(__file__).parent / "official" / (f"{info.name}-{fold:02d}.csv" if fold else f"{info.name}.csv")
    if not path.exists():
        return None
    with path.open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    return [make_clip(row["label"], row["clip"], SPLIT_NAMES[row["split"]], info, path.name) for row in rows]
