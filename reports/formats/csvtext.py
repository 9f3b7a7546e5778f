"""A table as comma-separated values, there and back."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Sequence

from reports.foreign import printable
from reports.formats.places import Written, heading, names_of, text_of
from reports.tables.grid import Column, Grid, Line

NOTE = "note"
FORMULA = re.compile(r"'*[=+\-@＝＋－＠]")  # what a spreadsheet may run; ' as the guard is doubled itself
NUMBER = re.compile(r"[+-](?:\d[\d.,]*(?: ?[±%\[(][^=@|!]*)?)?")  # -1.2, +0.5 ± 0.1, -1.2 [-2.0, -0.4], a dash


def csv_text(grid: Grid) -> str:
    """One heading line, then the grid's lines: cells as text, and a last column `note`.

    `note` holds the warnings, in each line, and the footnotes of its cells, so that no line loses them when it is
    sorted or copied. A text that a spreadsheet could take for a formula gets an apostrophe; signed numbers stay.
    """
    return text_of(written(grid))


def written(grid: Grid) -> list[Written]:
    """The lines of `csv_text`, with the cells on them."""
    heads = [safe(heading(column)) for column in grid.columns]
    return [
        Written(_joined([*heads, NOTE])),
        *(Written(_row(grid, line), (*names_of(grid, line), "")) for line in grid.lines),
    ]


def read_csv(text: str) -> list[list[str]]:
    """The body's cells as text, line by line, without the heading, the column `note` and the apostrophes."""
    rows = list(csv.reader(io.StringIO(text, newline="")))
    return [[cell[1:] if cell[:1] == "'" and FORMULA.match(cell) else cell for cell in row[:-1]] for row in rows[1:]]


def split(line: str) -> list[str]:
    """The values of one line; none where it is no such line."""
    try:
        return next(csv.reader([line]), [])
    except csv.Error:
        return []


def _row(grid: Grid, line: Line) -> str:
    cells = [
        safe(cell.text, numeric=column.numeric and at > 0)
        for at, (column, cell) in enumerate(zip(grid.columns, line.cells, strict=True))
    ]
    return _joined([*cells, safe(" ".join([*grid.warnings, *_footnotes(grid.columns, line)]))])


def _footnotes(columns: Sequence[Column], line: Line) -> list[str]:
    """The line's footnotes, each with the headings it belongs to; one on the line's name belongs to all of it."""
    told: dict[str, list[str]] = {}
    for at, (column, cell) in enumerate(zip(columns, line.cells, strict=True)):
        for note in dict.fromkeys(cell.notes):
            told.setdefault(note, []).extend([heading(column)] if at else [])
    return [f"{', '.join(places)}: {note}" if places else note for note, places in told.items()]


def safe(text: str, numeric: bool = False) -> str:
    """A foreign text that no spreadsheet takes for a formula; a number of ours, if it is `numeric`, stays as it is."""
    told = printable(text)
    return f"'{told}" if FORMULA.match(told) and not (numeric and NUMBER.fullmatch(told)) else told


def _joined(values: Sequence[str]) -> str:
    line = io.StringIO()
    csv.writer(line, lineterminator="").writerow(values)
    return line.getvalue()
