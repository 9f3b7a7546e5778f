"""Temporal emotion distributions of a few clips, the target beside what was recovered from the visible tokens.

Key: S segments, C classes.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from bench.explained import Explained, Told
from bench.plotting import heading, name_clip
from reports.clips.curves import draw_curves

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


TARGET, RECOVERED = "target, of all tokens", "recovered from the visible tokens"


def distribution(curve: np.ndarray) -> np.ndarray:
    """softmax over classes of (S, C) temporal emotion scores: the target of the recovery."""
    raised = np.exp(curve - curve.max(axis=-1, keepdims=True))
    found: np.ndarray = raised / raised.sum(axis=-1, keepdims=True)
    return found


def curves_of(explained: Explained) -> dict[str, Told]:
    """Clip key -> the curves of the first stage that tells any, of the clips that are shown."""
    for found in explained.stages.values():
        told = {key: found[key] for key in explained.shown if key in found and found[key].curve is not None}
        if told:
            return told
    return {}


def emotions(explained: Explained) -> Figure | None:
    """One row a clip; the second column is there where a stage recovers emotions. None without curves."""
    from matplotlib.figure import Figure

    told = curves_of(explained)
    if not told:
        return None
    recovers = any(one.recovered is not None for one in told.values())
    figure = Figure(figsize=(9.5 if recovers else 6.5, 1.3 + 1.9 * len(told)), layout="constrained")
    heading(figure, "Emotion of each segment", explained)
    rows = figure.subplots(len(told), 2 if recovers else 1, sharex=True, sharey=True, squeeze=False)
    for row, (key, one) in zip(rows, told.items(), strict=True):
        label = explained.labels[key]
        for axes, curve in zip(row, _columns(one), strict=False):
            _draw(axes, curve, explained.classes, label)
        row[0].set_ylabel("share")
        name = name_clip(explained, key)
        row[0].set_title(f"{name}: {TARGET}" if recovers else name, fontsize=9, loc="left", parse_math=False)
        if one.recovered is not None:
            row[1].set_title(RECOVERED, fontsize=9, loc="left")
    rows[0, 0].set_ylim(0, 1.08 * max(curve.max() for one in told.values() for curve in _columns(one)))
    for axes in rows[-1]:
        axes.set_xlabel("segment")
    figure.legend(
        *rows[0, 0].get_legend_handles_labels(), loc="outside lower center", ncols=4, fontsize=8, frameon=False
    )
    return figure


def _columns(one: Told) -> list[np.ndarray]:
    assert one.curve is not None
    target = distribution(one.curve)
    return [target] if one.recovered is None else [target, one.recovered]


def _draw(axes: Axes, curve: np.ndarray, classes: tuple[str, ...], label: int) -> None:
    """The lines of one panel, the clip's own class strong."""
    places = list(range(1, len(curve) + 1))
    draw_curves(axes, places, curve, classes, label)
    axes.set_xlabel("")
    axes.set_xticks(places)
