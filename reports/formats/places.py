"""What all formats of a table share: names of cells, letters of footnotes, and lines that know their cells."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from string import ascii_lowercase

from reports.tables.grid import Cell, Column, Grid, Line


@dataclass(frozen=True)
class Written:
    """A line of a file. `cells` are the names of what stands on it, from left to right; "" belongs to no cell."""

    text: str
    cells: tuple[str, ...] = ()


def text_of(lines: list[Written]) -> str:
    """The file that the lines make."""
    return "".join(f"{line.text}\n" for line in lines)


def name_of(grid: Grid, line: Line, column: int) -> str:
    """The name of a cell: `<table>/<line>/<column>`, of the name of a line `<table>/<line>`."""
    return f"{grid.name}/{line.id}/{grid.columns[column].id}" if column else f"{grid.name}/{line.id}"


def names_of(grid: Grid, line: Line) -> tuple[str, ...]:
    """The names of all cells of a line."""
    return tuple(name_of(grid, line, column) for column in range(len(grid.columns)))


def heading(column: Column) -> str:
    """Group and title in one."""
    return f"{column.group} {column.title}".strip()


def letters(grid: Grid) -> dict[str, str]:
    """The letter of each footnote: a to z, then aa, ab, ..."""
    return {note: _letter(place) for place, note in enumerate(grid.footnotes)}


def marks(cell: Cell, known: Mapping[str, str]) -> str:
    """The letters of a cell's footnotes: "a,c"; none: "". `known` holds them by footnote."""
    return ",".join(dict.fromkeys(known[note] for note in cell.notes))


def _letter(place: int) -> str:
    rest, last = divmod(place, len(ascii_lowercase))
    return (_letter(rest - 1) if rest else "") + ascii_lowercase[last]
