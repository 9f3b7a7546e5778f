"""What verification says of the words of a few clips: kept, or dropped by which stage, along the time they are said."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from typing import TYPE_CHECKING

from bench.explained import Explained, Fate
from reports.clips.curves import GREY
from reports.clips.heading import heading, name_clip

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

NAMES = {"sentiment": "E1", "emotion": "E2", "degree": "E3"}
COLOURS = {None: "#000000", "sentiment": "#D55E00", "emotion": "#0072B2", "degree": "#A34D83"}  # Okabe and Ito, 2008
SIZE = 9  # points of a letter
WIDTH, MARGIN, LANE, BETWEEN = 10.0, 0.3, 0.24, 0.6  # inches: picture, its sides, a line of words, between clips
ABOVE, BELOW = 0.65, 0.85


def words_of(explained: Explained) -> dict[str, tuple[Fate, ...]]:
    """Clip key -> the words of the first stage that judges any, of the clips that are shown."""
    for found in explained.stages.values():
        told = {key: found[key].words for key in explained.shown if key in found and found[key].words}
        if told:
            return told
    return {}


def lanes(spans: Sequence[tuple[float, float]]) -> list[int]:
    """For each (start, end), in rising order of start, the lowest lane in which it stands free."""
    ends: list[float] = []
    found = []
    for start, end in spans:
        lane = next((number for number, taken in enumerate(ends) if taken <= start), len(ends))
        ends[lane : lane + 1] = [end]
        found.append(lane)
    return found


def words(explained: Explained) -> Figure | None:
    """One row a clip, each word right of the bar at its moment. None without words."""
    from matplotlib.figure import Figure

    told = words_of(explained)
    if not told:
        return None
    said = [word for row in told.values() for word in row]
    room = WIDTH - 2 * MARGIN
    second = (room - max(_wide(_said(word)) for word in said) - 0.2) / max(
        1.0, *(word.start for word in said)
    )  # inches
    places = {key: lanes([_span(word, second) for word in row]) for key, row in told.items()}
    heights = [LANE * (max(found) + 1) + 0.08 for found in places.values()]
    tall = ABOVE + sum(heights) + BETWEEN * (len(told) - 1) + BELOW
    figure = Figure(figsize=(WIDTH, tall))
    heading(figure, "Words kept and dropped", explained).set_y(1 - 0.1 / tall)
    top = tall - ABOVE
    for (key, row), high in zip(told.items(), heights, strict=True):
        left, bottom = MARGIN / WIDTH, (top - high) / tall
        axes = figure.add_axes(
            (left, bottom, 1 - 2 * left, high / tall), xlim=(0, room / second), ylim=(0, high / LANE)
        )
        _draw(axes, row, places[key], second)
        axes.set_title(name_clip(explained, key), fontsize=9, loc="left", parse_math=False)
        top -= high + BETWEEN
    axes.set_xlabel("seconds", fontsize=9)
    _explain(figure, 0.18 / tall, any(word.planted for word in said))
    return figure


def _span(word: Fate, second: float) -> tuple[float, float]:
    """Where a word starts and ends, in inches."""
    return word.start * second, word.start * second + _wide(_said(word)) + 0.16


@cache
def _wide(text: str) -> float:
    """Inches of a text at our size."""
    from matplotlib.textpath import TextPath

    return float(TextPath((0, 0), text, size=SIZE).get_extents().width) / 72


def _said(word: Fate) -> str:
    return f"{word.text} ×{NAMES[word.planted]}" if word.planted else word.text


def _draw(axes: Axes, row: Sequence[Fate], places: Sequence[int], second: float) -> None:
    """Words from below upwards, a bar at the moment of each; what is dropped is struck through."""
    for word, lane in zip(row, places, strict=True):
        colour, middle = COLOURS[word.dropped], lane + 0.55
        begins = word.start + 0.05 / second
        axes.plot([word.start] * 2, [lane + 0.15, lane + 0.95], color=colour, linewidth=1.6)
        axes.text(begins, middle, _said(word), va="center", fontsize=SIZE, color=colour, parse_math=False)
        if word.dropped:
            axes.plot([begins, begins + _wide(word.text) / second], [middle] * 2, color=colour, linewidth=1)
    axes.tick_params(labelsize=8)
    axes.set_yticks([])
    for side in ("top", "right", "left"):
        axes.spines[side].set_visible(False)


def _explain(figure: Figure, height: float, planted: bool) -> None:
    """The legend, a line below all."""
    texts = {"kept": None, **{f"dropped by {NAMES[stage]} {stage}": stage for stage in NAMES}}
    left = MARGIN / WIDTH
    for text, stage in texts.items():
        figure.text(left, height, text, fontsize=SIZE, color=COLOURS[stage], va="center")
        left += (_wide(text) + 0.25) / WIDTH
    if planted:
        figure.text(left, height, "×E1: planted to fail there", fontsize=SIZE, color=GREY, va="center")
