"""Learning curves over epochs, and search curves over trials and hours."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator

from reports.figures import style
from reports.figures.style import add_decor
from reports.types import FigureValue

MAX_PANELS_PER_ROW = 3
MARKERS_PER_CURVE = 6  # approximately

FAILED_STRIP = 0.16  # share of the panel's height for the crosses; each search has its own height


@dataclass(frozen=True)
class LearningCurve:
    """A method's curve over its runs."""

    label: str
    epochs: tuple[int, ...]
    mean: tuple[float, ...]  # one for each epoch
    low: tuple[float, ...]  # minimum over runs
    high: tuple[float, ...]  # maximum over runs
    runs: int


@dataclass(frozen=True)
class LearningPanel:
    """The curves of a data set."""

    title: str
    curves: tuple[LearningCurve, ...]


@dataclass(frozen=True)
class LearningPlot:
    """Data of a figure of learning curves. A label has one style in all panels."""

    axis_label: str  # "val Acc E, percent"
    panels: tuple[LearningPanel, ...]
    sample: bool = False


def tabulate_learning(data: LearningPlot) -> tuple[dict[str, FigureValue], ...]:
    """Return a row for each epoch of each curve."""
    return tuple(
        {
            **{"panel": panel.title, "label": curve.label, "runs": curve.runs, "epoch": epoch},
            **{"mean": mean, "low": low, "high": high},
        }
        for panel in data.panels
        for curve in panel.curves
        for epoch, mean, low, high in zip(curve.epochs, curve.mean, curve.low, curve.high, strict=True)
    )


@style.report_style()
def draw_learning(data: LearningPlot) -> Figure:
    """Draw each mean as a line and the range of its runs as a faint band.

    More labels than colours are spread over several panels of one scale. Raises ValueError: no panels, or a panel
    without curves, or a curve without epochs.
    """
    if not data.panels or not all(
        panel.curves and all(curve.epochs for curve in panel.curves) for panel in data.panels
    ):
        raise ValueError("nothing to draw")
    labels = list(dict.fromkeys(curve.label for panel in data.panels for curve in panel.curves))
    titles = [panel.title for panel in data.panels]
    figure, panels = style.make_line_panels(titles, labels, MAX_PANELS_PER_ROW, MAX_PANELS_PER_ROW, data.axis_label)
    for axes, place, part in panels:
        _draw_learning_panel(axes, data.panels[place], labels, part)
    above = style.LINE_HEIGHT * 1.2 * max(axes.get_title(loc="left").count("\n") + 1 for axes, _, _ in panels)
    rows = panels[0][0].get_subplotspec().get_gridspec().nrows
    figure.set_figheight(rows * ((1.65 if len(panels[0][2]) == len(labels) else 1.35) + above))
    return add_decor(figure, "epoch", labels, sample=data.sample)


def _draw_learning_panel(axes: Axes, panel: LearningPanel, labels: Sequence[str], part: Sequence[str]) -> None:
    """Draw the curves of some of the labels on the scale of all; the `gid` of a line or band is its label."""
    edged: dict[str, Any] = {"markersize": 3.8, "markeredgewidth": 0.4, "markeredgecolor": "white", "zorder": 3}
    for curve in [curve for curve in panel.curves if curve.label in part]:
        place = labels.index(curve.label)
        look, every = style.get_line_style(place), max(1, len(curve.epochs) // MARKERS_PER_CURVE)
        axes.plot(curve.epochs, curve.mean, markevery=(place % every, every), gid=curve.label, **edged, **look)
        if curve.low != curve.high:
            band: dict[str, Any] = {"color": look["color"], "alpha": 0.13, "linewidth": 0, "zorder": 2}
            axes.fill_between(curve.epochs, curve.low, curve.high, gid=curve.label, **band)
    axes.set_ylim(*style.make_limits([value for curve in panel.curves for value in (*curve.low, *curve.high)], 0.05))
    axes.xaxis.set_major_locator(MaxNLocator(nbins=5, integer=True, min_n_ticks=1))
    axes.yaxis.set_major_locator(MaxNLocator(nbins=5))
    axes.grid(axis="y", color=style.LIGHT_GREY, linewidth=0.5)


@dataclass(frozen=True)
class SearchCurve:
    """A search, with its trials in the order in which they ended."""

    label: str
    hours: tuple[float, ...]  # of training and scoring, of all trials up to each
    trial_values: tuple[float | None, ...]  # None: the trial failed or was pruned
    lower: bool = False  # a lower value is better

    @property
    def best(self) -> list[float]:
        """Return the best value so far at each trial; NaN until a trial has a value."""
        keep_best = np.fmin if self.lower else np.fmax
        return list(keep_best.accumulate(np.array(self.trial_values, dtype=float)).tolist())  # None as NaN


@dataclass(frozen=True)
class SearchPlot:
    """Data of a figure of searches."""

    axis_label: str  # "val Acc E, percent"
    searches: tuple[SearchCurve, ...]
    sample: bool = False


def tabulate_searches(data: SearchPlot) -> tuple[dict[str, FigureValue], ...]:
    """Return a row for each trial of each search; `best` is None until a trial has a value."""
    found: list[dict[str, FigureValue]] = []
    for search in data.searches:
        for trial, row in enumerate(zip(search.hours, search.trial_values, search.best, strict=True), start=1):
            hours, value, best = row
            known = None if math.isnan(best) else best
            found.append({"label": search.label, "trial": trial, "hours": hours, "value": value, "best": known})
    return tuple(found)


@style.report_style()
def draw_searches(data: SearchPlot) -> Figure:
    """Draw the best value so far as steps, trials as faint dots, and trials without a value as crosses at the bottom.

    More searches than colours are spread over several rows of panels of one scale. Raises ValueError: no searches, or
    a search without trials.
    """
    if not data.searches or not all(search.hours for search in data.searches):
        raise ValueError("nothing to draw")
    labels = [search.label for search in data.searches]
    parts = style.split_evenly(range(len(labels)), len(style.COLOURS))
    figure = style.make_figure(style.PAGE_WIDTH, 2.1 * len(parts))
    table = figure.subplots(len(parts), 2, sharex="col", sharey=True, squeeze=False)
    for (trials, hours), part in zip(table, parts, strict=True):
        for place in part:
            floor, search = 0.025 + (FAILED_STRIP - 0.03) * (place - part[0]) / len(parts[0]), data.searches[place]
            _draw_search(trials, search, range(1, len(search.hours) + 1), place, floor)
            _draw_search(hours, search, search.hours, place, floor)
        trials.set_ylabel(style.wrap_text(data.axis_label, int(style.CHARS_PER_INCH * 1.5)))
    table[-1, 0].set_xlabel("trials")
    table[-1, 1].set_xlabel("hours")
    _set_search_limits(data, table[0, 0], table[0, 1])
    for axes in table.flat:
        axes.grid(axis="y", color=style.LIGHT_GREY, linewidth=0.5)
    handles = [style.make_legend_handle(place) for place in range(len(labels))]
    dots: dict[str, Any] = {"linestyle": "none", "color": style.GREY}
    handles.append(Line2D([], [], marker="o", markersize=2.5, markeredgewidth=0, alpha=0.5, **dots))
    if _has_failed_trials(data):
        handles.append(Line2D([], [], marker="x", markersize=3, **dots))
    names = [*labels, "a trial", "failed or pruned"][: len(handles)]
    return add_decor(figure, "", names, handles, data.sample)


def _has_failed_trials(data: SearchPlot) -> bool:
    """Return whether any trial has no value."""
    return any(value is None for search in data.searches for value in search.trial_values)


def _draw_search(axes: Axes, search: SearchCurve, places: Sequence[float], index: int, floor: float) -> None:
    """Draw a search in a panel; the `gid` of an artist is "best", "values" or "none"."""
    look: dict[str, Any] = style.get_line_style(index) | {"markersize": 3.2, "markevery": max(1, len(places) // 5)}
    axes.plot(places, search.best, drawstyle="steps-post", zorder=3, gid="best", **look)
    scored = [(place, value) for place, value in zip(places, search.trial_values, strict=True) if value is not None]
    failed = [place for place, value in zip(places, search.trial_values, strict=True) if value is None]
    dots: dict[str, Any] = {"linestyle": "none", "color": look["color"], "zorder": 2}
    if scored:
        x, y = zip(*scored, strict=True)
        axes.plot(x, y, marker=look["marker"], markersize=2.4, markeredgewidth=0, alpha=0.45, gid="values", **dots)
    if failed:
        dots |= {"marker": "x", "markersize": 3, "markeredgewidth": 0.7, "alpha": 0.8}
        axes.plot(failed, [floor] * len(failed), transform=axes.get_xaxis_transform(), gid="none", **dots)


def _set_search_limits(data: SearchPlot, trials: Axes, hours: Axes) -> None:
    """Set limits that leave space for the crosses below the values, and begin at 0 trials and 0 hours."""
    values = [value for search in data.searches for value in search.trial_values if value is not None]
    values += [best for search in data.searches for best in search.best if not math.isnan(best)]
    if values:
        values += [values[0] - 1, values[0] + 1] if len(set(values)) == 1 else []
        span = max(values) - min(values)
        below = (FAILED_STRIP if _has_failed_trials(data) else 0.0) + 0.05
        trials.set_ylim(min(values) - below / (1 - below) * span, max(values) + 0.06 * span)
        ticks = MaxNLocator(nbins=5).tick_values(min(values), max(values) + 0.06 * span)
        trials.set_yticks([tick for tick in ticks if min(values) - 0.05 * span <= tick <= max(values) + 0.06 * span])
    most = max(hour for search in data.searches for hour in search.hours)
    trials.set_xlim(0, 1.03 * max(len(search.hours) for search in data.searches) + 0.2)
    hours.set_xlim(0, 1.03 * most if most > 0 else 1.0)
    trials.xaxis.set_major_locator(MaxNLocator(nbins=6, integer=True))
