"""Reliability diagrams: how often a method is right when it is so sure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from reports.plots import style
from reports.plots.frame import Frame, finish

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from reports.report import Value

ABREAST = 3  # panels side by side, at most; of more than six one more
MOST = 8  # curves in a panel; more are spread over several
EDGE = 3  # percent beside 0 and 100


@dataclass(frozen=True)
class Bin:
    """Clips that a method is about equally sure of."""

    confidence: float  # mean greatest probability, percent
    accuracy: float  # percent of them that are right
    clips: int  # over all runs


@dataclass(frozen=True)
class Curve:
    """A method's bins, those without a clip left out."""

    label: str
    bins: tuple[Bin, ...]
    error: float | None = None  # expected calibration error, percent; stands in the legend of a single panel
    decimals: int = 1  # that it is printed with


@dataclass(frozen=True)
class Panel:
    """The curves of a data set."""

    title: str
    curves: tuple[Curve, ...]


@dataclass(frozen=True)
class Reliabilities:
    """What is drawn. A label looks the same in every panel."""

    panels: tuple[Panel, ...]
    note: str = ""
    sample: bool = False


def rows(data: Reliabilities) -> tuple[dict[str, Value], ...]:
    """One for each bin of each curve."""
    return tuple(
        {
            "panel": panel.title,
            "label": curve.label,
            "confidence": found.confidence,
            "accuracy": found.accuracy,
            "clips": found.clips,
            "calibration error": curve.error,
        }
        for panel in data.panels
        for curve in panel.curves
        for found in curve.bins
    )


@style.styled()
def draw(data: Reliabilities) -> Figure:
    """Accuracy against confidence beside the diagonal; a marker's area grows with its bin's share of the clips.

    Raises ValueError without panels, or where a panel has no curve or a curve no bin.
    """
    if not data.panels or not all(panel.curves and all(curve.bins for curve in panel.curves) for panel in data.panels):
        raise ValueError("nothing to draw")
    labels = style.distinct([curve.label for panel in data.panels for curve in panel.curves])
    parts = style.chunks(labels, MOST)
    panels = [(panel, part) for panel in data.panels for part in parts]
    stacked, abreast = style.abreast(len(panels), len(parts), ABREAST + (len(panels) > 6))
    width = style.COLUMN if abreast == 1 else style.PAGE
    figure = style.new(width, stacked * 2.6)
    grid = figure.subplots(stacked, abreast, squeeze=False)
    for place, (axes, (panel, part)) in enumerate(zip(grid.flat, panels, strict=False)):
        _draw(axes, panel, labels, part)
        title = style.part(panel.title, parts.index(part), len(parts))
        axes.set_title(style.wrap(title, int(0.7 * style.LETTERS * width / abreast)))
        if place % abreast == 0:
            axes.set_ylabel("accuracy, percent")
    for axes in list(grid.flat)[len(panels) :]:
        axes.remove()
    handles = [style.series(place) for place in range(len(labels))]
    frame = Frame("confidence, percent", handles, _words(data, labels), data.note, data.sample, square=True)
    return finish(figure, frame)


def _words(data: Reliabilities, labels: Sequence[str]) -> list[str]:
    """The words of the legend; of a single panel with the calibration errors."""
    if len(data.panels) > 1:
        return list(labels)
    curves = {curve.label: curve for curve in data.panels[0].curves}
    return [
        label if (error := curves[label].error) is None else f"{label}: ECE {error:.{curves[label].decimals}f} %"
        for label in labels
    ]


def _draw(axes: Axes, panel: Panel, labels: Sequence[str], part: Sequence[str]) -> None:
    """One panel with a part of the labels; the `gid` of a line or its markers is its label."""
    axes.plot([0, 100], [0, 100], color=style.GREY, linewidth=0.7, zorder=1, gid="diagonal")
    for curve in [curve for curve in panel.curves if curve.label in part]:
        look: dict[str, Any] = style.look(labels.index(curve.label))
        marker = look.pop("marker")
        x = [found.confidence for found in curve.bins]
        y = [found.accuracy for found in curve.bins]
        clips = sum(found.clips for found in curve.bins)
        areas = [4 + 40 * found.clips / max(clips, 1) for found in curve.bins]
        axes.plot(x, y, zorder=2, gid=curve.label, **look)
        axes.scatter(
            x, y, areas, color=look["color"], marker=marker, linewidths=0, zorder=3, clip_on=False, gid=curve.label
        )
    axes.set_xlim(-EDGE, 100 + EDGE)
    axes.set_ylim(-EDGE, 100 + EDGE)
    axes.set_xticks([0, 25, 50, 75, 100])
    axes.set_yticks([0, 25, 50, 75, 100])
    axes.grid(color=style.FAINT, linewidth=0.5)
