"""The runs of one line of a table on one data set, and the numbers that they have in common."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean, stdev

from reports.results.run import Run

Read = Callable[[Run], float | None]
"""A number of a run; None where it has none."""


@dataclass(frozen=True)
class Number:
    """A mean over runs; `spread` is their standard deviation (n - 1), None for a single run."""

    mean: float
    spread: float | None
    values: tuple[float, ...]
    keys: tuple[str, ...]  # of the runs, in the order of the values


@dataclass(frozen=True)
class Pool:
    """What an arm found on a data set: finished runs by fold and seed, how many failed, how many there ought to be."""

    runs: tuple[Run, ...]
    failed: tuple[Run, ...]
    wanted: int

    def number(self, read: Read) -> Number | None:
        """The number over all runs that have it; None where none has."""
        known = [(value, run.record.key) for run in self.runs if (value := read(run)) is not None]
        if not known:
            return None
        values = tuple(value for value, _ in known)
        spread = stdev(values) if len(values) > 1 else None
        return Number(fmean(values), spread, values, tuple(key for _, key in known))

    @property
    def is_complete(self) -> bool:
        """Whether every run that ought to be there is."""
        return len(self.runs) >= self.wanted and not self.failed

    @property
    def lacks(self) -> str:
        """What a cell has to say of runs that are not there: "2/8 runs"; empty where none is missing."""
        return "" if self.is_complete else f"{len(self.runs)}/{self.wanted} runs"


Wanted = Mapping[str, int]
"""Data set -> how many runs (folds times seeds) an arm ought to have there."""


def lines_of(runs: Sequence[Run]) -> tuple[str, ...]:
    """The labels of runs, each once, in their order."""
    return tuple(dict.fromkeys(run.label for run in runs))


def datasets_of(runs: Sequence[Run]) -> dict[str, str]:
    """Name -> title of the data sets of runs, in their order; the name beside a title that two have."""
    found = {run.record.spec.dataset: run.card.title for run in runs}
    titles = list(found.values())
    return {name: f"{title} ({name})" if titles.count(title) > 1 else title for name, title in found.items()}


def pool(runs: Sequence[Run], label: str, dataset: str, wanted: Wanted) -> Pool:
    """The runs of one label on one data set, by fold and seed. A failed run counts where no finished one stands in its
    place."""
    found = [run for run in runs if run.label == label and run.record.spec.dataset == dataset]
    good = sorted((run for run in found if not run.failed), key=cell_of)
    have = {cell_of(run) for run in good}
    bad = {cell_of(run): run for run in found if run.failed and cell_of(run) not in have}
    return Pool(tuple(good), tuple(bad.values()), max(wanted.get(dataset, 0), len(good) + len(bad)))


def cell_of(run: Run) -> tuple[str, int, int]:
    """Which of its arm's runs it is: data set, fold and seed."""
    return run.record.spec.dataset, run.record.spec.fold, run.record.spec.seed


def wanted_of(runs: Sequence[Run], asked: Mapping[str, set[tuple[int, int]]] | None = None) -> Wanted:
    """How many runs every arm ought to have on each data set: every seed on every fold that any arm has there, or that
    a study has been asked for, so that a mean over folds and seeds counts all of them alike."""
    found: dict[str, set[tuple[int, int]]] = {}
    for run in runs:
        dataset, fold, seed = cell_of(run)
        found.setdefault(dataset, set((asked or {}).get(dataset, ()))).add((fold, seed))
    return {
        dataset: len({fold for fold, _ in cells}) * len({seed for _, seed in cells}) for dataset, cells in found.items()
    }
