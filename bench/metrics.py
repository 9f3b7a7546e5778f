"""Metrics of a set of predictions: emotion, the sentiment that follows from it, and each class."""

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
    """What a predictor said of a split. Rows follow the split's fixed order."""

    keys: tuple[str, ...]
    targets: np.ndarray  # (n,) int64
    scores: np.ndarray  # (n, C) float32; arg max is the prediction
    groups: tuple[str, ...] = ()  # of the clips: those of one group are not independent; () where it is not known

    @property
    def predicted(self) -> np.ndarray:
        """(n,) the arg max class."""
        found: np.ndarray = self.scores.argmax(axis=1)
        return found


def score(predictions: Predictions, info: DatasetInfo) -> dict[str, float | None]:
    """Fractions between 0 and 1 by name; None where a score is not defined.

    acc_e f1_e (weighted) f1_e_macro bal_e: emotion. acc_s f1_s: sentiment, the polarity of the arg-max emotion.
    acc_s2 f1_s2: the same without neutral clips, where the card has a neutral class. recall/<class>: per class.
    loss: mean cross-entropy of the scores. n: clips.
    """
    label, guess = predictions.targets, predictions.predicted
    polarity = np.asarray(info.sentiment)
    truth_s, guess_s = polarity[label], polarity[guess]
    weighted_f1 = partial(f1_score, average="weighted", zero_division=0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # a class that is not predicted has F1 0, which is what is wanted
        found: dict[str, float | None] = {
            "acc_e": float(accuracy_score(label, guess)),
            "f1_e": float(weighted_f1(label, guess)),
            "f1_e_macro": float(f1_score(label, guess, average="macro", labels=np.unique(label), zero_division=0)),
            "bal_e": float(balanced_accuracy_score(label, guess)),
            "acc_s": float(accuracy_score(truth_s, guess_s)),
            "f1_s": float(weighted_f1(truth_s, guess_s)),
        }
        if 0 in info.sentiment:
            clear = truth_s != 0
            found["acc_s2"] = float(accuracy_score(truth_s[clear], guess_s[clear])) if clear.any() else None
            found["f1_s2"] = float(weighted_f1(truth_s[clear], guess_s[clear])) if clear.any() else None
    for index, name in enumerate(info.classes):
        rows = label == index
        found[f"recall/{name}"] = float((guess[rows] == index).mean()) if rows.any() else None
    likelihoods = log_softmax(predictions.scores.astype(np.float64), axis=1)
    found["loss"] = float(-likelihoods[np.arange(len(label)), label].mean())
    found["n"] = float(len(label))
    return found
