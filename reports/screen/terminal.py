"""The tables a person sees at the end of a command."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from statistics import fmean

from rich.console import Group, RenderableType
from rich.table import Table

from reports.results.frame import Frame
from reports.results.pools import Number
from reports.results.run import Run
from reports.screen.rows import ABSENT, Row, frames, gather, pools_of, texts
from reports.tables.columns import METRICS
from reports.tables.rounding import decimals, quantity, shown
from reports.tables.scores import percent

COLUMNS = {name: METRICS[name] for name in ("acc_e", "f1_e", "acc_s", "f1_s")} | {"bal_e": "bal. Acc E"}
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


def show(runs: Sequence[Run]) -> RenderableType:
    """For each data set its scores, its classes, and what became of the words."""
    parts: list[Table | None] = []
    for frame in frames(runs):
        rows = gather(frame)
        parts += [_scores(frame), _classes(frame), _cues(rows), _verification(rows)]
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
        table.add_row(f"{row.label} (!)" if few else row.label, *[_share(row.notes.get(name)) for name in CUES])
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
                table.add_row(row.label, split, label, *map(_cell, numbers))
        table.add_section()
    return table


def _share(number: Number | None) -> str:
    """Print a share of segments as the table of costs does."""
    return ABSENT if number is None else quantity(number.mean)


def _cell(number: Number | None) -> str:
    """Print a number whose column no other table has, with the decimals of its own spread."""
    return ABSENT if number is None else shown(number, decimals([number]))
