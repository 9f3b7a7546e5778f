"""Which parts each line of an ablation has, and what it makes of each class."""

from __future__ import annotations

from functools import partial

from bench.method import ConfigParts
from reports.results.frame import Frame
from reports.tables.columns import COUNT, column, name_cell, over
from reports.tables.grid import Cell, Column, Grid, Line
from reports.tables.scores import MARKS, percent

YES, NO = "✓", "–"


def components(frame: Frame, kind: str, name: str, title: str, dataset: str) -> Grid:
    """The lines of one data set: their parts, the recall of each class, and Acc E."""
    frame = frame.on(dataset)
    called, classes = frame.datasets[dataset], frame.runs[0].card.classes
    pools = frame.pools(dataset)
    cells = [column(pools, partial(percent, f"recall/{one}")) for one in classes]
    cells.append(column(pools, partial(percent, "acc_e")))
    parts = {label: _describe_line(frame, label, kind) for label in frame.labels}
    headings = dict.fromkeys(heading for one in parts.values() for heading in one.cells)
    meanings = dict.fromkeys(one.meaning for one in parts.values() if one.meaning)
    columns = [Column("method", "method", numeric=False)]
    columns += [Column(f"part/{heading}", heading, numeric=False) for heading in headings]
    columns += [Column(f"recall/{one}", one, "recall") for one in classes]
    columns.append(Column("acc_e", "Acc E"))
    lines = tuple(
        Line(
            label,
            (
                name_cell(frame, label),
                *(_format_part(parts[label].cells.get(heading, False)) for heading in headings),
                *(found[place] for found in cells),
            ),
        )
        for place, label in enumerate(frame.labels)
    )
    n = max(len(pool.runs) for pool in pools)
    text = " ".join((over(frame, dataset), COUNT, *meanings, MARKS, frame.values))
    caption = f"{called}, n = {n}; percent of the test clips. {text}"
    return Grid(name, f"{title}, {called}", caption, tuple(columns), lines, warnings=frame.warnings)


def _describe_line(frame: Frame, label: str, kind: str) -> ConfigParts:
    """The parts of a line; none where its method names none for this kind of table."""
    run = frame.of(label)[0]
    return run.method.describe(run.record.spec.config).get(kind, ConfigParts({}))


def _format_part(part: str | bool) -> Cell:
    return Cell(part if isinstance(part, str) else YES if part else NO)
