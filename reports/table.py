"""Records gathered into rows: mean and spread over seeds, with the number of runs beside them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean, stdev

from bench.record import Record

COLUMNS = {
    "test/acc_e": "Acc E",
    "test/f1_e": "F1 E",
    "test/acc_s": "Acc S",
    "test/f1_s": "F1 S",
    "test/bal_e": "bal. Acc E",
}


@dataclass(frozen=True)
class Number:
    """A mean over runs in percent; `spread` is the standard deviation over seeds, None for a single run."""

    mean: float
    spread: float | None
    runs: int

    def __str__(self) -> str:
        if self.spread is None:
            return f"{self.mean:.1f}"
        return f"{self.mean:.1f} ± {self.spread:.1f}"


@dataclass(frozen=True)
class Row:
    """One arm of one data set."""

    dataset: str
    data: str
    arm: str
    preset: str
    runs: int
    failed: int
    numbers: dict[str, Number | None]
    clips: int
    seconds: float


def gather(records: Sequence[Record]) -> list[Row]:
    """A row for each (data set, arm) in the order of first appearance; failed runs are counted, not averaged."""
    groups: dict[tuple[str, str, str, str], list[Record]] = {}
    for record in records:
        groups.setdefault((record.spec.dataset, record.spec.data, record.arm, record.preset), []).append(record)
    rows = []
    for (dataset, data, arm, preset), group in groups.items():
        good = [record for record in group if record.error is None]
        names = list(dict.fromkeys(name for record in good for name in record.scores))
        rows.append(
            Row(
                dataset,
                data,
                arm,
                preset,
                len(good),
                len(group) - len(good),
                {name: _number([record.scores.get(name) for record in good]) for name in names},
                int(good[0].scores.get("test/n") or 0) if good else 0,
                fmean(sum(record.seconds.values()) for record in group),
            )
        )
    return rows


def _number(values: Sequence[float | None]) -> Number | None:
    known = [100 * value for value in values if value is not None]
    if not known:
        return None
    return Number(fmean(known), stdev(known) if len(known) > 1 else None, len(known))
