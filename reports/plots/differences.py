"""Paired differences to the full method as a forest plot: a data set a panel, an arm a line."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, get_args

from bench.requests import Tuning
from reports.plots import forest, style
from reports.plots.frame import Frame, finish

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from reports.report import Value

KINDS: tuple[Tuning, ...] = get_args(Tuning)
LOOKS: dict[Tuning, tuple[str, str]] = {
    "none": (style.BLACK, "o"),
    "shared": (style.COLOURS[0], "s"),
    "per-arm": (style.COLOURS[1], "^"),
}
WORDS: dict[Tuning, str] = {"none": "untuned", "shared": "shared values", "per-arm": "per-arm values"}


@dataclass(frozen=True)
class Difference:
    """An arm minus the reference, over pairs of runs."""

    label: str  # of the arm
    group: str  # the data set
    mean: float
    low: float | None  # end of the interval; None: there is none
    high: float | None
    pairs: tuple[float, ...]  # each pair's own difference
    kind: Tuning = "none"  # where the arm has its values from


@dataclass(frozen=True)
class Differences:
    """What is drawn. A label may be missing from a group, or be there in several kinds."""

    reference: str  # label of a line
    axis: str  # "Acc E, points"
    differences: tuple[Difference, ...]
    note: str = ""
    sample: bool = False


def rows(data: Differences) -> tuple[dict[str, Value], ...]:
    """One for each difference, in the order given, its pairs as `pair 1`, `pair 2`, ..."""
    most = max((len(one.pairs) for one in data.differences), default=0)
    found: list[dict[str, Value]] = []
    for one in data.differences:
        pairs = {f"pair {place + 1}": value for place, value in enumerate((*one.pairs, *[None] * most)[:most])}
        place: dict[str, Value] = {"group": one.group, "label": one.label, "kind": one.kind, "mean": one.mean}
        found.append({**place, "low": one.low, "high": one.high, **pairs})
    return tuple(found)


@style.styled()
def draw(data: Differences) -> Figure:
    """Left of the zero line an arm is worse than the reference; kinds lie below each other, pairs are faint dots.

    Raises ValueError without differences, or where a label is in a group twice in one kind.
    """
    forest.once([(one.group, one.label, one.kind) for one in data.differences])
    labels = style.distinct([one.label for one in data.differences])
    groups = style.distinct([one.group for one in data.differences])
    kinds = [kind for kind in KINDS if any(one.kind == kind for one in data.differences)]
    figure, panels = forest.panels(labels, groups, 0.06 + 0.15 * len(kinds), True, len(kinds) > 1)
    for axes, group in zip(panels, groups, strict=True):
        axes.axvline(0, color=style.BLACK, linewidth=0.7, zorder=1, gid="zero")
        there = [one for one in data.differences if one.group == group]
        for one in there:
            mine = [kind for kind in kinds if any((o.label, o.kind) == (one.label, kind) for o in data.differences)]
            place = labels.index(one.label) + (mine.index(one.kind) - (len(mine) - 1) / 2) * 0.8 / len(kinds)
            _draw(axes, place - 0.08, 0.3 / len(kinds), one)
        for place, label in enumerate(labels):
            if label not in {one.label for one in there}:
                forest.nothing(axes, place)
    forest.scale(panels[0], [value for one in data.differences for value in _values(one)], zero=True)
    told = kinds != ["none"]
    axis = f"difference to {data.reference}, {data.axis} (negative: worse)"
    handles = [_handle(kind) for kind in kinds] if told else ()
    return finish(figure, Frame(axis, handles, [WORDS[kind] for kind in kinds], data.note, data.sample))


def _values(one: Difference) -> list[float]:
    return [value for value in (one.mean, one.low, one.high, *one.pairs) if value is not None]


def _handle(kind: Tuning) -> Any:
    from matplotlib.lines import Line2D

    colour, marker = LOOKS[kind]
    return Line2D([], [], color=colour, marker=marker, markersize=4.2, linewidth=1.3)


def _draw(axes: Axes, place: float, below: float, one: Difference) -> None:
    """One difference; `gid` names what is what."""
    colour, marker = LOOKS[one.kind]
    if one.pairs:
        dots: dict[str, Any] = {"linestyle": "none", "marker": marker, "markersize": 2.2, "markeredgewidth": 0}
        axes.plot(one.pairs, [place + below] * len(one.pairs), color=colour, alpha=0.45, zorder=2, gid="pairs", **dots)
    if one.low is not None and one.high is not None:
        axes.plot([one.low, one.high], [place, place], color=colour, linewidth=1.3, zorder=3, gid="interval")
    axes.plot([one.mean], [place], color=colour, marker=marker, markersize=4.2, zorder=4, gid="mean")
