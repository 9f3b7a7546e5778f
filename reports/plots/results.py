"""Scores with their intervals: a data set a panel, a method a line."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from reports.plots import forest, style
from reports.plots.frame import Frame, finish

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from reports.report import Value

FLAGGED = "flagged"


@dataclass(frozen=True)
class Point:
    """A score of a method on a data set."""

    label: str  # of the method
    group: str  # the data set
    mean: float
    low: float | None  # end of the interval; None: there is none
    high: float | None
    runs: tuple[float, ...]  # each run's own score
    flagged: bool = False  # drawn hollow


@dataclass(frozen=True)
class Results:
    """What is drawn. A label may be missing from a group."""

    axis: str  # "Acc E, percent"
    points: tuple[Point, ...]
    note: str = ""
    sample: bool = False


def rows(data: Results) -> tuple[dict[str, Value], ...]:
    """One for each point, in the order given, its runs as `run 1`, `run 2`, ..."""
    most = max((len(point.runs) for point in data.points), default=0)
    found: list[dict[str, Value]] = []
    for point in data.points:
        runs = {f"run {place + 1}": value for place, value in enumerate((*point.runs, *[None] * most)[:most])}
        place: dict[str, Value] = {"group": point.group, "label": point.label, "mean": point.mean}
        flagged = FLAGGED if point.flagged else ""
        found.append({**place, "low": point.low, "high": point.high, "flagged": flagged, **runs})
    return tuple(found)


@style.styled()
def draw(data: Results) -> Figure:
    """The mean as a marker, its interval as a line, each run as a faint dot below; flagged ones are hollow.

    Raises ValueError without points, or where a label is in a group twice.
    """
    from matplotlib.lines import Line2D

    forest.once([(point.group, point.label) for point in data.points])
    labels = style.distinct([point.label for point in data.points])
    groups = style.distinct([point.group for point in data.points])
    figure, panels = forest.panels(labels, groups, 0.2, same=False)
    for axes, group in zip(panels, groups, strict=True):
        there = {labels.index(point.label): point for point in data.points if point.group == group}
        for place in range(len(labels)):
            if place in there:
                _draw(axes, place, there[place])
            else:
                forest.nothing(axes, place)
        forest.scale(axes, [value for point in there.values() for value in _values(point)])
    words = [FLAGGED] if any(point.flagged for point in data.points) else []
    handles = [Line2D([], [], linestyle="none", **_marker(True)) for _ in words]
    return finish(figure, Frame(data.axis, handles, words, data.note, data.sample))


def _values(point: Point) -> list[float]:
    return [value for value in (point.mean, point.low, point.high, *point.runs) if value is not None]


def _marker(flagged: bool) -> dict[str, Any]:
    return {
        "marker": "D" if flagged else "o",
        "markersize": 4.2,
        "color": style.COLOURS[0],
        "markerfacecolor": "white" if flagged else style.COLOURS[0],
        "markeredgewidth": 1.0,
    }


def _draw(axes: Axes, place: int, point: Point) -> None:
    """One line of one panel; `gid` names what is what."""
    colour = style.COLOURS[0]
    if point.runs:
        below = [place + 0.3] * len(point.runs)
        dots: dict[str, Any] = {
            "linestyle": "none",
            "marker": "o",
            "markersize": 2.2,
            "markeredgewidth": 0,
            "alpha": 0.5,
        }
        axes.plot(point.runs, below, color=style.GREY, zorder=2, gid="runs", **dots)
    if point.low is not None and point.high is not None:
        axes.plot([point.low, point.high], [place, place], color=colour, linewidth=1.3, zorder=3, gid="interval")
    axes.plot([point.mean], [place], zorder=4, gid="mean", **_marker(point.flagged))
