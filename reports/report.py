"""A report before it is files: sections of text, tables and figures, and the runs that all its numbers come from."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from reports.results.run import Run
from reports.tables.grid import Grid

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Value = str | float | None


@dataclass(frozen=True)
class Picture:
    """A figure. `rows` are the numbers it shows, written beside it as CSV; pictures of clips have none."""

    name: str  # of its files: "ablation_differences"
    title: str
    caption: str  # sentences: what is shown, what its intervals are
    draw: Callable[[], Figure]
    rows: tuple[dict[str, Value], ...]


@dataclass(frozen=True)
class Section:
    """A question and what answers it."""

    id: str  # "ablation"
    title: str
    text: tuple[str, ...] = ()  # paragraphs
    grids: tuple[Grid, ...] = ()
    pictures: tuple[Picture, ...] = ()


@dataclass(frozen=True)
class Report:
    """Everything that is written. `warnings` hold for all of it: BUILT-IN SAMPLE, mixed commits, old versions, ..."""

    name: str  # "ablation"
    title: str
    lead: str  # what is in it, in two or three sentences
    sections: tuple[Section, ...]
    runs: tuple[Run, ...]
    sample: bool
    warnings: tuple[str, ...] = ()
    left_out: tuple[str, ...] = ()  # which runs have no place in it; told on the screen and the page, not in a paper
    tracking: str = "http://127.0.0.1:5000"  # where MLflow's pages are opened
