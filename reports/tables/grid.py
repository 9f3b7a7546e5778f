"""A table before it is text: lines and columns of cells, each with its words, its mark and the runs it is made of."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

Mark = Literal["", "best", "second"]


@dataclass(frozen=True)
class Cell:
    """What stands at one place. `text` is plain text as a person reads it; a format escapes it and sets its mark."""

    text: str
    mark: Mark = ""
    value: float | None = None  # what a reader sorts by, in the unit of the text
    keys: tuple[str, ...] = ()  # of the runs that the number is made of; none: it is no number of ours
    notes: tuple[str, ...] = ()  # footnotes, whole sentences; equal ones share a letter


@dataclass(frozen=True)
class Column:
    """A column. Neighbours of one `group` stand under a common heading."""

    id: str  # unique in the table: "ekman6/acc_e"
    title: str  # "Acc E"
    group: str = ""  # "Ekman-6"
    numeric: bool = True  # set to the right; words to the left


@dataclass(frozen=True)
class Line:
    """A line; its first cell is its name."""

    id: str  # unique in the table: that of an arm, "published/" before that of a published line
    cells: tuple[Cell, ...]  # one for each column
    rule: bool = False  # a rule above it parts it from the lines before


@dataclass(frozen=True)
class Grid:
    """A table. Its first column holds the names of its lines."""

    name: str  # of its files: "comparison"
    title: str  # a few words
    caption: str  # sentences: what is shown, over what, and how marks are to be read
    columns: tuple[Column, ...]
    lines: tuple[Line, ...]
    notes: tuple[str, ...] = ()  # sentences below the table that belong to no single cell
    warnings: tuple[str, ...] = ()  # as notes, but nobody may miss them: BUILT-IN SAMPLE, mixed commits, ...

    def cells(self) -> Iterator[tuple[str, Cell]]:
        """Every cell behind the names of lines, by its name `<table>/<line>/<column>`."""
        for line in self.lines:
            for column, cell in zip(self.columns[1:], line.cells[1:], strict=True):
                yield f"{self.name}/{line.id}/{column.id}", cell

    @property
    def footnotes(self) -> tuple[str, ...]:
        """The footnotes of all cells, each once, in the order of reading; the first is a, then b, ..."""
        return tuple(dict.fromkeys(note for line in self.lines for cell in line.cells for note in cell.notes))
