"""All data sets in one number for each method: the mean over them, with its interval, and the mean rank."""

from __future__ import annotations

from dataclasses import dataclass

from bench.requests import Tuning
from reports.results.folds import mean_over_folds, overlap
from reports.results.frame import Frame
from reports.results.pools import Number, Pool
from reports.results.run import Run
from reports.statistics.aggregate import over_datasets
from reports.statistics.ranks import Ranks, rank
from reports.tables.columns import ABSENT, competing, name_cell
from reports.tables.grid import Cell, Column, Grid, Line
from reports.tables.marking import marks
from reports.tables.rounding import decimals_of_spreads

COLUMNS = (
    Column("method", "method", numeric=False),
    Column("mean", "mean Acc E"),
    Column("interval", "95 % interval"),
    Column("rank", "mean rank"),
)
BEFORE: tuple[Tuning, ...] = ("per-arm", "shared", "none")
CAPTION = (
    "Acc E on test, percent, the mean over {titles}; every data set counts alike. The interval is of a bootstrap that"
    " resamples the runs within each data set (Agarwal et al. 2021): it says how other runs would fare, on these data"
    " sets. Of several folds a run is a fold, the mean of its seeds, and the variance is raised for clips that folds"
    " share (Nadeau and Bengio 2003). Ranks: 1 is the best method of a data set. Methods that lack a run anywhere, or"
    " whose epoch test chose, are left out, and refit ones beside clean ones; an arm has one line. Best in bold, second"
    " best underlined, alike where they are printed alike."
)


@dataclass(frozen=True)
class Found:
    """The Acc E of one line on one data set: over all runs, as pieces of evidence, and how far these share clips."""

    number: Number
    pieces: tuple[float, ...]
    overlap: float | None


def complete(frame: Frame) -> dict[str, list[Found]]:
    """Label -> what it has on each data set: one line for each arm, per-arm before shared before untuned, of those that
    compete on every data set."""
    found: dict[str, list[Found]] = {}
    pools = {dataset: frame.pools(dataset) for dataset in frame.datasets}
    may = {dataset: competing(of) for dataset, of in pools.items()}
    for arm in dict.fromkeys(run.arm for run in frame.runs):
        labels = dict.fromkeys((run.label, run.values) for run in frame.runs if run.arm == arm)
        for label, _ in sorted(labels, key=lambda pair: BEFORE.index(pair[1])):
            place = frame.labels.index(label)
            known = [one for name, of in pools.items() if may[name][place] and (one := _found(of[place])) is not None]
            if len(known) == len(pools):
                found[label] = known
                break
    return found


def _found(pool: Pool) -> Found | None:
    known = [run for run in pool.runs if _acc_e(run) is not None]
    number = pool.number(_acc_e)
    if number is None:
        return None
    places = [(run.record.spec.fold, run.record.spec.seed) for run in known]
    pieces = mean_over_folds(dict(zip(places, number.values, strict=True)))
    return Found(number, tuple(pieces), overlap(known))


def _acc_e(run: Run) -> float | None:
    return run.percent("acc_e")


def ranked(found: dict[str, list[Found]]) -> Ranks:
    """The mean ranks of complete lines."""
    return rank({label: [one.number.mean for one in of] for label, of in found.items()})


def overall(frame: Frame, name: str, title: str) -> Grid | None:
    """A line for each complete method; None for fewer than two of them, or for a single data set."""
    found = complete(frame)
    if len(frame.datasets) < 2 or len(found) < 2:
        return None
    ranks = dict(zip(found, ranked(found).ranks, strict=True))
    means = {
        label: over_datasets([one.pieces for one in of], [one.overlap for one in of]) for label, of in found.items()
    }
    widths = [(one.high - one.low) / 4 for one in means.values() if one.low is not None and one.high is not None]
    places = decimals_of_spreads(widths)
    marked = marks([round(one.mean, places) for one in means.values()])
    lines = []
    for (label, one), mark in zip(means.items(), marked, strict=True):
        keys = tuple(key for of in found[label] for key in of.number.keys)
        known = one.low is not None and one.high is not None
        span = f"{one.low:.{places}f} to {one.high:.{places}f}" if known else ABSENT
        cells = (
            Cell(f"{one.mean:.{places}f}", mark=mark, value=one.mean, keys=keys),
            Cell(span, keys=keys if known else (), notes=(one.why,) if one.why else ()),
            Cell(f"{ranks[label]:.2f}", value=ranks[label], keys=keys),
        )
        lines.append(Line(label, (name_cell(frame, label), *cells)))
    caption = f"{CAPTION.format(titles=', '.join(frame.datasets.values()))} {frame.values}"
    return Grid(name, title, caption, COLUMNS, tuple(lines), warnings=frame.warnings)
