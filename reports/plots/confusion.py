"""Confusion matrices side by side, each line in percent of its true class."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from reports.plots import style
from reports.plots.frame import Frame, finish

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from reports.report import Value

MAP = "cividis"  # rises evenly in grey
FEW = 5  # classes, at most, of panels that stand three abreast though their classes differ
NAME = 12  # letters of a class on one line
CELL = 0.55  # inches that a cell is wide, at most
LEAST = 2.7  # inches: the words BUILT-IN SAMPLE want them


@dataclass(frozen=True)
class Confusion:
    """A matrix."""

    title: str  # label of a line
    classes: tuple[str, ...]
    counts: tuple[tuple[int, ...], ...]  # C x C clips, summed over runs; row = true class, column = predicted class
    runs: int


@dataclass(frozen=True)
class Confusions:
    """What is drawn."""

    panels: tuple[Confusion, ...]
    sample: bool = False


def percents(panel: Confusion) -> np.ndarray:
    """(C, C) percents of each true class; NaN in the lines of classes without a clip."""
    counts = np.asarray(panel.counts, dtype=float)
    of = counts.sum(axis=1, keepdims=True)
    found: np.ndarray = np.where(of > 0, 100 * counts / np.maximum(of, 1), np.nan)
    return found


def rows(data: Confusions) -> tuple[dict[str, Value], ...]:
    """One for each cell, panel by panel, line by line."""
    found: list[dict[str, Value]] = []
    for panel in data.panels:
        for (true, predicted), share in np.ndenumerate(percents(panel)):
            head: dict[str, Value] = {"panel": panel.title, "runs": panel.runs, "true": panel.classes[true]}
            percent = None if np.isnan(share) else float(share)
            count = panel.counts[true][predicted]
            found.append({**head, "predicted": panel.classes[predicted], "count": count, "percent": percent})
    return tuple(found)


@style.styled()
def draw(data: Confusions) -> Figure:
    """A map for each panel with the percents in its cells; a class without clips has a dash in each of its cells.

    Raises ValueError without panels, or where a matrix does not fit its classes.
    """
    _check(data)
    shared = len({panel.classes for panel in data.panels}) == 1
    most = max(len(panel.classes) for panel in data.panels)
    abreast = min(len(data.panels), 3 if shared or most <= FEW else 2)
    stacked = -(-len(data.panels) // abreast)
    abreast = -(-len(data.panels) // stacked)
    names = max(style.wide(_short(name)) for panel in data.panels for name in panel.classes) / style.LETTERS
    besides = 0.3 + names * (1 if shared else abreast)
    width = min(style.COLUMN if abreast == 1 else style.PAGE, besides + abreast * (most * CELL + 0.1))
    width = max(width, LEAST)
    titles = [_title(panel, (width - besides) / abreast) for panel in data.panels]
    figure = style.new(width, stacked * (width / abreast + 0.5))
    grid = figure.subplots(stacked, abreast, squeeze=False)
    for place, (axes, panel, title) in enumerate(zip(grid.flat, data.panels, titles, strict=False)):
        last = place + abreast >= len(data.panels)
        _draw(axes, panel, not shared or last, not shared or place % abreast == 0)
        axes.set_title(title, fontsize=style.LETTER)
        if place % abreast == 0:
            axes.set_ylabel("true class")
    for axes in list(grid.flat)[len(data.panels) :]:
        axes.remove()
    axis = "predicted class (percent of each row)"
    return finish(figure, Frame(axis, sample=data.sample, square=True))


def _check(data: Confusions) -> None:
    if not data.panels:
        raise ValueError("nothing to draw")
    for panel in data.panels:
        if not panel.classes or np.shape(panel.counts) != (len(panel.classes), len(panel.classes)):
            raise ValueError(f"{panel.title}: {np.shape(panel.counts)} counts for {len(panel.classes)} classes")


def _short(name: str) -> str:
    """The longest line of a class's wrapped name."""
    return max(style.wrap(name, NAME).split("\n"), key=style.wide)


def _title(panel: Confusion, room: float) -> str:
    runs = f"{panel.runs}\N{NO-BREAK SPACE}{'run' if panel.runs == 1 else 'runs'}"  # may not be broken
    return style.wrap(f"{panel.title} ({runs})", 0.9 * style.LETTERS * room)


def _draw(axes: Axes, panel: Confusion, below: bool, left: bool) -> None:
    """One matrix; names of classes stand `below` and `left` where asked for."""
    import matplotlib

    shares = percents(panel)
    size = len(panel.classes)
    names = [style.wrap(name, NAME) for name in panel.classes]
    axes.pcolormesh(np.ma.masked_invalid(shares), cmap=MAP, vmin=0, vmax=100, edgecolors="white", linewidth=0.6)
    axes.invert_yaxis()
    middles = np.arange(size) + 0.5
    axes.set_xticks(middles, names if below else [""] * size, rotation=45, ha="right", rotation_mode="anchor")
    axes.set_yticks(middles, names if left else [""] * size)
    axes.tick_params(length=0, pad=2)
    for spine in axes.spines.values():
        spine.set_visible(False)
    for (row, column), share in np.ndenumerate(shares):
        text = "–" if np.isnan(share) else f"{share:.0f}"
        shade = style.GREY if np.isnan(share) else _on(matplotlib.colormaps[MAP](share / 100))
        words = axes.text(column + 0.5, row + 0.5, text, ha="center", va="center_baseline", color=shade)
        words.set_in_layout(False)


def _on(colour: Any) -> str:
    """Black or white, whichever has more contrast on the colour (relative luminance of WCAG 2.1, 2018)."""
    linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in colour[:3]]
    luminance = 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]
    return "white" if luminance < 0.179 else "black"
