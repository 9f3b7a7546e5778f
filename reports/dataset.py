"""Counts, issues and tables of a data set."""

from __future__ import annotations

import csv
import io
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path

from rich.box import SIMPLE_HEAD
from rich.console import Group, RenderableType
from rich.text import Text

from bench.files import atomic_write
from bench.types import CLIP_LOSING_ISSUES, VALIDATION_FOLDS, ClipSummary, DataIssue, DatasetSummary, Split
from reports.formats import make_printable
from reports.formats.plain import FittedTable

REMEDIES = {
    "bare names": "used; a clip name under two classes can stand there but once",
    "black": "used; the picture says nothing",
    "case": "taken for the class of that name",
    "class": "not read: the card has no such class",
    "columns": "not used",
    "container": "read as what it is, whatever its name says",
    "damaged": "the rest is used",
    "duplicate": "kept once",
    "empty": "the clip is used without that file",
    "encoding": "read in the encoding that fits",
    "frames": "gaps show the frame before; pictures without a place are left out",
    "label": "left out: no class of the card",
    "leak": "kept in the later split alone, so that nothing tested is trained on",
    "length": "the clip is as long as the longer of picture and sound",
    "link": "not followed: it leaves the folder, or leads nowhere",
    "missing": "left out: listed, but no picture or sound is there",
    "name": "not read: rename it",
    "no file": "what the row names is not there; the rest of the clip is used",
    "no picture": "used without picture",
    "no sound": "used without sound",
    "no words": "used without words",
    "one frame": "used; the frame is shown throughout",
    "outside": "words that begin outside the clip are left out",
    "overlap": "all words are kept, in order of time",
    "picture": "used without the picture, which cannot be decoded",
    "rotated": "shown upright",
    "same content": "told; on two sides of a split it is a leak",
    "silent": "used; the sound says nothing",
    "sound": "used without the sound, which cannot be decoded",
    "straddles": "clips are not grouped, since the lists part the groups that names tell",
    "subset": "left out: no split is known of it",
    "time stamps": "frames go on one mean step later",
    "transcript": "used without words",
    "transcribe": "used without words",
    "truncated": "what can be read is used",
    "two classes": "kept under each class, never parted by a split",
    "two files": "the first by name is used",
    "unlisted": "not read: no list names it",
    "unreadable": "left out: nothing of it can be decoded",
    "warning": "used all the same",
}

SPLITS: tuple[Split, ...] = ("train", "val", "test")
MODALITIES = ("picture", "sound", "words")
MAX_LOST_SHARE = 0.1  # share of the listed clips; more than this lost, and scores are hardly those of the data set
SENTIMENT_SIGNS = {-1: "−", 0: "0", 1: "+"}

EXAMPLES_PER_KIND = 2  # of each kind
MAX_EXAMPLE_LENGTH = 72  # signs of an example


def describe_remedy(kind: str) -> str:
    """What becomes of a problem of a kind; of an unknown kind its own reason says it."""
    return REMEDIES.get(kind, "see the reason of each")


@dataclass(frozen=True)
class ClassCounts:
    """Clips counted, those that are lost apart from the others."""

    name: str
    sentiment_sign: str
    splits: dict[Split, int]  # usable clips
    lost: int  # listed, but missing or unreadable
    groups: int
    readable: int  # prepared and readable
    seconds: float  # of those
    with_modality: tuple[int, ...]  # of those, with picture, sound, words

    @property
    def counts(self) -> dict[str, int]:
        """Usable clips by split, and the lost ones."""
        return {str(split): count for split, count in self.splits.items()} | {"lost": self.lost}

    @property
    def clips(self) -> int:
        """The usable clips of all splits."""
        return sum(self.splits.values())


def count_by_class(facts: DatasetSummary) -> list[ClassCounts]:
    """A row for each class, in the card's order."""
    lost, rows = find_lost_keys(facts), []
    for label, (name, sign) in enumerate(zip(facts.info.classes, facts.info.sentiment, strict=True)):
        clips = [clip for clip in facts.clips if clip.target == label]
        rows.append(_count_clips(name, SENTIMENT_SIGNS[sign], clips, lost))
    return rows


def count_all_classes(facts: DatasetSummary) -> ClassCounts:
    """All classes as one row."""
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
        tuple(sum(clip.present[place] for clip in opened) for place in range(len(MODALITIES))),
    )


def find_lost_keys(facts: DatasetSummary) -> frozenset[str]:
    """The keys of listed clips that are missing or unreadable."""
    told = {problem.where for problem in facts.issues if problem.what in CLIP_LOSING_ISSUES}
    return frozenset(clip.key for clip in facts.clips if clip.key in told and clip.seconds is None)


def has_val(facts: DatasetSummary) -> bool:
    """Whether the lists state a val split; otherwise it is cut from train by the seed."""
    return any(clip.split == "val" for clip in facts.clips)


def list_splits(facts: DatasetSummary) -> tuple[Split, ...]:
    """The splits that the lists state."""
    return SPLITS if has_val(facts) else ("train", "test")


def group_by_kind(problems: Sequence[DataIssue]) -> list[tuple[str, list[DataIssue]]]:
    """Problems of each kind in their order, the most frequent kind first."""
    ordered = sorted(problems, key=lambda problem: problem.what)
    kinds = [(kind, list(found)) for kind, found in groupby(ordered, key=lambda problem: problem.what)]
    return sorted(kinds, key=lambda row: -len(row[1]))


def find_blocking_issues(facts: DatasetSummary) -> list[str]:
    """What forbids a run, a line each."""
    usable = count_all_classes(facts).splits
    lines = [f"the {split} split has no usable clip" for split in list_splits(facts) if not usable[split]]
    if usable["train"]:
        rows = count_by_class(facts)
        lines += [f"class '{row.name}' has no training clip" for row in rows if not row.splits["train"]]
        groups = len({clip.group for clip in facts.clips if clip.split == "train"})
        if not has_val(facts) and groups < VALIDATION_FOLDS:
            cut = f"is cut into {VALIDATION_FOLDS} folds of whole groups"
            lines.append(f"the training list has {groups} groups, and {cut}")
    return lines


def find_weaknesses(facts: DatasetSummary) -> list[str]:
    """What does not forbid a run but makes its scores worth less, a line each."""
    rows, everything = count_by_class(facts), count_all_classes(facts)
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
            f"some of the {VALIDATION_FOLDS} validation folds are without it"
            for label, name in enumerate(facts.info.classes)
            if 0 < groups[label] < VALIDATION_FOLDS
        ]
    if everything.lost > MAX_LOST_SHARE * len(facts.clips):
        lines.append(f"{everything.lost} of {len(facts.clips)} listed clips are missing or unreadable")
    if everything.readable:
        absent = [name for name, count in zip(MODALITIES, everything.with_modality, strict=True) if not count]
        lines += [f"no clip has {name if name == 'words' else f'a {name}'}" for name in absent]
    return lines


@dataclass(frozen=True)
class LocalDataset:
    """A data set as `list datasets` shows it; None where it is not known on this machine."""

    name: str
    location: str  # "data/ekman6", "--data", ...; empty = not here
    listed: int | None = None
    usable: int | None = None
    hours: float | None = None
    issues: int | None = None
    prepared: int | None = None  # clips


def make_counts_table(facts: DatasetSummary) -> FittedTable:
    """Usable clips by class and split, with their groups and hours; the last line holds the totals."""
    info, rows, everything = facts.info, count_by_class(facts), count_all_classes(facts)
    name = f"{info.title} -- BUILT-IN SAMPLE, not the real data" if facts.is_sample else info.title
    style, splits = "yellow" if facts.is_sample else "bold", list_splits(facts)
    table = FittedTable(title=Text(make_printable(name)), title_style=style, show_footer=True)
    table.drop_first = ("sentiment", "groups", "hours")
    table.add_column("class", "all", no_wrap=True)
    table.add_column("sentiment", justify="center", no_wrap=True)
    for head, cell in _format_counts(everything, splits).items():
        table.add_column(head, cell, justify="right", no_wrap=True)
    for row in rows:
        sign = row.sentiment_sign.replace("\u2212", "-")
        table.add_row(Text(make_printable(row.name)), sign, *_format_counts(row, splits).values())
    notes = [] if has_val(facts) else ["val is cut from train, by the seed of a run"]
    notes += [] if everything.readable else ["hours are known once clips are prepared"]
    table.caption = "; ".join(notes) or None
    return table


def _format_counts(row: ClassCounts, splits: Sequence[Split]) -> dict[str, str]:
    texts: dict[str, str] = {split: f"{row.splits[split]:,}" for split in splits}
    hours = f"{row.seconds / 3600:.2f}" if row.readable else "-"
    return texts | {"groups": f"{row.groups:,}", "lost": f"{row.lost:,}" if row.lost else "-", "hours": hours}


def render_issues(facts: DatasetSummary, csv: Path | None) -> RenderableType:
    """Problems by kind with their first examples, and where the list of them all is."""
    if not facts.issues:
        return Text("no problems found", style="green")
    title = f"problems with {facts.info.title}" + (" (BUILT-IN SAMPLE)" if facts.is_sample else "")
    table = FittedTable(title=Text(make_printable(title)), title_style="yellow", show_lines=True)
    table.add_column("kind", no_wrap=True)
    table.add_column("count", justify="right", no_wrap=True)
    table.add_column("first examples", overflow="fold")
    table.add_column("treatment", overflow="fold")
    for kind, found in group_by_kind(facts.issues):
        examples = [_shorten_example(f"{problem.where}: {problem.why}") for problem in found[:EXAMPLES_PER_KIND]]
        table.add_row(Text(make_printable(kind)), f"{len(found):,}", Text("\n".join(examples)), describe_remedy(kind))
    if csv is None:
        return table
    return Group(table, Text(f"each of the {len(facts.issues):,} by name: {csv}", overflow="fold"))


def _shorten_example(text: str) -> str:
    shown = make_printable(text)
    return shown if len(shown) <= MAX_EXAMPLE_LENGTH else f"{shown[: MAX_EXAMPLE_LENGTH - 3]}..."


def explain_unfitness(facts: DatasetSummary) -> list[str]:
    """Why a data set is not fit to run, a line each; empty for one that is."""
    return [f"not fit to run: {line}" for line in find_blocking_issues(facts)]


def write_issues(problems: Sequence[DataIssue], path: Path) -> None:
    """Every problem as a row of a CSV in UTF-8; bytes of a name that are not text are spelt out."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(("what", "where", "why"))
    writer.writerows((problem.what, problem.where, problem.why) for problem in problems)
    atomic_write(path, text.getvalue().encode("utf-8", "backslashreplace"))


def make_dataset_list(rows: Sequence[LocalDataset]) -> FittedTable:
    """What is present of each data set on this machine."""
    table = FittedTable(box=SIMPLE_HEAD, pad_edge=False)
    table.keys = 2
    table.add_column("name", no_wrap=True)
    table.add_column("where", overflow="fold")
    for head in ("listed", "usable", "hours", "problems", "prepared"):
        table.add_column(head, justify="right", no_wrap=True)
    for row in rows:
        numbers = (row.listed, row.usable, row.hours, row.issues, row.prepared)
        cells = ["-" if number is None else _format_number(number) for number in numbers]
        where = Text(make_printable(row.location)) if row.location else Text("not here", style="dim")
        table.add_row(Text(make_printable(row.name)), where, *cells)
    if any(not row.location for row in rows):
        table.caption = "a data set that is not here is run on its BUILT-IN SAMPLE, and says so"
    return table


def _format_number(number: float) -> str:
    return f"{number:,}" if isinstance(number, int) else f"{number:.2f}"
