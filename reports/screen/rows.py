"""The runs of a command as lines of the tables on the screen: those of one data set, its sample apart from it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial

from bench.method import Method
from bench.protocol import flag
from reports.results.frame import Frame
from reports.results.mixtures import is_scratch
from reports.results.pools import Number, Pool, Read
from reports.results.run import Run
from reports.tables.columns import numbers_of
from reports.tables.costs import note
from reports.tables.rounding import shown

ABSENT = "-"


@dataclass(frozen=True)
class Row:
    """What the runs of one line noted beside their scores: means in percent."""

    label: str
    method: Method
    notes: dict[str, Number | None]


def frames(runs: Sequence[Run]) -> list[Frame]:
    """Runs by data set, each called by what has to be said wherever its numbers stand."""
    groups: dict[tuple[str, str], list[Run]] = {}
    for run in runs:
        groups.setdefault((run.record.spec.dataset, run.record.spec.data), []).append(run)
    return [Frame(tuple(_named(group)), {}, {}, "") for group in groups.values()]


def _named(runs: Sequence[Run]) -> list[Run]:
    """Tell runs of other protocols, presets and starts apart from those of the same arm."""
    presets = {run.record.preset for run in runs}
    parts = [
        [flag(run.record.spec), "from scratch" * is_scratch(run), run.record.preset * (len(presets) > 1)]
        for run in runs
    ]
    return [replace(run, apart="; ".join(filter(None, of))) for run, of in zip(runs, parts, strict=True)]


def pools_of(frame: Frame) -> list[Pool]:
    """Return the runs of each line of a frame of one data set."""
    (dataset,) = frame.datasets
    return frame.pools(dataset)


def texts(pools: Sequence[Pool], read: Read) -> list[str]:
    """Print a column as the tables do, without what these say of missing runs."""
    numbers, places = numbers_of(pools, read)
    return [ABSENT if number is None else shown(number, places) for number in numbers]


def gather(frame: Frame) -> list[Row]:
    """Average the notes of each line."""
    return [
        Row(
            label,
            frame.of(label)[0].method,
            {name: pool.number(partial(note, name, 100.0)) for run in pool.runs for name in run.record.notes},
        )
        for label, pool in zip(frame.labels, pools_of(frame), strict=True)
    ]
