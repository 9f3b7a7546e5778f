"""The parts of a report: sections with tables and figures, and the cells of a table."""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, NamedTuple

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from reports.runs import Run


Mark = Literal["", "best", "second"]

FigureValue = str | float | None


@dataclass(frozen=True)
class Cell:
    """What stands at one place. `text` is plain text as a person reads it; a format escapes it and sets its mark."""

    text: str
    mark: Mark = ""
    value: float | None = None  # what a reader sorts by, in the unit of the text
    run_keys: tuple[str, ...] = ()  # of the runs that the number is made of; none: it is no number of ours
    footnotes: tuple[str, ...] = ()  # footnotes, whole sentences; equal ones share a letter


@dataclass(frozen=True)
class Column:
    """A column. Neighbours of one `group` stand under a common heading."""

    id: str  # unique in the table: "ekman6/acc_e"
    title: str  # "Acc E"
    group: str = ""  # "Ekman-6"
    numeric: bool = True  # set to the right; words to the left


@dataclass(frozen=True)
class Row:
    """A line; its first cell is its name."""

    id: str  # unique in the table: that of an arm, "published/" before that of a published line
    cells: tuple[Cell, ...]  # one for each column
    rule_above: bool = False  # a rule above it parts it from the lines before


@dataclass(frozen=True)
class Table:
    """A table. Its first column holds the names of its lines."""

    name: str  # of its files: "comparison"
    title: str  # a few words
    caption: str  # sentences: what is shown, over what, and how marks are to be read
    columns: tuple[Column, ...]
    rows: tuple[Row, ...]
    notes: tuple[str, ...] = ()  # sentences below the table that belong to no single cell
    warnings: tuple[str, ...] = ()  # as notes, but nobody may miss them: BUILT-IN SAMPLE, mixed commits, ...

    def iter_cells(self) -> Iterator[tuple[str, Cell]]:
        """Every cell behind the names of lines, by its name `<table>/<line>/<column>`."""
        for line in self.rows:
            for column, cell in zip(self.columns[1:], line.cells[1:], strict=True):
                yield f"{self.name}/{line.id}/{column.id}", cell

    @property
    def footnotes(self) -> tuple[str, ...]:
        """The footnotes of all cells, each once, in the order of reading; the first is a, then b, ..."""
        return tuple(dict.fromkeys(note for line in self.rows for cell in line.cells for note in cell.footnotes))


@dataclass(frozen=True)
class ReportFigure:
    """A figure. `rows` are the numbers it shows, written beside it as CSV; pictures of clips have none."""

    name: str  # of its files: "ablation_differences"
    title: str
    caption: str  # sentences: what is shown, what its intervals are
    draw: Callable[[], Figure]
    rows: tuple[dict[str, FigureValue], ...]


class RenderedFigure(NamedTuple):
    """A figure as bytes."""

    media_type: str  # "image/svg+xml" | "image/png"
    content: bytes

    @property
    def url(self) -> str:
        """The figure as an address that holds it."""
        return f"data:{self.media_type};base64,{b64encode(self.content).decode()}"


@dataclass(frozen=True)
class Section:
    """A question and what answers it."""

    id: str  # "ablation"
    title: str
    paragraphs: tuple[str, ...] = ()  # paragraphs
    tables: tuple[Table, ...] = ()
    figures: tuple[ReportFigure, ...] = ()


@dataclass(frozen=True)
class Report:
    """Everything that is written. `warnings` hold for all of it: BUILT-IN SAMPLE, mixed commits, old versions, ..."""

    name: str  # "ablation"
    title: str
    summary: str  # what is in it, in two or three sentences
    sections: tuple[Section, ...]
    runs: tuple[Run, ...]
    is_sample: bool
    warnings: tuple[str, ...] = ()
    omissions: tuple[str, ...] = ()  # which runs have no place in it; told on the screen and the page, not in a paper
    tracking_url: str = "http://127.0.0.1:5000"  # where MLflow's pages are opened
