"""The curves and the test predictions of a run, read from the files beside its record."""

from __future__ import annotations

from math import isfinite
from pathlib import Path
from typing import NamedTuple

import numpy as np

from bench.data import Card
from bench.errors import StoreError
from bench.files import parse_json
from bench.outputs import CURVES, PREDICTIONS, read_predictions


class Series(NamedTuple):
    """One curve of one stage."""

    stage: str
    name: str  # "val/acc_e", "finetune/loss"
    epochs: np.ndarray  # (n,) int64, rising
    values: np.ndarray  # (n,) float64


class Predicted(NamedTuple):
    """What was said of the test clips. n clips, C classes."""

    classes: tuple[str, ...]
    clips: tuple[str, ...]  # n keys
    label: np.ndarray  # (n,) int64, index of the true class
    predicted: np.ndarray  # (n,) int64
    probability: np.ndarray  # (n,) of the predicted class, 0 to 1: softmax of the scores


def read_curves(folder: Path) -> list[Series] | str:
    """Every curve, in the order in which they were drawn, without what is no number; or why there are none."""
    try:
        points = parse_json((folder / CURVES).read_bytes())
        found: dict[tuple[str, str], dict[int, float]] = {}
        for point in points:
            for name, value in point["values"].items():
                if isfinite(value):
                    found.setdefault((point["stage"], name), {})[int(point["epoch"])] = float(value)
    except FileNotFoundError:
        return f"{CURVES} is not on this machine"
    except (OSError, ValueError, TypeError, KeyError, AttributeError) as error:
        return f"{CURVES} cannot be read ({type(error).__name__}: {error})"
    return [
        Series(stage, name, np.array(sorted(drawn)), np.array([drawn[epoch] for epoch in sorted(drawn)]))
        for (stage, name), drawn in found.items()
    ]


def read_tested(folder: Path, card: Card) -> Predicted | str:
    """The test predictions, in the order of the file; or why there are none."""
    if not (folder / PREDICTIONS).is_file():
        return f"{PREDICTIONS} is not on this machine"
    try:
        found = read_predictions(folder, card).get("test")
    except StoreError:  # which names a place on this machine: no matter of a page
        return f"{PREDICTIONS} cannot be read"
    if found is None:
        return f"{PREDICTIONS} holds no test clip"
    probability = _probability(found.scores.astype(np.float64), found.predicted)
    return Predicted(card.classes, found.keys, found.label, found.predicted, probability)


def _probability(scores: np.ndarray, predicted: np.ndarray) -> np.ndarray:
    """(n, C) scores and (n,) classes -> (n,) softmax at the class."""
    powers = np.exp(scores - scores.max(axis=1, keepdims=True))
    found: np.ndarray = powers[np.arange(len(scores)), predicted] / powers.sum(axis=1)
    return found
