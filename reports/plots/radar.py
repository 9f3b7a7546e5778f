"""Accuracy of each class as polygons around a centre, as in Fig. 5 of Zhang, Zhao, Park and Yang, CVPR 2024."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from reports.plots import style
from reports.plots.frame import Frame, finish

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from matplotlib.projections.polar import PolarAxes

    from reports.report import Value

ABREAST = 2  # panels side by side, at most; of more than six one more
FEWEST = 3  # classes that make a polygon
MOST = 8  # polygons in a panel; more are spread over several


@dataclass(frozen=True)
class Ring:
    """A method's polygon."""

    label: str
    values: tuple[float | None, ...]  # percent, one for each class; None leaves a gap


@dataclass(frozen=True)
class Radar:
    """The polygons of a data set."""

    title: str
    classes: tuple[str, ...]
    rings: tuple[Ring, ...]
    note: str = ""
    sample: bool = False
    lower: float = 0.0  # percent at the centre; told where it is not 0


@dataclass(frozen=True)
class Radars:
    """What is drawn. A label looks the same in every panel."""

    panels: tuple[Radar, ...]


def rows(data: Radars) -> tuple[dict[str, Value], ...]:
    """One for each class of each ring."""
    return tuple(
        {"panel": panel.title, "label": ring.label, "class": name, "percent": value}
        for panel in data.panels
        for ring in panel.rings
        for name, value in zip(panel.classes, ring.values, strict=True)
    )


@style.styled()
def draw(data: Radars) -> Figure:
    """Polygons from `lower` in the centre to 100 percent, the first class on top and the others clockwise.

    Raises ValueError without panels, with fewer than three classes, or where a value lies below `lower`.
    """
    _check(data)
    labels = style.distinct([ring.label for panel in data.panels for ring in panel.rings])
    parts = style.chunks(labels, MOST)
    panels = [(panel, part) for panel in data.panels for part in parts]
    stacked, abreast = style.abreast(len(panels), len(parts), ABREAST + (len(panels) > 6))
    width = style.COLUMN if abreast == 1 else style.PAGE
    figure = style.new(width, stacked * 2.6)
    grid = figure.subplots(stacked, abreast, squeeze=False, subplot_kw={"projection": "polar"})
    for axes, (panel, part) in zip(grid.flat, panels, strict=False):
        _draw(axes, panel, labels, part)
        title = style.part(panel.title, parts.index(part), len(parts))
        axes.set_title(style.wrap(title, int(0.75 * style.LETTERS * width / abreast)), loc="center", pad=8)
    for axes in list(grid.flat)[len(panels) :]:
        axes.remove()
    handles = [style.series(place) for place in range(len(labels))]
    sample = any(panel.sample for panel in data.panels)
    return finish(figure, Frame("", handles, labels, _note(data), sample, square=True))


def _note(data: Radars) -> str:
    """The panels' notes, each once, and what the centre is where it is not 0."""
    notes = style.distinct([panel.note for panel in data.panels if panel.note])
    lower = sorted({panel.lower for panel in data.panels if panel.lower})
    return " ".join([*notes, *(f"The centre is {value:g} %." for value in lower)])


def _check(data: Radars) -> None:
    if not data.panels:
        raise ValueError("nothing to draw")
    for panel in data.panels:
        if len(panel.classes) < FEWEST or not panel.rings:
            raise ValueError(f"{panel.title}: a radar wants {FEWEST} classes or more, and a ring")
        for ring in panel.rings:
            if len(ring.values) != len(panel.classes):
                raise ValueError(f"{panel.title}: {ring.label} has {len(ring.values)} values")
            if any(value is not None and value < panel.lower for value in ring.values):
                raise ValueError(f"{panel.title}: {ring.label} has a value below the centre, {panel.lower:g}")


def _draw(axes: PolarAxes, panel: Radar, labels: Sequence[str], part: Sequence[str]) -> None:
    """One panel with the polygons of a part of the labels; the `gid` of a polygon is its label."""
    turns = [2 * math.pi * place / len(panel.classes) for place in range(len(panel.classes))]
    axes.set_theta_zero_location("N")
    axes.set_theta_direction(-1)
    axes.set_ylim(panel.lower, 100)
    axes.set_xticks(turns, [style.wrap(name, 13) for name in panel.classes])
    axes.tick_params(axis="x", pad=1)
    for turn, text in zip(turns, axes.get_xticklabels(), strict=True):
        across = math.sin(turn)
        text.set_horizontalalignment("center" if abs(across) < 0.1 else "left" if across > 0 else "right")
    middle = (panel.lower + 100) / 2
    ticks = [(panel.lower + middle) / 2, middle, (middle + 100) / 2, 100]
    axes.set_yticks(ticks, ["", f"{middle:g}", "", "100"], color=style.GREY)
    axes.set_rlabel_position(math.degrees(turns[1]) / 2)
    axes.grid(color=style.FAINT, linewidth=0.5)
    axes.spines["polar"].set_color(style.FAINT)
    for ring in [ring for ring in panel.rings if ring.label in part]:
        values: list[Any] = [math.nan if value is None else value for value in ring.values]
        look = style.look(labels.index(ring.label))
        axes.plot(
            [*turns, turns[0]], [*values, values[0]], markersize=3.2, clip_on=False, zorder=3, gid=ring.label, **look
        )
