"""Temporal emotion curves: how much of each emotion a clip carries when, as a picture.

Key: S segments, C classes, H W pixels. Numbers and small pictures go in, a PNG comes out.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from bench.files import whole
from bench.plotting import GREY

if TYPE_CHECKING:
    from matplotlib.axes import Axes

COLOURS = (
    "#D55E00",
    "#009E73",
    "#56B4E9",
    "#E69F00",
    "#0072B2",
    "#CC79A7",
    "#000000",
    "#888888",
)  # Okabe and Ito, 2008
DASHES = ("-", "--", ":")  # told apart where there are more classes than colours
STILLS = 16  # at most so many in a row


@dataclass(frozen=True)
class Page:
    """What is drawn of one clip. `curve` and `segments` are None where a method tells nothing of segments."""

    title: str
    note: str  # small, below: where the numbers come from
    classes: tuple[str, ...]
    probabilities: np.ndarray  # (C,)
    seconds: float  # of the clip; slots beyond it are looped copies
    slots: Sequence[tuple[float, float]]  # S x (start, end) in s
    curve: np.ndarray | None = None  # (S, C) temporal emotion scores
    segments: np.ndarray | None = None  # (S, C) probabilities
    stills: Sequence[np.ndarray] = field(default_factory=list)  # S x (H, W, 3) uint8, or none


def look(label: int) -> dict[str, Any]:
    """Colour and line of a class, the same in every picture of a data set."""
    return {"color": COLOURS[label % len(COLOURS)], "linestyle": DASHES[label // len(COLOURS) % len(DASHES)]}


def draw_curves(
    axes: Axes, times: Sequence[float], curve: np.ndarray, classes: Sequence[str], strong: int | None = None
) -> None:
    """A line for each class through (S, C) scores at S moments in seconds; the class `strong` stands out."""
    for label, name in enumerate(classes):
        stands_out = label == strong
        axes.plot(
            times,
            curve[:, label],
            label=name,
            marker="o",
            markersize=5 if stands_out else 3,
            linewidth=2.6 if stands_out else 1.3,
            alpha=1.0 if stands_out or strong is None else 0.75,
            zorder=3 if stands_out else 2,
            **look(label),
        )
    axes.axhline(0, color=GREY, linewidth=0.6, zorder=1)
    axes.set_xlabel("seconds", fontsize=8)
    axes.tick_params(labelsize=8)
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)


def draw_page(path: Path, page: Page) -> None:
    """A clip on one page: its stills, its curve and its segments' probabilities over time, and its scores beside."""
    from matplotlib.figure import Figure

    heights = {}
    if len(page.stills):
        heights["stills"] = 1.0
    if page.curve is not None:
        heights["curve"] = 2.8
    if page.segments is not None:
        heights["segments"] = 0.5 + 0.24 * len(page.classes)
    tall = max(2.0, sum(heights.values()))
    figure = Figure(figsize=(10, tall + 1.0), layout="constrained")
    figure.suptitle(page.title, fontsize=12, x=0.01, ha="left", parse_math=False)
    figure.supxlabel(page.note, fontsize=7, color=GREY, x=0.01, ha="left", parse_math=False)
    grid = figure.add_gridspec(
        max(1, len(heights)), 2, width_ratios=(4, 1), height_ratios=list(heights.values()) or [1]
    )
    draw = {"stills": _draw_stills, "curve": _draw_curve, "segments": _draw_segments}
    for row, name in enumerate(heights):
        axes = figure.add_subplot(grid[row, 0])
        draw[name](axes, page)
        axes.set_xlim(0, page.slots[-1][1])
    beside = figure.add_subplot(grid[len(heights) > 1 and "stills" in heights :, 1] if heights else grid[0, :])
    _draw_scores(beside, page)
    with whole(path) as temporary:
        figure.savefig(temporary, format="png", dpi=130)


def _draw_stills(axes: Axes, page: Page) -> None:
    """Up to 16 stills, each over the middle of its slot."""
    end, every = page.slots[-1][1], -(-len(page.stills) // STILLS)
    wide = page.slots[0][1] / end * every
    for still, (start, stop) in list(zip(page.stills, page.slots, strict=True))[every // 2 :: every]:
        place = axes.inset_axes(((start + stop) / 2 / end - 0.48 * wide, 0, 0.96 * wide, 1))
        place.imshow(still, interpolation="lanczos")
        place.axis("off")
    axes.axis("off")


def _draw_curve(axes: Axes, page: Page) -> None:
    assert page.curve is not None
    strong = int(page.probabilities.argmax())
    draw_curves(axes, [(start + end) / 2 for start, end in page.slots], page.curve, page.classes, strong)
    axes.set_title("how much of each emotion each segment carries", fontsize=9, loc="left")
    axes.set_ylabel("temporal emotion score", fontsize=8)
    _shade_copies(axes, page)


def _draw_segments(axes: Axes, page: Page) -> None:
    """A map of the segments' probabilities, with their percents where there is room."""
    assert page.segments is not None
    edges = [0.0, *(end for _, end in page.slots)]
    axes.pcolormesh(edges, np.arange(len(page.classes) + 1), page.segments.T, cmap="Blues", vmin=0, vmax=1)
    axes.set_yticks(np.arange(len(page.classes)) + 0.5, page.classes, fontsize=8)
    axes.invert_yaxis()
    axes.set_xlabel("seconds", fontsize=8)
    axes.tick_params(labelsize=8)
    axes.set_title("what each segment would be called by itself, percent", fontsize=9, loc="left")
    if len(page.slots) <= STILLS:
        for (segment, label), share in np.ndenumerate(page.segments):
            middle, shade = sum(page.slots[segment]) / 2, "white" if share > 0.55 else "black"
            percent = f"{100 * share:.0f}"
            axes.text(middle, label + 0.5, percent, ha="center", va="center", fontsize=7, color=shade, zorder=5)
    _shade_copies(axes, page)


def _draw_scores(axes: Axes, page: Page) -> None:
    """The clip's own probabilities in the colours of the curve, which they explain."""
    places = range(len(page.classes))
    bars = axes.barh(places, 100 * page.probabilities, color=[look(label)["color"] for label in places])
    axes.bar_label(bars, [f"{100 * share:.0f}" for share in page.probabilities], padding=3, fontsize=8)
    axes.set_yticks(places, page.classes, fontsize=9)
    axes.get_yticklabels()[int(page.probabilities.argmax())].set_fontweight("bold")
    axes.invert_yaxis()
    axes.set_xlim(0, max(50.0, 130 * page.probabilities.max()))
    axes.set_xticks([])
    axes.set_title("the clip, percent", fontsize=9, loc="left")
    for side in ("top", "right", "bottom"):
        axes.spines[side].set_visible(False)


def _shade_copies(axes: Axes, page: Page) -> None:
    """Mark what lies behind the end of a clip that had to be looped."""
    end = page.slots[-1][1]
    if end - page.seconds > 0.05:
        axes.axvspan(page.seconds, end, color=GREY, alpha=0.18, linewidth=0, zorder=4)
        axes.text(end, 1.01, "looped", transform=axes.get_xaxis_transform(), ha="right", va="bottom", fontsize=7)
