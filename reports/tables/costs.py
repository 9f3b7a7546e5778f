"""What a line cost and how far it can be believed: configurations tried, what its method measures, calibration, size,
arithmetic, hours."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from functools import partial

from bench.method import Measure
from reports.results.frame import Frame
from reports.results.pools import Pool, Read
from reports.results.predicted import Shelf
from reports.results.run import Run
from reports.statistics.calibration import BINS, calibration_error
from reports.tables.columns import ABSENT, COUNT, column, lacking, name_cell, over
from reports.tables.grid import Cell, Column, Grid, Line
from reports.tables.rounding import quantity, shown_difference

HOUR = 3600.0
HEADINGS = {
    "ece": "ECE",
    "gap": "gap",
    "parameters": "size",
    "flops": "GFLOPs",
    "hours": "hours",
}
TRIED = "Tried: configurations that a search looked at on val for these values."
CAPTION = (
    f"ECE: calibration error on test, percent, of the finished model's confidence in {BINS} bins of equal size (biased "
    "upwards where clips are few). Gap: val minus test Acc E, points; val chose the epoch. Size: parameters of the "
    "predictor, million. GFLOPs: what a prediction of one clip takes, 10^9 operations, a product and a sum being two. "
    "Hours of a run, all its stages, on the machine that made it. Least ECE in bold, second least underlined."
)


def costs(frame: Frame, shelf: Shelf, dataset: str, name: str) -> Grid:
    """A line for each label of one data set."""
    frame = frame.on(dataset)
    pools, title = frame.pools(dataset), frame.datasets[dataset]
    measures = {one.name: one for one in list_measures(frame) if one.heading}
    cells = {name: [_format_measure(pool, one) for pool in pools] for name, one in measures.items()}
    cells |= {
        "ece": column(pools, partial(calibration, shelf), "lower"),
        "gap": [_gap(one) for one in pools],
        "parameters": [_mean(one, partial(note, "cost/parameters", 1e-6)) for one in pools],
        "flops": [_mean(one, partial(note, "cost/flops", 1e-9)) for one in pools],
        "hours": [_mean(one, hours) for one in pools],
    }
    columns = [Column("method", "method", numeric=False), Column("tried", "tried")]
    headings = {name: one.heading for name, one in measures.items()} | HEADINGS
    columns += [Column(key, headings[key]) for key in cells]
    lines = tuple(
        Line(label, (name_cell(frame, label), _tried(pools[place]), *(found[place] for found in cells.values())))
        for place, label in enumerate(frame.labels)
    )
    n = max(len(pool.runs) for pool in pools)
    meanings = dict.fromkeys(one.meaning for one in measures.values() if one.meaning)
    text = " ".join((over(frame, dataset), COUNT, TRIED, *meanings, CAPTION, frame.values))
    caption = f"{title}, n = {n}. {text}"
    return Grid(name, f"What it cost, {title}", caption, tuple(columns), lines, warnings=frame.warnings)


def calibration(shelf: Shelf, run: Run) -> float | None:
    """Calibration error of a run on test, in percent; None where its predictions are not here."""
    found = shelf.of(run)
    return None if found is None else 100 * calibration_error(found.scores, found.label)


def gap(run: Run) -> float | None:
    """Val minus test Acc E, in points; None where val did not choose."""
    val, test = (run.record.scores.get(f"{split}/acc_e") for split in ("val", "test"))
    return None if val is None or test is None else 100 * (val - test)


def hours(run: Run) -> float:
    """All hours of a run."""
    return sum(run.record.seconds.values()) / HOUR


def note(name: str, unit: float, run: Run) -> float | None:
    """A number that a run's record tells beside its scores, in a unit."""
    value = run.record.notes.get(name)
    return None if value is None else unit * value


def list_measures(frame: Frame) -> Iterable[Measure]:
    """What the methods of a frame measure, each once."""
    return dict.fromkeys(one for run in frame.runs for one in run.method.measures)


def read_measure(measure: Measure, run: Run) -> float | None:
    """A measure of a run, as it is printed; None where its method has no such measure, or the run did not note it."""
    return note(measure.note, measure.unit, run) if measure in run.method.measures else None


def _mean(of: Pool, read: Read) -> Cell:
    """A mean alone, with three digits: what runs of a line have nearly in common."""
    number = of.number(read)
    if number is None:
        return Cell(ABSENT)
    return Cell(f"{quantity(number.mean)}{lacking(number, of)}", value=number.mean, keys=number.keys)


def _gap(of: Pool) -> Cell:
    number = of.number(gap)
    if number is None:
        return Cell(ABSENT)
    return Cell(f"{shown_difference(number)}{lacking(number, of)}", value=number.mean, keys=number.keys)


def _tried(pool: Pool) -> Cell:
    runs: Sequence[Run] = pool.runs or pool.failed
    most = max((run.tried for run in runs), default=0)
    return Cell(str(most), value=most, keys=tuple(run.record.key for run in runs)) if runs else Cell(ABSENT)


def _format_measure(pool: Pool, measure: Measure) -> Cell:
    """The mean of a measure, with its warning where it is less than it ought to be."""
    cell = _mean(pool, partial(read_measure, measure))
    few = cell.value is not None and measure.least is not None and cell.value < measure.least
    return replace(cell, notes=(measure.warning,)) if few else cell
