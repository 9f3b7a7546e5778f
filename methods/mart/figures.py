"""Figures of what MART did with a clip: words kept and dropped, and what is masked."""

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

from bench.explanations import (
    GREY,
    ClipFigure,
    MaskArrays,
    RunExplanations,
    StoredWordOutcome,
    add_title,
    format_clip_name,
)
from methods.mart.method import LEVELS

MAX_SEGMENTS, MAX_FRAMES = 6, 4  # at most so many of a clip, evenly spaced
MASK_GREY, MASKED_SHARE_VISIBLE = 170, 0.22  # grey over what is hidden, and how much of it still shines through
HINT_COLOUR = "#E69F00"
LEVEL_COLOURS = {
    None: "#000000",
    "sentiment": "#D55E00",
    "emotion": "#0072B2",
    "degree": "#A34D83",
}  # Okabe and Ito, 2008
WORD_SIZE = 9  # points of a letter
FIGURE_WIDTH, SIDE_MARGIN = 10.0, 0.3  # inches
LANE_HEIGHT, CLIP_GAP = 0.24, 0.6  # inches: a line of words, between clips
TOP_MARGIN, BOTTOM_MARGIN = 0.65, 0.85


def pick_evenly(count: int, most: int) -> list[int]:
    """Up to `most` places of `count`, evenly spaced."""
    return sorted({round(place) for place in np.linspace(0, count - 1, min(count, most))})


def get_token_box(mask: MaskArrays, token: int) -> tuple[slice, ...]:
    """The places that a token covers along the axes of the grid."""
    steps = np.unravel_index(token, mask.grid)
    return tuple(
        slice(int(step) * stride, int(step) * stride + patch)
        for step, stride, patch in zip(steps, mask.stride, mask.patch, strict=True)
    )


def find_masked_positions(mask: MaskArrays, segment: int) -> np.ndarray:
    """True where no visible token covers: (t, H, W) of picture, (M, F) of sound."""
    shape = mask.content.shape[1:4] if mask.content.ndim == 5 else mask.content.shape[:0:-1]
    covered, visible = np.zeros(shape, dtype=bool), np.zeros(shape, dtype=bool)
    for token, hidden in enumerate(mask.hidden[segment]):
        place = _get_stored_box(mask, token)
        covered[place] = True
        visible[place] |= not hidden
    return covered & ~visible


def grey_out(content: np.ndarray, hidden: np.ndarray) -> np.ndarray:
    """Colours (..., 3) from 0 to 255 with a grey veil where True."""
    under = content.astype(np.float32)
    return np.where(
        hidden[..., None], MASKED_SHARE_VISIBLE * under + (1 - MASKED_SHARE_VISIBLE) * MASK_GREY, under
    ).astype(np.uint8)


def draw_masks(explained: RunExplanations) -> Figure | None:
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
    add_title(figure, "What is hidden at the end of pre-training", explained)
    blocks = figure.subfigures(rows, columns, squeeze=False, wspace=0.03).flat
    for block, (key, masks) in zip(blocks, told.items(), strict=False):
        block.suptitle(format_clip_name(explained, key), fontsize=9, x=0.02, ha="left", parse_math=False)
        heights = [_compute_panel_height(mask) for mask in masks.values()]
        panels = block.subplots(len(masks), 1, squeeze=False, height_ratios=heights)[:, 0]
        for axes, (name, mask) in zip(panels, masks.items(), strict=True):
            (_draw_video_masks if name == "video" else _draw_audio_masks)(axes, mask)
    figure.supxlabel(
        "grey: hidden from the encoder (sound: where no visible patch reaches); orange: hints, the patches ranked "
        "highest, left visible",
        fontsize=8,
        color=GREY,
    )
    return figure


def _get_stored_box(mask: MaskArrays, token: int) -> tuple[slice, ...]:
    """A token's box in `find_masked_positions`: of a tubelet only the first frame is kept."""
    place = get_token_box(mask, token)
    if len(mask.grid) == 3:
        time = int(np.unravel_index(token, mask.grid)[0])
        return (slice(time, time + 1), *place[1:])
    return place


def _compute_panel_height(mask: MaskArrays) -> float:
    return float(min(mask.grid[0], MAX_FRAMES)) if len(mask.grid) == 3 else 1.1


def _draw_video_masks(axes: Axes, mask: MaskArrays) -> None:
    """Frames below each other, segments beside each other."""
    segments, frames = pick_evenly(len(mask.hidden), MAX_SEGMENTS), pick_evenly(mask.grid[0], MAX_FRAMES)
    gap = max(1, mask.content.shape[2] // 16)
    high, wide = (side + gap for side in mask.content.shape[2:4])
    sheet = np.full((len(frames) * high - gap, len(segments) * wide - gap, 3), 255, dtype=np.uint8)
    for (row, frame), (column, segment) in product(enumerate(frames), enumerate(segments)):
        picture = grey_out(mask.content[segment, frame], find_masked_positions(mask, segment)[frame])
        sheet[row * high : (row + 1) * high - gap, column * wide : (column + 1) * wide - gap] = picture
    axes.imshow(sheet, interpolation="nearest", aspect="auto")
    for (row, frame), (column, segment) in product(enumerate(frames), enumerate(segments)):
        for token in np.flatnonzero(mask.hints[segment]):
            time, *place = _get_stored_box(mask, int(token))
            if time.start == frame:
                _draw_outline(axes, place, row * high, column * wide)
    axes.set_ylabel("frame", fontsize=8)
    axes.set_yticks([(row + 0.5) * high for row in range(len(frames))], [str(frame + 1) for frame in frames])
    _label_segments(axes, segments, wide)


def _draw_audio_masks(axes: Axes, mask: MaskArrays) -> None:
    """Log-mel pictures beside each other, low bins below."""
    segments = pick_evenly(len(mask.hidden), MAX_SEGMENTS)
    sound = mask.content[segments].astype(np.float32)
    low, high = np.quantile(sound, (0.02, 0.98))
    shade = np.clip((sound.transpose(0, 2, 1) - low) / max(high - low, 1e-6), 0, 1)  # (s, M, F)
    gap = max(1, shade.shape[2] // 16)
    wide = shade.shape[2] + gap
    sheet = np.full((shade.shape[1], len(segments) * wide - gap, 3), 255, dtype=np.uint8)
    for column, segment in enumerate(segments):
        colours = 255 * colormaps["viridis"](shade[column])[..., :3]  # (M, F, 3) from 0 to 255
        picture = grey_out(colours, find_masked_positions(mask, segment))
        sheet[:, column * wide : (column + 1) * wide - gap] = picture
    axes.imshow(sheet, interpolation="nearest", aspect="auto", origin="lower")
    for column, segment in enumerate(segments):
        for token in np.flatnonzero(mask.hints[segment]):
            _draw_outline(axes, get_token_box(mask, int(token)), 0, column * wide)
    axes.set_ylabel("mel bin", fontsize=8)
    axes.tick_params(axis="y", labelsize=7)
    _label_segments(axes, segments, wide)
    axes.set_xlabel("segment", fontsize=8)


def _draw_outline(axes: Axes, place: Sequence[slice], top: int, left: int) -> None:
    down, across = place
    inset = 0.04 * min(down.stop - down.start, across.stop - across.start)
    corner = (left + across.start - 0.5 + inset, top + down.start - 0.5 + inset)
    wide, high = across.stop - across.start - 2 * inset, down.stop - down.start - 2 * inset
    axes.add_patch(Rectangle(corner, wide, high, fill=False, edgecolor=HINT_COLOUR, linewidth=2))


def _label_segments(axes: Axes, segments: Sequence[int], wide: int) -> None:
    axes.set_xticks([(column + 0.47) * wide for column in range(len(segments))], [str(s + 1) for s in segments])
    axes.tick_params(length=0, labelsize=7)
    for spine in axes.spines.values():
        spine.set_visible(False)


def find_words(explained: RunExplanations) -> dict[str, tuple[StoredWordOutcome, ...]]:
    """Clip key -> the words of the first stage that judges any, of the clips that are shown."""
    for found in explained.stages.values():
        told = {key: found[key].words for key in explained.shown if key in found and found[key].words}
        if told:
            return told
    return {}


def assign_lanes(spans: Sequence[tuple[float, float]]) -> list[int]:
    """For each (start, end), in rising order of start, the lowest lane in which it stands free."""
    ends: list[float] = []
    found = []
    for start, end in spans:
        lane = next((number for number, taken in enumerate(ends) if taken <= start), len(ends))
        ends[lane : lane + 1] = [end]
        found.append(lane)
    return found


def draw_words(explained: RunExplanations) -> Figure | None:
    """One row a clip, each word right of the bar at its moment. None without words."""
    told = find_words(explained)
    if not told:
        return None
    said = [word for row in told.values() for word in row]
    room = FIGURE_WIDTH - 2 * SIDE_MARGIN
    second = (room - max(_measure_text(_format_word(word)) for word in said) - 0.2) / max(
        1.0, *(word.start for word in said)
    )  # inches
    places = {key: assign_lanes([_compute_word_span(word, second) for word in row]) for key, row in told.items()}
    heights = [LANE_HEIGHT * (max(found) + 1) + 0.08 for found in places.values()]
    tall = TOP_MARGIN + sum(heights) + CLIP_GAP * (len(told) - 1) + BOTTOM_MARGIN
    figure = Figure(figsize=(FIGURE_WIDTH, tall))
    add_title(figure, "Words kept and dropped", explained).set_y(1 - 0.1 / tall)
    top = tall - TOP_MARGIN
    for (key, row), high in zip(told.items(), heights, strict=True):
        left, bottom = SIDE_MARGIN / FIGURE_WIDTH, (top - high) / tall
        axes = figure.add_axes(
            (left, bottom, 1 - 2 * left, high / tall), xlim=(0, room / second), ylim=(0, high / LANE_HEIGHT)
        )
        _draw_word_row(axes, row, places[key], second)
        axes.set_title(format_clip_name(explained, key), fontsize=9, loc="left", parse_math=False)
        top -= high + CLIP_GAP
    axes.set_xlabel("seconds", fontsize=9)
    _draw_word_legend(figure, 0.18 / tall, any(word.planted for word in said))
    return figure


def _compute_word_span(word: StoredWordOutcome, second: float) -> tuple[float, float]:
    """Where a word starts and ends, in inches."""
    return word.start * second, word.start * second + _measure_text(_format_word(word)) + 0.16


@cache
def _measure_text(text: str) -> float:
    """Inches of a text at our size."""
    return float(TextPath((0, 0), text, size=WORD_SIZE).get_extents().width) / 72


def _format_word(word: StoredWordOutcome) -> str:
    return f"{word.text} ×{LEVELS[word.planted]}" if word.planted else word.text


def _draw_word_row(axes: Axes, row: Sequence[StoredWordOutcome], places: Sequence[int], second: float) -> None:
    """Words from below upwards, a bar at the moment of each; what is dropped is struck through."""
    for word, lane in zip(row, places, strict=True):
        colour, middle = LEVEL_COLOURS[word.dropped], lane + 0.55
        begins = word.start + 0.05 / second
        axes.plot([word.start] * 2, [lane + 0.15, lane + 0.95], color=colour, linewidth=1.6)
        axes.text(begins, middle, _format_word(word), va="center", fontsize=WORD_SIZE, color=colour, parse_math=False)
        if word.dropped:
            axes.plot([begins, begins + _measure_text(word.text) / second], [middle] * 2, color=colour, linewidth=1)
    axes.tick_params(labelsize=8)
    axes.set_yticks([])
    for side in ("top", "right", "left"):
        axes.spines[side].set_visible(False)


def _draw_word_legend(figure: Figure, height: float, planted: bool) -> None:
    """The legend, a line below all."""
    texts = {"kept": None, **{f"dropped by {LEVELS[stage]} {stage}": stage for stage in LEVELS}}
    left = SIDE_MARGIN / FIGURE_WIDTH
    for text, stage in texts.items():
        figure.text(left, height, text, fontsize=WORD_SIZE, color=LEVEL_COLOURS[stage], va="center")
        left += (_measure_text(text) + 0.25) / FIGURE_WIDTH
    if planted:
        figure.text(left, height, "×E1: planted to fail there", fontsize=WORD_SIZE, color=GREY, va="center")


FIGURES = {
    "maskings.png": ClipFigure(
        "Maskings",
        "What is hidden: grey covers what the last epoch masks, orange what it leaves as hints (Fig. 4).",
        draw_masks,
    ),
    "words.png": ClipFigure("Words", "Words kept, and dropped by which stage of verification (Fig. 5b).", draw_words),
}
