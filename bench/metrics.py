"""Metrics of predictions: of classes and their sentiment, and of numbers such as sentiment scores."""

from __future__ import annotations

import math
import warnings
from dataclasses import dataclass
from functools import partial

import numpy as np
from scipy.special import log_softmax
from sklearn.metrics import accuracy_score, balanced_accuracy_score, f1_score

from bench.tasks import NARROW_RANGE, SENTIMENT_RANGE, Classification, Regression, Task

NARROW_BOUNDS = {"acc5": (-0.7, -0.1, 0.1, 0.7), "acc3": (-0.1, 0.1), "acc2": (0.0,)}  # of CH-SIMS


@dataclass(frozen=True)
class Predictions:
    """Predictions of a split, one row per clip, in the split's fixed order."""

    keys: tuple[str, ...]
    targets: np.ndarray  # (n,) int64 classes, or (n, R) float64 numbers
    scores: np.ndarray  # (n, C) float32 logits, the highest is the prediction; or (n, R) predicted numbers
    groups: tuple[str, ...] = ()  # of the clips; clips of one group are not independent; () = unknown

    @property
    def predicted(self) -> np.ndarray:
        """Return the (n,) predicted classes."""
        predicted: np.ndarray = self.scores.argmax(axis=1)
        return predicted


def score(predictions: Predictions, task: Task) -> dict[str, float | None]:
    """Compute all metrics of a task by name; None if a metric is not defined. `loss` is the loss of the task."""
    if isinstance(task, Classification):
        return score_classes(predictions, task)
    return score_numbers(predictions, task)


def score_classes(predictions: Predictions, task: Classification) -> dict[str, float | None]:
    """Compute all metrics of a classification, as fractions between 0 and 1.

    acc_e, f1_e (weighted), f1_e_macro, bal_e: accuracy, F1 and balanced accuracy of the emotion. acc_s, f1_s:
    sentiment, i.e. the polarity of the predicted emotion. acc_s2, f1_s2: sentiment without neutral clips, if the data
    set has a neutral class. recall/<class>: recall per class. loss: mean cross-entropy. n: number of clips.
    """
    label, guess = predictions.targets, predictions.predicted
    weighted_f1 = partial(f1_score, average="weighted", zero_division=0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # a class that is never predicted has F1 0, as intended
        metrics: dict[str, float | None] = {
            "acc_e": float(accuracy_score(label, guess)),
            "f1_e": float(weighted_f1(label, guess)),
            "f1_e_macro": float(f1_score(label, guess, average="macro", labels=np.unique(label), zero_division=0)),
            "bal_e": float(balanced_accuracy_score(label, guess)),
        }
        if task.sentiment is not None:
            polarity = np.asarray(task.sentiment)
            truth_s, guess_s = polarity[label], polarity[guess]
            metrics["acc_s"] = float(accuracy_score(truth_s, guess_s))
            metrics["f1_s"] = float(weighted_f1(truth_s, guess_s))
            if 0 in task.sentiment:
                clear = truth_s != 0
                metrics["acc_s2"] = float(accuracy_score(truth_s[clear], guess_s[clear])) if clear.any() else None
                metrics["f1_s2"] = float(weighted_f1(truth_s[clear], guess_s[clear])) if clear.any() else None
    for index, name in enumerate(task.classes):
        rows = label == index
        metrics[f"recall/{name}"] = float((guess[rows] == index).mean()) if rows.any() else None
    likelihoods = log_softmax(predictions.scores.astype(np.float64), axis=1)
    metrics["loss"] = float(-likelihoods[np.arange(len(label)), label].mean())
    metrics["n"] = float(len(label))
    return metrics


def score_numbers(predictions: Predictions, task: Regression) -> dict[str, float | None]:
    """Compute all metrics of a regression.

    mae, corr, ccc: mean absolute error, Pearson's correlation, concordance correlation (Lin 1989; population moments).
    With several targets they are means over the targets, and `<metric>/<target>` is that of one. A single target with
    the range of a sentiment score also has the accuracies of `score_sentiment`. loss: mean absolute error. n: number of
    clips.
    """
    truth, guess = predictions.targets.astype(np.float64), predictions.scores.astype(np.float64)
    each: dict[str, list[float | None]] = {
        "mae": [float(np.abs(g - t).mean()) for t, g in zip(truth.T, guess.T, strict=True)],
        "corr": [compute_correlation(t, g) for t, g in zip(truth.T, guess.T, strict=True)],
        "ccc": [compute_concordance(t, g) for t, g in zip(truth.T, guess.T, strict=True)],
    }
    metrics: dict[str, float | None] = {}
    for name, values in each.items():
        known = [value for value in values if value is not None]
        metrics[name] = math.fsum(known) / len(known) if len(known) == len(values) else None
    if len(task.targets) > 1:
        for name, values in each.items():
            metrics |= {f"{name}/{target.name}": value for target, value in zip(task.targets, values, strict=True)}
    else:
        metrics |= score_sentiment(truth[:, 0], guess[:, 0], task.bounds[0])
    metrics["loss"] = float(np.abs(guess - truth).mean())
    metrics["n"] = float(len(truth))
    return metrics


def score_sentiment(truth: np.ndarray, guess: np.ndarray, bounds: tuple[float, float]) -> dict[str, float | None]:
    """Compute the accuracies that papers print for (n,) sentiment scores of a range; none for another range.

    -3 to 3: acc7, acc5 (scores cut to ±3 and ±2, rounded half to even), acc2 and weighted f1 of the sign, with 0 as
    positive (has0), or without clips of score 0 (non0). -1 to 1: acc5, acc3, acc2 and f1 of intervals that are closed
    above.
    """
    if bounds == SENTIMENT_RANGE:
        levels = {7: 3.0, 5: 2.0}
        found: dict[str, float | None] = {
            f"acc{count}": float((np.round(guess.clip(-end, end)) == np.round(truth.clip(-end, end))).mean())
            for count, end in levels.items()
        }
        found |= _score_signs(truth >= 0, guess >= 0, "has0")
        clear = truth != 0
        return found | _score_signs(truth[clear] > 0, guess[clear] > 0, "non0")
    if bounds == NARROW_RANGE:
        truth, guess = truth.clip(-1, 1), guess.clip(-1, 1)
        found = {
            name: float((np.digitize(guess, ends, right=True) == np.digitize(truth, ends, right=True)).mean())
            for name, ends in NARROW_BOUNDS.items()
        }
        return found | {"f1": float(f1_score(truth > 0, guess > 0, average="weighted", zero_division=0))}
    return {}


def _score_signs(truth: np.ndarray, guess: np.ndarray, name: str) -> dict[str, float | None]:
    if not len(truth):
        return {f"acc2_{name}": None, f"f1_{name}": None}
    f1 = float(f1_score(truth, guess, average="weighted", zero_division=0))
    return {f"acc2_{name}": float((truth == guess).mean()), f"f1_{name}": f1}


def compute_correlation(truth: np.ndarray, guess: np.ndarray) -> float | None:
    """Return Pearson's correlation of (n,) numbers; None where either is constant."""
    x, y = truth - truth.mean(), guess - guess.mean()
    size = math.sqrt(float((x * x).sum()) * float((y * y).sum()))
    return float((x * y).sum()) / size if np.ptp(truth) > 0 and np.ptp(guess) > 0 and size > 0 else None


def compute_concordance(truth: np.ndarray, guess: np.ndarray) -> float | None:
    """Return the concordance correlation of (n,) numbers: 2 cov / (var + var + squared difference of means).

    A constant prediction has 0; None where both are constant and equal.
    """
    x, y = truth - truth.mean(), guess - guess.mean()
    below = float((x * x).mean() + (y * y).mean() + (truth.mean() - guess.mean()) ** 2)
    return 2 * float((x * y).mean()) / below if below > 0 else None
