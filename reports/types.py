"""The parts of a report: sections with tables and figures, the cells of a table, and the legend."""

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
class LegendEntry:
    """An explanation of a heading, sign or statistic that several tables and figures of a report use."""

    term: str  # "Acc E, F1 E"
    text: str  # sentences


@dataclass(frozen=True)
class Cell:
    """A cell of a table. `text` is plain text; each format escapes it and adds the mark."""

    text: str
    mark: Mark = ""
    value: float | None = None  # sort key, in the unit of the text
    run_keys: tuple[str, ...] = ()  # runs that the number is computed from; empty for names and published numbers
    footnotes: tuple[str, ...] = ()  # whole sentences; equal footnotes share a letter


@dataclass(frozen=True)
class Column:
    """A column. Neighbouring columns of one `group` share a heading."""

    id: str  # unique in the table: "<data set>/<metric>"
    title: str  # "Acc E"
    group: str = ""  # "Ekman-6"
    numeric: bool = True  # numbers are aligned right, text left


@dataclass(frozen=True)
class Row:
    """A row; its first cell is its name."""

    id: str  # unique in the table: the label of an arm, or "published/" and the name of a published row
    cells: tuple[Cell, ...]  # one for each column
    rule_above: bool = False  # a rule separates it from the rows above


@dataclass(frozen=True)
class Table:
    """A table. Its first column holds the names of its rows."""

    name: str  # stem of its files: "comparison"
    title: str  # a few words
    caption: str  # what the numbers are, at most 40 words; what holds for the whole report is in the legend
    columns: tuple[Column, ...]
    rows: tuple[Row, ...]
    notes: tuple[str, ...] = ()  # sentences below the table that belong to no single cell
    warnings: tuple[str, ...] = ()  # shown above the table: BUILT-IN SAMPLE, mixed commits, ...
    legend: tuple[LegendEntry, ...] = ()  # entries of the report's legend that the table uses
    context: str = ""  # sentences on its runs that a report has in the section, and a file of the table alone repeats

    @property
    def explanations(self) -> tuple[str, ...]:
        """Return what a file of the table alone adds to its notes: the context, and the entries of the legend."""
        entries = (f"{entry.term}: {entry.text}" for entry in self.legend)
        return (*([self.context] if self.context else []), *entries)

    def iter_cells(self) -> Iterator[tuple[str, Cell]]:
        """Yield the name `<table>/<row>/<column>` and the cell of every column but the first."""
        for row in self.rows:
            for column, cell in zip(self.columns[1:], row.cells[1:], strict=True):
                yield f"{self.name}/{row.id}/{column.id}", cell

    @property
    def footnotes(self) -> tuple[str, ...]:
        """Return the footnotes of all cells, each once, in reading order; the first is a, then b, ..."""
        return tuple(dict.fromkeys(note for row in self.rows for cell in row.cells for note in cell.footnotes))


@dataclass(frozen=True)
class ReportFigure:
    """A figure. `rows` are the numbers it shows, written next to it as CSV; figures of clips have none."""

    name: str  # stem of its files: "ablation_differences"
    title: str
    caption: str  # what is drawn, at most 40 words; what holds for the whole report is in the legend
    draw: Callable[[], Figure]
    rows: tuple[dict[str, FigureValue], ...]
    legend: tuple[LegendEntry, ...] = ()  # entries of the report's legend that the figure uses


class RenderedFigure(NamedTuple):
    """A figure as bytes."""

    media_type: str  # "image/svg+xml" | "image/png"
    content: bytes

    @property
    def url(self) -> str:
        """Return a data URL that holds the figure."""
        return f"data:{self.media_type};base64,{b64encode(self.content).decode()}"


@dataclass(frozen=True)
class Section:
    """A question, and the tables and figures that answer it."""

    id: str  # "ablation"
    title: str
    paragraphs: tuple[str, ...] = ()
    tables: tuple[Table, ...] = ()
    figures: tuple[ReportFigure, ...] = ()


@dataclass(frozen=True)
class Report:
    """A whole report. `warnings` apply to all of it: BUILT-IN SAMPLE, mixed commits, old versions, ..."""

    name: str  # "ablation"
    title: str
    summary: str  # its content, in two or three sentences
    sections: tuple[Section, ...]
    runs: tuple[Run, ...]
    is_sample: bool
    warnings: tuple[str, ...] = ()
    omissions: tuple[str, ...] = ()  # runs that were left out; shown on screen and on the page, not in the paper
    tracking_url: str = "http://127.0.0.1:5000"  # web address of MLflow
    legend: tuple[LegendEntry, ...] = ()  # how to read the tables and figures; only entries that they use
