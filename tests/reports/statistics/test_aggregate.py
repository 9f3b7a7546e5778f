"""Mean over data sets: data sets count equally, and the interval is that of new runs."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from reports.statistics import MIN_RUNS, mean_over_datasets

SOME = settings(deadline=None, max_examples=50)
SCORES = [[60.0, 61.5, 59.0, 60.5, 62.0], [40.0, 44.0, 41.0, 43.0, 42.0, 39.0], [80.0, 80.5, 79.5, 80.0, 81.0]]
RUNS = st.lists(st.floats(0, 100), min_size=MIN_RUNS, max_size=8)


def test_each_data_set_counts_the_same_however_many_runs_it_has():
    found = mean_over_datasets([[10.0], [20.0, 40.0, 60.0]])
    assert found.mean == 25.0 and found.groups == 2


def test_the_interval_is_nearly_the_normal_one_of_stratified_means():
    found = mean_over_datasets(SCORES, draws=20_000)
    error = math.sqrt(sum(np.var(runs) / len(runs) for runs in SCORES)) / len(SCORES)
    assert (found.high - found.low) / 2 == pytest.approx(1.96 * error, rel=0.03)
    assert found.low < found.mean < found.high and found.p is None and found.reason == ""


def test_runs_are_not_mixed_between_data_sets():
    far = [[score + 1000 * index for score in runs] for index, runs in enumerate(SCORES)]
    near, apart = mean_over_datasets(SCORES), mean_over_datasets(far)
    assert (apart.low, apart.high) == pytest.approx((near.low + 1000, near.high + 1000))


@SOME
@given(st.lists(RUNS, min_size=1, max_size=3), st.randoms())
def test_the_order_of_seeds_changes_nothing(scores, random):
    mixed = [random.sample(runs, len(runs)) for runs in scores]
    assert mean_over_datasets(mixed, draws=50) == mean_over_datasets(scores, draws=50)


def test_intervals_of_ten_runs_contain_the_true_value():
    rng, held = np.random.default_rng(0), []
    truth = np.array([[60.0], [50.0], [70.0], [20.0]])
    for seed in range(500):
        found = mean_over_datasets(rng.normal(truth, 2, (4, 10)), draws=1000, seed=seed)
        held.append(found.low <= 50 <= found.high)
    assert 0.88 < np.mean(held) < 0.98


def test_folds_that_share_clips_have_the_variance_of_nadeau_and_bengio():
    overlaps = [None, 0.25, None]
    found = mean_over_datasets(SCORES, overlaps, draws=20_000)
    shares = [1 / len(runs) + (one or 0) for runs, one in zip(SCORES, overlaps, strict=True)]
    error = math.sqrt(sum(np.var(runs) * share for runs, share in zip(SCORES, shares, strict=True))) / len(SCORES)
    assert (found.high - found.low) / 2 == pytest.approx(1.96 * error, rel=0.03)
    assert found.mean == mean_over_datasets(SCORES).mean
    assert mean_over_datasets(SCORES, [None, 0.0, None]) == mean_over_datasets(SCORES)


@pytest.mark.parametrize("overlap", [-0.1, math.nan, math.inf])
def test_an_overlap_is_a_share(overlap):
    with pytest.raises(ValueError, match="test clips / training clips"):
        mean_over_datasets(SCORES, [overlap, None, None])


@pytest.mark.parametrize("runs", [1, MIN_RUNS - 1])
def test_too_few_runs_on_one_data_set_give_a_mean_and_say_why_no_interval(runs):
    found = mean_over_datasets([*SCORES, [50.0, 51.0, 52.0, 53.0][:runs]])
    assert (found.low, found.high) == (None, None) and f"here {runs}" in found.reason and math.isfinite(found.mean)


def test_runs_that_do_not_differ_have_no_interval():
    found = mean_over_datasets([[16.7] * 5, [20.0] * 5])
    assert found.mean == pytest.approx(18.35) and found.low is None and "do not differ" in found.reason


@pytest.mark.parametrize("scores", [[], [[]], [[1.0] * 5, []], [[1.0, math.nan, 2.0, 3.0, 4.0]]])
def test_missing_scores_are_refused(scores):
    with pytest.raises(ValueError, match="finite scores"):
        mean_over_datasets(scores)
