"""Pictures of a run's predictions."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from bench.data import Card
from bench.files import whole
from bench.metrics import Predictions

CONFUSION = "confusion.png"


def confusion(predictions: Predictions, classes: int) -> np.ndarray:
    """(C, C) counts; row = true class, column = predicted class."""
    counts = np.zeros((classes, classes), dtype=int)
    np.add.at(counts, (predictions.label, predictions.predicted), 1)
    return counts


def draw_confusion(folder: Path, card: Card, predictions: Predictions, sample: bool) -> str:
    """Write the confusion matrix of the test split as a picture into a run's folder; the picture's name."""
    from matplotlib.figure import Figure

    counts = confusion(predictions, len(card.classes))
    share = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    figure = Figure(figsize=(1.6 + 0.75 * len(card.classes), 1.4 + 0.7 * len(card.classes)), layout="constrained")
    axes = figure.subplots()
    axes.imshow(share, cmap="cividis", vmin=0, vmax=1)
    axes.set_xticks(range(len(card.classes)), card.classes, rotation=45, ha="right")
    axes.set_yticks(range(len(card.classes)), card.classes)
    axes.set_xlabel("predicted")
    axes.set_ylabel("true")
    name = f"{card.title} (BUILT-IN SAMPLE)" if sample else card.title
    axes.set_title(f"{name}, test: {counts.trace()} of {counts.sum()} clips right", fontsize=10)
    for row, column in np.ndindex(counts.shape):
        dark = share[row, column] < 0.5
        axes.text(column, row, str(counts[row, column]), ha="center", va="center", color="white" if dark else "black")
    with whole(folder / CONFUSION) as temporary:
        figure.savefig(temporary, format="png", dpi=130)
    return CONFUSION
