"""Scores, classes and confidence of the lines of a table, as its figures show them."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

import numpy as np

from reports.clips.confusion import confusion
from reports.plots.confusion import Confusion, Confusions
from reports.plots.radar import Radar, Radars, Ring
from reports.plots.reliability import Bin, Curve, Panel, Reliabilities
from reports.plots.results import Point, Results
from reports.results.frame import Frame
from reports.results.pools import Read
from reports.results.predicted import Shelf
from reports.results.run import Run
from reports.statistics.calibration import bin_clips
from reports.statistics.clips import score_interval
from reports.tables.columns import competing, numbers_of
from reports.tables.costs import calibration, hours, list_measures, note, read_measure


def results_of(frame: Frame, shelf: Shelf) -> Results:
    """Acc E of every line on every data set, each run, and an interval over the test clips."""
    points = []
    for dataset, title in frame.datasets.items():
        pools = frame.pools(dataset)
        for label, pool, may in zip(frame.labels, pools, competing(pools), strict=True):
            number = pool.number(lambda run: run.percent("acc_e"))
            if number is None:
                continue
            tested = shelf.tested(pool.runs)
            whole = tested is not None and tested.even
            found = score_interval(tested.right, tested.labels, tested.groups) if tested and whole else None
            low, high = (found.low, found.high) if found is not None else (None, None)
            points.append(Point(label, title, number.mean, low, high, number.values, flagged=not may))
    return Results("Acc E on test, percent", tuple(points), sample=frame.is_sample)


def costs_of(frame: Frame, shelf: Shelf) -> Results:
    """What the lines of one data set cost: calibration error, what methods measure, hours, size, arithmetic, tries."""
    reads: dict[str, Read] = {
        "ECE, percent": partial(calibration, shelf),
        **{one.title: partial(read_measure, one) for one in list_measures(frame) if one.title},
        "hours": hours,
        "million parameters": partial(note, "cost/parameters", 1e-6),
        "GFLOPs": partial(note, "cost/flops", 1e-9),
        "tried": lambda run: float(run.tried),
    }
    (dataset,) = frame.datasets
    points = [
        Point(label, title, number.mean, None, None, number.values)
        for title, read in reads.items()
        for label, pool in zip(frame.labels, frame.pools(dataset), strict=True)
        if (number := pool.number(read)) is not None
    ]
    return Results("", tuple(points), sample=frame.is_sample)


def confusions_of(frame: Frame, labels: Sequence[str], dataset: str, shelf: Shelf) -> Confusions | None:
    """The confusion matrices of some lines on a data set, over all their runs; None where no predictions are here."""
    frame, panels = frame.on(dataset), []
    for label in labels:
        runs = [run for run in frame.of(label) if not run.failed and shelf.of(run) is not None]
        if not runs:
            continue
        counts = sum(confusion(found, len(run.card.classes)) for run in runs if (found := shelf.of(run)) is not None)
        table = tuple(tuple(int(count) for count in row) for row in np.asarray(counts))
        panels.append(Confusion(label, runs[0].card.classes, table, len(runs)))
    return Confusions(tuple(panels), frame.is_sample) if panels else None


def radars_of(frame: Frame, labels: Sequence[str]) -> Radars:
    """The recall of each class by some lines, on every data set."""
    panels = []
    for dataset, title in frame.datasets.items():
        here = frame.on(dataset)
        classes = here.runs[0].card.classes
        rings = [
            Ring(label, tuple(_mean(runs, f"recall/{name}") for name in classes))
            for label in labels
            if (runs := [run for run in here.of(label) if not run.failed])
        ]
        if rings and len(classes) > 2:
            panels.append(Radar(title, classes, tuple(rings), sample=frame.is_sample))
    return Radars(tuple(panels))


def reliabilities_of(frame: Frame, labels: Sequence[str], shelf: Shelf) -> Reliabilities:
    """How often the lines are right where they are how sure, clips of all runs together; the calibration error is the
    runs' mean, with the decimals that it has in the table of costs."""
    panels = []
    for dataset, title in frame.datasets.items():
        here, curves = frame.on(dataset), []
        errors, places = numbers_of(here.pools(dataset), partial(calibration, shelf))
        known = dict(zip(here.labels, errors, strict=True))
        for label in labels:
            runs = [run for run in here.of(label) if not run.failed and shelf.of(run) is not None]
            if runs:
                error = known[label]
                curves.append(Curve(label, _bins(runs, shelf), error.mean if error else None, places))
        if curves:
            panels.append(Panel(title, tuple(curves)))
    return Reliabilities(tuple(panels), sample=frame.is_sample)


def _mean(runs: Sequence[Run], name: str) -> float | None:
    known = [value for run in runs if (value := run.percent(name)) is not None]
    return float(np.mean(known)) if known else None


def _bins(runs: Sequence[Run], shelf: Shelf) -> tuple[Bin, ...]:
    found = [one for run in runs if (one := shelf.of(run)) is not None]
    bins = bin_clips(np.concatenate([one.scores for one in found]), np.concatenate([one.label for one in found]))
    return tuple(
        Bin(100 * float(confidence), 100 * float(accuracy), int(clips))
        for confidence, accuracy, clips in zip(*bins, strict=True)
    )
