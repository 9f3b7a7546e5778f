"""What a study tells beside its scores: the plan, val against test, what was tried, and what the test list is worth."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean, stdev

from rich.table import Table

from bench.record import Record
from reports.screen.rows import Number

CONFIDENCE = 0.95


@dataclass(frozen=True)
class Planned:
    """Cells of one arm on one data set: how many are done, left and lost."""

    dataset: str
    arm: str
    values: str  # how they come by their values
    done: int
    left: int
    lost: int


@dataclass(frozen=True)
class Labelled:
    """A record under the name that a study gives it, with the number of configurations its search tried."""

    label: str
    record: Record
    tried: int


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


def gap_table(rows: Sequence[Labelled]) -> Table | None:
    """Val beside test: how much better a method looks on the split that chose its epochs and values."""
    groups: dict[tuple[str, str], list[Labelled]] = {}
    for row in rows:
        if row.record.spec.protocol == "clean" and row.record.error is None:
            groups.setdefault((_data(row), row.label), []).append(row)
    if not groups:
        return None
    table = Table(title="what val promised and test held: Acc E, percent", title_style="bold")
    table.add_column("data set", overflow="fold")
    table.add_column("method", overflow="fold")
    for name in ("val", "test", "gap", "configurations tried"):
        table.add_column(name, justify="right", overflow="fold")
    for (dataset, label), group in groups.items():
        pairs = [(one.record.scores["val/acc_e"], one.record.scores["test/acc_e"]) for one in group]
        known = [(val, test) for val, test in pairs if val is not None and test is not None]
        val, test = (number([pair[side] for pair in known]) for side in (0, 1))
        gap = number([val - test for val, test in known])
        table.add_row(dataset, label, str(val), str(test), f"{gap.mean:+.1f}", str(max(one.tried for one in group)))
    table.caption = "val chose the epoch and, where more than one configuration was tried, the values"
    return table


def optimism_table(rows: Sequence[Labelled]) -> Table | None:
    """What choosing the epoch on the test list adds, in points: pairs of one seed, a 95 % interval of their mean."""
    pairs: dict[tuple[str, str], list[float]] = {}
    found = {_cell(row): row.record for row in rows if row.record.error is None}
    for row in rows:
        if row.record.spec.protocol == "best-on-test" and row.record.error is None:
            clean = found.get((*_cell(row)[:-1], "clean"))
            if clean is not None:
                high, low = row.record.scores["test/acc_e"], clean.scores["test/acc_e"]
                assert high is not None and low is not None  # a finished run of either protocol scores test
                pairs.setdefault((_data(row), row.label), []).append(100 * (high - low))
    if not pairs:
        return None
    table = Table(title="what choosing the epoch on the test list is worth: Acc E, points", title_style="bold")
    table.add_column("data set", overflow="fold")
    table.add_column("method", overflow="fold")
    for name in ("gain", "95 % interval", "pairs"):
        table.add_column(name, justify="right", overflow="fold")
    for (dataset, label), gains in pairs.items():
        table.add_row(dataset, label, f"{fmean(gains):+.1f}", _interval(gains), str(len(gains)))
    table.caption = "the same training twice: val chooses the epoch, or the test list does; t-interval over seeds"
    return table


def number(values: Sequence[float]) -> Number:
    """Fractions as a mean and spread in percent."""
    percent = [100 * value for value in values]
    return Number(fmean(percent), stdev(percent) if len(percent) > 1 else None, len(percent))


def _interval(gains: Sequence[float]) -> str:
    """The t-interval of a mean; none for a single pair."""
    if len(gains) < 2:
        return "one pair: none"
    from scipy.stats import t

    half = float(t.ppf((1 + CONFIDENCE) / 2, len(gains) - 1)) * stdev(gains) / len(gains) ** 0.5
    return f"{fmean(gains) - half:+.1f} to {fmean(gains) + half:+.1f}"


def _data(row: Labelled) -> str:
    """The data set, told from the sample that stands in for it."""
    spec = row.record.spec
    return spec.dataset if spec.data == "real" else f"{spec.dataset}: BUILT-IN SAMPLE"


def _cell(row: Labelled) -> tuple[str, str, int, int, str]:
    spec = row.record.spec
    return spec.dataset, row.label, spec.fold, spec.seed, spec.protocol
