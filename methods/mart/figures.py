"""Per-clip figures of MART: masked tokens, and words kept or dropped by verification."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from itertools import product
from typing import Literal

import numpy as np
from einops import rearrange
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
from methods.mart.config import LEVELS

MAX_SEGMENTS, MAX_FRAMES = 6, 4  # per clip, evenly spaced
MASK_GREY, MASKED_SHARE_VISIBLE = 170, 0.22  # grey level of masked patches, and opacity of the image below
HINT_COLOUR = "#E69F00"
LEVEL_COLOURS = {
    None: "#000000",
    "sentiment": "#D55E00",
    "emotion": "#0072B2",
    "degree": "#A34D83",
}  # Okabe and Ito, 2008
WORD_SIZE = 9  # font size in points
FIGURE_WIDTH, SIDE_MARGIN = 10.0, 0.3  # inches
LANE_HEIGHT, CLIP_GAP = 0.24, 0.6  # inches: height of a row of words, space between clips
TOP_MARGIN, BOTTOM_MARGIN = 0.65, 0.85


def pick_evenly(count: int, most: int) -> list[int]:
    """Return up to `most` evenly spaced indices below `count`."""
    return sorted({round(index) for index in np.linspace(0, count - 1, min(count, most))})


def get_token_box(mask: MaskArrays, token: int) -> tuple[slice, ...]:
    """Return the slices of the content that a token covers, one per grid axis; a tubelet shows one frame."""
    strides, patches = mask.stride, mask.patch
    if len(mask.grid) == 3:
        strides, patches = (1, *strides[1:]), (1, *patches[1:])
    firsts = (int(step) * stride for step, stride in zip(np.unravel_index(token, mask.grid), strides, strict=True))
    return tuple(slice(first, first + patch) for first, patch in zip(firsts, patches, strict=True))


def find_masked_positions(mask: MaskArrays, segment: int) -> np.ndarray:
    """Return True where no visible token covers the content: (T, H, W) for video, (M, F) for audio."""
    shape = mask.content.shape[1:4] if mask.content.ndim == 5 else mask.content.shape[:0:-1]
    covered, visible = np.zeros(shape, dtype=bool), np.zeros(shape, dtype=bool)
    for token, hidden in enumerate(mask.hidden[segment]):
        box = get_token_box(mask, token)
        covered[box] = True
        visible[box] |= not hidden
    return covered & ~visible


def grey_out(content: np.ndarray, hidden: np.ndarray) -> np.ndarray:
    """Blend colours, (..., 3) from 0 to 255, with grey where `hidden` is True; return the same shape."""
    image = content.astype(np.float32)
    greyed = MASKED_SHARE_VISIBLE * image + (1 - MASKED_SHARE_VISIBLE) * MASK_GREY
    return np.where(hidden[..., None], greyed, image).astype(np.uint8)


def draw_masks(explained: RunExplanations) -> Figure | None:
    """Draw the masks of the shown clips, two clips per row, segments as columns; None if nothing is masked."""
    masks_by_clip = {
        key: stage[key].masks
        for stage in explained.stages.values()
        for key in explained.shown
        if key in stage and stage[key].masks
    }
    if not masks_by_clip:
        return None
    columns = min(2, len(masks_by_clip))
    rows = -(-len(masks_by_clip) // columns)
    figure = Figure(figsize=(5.4 * columns, 0.9 + 4.6 * rows), layout="constrained")
    add_title(figure, "Masked tokens at the end of pre-training", explained)
    blocks = figure.subfigures(rows, columns, squeeze=False, wspace=0.03).flat
    for block, (key, masks) in zip(blocks, masks_by_clip.items(), strict=False):
        block.suptitle(format_clip_name(explained, key), fontsize=9, x=0.02, ha="left", parse_math=False)
        heights = [min(mask.grid[0], MAX_FRAMES) if len(mask.grid) == 3 else 1.1 for mask in masks.values()]
        panels = block.subplots(len(masks), 1, squeeze=False, height_ratios=heights)[:, 0]
        for axes, (name, mask) in zip(panels, masks.items(), strict=True):
            (_draw_video_masks if name == "video" else _draw_audio_masks)(axes, mask)
    figure.supxlabel(
        "grey: masked (audio: not covered by any visible patch); orange: hints, the top-ranked patches, left visible",
        fontsize=8,
        color=GREY,
    )
    return figure


def _draw_video_masks(axes: Axes, mask: MaskArrays) -> None:
    """Draw the masked frames of a clip: one row per frame, one column per segment."""
    segments, frames = pick_evenly(len(mask.hidden), MAX_SEGMENTS), pick_evenly(mask.grid[0], MAX_FRAMES)
    gap = max(1, mask.content.shape[2] // 16)
    high, wide = (side + gap for side in mask.content.shape[2:4])
    greyed = [grey_out(mask.content[segment], find_masked_positions(mask, segment)) for segment in segments]
    _show_side_by_side(axes, np.stack(greyed, 1)[frames], gap)
    for (row, frame), (column, segment) in product(enumerate(frames), enumerate(segments)):
        for token in np.flatnonzero(mask.hints[segment]):
            time, *box = get_token_box(mask, int(token))
            if time.start == frame:
                _draw_outline(axes, box, row * high, column * wide)
    axes.set_ylabel("frame", fontsize=8)
    axes.set_yticks([(row + 0.5) * high for row in range(len(frames))], [str(frame + 1) for frame in frames])
    _label_segments(axes, segments, wide)


def _draw_audio_masks(axes: Axes, mask: MaskArrays) -> None:
    """Draw the masked log-mel spectrograms of a clip: one column per segment, low bins at the bottom."""
    segments = pick_evenly(len(mask.hidden), MAX_SEGMENTS)
    audio = mask.content[segments].astype(np.float32)
    low, high = np.quantile(audio, (0.02, 0.98))
    shade = np.clip((audio.transpose(0, 2, 1) - low) / max(high - low, 1e-6), 0, 1)  # (s, M, F)
    gap = max(1, shade.shape[2] // 16)
    wide = shade.shape[2] + gap
    colours = 255 * colormaps["viridis"](shade)[..., :3]  # (s, M, F, 3) from 0 to 255
    hidden = np.stack([find_masked_positions(mask, segment) for segment in segments])
    _show_side_by_side(axes, grey_out(colours, hidden)[None], gap, origin="lower")
    for column, segment in enumerate(segments):
        for token in np.flatnonzero(mask.hints[segment]):
            _draw_outline(axes, get_token_box(mask, int(token)), 0, column * wide)
    axes.set_ylabel("mel bin", fontsize=8)
    axes.tick_params(axis="y", labelsize=7)
    _label_segments(axes, segments, wide)
    axes.set_xlabel("segment", fontsize=8)


def _show_side_by_side(axes: Axes, images: np.ndarray, gap: int, origin: Literal["upper", "lower"] = "upper") -> None:
    """Show (rows, columns, H, W, 3) images as one, with white gaps in between."""
    framed = np.pad(images, ((0, 0), (0, 0), (0, gap), (0, gap), (0, 0)), constant_values=255)
    mosaic = rearrange(framed, "r c h w x -> (r h) (c w) x")[:-gap, :-gap]
    axes.imshow(mosaic, interpolation="nearest", aspect="auto", origin=origin)


def _draw_outline(axes: Axes, box: Sequence[slice], top: int, left: int) -> None:
    down, across = box
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
    """Return clip key -> words of the shown clips, from the first training stage that verified any."""
    judged = (
        {key: stage[key].words for key in explained.shown if key in stage and stage[key].words}
        for stage in explained.stages.values()
    )
    return next(filter(None, judged), {})


def assign_lanes(spans: Sequence[tuple[float, float]]) -> list[int]:
    """Return for each (start, end), sorted by start, the lowest lane in which it overlaps no other span."""
    ends: list[float] = []
    lanes = []
    for start, end in spans:
        lane = next((number for number, last in enumerate(ends) if last <= start), len(ends))
        ends[lane : lane + 1] = [end]
        lanes.append(lane)
    return lanes


def draw_words(explained: RunExplanations) -> Figure | None:
    """Draw the words of each clip on a time axis, each to the right of the bar at its start; None without words."""
    words_by_clip = find_words(explained)
    if not words_by_clip:
        return None
    words = [word for row in words_by_clip.values() for word in row]
    width = FIGURE_WIDTH - 2 * SIDE_MARGIN
    widest = max(_measure_text(_format_word(word)) for word in words)
    second = (width - widest - 0.2) / max(1.0, *(word.start for word in words))  # inches
    lanes = {}
    for key, row in words_by_clip.items():
        ends = [word.start * second + _measure_text(_format_word(word)) + 0.16 for word in row]  # inches
        lanes[key] = assign_lanes([(word.start * second, end) for word, end in zip(row, ends, strict=True)])
    heights = [LANE_HEIGHT * (max(row) + 1) + 0.08 for row in lanes.values()]
    tall = TOP_MARGIN + sum(heights) + CLIP_GAP * (len(words_by_clip) - 1) + BOTTOM_MARGIN
    figure = Figure(figsize=(FIGURE_WIDTH, tall))
    add_title(figure, "Words kept and dropped by verification", explained).set_y(1 - 0.1 / tall)
    top = tall - TOP_MARGIN
    for (key, row), high in zip(words_by_clip.items(), heights, strict=True):
        left, bottom = SIDE_MARGIN / FIGURE_WIDTH, (top - high) / tall
        axes = figure.add_axes(
            (left, bottom, 1 - 2 * left, high / tall), xlim=(0, width / second), ylim=(0, high / LANE_HEIGHT)
        )
        _draw_word_row(axes, row, lanes[key], second)
        axes.set_title(format_clip_name(explained, key), fontsize=9, loc="left", parse_math=False)
        top -= high + CLIP_GAP
    axes.set_xlabel("seconds", fontsize=9)
    _draw_word_legend(figure, 0.18 / tall, any(word.planted for word in words))
    return figure


@cache
def _measure_text(text: str) -> float:
    """Return the width of a text at WORD_SIZE in inches."""
    return float(TextPath((0, 0), text, size=WORD_SIZE).get_extents().width) / 72


def _format_word(word: StoredWordOutcome) -> str:
    return f"{word.text} ×{LEVELS[word.planted]}" if word.planted else word.text


def _draw_word_row(axes: Axes, row: Sequence[StoredWordOutcome], lanes: Sequence[int], second: float) -> None:
    """Draw the words of a clip in their lanes with a bar at each start; dropped words are struck through."""
    for word, lane in zip(row, lanes, strict=True):
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
    """Draw the legend as one line below all clips."""
    texts = {"kept": None, **{f"dropped by {level} {stage}": stage for stage, level in LEVELS.items()}}
    left = SIDE_MARGIN / FIGURE_WIDTH
    for text, stage in texts.items():
        figure.text(left, height, text, fontsize=WORD_SIZE, color=LEVEL_COLOURS[stage], va="center")
        left += (_measure_text(text) + 0.25) / FIGURE_WIDTH
    if planted:
        figure.text(
            left, height, "×E1: planted wrong word that E1 should drop", fontsize=WORD_SIZE, color=GREY, va="center"
        )


FIGURES = {
    "maskings.png": ClipFigure(
        "Masked tokens",
        "Tokens masked in the last pre-training epoch (grey), hints left visible (orange), as in the paper's Fig. 4.",
        draw_masks,
    ),
    "words.png": ClipFigure(
        "Words", "Words kept, and words dropped by level of verification, as in the paper's Fig. 5b.", draw_words
    ),
}
