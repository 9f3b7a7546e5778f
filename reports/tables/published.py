"""Published numbers next to ours, with the gap, never ranked together.

A JSON file of a method holds the printed numbers, with footnotes on their known contradictions.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path

from reports.runs import RunTable
from reports.tables.columns import MARKS_LEGEND, NO_VALUE, TRIED, UNKNOWN_SPREAD, format_signed
from reports.types import Cell, Column, LegendEntry, Row, Table

NAME_COLUMNS = (Column("method", "method", numeric=False), Column("whose", "", numeric=False))
SAMPLE_NOTE = "no gap: the built-in sample is not the data set of the paper"
PUBLISHED_LEGEND = LegendEntry(
    "Published, ours, gap",
    "The gap is ours minus published, in points. The two were not measured under one protocol, so they are not ranked "
    "together, and the gap is not an error bar. Footnotes name contradictions within the paper.",
)


@dataclass(frozen=True)
class PublishedTable:
    """A table of a paper. `rows`: our method or arm -> column (`<data set>/<metric>`, `recall/joy`, ...) -> percent."""

    paper_number: str  # "Table 3"
    dataset: str  # "" where the columns name several data sets
    rows: dict[str, dict[str, float]]
    footnotes: dict[str, tuple[str, ...]]  # "<row>/<column>" -> sentences


@dataclass(frozen=True)
class PublishedPaper:
    """The tables of a paper, by the kind of our table that each is compared with."""

    source: str
    protocol: str  # a few words, then a colon and the details: "protocol unknown: no seeds are given"
    tables: dict[str, PublishedTable]
    other_papers: tuple[tuple[str, str], ...]  # (data set, sentence on what other papers print for it)


@cache
def load_published_paper(file: Path) -> PublishedPaper:
    """Read the tables of a paper from its JSON file."""
    raw = json.loads(file.read_text(encoding="utf-8"))
    notes: dict[str, dict[str, tuple[str, ...]]] = {}
    for note in raw["footnotes"]:
        for name, _, cell in (place.partition("/") for place in note["cells"]):
            by_cell = notes.setdefault(name, {})
            by_cell[cell] = (*by_cell.get(cell, ()), note["text"])
    tables = {
        name: PublishedTable(table["of"], table.get("dataset", ""), table["lines"], notes.get(name, {}))
        for name, table in raw["tables"].items()
    }
    others = tuple((paper["dataset"], paper["text"]) for paper in raw["elsewhere"])
    return PublishedPaper(raw["source"], raw["protocol"], tables, others)


def make_published_comparison(
    run_table: RunTable, ours: Table, kind: str, name: str, paper: PublishedPaper
) -> Table | None:
    """Return published, ours and the gap for each row that the paper prints, under the columns of our table `ours`.

    None where the paper prints nothing for these columns.
    """
    printed = paper.tables.get(kind)
    if printed is None or (printed.dataset and printed.dataset not in run_table.dataset_titles):
        return None
    known = {column for values in printed.rows.values() for column in values}
    shared = [index for index, column in enumerate(ours.columns) if index and column.id in known]
    if not shared:
        return None
    owners = {ours.columns[index].id.rpartition("/")[0] for index in shared}  # data sets
    tried = {f"{owner}/{TRIED}".lstrip("/") for owner in owners}
    shared = [index for index, column in enumerate(ours.columns) if index in shared or column.id in tried]
    columns, protocol = [ours.columns[index].id for index in shared], paper.protocol.partition(":")[0]
    arms = {run.label: run.arm for run in run_table.runs}
    rows: list[Row] = []
    for method, values in printed.rows.items():
        matching = [row for row in ours.rows if arms.get(row.id) == method]
        rule = bool(rows) and (bool(matching) or rows[-1].id.startswith("gap/"))
        rows.append(_make_published_row(method, values, printed, columns, protocol, rule))
        for row in matching:
            cells = [row.cells[index] for index in shared]
            rows += _make_our_rows(method, values, row, columns, cells, run_table.is_sample)
    notes = [f"{paper.source}; {paper.protocol}."]
    scratch = list(dict.fromkeys(run.arm for run in run_table.runs if run.from_scratch))
    notes += [f"Our {', '.join(scratch)} started without published weights; the paper used them."] if scratch else []
    if kind == "scores":
        titles = run_table.dataset_titles
        notes += [
            f"{titles[dataset]}, in other papers: {text}." for dataset, text in paper.other_papers if dataset in titles
        ]
    return Table(
        name,
        f"{printed.paper_number} of the paper next to ours",
        f"Percent as published ({protocol}), our mean, and the gap in points.",
        (*NAME_COLUMNS, *(ours.columns[index] for index in shared)),
        tuple(rows),
        notes=tuple(notes),
        warnings=ours.warnings,
        legend=(*(entry for entry in ours.legend if entry != MARKS_LEGEND), PUBLISHED_LEGEND),
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
    method: str, values: dict[str, float], our_row: Row, columns: list[str], cells: list[Cell], sample: bool
) -> list[Row]:
    """Return a row of ours without marks, with the suffix of its label, and the row of its gap."""
    name = Cell(f"ours{our_row.id.removeprefix(method)}", footnotes=our_row.cells[0].footnotes)
    unmarked = [replace(cell, mark="") for cell in cells]
    pairs = zip(cells, map(values.get, columns), strict=True)
    gaps = [_compute_gap_to_published(cell, printed, sample) for cell, printed in pairs]
    return [
        Row(f"ours/{our_row.id}", (Cell(""), name, *unmarked)),
        Row(f"gap/{our_row.id}", (Cell(""), Cell("gap"), *gaps)),
    ]


def _compute_gap_to_published(cell: Cell, printed: float | None, sample: bool) -> Cell:
    if cell.value is None or printed is None:
        return Cell(NO_VALUE)
    if sample:
        return Cell(NO_VALUE, footnotes=(SAMPLE_NOTE,))
    missing = re.search(r" \(\d+/\d+ runs\)$", cell.text)
    text = f"{format_signed(cell.value - printed, UNKNOWN_SPREAD[True])}{missing.group() if missing else ''}"
    return Cell(text, value=cell.value - printed, run_keys=cell.run_keys)
