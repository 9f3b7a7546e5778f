"""Tests by clips: coverage of bootstrap intervals, and exact tests of discordant clips."""

from __future__ import annotations

import statistics

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from reports.statistics import (
    MIN_GROUPS,
    compute_accuracy_difference,
    compute_accuracy_interval,
    compute_accuracy_standard_error,
    mcnemar_test,
)

N, GROUPS = 60, 20
EACH = [f"clip {index}" for index in range(N)]
VIDEOS = [f"video {index % GROUPS}" for index in range(N)]
SOME = settings(deadline=None, max_examples=30)
SEEDS = st.integers(0, 10_000)


def runs(seed: int, share: float = 0.6, count: int = 3, clips: int = N) -> np.ndarray:
    return np.random.default_rng(seed).random((count, clips)) < share


def clustered(
    rng: np.random.Generator, groups: int, size: int, spread: float
) -> tuple[np.ndarray, np.ndarray, list[str]]:
    """Return two runs of each of two methods, whose difference varies by video and is 0 over all videos."""
    hard, better = rng.normal(0, 1, groups), rng.normal(0, spread, groups)
    chance = [np.repeat(1 / (1 + np.exp(-hard - sign * better)), size) for sign in (1, -1)]
    a, b = (rng.random((2, groups * size)) < share for share in chance)
    return a, b, [f"video {index}" for index in range(groups) for _ in range(size)]


@SOME
@given(SEEDS)
def test_a_method_against_itself_has_difference_0_and_p_1(seed):
    right = runs(seed)
    found = compute_accuracy_difference(right, right, VIDEOS, draws=50)
    assert (found.mean, found.p, found.low, found.high) == (0, 1, None, None) and "no interval" in found.reason
    assert mcnemar_test(right, right) == 1


@SOME
@given(SEEDS)
def test_swapping_the_two_sides_flips_the_sign_and_keeps_p(seed):
    a, b = runs(seed, 0.7), runs(seed + 1, 0.5)
    one, other = (
        compute_accuracy_difference(a, b, VIDEOS, draws=200),
        compute_accuracy_difference(b, a, VIDEOS, draws=200),
    )
    assert (other.mean, other.low, other.high) == pytest.approx((-one.mean, -one.high, -one.low))
    assert other.p == one.p and mcnemar_test(a, b) == mcnemar_test(b, a)


@SOME
@given(SEEDS, st.permutations(range(3)), st.permutations(range(N)))
def test_the_order_of_runs_and_of_clips_changes_nothing(seed, order, places):
    a, b, labels = runs(seed, 0.7), runs(seed + 1, 0.5), np.arange(N) // GROUPS
    mixed = [VIDEOS[place] for place in places]
    again = compute_accuracy_difference(a[order][:, places], b[order][:, places], mixed, draws=100)
    assert again == compute_accuracy_difference(a, b, VIDEOS, draws=100)
    again = compute_accuracy_interval(a[order][:, places], labels[places], mixed, draws=100)
    assert again == compute_accuracy_interval(a, labels, VIDEOS, draws=100)
    assert mcnemar_test(a[order], b[order]) == mcnemar_test(a, b)


def test_the_mean_is_over_runs_and_clips_and_lies_in_its_interval():
    a, b = runs(0, 0.7), runs(1, 0.5)
    found = compute_accuracy_difference(a, b, VIDEOS)
    assert found.mean == pytest.approx(100 * (a.mean() - b.mean()))
    assert found.low < found.mean < found.high and found.groups == GROUPS and found.reason == ""
    score = compute_accuracy_interval(a, np.arange(N) % 3, EACH)
    assert score.mean == pytest.approx(100 * a.mean()) and score.low < score.mean < score.high
    assert score.p is None and score.groups == N


def test_the_interval_of_single_clips_is_nearly_the_normal_one():
    a, b = runs(0, 0.7, 2, 2000), runs(1, 0.5, 2, 2000)
    found = compute_accuracy_difference(a, b, [str(index) for index in range(2000)])
    error = 100 * stats.sem(a.mean(axis=0) - b.mean(axis=0))
    assert (found.high - found.low) / 2 == pytest.approx(1.96 * error, rel=0.05)


def test_p_agrees_with_the_interval():
    found = [
        compute_accuracy_difference(runs(seed, 0.6), runs(seed + 500, 0.5), VIDEOS, draws=499) for seed in range(40)
    ]
    clear = [
        interval for interval in found if not 0.03 < interval.p < 0.07
    ]  # nearer, quantiles and counts may disagree
    assert {interval.p < 0.05 for interval in clear} == {True, False}
    assert all((interval.low > 0 or interval.high < 0) == (interval.p < 0.05) for interval in clear)


def test_draws_that_all_agree_give_a_small_p_but_never_0():
    assert compute_accuracy_difference(runs(0, 0.9), runs(1, 0.1), VIDEOS, draws=199).p == 2 / 200


def test_intervals_over_videos_contain_the_true_value_and_those_over_their_clips_do_not():
    rng, by_video, by_clip = np.random.default_rng(0), [], []
    for seed in range(250):
        a, b, videos = clustered(rng, groups=40, size=10, spread=0.8)
        for held, groups in ((by_video, videos), (by_clip, range(len(videos)))):
            found = compute_accuracy_difference(a, b, [str(name) for name in groups], draws=300, seed=seed)
            held.append(found.low <= 0 <= found.high)
    assert 0.90 < np.mean(by_video) < 0.98
    assert np.mean(by_clip) < 0.75


def test_no_difference_over_videos_is_found_in_about_one_case_of_twenty():
    rng, found = np.random.default_rng(1), []
    for seed in range(250):
        a, b, videos = clustered(rng, groups=40, size=5, spread=0.8)
        found.append(compute_accuracy_difference(a, b, videos, draws=300, seed=seed).p <= 0.05)
    assert np.mean(found) < 0.1


def test_intervals_of_a_score_contain_the_true_value():
    rng, held = np.random.default_rng(0), []
    labels = np.repeat([0, 1, 2], [60, 30, 10])
    chance = np.array([0.9, 0.6, 0.2])
    for seed in range(250):
        found = compute_accuracy_interval(
            rng.random((1, 100)) < chance[labels], labels, [str(i) for i in range(100)], 300, seed
        )
        held.append(found.low <= 100 * chance[labels].mean() <= found.high)
    assert 0.90 < np.mean(held) < 0.98


def test_resampling_within_classes_leaves_out_how_classes_differ():
    labels = np.arange(N) % 2
    right = np.stack([(labels == 0) ^ (np.arange(N) < 4)])  # nearly all of one class, next to none of the other
    stratified, pooled = (
        compute_accuracy_interval(right, labels, EACH),
        compute_accuracy_interval(right, np.zeros(N, int), EACH),
    )
    assert stratified.high - stratified.low < 0.6 * (pooled.high - pooled.low)
    every = [labels == 0]
    assert (
        compute_accuracy_interval(every, labels, EACH).low is None
        and "no interval" in compute_accuracy_interval(every, labels, EACH).reason
    )


def test_videos_of_several_clips_are_the_unit_of_a_score():
    right = np.repeat(runs(0, 0.5, 1, 20), 10, axis=1)  # all clips of a video are equal
    videos = [str(index // 10) for index in range(200)]
    labels = np.zeros(200, int)
    wide, narrow = (
        compute_accuracy_interval(right, labels, groups) for groups in (videos, [str(i) for i in range(200)])
    )
    assert wide.high - wide.low == pytest.approx(10**0.5 * (narrow.high - narrow.low), rel=0.15)


@pytest.mark.parametrize("classes", [np.arange(12), np.r_[0, np.ones(11, int)], np.r_[0, 1, np.full(10, 2)]])
def test_classes_of_a_single_video_vary_too(classes):
    right = np.array([[True, *[False] * 11]])  # the only correct clip is alone in its class
    found = compute_accuracy_interval(right, classes, [str(index) for index in range(12)])
    assert found.low == 0 and found.high > found.mean


@pytest.mark.parametrize("groups", [1, MIN_GROUPS - 1])
def test_too_few_groups_give_a_mean_and_say_why_no_interval(groups):
    a, b, names = runs(0, 0.7), runs(1, 0.5), [str(index % groups) for index in range(N)]
    for found in (compute_accuracy_difference(a, b, names), compute_accuracy_interval(a, np.zeros(N, int), names)):
        assert (found.low, found.high, found.p, found.groups) == (None, None, None, groups)
        assert str(groups) in found.reason and str(MIN_GROUPS) in found.reason
    assert compute_accuracy_difference(a, b, names).mean == pytest.approx(100 * (a.mean() - b.mean()))


def test_one_run_has_an_interval_and_more_runs_of_the_same_change_nothing():
    a, b = runs(0, 0.7, count=1), runs(1, 0.5, count=1)
    assert compute_accuracy_difference(a, b, VIDEOS) == compute_accuracy_difference(
        np.repeat(a, 2, axis=0), np.repeat(b, 2, axis=0), VIDEOS
    )


def test_another_seed_draws_others_and_the_same_seed_the_same():
    a, b = runs(0, 0.7), runs(1, 0.5)
    assert (
        compute_accuracy_difference(a, b, VIDEOS, seed=1)
        == compute_accuracy_difference(a, b, VIDEOS, seed=1)
        != compute_accuracy_difference(a, b, VIDEOS, seed=2)
    )


def test_mcnemar_is_a_sign_test_of_discordant_clips():
    a, b = runs(0, 0.7), runs(1, 0.5)
    each = [mcnemar_test([first], [second]) for first, second in zip(a, b, strict=True)]
    for p, first, second in zip(each, a, b, strict=True):
        only_a = sum(x and not y for x, y in zip(first, second, strict=True))
        only_b = sum(y and not x for x, y in zip(first, second, strict=True))
        assert p == pytest.approx(stats.binomtest(only_a, only_a + only_b).pvalue)
    assert mcnemar_test(a, b) == pytest.approx(min(1, 2 * statistics.median(each)))


def test_mcnemar_by_hand():
    a, b = np.array([[True] * 5 + [False]]), np.array([[False] * 5 + [True]])
    assert mcnemar_test(a, b) == pytest.approx(2 * (1 + 6) / 2**6)  # 5 of 6 or more extreme, on both sides


def test_pairs_of_runs_that_depend_on_each_other_reject_no_more_than_they_should():
    rng, found = np.random.default_rng(0), []
    for _ in range(300):
        a, b = (np.repeat(rng.random((1, 100)) < 0.5, 3, axis=0) for _ in range(2))
        found.append(mcnemar_test(a, b) <= 0.05)
    assert np.mean(found) <= 0.05


def test_the_resolution_is_the_spread_of_accuracy_over_test_sets():
    assert compute_accuracy_standard_error(50, 100) == 5.0 and compute_accuracy_standard_error(
        90, 400
    ) == pytest.approx(1.5)
    drawn = np.random.default_rng(0).binomial(300, 0.7, 20_000) / 3
    assert compute_accuracy_standard_error(70, 300) == pytest.approx(drawn.std(), rel=0.03)
    for accuracy, clips in ((50, 0), (101, 10), (float("nan"), 10)):
        with pytest.raises(ValueError, match="accuracy"):
            compute_accuracy_standard_error(accuracy, clips)


@pytest.mark.parametrize(
    "bad", [np.zeros((0, 5), bool), np.zeros((2, 0), bool), np.ones(5, bool), np.full((2, 5), np.nan)]
)
def test_what_is_not_runs_by_clips_is_refused(bad):
    names = ["v"] * 5
    for ask in (
        lambda: compute_accuracy_difference(bad, bad, names),
        lambda: compute_accuracy_interval(bad, [0] * 5, names),
        lambda: mcnemar_test(bad, bad),
    ):
        with pytest.raises(ValueError, match="bool"):
            ask()


def test_clips_groups_and_labels_that_do_not_match_are_refused():
    a = runs(0)
    for ask in (lambda: compute_accuracy_difference(a, a[:2], VIDEOS), lambda: mcnemar_test(a, a[:, :-1])):
        with pytest.raises(ValueError, match="equal shapes"):
            ask()
    with pytest.raises(ValueError, match="groups: "):
        compute_accuracy_difference(a, a, VIDEOS[1:])
    with pytest.raises(ValueError, match="labels"):
        compute_accuracy_interval(a, [0, 1], VIDEOS)
