"""Forest plots: scores with their intervals, and paired differences to the full method.

A data set is a panel, a method or an arm is a line.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, get_args

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator

from bench.requests import Tuning
from reports.figures import style
from reports.figures.style import FigureDecor, add_decor
from reports.types import FigureValue

MAX_PANELS_PER_ROW = 5  # panels side by side, at most
MISSING_TEXT = "n/a"  # stands where a group lacks a label

FLAGGED_LABEL = "flagged"

TUNING_KINDS: tuple[Tuning, ...] = get_args(Tuning)
TUNING_STYLES: dict[Tuning, tuple[str, str]] = {
    "none": (style.BLACK, "o"),
    "shared": (style.COLOURS[0], "s"),
    "per-arm": (style.COLOURS[1], "^"),
}
TUNING_LABELS: dict[Tuning, str] = {"none": "untuned", "shared": "shared values", "per-arm": "per-arm values"}


def make_forest_panels(
    labels: Sequence[str], groups: Sequence[str], line: float, same: bool, parted: bool = False
) -> tuple[Figure, list[Axes]]:
    """A figure with one axes a group, in the order given; label i lies at y = i, the first on top.

    `line` is the least height of a line in inches; `same`: all panels share one scale; `parted`: the faint rules lie
    between the lines, not on them.
    """
    stacked = -(-len(groups) // MAX_PANELS_PER_ROW)
    abreast = -(-len(groups) // stacked)
    width = style.COLUMN_WIDTH if len(groups) == 1 else style.PAGE_WIDTH
    names = [style.wrap_text(label, 20 if len(groups) == 1 else 26) for label in labels]
    room = (width - 1.4) / abreast
    titles = [style.wrap_text(group, int(0.85 * style.CHARS_PER_INCH * room)) if group else "" for group in groups]
    tall = max(line, style.LINE_HEIGHT * max(name.count("\n") + 1 for name in names) + 0.05)
    above = style.LINE_HEIGHT * 1.2 * max(title.count("\n") + 1 if title else 0 for title in titles)
    figure = style.make_figure(width, stacked * (tall * len(labels) + above + 0.36))
    table = figure.subplots(stacked, abreast, sharey=True, sharex=same, squeeze=False)
    for axes, title in zip(table.flat, titles, strict=False):
        axes.set_title(title)
        axes.set_ylim(len(labels) - 0.5, -0.5)
        axes.set_yticks(range(len(labels)), names)
        axes.tick_params(axis="y", length=0)
        axes.tick_params(axis="x", labelbottom=True)
        axes.spines["left"].set_visible(False)
        for place in range(len(labels)):
            axes.axhline(place - 0.5 if parted else place, color=style.LIGHT_GREY, linewidth=0.5, zorder=0)
    for axes in list(table.flat)[len(groups) :]:
        axes.remove()
    return figure, list(table.flat)[: len(groups)]


def set_forest_scale(axes: Axes, values: Sequence[float], zero: bool = False) -> None:
    """A scale that shows all values, with few ticks; `zero`: and 0."""
    least, most = min(values), max(values)
    if zero:
        least, most = min(least, 0.0), max(most, 0.0)
    edge = 0.08 * (most - least) or max(0.05 * abs(most), 0.5)
    axes.set_xlim(least - edge, most + edge)
    axes.xaxis.set_major_locator(MaxNLocator(nbins=4, min_n_ticks=2))


def mark_missing(axes: Axes, place: int) -> None:
    """Say that a group lacks a label."""
    axes.text(
        0.5,
        place,
        MISSING_TEXT,
        transform=axes.get_yaxis_transform(),
        ha="center",
        va="center",
        color=style.GREY,
        bbox={"pad": 1.0, "facecolor": "white", "edgecolor": "none"},
    )


def check_unique_places(pairs: Sequence[tuple[str, ...]]) -> None:
    """Raises ValueError where there is nothing to draw, or one place is taken twice."""
    if not pairs:
        raise ValueError("nothing to draw")
    for pair in pairs:
        if pairs.count(pair) > 1:
            raise ValueError(f"{' / '.join(pair)} is there twice")


@dataclass(frozen=True)
class ScorePoint:
    """A score of a method on a data set."""

    label: str  # of the method
    group: str  # the data set
    mean: float
    low: float | None  # end of the interval; None: there is none
    high: float | None
    runs: tuple[float, ...]  # each run's own score
    flagged: bool = False  # drawn hollow


@dataclass(frozen=True)
class ScorePlot:
    """What is drawn. A label may be missing from a group."""

    axis_label: str  # "Acc E, percent"
    points: tuple[ScorePoint, ...]
    note: str = ""
    sample: bool = False


def tabulate_scores(data: ScorePlot) -> tuple[dict[str, FigureValue], ...]:
    """One for each point, in the order given, its runs as `run 1`, `run 2`, ..."""
    most = max((len(point.runs) for point in data.points), default=0)
    found: list[dict[str, FigureValue]] = []
    for point in data.points:
        runs = {f"run {place + 1}": value for place, value in enumerate((*point.runs, *[None] * most)[:most])}
        place: dict[str, FigureValue] = {"group": point.group, "label": point.label, "mean": point.mean}
        flagged = FLAGGED_LABEL if point.flagged else ""
        found.append({**place, "low": point.low, "high": point.high, "flagged": flagged, **runs})
    return tuple(found)


@style.report_style()
def draw_scores(data: ScorePlot) -> Figure:
    """The mean as a marker, its interval as a line, each run as a faint dot below; flagged ones are hollow.

    Raises ValueError without points, or where a label is in a group twice.
    """
    check_unique_places([(point.group, point.label) for point in data.points])
    labels = style.drop_repeats([point.label for point in data.points])
    groups = style.drop_repeats([point.group for point in data.points])
    figure, panels = make_forest_panels(labels, groups, 0.2, same=False)
    for axes, group in zip(panels, groups, strict=True):
        there = {labels.index(point.label): point for point in data.points if point.group == group}
        for place in range(len(labels)):
            if place in there:
                _draw_score(axes, place, there[place])
            else:
                mark_missing(axes, place)
        set_forest_scale(axes, [value for point in there.values() for value in _list_score_values(point)])
    words = [FLAGGED_LABEL] if any(point.flagged for point in data.points) else []
    handles = [Line2D([], [], linestyle="none", **_make_score_marker(True)) for _ in words]
    return add_decor(figure, FigureDecor(data.axis_label, handles, words, data.note, data.sample))


def _list_score_values(point: ScorePoint) -> list[float]:
    return [value for value in (point.mean, point.low, point.high, *point.runs) if value is not None]


def _make_score_marker(flagged: bool) -> dict[str, Any]:
    return {
        "marker": "D" if flagged else "o",
        "markersize": 4.2,
        "color": style.COLOURS[0],
        "markerfacecolor": "white" if flagged else style.COLOURS[0],
        "markeredgewidth": 1.0,
    }


def _draw_score(axes: Axes, place: int, point: ScorePoint) -> None:
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
    axes.plot([point.mean], [place], zorder=4, gid="mean", **_make_score_marker(point.flagged))


@dataclass(frozen=True)
class DifferencePoint:
    """An arm minus the reference, over pairs of runs."""

    label: str  # of the arm
    group: str  # the data set
    mean: float
    low: float | None  # end of the interval; None: there is none
    high: float | None
    pairs: tuple[float, ...]  # each pair's own difference
    tuning: Tuning = "none"  # where the arm has its values from


@dataclass(frozen=True)
class DifferencePlot:
    """What is drawn. A label may be missing from a group, or be there in several kinds."""

    reference: str  # label of a line
    axis_label: str  # "Acc E, points"
    differences: tuple[DifferencePoint, ...]
    note: str = ""
    sample: bool = False


def tabulate_differences(data: DifferencePlot) -> tuple[dict[str, FigureValue], ...]:
    """One for each difference, in the order given, its pairs as `pair 1`, `pair 2`, ..."""
    most = max((len(one.pairs) for one in data.differences), default=0)
    found: list[dict[str, FigureValue]] = []
    for one in data.differences:
        pairs = {f"pair {place + 1}": value for place, value in enumerate((*one.pairs, *[None] * most)[:most])}
        place: dict[str, FigureValue] = {"group": one.group, "label": one.label, "kind": one.tuning, "mean": one.mean}
        found.append({**place, "low": one.low, "high": one.high, **pairs})
    return tuple(found)


@style.report_style()
def draw_differences(data: DifferencePlot) -> Figure:
    """Left of the zero line an arm is worse than the reference; kinds lie below each other, pairs are faint dots.

    Raises ValueError without differences, or where a label is in a group twice in one kind.
    """
    check_unique_places([(one.group, one.label, one.tuning) for one in data.differences])
    labels = style.drop_repeats([one.label for one in data.differences])
    groups = style.drop_repeats([one.group for one in data.differences])
    kinds = [kind for kind in TUNING_KINDS if any(one.tuning == kind for one in data.differences)]
    figure, panels = make_forest_panels(labels, groups, 0.06 + 0.15 * len(kinds), True, len(kinds) > 1)
    for axes, group in zip(panels, groups, strict=True):
        axes.axvline(0, color=style.BLACK, linewidth=0.7, zorder=1, gid="zero")
        there = [one for one in data.differences if one.group == group]
        for one in there:
            mine = [kind for kind in kinds if any((o.label, o.tuning) == (one.label, kind) for o in data.differences)]
            place = labels.index(one.label) + (mine.index(one.tuning) - (len(mine) - 1) / 2) * 0.8 / len(kinds)
            _draw_difference(axes, place - 0.08, 0.3 / len(kinds), one)
        for place, label in enumerate(labels):
            if label not in {one.label for one in there}:
                mark_missing(axes, place)
    set_forest_scale(
        panels[0], [value for one in data.differences for value in _list_difference_values(one)], zero=True
    )
    told = kinds != ["none"]
    axis = f"difference to {data.reference}, {data.axis_label} (negative: worse)"
    handles = [_make_tuning_handle(kind) for kind in kinds] if told else ()
    return add_decor(
        figure, FigureDecor(axis, handles, [TUNING_LABELS[kind] for kind in kinds], data.note, data.sample)
    )


def _list_difference_values(one: DifferencePoint) -> list[float]:
    return [value for value in (one.mean, one.low, one.high, *one.pairs) if value is not None]


def _make_tuning_handle(kind: Tuning) -> Any:
    colour, marker = TUNING_STYLES[kind]
    return Line2D([], [], color=colour, marker=marker, markersize=4.2, linewidth=1.3)


def _draw_difference(axes: Axes, place: float, below: float, one: DifferencePoint) -> None:
    """One difference; `gid` names what is what."""
    colour, marker = TUNING_STYLES[one.tuning]
    if one.pairs:
        dots: dict[str, Any] = {"linestyle": "none", "marker": marker, "markersize": 2.2, "markeredgewidth": 0}
        axes.plot(one.pairs, [place + below] * len(one.pairs), color=colour, alpha=0.45, zorder=2, gid="pairs", **dots)
    if one.low is not None and one.high is not None:
        axes.plot([one.low, one.high], [place, place], color=colour, linewidth=1.3, zorder=3, gid="interval")
    axes.plot([one.mean], [place], color=colour, marker=marker, markersize=4.2, zorder=4, gid="mean")
