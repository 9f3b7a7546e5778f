"""Calibration: confidence against accuracy, whatever the order of clips."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.calibration import calibration_curve

from reports.statistics import bin_clips, expected_calibration_error

SOME = settings(deadline=None, max_examples=50)


def logits(confidence: list[float]) -> np.ndarray:
    """Return scores of two classes, the first with this probability."""
    share = np.array(confidence)
    return np.stack([np.log(share), np.log(1 - share)], axis=1)


def test_bins_by_hand():
    scores = logits([0.6, 0.7, 0.8, 0.9])  # two bins of two: 0.65 against 1/2, 0.85 against 1
    assert expected_calibration_error(scores, np.array([0, 1, 0, 0]), bins=2) == pytest.approx((0.15 + 0.15) / 2)
    assert expected_calibration_error(scores, np.array([0, 1, 0, 0]), bins=1) == pytest.approx(abs(0.75 - 0.75))
    assert expected_calibration_error(scores, np.array([0, 1, 0, 0]), bins=4) == pytest.approx(
        (0.4 + 0.7 + 0.2 + 0.1) / 4
    )


def test_bins_are_those_that_the_error_is_of():
    found = bin_clips(logits([0.9, 0.6, 0.7, 0.8]), np.array([0, 0, 1, 0]), bins=2)
    assert found.confidence == pytest.approx([0.65, 0.85]) and found.accuracy == pytest.approx([0.5, 1])
    assert found.clips.tolist() == [2, 2]
    ties = bin_clips(np.repeat(logits([0.7, 0.9]), [3, 1], axis=0), np.array([0, 0, 1, 0]), bins=4)
    assert ties.accuracy == pytest.approx([2 / 3, 1]) and ties.clips.tolist() == [3, 1]


def test_it_is_that_of_scikit_learns_curve():
    rng = np.random.default_rng(0)
    scores, labels = rng.normal(0, 2, (300, 6)), rng.integers(0, 6, 300)
    share = np.exp(scores) / np.exp(scores).sum(axis=1, keepdims=True)
    right = share.argmax(axis=1) == labels
    found, expected = calibration_curve(right, share.max(axis=1), n_bins=15, strategy="quantile")
    assert expected_calibration_error(scores, labels) == pytest.approx(np.abs(found - expected).mean())


def test_a_model_of_constant_confidence_has_one_bin():
    scores = np.repeat(logits([0.7]), 10, axis=0)
    assert expected_calibration_error(scores, np.array([0] * 7 + [1] * 3)) == pytest.approx(0, abs=1e-12)
    assert expected_calibration_error(scores, np.array([0] * 4 + [1] * 6)) == pytest.approx(0.3)


@SOME
@given(st.integers(0, 10_000), st.floats(-50, 50))
def test_neither_the_order_of_clips_nor_the_level_of_scores_matters(seed, level):
    rng = np.random.default_rng(seed)
    scores, labels = rng.integers(0, 3, (40, 4)).astype(float), rng.integers(0, 4, 40)
    order, found = rng.permutation(40), expected_calibration_error(scores, labels)
    assert expected_calibration_error(scores[order], labels[order]) == pytest.approx(found)
    assert 0 <= found <= 1


def test_adding_a_constant_to_all_scores_changes_nothing():
    rng = np.random.default_rng(3)
    scores, labels = rng.normal(0, 2, (90, 4)), rng.integers(0, 4, 90)
    assert expected_calibration_error(scores + 1e3, labels) == pytest.approx(expected_calibration_error(scores, labels))


@pytest.mark.parametrize(("clips", "low", "high"), [(75, 0.1, 0.25), (30_000, 0.0, 0.02)])
def test_few_clips_bias_a_calibrated_model_upwards(clips, low, high):
    rng = np.random.default_rng(0)
    share = rng.uniform(0.5, 0.6, clips)
    labels = (rng.random(clips) > share).astype(int)
    assert low < expected_calibration_error(logits(list(share)), labels) < high


def test_certain_and_wrong_is_an_error_of_1():
    assert expected_calibration_error(np.array([[1000.0, 0.0]]), np.array([1])) == 1


@pytest.mark.parametrize(
    ("scores", "labels", "bins"),
    [
        (np.zeros((0, 3)), np.zeros(0, int), 15),
        (np.zeros((4, 0)), np.zeros(4, int), 15),
        (np.zeros((4, 3)), np.zeros(3, int), 15),
        (np.zeros((4, 3)), np.zeros(4, int), 0),
        (np.full((4, 3), math.nan), np.zeros(4, int), 15),
    ],
)
def test_scores_that_are_missing_or_no_numbers_are_refused(scores, labels, bins):
    with pytest.raises(ValueError, match="score"):
        expected_calibration_error(scores, labels, bins)
