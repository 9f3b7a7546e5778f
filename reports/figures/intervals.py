"""Forest plots of scores with intervals and of paired differences; a panel is a data set, a row a method or arm."""

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

MAX_PANELS_PER_ROW = 5
MISSING_TEXT = "n/a"  # where a group lacks a label

FLAGGED_LABEL = "flagged"  # in the CSV file
UNRANKED_LABEL = "not ranked"  # in the legend

TUNING_STYLES: dict[Tuning, tuple[str, str]] = {
    "none": (style.BLACK, "o"),
    "shared": (style.COLOURS[0], "s"),
    "per-arm": (style.COLOURS[1], "^"),
}
TUNING_LABELS: dict[Tuning, str] = {"none": "untuned", "shared": "shared values", "per-arm": "per-arm values"}


def make_forest_panels(
    labels: Sequence[str], groups: Sequence[str], min_height: float, same: bool, parted: bool = False
) -> tuple[Figure, list[Axes]]:
    """Return a figure with axes for each group, in order; label i is at y = i, the first on top.

    `min_height` is that of a row, in inches. `same`: all panels share a scale. `parted`: rules are between the rows.
    """
    rows = -(-len(groups) // MAX_PANELS_PER_ROW)
    columns = -(-len(groups) // rows)
    width = style.COLUMN_WIDTH if len(groups) == 1 else style.PAGE_WIDTH
    names = [style.wrap_text(label, 20 if len(groups) == 1 else 26) for label in labels]
    room = (width - 1.4) / columns
    titles = [style.wrap_text(group, int(0.85 * style.CHARS_PER_INCH * room)) if group else "" for group in groups]
    tall = max(min_height, style.LINE_HEIGHT * max(name.count("\n") + 1 for name in names) + 0.05)
    above = style.LINE_HEIGHT * 1.2 * max(title.count("\n") + 1 if title else 0 for title in titles)
    figure = style.make_figure(width, rows * (tall * len(labels) + above + 0.36))
    panels = style.add_panels(figure, rows, columns, len(groups), sharey=True, sharex=same)
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
    """Set a scale that shows all values, with few ticks."""
    axes.set_xlim(*style.make_limits([value for value in values if value is not None], 0.08))
    axes.xaxis.set_major_locator(MaxNLocator(nbins=4, min_n_ticks=2))


def mark_missing(axes: Axes, labels: Sequence[str], points: Sequence[ScorePoint | DifferencePoint]) -> None:
    """Mark the labels that a group lacks."""
    look: dict[str, Any] = {"ha": "center", "va": "center", "color": style.GREY}
    box = {"pad": 1.0, "facecolor": "white", "edgecolor": "none"}
    for place, label in enumerate(labels):
        if label not in {point.label for point in points}:
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
    """Draw a row of a panel: the mean in style `look`, its interval, and `below` it the `values` of runs as `dots`."""
    if values:
        small: dict[str, Any] = {"linestyle": "none", "markersize": 2.2, "markeredgewidth": 0, "zorder": 2}
        axes.plot(values, [place + below] * len(values), **small, **dots)
    if point.low is not None and point.high is not None:
        axes.plot([point.low, point.high], [place, place], color=look["color"], linewidth=1.3, zorder=3, gid="interval")
    axes.plot([point.mean], [place], markersize=4.2, zorder=4, gid="mean", **look)


def number_values(name: str, values: Sequence[float], most: int) -> dict[str, FigureValue]:
    """Return values as `<name> 1` to `<name> <most>`; None where there are fewer."""
    return {f"{name} {place + 1}": values[place] if place < len(values) else None for place in range(most)}


def check_unique_places(pairs: Sequence[tuple[str, ...]]) -> None:
    """Raise ValueError where there is nothing to draw, or a place occurs twice."""
    if not pairs:
        raise ValueError("nothing to draw")
    for pair in pairs:
        if pairs.count(pair) > 1:
            raise ValueError(f"{' / '.join(pair)} occurs twice")


@dataclass(frozen=True)
class ScorePoint:
    """A score of a method on a data set."""

    label: str  # method
    group: str  # data set
    mean: float
    low: float | None  # end of the interval; None without one
    high: float | None
    runs: tuple[float, ...]  # score of each run
    flagged: bool = False  # drawn hollow


@dataclass(frozen=True)
class ScorePlot:
    """Data of a figure of scores. A label may be missing from a group."""

    axis_label: str  # "Acc E, percent"
    points: tuple[ScorePoint, ...]
    sample: bool = False


def tabulate_scores(data: ScorePlot) -> tuple[dict[str, FigureValue], ...]:
    """Return a row for each point, in order, with its runs as `run 1`, `run 2`, ..."""
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
    """Draw each mean as a marker, hollow if flagged, its interval as a line, and its runs as faint dots below.

    Raises ValueError: no points, or a label is in a group twice.
    """
    check_unique_places([(point.group, point.label) for point in data.points])
    labels = list(dict.fromkeys(point.label for point in data.points))
    groups = list(dict.fromkeys(point.group for point in data.points))
    figure, panels = make_forest_panels(labels, groups, 0.2, same=False)
    dots = {"color": style.GREY, "marker": "o", "alpha": 0.5, "gid": "runs"}
    for axes, group in zip(panels, groups, strict=True):
        shown = [point for point in data.points if point.group == group]
        for point in shown:
            place, look = labels.index(point.label), _make_score_marker(point.flagged)
            draw_interval(axes, place, point, point.runs, 0.3, dots, look)
        mark_missing(axes, labels, shown)
        set_forest_scale(axes, [value for point in shown for value in (point.mean, point.low, point.high, *point.runs)])
    names = [UNRANKED_LABEL] if any(point.flagged for point in data.points) else []
    handles = [Line2D([], [], linestyle="none", markersize=4.2, **_make_score_marker(True))]
    return add_decor(figure, data.axis_label, names, handles, data.sample)


def _make_score_marker(flagged: bool) -> dict[str, Any]:
    colour = style.COLOURS[0]
    face = "white" if flagged else colour
    return {"marker": "D" if flagged else "o", "color": colour, "markerfacecolor": face, "markeredgewidth": 1.0}


@dataclass(frozen=True)
class DifferencePoint:
    """An arm minus the reference, over pairs of runs."""

    label: str  # arm
    group: str  # data set
    mean: float
    low: float | None  # end of the interval; None without one
    high: float | None
    pairs: tuple[float, ...]  # difference of each pair
    tuning: Tuning = "none"  # how the values of the arm were chosen


@dataclass(frozen=True)
class DifferencePlot:
    """Data of a figure of differences. A label may be missing from a group, or occur with several ways of tuning."""

    reference: str  # label of a row
    axis_label: str  # "Acc E, points"
    differences: tuple[DifferencePoint, ...]
    sample: bool = False
    worse: str = "negative"  # sign of the differences of worse rows; "" if the titles of the panels state it
    same_scale: bool = True  # all data sets have one metric


def tabulate_differences(data: DifferencePlot) -> tuple[dict[str, FigureValue], ...]:
    """Return a row for each difference, in order, with its pairs as `pair 1`, `pair 2`, ..."""
    most = max((len(item.pairs) for item in data.differences), default=0)
    return tuple(
        {
            **{"group": item.group, "label": item.label, "kind": item.tuning, "mean": item.mean, "low": item.low},
            **{"high": item.high, **number_values("pair", item.pairs, most)},
        }
        for item in data.differences
    )


@style.report_style()
def draw_differences(data: DifferencePlot) -> Figure:
    """Draw each difference to the zero line with its interval and its pairs; ways of tuning are below each other.

    Left of the line an arm is worse, unless a lower score is better. Raises ValueError: no differences, or a label
    occurs twice in a group and kind.
    """
    check_unique_places([(item.group, item.label, item.tuning) for item in data.differences])
    labels = list(dict.fromkeys(item.label for item in data.differences))
    groups = list(dict.fromkeys(item.group for item in data.differences))
    kinds = [kind for kind in TUNING_STYLES if any(item.tuning == kind for item in data.differences)]
    figure, panels = make_forest_panels(labels, groups, 0.06 + 0.15 * len(kinds), data.same_scale, len(kinds) > 1)
    for axes, group in zip(panels, groups, strict=True):
        axes.axvline(0, color=style.BLACK, linewidth=0.7, zorder=1, gid="zero")
        shown = [item for item in data.differences if item.group == group]
        for item in shown:
            of_label = [
                kind
                for kind in kinds
                if any((point.label, point.tuning) == (item.label, kind) for point in data.differences)
            ]
            place = labels.index(item.label) + (of_label.index(item.tuning) - (len(of_label) - 1) / 2) * 0.8 / len(
                kinds
            )
            colour, marker = TUNING_STYLES[item.tuning]
            look = {"color": colour, "marker": marker}
            dots = {**look, "alpha": 0.45, "gid": "pairs"}
            draw_interval(axes, place - 0.08, item, item.pairs, 0.3 / len(kinds), dots, look)
        mark_missing(axes, labels, shown)
        scaled = data.differences if data.same_scale else shown
        values = [value for item in scaled for value in (item.mean, item.low, item.high, *item.pairs)]
        set_forest_scale(axes, [0.0, *values])
    axis = f"difference to {data.reference}, {data.axis_label}{f' ({data.worse}: worse)' if data.worse else ''}"
    named = kinds if kinds != ["none"] else []
    looks = [TUNING_STYLES[kind] for kind in named]
    handles = [Line2D([], [], color=colour, marker=marker, markersize=4.2, linewidth=1.3) for colour, marker in looks]
    return add_decor(figure, axis, [TUNING_LABELS[kind] for kind in named], handles, data.sample)
