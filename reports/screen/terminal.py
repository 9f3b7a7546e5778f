"""The tables a person sees at the end of a command."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from rich.console import Group, RenderableType
from rich.table import Table

from bench.record import Record
from reports.screen.rows import COLUMNS, Number, Row, gather

FEW_CUES = 10.0  # percent of segments; below it a method that lives on words is hardly itself
CUES = {
    "pretrain/coverage": "a cue",
    "pretrain/coverage_sentiment": "after E1",
    "pretrain/coverage_emotion": "after E2",
    "pretrain/coverage_degree": "after E3",
    "pretrain/coverage_kept": "kept",
    "pretrain/fallback": "masked without",
}
STAGES = {"sentiment": "E1", "emotion": "E2", "degree": "E3"}
FOUND = ("dropped", "precision", "random_precision", "recall", "random_recall")


def show(records: Sequence[Record], titles: dict[str, str], from_scratch: Collection[str] = ()) -> RenderableType:
    """For each data set its scores, its classes, and what became of the words; `titles` names the data sets,
    `from_scratch` the runs that could have started from published weights, and did not."""
    parts: list[Table | None] = []
    for dataset, data in dict.fromkeys((record.spec.dataset, record.spec.data) for record in records):
        rows = [row for row in gather(records, from_scratch) if (row.dataset, row.data) == (dataset, data)]
        parts += [_scores(rows, titles.get(dataset, dataset)), _classes(rows), _cues(rows), _verification(rows)]
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


def _cues(rows: list[Row]) -> Table | None:
    """Which share of the segments has words to learn from, before and after verification."""
    rows = [row for row in rows if "pretrain/coverage" in row.notes]
    if not rows:
        return None
    table = Table(title="segments with an affective cue in the last epoch of pre-training, percent")
    table.add_column("method", overflow="fold")
    for label in CUES.values():
        table.add_column(label, justify="right", overflow="fold")
    for row in rows:
        kept = row.notes.get("pretrain/coverage_kept")
        few = kept is not None and kept.mean < FEW_CUES
        table.add_row(f"{_name(row)} (!)" if few else _name(row), *[_cell(row.notes.get(name)) for name in CUES])
        if few:
            table.caption = (
                f"(!) under {FEW_CUES:.0f} % of the segments keep a cue: hardly the method it is named after"
            )
    return table


def _verification(rows: list[Row]) -> Table | None:
    """How well each stage finds the sample's planted wrong words, beside dropping as many at random."""
    rows = [row for row in rows if any("/verify/" in name for name in row.notes)]
    if not rows:
        return None
    table = Table(
        title="verification on the sample: finding planted wrong words, percent\n"
        "E1 sentiment, E2 emotion, E3 degree; random = as many dropped by chance"
    )
    table.add_column("method", overflow="fold")
    for name in ("clips", "stage"):
        table.add_column(name)
    for name in ("dropped", "precision", "random", "recall", "random"):
        table.add_column(name, justify="right", overflow="fold")
    for row in rows:
        for split in ("train", "val"):
            for stage, label in STAGES.items():
                numbers = [row.notes.get(f"pretrain/verify/{split}/{stage}/{name}") for name in FOUND]
                table.add_row(_name(row), split, label, *map(_cell, numbers))
        table.add_section()
    return table


def _name(row: Row) -> str:
    """The arm, with what has to be said of its protocol wherever its numbers stand."""
    return f"{row.arm} ({row.flag})" if row.flag else row.arm


def _cell(number: Number | None) -> str:
    return "-" if number is None else str(number)
