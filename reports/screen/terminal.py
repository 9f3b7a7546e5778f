"""The tables a person sees at the end of a command."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from statistics import fmean

from rich.console import Group, RenderableType
from rich.table import Table

from bench.method import Measure, NoteTable
from reports.results.frame import Frame
from reports.results.run import Run
from reports.screen.rows import ABSENT, Row, frames, gather, pools_of, texts
from reports.tables.columns import METRICS
from reports.tables.rounding import quantity
from reports.tables.scores import percent

COLUMNS = {name: METRICS[name] for name in ("acc_e", "f1_e", "acc_s", "f1_s")} | {"bal_e": "bal. Acc E"}


def show(runs: Sequence[Run]) -> RenderableType:
    """For each data set its scores, its classes, and what else the methods note."""
    parts: list[Table | None] = []
    for frame in frames(runs):
        parts += [_scores(frame), _classes(frame), *_make_note_tables(gather(frame))]
    return Group(*(part for part in parts if part is not None))


def _scores(frame: Frame) -> Table:
    (title,) = frame.datasets.values()
    name = f"{title} -- BUILT-IN SAMPLE, not the real data" if frame.is_sample else title
    presets = ", ".join(dict.fromkeys(run.record.preset for run in frame.runs))
    style = "yellow" if frame.is_sample else "bold"
    table = Table(title=f"{name}\ntest split, percent, preset {presets}", title_style=style)
    table.add_column("method", overflow="fold")
    for label in (*COLUMNS.values(), "clips", "runs", "s/run"):
        table.add_column(label, justify="right", overflow="fold")
    pools = pools_of(frame)
    scores = [texts(pools, partial(percent, metric)) for metric in COLUMNS]
    for label, pool, *cells in zip(frame.labels, pools, *scores, strict=True):
        clips = int(pool.runs[0].record.scores.get("test/n") or 0) if pool.runs else 0
        runs = f"{len(pool.runs)} ({len(pool.failed)} failed)" if pool.failed else str(len(pool.runs))
        seconds = quantity(fmean(sum(run.record.seconds.values()) for run in (*pool.runs, *pool.failed)))
        table.add_row(label, *cells, str(clips), runs, seconds)
    if any(len(pool.runs) > 1 for pool in pools):
        several = any(len({run.record.spec.fold for run in pool.runs}) > 1 for pool in pools)
        over = "folds and seeds together" if several else "seeds"
        table.caption = f"mean ± standard deviation over {over} (each seed has its own validation fold)"
    return table


def _classes(frame: Frame) -> Table | None:
    names = [name.removeprefix("test/") for run in frame.runs for name in run.record.scores]
    classes = [name for name in dict.fromkeys(names) if name.startswith("recall/")]
    if not classes:
        return None
    table = Table(title="recall by class, percent")
    table.add_column("method", overflow="fold")
    for name in classes:
        table.add_column(name.removeprefix("recall/"), justify="right", overflow="fold")
    pools = pools_of(frame)
    for row in zip(frame.labels, *(texts(pools, partial(percent, name)) for name in classes), strict=True):
        table.add_row(*row)
    return table


def _make_note_tables(rows: list[Row]) -> list[Table]:
    """The tables of notes, each of the rows whose methods have it and that noted any of it."""
    found: dict[NoteTable, list[Row]] = {}
    for row in rows:
        for table in row.method.note_tables:
            if any(name in row.notes for _, names in table.rows for name in names):
                found.setdefault(table, []).append(row)
    return [_make_note_table(table, of) for table, of in found.items()]


def _make_note_table(noted: NoteTable, rows: list[Row]) -> Table:
    table = Table(title=noted.title)
    table.add_column("method", overflow="fold")
    for label in noted.labels:
        table.add_column(label)
    for heading in noted.headings:
        table.add_column(heading, justify="right", overflow="fold")
    for row in rows:
        few = noted.flag is not None and _is_below_least(row, noted.flag)
        for words, names in noted.rows:
            cells = [_print_note(row, name) for name in names]
            table.add_row(f"{row.label} (!)" if few else row.label, *words, *cells)
        if len(noted.rows) > 1:
            table.add_section()
        if few and noted.flag is not None:
            table.caption = f"(!) {noted.flag.warning}"
    return table


def _is_below_least(row: Row, measure: Measure) -> bool:
    """Return whether a row has less of a measure than it ought to have."""
    number = row.notes.get(measure.note)
    return number is not None and measure.least is not None and number.mean / 100 * measure.unit < measure.least


def _print_note(row: Row, name: str) -> str:
    """Print a note as the table of costs does: the mean alone, with three digits."""
    number = row.notes.get(name)
    return ABSENT if number is None else quantity(number.mean)
