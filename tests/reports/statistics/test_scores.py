"""Intervals and tests of scores that are not accuracies agree with a plain loop, and hold what they promise."""

from __future__ import annotations

import numpy as np
import pytest

from bench.metrics import compute_concordance, compute_correlation
from reports.statistics import (
    MIN_GROUPS,
    compute_score_difference,
    compute_score_interval,
    sum_errors,
    sum_moments,
)

KINDS = ("mae", "ccc", "corr")
SIZES = (1, 2, 2, 3, 3, 4, 5, 6, 7, 8, 9, 10)  # clips of each group
GROUPS = [f"video{place}" for place, size in enumerate(SIZES) for _ in range(size)]


def sums(kind, predicted, targets):
    """Return the sums of a score from (R, n, K) predictions and (n, K) targets."""
    return sum_errors(predicted, targets) if kind == "mae" else sum_moments(predicted, targets, kind == "ccc")


def plain(kind, predicted, targets, rows):
    """Return the score of some clips, the mean over runs and targets, by definition."""
    found = []
    for run in predicted:
        for x, y in zip(targets[rows].T, run[rows].T, strict=True):
            x, y = x.astype(float), y.astype(float)
            if kind == "mae":
                found.append(np.abs(x - y).mean())
            elif kind == "corr":
                found.append(np.corrcoef(x, y)[0, 1])
            else:
                found.append(2 * np.cov(x, y, bias=True)[0, 1] / (x.var() + y.var() + (x.mean() - y.mean()) ** 2))
    return float(np.mean(found))


def made(seed=0, runs=2, targets=1, groups=GROUPS, noise=0.6, shift=0.0):
    """Return (n, K) targets and (R, n, K) predictions whose errors are shared within a group."""
    rng = np.random.default_rng(seed)
    names = np.unique(groups, return_inverse=True)[1]
    truth = rng.normal(size=(len(groups), targets)) + 0.5 * rng.normal(size=(names.max() + 1, targets))[names]
    shared = rng.normal(size=(names.max() + 1, targets))[names]
    guess = 0.8 * truth + noise * (shared + rng.normal(size=(runs, len(groups), targets)))
    return truth + shift, (guess + shift).astype(np.float32)


@pytest.mark.parametrize("targets", [1, 2])
@pytest.mark.parametrize("kind", KINDS)
def test_a_score_is_that_of_the_metric(kind, targets):
    truth, guess = made(targets=targets)
    found = compute_score_interval(sums(kind, guess, truth), GROUPS, 1.0)
    assert found.mean == pytest.approx(plain(kind, guess, truth, np.arange(len(truth))), rel=1e-12)
    metric = {"ccc": compute_concordance, "corr": compute_correlation}.get(kind, lambda x, y: np.abs(x - y).mean())
    each = [metric(x, y) for run in guess.astype(float) for x, y in zip(truth.T, run.T, strict=True)]
    assert found.mean == pytest.approx(np.mean(each), rel=1e-12)
    assert found.low < found.mean < found.high and found.groups == len(SIZES) and found.p is None


@pytest.mark.parametrize("kind", KINDS)
def test_the_interval_is_a_bootstrap_of_whole_groups(kind):
    groups = [f"v{place:02}" for place in range(20) for _ in range(1 + place % 4)]
    truth, guess = made(groups=groups)
    found = compute_score_interval(sums(kind, guess, truth), groups, 1.0)
    members = [np.flatnonzero(np.array(groups) == name) for name in sorted(set(groups))]
    rng, draws = np.random.default_rng(7), []
    for _ in range(1500):
        rows = np.concatenate([members[one] for one in rng.integers(len(members), size=len(members))])
        draws.append(plain(kind, guess, truth, rows))
    ends = np.percentile(draws, [2.5, 97.5])
    assert [found.low, found.high] == pytest.approx(ends, abs=0.1 * np.ptp(ends))


@pytest.mark.parametrize("kind", KINDS)
def test_a_difference_is_of_pairs_on_the_same_draws(kind):
    truth, good = made(noise=0.3)
    _, bad = made(noise=0.9)
    found = compute_score_difference(sums(kind, good, truth), sums(kind, bad, truth), GROUPS, 2.0)
    rows = np.arange(len(truth))
    assert found.mean == pytest.approx(2 * (plain(kind, good, truth, rows) - plain(kind, bad, truth, rows)))
    assert found.low < found.mean < found.high and (found.mean < 0) == (kind == "mae")
    other = compute_score_difference(sums(kind, bad, truth), sums(kind, good, truth), GROUPS, 2.0)
    assert (other.mean, other.low, other.high) == pytest.approx((-found.mean, -found.high, -found.low))
    assert other.p == found.p and (found.p < 0.05) == (found.low > 0 or found.high < 0)


@pytest.mark.parametrize("kind", KINDS)
def test_equal_predictions_differ_by_exactly_0(kind):
    truth, guess = made(targets=2)
    found = compute_score_difference(sums(kind, guess, truth), sums(kind, guess.copy(), truth), GROUPS, 1.0)
    assert (found.mean, found.p, found.low, found.high) == (0.0, 1.0, None, None) and "no interval" in found.reason


@pytest.mark.parametrize("kind", KINDS)
def test_fewer_than_ten_groups_have_a_mean_and_no_interval(kind):
    truth, guess = made()
    few = [str(place % (MIN_GROUPS - 1)) for place in range(len(truth))]
    one, two = sums(kind, guess, truth), sums(kind, guess + 0.1, truth)
    for found in (compute_score_interval(one, few, 1.0), compute_score_difference(one, two, few, 1.0)):
        assert (found.low, found.high, found.p, found.groups) == (None, None, None, MIN_GROUPS - 1)
        assert str(MIN_GROUPS) in found.reason
    whole = compute_score_interval(one, GROUPS, 1.0).mean
    assert compute_score_interval(one, few, 1.0).mean == pytest.approx(whole, rel=1e-12)  # sums in another order


@pytest.mark.parametrize("value", [0.0, 0.3, 1e5])
@pytest.mark.parametrize("kind", ["ccc", "corr"])
def test_a_constant_prediction_has_a_correlation_of_0(kind, value):
    """Check the mean and every draw: rounding errors of a variance of 0 would give any number."""
    truth, guess = made(shift=value)
    same = np.full_like(guess, value)
    found = compute_score_interval(sums(kind, same, truth), GROUPS, 1.0)
    assert found.mean == 0 and found.low is None and "no interval" in found.reason
    against = compute_score_difference(sums(kind, guess, truth), sums(kind, same, truth), GROUPS, 1.0)
    alone = compute_score_interval(sums(kind, guess, truth), GROUPS, 1.0)
    assert (against.mean, against.low, against.high) == pytest.approx((alone.mean, alone.low, alone.high))


@pytest.mark.parametrize("kind", KINDS)
def test_numbers_far_from_0_lose_no_digits(kind):
    truth, guess = made()
    near = compute_score_interval(sums(kind, guess.astype(np.float64), truth), GROUPS, 1.0)
    far = compute_score_interval(sums(kind, guess.astype(np.float64) + 1e6, truth + 1e6), GROUPS, 1.0)
    assert (far.mean, far.low, far.high) == pytest.approx((near.mean, near.low, near.high), rel=1e-6)


@pytest.mark.parametrize("kind", KINDS)
def test_the_order_of_clips_and_runs_changes_nothing(kind):
    truth, guess = made(runs=3)
    order = np.random.default_rng(0).permutation(len(truth))
    again = compute_score_interval(
        sums(kind, guess[::-1, order], truth[order]), [GROUPS[place] for place in order], 1.0
    )
    found = compute_score_interval(sums(kind, guess, truth), GROUPS, 1.0)
    assert (again.mean, again.low, again.high) == pytest.approx((found.mean, found.low, found.high))


TRUE_SCORES = {"mae": np.sqrt(0.72 + 0.04) * np.sqrt(2 / np.pi), "corr": 0.8 / np.sqrt(0.64 + 0.72)}
"""Of predictions 0.8 x + 0.6 (a + b) of standard normal x, with standard normal a, b."""


@pytest.mark.parametrize("kind", ["mae", "corr"])
def test_most_intervals_contain_the_true_score(kind):
    rng, held = np.random.default_rng(0), []
    groups = [str(place // 3) for place in range(120)]
    for seed in range(120):
        truth = rng.normal(size=(120, 1))
        noise = np.repeat(rng.normal(size=(40, 1)), 3, axis=0) + rng.normal(size=(1, 120, 1))
        found = compute_score_interval(sums(kind, 0.8 * truth + 0.6 * noise, truth), groups, 1.0, 300, seed)
        held.append(found.low <= TRUE_SCORES[kind] <= found.high)
    assert 0.87 < np.mean(held) <= 0.99


def test_differences_of_equal_methods_are_found_in_about_one_case_of_twenty():
    rng, found = np.random.default_rng(1), []
    groups = [str(place // 3) for place in range(120)]
    for seed in range(120):
        truth = rng.normal(size=(120, 1))
        one, two = (
            truth + np.repeat(rng.normal(size=(40, 1)), 3, axis=0) + rng.normal(size=(1, 120, 1)) for _ in range(2)
        )
        sides = [sums("ccc", side, truth) for side in (one, two)]
        found.append(compute_score_difference(*sides, groups, 1.0, 300, seed).p <= 0.05)
    assert np.mean(found) < 0.12


def test_runs_on_other_clips_are_refused():
    truth, guess = made()
    with pytest.raises(ValueError, match="equal shapes"):
        compute_score_difference(sums("mae", guess, truth), sums("mae", guess[:1], truth), GROUPS, 1.0)
    with pytest.raises(ValueError, match="groups: "):
        compute_score_interval(sums("mae", guess, truth), GROUPS[1:], 1.0)
