"""Listed clips: their keys, their groups and their folds.

A clip is listed once, and a group is never in two splits. Folds are whole groups, cut once and the same for every
method.
"""

from __future__ import annotations

import hashlib
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NamedTuple

from bench.config import propose_name
from bench.errors import DataError
from bench.types import VALIDATION_FOLDS, Clip, ClipSources, DataIssue, DatasetInfo, Split
from datasets.paths import is_valid_name

VIDEO_SUFFIXES = (
    *(".mp4", ".avi", ".mkv", ".webm", ".flv", ".mpg", ".mov"),
    *(".m4v", ".mpeg", ".wmv", ".3gp", ".ts", ".ogv"),
)
AUDIO_SUFFIXES = (".mp3", ".wav", ".flac", ".m4a", ".ogg", ".opus", ".aac")
LAYOUT_HINT = "wanted: imgs/<Class>/<clip>/000001.jpg or video/<Class>/<clip>.mp4, and trainlist01.txt + testlist01.txt"
MISSING = "listed, but no picture or sound was found"
SPLIT_NAMES: dict[str, Split] = {
    **dict.fromkeys(("train", "training"), "train"),
    **dict.fromkeys(("val", "valid", "dev", "development"), "val"),
    **dict.fromkeys(("test", "testing"), "test"),
}
MAX_TWIN_SHARE = 0.05  # of the names at most; where more occur under several classes, each class numbers its clips anew
SPLIT_ORDER: dict[Split, int] = {"train": 0, "val": 1, "test": 2}  # what stands in two splits stays in the later one


@dataclass(frozen=True)
class NamingRules:
    """How a clip's bare name is read; without rules it tells nothing, and a clip is a group of its own."""

    group: Callable[[str], str | None] | None = None  # the video, session or drama; None where it tells none
    certain: bool = True  # False: a group that straddles the official lists is no group after all
    split: Callable[[str], Split | None] | None = None  # where there is no list
    test_fold: Callable[[str], int | None] | None = None  # the fold that tests the clip, whatever a list says


class Listing(NamedTuple):
    """The clips that a data set lists, those of them that have media, and what is wrong."""

    listed: tuple[Clip, ...]
    available: tuple[Clip, ...]
    issues: tuple[DataIssue, ...]


def make_clip(label: str, clip: str, split: Split, info: DatasetInfo, where: str) -> Clip:
    """Make a clip of its own group, its key without a suffix; raises DataError for a wrong class or name."""
    label, clip = parse_key(f"{label}/{clip}", where)
    name = find_class(label, info)
    if name is None:
        raise DataError(f"{where} names class '{label}', which {info.title} lacks; {propose_name(label, info.classes)}")
    stem, _, suffix = clip.rpartition(".")
    if stem and f".{suffix.lower()}" in VIDEO_SUFFIXES:
        clip = stem
    key = f"{name}/{clip}"
    return Clip(key, info.classes.index(name), split, key)


def make_clip_sources(parts: Mapping[str, Path], root: Path, text: str = "") -> ClipSources:
    """The media of a clip by what each part holds, below the data folder `root`."""
    return ClipSources(parts.get("frames"), parts.get("video"), parts.get("audio"), parts.get("transcript"), text, root)


def has_media(clip: Clip) -> bool:
    """Return whether anything of a clip can be seen or heard."""
    files = clip.sources
    return any(path is not None for path in (files.frames, files.video, files.audio))


def parse_key(name: str, where: str) -> tuple[str, str]:
    """Class and clip of "<Class>/<clip>"; raises DataError for anything else."""
    parts = [part for part in name.split("/") if part not in ("", ".")]
    odd = "\\" in name or not is_valid_name(name)
    if len(parts) != 2 or ".." in parts or name.startswith("/") or odd:
        raise DataError(f"{where}: {name!r} is not <Class>/<clip> inside the data folder; correct the list")
    return parts[0], parts[1]


def find_class(label: str, info: DatasetInfo) -> str | None:
    """The card's own name of a class that is written in another case, or by another name that the card knows."""
    if label in info.classes:
        return label
    lower = label.lower()
    return next((name for name in info.classes if name.lower() == lower), info.aliases.get(lower))


def validate_rows(rows: Iterable[Clip], info: DatasetInfo, rules: NamingRules) -> tuple[list[Clip], list[DataIssue]]:
    """The rows, each clip once, in its group, and no group in two splits: what is, stays in the later one alone."""
    problems: list[DataIssue] = []
    seen: dict[tuple[str, Split], Clip] = {}
    for row in rows:
        if (row.key, row.split) in seen:
            problems.append(DataIssue("duplicate", row.key, f"listed twice in {row.split}; kept once"))
        seen.setdefault((row.key, row.split), row)
    tied, found = _group_twins(list(seen.values()))
    if rules.group is not None:
        tied, told = _apply_group_rule(tied, info, rules)
        found += told
    kept, leaks = _resolve_split_conflicts(tied)
    return kept, problems + found + leaks


def _resolve_split_conflicts(rows: Sequence[Clip]) -> tuple[list[Clip], list[DataIssue]]:
    last: dict[str, Split] = {}
    for row in rows:
        if SPLIT_ORDER[row.split] >= SPLIT_ORDER[last.get(row.group, "train")]:
            last[row.group] = row.split
    problems: dict[str, DataIssue] = {}
    for row in rows:
        if row.split != last[row.group]:
            alone = row.group in (row.key, row.key.partition("/")[2])
            what = "listed" if alone else f"its group '{row.group}' is"
            why = f"{what} in {row.split} and in {last[row.group]}; kept in the latter"
            problems[row.key] = DataIssue("leak", row.key, why)
    return [row for row in rows if row.split == last[row.group]], [problems[key] for key in sorted(problems)]


def _apply_group_rule(
    rows: Sequence[Clip], info: DatasetInfo, rules: NamingRules
) -> tuple[list[Clip], list[DataIssue]]:
    """Each row in the group that its name tells; twins stay tied, by what their name tells or by their name.

    Groups that are only guessed from names, and that the lists part, are given up: each clip is its own again.
    """
    assert rules.group is not None
    grouped = [replace(row, group=rules.group(row.key.partition("/")[2]) or row.group) for row in rows]
    splits: dict[str, set[Split]] = defaultdict(set)
    for row in grouped:
        splits[row.group].add(row.split)
    straddling = sorted(group for group, among in splits.items() if len(among) > 1)
    if rules.certain or not straddling:
        return grouped, []
    why = f"the lists part {len(straddling)} of {len(splits)} groups that the names tell; clips are not grouped"
    return list(rows), [DataIssue("straddles", f"{info.group} {straddling[0]}", why)]


def _group_twins(rows: Sequence[Clip]) -> tuple[list[Clip], list[DataIssue]]:
    """Clips of one name under two classes, taken for one video: told, and grouped by the bare name.

    Where more than 5 % of the names occur under several classes, a name says nothing beyond its class.
    """
    labels: dict[str, set[str]] = defaultdict(set)
    for row in rows:
        label, name = row.key.split("/")
        labels[name].add(label)
    twins = sorted(name for name, among in labels.items() if len(among) > 1)
    if len(twins) > MAX_TWIN_SHARE * len(labels):
        return list(rows), []
    why = {name: f"listed under {' and '.join(sorted(labels[name]))}; kept under each, never parted" for name in twins}
    tied = [
        replace(row, group=name) if (name := row.key.split("/")[1]) in why and row.group == row.key else row
        for row in rows
    ]
    return tied, [DataIssue("two classes", name, why[name]) for name in twins]


def assign_folds(clips: Sequence[Clip], name: str) -> dict[str, int]:
    """Group -> fold 0..4: stratified by class, whole groups, seeded by the data set's name alone.

    Within a class the groups are dealt out in the order of a hash, and each class goes on where the last one
    stopped, so that folds differ by at most one clip a class however the list was ordered.
    """
    labels: dict[str, Counter[int]] = defaultdict(Counter)
    for clip in clips:
        labels[clip.group][clip.target] += 1
    by_class: dict[int, list[str]] = defaultdict(list)
    for group, counts in labels.items():
        by_class[min(counts, key=lambda label: (-counts[label], label))].append(group)
    folds: dict[str, int] = {}
    for label in sorted(by_class):
        for group in sorted(by_class[label], key=lambda group: hashlib.sha256(f"{name}\x1f{group}".encode()).digest()):
            folds[group] = len(folds) % VALIDATION_FOLDS
    return folds


def hold_out_fold(clips: Sequence[Clip], folds: Mapping[str, int], fold: int, count: int) -> list[Clip]:
    """Clips whose key is of `fold` (1 to `count`) for test, of the fold after it for val, the others for train."""
    after = fold % count + 1
    return [
        replace(clip, split="test" if folds[clip.key] == fold else "val" if folds[clip.key] == after else "train")
        for clip in clips
    ]


def compute_fingerprint(splits: Mapping[str, Sequence[Clip]], info: DatasetInfo) -> str:
    """The sha256 of every (split, clip key, label): names the split in every record."""
    rows = sorted(
        f"{split}\t{clip.key}\t{info.classes[clip.target]}" for split, clips in splits.items() for clip in clips
    )
    return hashlib.sha256("\n".join(rows).encode()).hexdigest()
