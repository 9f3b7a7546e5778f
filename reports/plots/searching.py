"""Searches: the best validation score so far against trials and against hours."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from reports.plots import style
from reports.plots.frame import Frame, finish

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from matplotlib.lines import Line2D

    from reports.report import Value

STRIP = 0.16  # of the panel's height: here the crosses stand, each search's at a height of its own


@dataclass(frozen=True)
class Search:
    """A search of a method, its trials in the order they ended."""

    label: str
    trials: tuple[int, ...]  # how many had ended: 1, 2, ...
    hours: tuple[float, ...]  # since the search began
    best: tuple[float, ...]  # so far; NaN until one has a value
    values: tuple[float | None, ...]  # each trial's own; None: it failed or was pruned


@dataclass(frozen=True)
class Searches:
    """What is drawn."""

    axis: str  # "val Acc E, percent"
    searches: tuple[Search, ...]
    sample: bool = False


def rows(data: Searches) -> tuple[dict[str, Value], ...]:
    """One for each trial of each search; `best` is None until a trial has a value."""
    return tuple(
        {
            "label": search.label,
            "trial": trial,
            "hours": hours,
            "value": value,
            "best": None if math.isnan(best) else best,
        }
        for search in data.searches
        for trial, hours, value, best in zip(search.trials, search.hours, search.values, search.best, strict=True)
    )


@style.styled()
def draw(data: Searches) -> Figure:
    """Steps of the best so far; each trial's own value is a faint dot, one without a value a cross at the bottom.

    More searches than there are colours are spread over several lines of panels of one scale. Raises ValueError without
    searches, or where a search has no trial.
    """
    if not data.searches or not all(search.trials for search in data.searches):
        raise ValueError("nothing to draw")
    labels = [search.label for search in data.searches]
    parts = style.chunks(range(len(labels)), len(style.COLOURS))
    figure = style.new(style.PAGE, 2.1 * len(parts))
    grid = figure.subplots(len(parts), 2, sharex="col", sharey=True, squeeze=False)
    for (trials, hours), part in zip(grid, parts, strict=True):
        for place in part:
            floor = 0.025 + (STRIP - 0.03) * (place - part[0]) / len(parts[0])
            _draw(trials, data.searches[place], data.searches[place].trials, place, floor)
            _draw(hours, data.searches[place], data.searches[place].hours, place, floor)
        trials.set_ylabel(style.wrap(data.axis, int(style.LETTERS * 1.5)))
    grid[-1, 0].set_xlabel("trials")
    grid[-1, 1].set_xlabel("hours")
    _scale(data, grid[0, 0], grid[0, 1])
    for axes in grid.flat:
        axes.grid(axis="y", color=style.FAINT, linewidth=0.5)
    handles, words = _legend(data)
    return finish(figure, Frame("", handles, words, sample=data.sample))


def _bare(data: Searches) -> bool:
    """Whether a trial has no value."""
    return any(value is None for search in data.searches for value in search.values)


def _legend(data: Searches) -> tuple[list[Line2D], list[str]]:
    """Each search's line, and what dots and crosses are."""
    from matplotlib.lines import Line2D

    handles = [style.series(place) for place in range(len(data.searches))]
    words = [search.label for search in data.searches]
    dots: dict[str, Any] = {"linestyle": "none", "color": style.GREY}
    handles.append(Line2D([], [], marker="o", markersize=2.5, markeredgewidth=0, alpha=0.5, **dots))
    words.append("a trial")
    if _bare(data):
        handles.append(Line2D([], [], marker="x", markersize=3, **dots))
        words.append("failed or pruned")
    return handles, words


def _draw(axes: Axes, search: Search, places: Sequence[float], index: int, floor: float) -> None:
    """One search in one panel; `gid` names what is what."""
    look = style.look(index)
    colour = look["color"]
    every = max(1, len(places) // 5)
    axes.plot(
        places, search.best, drawstyle="steps-post", zorder=3, markersize=3.2, markevery=every, gid="best", **look
    )
    told = [(place, value) for place, value in zip(places, search.values, strict=True) if value is not None]
    bare = [place for place, value in zip(places, search.values, strict=True) if value is None]
    dots: dict[str, Any] = {"linestyle": "none", "color": colour, "zorder": 2}
    if told:
        x, y = zip(*told, strict=True)
        axes.plot(x, y, marker=look["marker"], markersize=2.4, markeredgewidth=0, alpha=0.45, gid="values", **dots)
    if bare:
        low = [floor] * len(bare)
        crosses = axes.get_xaxis_transform()
        axes.plot(
            bare, low, marker="x", markersize=3, markeredgewidth=0.7, alpha=0.8, transform=crosses, gid="none", **dots
        )


def _scale(data: Searches, trials: Axes, hours: Axes) -> None:
    """Room for the crosses below the values, and axes that begin at no trial and no hour."""
    from matplotlib.ticker import MaxNLocator

    values = [value for search in data.searches for value in search.values if value is not None]
    values += [best for search in data.searches for best in search.best if not math.isnan(best)]
    if values:
        values += [values[0] - 1, values[0] + 1] if len(set(values)) == 1 else []
        span = max(values) - min(values)
        below = (STRIP if _bare(data) else 0.0) + 0.05
        trials.set_ylim(min(values) - below / (1 - below) * span, max(values) + 0.06 * span)
        ticks = MaxNLocator(nbins=5).tick_values(min(values), max(values) + 0.06 * span)
        trials.set_yticks([tick for tick in ticks if min(values) - 0.05 * span <= tick <= max(values) + 0.06 * span])
    most = max(hour for search in data.searches for hour in search.hours)
    trials.set_xlim(0, 1.03 * max(trial for search in data.searches for trial in search.trials) + 0.2)
    hours.set_xlim(0, 1.03 * most if most > 0 else 1.0)
    trials.xaxis.set_major_locator(MaxNLocator(nbins=6, integer=True))
