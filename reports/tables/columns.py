"""A column of scores: a number for each line, rounded alike, the best marked, and what is missing said in its place."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from reports.results.frame import Frame
from reports.results.mixtures import SCRATCH, is_scratch
from reports.results.pools import Number, Pool, Read, pool
from reports.tables.grid import Cell
from reports.tables.marking import Direction, marks
from reports.tables.rounding import decimals, shown

ABSENT = "–"
COUNT = "n is the number of runs."
METRICS = {"acc_s": "Acc S", "f1_s": "F1 S", "acc_e": "Acc E", "f1_e": "F1 E"}  # in the order of the paper's tables
MEANING = (
    "Acc E and F1 E (weighted) are of the emotion, Acc S and F1 S of the sentiment, the polarity of the predicted "
    "emotion; percent of the test clips."
)


def column(pools: Sequence[Pool], read: Read, direction: Direction | None = "higher") -> list[Cell]:
    """The cells of a column. Only complete lines whose epoch was not chosen on test compete for a mark; without a
    direction none does."""
    numbers = [one.number(read) for one in pools]
    clips = [run.record.scores.get("test/n") or 0 for one in pools for run in one.runs]
    places = decimals([number for number in numbers if number is not None], [n for n in clips if n])
    printed = [
        round(number.mean, places) if number is not None and competes(one) and _covers(number, one) else None
        for number, one in zip(numbers, pools, strict=True)
    ]
    marked = marks(printed if direction is not None else [None] * len(printed), direction or "higher")
    return [
        replace(_cell(one, number, places), mark=mark) for one, number, mark in zip(pools, numbers, marked, strict=True)
    ]


def competes(of: Pool) -> bool:
    """Whether a line may be called the best: nothing of it is missing, and test did not choose."""
    return of.is_complete and all(run.record.spec.protocol != "best-on-test" for run in of.runs)


def _covers(number: Number, of: Pool) -> bool:
    """Whether every finished run has the number: predictions may be missing, or a class in the clips of a fold."""
    return len(number.values) == len(of.runs)


def _cell(of: Pool, number: Number | None, places: int) -> Cell:
    lacks = f" ({of.lacks})" if of.lacks else ""
    if number is not None and not _covers(number, of):
        lacks = f" ({len(number.values)}/{of.wanted} runs)"
    keys = tuple(run.record.key for run in of.failed)
    if number is not None:
        return Cell(f"{shown(number, places)}{lacks}", value=number.mean, keys=(*number.keys, *keys))
    return Cell(f"failed{lacks}" if of.failed and not of.runs else f"{ABSENT}{lacks}", keys=keys)


def _failures(pools: Sequence[Pool]) -> list[str]:
    """How many runs of a line failed, and why, a sentence for each reason."""
    why: dict[str, int] = {}
    for run in (run for one in pools for run in one.failed):
        assert run.record.error is not None
        reason = " ".join(f"{run.record.error.kind}: {run.record.error.message}".split())
        why[reason] = why.get(reason, 0) + 1
    return [f"{count} {'runs' if count > 1 else 'run'} failed, {reason}" for reason, count in why.items()]


def name_cell(frame: Frame, label: str) -> Cell:
    """The name of a line, with what has to be said of it."""
    runs = frame.of(label)
    told = [frame.remarks[run.arm] for run in runs if run.arm in frame.remarks]
    told += [SCRATCH for run in runs if is_scratch(run)]
    told += _failures([pool(frame.runs, label, dataset, frame.wanted) for dataset in frame.datasets])
    return Cell(label, notes=tuple(dict.fromkeys(told)))


def over(frame: Frame, dataset: str | None = None) -> str:
    """What means are taken over, as a sentence."""
    runs = [run for run in frame.runs if dataset in (None, run.record.spec.dataset) and not run.failed]
    seeds = sorted({run.record.spec.seed for run in runs})
    folds = {
        name: len({run.record.spec.fold for run in runs if run.record.spec.dataset == name}) for name in frame.datasets
    }
    most = max((len(one.runs) for name in frame.datasets for one in frame.pools(name)), default=0)
    if most <= 1:
        return "Single runs: nothing is known of their spread over seeds."
    several = [f"{count} folds of {frame.datasets[name]}" for name, count in folds.items() if count > 1]
    told = f"Mean ± standard deviation over {'seeds' if len(seeds) > 1 else 'seed'} {_span(seeds)}"
    told += f" and {', '.join(several)}" if several else ""
    return f"{told}; each seed has a validation fold of its own."


def _span(seeds: Sequence[int]) -> str:
    if len(seeds) > 2 and list(seeds) == list(range(seeds[0], seeds[-1] + 1)):
        return f"{seeds[0]} to {seeds[-1]}"
    return ", ".join(map(str, seeds))
