"""Listed clips: keys, groups and folds.

After validation each clip is listed once and no group is in two splits. Folds consist of whole groups and are the same
for every method.
"""

from __future__ import annotations

import hashlib
import os
from bisect import bisect_right
from collections import Counter, defaultdict
from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NamedTuple

from bench.config import propose_name
from bench.errors import DataError
from bench.tasks import TargetValue
from bench.types import VALIDATION_FOLDS, Clip, ClipSources, DataIssue, DatasetInfo, Split
from datasets.paths import is_valid_name

VIDEO_SUFFIXES = (
    *(".mp4", ".avi", ".mkv", ".webm", ".flv", ".mpg", ".mov"),
    *(".m4v", ".mpeg", ".wmv", ".3gp", ".ts", ".ogv"),
)
AUDIO_SUFFIXES = (".mp3", ".wav", ".flac", ".m4a", ".ogg", ".opus", ".aac")
LAYOUT_HINT = (
    "expected imgs/<Class>/<clip>/000001.jpg or video/<Class>/<clip>.mp4, and trainlist01.txt + testlist01.txt"
)
MISSING = "listed, but no frames, video or audio found; left out"
SPLIT_NAMES: dict[str, Split] = {
    **dict.fromkeys(("train", "training"), "train"),
    **dict.fromkeys(("val", "valid", "dev", "development"), "val"),
    **dict.fromkeys(("test", "testing"), "test"),
}
MAX_LISTED = 5  # groups named in an issue
STRATA = 5  # of the clips of a regression
MAX_TWIN_SHARE = 0.05  # if a larger share of names occurs in several classes, each class has its own numbering
SPLIT_ORDER: dict[Split, int] = {"train": 0, "val": 1, "test": 2}  # a group in two splits stays in the later one


@dataclass(frozen=True)
class NamingRules:
    """Functions that read facts from a clip's name (without its class); None: the name holds no such fact.

    Each function returns None for a name that does not match. Without a group rule each clip is its own group.
    """

    group: Callable[[str], str | None] | None = None  # the video, session or drama
    certain: bool = True  # False: groups are guesses, dropped if the lists put one group into two splits
    split: Callable[[str], Split | None] | None = None  # used if there is no list
    test_fold: Callable[[str], int | None] | None = None  # the fold that tests the clip; overrides the lists


class Listing(NamedTuple):
    """Clips that a data set lists, those of them that have media, and the issues found."""

    listed: tuple[Clip, ...]
    available: tuple[Clip, ...]
    issues: tuple[DataIssue, ...]


def make_clip(label: str, clip: str, split: Split, info: DatasetInfo, where: str) -> Clip:
    """Return a clip that forms its own group, with its key without a media suffix.

    Raises DataError, which names the place `where`, for an unknown class or an invalid name.
    """
    label, clip = parse_key(f"{label}/{clip}", where)
    name = find_class(label, info)
    if name is None:
        raise DataError(f"{where}: {info.title} has no class '{label}'; {propose_name(label, info.classes)}")
    key = f"{name}/{remove_media_suffix(clip)}"
    return Clip(key, info.classes.index(name), split, key)


def remove_media_suffix(clip: str) -> str:
    """Return the name of a clip without the suffix of a video file."""
    stem, _, suffix = clip.rpartition(".")
    return stem if stem and f".{suffix.lower()}" in VIDEO_SUFFIXES else clip


def make_clip_sources(parts: Mapping[str, Path], root: Path, text: str = "") -> ClipSources:
    """Return the media of a clip from part ("frames", "video", ...) -> path, below the data folder `root`."""
    return ClipSources(parts.get("frames"), parts.get("video"), parts.get("audio"), parts.get("transcript"), text, root)


def has_media(clip: Clip) -> bool:
    """Return whether a clip has frames, a video or an audio file."""
    files = clip.sources
    return any(path is not None for path in (files.frames, files.video, files.audio))


def parse_key(name: str, where: str) -> tuple[str, str]:
    """Split "<Class>/<clip>" into class and clip; raises DataError for anything else."""
    parts = [part for part in name.split("/") if part not in ("", ".")]
    invalid = "\\" in name or not is_valid_name(name)
    if len(parts) != 2 or ".." in parts or name.startswith("/") or invalid:
        raise DataError(f"{where}: {name!r} is not <Class>/<clip> inside the data folder; correct the list")
    return parts[0], parts[1]


def find_class(label: str, info: DatasetInfo) -> str | None:
    """Return the official name of a class given in any case or by an alias, or None if it is unknown."""
    if label in info.classes:
        return label
    lower = label.lower()
    return next((name for name in info.classes if name.lower() == lower), info.aliases.get(lower))


def validate_rows(rows: Iterable[Clip], info: DatasetInfo, rules: NamingRules) -> tuple[list[Clip], list[DataIssue]]:
    """Return the rows, each clip once and no group in two splits, and the issues found.

    A group that is listed in two splits stays in the later one (train, val, test).
    """
    problems: list[DataIssue] = []
    seen: dict[tuple[str, Split], Clip] = {}
    for row in rows:
        if (row.key, row.split) in seen:
            problems.append(DataIssue("duplicate", row.key, f"listed twice in {row.split}; used once"))
        seen.setdefault((row.key, row.split), row)
    tied, found = _group_twins(list(seen.values()))
    if rules.group is not None:
        tied, issues = _apply_group_rule(tied, info, rules)
        found += issues
    resolved, leaks = _resolve_split_conflicts(tied)
    return resolved, problems + found + leaks


def _resolve_split_conflicts(rows: Sequence[Clip]) -> tuple[list[Clip], list[DataIssue]]:
    last: dict[str, Split] = {}
    for row in rows:
        if SPLIT_ORDER[row.split] >= SPLIT_ORDER[last.get(row.group, "train")]:
            last[row.group] = row.split
    problems: dict[str, DataIssue] = {}
    for row in rows:
        if row.split != last[row.group]:
            alone = row.group in (row.key, row.key.partition("/")[2])
            subject = "listed" if alone else f"its group '{row.group}' is"
            why = f"{subject} in {row.split} and in {last[row.group]}; used only in {last[row.group]}"
            problems[row.key] = DataIssue("leak", row.key, why)
    return [row for row in rows if row.split == last[row.group]], [problems[key] for key in sorted(problems)]


def _apply_group_rule(
    rows: Sequence[Clip], info: DatasetInfo, rules: NamingRules
) -> tuple[list[Clip], list[DataIssue]]:
    """Put each row into the group that its name contains; clips of the same name stay in one group.

    If the groups are guesses (`certain` is false) and the lists put one of them into two splits, the groups are dropped
    and each clip is its own group again.
    """
    assert rules.group is not None
    grouped = [replace(row, group=rules.group(row.key.partition("/")[2]) or row.group) for row in rows]
    splits: dict[str, set[Split]] = defaultdict(set)
    for row in grouped:
        splits[row.group].add(row.split)
    straddling = sorted(group for group, among in splits.items() if len(among) > 1)
    if rules.certain or not straddling:
        return grouped, []
    why = f"the lists split {len(straddling)} of {len(splits)} groups guessed from names; clips are not grouped"
    return list(rows), [DataIssue("straddles", f"{info.group} {straddling[0]}", why)]


def _group_twins(rows: Sequence[Clip]) -> tuple[list[Clip], list[DataIssue]]:
    """Group clips of the same name in two classes, which are probably one video, and report them.

    If more than 5 % of the names occur in several classes (MAX_TWIN_SHARE), equal names mean nothing and the rows are
    returned unchanged.
    """
    labels: dict[str, set[str]] = defaultdict(set)
    for row in rows:
        label, _, name = row.key.rpartition("/")
        if not row.is_part:  # grouped by its file
            labels[name].add(label)
    twins = sorted(name for name, among in labels.items() if len(among) > 1)
    if len(twins) > MAX_TWIN_SHARE * len(labels):
        return list(rows), []
    why = {
        name: f"listed in classes {' and '.join(sorted(labels[name]))}; both are used, always in the same split"
        for name in twins
    }
    tied = [
        replace(row, group=name) if (name := row.key.rpartition("/")[2]) in why and row.group == row.key else row
        for row in rows
    ]
    return tied, [DataIssue("two classes", name, why[name]) for name in twins]


def group_parts(rows: Sequence[Clip], media: Sequence[Sequence[str]]) -> tuple[list[Clip], list[DataIssue]]:
    """Put all rows of a file into one group if any of them is a part of it; report joined groups and overlaps.

    `media` are the stated paths of each row's video, audio and frames. Two paths of one file (links) are one file; a
    path without a file counts too, so that a missing file does not move groups. A row whose group is its key states
    none. The group is the first of the stated groups, or else the first of the paths.
    """
    if not any(row.is_part for row in rows):
        return list(rows), []
    roots = {path: row.sources.root for row, paths in zip(rows, media, strict=True) for path in paths}
    files = {path: _identify_file(root, path) for path, root in roots.items()}
    cut = {files[path] for row, paths in zip(rows, media, strict=True) if row.is_part for path in paths}
    stated = [[] if row.group == row.key else [("group", row.group)] for row in rows]
    links = _Links()
    spans: dict[Hashable, dict[str, tuple[float, float]]] = defaultdict(dict)
    for row, paths, groups in zip(rows, media, stated, strict=True):
        if any(files[path] in cut for path in paths):
            links.join([*(files[path] for path in paths), *groups])
            spans[files[paths[0]]][row.key] = (row.start or 0.0, float("inf") if row.end is None else row.end)
    names, problems = _name_groups(links, files)
    grouped = []
    for row, paths, groups in zip(rows, media, stated, strict=True):
        mark = next((mark for mark in [*(files[path] for path in paths), *groups] if mark in links.marks), None)
        grouped.append(row if mark is None else replace(row, group=names[links.find(mark)]))
    first = {file: path for path, file in sorted(files.items(), reverse=True)}
    overlapping = [issue for file, found in spans.items() for issue in _find_overlapping(first[file], found)]
    return grouped, [*problems, *sorted(overlapping, key=lambda issue: issue.where)]


def _name_groups(links: _Links, files: Mapping[str, Hashable]) -> tuple[dict[Hashable, str], list[DataIssue]]:
    """Return the name of the group of each set of files and stated groups, and report those with several groups."""
    paths: dict[Hashable, list[str]] = defaultdict(list)
    for path, file in sorted(files.items()):
        if file in links.marks:
            paths[links.find(file)].append(path)
    groups: dict[Hashable, list[str]] = defaultdict(list)
    for mark in links.marks:
        if isinstance(mark, tuple) and mark[0] == "group":
            groups[links.find(mark)].append(mark[1])
    problems = []
    for root, joined in groups.items():
        if len(joined) > 1:
            more = f" and {len(joined) - MAX_LISTED} more" if len(joined) > MAX_LISTED else ""
            listed = ", ".join(f"'{group}'" for group in sorted(joined)[:MAX_LISTED])
            why = f"parts of one file are in groups {listed}{more}; used as one group"
            problems.append(DataIssue("joined", paths[root][0], why))
    names = {root: min(groups.get(root, found)) for root, found in paths.items()}
    return names, sorted(problems, key=lambda issue: issue.where)


def _find_overlapping(path: str, spans: Mapping[str, tuple[float, float]]) -> list[DataIssue]:
    """Report, as one issue, the parts of a file that begin before an earlier one ends."""
    latest, overlapping = 0.0, []
    for key, (start, end) in sorted(spans.items(), key=lambda row: (row[1], row[0])):
        if start < latest:
            overlapping.append(key)
        latest = max(latest, end)
    why = f"{len(overlapping)} of {len(spans)} parts begin before another one ends, first {', '.join(overlapping[:1])}"
    return [DataIssue("overlapping", path, f"{why}; all are used")] if overlapping else []


def _identify_file(root: Path | None, path: str) -> Hashable:
    """Return what is equal for all paths of one file or folder; the path itself if there is none."""
    with suppress(OSError, ValueError):
        stat = os.stat((root or Path()) / path)
        if stat.st_ino:
            return stat.st_dev, stat.st_ino
    return path


class _Links:
    """Sets of marks that belong together."""

    def __init__(self) -> None:
        self.marks: dict[Hashable, Hashable] = {}  # mark -> another mark of its set, or itself

    def find(self, mark: Hashable) -> Hashable:
        """Return the mark that represents the set of a mark."""
        while self.marks[mark] != mark:
            self.marks[mark] = mark = self.marks[self.marks[mark]]
        return mark

    def join(self, marks: Sequence[Hashable]) -> None:
        """Join the sets of some marks; a new mark is a set."""
        for mark in marks:
            self.marks.setdefault(mark, mark)
        for mark in marks[1:]:
            self.marks[self.find(mark)] = self.find(marks[0])


def assign_folds(clips: Sequence[Clip], name: str) -> dict[str, int]:
    """Return group -> fold (0 to 4): whole groups, stratified by class, seeded by the data set's name only.

    Clips of a regression are stratified by the fifth of all clips that their first target is in.

    The groups of a class are assigned in the order of a hash, and each class continues at the fold after the last one,
    so that folds differ by at most one group per class and do not depend on the order of the list.
    """
    labels: dict[str, Counter[int]] = defaultdict(Counter)
    strata = _find_strata(clips)
    for clip in clips:
        labels[clip.group][strata[clip.target]] += 1
    by_class: dict[int, list[str]] = defaultdict(list)
    for group, counts in labels.items():
        by_class[min(counts, key=lambda label: (-counts[label], label))].append(group)
    folds: dict[str, int] = {}
    for label in sorted(by_class):
        for group in sorted(by_class[label], key=lambda group: hashlib.sha256(f"{name}\x1f{group}".encode()).digest()):
            folds[group] = len(folds) % VALIDATION_FOLDS
    return folds


def _find_strata(clips: Sequence[Clip]) -> dict[TargetValue, int]:
    """Return target -> stratum: the class, or the fifth of the clips in the order of their first target."""
    numbers = sorted(clip.target[0] for clip in clips if isinstance(clip.target, tuple))
    ends = [numbers[len(numbers) * part // STRATA] for part in range(1, STRATA)] if numbers else []
    return {
        clip.target: bisect_right(ends, clip.target[0]) if isinstance(clip.target, tuple) else clip.target
        for clip in clips
    }


def hold_out_fold(clips: Sequence[Clip], folds: Mapping[str, int], fold: int, count: int) -> list[Clip]:
    """Return the clips with their splits: `fold` (1 to `count`) is test, the fold after it val, the others train."""
    val_fold = fold % count + 1
    return [
        replace(clip, split="test" if folds[clip.key] == fold else "val" if folds[clip.key] == val_fold else "train")
        for clip in clips
    ]


def compute_fingerprint(splits: Mapping[str, Sequence[Clip]], info: DatasetInfo) -> str:
    """Return the sha256 of all (split, clip key, target) rows; every record stores it to identify its splits."""
    rows = sorted(
        f"{split}\t{clip.key}\t{info.task.describe_target(clip.target)}"
        for split, clips in splits.items()
        for clip in clips
    )
    return hashlib.sha256("\n".join(rows).encode()).hexdigest()
