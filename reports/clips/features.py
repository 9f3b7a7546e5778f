"""A map of the clips' features, on which clips that the model finds alike lie close (t-SNE).

Key: n clips, D width.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from bench.explained import Explained
from bench.plotting import heading
from reports.clips.curves import look

if TYPE_CHECKING:
    from matplotlib.figure import Figure

FEWEST = 5  # clips that make a map
MARKS = ("o", "s", "^", "D", "v", "P", "X", "*", "<", ">")  # a class has its form as well as its colour


def features_of(explained: Explained) -> tuple[np.ndarray, np.ndarray] | None:
    """((n, D) features, (n,) labels) of val under the last stage that tells any."""
    for found in reversed(list(explained.stages.values())):
        told = {key: one.feature for key, one in found.items() if one.feature is not None}
        if told:
            labels = np.asarray([explained.labels[key] for key in told])
            return np.stack(list(told.values())).astype(np.float32), labels
    return None


def differing(features: np.ndarray) -> int:
    """How many clips have features of their own: a model that has collapsed gives all of them the same."""
    return len(np.unique(features, axis=0))


def flatten(features: np.ndarray) -> np.ndarray:
    """(n, 2) places of (n, D) features: the same for the same features."""
    from sklearn.manifold import TSNE

    neighbours = min(30.0, (len(features) - 1) / 3)
    map_ = TSNE(perplexity=neighbours, init="pca", method="exact", random_state=0)
    found: np.ndarray = map_.fit_transform(features)
    return found


def features(explained: Explained) -> Figure | None:
    """The map, a form and a colour for each class. None where fewer than five clips differ."""
    from matplotlib.figure import Figure

    known = features_of(explained)
    if known is None or differing(known[0]) < FEWEST:
        return None
    places, labels = flatten(known[0]), known[1]
    figure = Figure(figsize=(6.5, 5.2), layout="constrained")
    heading(figure, "t-SNE of clip features", explained)
    axes = figure.subplots()
    for label, name in enumerate(explained.classes):
        x, y = places[labels == label].T
        axes.scatter(
            x, y, s=42, label=name, marker=MARKS[label % len(MARKS)], color=look(label)["color"], edgecolor="white"
        )
    axes.set_aspect("equal", adjustable="datalim")
    axes.set_xticks([])
    axes.set_yticks([])
    axes.set_title(f"n = {len(labels)} clips; distances between far groups mean nothing", fontsize=9, loc="left")
    figure.legend(loc="outside lower center", ncols=4, fontsize=8, frameon=False)
    return figure
