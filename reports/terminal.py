"""The tables a person sees at the end of a command."""

from __future__ import annotations

from collections.abc import Sequence

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from bench.record import Record
from reports.table import COLUMNS, Row, gather


def show(records: Sequence[Record], titles: dict[str, str]) -> RenderableType:
    """One scores table and one per-class table for each data set; `titles` names the data sets."""
    parts: list[RenderableType] = []
    for dataset, data in dict.fromkeys((record.spec.dataset, record.spec.data) for record in records):
        rows = [row for row in gather(records) if (row.dataset, row.data) == (dataset, data)]
        parts += [_scores(rows, titles.get(dataset, dataset)), _classes(rows)]
    return Group(*parts)


def _scores(rows: list[Row], title: str) -> Table:
    sample = rows[0].data == "sample"
    name = f"{title} -- BUILT-IN SAMPLE, not the real data" if sample else title
    presets = ", ".join(dict.fromkeys(row.preset for row in rows))
    table = Table(title=f"{name}\ntest split, percent, preset {presets}", title_style="yellow" if sample else "bold")
    table.add_column("method")
    for label in COLUMNS.values():
        table.add_column(label, justify="right")
    for label in ("clips", "runs", "s/run"):
        table.add_column(label, justify="right")
    for row in rows:
        runs = f"{row.runs}" if not row.failed else f"{row.runs} ({row.failed} failed)"
        cells = [str(row.numbers.get(name) or "-") for name in COLUMNS]
        table.add_row(row.arm, *cells, str(row.clips), runs, f"{row.seconds:.1f}")
    if any(row.runs > 1 for row in rows):
        table.caption = "mean ± standard deviation over seeds (each seed has its own validation fold)"
    return table


def _classes(rows: list[Row]) -> RenderableType:
    names = [name for row in rows for name in row.numbers if name.startswith("test/recall/")]
    classes = list(dict.fromkeys(names))
    if not classes:
        return Text("")
    table = Table(title="recall by class, percent")
    table.add_column("method")
    for name in classes:
        table.add_column(name.removeprefix("test/recall/"), justify="right")
    for row in rows:
        table.add_row(row.arm, *[str(row.numbers.get(name) or "-") for name in classes])
    return table
