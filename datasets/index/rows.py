"""Rows of a list as clips: their keys, checked, and which of them must stay together."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

from bench.data import Card, Clip, Files, Problem, Split
from bench.errors import DataError
from bench.names import propose
from datasets.index.links import is_text
from datasets.index.rules import Rules

VIDEO_SUFFIXES = (
    *(".mp4", ".avi", ".mkv", ".webm", ".flv", ".mpg", ".mov"),
    *(".m4v", ".mpeg", ".wmv", ".3gp", ".ts", ".ogv"),
)
AUDIO_SUFFIXES = (".mp3", ".wav", ".flac", ".m4a", ".ogg", ".opus", ".aac")
LAYOUT = "wanted: imgs/<Class>/<clip>/000001.jpg or video/<Class>/<clip>.mp4, and trainlist01.txt + testlist01.txt"
SUBSETS: dict[str, Split] = {
    **dict.fromkeys(("train", "training"), "train"),
    **dict.fromkeys(("val", "valid", "dev", "development"), "val"),
    **dict.fromkeys(("test", "testing"), "test"),
}
TWINS = 0.05  # of the names at most; where more occur under several classes, each class numbers its clips anew
ORDER: dict[Split, int] = {"train": 0, "val": 1, "test": 2}  # what stands in two splits stays in the later one


class Index(NamedTuple):
    """The clips that a data set lists, those of them that have media, and what is wrong."""

    listed: tuple[Clip, ...]
    clips: tuple[Clip, ...]
    problems: tuple[Problem, ...]


def make_row(label: str, clip: str, split: Split, card: Card, where: str) -> Clip:
    """A listed clip, its key "<Class>/<clip>" without the suffix of a video, in a group of its own.

    Raises DataError for a class that the card lacks and for a name that would leave the folder.
    """
    label, clip = split_key(f"{label}/{clip}", where)
    name = spell(label, card)
    if name is None:
        raise DataError(f"{where} names class '{label}', which {card.title} lacks; {propose(label, card.classes)}")
    stem, _, suffix = clip.rpartition(".")
    if stem and f".{suffix.lower()}" in VIDEO_SUFFIXES:
        clip = stem
    key = f"{name}/{clip}"
    return Clip(key, card.classes.index(name), split, key)


def files_of(parts: Mapping[str, Path], root: Path, text: str = "") -> Files:
    """The media of a clip by what each part holds, below the data folder `root`."""
    return Files(parts.get("frames"), parts.get("video"), parts.get("audio"), parts.get("transcript"), text, root)


def split_key(name: str, where: str) -> tuple[str, str]:
    """Class and clip of "<Class>/<clip>"; raises DataError for anything else."""
    parts = [part for part in name.split("/") if part not in ("", ".")]
    odd = "\\" in name or not is_text(name)
    if len(parts) != 2 or ".." in parts or name.startswith("/") or odd:
        raise DataError(f"{where}: {name!r} is not <Class>/<clip> inside the data folder; correct the list")
    return parts[0], parts[1]


def spell(label: str, card: Card) -> str | None:
    """The card's own name of a class that is written in another case, or by another name that the card knows."""
    if label in card.classes:
        return label
    lower = label.lower()
    return next((name for name in card.classes if name.lower() == lower), card.aliases.get(lower))


def settle(rows: Iterable[Clip], card: Card, rules: Rules) -> tuple[list[Clip], list[Problem]]:
    """The rows, each clip once, in its group, and no group in two splits: what is, stays in the later one alone."""
    problems: list[Problem] = []
    seen: dict[tuple[str, Split], Clip] = {}
    for row in rows:
        if (row.key, row.split) in seen:
            problems.append(Problem("duplicate", row.key, f"listed twice in {row.split}; kept once"))
        seen.setdefault((row.key, row.split), row)
    tied, found = _tie_twins(list(seen.values()))
    if rules.group is not None:
        tied, told = _tie_groups(tied, card, rules)
        found += told
    kept, leaks = _part(tied)
    return kept, problems + found + leaks


def _part(rows: Sequence[Clip]) -> tuple[list[Clip], list[Problem]]:
    last: dict[str, Split] = {}
    for row in rows:
        if ORDER[row.split] >= ORDER[last.get(row.group, "train")]:
            last[row.group] = row.split
    lost = [row for row in rows if row.split != last[row.group]]
    told = {
        row.key: Problem("leak", row.key, f"{_what(row)} in {row.split} and in {last[row.group]}; kept in the latter")
        for row in lost
    }
    return [row for row in rows if row.split == last[row.group]], [told[key] for key in sorted(told)]


def _what(row: Clip) -> str:
    return "listed" if row.group in (row.key, row.key.partition("/")[2]) else f"its group '{row.group}' is"


def _tie_groups(rows: Sequence[Clip], card: Card, rules: Rules) -> tuple[list[Clip], list[Problem]]:
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
    return list(rows), [Problem("straddles", f"{card.group} {straddling[0]}", why)]


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
    tied = [
        replace(row, group=name) if name in twins and row.group == row.key else row
        for row, name in zip(rows, names, strict=True)
    ]
    return tied, problems
