"""Published numbers next to ours, with the gap, never ranked together. A JSON file of a method holds the printed
numbers and footnotes on their known contradictions."""

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


@cache
def load_published_paper(file: Path) -> PublishedPaper:
    """What a paper prints, from its JSON."""
    raw = json.loads(file.read_text(encoding="utf-8"))
    notes: dict[str, dict[str, tuple[str, ...]]] = {}
    for note in raw["footnotes"]:
        for name, _, cell in (place.partition("/") for place in note["cells"]):
            of = notes.setdefault(name, {})
            of[cell] = (*of.get(cell, ()), note["text"])
    tables = {
        name: PublishedTable(table["of"], table.get("dataset", ""), table["lines"], notes.get(name, {}))
        for name, table in raw["tables"].items()
    }
    others = tuple((paper["dataset"], paper["text"]) for paper in raw["elsewhere"])
    return PublishedPaper(raw["source"], raw["protocol"], tables, others)


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
    columns, protocol = [ours.columns[place].id for place in kept], paper.protocol.partition(":")[0]
    arms = {run.label: run.arm for run in run_table.runs}
    lines: list[Row] = []
    for method, values in printed.rows.items():
        mine = [line for line in ours.rows if arms.get(line.id) == method]
        apart = bool(lines) and (bool(mine) or lines[-1].id.startswith("gap/"))
        lines.append(_make_published_row(method, values, printed, columns, protocol, rule=apart))
        for line in mine:
            cells = [line.cells[place] for place in kept]
            lines += _make_our_rows(method, values, line, columns, cells, run_table.is_sample)
    notes = [f"{paper.source}; {paper.protocol}."]
    scratch = list(dict.fromkeys(run.arm for run in run_table.runs if run.from_scratch))
    notes += [f"Ours of {', '.join(scratch)} started without published weights, the paper's with."] if scratch else []
    if kind == "scores":
        titles = run_table.dataset_titles
        notes += [f"{titles[name]}, elsewhere: {text}." for name, text in paper.other_papers if name in titles]
    return Table(
        name,
        f"{printed.paper_number} of the paper beside ours",
        f"Published ({protocol}), ours, and the gap in points (ours minus published). The two were not "
        "measured under one protocol, so they are not ranked together, and a gap is no error bar. Footnotes tell "
        f"where the paper contradicts itself. {run_table.tuning_note}",
        (*NAME_COLUMNS, *(ours.columns[place] for place in kept)),
        tuple(lines),
        notes=tuple(notes),
        warnings=ours.warnings,
    )


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
    called = Cell(f"ours{mine.id.removeprefix(method)}", footnotes=mine.cells[0].footnotes)
    own = [replace(cell, mark="") for cell in cells]
    pairs = zip(cells, map(values.get, columns), strict=True)
    gaps = [_compute_gap_to_published(cell, printed, sample) for cell, printed in pairs]
    return [
        Row(f"ours/{mine.id}", (Cell(""), called, *own)),
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
