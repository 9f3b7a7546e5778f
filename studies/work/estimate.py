"""How long a plan will take, from runs that were timed before."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from statistics import median

from bench.errors import StoreError
from bench.record import RECORD, RunFolder
from studies.work.board import Board

LOOKED_AT = 300  # records, the newest
MINUTE, HOUR, DAY = 60.0, 3600.0, 86400.0


@dataclass(frozen=True)
class Timings:
    """Seconds of runs made here before: (method, preset, data set) -> median, and (method, preset, "") of any."""

    seconds: dict[tuple[str, str, str], float]

    def of(self, method: str, preset: str, dataset: str) -> float | None:
        """What such a run took, on this data set or else on another; None where none was made."""
        return self.seconds.get((method, preset, dataset), self.seconds.get((method, preset, "")))


def read_timings(results: Path) -> Timings:
    """The timings of the newest finished runs."""
    found: dict[tuple[str, str, str], list[float]] = {}
    paths = sorted((results / "runs").glob(f"*/{RECORD}"), key=lambda path: path.stat().st_mtime, reverse=True)
    for path in islice(paths, LOOKED_AT):
        try:
            record = RunFolder(path.parent).record()
        except StoreError:
            continue
        if record is not None:
            spent = sum(record.seconds.values())
            for dataset in (record.spec.dataset, ""):
                found.setdefault((record.spec.method, record.preset, dataset), []).append(spent)
    return Timings({which: median(spent) for which, spent in found.items()})


def estimate(board: Board, timings: Timings, workers: int) -> str:
    """How long what is left will take, in words."""
    order, seconds, unknown = board.plan.order, 0.0, 0
    jobs = [board.plan.ask(cell) for cell in board.left]
    for search in board.searches:
        trials = max(0, (order.budget.trials or 0) - search.tried().total)
        jobs += [search.base] * trials * order.how.seeds
        if order.budget.hours:  # at most, and not for the runs of other searches
            seconds += max(0.0, order.budget.hours * HOUR - search.seconds())
    for ask in jobs:
        took = timings.of(ask.method.name, ask.preset, ask.dataset.card.name)
        unknown += took is None
        seconds += took or 0.0
    if not jobs and not seconds:
        return "nothing is left to do"
    if jobs and unknown == len(jobs):
        return "how long it takes is not known: no such run was timed here yet"
    if order.budget.target and not order.budget.trials and not order.budget.hours:
        return f"about {in_words(seconds / workers)}, beside searches that end when their target is reached"
    rest = f", and {unknown} runs of methods that were not timed here yet" if unknown else ""
    return f"about {in_words(seconds / workers)}{rest}"


def in_words(seconds: float) -> str:
    """A duration as a person says it."""
    for size, name in ((DAY, "days"), (HOUR, "hours"), (MINUTE, "minutes")):
        if seconds >= 1.5 * size:
            return f"{seconds / size:.1f} {name}" if seconds < 10 * size else f"{seconds / size:.0f} {name}"
    return f"{max(1, round(seconds))} seconds"
