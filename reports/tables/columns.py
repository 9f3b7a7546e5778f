"""A column of scores: a number for each line, rounded alike, the best marked, and what is missing said in its place."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from reports.results.frame import Frame
from reports.results.mixtures import SCRATCH, is_scratch
from reports.results.pools import Number, Pool, Read, pool
from reports.results.run import Run
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


def column(pools: Sequence[Pool], read: Read, direction: Direction = "higher") -> list[Cell]:
    """The cells of a column. Only complete lines of one protocol compete for a mark."""
    numbers, places = numbers_of(pools, read)
    printed = [
        round(number.mean, places) if number is not None and competes and _covers(number, one) else None
        for number, one, competes in zip(numbers, pools, competing(pools), strict=True)
    ]
    return [
        replace(_cell(one, number, places), mark=mark)
        for one, number, mark in zip(pools, numbers, marks(printed, direction), strict=True)
    ]


def numbers_of(pools: Sequence[Pool], read: Read) -> tuple[list[Number | None], int]:
    """Return the number of each line, None where it has none, and the decimals that all of them are printed with."""
    numbers = [one.number(read) for one in pools]
    clips = [run.record.scores.get("test/n") or 0 for one in pools for run in one.runs]
    return numbers, decimals([number for number in numbers if number is not None], [n for n in clips if n])


def competing(pools: Sequence[Pool]) -> list[bool]:
    """Which lines may be called the best: those of which nothing is missing, and whose epoch test did not choose. Those
    refit on train and val compete with each other where no clean line is there, for they learnt from more clips."""
    protocols = [{run.record.spec.protocol for run in one.runs} if one.is_complete else set() for one in pools]
    wanted = {"clean"} if {"clean"} in protocols else {"refit"}
    return [found == wanted for found in protocols]


def _covers(number: Number, of: Pool) -> bool:
    """Whether every finished run has the number: predictions may be missing, or a class in the clips of a fold."""
    return len(number.values) == len(of.runs)


def lacking(number: Number | None, of: Pool) -> str:
    """What a cell has to say behind its number where runs of it are missing: " (2/8 runs)"."""
    if number is not None and not _covers(number, of):
        return f" ({len(number.values)}/{of.wanted} runs)"
    return f" ({of.lacks})" if of.lacks else ""


def _cell(of: Pool, number: Number | None, places: int) -> Cell:
    lacks, keys = lacking(number, of), tuple(run.record.key for run in of.failed)
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
        alone = "".join(f" {text[0].upper()}{text[1:]}." for text in only_fold(runs))
        return f"Single runs: nothing is known of their spread over seeds.{alone}"
    several = [f"{count} folds of {frame.datasets[name]}" for name, count in folds.items() if count > 1]
    told = f"Mean ± standard deviation over {'seeds' if len(seeds) > 1 else 'seed'} {_span(seeds)}"
    told += f" and {', '.join(several)}" if several else ""
    told += "".join(f"; {text}" for text in only_fold(runs))
    return f"{told}{'; seeds differ in their validation fold too' if _own_val(runs) else ''}."


def only_fold(runs: Sequence[Run]) -> list[str]:
    """Which single fold stands for a data set that has several: "fold 1 of the 10 of VideoEmotion-8"."""
    folds: dict[str, set[int]] = {}
    cards = {run.record.spec.dataset: run.card for run in runs}
    for run in runs:
        folds.setdefault(run.record.spec.dataset, set()).add(run.record.spec.fold)
    return [
        f"fold {min(found)} of the {len(cards[name].folds)} of {cards[name].title} alone"
        for name, found in folds.items()
        if len(found) == 1 and len(cards[name].folds) > 1
    ]


def _own_val(runs: Sequence[Run]) -> bool:
    """Whether val chose, and seeds of one fold have different clips for it."""
    splits: dict[tuple[str, int], set[str]] = {}
    for run in runs:
        splits.setdefault((run.record.spec.dataset, run.record.spec.fold), set()).add(run.record.spec.split)
    return all(run.record.spec.protocol == "clean" for run in runs) and any(len(of) > 1 for of in splits.values())


def _span(seeds: Sequence[int]) -> str:
    if len(seeds) > 2 and list(seeds) == list(range(seeds[0], seeds[-1] + 1)):
        return f"{seeds[0]} to {seeds[-1]}"
    return ", ".join(map(str, seeds))
