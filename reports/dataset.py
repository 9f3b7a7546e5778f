"""Counts, issues and tables of a data set."""

from __future__ import annotations

import csv
import io
from bisect import bisect_right
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby, pairwise
from pathlib import Path

from rich.box import SIMPLE_HEAD
from rich.console import Group, RenderableType
from rich.text import Text

from bench.files import atomic_write
from bench.tasks import Regression, get_values
from bench.types import (
    CLIP_LOSING_ISSUES,
    MEDIA_STREAMS,
    VALIDATION_FOLDS,
    ClipSummary,
    DataIssue,
    DatasetSummary,
    Split,
)
from reports.formats import make_printable
from reports.formats.plain import FittedTable

REMEDIES = {
    "bare names": "used; a clip name in two classes can be listed only once",
    "beyond": "used up to the end of the file",
    "black": "used; all frames are black",
    "case": "read as the class of that name",
    "class": "skipped: unknown class",
    "columns": "not used",
    "container": "read by its content, not by its extension",
    "damaged": "the readable part is used",
    "duplicate": "used once",
    "empty": "the clip is used without this file",
    "encoding": "read in the encoding that fits",
    "duplicates": "used once, in the later split",
    "features": "the stated numbers are replaced, or the clip is used without the array",
    "frames": "gaps repeat the previous frame; images without an index are skipped",
    "joined": "parts of one file are in one group",
    "label": "skipped: unknown class",
    "invalid frames": "left out of the mean of their clip",
    "ids": "cleaned, so that they are safe as names",
    "labels": "skipped: the label is not a finite number",
    "leak": "kept only in the later split, so that no test clip is in train",
    "lengths": "cut to the length of the array",
    "length": "the clip is as long as the longer of video and audio",
    "link": "not followed: it is broken or leads out of the folder",
    "missing": "skipped: listed, but no video or audio file was found",
    "name": "skipped: rename it",
    "no file": "the listed file is missing; the rest of the clip is used",
    "no picture": "used without video",
    "no sound": "used without audio",
    "no target": "skipped: there are no scores for it",
    "no values": "skipped: the clip has no array with values",
    "no words": "used without words",
    "one frame": "used; the frame is repeated",
    "outside": "words that begin outside the clip are dropped",
    "overlap": "all words are used, in order of time",
    "overlapping": "all parts are used",
    "picture": "used without video, which cannot be decoded",
    "rotated": "rotated upright",
    "same content": "reported only; across splits it is a leak",
    "silent": "used; the audio is silent",
    "sound": "used without audio, which cannot be decoded",
    "straddles": "clips are not grouped: the lists split the groups given by the names",
    "subset": "skipped: not in any split",
    "time stamps": "after a jump, frames continue one mean step later",
    "transcript": "used without words",
    "transcribe": "used without words",
    "truncated": "the readable part is used",
    "two classes": "used in both classes, always in the same split",
    "two files": "the first file found is used",
    "unlisted": "skipped: not in any list",
    "unreadable": "skipped: cannot be decoded",
    "values": "replaced by 0",
    "warning": "used",
}

SPLITS: tuple[Split, ...] = ("train", "val", "test")
MAX_LOST_SHARE = 0.1  # share of listed clips that may be lost without a warning
SENTIMENT_SIGNS = {-1: "−", 0: "0", 1: "+"}

RANGE_PARTS = 5  # equal parts of the range of a target, which are counted like classes
EXAMPLES_PER_KIND = 2  # of each kind
MAX_EXAMPLE_LENGTH = 72  # characters of an example


def describe_remedy(kind: str) -> str:
    """Return how the program handles problems of a kind."""
    return REMEDIES.get(kind, "see the reasons")


@dataclass(frozen=True)
class ClassCounts:
    """Counts of the clips of a class; lost clips are counted separately."""

    name: str
    sentiment_sign: str
    splits: dict[Split, int]  # usable clips
    lost: int  # listed, but missing, unreadable or a duplicate of a clip in a later split
    groups: int
    readable: int  # prepared and readable clips
    seconds: float  # of the readable clips
    with_stream: Mapping[str, int]  # stream -> readable clips that have it

    @property
    def counts(self) -> dict[str, int]:
        """Return the numbers of usable clips by split, and of lost clips."""
        return {str(split): count for split, count in self.splits.items()} | {"lost": self.lost}

    @property
    def clips(self) -> int:
        """Return the number of usable clips of all splits."""
        return sum(self.splits.values())


def count_by_class(facts: DatasetSummary) -> list[ClassCounts]:
    """Return the counts of each class, in the order of the data set's classes; of a regression, of ranges of scores."""
    lost, rows = find_lost_keys(facts), []
    if isinstance(facts.info.task, Regression):
        return _count_by_range(facts.clips, facts.info.task, lost)
    for label, (name, sign) in enumerate(zip(facts.info.classes, facts.info.sentiment, strict=True)):
        clips = [clip for clip in facts.clips if clip.target == label]
        rows.append(_count_clips(name, SENTIMENT_SIGNS[sign], clips, lost))
    return rows


def _count_by_range(clips: Sequence[ClipSummary], task: Regression, lost: frozenset[str]) -> list[ClassCounts]:
    """Return the counts of clips in five equal parts of the range of each target."""
    rows = []
    for place, target in enumerate(task.targets):
        ends = [target.low + (target.high - target.low) * part / RANGE_PARTS for part in range(RANGE_PARTS + 1)]
        part_of = {
            clip.key: min(RANGE_PARTS - 1, bisect_right(ends, get_values(clip.target)[place]) - 1) for clip in clips
        }
        for part, (low, high) in enumerate(pairwise(ends)):
            name = f"{target.name} {low:.3g} to {high:.3g}".replace("-", "\u2212")
            rows.append(_count_clips(name, "", [clip for clip in clips if part_of[clip.key] == part], lost))
    return rows


def describe_rows(facts: DatasetSummary) -> str:
    """Return the heading of the rows of `count_by_class`."""
    return "class" if facts.info.classes else "score"


def count_all_classes(facts: DatasetSummary) -> ClassCounts:
    """Return the counts over all classes."""
    return _count_clips("all", "", facts.clips, find_lost_keys(facts))


def _count_clips(name: str, sign: str, clips: Sequence[ClipSummary], lost: frozenset[str]) -> ClassCounts:
    usable = [clip for clip in clips if clip.key not in lost and not clip.dropped]
    opened = [clip for clip in usable if clip.seconds is not None]
    counts = Counter(clip.split for clip in usable)
    return ClassCounts(
        name,
        sign,
        {split: counts[split] for split in SPLITS},
        len(clips) - len(usable),
        len({clip.group for clip in usable}),
        len(opened),
        sum(clip.seconds or 0.0 for clip in opened),
        Counter(name for clip in opened for name in clip.streams),
    )


def find_lost_keys(facts: DatasetSummary) -> frozenset[str]:
    """Return the keys of listed clips that are missing or unreadable."""
    reported = {problem.where for problem in facts.issues if problem.what in CLIP_LOSING_ISSUES}
    return frozenset(clip.key for clip in facts.clips if clip.key in reported and clip.seconds is None)


def list_streams(facts: DatasetSummary) -> tuple[str, ...]:
    """Return the streams to count: video, audio and text, unless the data set has arrays only, and its arrays."""
    media = MEDIA_STREAMS if set(facts.info.streams) & {"video", "audio"} else ()
    return tuple(dict.fromkeys((*media, *facts.info.streams)))


def has_val(facts: DatasetSummary) -> bool:
    """Return whether the lists define a val split; otherwise each run splits it from train by its seed."""
    return any(clip.split == "val" for clip in facts.clips)


def list_splits(facts: DatasetSummary) -> tuple[Split, ...]:
    """Return the splits that the lists define."""
    return SPLITS if has_val(facts) else ("train", "test")


def group_by_kind(problems: Sequence[DataIssue]) -> list[tuple[str, list[DataIssue]]]:
    """Group problems by kind, the most frequent kind first."""
    ordered = sorted(problems, key=lambda problem: problem.what)
    kinds = [(kind, list(found)) for kind, found in groupby(ordered, key=lambda problem: problem.what)]
    return sorted(kinds, key=lambda row: -len(row[1]))


def find_blocking_issues(facts: DatasetSummary) -> list[str]:
    """Return the reasons that make a run impossible."""
    usable = count_all_classes(facts).splits
    lines = [f"the {split} split has no usable clip" for split in list_splits(facts) if not usable[split]]
    if usable["train"]:
        rows = count_by_class(facts) if facts.info.classes else []
        lines += [f"class '{row.name}' has no training clip" for row in rows if not row.splits["train"]]
        groups = len({clip.group for clip in facts.clips if clip.split == "train"})
        if not has_val(facts) and groups < VALIDATION_FOLDS:
            lines.append(f"the training list has {groups} groups, fewer than the {VALIDATION_FOLDS} validation folds")
    return lines


def find_weaknesses(facts: DatasetSummary) -> list[str]:
    """Return the reasons that make scores less reliable without preventing a run."""
    rows, everything = count_by_class(facts) if facts.info.classes else [], count_all_classes(facts)
    lines = [
        f"class '{row.name}' has no {split} clip"
        for split in list_splits(facts)[1:]
        if everything.splits[split]
        for row in rows
        if not row.splits[split]
    ]
    if not has_val(facts):
        lost = find_lost_keys(facts)
        pairs = {(clip.target, clip.group) for clip in facts.clips if clip.split == "train" and clip.key not in lost}
        groups = Counter(label for label, _ in pairs)
        lines += [
            f"class '{name}' has {groups[label]} training group{'s' * (groups[label] > 1)}: "
            f"some of the {VALIDATION_FOLDS} validation folds lack it"
            for label, name in enumerate(facts.info.classes)
            if 0 < groups[label] < VALIDATION_FOLDS
        ]
    if everything.lost > MAX_LOST_SHARE * len(facts.clips):
        lines.append(f"{everything.lost} of {len(facts.clips)} listed clips are missing, unreadable or duplicates")
    if everything.readable:
        lines += [f"no clip has {name}" for name in list_streams(facts) if not everything.with_stream.get(name)]
    return lines


@dataclass(frozen=True)
class LocalDataset:
    """A row of `list datasets`; None for numbers that are unknown on this machine."""

    name: str
    location: str  # "data/ekman6", "--data", ...; empty if the data set is not on this machine
    listed: int | None = None
    usable: int | None = None
    hours: float | None = None
    issues: int | None = None
    prepared: int | None = None  # clips


def make_counts_table(facts: DatasetSummary) -> FittedTable:
    """Return usable clips by class and split, with groups and hours; the last row holds the totals."""
    info, rows, everything = facts.info, count_by_class(facts), count_all_classes(facts)
    name = f"{info.title} -- BUILT-IN SAMPLE, not the real data" if facts.is_sample else info.title
    style, splits = "yellow" if facts.is_sample else "bold", list_splits(facts)
    table = FittedTable(title=Text(make_printable(name)), title_style=style, show_footer=True)
    table.drop_first = ("sentiment", "groups", "hours")
    table.add_column(describe_rows(facts), "all", no_wrap=True)
    if facts.info.classes:
        table.add_column("sentiment", justify="center", no_wrap=True)
    for head, cell in _format_counts(everything, splits).items():
        table.add_column(head, cell, justify="right", no_wrap=True)
    for row in rows:
        signs = [row.sentiment_sign.replace("\u2212", "-")] if facts.info.classes else []
        table.add_row(Text(make_printable(row.name)), *signs, *_format_counts(row, splits).values())
    notes = [] if has_val(facts) else ["val is split from train by the seed of a run"]
    notes += [] if everything.readable else ["hours are known after `prepare`"]
    table.caption = "; ".join(notes) or None
    return table


def _format_counts(row: ClassCounts, splits: Sequence[Split]) -> dict[str, str]:
    texts: dict[str, str] = {split: f"{row.splits[split]:,}" for split in splits}
    hours = f"{row.seconds / 3600:.2f}" if row.readable else "-"
    return texts | {"groups": f"{row.groups:,}", "lost": f"{row.lost:,}" if row.lost else "-", "hours": hours}


def render_issues(facts: DatasetSummary, csv: Path | None) -> RenderableType:
    """Return a table of problems by kind with examples, and the path of the CSV that lists all problems."""
    if not facts.issues:
        return Text("no problems found", style="green")
    title = f"problems with {facts.info.title}" + (" (BUILT-IN SAMPLE)" if facts.is_sample else "")
    table = FittedTable(title=Text(make_printable(title)), title_style="yellow", show_lines=True)
    table.add_column("kind", no_wrap=True)
    table.add_column("count", justify="right", no_wrap=True)
    table.add_column("examples", overflow="fold")
    table.add_column("handling", overflow="fold")
    for kind, found in group_by_kind(facts.issues):
        examples = [_shorten_example(f"{problem.where}: {problem.why}") for problem in found[:EXAMPLES_PER_KIND]]
        table.add_row(Text(make_printable(kind)), f"{len(found):,}", Text("\n".join(examples)), describe_remedy(kind))
    if csv is None:
        return table
    return Group(table, Text(f"all {len(facts.issues):,} problems: {csv}", overflow="fold"))


def _shorten_example(text: str) -> str:
    shown = make_printable(text)
    return shown if len(shown) <= MAX_EXAMPLE_LENGTH else f"{shown[: MAX_EXAMPLE_LENGTH - 3]}..."


def explain_unfitness(facts: DatasetSummary) -> list[str]:
    """Return the reasons why a data set cannot be run; empty if it can."""
    return [f"not fit to run: {line}; check lists and media" for line in find_blocking_issues(facts)]


def write_issues(problems: Sequence[DataIssue], path: Path) -> None:
    """Write all problems to a CSV in UTF-8; undecodable bytes of names are escaped."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(("what", "where", "why"))
    writer.writerows((problem.what, problem.where, problem.why) for problem in problems)
    atomic_write(path, text.getvalue().encode("utf-8", "backslashreplace"))


def make_dataset_list(rows: Sequence[LocalDataset]) -> FittedTable:
    """Return the table of `list datasets`: the data sets present on this machine."""
    table = FittedTable(box=SIMPLE_HEAD, pad_edge=False)
    table.keys = 2
    table.add_column("name", no_wrap=True)
    table.add_column("where", overflow="fold")
    for head in ("listed", "usable", "hours", "problems", "prepared"):
        table.add_column(head, justify="right", no_wrap=True)
    for row in rows:
        numbers = (row.listed, row.usable, row.hours, row.issues, row.prepared)
        cells = ["-" if number is None else _format_number(number) for number in numbers]
        where = Text(make_printable(row.location)) if row.location else Text("not found", style="dim")
        table.add_row(Text(make_printable(row.name)), where, *cells)
    if any(not row.location for row in rows):
        table.caption = (
            "a data set that is not found is replaced by its BUILT-IN SAMPLE in runs, which are marked as such"
        )
    return table


def _format_number(number: float) -> str:
    return f"{number:,}" if isinstance(number, int) else f"{number:.2f}"
