"""All data sets in one number for each method: the mean over them, with its interval, and the mean rank."""

from __future__ import annotations

from reports.results.frame import Frame
from reports.results.pools import Number
from reports.results.run import Values
from reports.statistics.aggregate import over_datasets
from reports.statistics.ranks import Ranks, rank
from reports.tables.columns import ABSENT, competing, name_cell
from reports.tables.grid import Cell, Column, Grid, Line
from reports.tables.marking import marks
from reports.tables.rounding import digits

COLUMNS = (
    Column("method", "method", numeric=False),
    Column("mean", "mean Acc E"),
    Column("interval", "95 % interval"),
    Column("rank", "mean rank"),
)
BEFORE: tuple[Values, ...] = ("re-tuned", "frozen", "own")
CAPTION = (
    "Acc E on test, percent, the mean over {titles}; every data set counts alike. The interval is of a bootstrap that"
    " resamples the runs within each data set (Agarwal et al. 2021): it says how other runs would fare, on these data"
    " sets. Ranks: 1 is the best method of a data set. Methods that lack a run anywhere, or whose epoch test chose, "
    "are left out, and refit ones beside clean ones; an arm has one line. Best in bold, second best underlined, alike"
    " where they are printed alike."
)


def complete(frame: Frame) -> dict[str, list[Number]]:
    """Label -> its Acc E on each data set: one line for each arm, re-tuned before frozen before untuned, of those that
    compete on every data set."""
    found: dict[str, list[Number]] = {}
    pools = {dataset: frame.pools(dataset) for dataset in frame.datasets}
    may = {dataset: competing(of) for dataset, of in pools.items()}
    for arm in dict.fromkeys(run.arm for run in frame.runs):
        labels = dict.fromkeys((run.label, run.values) for run in frame.runs if run.arm == arm)
        for label, _ in sorted(labels, key=lambda pair: BEFORE.index(pair[1])):
            place = frame.labels.index(label)
            numbers = [
                of[place].number(lambda run: run.percent("acc_e")) for name, of in pools.items() if may[name][place]
            ]
            known = [number for number in numbers if number is not None]
            if len(known) == len(pools):
                found[label] = known
                break
    return found


def ranked(found: dict[str, list[Number]]) -> Ranks:
    """The mean ranks of complete lines."""
    return rank({label: [number.mean for number in numbers] for label, numbers in found.items()})


def overall(frame: Frame, name: str, title: str) -> Grid | None:
    """A line for each complete method; None for fewer than two of them, or for a single data set."""
    found = complete(frame)
    if len(frame.datasets) < 2 or len(found) < 2:
        return None
    ranks = dict(zip(found, ranked(found).ranks, strict=True))
    means = {label: over_datasets([number.values for number in numbers]) for label, numbers in found.items()}
    widths = [(one.high - one.low) / 4 for one in means.values() if one.low is not None and one.high is not None]
    places = digits(sorted(widths)[len(widths) // 2]) if widths else 1
    marked = marks([round(one.mean, places) for one in means.values()])
    lines = []
    for (label, one), mark in zip(means.items(), marked, strict=True):
        keys = tuple(key for number in found[label] for key in number.keys)
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
