"""Records gathered into rows: mean and spread over seeds, with the number of runs beside them."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean, stdev

from bench.protocol import flag
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
    flag: str  # of a protocol that is not clean
    scratch: bool  # of the paper's sizes, without published weights
    runs: int
    folds: int
    failed: int
    numbers: dict[str, Number | None]  # scores by name
    notes: dict[str, Number | None]  # what the method and the sample's truth told besides
    clips: int
    seconds: float


def gather(records: Sequence[Record], from_scratch: Collection[str] = ()) -> list[Row]:
    """A row for each (data set, arm) in the order of first appearance; failed runs are counted, not averaged.

    `from_scratch` are the keys of runs that could have started from published weights, and did not.
    """
    groups: dict[tuple[str, str, str, str, str, bool], list[Record]] = {}
    for record in records:
        scratch = record.preset == "paper" and record.key in from_scratch
        own = (record.spec.dataset, record.spec.data, record.arm, record.preset, flag(record.spec), scratch)
        groups.setdefault(own, []).append(record)
    rows = []
    for (dataset, data, arm, preset, flagged, scratch), group in groups.items():
        good = [record for record in group if record.error is None]
        rows.append(
            Row(
                dataset,
                data,
                arm,
                preset,
                flagged,
                scratch,
                len(good),
                len({record.spec.fold for record in good}),
                len(group) - len(good),
                _numbers([record.scores for record in good]),
                _numbers([record.notes for record in good]),
                int(good[0].scores.get("test/n") or 0) if good else 0,
                fmean(sum(record.seconds.values()) for record in group),
            )
        )
    return rows


def _numbers(found: Sequence[Mapping[str, float | None]]) -> dict[str, Number | None]:
    names = dict.fromkeys(name for values in found for name in values)
    return {name: _number([values.get(name) for values in found]) for name in names}


def _number(values: Sequence[float | None]) -> Number | None:
    known = [100 * value for value in values if value is not None]
    if not known:
        return None
    return Number(fmean(known), stdev(known) if len(known) > 1 else None, len(known))
