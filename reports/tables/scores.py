"""All methods on all data sets, as in Tables 1 and 2: the scores of emotion and sentiment side by side."""

from __future__ import annotations

from functools import partial

from reports.results.frame import Frame
from reports.results.run import Run
from reports.tables.columns import COUNT, MEANING, METRICS, column, name_cell, over
from reports.tables.grid import Cell, Column, Grid, Line

MARKS = (
    "Best in bold, second best underlined, alike where they are printed alike; incomplete lines take no part, nor "
    "those whose epoch test chose, nor refit ones beside clean ones."
)


def scores(frame: Frame, name: str, title: str) -> Grid:
    """A line for each label, four columns for each data set, n in its heading."""
    columns, cells = [Column("method", "method", numeric=False)], []
    for dataset, called in frame.datasets.items():
        pools = frame.pools(dataset)
        heading = f"{called} (n = {max(len(pool.runs) for pool in pools)})"
        for metric, short in METRICS.items():
            columns.append(Column(f"{dataset}/{metric}", short, heading))
            cells.append(column(pools, partial(percent, metric)))
    return Grid(
        name,
        title,
        " ".join((MEANING, over(frame), COUNT, MARKS, frame.values)),
        tuple(columns),
        lines_of_columns(frame, cells),
        warnings=frame.warnings,
    )


def lines_of_columns(frame: Frame, cells: list[list[Cell]]) -> tuple[Line, ...]:
    """The lines of a frame from the cells of its columns."""
    return tuple(
        Line(label, (name_cell(frame, label), *(found[place] for found in cells)))
        for place, label in enumerate(frame.labels)
    )


def percent(metric: str, run: Run) -> float | None:
    """A test score in percent."""
    return run.percent(metric)
