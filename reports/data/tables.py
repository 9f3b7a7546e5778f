"""The tables a person sees about a data set: what it counts, what is wrong with it, and what is on this machine."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from rich.box import SIMPLE_HEAD
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from bench.data import Problem, Split
from bench.facts import Facts
from bench.files import write_whole
from reports.data.counts import Tally, by_kind, faults, has_val, name_splits, tally, total
from reports.data.kinds import what_is_done
from reports.foreign import printable

EXAMPLES = 2  # of each kind
LONG = 72  # signs of an example


@dataclass(frozen=True)
class Present:
    """A data set as `list datasets` shows it; None where it is not known on this machine."""

    name: str
    where: str  # "data/ekman6", "--data", ...; empty = not here
    listed: int | None = None
    usable: int | None = None
    hours: float | None = None
    problems: int | None = None
    prepared: int | None = None  # clips


def counts(facts: Facts) -> Table:
    """Usable clips by class and split, with their groups and hours; the last line holds the totals."""
    card, rows, everything = facts.card, tally(facts), total(facts)
    name = f"{card.title} -- BUILT-IN SAMPLE, not the real data" if facts.sample else card.title
    table = Table(title=Text(printable(name)), title_style="yellow" if facts.sample else "bold", show_footer=True)
    splits = name_splits(facts)
    table.add_column("class", "all", overflow="fold")
    table.add_column("sentiment", justify="center")
    for head, cell in _cells(everything, splits).items():
        table.add_column(head, cell, justify="right")
    for row in rows:
        table.add_row(Text(printable(row.name)), row.sign.replace("\u2212", "-"), *_cells(row, splits).values())
    notes = [] if has_val(facts) else ["val is cut from train, by the seed of a run"]
    notes += [] if everything.opened else ["hours are known once clips are prepared"]
    table.caption = "; ".join(notes) or None
    return table


def _cells(row: Tally, splits: Sequence[Split]) -> dict[str, str]:
    hours = f"{row.seconds / 3600:.2f}" if row.opened else "-"
    return {
        **{split: f"{row.splits[split]:,}" for split in splits},
        "groups": f"{row.groups:,}",
        "lost": f"{row.lost:,}" if row.lost else "-",
        "hours": hours,
    }


def problems(facts: Facts, csv: Path | None) -> RenderableType:
    """Problems by kind with their first examples, and where the list of them all is."""
    if not facts.problems:
        return Text("no problems found", style="green")
    title = f"problems with {facts.card.title}" + (" (BUILT-IN SAMPLE)" if facts.sample else "")
    table = Table(title=Text(printable(title)), title_style="yellow", show_lines=True)
    table.add_column("kind", no_wrap=True)
    table.add_column("how many", justify="right")
    table.add_column("the first of them", overflow="fold")
    table.add_column("what is done", overflow="fold")
    for kind, found in by_kind(facts.problems):
        examples = "\n".join(_shorten(f"{problem.where}: {problem.why}") for problem in found[:EXAMPLES])
        table.add_row(Text(printable(kind)), f"{len(found):,}", Text(examples), what_is_done(kind))
    if csv is None:
        return table
    return Group(table, Text(f"each of the {len(facts.problems):,} by name: {csv}", overflow="fold"))


def _shorten(text: str) -> str:
    shown = printable(text)
    return shown if len(shown) <= LONG else f"{shown[: LONG - 3]}..."


def verdict(facts: Facts) -> list[str]:
    """Why a data set is not fit to run, a line each; empty for one that is."""
    return [f"not fit to run: {line}" for line in faults(facts)]


def write_problems(problems: Sequence[Problem], path: Path) -> None:
    """Every problem as a row of a CSV in UTF-8; bytes of a name that are not text are spelt out."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(("what", "where", "why"))
    writer.writerows((problem.what, problem.where, problem.why) for problem in problems)
    write_whole(path, text.getvalue().encode("utf-8", "backslashreplace"))


def listing(rows: Sequence[Present]) -> Table:
    """What is present of each data set on this machine."""
    table = Table(box=SIMPLE_HEAD, pad_edge=False)
    table.add_column("name", overflow="fold", max_width=24)
    table.add_column("where", overflow="fold", min_width=10)
    for head in ("listed", "usable", "hours", "problems", "prepared"):
        table.add_column(head, justify="right")
    for row in rows:
        numbers = (row.listed, row.usable, row.hours, row.problems, row.prepared)
        cells = ["-" if number is None else _number(number) for number in numbers]
        where = Text(printable(row.where)) if row.where else Text("not here", style="dim")
        table.add_row(Text(printable(row.name)), where, *cells)
    if any(not row.where for row in rows):
        table.caption = "a data set that is not here is run on its BUILT-IN SAMPLE, and says so"
    return table


def _number(number: float) -> str:
    return f"{number:,}" if isinstance(number, int) else f"{number:.2f}"
