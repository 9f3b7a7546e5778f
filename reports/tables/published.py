"""Published numbers next to ours, with the gap, never ranked together.

A JSON file of a method holds the printed numbers and footnotes on their known contradictions.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path

from reports.runs import RunTable
from reports.tables.columns import NO_VALUE, UNKNOWN_SPREAD, format_signed
from reports.types import Cell, Column, Row, Table

NAME_COLUMNS = (Column("method", "method", numeric=False), Column("whose", "", numeric=False))
SAMPLE_NOTE = "the built-in sample is not the data set that the paper used: there is no gap to speak of"


@dataclass(frozen=True)
class PublishedTable:
    """A table of the paper: method or arm of ours -> column (`ekman6/acc_e`, `recall/joy`, `acc_e`) -> percent."""

    paper_number: str  # "Table 3"
    dataset: str  # "" for several, which its columns name
    rows: dict[str, dict[str, float]]
    footnotes: dict[str, tuple[str, ...]]  # "<line>/<column>" -> sentences


@dataclass(frozen=True)
class PublishedPaper:
    """A paper's tables by the name of ours that each stands beside."""

    source: str
    protocol: str  # a few words, and behind a colon what more is to be said: "protocol unknown: no seeds are given"
    tables: dict[str, PublishedTable]
    other_papers: tuple[tuple[str, str], ...]  # (data set, sentence): what other papers print for it

    @property
    def short_protocol(self) -> str:
        """The protocol in a few words."""
        return self.protocol.partition(":")[0]


@cache
def load_published_paper(file: Path) -> PublishedPaper:
    """What a paper prints, from its JSON."""
    raw = json.loads(file.read_text(encoding="utf-8"))
    notes: dict[str, list[str]] = {}
    for note in raw["footnotes"]:
        for cell in note["cells"]:
            notes.setdefault(cell, []).append(note["text"])
    tables = {
        name: PublishedTable(
            table["of"],
            table.get("dataset", ""),
            table["lines"],
            {cell.partition("/")[2]: tuple(text) for cell, text in notes.items() if cell.partition("/")[0] == name},
        )
        for name, table in raw["tables"].items()
    }
    return PublishedPaper(
        raw["source"], raw["protocol"], tables, tuple((e["dataset"], e["text"]) for e in raw["elsewhere"])
    )


def make_published_comparison(
    run_table: RunTable, ours: Table, kind: str, name: str, paper: PublishedPaper
) -> Table | None:
    """For each line that the paper prints: published, ours and the gap, under the columns of our table `ours`. None
    where it prints nothing for these columns."""
    printed = paper.tables.get(kind)
    if printed is None or (printed.dataset and printed.dataset not in run_table.dataset_titles):
        return None
    known = {column for values in printed.rows.values() for column in values}
    kept = [place for place, column in enumerate(ours.columns) if place and column.id in known]
    if not kept:
        return None
    columns = [ours.columns[place].id for place in kept]
    lines: list[Row] = []
    for method, values in printed.rows.items():
        mine = [line for line in ours.rows if _find_arm(run_table, line.id) == method]
        apart = bool(lines) and (bool(mine) or lines[-1].id.startswith("gap/"))
        lines.append(_make_published_row(method, values, printed, columns, paper.short_protocol, rule=apart))
        for line in mine:
            lines += _make_our_rows(
                method, values, line, columns, [line.cells[place] for place in kept], run_table.is_sample
            )
    notes = [f"{paper.source}; {paper.protocol}."]
    scratch = list(dict.fromkeys(run.arm for run in run_table.runs if run.from_scratch))
    notes += [f"Ours of {', '.join(scratch)} started without published weights, the paper's with."] if scratch else []
    if kind == "scores":
        titles = run_table.dataset_titles
        notes += [f"{titles[name]}, elsewhere: {text}." for name, text in paper.other_papers if name in titles]
    return Table(
        name,
        f"{printed.paper_number} of the paper beside ours",
        f"Published ({paper.short_protocol}), ours, and the gap in points (ours minus published). The two were not "
        "measured under one protocol, so they are not ranked together, and a gap is no error bar. Footnotes tell "
        f"where the paper contradicts itself. {run_table.tuning_note}",
        (*NAME_COLUMNS, *(ours.columns[place] for place in kept)),
        tuple(lines),
        notes=tuple(notes),
        warnings=ours.warnings,
    )


def _find_arm(run_table: RunTable, label: str) -> str:
    return next((run.arm for run in run_table.runs if run.label == label), "")


def _make_published_row(
    method: str, values: dict[str, float], printed: PublishedTable, columns: list[str], protocol: str, rule: bool
) -> Row:
    cells = [
        Cell(f"{values[column]:.2f}", value=values[column], footnotes=printed.footnotes.get(f"{method}/{column}", ()))
        if column in values
        else Cell(NO_VALUE)
        for column in columns
    ]
    return Row(f"published/{method}", (Cell(method), Cell(f"published ({protocol})"), *cells), rule)


def _make_our_rows(
    method: str, values: dict[str, float], mine: Row, columns: list[str], cells: list[Cell], sample: bool
) -> list[Row]:
    """A line of ours without its marks, named where it is not the arm as it is, and the gap."""
    gaps = [
        _compute_gap_to_published(cell, values.get(column), sample) for cell, column in zip(cells, columns, strict=True)
    ]
    own = [replace(cell, mark="") for cell in cells]
    return [
        Row(
            f"ours/{mine.id}",
            (Cell(""), Cell(f"ours{mine.id.removeprefix(method)}", footnotes=mine.cells[0].footnotes), *own),
        ),
        Row(f"gap/{mine.id}", (Cell(""), Cell("gap"), *gaps)),
    ]


def _compute_gap_to_published(cell: Cell, printed: float | None, sample: bool) -> Cell:
    if sample:
        return Cell(NO_VALUE, footnotes=(SAMPLE_NOTE,))
    if cell.value is None or printed is None:
        return Cell(NO_VALUE)
    lacks = re.search(r" \(\d+/\d+ runs\)$", cell.text)
    told = f"{format_signed(cell.value - printed, UNKNOWN_SPREAD)}{lacks.group() if lacks else ''}"
    return Cell(told, value=cell.value - printed, run_keys=cell.run_keys)
