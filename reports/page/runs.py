"""The curves and the test predictions of a run, read from the files beside its record."""

from __future__ import annotations

import json
from math import isfinite
from pathlib import Path
from typing import NamedTuple

import numpy as np

from bench.outputs import CURVES, PREDICTIONS

PREFIX = "score/"  # of the columns that hold a class's scores


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
        points = json.loads((folder / CURVES).read_bytes())
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


def read_predictions(folder: Path) -> Predicted | str:
    """The test predictions, in the order of the file; or why there are none."""
    from pyarrow import ArrowException
    from pyarrow.parquet import ParquetFile

    try:
        with ParquetFile(folder / PREDICTIONS) as opened:
            table = opened.read(use_threads=False)
        test = table.column("split").to_numpy() == "test"
        names = [name for name in table.column_names if name.startswith(PREFIX)]
        classes = tuple(name.removeprefix(PREFIX) for name in names)
        place = {name: index for index, name in enumerate(classes)}
        label, predicted = (
            np.array([place[name] for name in table.column(column).to_numpy()[test]], dtype=np.int64)
            for column in ("label", "predicted")
        )
        scores = np.stack([table.column(name).to_numpy()[test] for name in names], axis=1).astype(np.float64)
        clips = tuple(table.column("clip").to_numpy()[test].tolist())
    except FileNotFoundError:
        return f"{PREDICTIONS} is not on this machine"
    except (OSError, ValueError, TypeError, KeyError, ArrowException) as error:
        return f"{PREDICTIONS} cannot be read ({type(error).__name__}: {error})"
    if not clips:
        return f"{PREDICTIONS} holds no test clip"
    return Predicted(classes, clips, label, predicted, _probability(scores, predicted))


def _probability(scores: np.ndarray, predicted: np.ndarray) -> np.ndarray:
    """(n, C) scores and (n,) classes -> (n,) softmax at the class; 0 where the scores are no numbers."""
    with np.errstate(invalid="ignore"):
        powers = np.exp(scores - scores.max(axis=1, keepdims=True))
        found: np.ndarray = np.nan_to_num(powers[np.arange(len(scores)), predicted] / powers.sum(axis=1))
    return found
