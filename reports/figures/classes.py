"""Figures of classes: confusion matrices, radar charts (Fig. 5 of Zhang, Zhao, Park and Yang, CVPR 2024), reliability
diagrams.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.projections.polar import PolarAxes
from sklearn.metrics import confusion_matrix

from bench.files import atomic_path
from bench.metrics import Predictions
from bench.tasks import Regression
from bench.types import DatasetInfo
from reports.figures import style
from reports.figures.style import add_decor
from reports.types import FigureValue

COLOUR_MAP = "cividis"  # monotonic in grey
FEW_CLASSES = 5  # up to this number, three panels with different classes fit side by side
CLASS_NAME_CHARS = 12  # per line
MAX_CELL_WIDTH = 0.55  # inches
MIN_FIGURE_WIDTH = 2.7  # inches; the words BUILT-IN SAMPLE need them

CONFUSION_FILE, SCATTER_FILE = "confusion.png", "scatter.png"

RADAR_PANELS_PER_ROW = 2  # one more for more than six panels
MIN_RADAR_CLASSES = 3

RELIABILITY_PANELS_PER_ROW = 3  # one more for more than six panels
AXIS_MARGIN = 3  # percent below 0 and above 100


@dataclass(frozen=True)
class ConfusionMatrix:
    """Confusion matrix of a row, over its runs."""

    title: str  # label of a row
    classes: tuple[str, ...]
    counts: tuple[tuple[int, ...], ...]  # C x C clips, summed over runs; row = true class, column = predicted class
    runs: int


@dataclass(frozen=True)
class ConfusionPlot:
    """Data of a figure of confusion matrices."""

    panels: tuple[ConfusionMatrix, ...]
    sample: bool = False


def compute_row_percents(panel: ConfusionMatrix) -> np.ndarray:
    """Return (C, C) percents of each true class; NaN in the rows of classes without clips."""
    counts = np.asarray(panel.counts, dtype=float)
    totals = counts.sum(axis=1, keepdims=True)
    percents: np.ndarray = np.where(totals > 0, 100 * counts / np.maximum(totals, 1), np.nan)
    return percents


def tabulate_confusion(data: ConfusionPlot) -> tuple[dict[str, FigureValue], ...]:
    """Return a row for each cell, panel by panel."""
    found: list[dict[str, FigureValue]] = []
    for panel in data.panels:
        for (true, predicted), share in np.ndenumerate(compute_row_percents(panel)):
            head: dict[str, FigureValue] = {"panel": panel.title, "runs": panel.runs, "true": panel.classes[true]}
            percent = None if np.isnan(share) else float(share)
            count = panel.counts[true][predicted]
            found.append({**head, "predicted": panel.classes[predicted], "count": count, "percent": percent})
    return tuple(found)


@style.report_style()
def draw_confusion(data: ConfusionPlot) -> Figure:
    """Draw a heat map for each panel with percents in its cells, and dashes for classes without clips.

    Raises ValueError: no panels, or a matrix does not fit its classes.
    """
    if not data.panels:
        raise ValueError("nothing to draw")
    for panel in data.panels:
        if not panel.classes or np.shape(panel.counts) != (len(panel.classes), len(panel.classes)):
            raise ValueError(f"{panel.title}: {np.shape(panel.counts)} counts for {len(panel.classes)} classes")
    shared = len({panel.classes for panel in data.panels}) == 1
    most = max(len(panel.classes) for panel in data.panels)
    columns = min(len(data.panels), 3 if shared or most <= FEW_CLASSES else 2)
    rows = -(-len(data.panels) // columns)
    columns = -(-len(data.panels) // rows)
    wrapped = [style.wrap_text(name, CLASS_NAME_CHARS) for panel in data.panels for name in panel.classes]
    names = max(style.measure_text_width(line) for name in wrapped for line in name.split("\n"))
    margin = 0.3 + names / style.CHARS_PER_INCH * (1 if shared else columns)
    page = style.COLUMN_WIDTH if columns == 1 else style.PAGE_WIDTH
    width = max(min(page, margin + columns * (most * MAX_CELL_WIDTH + 0.1)), MIN_FIGURE_WIDTH)
    titles = [_make_matrix_title(panel, (width - margin) / columns) for panel in data.panels]
    figure = style.make_figure(width, rows * (width / columns + 0.5))
    table = style.add_panels(figure, rows, columns, len(titles))
    for place, (axes, panel, title) in enumerate(zip(table, data.panels, titles, strict=True)):
        last = place + columns >= len(data.panels)
        _draw_matrix(axes, panel, not shared or last, not shared or place % columns == 0)
        axes.set_title(title, fontsize=style.LABEL_SIZE)
        if place % columns == 0:
            axes.set_ylabel("true class")
    axis = "predicted class (percent of each row)"
    return add_decor(figure, axis, sample=data.sample, square_panels=True)


def _make_matrix_title(panel: ConfusionMatrix, room: float) -> str:
    runs = f"{panel.runs}\N{NO-BREAK SPACE}{'run' if panel.runs == 1 else 'runs'}"  # no line break
    return style.wrap_text(f"{panel.title} ({runs})", 0.9 * style.CHARS_PER_INCH * room)


def _draw_matrix(axes: Axes, panel: ConfusionMatrix, below: bool, left: bool) -> None:
    """Draw a matrix, with the names of classes `below` and `left` if requested."""
    shares, size = compute_row_percents(panel), len(panel.classes)
    names = [style.wrap_text(name, CLASS_NAME_CHARS) for name in panel.classes]
    axes.pcolormesh(np.ma.masked_invalid(shares), cmap=COLOUR_MAP, vmin=0, vmax=100, edgecolors="white", linewidth=0.6)
    axes.invert_yaxis()
    middles = np.arange(size) + 0.5
    axes.set_xticks(middles, names if below else [""] * size, rotation=45, ha="right", rotation_mode="anchor")
    axes.set_yticks(middles, names if left else [""] * size)
    axes.tick_params(length=0, pad=2)
    for spine in axes.spines.values():
        spine.set_visible(False)
    for (row, column), share in np.ndenumerate(shares):
        text = "–" if np.isnan(share) else f"{share:.0f}"
        shade = style.GREY if np.isnan(share) else _choose_text_colour(matplotlib.colormaps[COLOUR_MAP](share / 100))
        label = axes.text(column + 0.5, row + 0.5, text, ha="center", va="center_baseline", color=shade)
        label.set_in_layout(False)


def _choose_text_colour(colour: Any) -> str:
    """Return black or white, whichever has more contrast with the colour (relative luminance of WCAG 2.1, 2018)."""
    linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in colour[:3]]
    luminance = 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]
    return "white" if luminance < 0.179 else "black"


def count_confusions(predictions: Predictions, classes: int) -> np.ndarray:
    """Return (C, C) counts; row = true class, column = predicted class."""
    return np.asarray(confusion_matrix(predictions.targets, predictions.predicted, labels=range(classes)))


def save_test_figure(folder: Path, info: DatasetInfo, predictions: Predictions, sample: bool) -> str:
    """Write the confusion matrix, or predicted against true numbers, of the test split; return the file's name."""
    if isinstance(info.task, Regression):
        title = f"{info.title} (BUILT-IN SAMPLE)" if sample else info.title
        return save_scatter_figure(folder, title, info.task, predictions)
    return save_confusion_figure(folder, info, predictions, sample)


def save_confusion_figure(folder: Path, info: DatasetInfo, predictions: Predictions, sample: bool) -> str:
    """Write the confusion matrix of the test split into the folder of a run; return the name of the file."""
    counts = count_confusions(predictions, len(info.classes))
    share = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    figure = Figure(figsize=(1.6 + 0.75 * len(info.classes), 1.4 + 0.7 * len(info.classes)), layout="constrained")
    axes = figure.subplots()
    axes.imshow(share, cmap="cividis", vmin=0, vmax=1)
    axes.set_xticks(range(len(info.classes)), info.classes, rotation=45, ha="right")
    axes.set_yticks(range(len(info.classes)), info.classes)
    axes.set_xlabel("predicted")
    axes.set_ylabel("true")
    name = f"{info.title} (BUILT-IN SAMPLE)" if sample else info.title
    axes.set_title(f"{name}, test: {counts.trace()} of {counts.sum()} clips correct", fontsize=10)
    for row, column in np.ndindex(counts.shape):
        dark = share[row, column] < 0.5
        axes.text(column, row, str(counts[row, column]), ha="center", va="center", color="white" if dark else "black")
    with atomic_path(folder / CONFUSION_FILE) as temporary:
        figure.savefig(temporary, format="png", dpi=130)
    return CONFUSION_FILE


def save_scatter_figure(folder: Path, title: str, task: Regression, predictions: Predictions) -> str:
    """Write predicted against true numbers of the test split into the folder of a run; return the name of the file."""
    figure = Figure(figsize=(1.2 + 3.4 * task.outputs, 4.2), layout="constrained")
    count = len(predictions.keys)
    figure.suptitle(f"{title}, test: {count} clips", fontsize=10, parse_math=False)
    panels = figure.subplots(1, task.outputs, squeeze=False)[0]
    for place, (axes, target) in enumerate(zip(panels, task.targets, strict=True)):
        ends = (target.low, target.high)
        axes.plot(ends, ends, color=style.GREY, linewidth=0.8, zorder=1)
        guess = predictions.scores[:, place]
        axes.scatter(predictions.targets[:, place], guess, s=14, alpha=0.6, linewidths=0, color=style.COLOURS[0])
        axes.set_xlim(*style.make_limits(ends, 0.03))
        axes.set_ylim(*style.make_limits((*ends, float(guess.min()), float(guess.max())), 0.03))
        axes.set_xlabel(f"true {target.name}", parse_math=False)
        axes.set_ylabel(f"predicted {target.name}", parse_math=False)
    with atomic_path(folder / SCATTER_FILE) as temporary:
        figure.savefig(temporary, format="png", dpi=130)
    return SCATTER_FILE


@dataclass(frozen=True)
class RadarPolygon:
    """Recalls of a method."""

    label: str
    values: tuple[float | None, ...]  # percent, one for each class; None leaves a gap


@dataclass(frozen=True)
class RadarPanel:
    """Polygons of a data set."""

    title: str
    classes: tuple[str, ...]
    polygons: tuple[RadarPolygon, ...]


@dataclass(frozen=True)
class RadarPlot:
    """Data of a figure. A label has one style in all panels."""

    panels: tuple[RadarPanel, ...]
    sample: bool = False


def tabulate_radar(data: RadarPlot) -> tuple[dict[str, FigureValue], ...]:
    """Return a row for each class of each polygon."""
    return tuple(
        {"panel": panel.title, "label": polygon.label, "class": name, "percent": value}
        for panel in data.panels
        for polygon in panel.polygons
        for name, value in zip(panel.classes, polygon.values, strict=True)
    )


@style.report_style()
def draw_radar(data: RadarPlot) -> Figure:
    """Draw polygons from 0 in the centre to 100 percent, with the first class on top and the others clockwise.

    Raises ValueError: no panels, fewer than three classes, or numbers of values and classes differ.
    """
    if not data.panels:
        raise ValueError("nothing to draw")
    for panel in data.panels:
        if len(panel.classes) < MIN_RADAR_CLASSES or not panel.polygons:
            raise ValueError(f"{panel.title}: a radar chart needs {MIN_RADAR_CLASSES} classes or more, and a polygon")
        for polygon in panel.polygons:
            if len(polygon.values) != len(panel.classes):
                raise ValueError(f"{panel.title}: {polygon.label} has {len(polygon.values)} values")
    labels = list(dict.fromkeys(polygon.label for panel in data.panels for polygon in panel.polygons))
    titles, per_row = [panel.title for panel in data.panels], RADAR_PANELS_PER_ROW
    look, polar = {"loc": "center", "pad": 8}, {"projection": "polar"}
    figure, panels = style.make_line_panels(titles, labels, per_row, per_row + 1, "", look, subplot_kw=polar)
    for axes, place, part in panels:
        _draw_radar_panel(axes, data.panels[place], labels, part)
    return add_decor(figure, labels=labels, sample=data.sample, square_panels=True)


def _draw_radar_panel(axes: PolarAxes, panel: RadarPanel, labels: Sequence[str], part: Sequence[str]) -> None:
    """Draw the polygons of some of the labels in a panel; the `gid` of a polygon is its label."""
    turns = [2 * math.pi * place / len(panel.classes) for place in range(len(panel.classes))]
    axes.set_theta_zero_location("N")
    axes.set_theta_direction(-1)
    axes.set_ylim(0, 100)
    axes.set_xticks(turns, [style.wrap_text(name, 13) for name in panel.classes])
    axes.tick_params(axis="x", pad=1)
    for turn, text in zip(turns, axes.get_xticklabels(), strict=True):
        across = math.sin(turn)
        text.set_horizontalalignment("center" if abs(across) < 0.1 else "left" if across > 0 else "right")
    axes.set_yticks([25, 50, 75, 100], ["", "50", "", "100"], color=style.GREY)
    axes.set_rlabel_position(math.degrees(turns[1]) / 2)
    axes.grid(color=style.LIGHT_GREY, linewidth=0.5)
    axes.spines["polar"].set_color(style.LIGHT_GREY)
    for polygon in [polygon for polygon in panel.polygons if polygon.label in part]:
        values = [math.nan if value is None else value for value in (*polygon.values, polygon.values[0])]
        look = style.get_line_style(labels.index(polygon.label)) | {"markersize": 3.2, "clip_on": False, "zorder": 3}
        axes.plot([*turns, turns[0]], values, gid=polygon.label, **look)


@dataclass(frozen=True)
class ConfidenceBin:
    """Clips of similar confidence."""

    confidence: float  # mean of the highest probability, percent
    accuracy: float  # percent of correct clips
    clips: int  # over all runs


@dataclass(frozen=True)
class ReliabilityCurve:
    """Bins of a method; bins without clips are left out."""

    label: str
    bins: tuple[ConfidenceBin, ...]
    calibration_error: float | None = None  # expected, percent; printed in the legend of a single panel
    decimals: int = 1  # of the printed error


@dataclass(frozen=True)
class ReliabilityPanel:
    """Curves of a data set; `limits` are the ends of both axes."""

    title: str
    curves: tuple[ReliabilityCurve, ...]
    limits: tuple[float, float] = (0.0, 100.0)


@dataclass(frozen=True)
class ReliabilityPlot:
    """Data of a figure: accuracy against confidence, or other numbers in one unit. A label has one style everywhere."""

    panels: tuple[ReliabilityPanel, ...]
    sample: bool = False
    x_label: str = "confidence, percent"
    y_label: str = "accuracy, percent"


def tabulate_reliability(data: ReliabilityPlot) -> tuple[dict[str, FigureValue], ...]:
    """Return a row for each bin of each curve."""
    x, y = (label.partition(",")[0] for label in (data.x_label, data.y_label))
    return tuple(
        {
            **{"panel": panel.title, "label": curve.label, x: found.confidence, y: found.accuracy},
            **{"clips": found.clips, "calibration error": curve.calibration_error},
        }
        for panel in data.panels
        for curve in panel.curves
        for found in curve.bins
    )


@style.report_style()
def draw_reliability(data: ReliabilityPlot) -> Figure:
    """Draw accuracy against confidence, with the diagonal; the area of a marker grows with its bin's share of clips.

    Raises ValueError: no panels, a panel without curves, or a curve without bins.
    """
    if not data.panels or not all(panel.curves and all(curve.bins for curve in panel.curves) for panel in data.panels):
        raise ValueError("nothing to draw")
    labels = list(dict.fromkeys(curve.label for panel in data.panels for curve in panel.curves))
    titles, per_row = [panel.title for panel in data.panels], RELIABILITY_PANELS_PER_ROW
    figure, panels = style.make_line_panels(titles, labels, per_row, per_row + 1, data.y_label)
    for axes, place, part in panels:
        _draw_reliability_panel(axes, data.panels[place], labels, part)
    names = labels if len(data.panels) > 1 else [_make_legend_label(curve) for curve in data.panels[0].curves]
    return add_decor(figure, data.x_label, names, sample=data.sample, square_panels=True)


def _make_legend_label(curve: ReliabilityCurve) -> str:
    error = curve.calibration_error
    return curve.label if error is None else f"{curve.label}: ECE {error:.{curve.decimals}f} %"


def _draw_reliability_panel(axes: Axes, panel: ReliabilityPanel, labels: Sequence[str], part: Sequence[str]) -> None:
    """Draw the curves of some of the labels in a panel; the `gid` of a line and its markers is its label."""
    low, high = panel.limits
    axes.plot([low, high], [low, high], color=style.GREY, linewidth=0.7, zorder=1, gid="diagonal")
    for curve in [curve for curve in panel.curves if curve.label in part]:
        look: dict[str, Any] = style.get_line_style(labels.index(curve.label))
        marker = look.pop("marker")
        x, y = [found.confidence for found in curve.bins], [found.accuracy for found in curve.bins]
        clips = sum(found.clips for found in curve.bins)
        areas = [4 + 40 * found.clips / max(clips, 1) for found in curve.bins]
        axes.plot(x, y, zorder=2, gid=curve.label, **look)
        dots: dict[str, Any] = {"marker": marker, "color": look["color"], "linewidths": 0, "clip_on": False}
        axes.scatter(x, y, areas, zorder=3, gid=curve.label, **dots)
    margin, shown = AXIS_MARGIN / 100 * (high - low), [found.accuracy for curve in panel.curves for found in curve.bins]
    ends = (min(low, *shown) - margin, max(high, *shown) + margin)  # a number may be predicted beyond its range
    ticks = [low + (high - low) * part / 4 for part in range(5)]
    axes.set(xlim=ends, ylim=ends, xticks=ticks, yticks=ticks)
    axes.grid(color=style.LIGHT_GREY, linewidth=0.5)
