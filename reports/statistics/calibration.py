"""How far a model's confidence is from its accuracy."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

BINS = 15


class ConfidenceBins(NamedTuple):
    """Clips by how sure a model is of them, from the least to the most; bins without a clip are left out."""

    confidence: np.ndarray  # mean of a bin's clips, a fraction
    accuracy: np.ndarray  # share of them that are right
    clips: np.ndarray


def bin_clips(scores: np.ndarray, labels: np.ndarray, bins: int = BINS) -> ConfidenceBins:
    """Sort clips into bins by confidence, the softmax of their highest score.

    `scores` are logits (n, C), `labels` (n,) the true classes. The bins hold equally many clips (Nguyen and O'Connor
    2015), but clips of one confidence share a bin, so that the order of clips does not matter and a model of constant
    confidence has one bin.
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
    _, at, clips = np.unique(at, return_inverse=True, return_counts=True)
    return ConfidenceBins(np.bincount(at, confidence) / clips, np.bincount(at, right) / clips, clips)


def calibration_error(scores: np.ndarray, labels: np.ndarray, bins: int = BINS) -> float:
    """Expected calibration error, a fraction: the mean gap between confidence and accuracy of clips of like confidence.

    Its bins are those of `bin_clips`. With few clips the error is biased upwards: a bin of 5 clips is off by nearly 0.2
    in a perfectly calibrated model of confidence 0.5. So compare it only between models on the same clips.
    """
    found = bin_clips(scores, labels, bins)
    return float(np.average(np.abs(found.confidence - found.accuracy), weights=found.clips))
