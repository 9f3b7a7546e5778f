"""Figures of classes: confusion matrices, radar charts (as Fig. 5 of Zhang, Zhao, Park and Yang, CVPR 2024),
reliability diagrams."""

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
from bench.types import DatasetInfo
from reports.figures import style
from reports.figures.style import add_decor
from reports.types import FigureValue

COLOUR_MAP = "cividis"  # rises evenly in grey
FEW_CLASSES = 5  # classes, at most, of panels that stand three abreast though their classes differ
CLASS_NAME_CHARS = 12  # letters of a class on one line
MAX_CELL_WIDTH = 0.55  # inches that a cell is wide, at most
MIN_FIGURE_WIDTH = 2.7  # inches: the words BUILT-IN SAMPLE want them

CONFUSION_FILE = "confusion.png"

RADAR_PANELS_PER_ROW = 2  # panels side by side, at most; of more than six panels one more
MIN_RADAR_CLASSES = 3  # classes that make a polygon

RELIABILITY_PANELS_PER_ROW = 3  # panels side by side, at most; of more than six panels one more
AXIS_MARGIN = 3  # percent beside 0 and 100


@dataclass(frozen=True)
class ConfusionMatrix:
    """A matrix."""

    title: str  # label of a line
    classes: tuple[str, ...]
    counts: tuple[tuple[int, ...], ...]  # C x C clips, summed over runs; row = true class, column = predicted class
    runs: int


@dataclass(frozen=True)
class ConfusionPlot:
    """What is drawn."""

    panels: tuple[ConfusionMatrix, ...]
    sample: bool = False


def compute_row_percents(panel: ConfusionMatrix) -> np.ndarray:
    """(C, C) percents of each true class; NaN in the lines of classes without a clip."""
    counts = np.asarray(panel.counts, dtype=float)
    of = counts.sum(axis=1, keepdims=True)
    found: np.ndarray = np.where(of > 0, 100 * counts / np.maximum(of, 1), np.nan)
    return found


def tabulate_confusion(data: ConfusionPlot) -> tuple[dict[str, FigureValue], ...]:
    """One for each cell, panel by panel, line by line."""
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
    """A map for each panel with the percents in its cells; a class without clips has a dash in each of its cells.
    Raises ValueError without panels, or where a matrix does not fit its classes."""
    if not data.panels:
        raise ValueError("nothing to draw")
    for panel in data.panels:
        if not panel.classes or np.shape(panel.counts) != (len(panel.classes), len(panel.classes)):
            raise ValueError(f"{panel.title}: {np.shape(panel.counts)} counts for {len(panel.classes)} classes")
    shared = len({panel.classes for panel in data.panels}) == 1
    most = max(len(panel.classes) for panel in data.panels)
    abreast = min(len(data.panels), 3 if shared or most <= FEW_CLASSES else 2)
    stacked = -(-len(data.panels) // abreast)
    abreast = -(-len(data.panels) // stacked)
    wrapped = [style.wrap_text(name, CLASS_NAME_CHARS) for panel in data.panels for name in panel.classes]
    names = max(style.measure_text_width(line) for name in wrapped for line in name.split("\n"))
    besides = 0.3 + names / style.CHARS_PER_INCH * (1 if shared else abreast)
    page = style.COLUMN_WIDTH if abreast == 1 else style.PAGE_WIDTH
    width = max(min(page, besides + abreast * (most * MAX_CELL_WIDTH + 0.1)), MIN_FIGURE_WIDTH)
    titles = [_make_matrix_title(panel, (width - besides) / abreast) for panel in data.panels]
    figure = style.make_figure(width, stacked * (width / abreast + 0.5))
    table = style.add_panels(figure, stacked, abreast, len(titles))
    for place, (axes, panel, title) in enumerate(zip(table, data.panels, titles, strict=True)):
        last = place + abreast >= len(data.panels)
        _draw_matrix(axes, panel, not shared or last, not shared or place % abreast == 0)
        axes.set_title(title, fontsize=style.LABEL_SIZE)
        if place % abreast == 0:
            axes.set_ylabel("true class")
    axis = "predicted class (percent of each row)"
    return add_decor(figure, axis, sample=data.sample, square_panels=True)


def _make_matrix_title(panel: ConfusionMatrix, room: float) -> str:
    runs = f"{panel.runs}\N{NO-BREAK SPACE}{'run' if panel.runs == 1 else 'runs'}"  # may not be broken
    return style.wrap_text(f"{panel.title} ({runs})", 0.9 * style.CHARS_PER_INCH * room)


def _draw_matrix(axes: Axes, panel: ConfusionMatrix, below: bool, left: bool) -> None:
    """One matrix; names of classes stand `below` and `left` where asked for."""
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
        words = axes.text(column + 0.5, row + 0.5, text, ha="center", va="center_baseline", color=shade)
        words.set_in_layout(False)


def _choose_text_colour(colour: Any) -> str:
    """Black or white, whichever has more contrast on the colour (relative luminance of WCAG 2.1, 2018)."""
    linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in colour[:3]]
    luminance = 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]
    return "white" if luminance < 0.179 else "black"


def count_confusions(predictions: Predictions, classes: int) -> np.ndarray:
    """(C, C) counts; row = true class, column = predicted class."""
    return np.asarray(confusion_matrix(predictions.targets, predictions.predicted, labels=range(classes)))


def save_confusion_figure(folder: Path, info: DatasetInfo, predictions: Predictions, sample: bool) -> str:
    """Write the confusion matrix of the test split as a picture into a run's folder; the picture's name."""
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
    axes.set_title(f"{name}, test: {counts.trace()} of {counts.sum()} clips right", fontsize=10)
    for row, column in np.ndindex(counts.shape):
        dark = share[row, column] < 0.5
        axes.text(column, row, str(counts[row, column]), ha="center", va="center", color="white" if dark else "black")
    with atomic_path(folder / CONFUSION_FILE) as temporary:
        figure.savefig(temporary, format="png", dpi=130)
    return CONFUSION_FILE


@dataclass(frozen=True)
class RadarPolygon:
    """A method's polygon."""

    label: str
    values: tuple[float | None, ...]  # percent, one for each class; None leaves a gap


@dataclass(frozen=True)
class RadarPanel:
    """The polygons of a data set."""

    title: str
    classes: tuple[str, ...]
    polygons: tuple[RadarPolygon, ...]


@dataclass(frozen=True)
class RadarPlot:
    """What is drawn. A label looks the same in every panel."""

    panels: tuple[RadarPanel, ...]
    sample: bool = False


def tabulate_radar(data: RadarPlot) -> tuple[dict[str, FigureValue], ...]:
    """One for each class of each ring."""
    return tuple(
        {"panel": panel.title, "label": ring.label, "class": name, "percent": value}
        for panel in data.panels
        for ring in panel.polygons
        for name, value in zip(panel.classes, ring.values, strict=True)
    )


@style.report_style()
def draw_radar(data: RadarPlot) -> Figure:
    """Polygons from 0 in the centre to 100 percent, the first class on top and the others clockwise. Raises ValueError
    without panels, with fewer than three classes, or where values and classes differ in number."""
    if not data.panels:
        raise ValueError("nothing to draw")
    for panel in data.panels:
        if len(panel.classes) < MIN_RADAR_CLASSES or not panel.polygons:
            raise ValueError(f"{panel.title}: a radar wants {MIN_RADAR_CLASSES} classes or more, and a ring")
        for ring in panel.polygons:
            if len(ring.values) != len(panel.classes):
                raise ValueError(f"{panel.title}: {ring.label} has {len(ring.values)} values")
    labels = list(dict.fromkeys(ring.label for panel in data.panels for ring in panel.polygons))
    titles, abreast = [panel.title for panel in data.panels], RADAR_PANELS_PER_ROW
    look, polar = {"loc": "center", "pad": 8}, {"projection": "polar"}
    figure, panels = style.make_line_panels(titles, labels, abreast, abreast + 1, "", look, subplot_kw=polar)
    for axes, place, part in panels:
        _draw_radar_panel(axes, data.panels[place], labels, part)
    return add_decor(figure, labels=labels, sample=data.sample, square_panels=True)


def _draw_radar_panel(axes: PolarAxes, panel: RadarPanel, labels: Sequence[str], part: Sequence[str]) -> None:
    """One panel with the polygons of a part of the labels; the `gid` of a polygon is its label."""
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
    for ring in [ring for ring in panel.polygons if ring.label in part]:
        values = [math.nan if value is None else value for value in (*ring.values, ring.values[0])]
        look = style.get_line_style(labels.index(ring.label)) | {"markersize": 3.2, "clip_on": False, "zorder": 3}
        axes.plot([*turns, turns[0]], values, gid=ring.label, **look)


@dataclass(frozen=True)
class ConfidenceBin:
    """Clips that a method is about equally sure of."""

    confidence: float  # mean greatest probability, percent
    accuracy: float  # percent of them that are right
    clips: int  # over all runs


@dataclass(frozen=True)
class ReliabilityCurve:
    """A method's bins, those without a clip left out."""

    label: str
    bins: tuple[ConfidenceBin, ...]
    calibration_error: float | None = None  # expected, percent; stands in the legend of a single panel
    decimals: int = 1  # that it is printed with


@dataclass(frozen=True)
class ReliabilityPanel:
    """The curves of a data set."""

    title: str
    curves: tuple[ReliabilityCurve, ...]


@dataclass(frozen=True)
class ReliabilityPlot:
    """What is drawn. A label looks the same in every panel."""

    panels: tuple[ReliabilityPanel, ...]
    sample: bool = False


def tabulate_reliability(data: ReliabilityPlot) -> tuple[dict[str, FigureValue], ...]:
    """One for each bin of each curve."""
    return tuple(
        {
            **{"panel": panel.title, "label": curve.label, "confidence": found.confidence, "accuracy": found.accuracy},
            **{"clips": found.clips, "calibration error": curve.calibration_error},
        }
        for panel in data.panels
        for curve in panel.curves
        for found in curve.bins
    )


@style.report_style()
def draw_reliability(data: ReliabilityPlot) -> Figure:
    """Accuracy against confidence beside the diagonal; a marker's area grows with its bin's share of the clips. Raises
    ValueError without panels, or where a panel has no curve or a curve no bin."""
    if not data.panels or not all(panel.curves and all(curve.bins for curve in panel.curves) for panel in data.panels):
        raise ValueError("nothing to draw")
    labels = list(dict.fromkeys(curve.label for panel in data.panels for curve in panel.curves))
    titles, abreast = [panel.title for panel in data.panels], RELIABILITY_PANELS_PER_ROW
    figure, panels = style.make_line_panels(titles, labels, abreast, abreast + 1, "accuracy, percent")
    for axes, place, part in panels:
        _draw_reliability_panel(axes, data.panels[place], labels, part)
    words = labels if len(data.panels) > 1 else [_make_legend_label(curve) for curve in data.panels[0].curves]
    return add_decor(figure, "confidence, percent", words, sample=data.sample, square_panels=True)


def _make_legend_label(curve: ReliabilityCurve) -> str:
    error = curve.calibration_error
    return curve.label if error is None else f"{curve.label}: ECE {error:.{curve.decimals}f} %"


def _draw_reliability_panel(axes: Axes, panel: ReliabilityPanel, labels: Sequence[str], part: Sequence[str]) -> None:
    """One panel with a part of the labels; the `gid` of a line or its markers is its label."""
    axes.plot([0, 100], [0, 100], color=style.GREY, linewidth=0.7, zorder=1, gid="diagonal")
    for curve in [curve for curve in panel.curves if curve.label in part]:
        look: dict[str, Any] = style.get_line_style(labels.index(curve.label))
        marker = look.pop("marker")
        x, y = [found.confidence for found in curve.bins], [found.accuracy for found in curve.bins]
        clips = sum(found.clips for found in curve.bins)
        areas = [4 + 40 * found.clips / max(clips, 1) for found in curve.bins]
        axes.plot(x, y, zorder=2, gid=curve.label, **look)
        dots: dict[str, Any] = {"marker": marker, "color": look["color"], "linewidths": 0, "clip_on": False}
        axes.scatter(x, y, areas, zorder=3, gid=curve.label, **dots)
    ends, ticks = (-AXIS_MARGIN, 100 + AXIS_MARGIN), [0, 25, 50, 75, 100]
    axes.set(xlim=ends, ylim=ends, xticks=ticks, yticks=ticks)
    axes.grid(color=style.LIGHT_GREY, linewidth=0.5)
