"""What a study tells beside its scores: the plan, val against test, what was tried, and what the test list is worth."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

from rich.table import Table

from reports.results.comparisons import compare_family
from reports.results.frame import Frame
from reports.results.run import Run
from reports.screen.rows import frames, pools_of, texts
from reports.tables.costs import gap
from reports.tables.rounding import interval_text, shown_difference
from reports.tables.scores import percent


@dataclass(frozen=True)
class Planned:
    """Cells of one arm on one data set: how many are done, left and lost."""

    dataset: str
    arm: str
    values: str  # how they come by their values
    done: int
    left: int
    lost: int


def plan_table(rows: Sequence[Planned]) -> Table:
    """What a study has done and will do."""
    table = Table(title="plan", title_style="bold")
    for name in ("data set", "arm", "values"):
        table.add_column(name, overflow="fold")
    for name in ("done", "left", "failed"):
        table.add_column(name, justify="right")
    for row in rows:
        table.add_row(row.dataset, row.arm, row.values, str(row.done), str(row.left), str(row.lost or "-"))
    return table


def gap_table(runs: Sequence[Run]) -> Table | None:
    """Val beside test: how much better a method looks on the split that chose its epochs and values."""
    table = Table(title="what val promised and test held: Acc E, percent", title_style="bold")
    table.add_column("data set", overflow="fold")
    table.add_column("method", overflow="fold")
    for name in ("val", "test", "gap", "configurations tried"):
        table.add_column(name, justify="right", overflow="fold")
    for frame in frames(runs):
        pools = pools_of(frame)
        columns = texts(pools, _val), texts(pools, partial(percent, "acc_e"))
        for label, pool, val, test in zip(frame.labels, pools, *columns, strict=True):
            found = pool.number(gap)  # runs whose epoch val did not choose have none
            if found is not None:
                tried = max(run.tried for run in pool.runs)
                table.add_row(_data(frame), label, val, test, shown_difference(found), str(tried))
    if not table.row_count:
        return None
    table.caption = "val chose the epoch and, where more than one configuration was tried, the values"
    return table


def optimism_table(runs: Sequence[Run]) -> Table | None:
    """What choosing the epoch on the test list adds, in points: pairs of one seed, a 95 % interval of their mean."""
    table = Table(title="what choosing the epoch on the test list is worth: Acc E, points", title_style="bold")
    table.add_column("data set", overflow="fold")
    table.add_column("method", overflow="fold")
    for name in ("gain and 95 % interval", "pairs"):
        table.add_column(name, justify="right", overflow="fold")
    for frame in frames(runs):
        protocols: dict[str, dict[str, str]] = {}
        for run in frame.runs:
            protocols.setdefault(run.arm, {})[run.record.spec.protocol] = run.label
        both = [of for of in protocols.values() if {"clean", "best-on-test"} <= of.keys()]
        for one in compare_family(frame, [(of["best-on-test"], of["clean"]) for of in both], None):
            text = interval_text(one.pairs.mean, one.pairs.low, one.pairs.high, one.pairs.spread)
            table.add_row(_data(frame), one.reference, text, str(one.pairs.n))
    if not table.row_count:
        return None
    table.caption = "the same training twice: val chooses the epoch, or the test list does; t-interval over the pairs"
    return table


def _val(run: Run) -> float | None:
    value = run.record.scores.get("val/acc_e")
    return None if value is None else 100 * value


def _data(frame: Frame) -> str:
    """The data set, told from the sample that stands in for it."""
    (dataset,) = frame.datasets
    return f"{dataset}: BUILT-IN SAMPLE" if frame.is_sample else dataset
