"""Figures of explanations: emotion curves of clips, and a map of clip features."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from math import floor, log10
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from scipy.special import softmax
from sklearn.manifold import TSNE

from bench.explanations import (
    GREY,
    ClipExplanation,
    ClipFigure,
    RunExplanations,
    add_title,
    format_clip_name,
    read_explanations,
)
from bench.files import atomic_path
from bench.metrics import Predictions
from bench.tasks import get_class_index
from bench.types import DatasetInfo
from reports.figures.classes import save_test_figure
from reports.figures.style import make_limits, wrap_text

# Okabe and Ito, 2008
CLASS_COLOURS = ("#D55E00", "#009E73", "#56B4E9", "#E69F00", "#0072B2", "#CC79A7", "#000000", "#888888")
CLASS_DASHES = ("-", "--", ":")  # for more classes than colours
MAX_THUMBNAILS = 16  # in a row

TARGET_TITLE, RECOVERED_TITLE = "target, of all tokens", "recovered from the visible tokens"

NAME_CHARS, TITLE_CHARS = 24, 100  # per line of a clip's figure
PLAIN_TEXT: dict[Any, Any] = {"text.parse_math": False}  # a name with two dollars is no formula

MIN_DISTINCT_CLIPS = 5  # for a feature map
CLASS_MARKERS = ("o", "s", "^", "D", "v", "P", "X", "*", "<", ">")  # in addition to the colour of a class


@dataclass(frozen=True)
class ClipCurves:
    """Data of the figure of a clip; scores of segments are None for methods without them.

    With `ranges`, the probabilities are predicted numbers instead, and the classes the names of the targets.
    """

    title: str
    note: str  # small print below the figure: the source of the numbers
    classes: tuple[str, ...]
    probabilities: np.ndarray  # (C,)
    duration: float  # of the clip; segments after it are looped copies
    segment_spans: Sequence[tuple[float, float]]  # S x (start, end) in s
    emotion_scores: np.ndarray | None = None  # (S, C) temporal emotion scores
    segment_probabilities: np.ndarray | None = None  # (S, C) probabilities
    thumbnails: Sequence[np.ndarray] = field(default_factory=list)  # S x (H, W, 3) uint8, or none
    ranges: Sequence[tuple[float, float]] = ()  # lowest and highest value of each target


def get_class_style(label: int) -> dict[str, Any]:
    """Return colour and line style of a class, the same in every figure of a data set."""
    return {
        "color": CLASS_COLOURS[label % len(CLASS_COLOURS)],
        "linestyle": CLASS_DASHES[label // len(CLASS_COLOURS) % len(CLASS_DASHES)],
    }


def draw_emotion_curves(
    axes: Axes, times: Sequence[float], curve: np.ndarray, classes: Sequence[str], strong: int
) -> None:
    """Draw a line for each class through (S, C) scores at S times in seconds; the class `strong` is emphasised."""
    for label, name in enumerate(classes):
        look = get_class_style(label)
        if label == strong:
            look |= {"markersize": 5, "linewidth": 2.6, "zorder": 3}
        else:
            look |= {"markersize": 3, "linewidth": 1.3, "zorder": 2, "alpha": 0.75}
        axes.plot(times, curve[:, label], label=name, marker="o", **look)
    axes.axhline(0, color=GREY, linewidth=0.6, zorder=1)
    axes.set_xlabel("seconds", fontsize=8)
    axes.tick_params(labelsize=8)
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)


def format_in_range(value: float, low: float, high: float) -> str:
    """Format a predicted number with three digits of its range: "-2.50" for -3 to 3, "41" for 0 to 100."""
    return f"{value:z.{max(0, 2 - floor(log10(high - low)))}f}"


@matplotlib.rc_context(PLAIN_TEXT)
def save_clip_curves(path: Path, page: ClipCurves) -> None:
    """Write a figure of a clip: frames, emotion curves and segment probabilities over time, and clip probabilities."""
    rows: list[tuple[float, Callable[[Axes, ClipCurves], None]]] = []  # height ratio, and the function that draws it
    if len(page.thumbnails):
        rows.append((1.0, _draw_thumbnails))
    if page.emotion_scores is not None:
        rows.append((2.8, _draw_emotion_panel))
    if page.segment_probabilities is not None and page.ranges:
        rows.append((2.8, _draw_segment_values))
    elif page.segment_probabilities is not None:
        rows.append((0.5 + 0.24 * len(page.classes), _draw_segment_map))
    ratios = [tall for tall, _ in rows] or [1.0]
    figure = Figure(figsize=(10, max(2.0, sum(ratios)) + 1.0), layout="constrained")
    figure.suptitle(wrap_text(page.title, TITLE_CHARS), fontsize=12, x=0.01, ha="left", parse_math=False)
    figure.supxlabel(page.note, fontsize=7, color=GREY, x=0.01, ha="left", parse_math=False)
    table = figure.add_gridspec(len(ratios), 2, width_ratios=(4, 1), height_ratios=ratios)
    for row, (_, draw) in enumerate(rows):
        axes = figure.add_subplot(table[row, 0])
        draw(axes, page)
        axes.set_xlim(0, page.segment_spans[-1][1])
    below_stills = len(rows) > 1 and len(page.thumbnails) > 0
    draw_clip = _draw_clip_values if page.ranges else _draw_clip_probabilities
    draw_clip(figure.add_subplot(table[below_stills:, 1] if rows else table[0, :]), page)
    with atomic_path(path) as temporary:
        figure.savefig(temporary, format="png", dpi=130)


def _draw_thumbnails(axes: Axes, page: ClipCurves) -> None:
    """Draw up to 16 frames, each above the middle of its segment."""
    end, every = page.segment_spans[-1][1], -(-len(page.thumbnails) // MAX_THUMBNAILS)
    wide = page.segment_spans[0][1] / end * every
    for still, (start, stop) in list(zip(page.thumbnails, page.segment_spans, strict=True))[every // 2 :: every]:
        place = axes.inset_axes(((start + stop) / 2 / end - 0.48 * wide, 0, 0.96 * wide, 1))
        place.imshow(still, interpolation="lanczos")
        place.axis("off")
    axes.axis("off")


def _draw_emotion_panel(axes: Axes, page: ClipCurves) -> None:
    assert page.emotion_scores is not None
    times, strong = [(start + end) / 2 for start, end in page.segment_spans], int(page.probabilities.argmax())
    draw_emotion_curves(axes, times, page.emotion_scores, page.classes, strong)
    axes.set_title("emotion scores of each segment", fontsize=9, loc="left")
    axes.set_ylabel("temporal emotion score", fontsize=8)
    _shade_looped_part(axes, page)


def _draw_segment_map(axes: Axes, page: ClipCurves) -> None:
    """Draw a heat map of the probabilities of segments, with percents if there are few segments."""
    assert page.segment_probabilities is not None
    edges = [0.0, *(end for _, end in page.segment_spans)]
    axes.pcolormesh(edges, np.arange(len(page.classes) + 1), page.segment_probabilities.T, cmap="Blues", vmin=0, vmax=1)
    names = [wrap_text(name, NAME_CHARS) for name in page.classes]
    axes.set_yticks(np.arange(len(page.classes)) + 0.5, names, fontsize=8)
    axes.invert_yaxis()
    axes.set_xlabel("seconds", fontsize=8)
    axes.tick_params(labelsize=8)
    axes.set_title("probabilities of each segment alone, percent", fontsize=9, loc="left")
    if len(page.segment_spans) <= MAX_THUMBNAILS:
        for (segment, label), share in np.ndenumerate(page.segment_probabilities):
            middle, shade = sum(page.segment_spans[segment]) / 2, "white" if share > 0.55 else "black"
            percent = f"{100 * share:.0f}"
            axes.text(middle, label + 0.5, percent, ha="center", va="center", fontsize=7, color=shade, zorder=5)
    _shade_looped_part(axes, page)


def _draw_segment_values(axes: Axes, page: ClipCurves) -> None:
    """Draw a line for each target through its values at the middles of the segments."""
    assert page.segment_probabilities is not None
    times = [(start + end) / 2 for start, end in page.segment_spans]
    values, ends = _scale_values(page, page.segment_probabilities)
    for place, name in enumerate(page.classes):
        axes.plot(times, values[:, place], label=name, marker="o", **get_class_style(place))
    axes.set_ylim(*make_limits([*ends.flat, *values.flat], 0.03))
    axes.set_xlabel("seconds", fontsize=8)
    axes.tick_params(labelsize=8)
    within = "" if len(set(page.ranges)) == 1 else ", 0 to 1 within the range of its target"
    axes.set_title(f"scores of each segment alone{within}", fontsize=9, loc="left")
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
    _shade_looped_part(axes, page)


def _scale_values(page: ClipCurves, values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return (..., K) values and the (K, 2) ends of their ranges, scaled to 0 to 1 where targets have other ranges."""
    ends = np.array(page.ranges, dtype=float)
    if len(set(page.ranges)) == 1:
        return values, ends
    return (values - ends[:, 0]) / (ends[:, 1] - ends[:, 0]), np.array([[0.0, 1.0]] * len(ends))


def _draw_clip_values(axes: Axes, page: ClipCurves) -> None:
    """Draw the predicted number of each target as a bar from the middle of its range, in the colours of the curves."""
    places = range(len(page.classes))
    values, ends = _scale_values(page, page.probabilities)
    middles = ends.mean(1)
    widths = values.clip(ends[:, 0], ends[:, 1]) - middles
    bars = axes.barh(places, widths, left=middles, color=[get_class_style(place)["color"] for place in places])
    texts = [format_in_range(value, *pair) for value, pair in zip(page.probabilities, page.ranges, strict=True)]
    axes.bar_label(bars, texts, padding=3, fontsize=8)
    axes.set_yticks(places, [wrap_text(name, NAME_CHARS) for name in page.classes], fontsize=9)
    axes.invert_yaxis()
    axes.set_xlim(*make_limits(list(ends.flat), 0.25))
    axes.tick_params(axis="x", labelsize=8)
    axes.set_title("the clip", fontsize=9, loc="left")
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)


def _draw_clip_probabilities(axes: Axes, page: ClipCurves) -> None:
    """Draw the probabilities of the clip as bars, in the colours of the curves."""
    places = range(len(page.classes))
    bars = axes.barh(places, 100 * page.probabilities, color=[get_class_style(label)["color"] for label in places])
    axes.bar_label(bars, [f"{100 * share:.0f}" for share in page.probabilities], padding=3, fontsize=8)
    axes.set_yticks(places, [wrap_text(name, NAME_CHARS) for name in page.classes], fontsize=9)
    axes.get_yticklabels()[int(page.probabilities.argmax())].set_fontweight("bold")
    axes.invert_yaxis()
    axes.set_xlim(0, max(50.0, 130 * page.probabilities.max()))
    axes.set_xticks([])
    axes.set_title("the clip, percent", fontsize=9, loc="left")
    for side in ("top", "right", "bottom"):
        axes.spines[side].set_visible(False)


def _shade_looped_part(axes: Axes, page: ClipCurves) -> None:
    """Shade the time after the end of a clip, where it was looped."""
    end = page.segment_spans[-1][1]
    if end - page.duration > 0.05:
        axes.axvspan(page.duration, end, color=GREY, alpha=0.18, linewidth=0, zorder=4)
        axes.text(end, 1.01, "looped", transform=axes.get_xaxis_transform(), ha="right", va="bottom", fontsize=7)


def compute_emotion_distribution(curve: np.ndarray) -> np.ndarray:
    """Return the softmax over classes of (S, C) temporal emotion scores: the recovery target."""
    return np.asarray(softmax(curve, axis=-1))


def find_curves(explained: RunExplanations) -> dict[str, ClipExplanation]:
    """Return clip key -> explanation with curves, from the first stage that has any, for the clips to show.

    Clips without a class have no emotion curves.
    """
    for found in explained.stages.values():
        curves = {
            key: found[key]
            for key in explained.shown
            if key in found and found[key].curve is not None and isinstance(explained.labels[key], int)
        }
        if curves:
            return curves
    return {}


def draw_emotions(explained: RunExplanations) -> Figure | None:
    """Draw a row for each clip, with a second column where a stage recovers emotions. None without curves."""
    curves = find_curves(explained)
    if not curves:
        return None
    recovers = any(clip.recovered is not None for clip in curves.values())
    figure = Figure(figsize=(9.5 if recovers else 6.5, 1.3 + 1.9 * len(curves)), layout="constrained")
    add_title(figure, "Emotion of each segment", explained)
    rows = figure.subplots(len(curves), 2 if recovers else 1, sharex=True, sharey=True, squeeze=False)
    for row, (key, clip) in zip(rows, curves.items(), strict=True):
        for axes, curve in zip(row, _list_distributions(clip), strict=False):
            places = list(range(1, len(curve) + 1))
            draw_emotion_curves(axes, places, curve, explained.classes, get_class_index(explained.labels[key]))
            axes.set_xlabel("")
            axes.set_xticks(places)
        row[0].set_ylabel("share")
        name = format_clip_name(explained, key)
        row[0].set_title(f"{name}: {TARGET_TITLE}" if recovers else name, fontsize=9, loc="left", parse_math=False)
        if clip.recovered is not None:
            row[1].set_title(RECOVERED_TITLE, fontsize=9, loc="left")
    rows[0, 0].set_ylim(0, 1.08 * max(curve.max() for clip in curves.values() for curve in _list_distributions(clip)))
    for axes in rows[-1]:
        axes.set_xlabel("segment")
    legend = rows[0, 0].get_legend_handles_labels()
    figure.legend(*legend, loc="outside lower center", ncols=4, fontsize=8, frameon=False)
    return figure


def _list_distributions(clip: ClipExplanation) -> list[np.ndarray]:
    assert clip.curve is not None
    target = compute_emotion_distribution(clip.curve)
    return [target] if clip.recovered is None else [target, clip.recovered]


def find_features(explained: RunExplanations) -> tuple[np.ndarray, np.ndarray] | None:
    """Return (n, D) features, and (n,) classes or (n, R) numbers, of val clips from the last stage that has any.

    None without features.
    """
    for found in reversed(list(explained.stages.values())):
        features = {key: clip.feature for key, clip in found.items() if clip.feature is not None}
        if features:
            labels = np.asarray([explained.labels[key] for key in features])
            return np.stack(list(features.values())).astype(np.float32), labels
    return None


def count_distinct_features(features: np.ndarray) -> int:
    """Return the number of distinct features; a collapsed model gives all clips the same."""
    return len(np.unique(features, axis=0))


def project_features(features: np.ndarray) -> np.ndarray:
    """Return (n, 2) t-SNE positions of (n, D) features, deterministically."""
    perplexity = min(30.0, (len(features) - 1) / 3)
    return np.asarray(TSNE(perplexity=perplexity, init="pca", method="exact", random_state=0).fit_transform(features))


def draw_features(explained: RunExplanations) -> Figure | None:
    """Draw the t-SNE map with a marker and a colour for each class, or colours by the first target.

    None for fewer than five distinct features.
    """
    known = find_features(explained)
    if known is None or count_distinct_features(known[0]) < MIN_DISTINCT_CLIPS:
        return None
    places, labels = project_features(known[0]), known[1]
    figure = Figure(figsize=(6.5, 5.2), layout="constrained")
    add_title(figure, "t-SNE of clip features", explained)
    axes = figure.subplots()
    for label, name in enumerate(explained.classes if labels.ndim == 1 else ()):
        marker, colour = CLASS_MARKERS[label % len(CLASS_MARKERS)], get_class_style(label)["color"]
        x, y = places[labels == label].T
        axes.scatter(x, y, s=42, label=name, marker=marker, color=colour, edgecolor="white")
    axes.set_aspect("equal", adjustable="datalim")
    axes.set(xticks=[], yticks=[])
    axes.set_title(
        f"n = {len(labels)} clips; distances between distant groups are not meaningful", fontsize=9, loc="left"
    )
    if labels.ndim > 1:
        x, y = places.T
        dots = axes.scatter(x, y, s=42, c=labels[:, 0], cmap="cividis", edgecolor="white")
        figure.colorbar(dots, ax=axes, shrink=0.7).set_label(explained.classes[0], parse_math=False)
        return figure
    figure.legend(loc="outside lower center", ncols=4, fontsize=8, frameon=False)
    return figure


CLIP_FIGURES = {
    "emotions.png": ClipFigure(
        "Emotions", "Emotion distribution of each segment (Fig. 6b of the paper).", draw_emotions
    ),
    "features.png": ClipFigure(
        "Features",
        "t-SNE of the clip features of the finished model, for every validation clip, by class or first target (Fig. "
        "6c of the paper).",
        draw_features,
    ),
}
"""File name -> figure that runs of any method may have."""


def all_pictures(own: Mapping[str, ClipFigure]) -> dict[str, ClipFigure]:
    """Return file name -> figure of all that runs of a method may have, with its `own`; the feature map is last."""
    return dict(sorted({**CLIP_FIGURES, **own}.items(), key=lambda item: item[0] == "features.png"))


@matplotlib.rc_context(PLAIN_TEXT)
def save_run_figures(
    folder: Path,
    info: DatasetInfo,
    predictions: Predictions,
    sample: bool,
    own: Mapping[str, ClipFigure],
    notice: Callable[[str], None] = lambda text: None,
) -> list[str]:
    """Write all figures of a run, including the method's `own`; return their file names."""
    names = [save_test_figure(folder, info, predictions, sample)]
    explained = read_explanations(folder)
    if explained is None:
        return names
    for name, clip_figure in all_pictures(own).items():
        figure = clip_figure.draw(explained)
        if figure is not None:
            with atomic_path(folder / name) as temporary:
                figure.savefig(temporary, format="png", dpi=130)
            names.append(name)
    known = find_features(explained)
    if known is not None and (count := count_distinct_features(known[0])) < MIN_DISTINCT_CLIPS:
        notice(f"no feature map: needs at least {MIN_DISTINCT_CLIPS} distinct validation clips (here {count})")
    return names
