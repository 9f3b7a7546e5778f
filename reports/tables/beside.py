"""Published numbers beside ours: what a paper prints, what we measured, and the gap, never ranked together."""

from __future__ import annotations

import re
from dataclasses import replace

from reports.published.facts import Printed, Published
from reports.results.frame import Frame
from reports.tables.columns import ABSENT
from reports.tables.grid import Cell, Column, Grid, Line
from reports.tables.rounding import UNKNOWN_SPREAD, signed

NAMES = (Column("method", "method", numeric=False), Column("whose", "", numeric=False))
SAMPLE = "the built-in sample is not the data set that the paper used: there is no gap to speak of"


def beside(frame: Frame, ours: Grid, kind: str, name: str, paper: Published) -> Grid | None:
    """For each line that the paper prints: published, ours and the gap, under the columns of our table `ours`. None
    where it prints nothing for these columns."""
    printed = paper.tables.get(kind)
    if printed is None or (printed.dataset and printed.dataset not in frame.datasets):
        return None
    known = {column for values in printed.lines.values() for column in values}
    kept = [place for place, column in enumerate(ours.columns) if place and column.id in known]
    if not kept:
        return None
    columns = [ours.columns[place].id for place in kept]
    lines: list[Line] = []
    for method, values in printed.lines.items():
        mine = [line for line in ours.lines if _arm(frame, line.id) == method]
        apart = bool(lines) and (bool(mine) or lines[-1].id.startswith("gap/"))
        lines.append(_published(method, values, printed, columns, paper.short_protocol, rule=apart))
        for line in mine:
            lines += _ours(method, values, line, columns, [line.cells[place] for place in kept], frame.is_sample)
    notes = [f"{paper.source}; {paper.protocol}."]
    scratch = list(dict.fromkeys(run.arm for run in frame.runs if run.from_scratch))
    notes += [f"Ours of {', '.join(scratch)} started without published weights, the paper's with."] if scratch else []
    if kind == "scores":
        titles = frame.datasets
        notes += [f"{titles[name]}, elsewhere: {text}." for name, text in paper.elsewhere if name in titles]
    return Grid(
        name,
        f"{printed.of} of the paper beside ours",
        f"Published ({paper.short_protocol}), ours, and the gap in points (ours minus published). The two were not "
        "measured under one protocol, so they are not ranked together, and a gap is no error bar. Footnotes tell "
        f"where the paper contradicts itself. {frame.values}",
        (*NAMES, *(ours.columns[place] for place in kept)),
        tuple(lines),
        notes=tuple(notes),
        warnings=ours.warnings,
    )


def _arm(frame: Frame, label: str) -> str:
    return next((run.arm for run in frame.runs if run.label == label), "")


def _published(
    method: str, values: dict[str, float], printed: Printed, columns: list[str], protocol: str, rule: bool
) -> Line:
    cells = [
        Cell(f"{values[column]:.2f}", value=values[column], notes=printed.footnotes.get(f"{method}/{column}", ()))
        if column in values
        else Cell(ABSENT)
        for column in columns
    ]
    return Line(f"published/{method}", (Cell(method), Cell(f"published ({protocol})"), *cells), rule)


def _ours(
    method: str, values: dict[str, float], mine: Line, columns: list[str], cells: list[Cell], sample: bool
) -> list[Line]:
    """A line of ours without its marks, named where it is not the arm as it is, and the gap."""
    gaps = [_gap(cell, values.get(column), sample) for cell, column in zip(cells, columns, strict=True)]
    own = [replace(cell, mark="") for cell in cells]
    return [
        Line(
            f"ours/{mine.id}", (Cell(""), Cell(f"ours{mine.id.removeprefix(method)}", notes=mine.cells[0].notes), *own)
        ),
        Line(f"gap/{mine.id}", (Cell(""), Cell("gap"), *gaps)),
    ]


def _gap(cell: Cell, printed: float | None, sample: bool) -> Cell:
    if sample:
        return Cell(ABSENT, notes=(SAMPLE,))
    if cell.value is None or printed is None:
        return Cell(ABSENT)
    lacks = re.search(r" \(\d+/\d+ runs\)$", cell.text)
    told = f"{signed(cell.value - printed, UNKNOWN_SPREAD)}{lacks.group() if lacks else ''}"
    return Cell(told, value=cell.value - printed, keys=cell.keys)
