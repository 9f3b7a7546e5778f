"""Figures of what MART did with clips: what its masks hid, and which words verification kept.

Key: S segments, N tokens, t frames of a segment (the first of each token), H W pixels, F sound frames, M mel bins.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from itertools import product

import numpy as np
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from matplotlib.textpath import TextPath

from bench.explained import Explained, Fate, Masked
from bench.plotting import GREY, ClipFigure, heading, name_clip

SEGMENTS, FRAMES = 6, 4  # at most so many of a clip, evenly spaced
VEIL, GHOST = 170, 0.22  # grey over what is hidden, and how much of it still shines through
HINT = "#E69F00"
NAMES = {"sentiment": "E1", "emotion": "E2", "degree": "E3"}
COLOURS = {None: "#000000", "sentiment": "#D55E00", "emotion": "#0072B2", "degree": "#A34D83"}  # Okabe and Ito, 2008
SIZE = 9  # points of a letter
WIDTH, MARGIN, LANE, BETWEEN = 10.0, 0.3, 0.24, 0.6  # inches: picture, its sides, a line of words, between clips
ABOVE, BELOW = 0.65, 0.85


def some(count: int, most: int) -> list[int]:
    """Up to `most` places of `count`, evenly spaced."""
    return sorted({round(place) for place in np.linspace(0, count - 1, min(count, most))})


def box(mask: Masked, token: int) -> tuple[slice, ...]:
    """The places that a token covers along the axes of the grid."""
    steps = np.unravel_index(token, mask.grid)
    return tuple(
        slice(int(step) * stride, int(step) * stride + patch)
        for step, stride, patch in zip(steps, mask.stride, mask.patch, strict=True)
    )


def unseen(mask: Masked, segment: int) -> np.ndarray:
    """True where no visible token covers: (t, H, W) of picture, (M, F) of sound."""
    shape = mask.content.shape[1:4] if mask.content.ndim == 5 else mask.content.shape[:0:-1]
    covered, visible = np.zeros(shape, dtype=bool), np.zeros(shape, dtype=bool)
    for token, hidden in enumerate(mask.hidden[segment]):
        place = _kept_axes(mask, token)
        covered[place] = True
        visible[place] |= not hidden
    return covered & ~visible


def veiled(content: np.ndarray, hidden: np.ndarray) -> np.ndarray:
    """Colours (..., 3) from 0 to 255 with a grey veil where True."""
    under = content.astype(np.float32)
    return np.where(hidden[..., None], GHOST * under + (1 - GHOST) * VEIL, under).astype(np.uint8)


def maskings(explained: Explained) -> Figure | None:
    """Two clips a row: a column is a segment; frames above, sound below. None where nothing is masked."""
    told = {
        key: found[key].masks
        for found in explained.stages.values()
        for key in explained.shown
        if key in found and found[key].masks
    }
    if not told:
        return None
    columns = min(2, len(told))
    rows = -(-len(told) // columns)
    figure = Figure(figsize=(5.4 * columns, 0.9 + 4.6 * rows), layout="constrained")
    heading(figure, "What is hidden at the end of pre-training", explained)
    blocks = figure.subfigures(rows, columns, squeeze=False, wspace=0.03).flat
    for block, (key, masks) in zip(blocks, told.items(), strict=False):
        block.suptitle(name_clip(explained, key), fontsize=9, x=0.02, ha="left", parse_math=False)
        heights = [_height(mask) for mask in masks.values()]
        panels = block.subplots(len(masks), 1, squeeze=False, height_ratios=heights)[:, 0]
        for axes, (name, mask) in zip(panels, masks.items(), strict=True):
            (_draw_video if name == "video" else _draw_audio)(axes, mask)
    figure.supxlabel(
        "grey: hidden from the encoder (sound: where no visible patch reaches); orange: hints, the patches ranked "
        "highest, left visible",
        fontsize=8,
        color=GREY,
    )
    return figure


def _kept_axes(mask: Masked, token: int) -> tuple[slice, ...]:
    """A token's box in `unseen`: of a tubelet only the first frame is kept."""
    place = box(mask, token)
    if len(mask.grid) == 3:
        time = int(np.unravel_index(token, mask.grid)[0])
        return (slice(time, time + 1), *place[1:])
    return place


def _height(mask: Masked) -> float:
    return float(min(mask.grid[0], FRAMES)) if len(mask.grid) == 3 else 1.1


def _draw_video(axes: Axes, mask: Masked) -> None:
    """Frames below each other, segments beside each other."""
    segments, frames = some(len(mask.hidden), SEGMENTS), some(mask.grid[0], FRAMES)
    gap = max(1, mask.content.shape[2] // 16)
    high, wide = (side + gap for side in mask.content.shape[2:4])
    sheet = np.full((len(frames) * high - gap, len(segments) * wide - gap, 3), 255, dtype=np.uint8)
    for (row, frame), (column, segment) in product(enumerate(frames), enumerate(segments)):
        picture = veiled(mask.content[segment, frame], unseen(mask, segment)[frame])
        sheet[row * high : (row + 1) * high - gap, column * wide : (column + 1) * wide - gap] = picture
    axes.imshow(sheet, interpolation="nearest", aspect="auto")
    for (row, frame), (column, segment) in product(enumerate(frames), enumerate(segments)):
        for token in np.flatnonzero(mask.hints[segment]):
            time, *place = _kept_axes(mask, int(token))
            if time.start == frame:
                _outline(axes, place, row * high, column * wide)
    axes.set_ylabel("frame", fontsize=8)
    axes.set_yticks([(row + 0.5) * high for row in range(len(frames))], [str(frame + 1) for frame in frames])
    _name_segments(axes, segments, wide)


def _draw_audio(axes: Axes, mask: Masked) -> None:
    """Log-mel pictures beside each other, low bins below."""
    segments = some(len(mask.hidden), SEGMENTS)
    sound = mask.content[segments].astype(np.float32)
    low, high = np.quantile(sound, (0.02, 0.98))
    shade = np.clip((sound.transpose(0, 2, 1) - low) / max(high - low, 1e-6), 0, 1)  # (s, M, F)
    gap = max(1, shade.shape[2] // 16)
    wide = shade.shape[2] + gap
    sheet = np.full((shade.shape[1], len(segments) * wide - gap, 3), 255, dtype=np.uint8)
    for column, segment in enumerate(segments):
        picture = veiled(_heat(shade[column]), unseen(mask, segment))
        sheet[:, column * wide : (column + 1) * wide - gap] = picture
    axes.imshow(sheet, interpolation="nearest", aspect="auto", origin="lower")
    for column, segment in enumerate(segments):
        for token in np.flatnonzero(mask.hints[segment]):
            _outline(axes, box(mask, int(token)), 0, column * wide)
    axes.set_ylabel("mel bin", fontsize=8)
    axes.tick_params(axis="y", labelsize=7)
    _name_segments(axes, segments, wide)
    axes.set_xlabel("segment", fontsize=8)


def _heat(shade: np.ndarray) -> np.ndarray:
    """(M, F) from 0 to 1 as colours from 0 to 255."""
    colours: np.ndarray = 255 * colormaps["viridis"](shade)[..., :3]
    return colours


def _outline(axes: Axes, place: Sequence[slice], top: int, left: int) -> None:
    down, across = place
    inset = 0.04 * min(down.stop - down.start, across.stop - across.start)
    corner = (left + across.start - 0.5 + inset, top + down.start - 0.5 + inset)
    wide, high = across.stop - across.start - 2 * inset, down.stop - down.start - 2 * inset
    axes.add_patch(Rectangle(corner, wide, high, fill=False, edgecolor=HINT, linewidth=2))


def _name_segments(axes: Axes, segments: Sequence[int], wide: int) -> None:
    axes.set_xticks([(column + 0.47) * wide for column in range(len(segments))], [str(s + 1) for s in segments])
    axes.tick_params(length=0, labelsize=7)
    for spine in axes.spines.values():
        spine.set_visible(False)


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


FIGURES = {
    "maskings.png": ClipFigure(
        "Maskings",
        "What is hidden: grey covers what the last epoch masks, orange what it leaves as hints (Fig. 4).",
        maskings,
    ),
    "words.png": ClipFigure("Words", "Words kept, and dropped by which stage of verification (Fig. 5b).", words),
}
