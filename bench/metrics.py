"""Metrics of predictions: emotion, sentiment derived from emotion, and recall of each class."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from functools import partial

import numpy as np
from scipy.special import log_softmax
from sklearn.metrics import accuracy_score, balanced_accuracy_score, f1_score

from bench.types import DatasetInfo


@dataclass(frozen=True)
class Predictions:
    """Predictions of a split, one row per clip, in the split's fixed order."""

    keys: tuple[str, ...]
    targets: np.ndarray  # (n,) int64
    scores: np.ndarray  # (n, C) float32; the arg max is the prediction
    groups: tuple[str, ...] = ()  # of the clips; clips of one group are not independent; () = unknown

    @property
    def predicted(self) -> np.ndarray:
        """Return the (n,) predicted classes."""
        predicted: np.ndarray = self.scores.argmax(axis=1)
        return predicted


def score(predictions: Predictions, info: DatasetInfo) -> dict[str, float | None]:
    """Compute all metrics by name, as fractions between 0 and 1; None if a metric is not defined.

    acc_e, f1_e (weighted), f1_e_macro, bal_e: accuracy, F1 and balanced accuracy of the emotion. acc_s, f1_s:
    sentiment, i.e. the polarity of the predicted emotion. acc_s2, f1_s2: sentiment without neutral clips, if the data
    set has a neutral class. recall/<class>: recall per class. loss: mean cross-entropy. n: number of clips.
    """
    label, guess = predictions.targets, predictions.predicted
    polarity = np.asarray(info.sentiment)
    truth_s, guess_s = polarity[label], polarity[guess]
    weighted_f1 = partial(f1_score, average="weighted", zero_division=0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # a class that is never predicted has F1 0, as intended
        metrics: dict[str, float | None] = {
            "acc_e": float(accuracy_score(label, guess)),
            "f1_e": float(weighted_f1(label, guess)),
            "f1_e_macro": float(f1_score(label, guess, average="macro", labels=np.unique(label), zero_division=0)),
            "bal_e": float(balanced_accuracy_score(label, guess)),
            "acc_s": float(accuracy_score(truth_s, guess_s)),
            "f1_s": float(weighted_f1(truth_s, guess_s)),
        }
        if 0 in info.sentiment:
            clear = truth_s != 0
            metrics["acc_s2"] = float(accuracy_score(truth_s[clear], guess_s[clear])) if clear.any() else None
            metrics["f1_s2"] = float(weighted_f1(truth_s[clear], guess_s[clear])) if clear.any() else None
    for index, name in enumerate(info.classes):
        rows = label == index
        metrics[f"recall/{name}"] = float((guess[rows] == index).mean()) if rows.any() else None
    likelihoods = log_softmax(predictions.scores.astype(np.float64), axis=1)
    metrics["loss"] = float(-likelihoods[np.arange(len(label)), label].mean())
    metrics["n"] = float(len(label))
    return metrics
