"""Learning curves: a score of the validation clips against epochs, a line for each method."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from reports.plots import style
from reports.plots.frame import Frame, finish

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from reports.report import Value

ABREAST = 3  # panels side by side, at most
MARKS = 6  # markers on a line, about


@dataclass(frozen=True)
class Line:
    """A method's curve over its runs."""

    label: str
    epochs: tuple[int, ...]
    mean: tuple[float, ...]  # one for each epoch
    low: tuple[float, ...]  # the least of the runs, or the mean
    high: tuple[float, ...]  # the most of the runs, or the mean
    runs: int


@dataclass(frozen=True)
class Panel:
    """The curves of a data set."""

    title: str
    lines: tuple[Line, ...]


@dataclass(frozen=True)
class Learning:
    """What is drawn. A label looks the same in every panel."""

    axis: str  # "val Acc E, percent"
    panels: tuple[Panel, ...]
    sample: bool = False


def rows(data: Learning) -> tuple[dict[str, Value], ...]:
    """One for each epoch of each line."""
    return tuple(
        {
            "panel": panel.title,
            "label": line.label,
            "runs": line.runs,
            "epoch": epoch,
            "mean": mean,
            "low": low,
            "high": high,
        }
        for panel in data.panels
        for line in panel.lines
        for epoch, mean, low, high in zip(line.epochs, line.mean, line.low, line.high, strict=True)
    )


@style.styled()
def draw(data: Learning) -> Figure:
    """The mean as a line, the range of the runs as a faint band, the legend below.

    More labels than there are colours are spread over several panels of one scale.

    Raises ValueError without panels, or where a panel has no line or a line no epoch.
    """
    if not data.panels or not all(panel.lines and all(line.epochs for line in panel.lines) for panel in data.panels):
        raise ValueError("nothing to draw")
    labels = style.distinct([line.label for panel in data.panels for line in panel.lines])
    parts = style.chunks(labels, len(style.COLOURS))
    panels = [(panel, part) for panel in data.panels for part in parts]
    stacked, abreast = style.abreast(len(panels), len(parts), ABREAST)
    width = style.COLUMN if abreast == 1 else style.PAGE
    titles = [style.part(panel.title, parts.index(part), len(parts)) for panel, part in panels]
    titles = [style.wrap(title, int(0.7 * style.LETTERS * width / abreast)) for title in titles]
    above = style.LINE * 1.2 * max(title.count("\n") + 1 for title in titles)
    figure = style.new(width, stacked * ((1.65 if len(parts) == 1 else 1.35) + above))
    grid = figure.subplots(stacked, abreast, squeeze=False)
    for place, (axes, (panel, part), title) in enumerate(zip(grid.flat, panels, titles, strict=False)):
        _draw(axes, panel, labels, part)
        axes.set_title(title)
        if place % abreast == 0:
            axes.set_ylabel(style.wrap(data.axis, int(style.LETTERS * 1.5)))
    for axes in list(grid.flat)[len(panels) :]:
        axes.remove()
    handles = [style.series(place) for place in range(len(labels))]
    return finish(figure, Frame("epoch", handles, labels, sample=data.sample))


def _draw(axes: Axes, panel: Panel, labels: Sequence[str], part: Sequence[str]) -> None:
    """One panel with the lines of a part of the labels, on the scale of all; `gid` names the line or band."""
    from matplotlib.ticker import MaxNLocator

    for line in [line for line in panel.lines if line.label in part]:
        place = labels.index(line.label)
        every = max(1, len(line.epochs) // MARKS)
        axes.plot(
            line.epochs,
            line.mean,
            markersize=3.8,
            markeredgewidth=0.4,
            markeredgecolor="white",
            markevery=(place % every, every),
            zorder=3,
            gid=line.label,
            **style.look(place),
        )
        if line.low != line.high:
            colour = style.look(place)["color"]
            axes.fill_between(
                line.epochs, line.low, line.high, color=colour, alpha=0.13, linewidth=0, zorder=2, gid=line.label
            )
    least, most = min(min(line.low) for line in panel.lines), max(max(line.high) for line in panel.lines)
    edge = 0.05 * (most - least) or max(0.05 * abs(most), 0.5)
    axes.set_ylim(least - edge, most + edge)
    axes.xaxis.set_major_locator(MaxNLocator(nbins=5, integer=True, min_n_ticks=1))
    axes.yaxis.set_major_locator(MaxNLocator(nbins=5))
    axes.grid(axis="y", color=style.FAINT, linewidth=0.5)
