"""Panels side by side whose lines are names: a group a panel, a label a line."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from reports.plots import style

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

ABREAST = 5  # panels side by side, at most
NOTHING = "n/a"  # stands where a group lacks a label


def panels(
    labels: Sequence[str], groups: Sequence[str], line: float, same: bool, parted: bool = False
) -> tuple[Figure, list[Axes]]:
    """A figure with one axes a group, in the order given; label i lies at y = i, the first on top.

    `line` is the least height of a line in inches; `same`: all panels share one scale; `parted`: the faint rules lie
    between the lines, not on them.
    """
    stacked = -(-len(groups) // ABREAST)
    abreast = -(-len(groups) // stacked)
    width = style.COLUMN if len(groups) == 1 else style.PAGE
    names = [style.wrap(label, 20 if len(groups) == 1 else 26) for label in labels]
    room = (width - 1.4) / abreast
    titles = [style.wrap(group, int(0.85 * style.LETTERS * room)) if group else "" for group in groups]
    tall = max(line, style.LINE * max(name.count("\n") + 1 for name in names) + 0.05)
    above = style.LINE * 1.2 * max(title.count("\n") + 1 if title else 0 for title in titles)
    figure = style.new(width, stacked * (tall * len(labels) + above + 0.36))
    grid = figure.subplots(stacked, abreast, sharey=True, sharex=same, squeeze=False)
    for axes, title in zip(grid.flat, titles, strict=False):
        axes.set_title(title)
        axes.set_ylim(len(labels) - 0.5, -0.5)
        axes.set_yticks(range(len(labels)), names)
        axes.tick_params(axis="y", length=0)
        axes.tick_params(axis="x", labelbottom=True)
        axes.spines["left"].set_visible(False)
        for place in range(len(labels)):
            axes.axhline(place - 0.5 if parted else place, color=style.FAINT, linewidth=0.5, zorder=0)
    for axes in list(grid.flat)[len(groups) :]:
        axes.remove()
    return figure, list(grid.flat)[: len(groups)]


def scale(axes: Axes, values: Sequence[float], zero: bool = False) -> None:
    """A scale that shows all values, with few ticks; `zero`: and 0."""
    from matplotlib.ticker import MaxNLocator

    least, most = min(values), max(values)
    if zero:
        least, most = min(least, 0.0), max(most, 0.0)
    edge = 0.08 * (most - least) or max(0.05 * abs(most), 0.5)
    axes.set_xlim(least - edge, most + edge)
    axes.xaxis.set_major_locator(MaxNLocator(nbins=4, min_n_ticks=2))


def nothing(axes: Axes, place: int) -> None:
    """Say that a group lacks a label."""
    axes.text(
        0.5,
        place,
        NOTHING,
        transform=axes.get_yaxis_transform(),
        ha="center",
        va="center",
        color=style.GREY,
        bbox={"pad": 1.0, "facecolor": "white", "edgecolor": "none"},
    )


def once(pairs: Sequence[tuple[str, ...]]) -> None:
    """Raises ValueError where there is nothing to draw, or one place is taken twice."""
    if not pairs:
        raise ValueError("nothing to draw")
    for pair in pairs:
        if pairs.count(pair) > 1:
            raise ValueError(f"{' / '.join(pair)} is there twice")
