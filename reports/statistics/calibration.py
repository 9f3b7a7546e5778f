"""How far a model's confidence is from its accuracy."""

from __future__ import annotations

import numpy as np


def calibration_error(scores: np.ndarray, labels: np.ndarray, bins: int = 15) -> float:
    """Expected calibration error, a fraction: the mean gap between confidence and accuracy of clips of like confidence.

    `scores` are logits (n, C), `labels` (n,) the true classes. Confidence is the softmax of the highest score; its bins
    hold equally many clips (Nguyen and O'Connor 2015), but clips of one confidence share a bin, so that the order of
    clips does not matter and a model of constant confidence has one bin. With few clips the error is biased upwards:
    a bin of 5 clips is off by nearly 0.2 in a perfectly calibrated model of confidence 0.5. So compare it only between
    models on the same clips.
    """
    from scipy.special import softmax
    from scipy.stats import rankdata

    scores, labels = np.asarray(scores, dtype=float), np.asarray(labels)
    if scores.ndim != 2 or not scores.size or labels.shape != scores.shape[:1] or bins < 1:
        raise ValueError(f"{bins} bins of scores {scores.shape} with labels {labels.shape}")
    if not np.isfinite(scores).all():
        raise ValueError("a score is not a finite number")
    confidence = softmax(scores, axis=1).max(axis=1)
    right = scores.argmax(axis=1) == labels
    at = ((rankdata(confidence, method="min") - 1) * bins / len(scores)).astype(int)
    gaps = np.bincount(at, weights=confidence - right)
    return float(np.abs(gaps).sum() / len(scores))
