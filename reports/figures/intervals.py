"""Forest plots: scores with their intervals, and paired differences to the full method. A data set is a panel, a method
or an arm is a line."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator

from bench.requests import Tuning
from reports.figures import style
from reports.figures.style import add_decor
from reports.types import FigureValue

MAX_PANELS_PER_ROW = 5  # panels side by side, at most
MISSING_TEXT = "n/a"  # stands where a group lacks a label

FLAGGED_LABEL = "flagged"

TUNING_STYLES: dict[Tuning, tuple[str, str]] = {
    "none": (style.BLACK, "o"),
    "shared": (style.COLOURS[0], "s"),
    "per-arm": (style.COLOURS[1], "^"),
}
TUNING_LABELS: dict[Tuning, str] = {"none": "untuned", "shared": "shared values", "per-arm": "per-arm values"}


def make_forest_panels(
    labels: Sequence[str], groups: Sequence[str], line: float, same: bool, parted: bool = False
) -> tuple[Figure, list[Axes]]:
    """A figure with one axes a group, in the order given; label i lies at y = i, the first on top. `line` is the least
    height of a line in inches; `same`: all panels share one scale; `parted`: the faint rules lie between the lines."""
    stacked = -(-len(groups) // MAX_PANELS_PER_ROW)
    abreast = -(-len(groups) // stacked)
    width = style.COLUMN_WIDTH if len(groups) == 1 else style.PAGE_WIDTH
    names = [style.wrap_text(label, 20 if len(groups) == 1 else 26) for label in labels]
    room = (width - 1.4) / abreast
    titles = [style.wrap_text(group, int(0.85 * style.CHARS_PER_INCH * room)) if group else "" for group in groups]
    tall = max(line, style.LINE_HEIGHT * max(name.count("\n") + 1 for name in names) + 0.05)
    above = style.LINE_HEIGHT * 1.2 * max(title.count("\n") + 1 if title else 0 for title in titles)
    figure = style.make_figure(width, stacked * (tall * len(labels) + above + 0.36))
    panels = style.add_panels(figure, stacked, abreast, len(groups), sharey=True, sharex=same)
    for axes, title in zip(panels, titles, strict=True):
        axes.set_title(title)
        axes.set_ylim(len(labels) - 0.5, -0.5)
        axes.set_yticks(range(len(labels)), names)
        axes.tick_params(axis="y", length=0)
        axes.tick_params(axis="x", labelbottom=True)
        axes.spines["left"].set_visible(False)
        for place in range(len(labels)):
            axes.axhline(place - 0.5 if parted else place, color=style.LIGHT_GREY, linewidth=0.5, zorder=0)
    return figure, panels


def set_forest_scale(axes: Axes, values: Sequence[float | None]) -> None:
    """A scale that shows all values, with few ticks."""
    axes.set_xlim(*style.make_limits([value for value in values if value is not None], 0.08))
    axes.xaxis.set_major_locator(MaxNLocator(nbins=4, min_n_ticks=2))


def mark_missing(axes: Axes, labels: Sequence[str], there: Sequence[ScorePoint | DifferencePoint]) -> None:
    """Say which labels a group lacks."""
    look: dict[str, Any] = {"ha": "center", "va": "center", "color": style.GREY}
    box = {"pad": 1.0, "facecolor": "white", "edgecolor": "none"}
    for place, label in enumerate(labels):
        if label not in {one.label for one in there}:
            axes.text(0.5, place, MISSING_TEXT, transform=axes.get_yaxis_transform(), bbox=box, **look)


def draw_interval(
    axes: Axes,
    place: float,
    point: ScorePoint | DifferencePoint,
    values: Sequence[float],
    below: float,
    dots: Mapping[str, Any],
    look: Mapping[str, Any],
) -> None:
    """One line of one panel: the mean as `look` says, its interval, and `below` it the `values` of runs as `dots`."""
    if values:
        small: dict[str, Any] = {"linestyle": "none", "markersize": 2.2, "markeredgewidth": 0, "zorder": 2}
        axes.plot(values, [place + below] * len(values), **small, **dots)
    if point.low is not None and point.high is not None:
        axes.plot([point.low, point.high], [place, place], color=look["color"], linewidth=1.3, zorder=3, gid="interval")
    axes.plot([point.mean], [place], markersize=4.2, zorder=4, gid="mean", **look)


def number_values(name: str, values: Sequence[float], most: int) -> dict[str, FigureValue]:
    """Values as `<name> 1` to `<name> <most>`; None where there are fewer."""
    return {f"{name} {place + 1}": values[place] if place < len(values) else None for place in range(most)}


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
    sample: bool = False


def tabulate_scores(data: ScorePlot) -> tuple[dict[str, FigureValue], ...]:
    """One for each point, in the order given, its runs as `run 1`, `run 2`, ..."""
    most = max((len(point.runs) for point in data.points), default=0)
    return tuple(
        {
            **{"group": point.group, "label": point.label, "mean": point.mean, "low": point.low, "high": point.high},
            **{"flagged": FLAGGED_LABEL if point.flagged else "", **number_values("run", point.runs, most)},
        }
        for point in data.points
    )


@style.report_style()
def draw_scores(data: ScorePlot) -> Figure:
    """The mean as a marker, its interval as a line, each run as a faint dot below; flagged ones are hollow. Raises
    ValueError without points, or where a label is in a group twice."""
    check_unique_places([(point.group, point.label) for point in data.points])
    labels = list(dict.fromkeys(point.label for point in data.points))
    groups = list(dict.fromkeys(point.group for point in data.points))
    figure, panels = make_forest_panels(labels, groups, 0.2, same=False)
    dots = {"color": style.GREY, "marker": "o", "alpha": 0.5, "gid": "runs"}
    for axes, group in zip(panels, groups, strict=True):
        there = [point for point in data.points if point.group == group]
        for one in there:
            place, look = labels.index(one.label), _make_score_marker(one.flagged)
            draw_interval(axes, place, one, one.runs, 0.3, dots, look)
        mark_missing(axes, labels, there)
        set_forest_scale(axes, [value for one in there for value in (one.mean, one.low, one.high, *one.runs)])
    words = [FLAGGED_LABEL] if any(point.flagged for point in data.points) else []
    handles = [Line2D([], [], linestyle="none", markersize=4.2, **_make_score_marker(True))]
    return add_decor(figure, data.axis_label, words, handles, data.sample)


def _make_score_marker(flagged: bool) -> dict[str, Any]:
    colour = style.COLOURS[0]
    face = "white" if flagged else colour
    return {"marker": "D" if flagged else "o", "color": colour, "markerfacecolor": face, "markeredgewidth": 1.0}


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
    sample: bool = False


def tabulate_differences(data: DifferencePlot) -> tuple[dict[str, FigureValue], ...]:
    """One for each difference, in the order given, its pairs as `pair 1`, `pair 2`, ..."""
    most = max((len(one.pairs) for one in data.differences), default=0)
    return tuple(
        {
            **{"group": one.group, "label": one.label, "kind": one.tuning, "mean": one.mean, "low": one.low},
            **{"high": one.high, **number_values("pair", one.pairs, most)},
        }
        for one in data.differences
    )


@style.report_style()
def draw_differences(data: DifferencePlot) -> Figure:
    """Left of the zero line an arm is worse than the reference; kinds lie below each other, pairs are faint dots.
    Raises ValueError without differences, or where a label is in a group twice in one kind."""
    check_unique_places([(one.group, one.label, one.tuning) for one in data.differences])
    labels = list(dict.fromkeys(one.label for one in data.differences))
    groups = list(dict.fromkeys(one.group for one in data.differences))
    kinds = [kind for kind in TUNING_STYLES if any(one.tuning == kind for one in data.differences)]
    figure, panels = make_forest_panels(labels, groups, 0.06 + 0.15 * len(kinds), True, len(kinds) > 1)
    for axes, group in zip(panels, groups, strict=True):
        axes.axvline(0, color=style.BLACK, linewidth=0.7, zorder=1, gid="zero")
        there = [one for one in data.differences if one.group == group]
        for one in there:
            mine = [kind for kind in kinds if any((o.label, o.tuning) == (one.label, kind) for o in data.differences)]
            place = labels.index(one.label) + (mine.index(one.tuning) - (len(mine) - 1) / 2) * 0.8 / len(kinds)
            colour, marker = TUNING_STYLES[one.tuning]
            look = {"color": colour, "marker": marker}
            dots = {**look, "alpha": 0.45, "gid": "pairs"}
            draw_interval(axes, place - 0.08, one, one.pairs, 0.3 / len(kinds), dots, look)
        mark_missing(axes, labels, there)
    values = [value for one in data.differences for value in (one.mean, one.low, one.high, *one.pairs)]
    set_forest_scale(panels[0], [0.0, *values])
    axis = f"difference to {data.reference}, {data.axis_label} (negative: worse)"
    named = kinds if kinds != ["none"] else []
    looks = [TUNING_STYLES[kind] for kind in named]
    handles = [Line2D([], [], color=colour, marker=marker, markersize=4.2, linewidth=1.3) for colour, marker in looks]
    return add_decor(figure, axis, [TUNING_LABELS[kind] for kind in named], handles, data.sample)
