"""The tables a person sees at the end of a command."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from rich.console import Group, RenderableType
from rich.table import Table

from bench.method import Measure, Method, NoteTable
from bench.record import Record
from reports.screen.rows import COLUMNS, Number, Row, gather


def show(records: Sequence[Record], titles: Mapping[str, str], methods: Mapping[str, Method]) -> RenderableType:
    """For each data set its scores, its classes, and what else the methods note; `titles` names the data sets."""
    parts: list[Table | None] = []
    for dataset, data in dict.fromkeys((record.spec.dataset, record.spec.data) for record in records):
        rows = [row for row in gather(records) if (row.dataset, row.data) == (dataset, data)]
        parts += [_scores(rows, titles.get(dataset, dataset)), _classes(rows), *_make_note_tables(rows, methods)]
    return Group(*(part for part in parts if part is not None))


def _scores(rows: list[Row], title: str) -> Table:
    sample = rows[0].data == "sample"
    name = f"{title} -- BUILT-IN SAMPLE, not the real data" if sample else title
    presets = ", ".join(dict.fromkeys(row.preset for row in rows))
    table = Table(title=f"{name}\ntest split, percent, preset {presets}", title_style="yellow" if sample else "bold")
    table.add_column("method", overflow="fold")
    for label in COLUMNS.values():
        table.add_column(label, justify="right", overflow="fold")
    for label in ("clips", "runs", "s/run"):
        table.add_column(label, justify="right", overflow="fold")
    for row in rows:
        runs = f"{row.runs}" if not row.failed else f"{row.runs} ({row.failed} failed)"
        cells = [_cell(row.numbers.get(name)) for name in COLUMNS]
        arm = f"{_name(row)} (from scratch)" if row.scratch else _name(row)
        table.add_row(arm, *cells, str(row.clips), runs, f"{row.seconds:.1f}")
    if any(row.runs > 1 for row in rows):
        over = "folds and seeds together" if any(row.folds > 1 for row in rows) else "seeds"
        table.caption = f"mean ± standard deviation over {over} (each seed has its own validation fold)"
    return table


def _classes(rows: list[Row]) -> Table | None:
    names = [name for row in rows for name in row.numbers if name.startswith("test/recall/")]
    classes = list(dict.fromkeys(names))
    if not classes:
        return None
    table = Table(title="recall by class, percent")
    table.add_column("method", overflow="fold")
    for name in classes:
        table.add_column(name.removeprefix("test/recall/"), justify="right", overflow="fold")
    for row in rows:
        table.add_row(_name(row), *[_cell(row.numbers.get(name)) for name in classes])
    return table


def _make_note_tables(rows: list[Row], methods: Mapping[str, Method]) -> list[Table]:
    """The tables of notes, each of the rows whose methods have it and that noted any of it."""
    found: dict[NoteTable, list[Row]] = {}
    for row in rows:
        for table in methods[row.method].note_tables if row.method in methods else ():
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
            cells = [_cell(row.notes.get(name)) for name in names]
            table.add_row(f"{_name(row)} (!)" if few else _name(row), *words, *cells)
        if len(noted.rows) > 1:
            table.add_section()
        if few and noted.flag is not None:
            table.caption = f"(!) {noted.flag.warning}"
    return table


def _is_below_least(row: Row, measure: Measure) -> bool:
    """Whether a row has less of a measure than it ought to have."""
    number = row.notes.get(measure.note)
    return number is not None and measure.least is not None and number.mean / 100 * measure.unit < measure.least


def _name(row: Row) -> str:
    """The arm, with what has to be said of its protocol wherever its numbers stand."""
    return f"{row.arm} ({row.flag})" if row.flag else row.arm


def _cell(number: Number | None) -> str:
    return "-" if number is None else str(number)
