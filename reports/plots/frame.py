"""What stands around the panels of a figure: the words BUILT-IN SAMPLE, the axis, the legend and a note."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from reports.plots import style

if TYPE_CHECKING:
    from matplotlib.artist import Artist
    from matplotlib.figure import Figure
    from matplotlib.legend import Legend

GAP = 0.05  # inches


@dataclass(frozen=True)
class Frame:
    """What is to stand around the panels; what is empty takes no room."""

    axis: str = ""  # below the panels, in the middle
    handles: Sequence[Artist] = ()
    labels: Sequence[str] = ()  # one for each handle
    note: str = ""
    sample: bool = False
    square: bool = False  # the panels are to be as tall as they are wide


def finish(figure: Figure, frame: Frame) -> Figure:
    """Make the figure as much taller as its frame needs, lay it out once and for all, and put the frame in."""
    width, body = figure.get_figwidth(), figure.get_figheight()
    note = style.wrap(frame.note, int(style.LETTERS * width)) if frame.note else ""
    axis = style.wrap(frame.axis, int(style.LETTERS * (width - 1))) if frame.axis else ""
    legend = _legend(figure, frame) if frame.handles else None
    top = 0.19 if frame.sample else 0.0
    note_tall = _tall(note)
    legend_tall = _inches(figure, legend)[1] + 2 * GAP if legend else 0.0
    bottom = note_tall + legend_tall + _tall(axis)
    for _ in range(3 if frame.square else 1):
        total = _lay_out(figure, top, body, bottom)
        if frame.square:
            box, grid = figure.axes[0].get_position(original=True), figure.axes[0].get_subplotspec()
            assert grid is not None
            body += (box.width * width - box.height * total) * grid.get_gridspec().nrows
    figure.set_layout_engine("none")
    boxes = [axes.get_position() for axes in figure.axes]
    middle = (min(box.x0 for box in boxes) + max(box.x1 for box in boxes)) / 2
    if note:
        figure.text(
            GAP / width, (note_tall - 0.02) / total, note, va="top", color=style.GREY, fontsize=style.SMALL, gid="note"
        )
    if legend:
        legend.set_bbox_to_anchor(
            (0, (note_tall + GAP) / total, 1, (legend_tall - 2 * GAP) / total), figure.transFigure
        )
    if axis:
        half = max(map(style.wide, axis.split("\n"))) / style.LETTERS * style.LETTER / style.SMALL / 2 / width
        middle = max(half, min(middle, 1 - half - GAP / width))
        figure.text(middle, bottom / total, axis, ha="center", va="top", fontsize=style.LETTER, gid="axis")
    if frame.sample:
        figure.text(
            GAP / width,
            1 - GAP / total,
            style.SAMPLE,
            va="top",
            fontweight="bold",
            fontsize=style.TITLE,
            gid="sample",
        )
    return figure


def _lay_out(figure: Figure, top: float, body: float, bottom: float) -> float:
    """Lay the panels out in the middle of three strips, given in inches; how tall the figure is."""
    from matplotlib.layout_engine import ConstrainedLayoutEngine

    total = top + body + bottom
    figure.set_figheight(total)
    engine = figure.get_layout_engine()
    assert isinstance(engine, ConstrainedLayoutEngine)
    engine.set(rect=(0, bottom / total, 1, body / total))
    engine.execute(figure)
    return total


def _tall(text: str) -> float:
    """Inches that wrapped text takes."""
    return (text.count("\n") + 1) * style.LINE + GAP if text else 0.0


def _inches(figure: Figure, legend: Legend) -> tuple[float, float]:
    """Width and height of a legend in inches."""
    box = legend.get_window_extent()
    return box.width / figure.dpi, box.height / figure.dpi


def _legend(figure: Figure, frame: Frame) -> Legend:
    """A legend with as many columns as the width bears. Its labels may start with `_`."""
    room = figure.get_figwidth() - 2 * GAP
    labels = [style.wrap(label, int(style.LETTERS * room) - 8) for label in frame.labels]
    for columns in range(min(len(labels), 6), 0, -1):
        legend = figure.legend(frame.handles, [str(place) for place in range(len(labels))], ncols=columns, loc="center")
        legend.set_in_layout(False)
        for text, label in zip(legend.get_texts(), labels, strict=True):
            text.set_text(label)
        if columns == 1 or _inches(figure, legend)[0] <= room:
            return legend
        legend.remove()
    raise AssertionError("a legend has one column or more")
