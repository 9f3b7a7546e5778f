"""Paired runs: exact tests of few pairs, corrected tests of overlapping folds, and limits of few pairs."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from statsmodels.stats.power import TTestPower
from statsmodels.stats.weightstats import DescrStatsW

from reports.statistics import MAX_ENUMERATED_PAIRS, compare_pairs

SOME = settings(deadline=None, max_examples=60)
TENTHS = st.integers(-30, 30).map(lambda value: value / 10)  # many ties and zeros
POINTS = st.lists(TENTHS, min_size=1, max_size=8)
OVERLAPS = st.sampled_from([None, 0.5])


def enumerated(differences: list[float]) -> float:
    """Return the two-sided signed-rank p by enumerating all signs in integers."""
    sizes = sorted(round(abs(value) * 10) for value in differences if value)
    twice = [2 * sizes.index(size) + sizes.count(size) + 1 for size in sizes]  # twice the mean rank
    signed = sorted(((round(abs(value) * 10), value > 0) for value in differences if value), key=lambda pair: pair[0])
    observed = sum(rank for rank, (_, positive) in zip(twice, signed, strict=True) if positive)
    sums = [sum(itertools.compress(twice, signs)) for signs in itertools.product([0, 1], repeat=len(twice))]
    low, high = (sum(found <= observed for found in sums), sum(found >= observed for found in sums))
    return min(1.0, 2 * min(low, high) / len(sums))


@SOME
@given(POINTS)
def test_p_is_that_of_all_choices_of_signs_with_ties_and_zeros(differences):
    assert compare_pairs(differences).p == pytest.approx(enumerated(differences), abs=1e-12)


def test_p_of_as_many_tied_pairs_as_are_enumerated_is_exact():
    differences = [0.5, 0.5, -0.5, 1.0, 1.0, 1.5, 1.5, -2.0, 2.0, 2.5, 2.5, -3.0, 3.0, 0.1]
    assert len(differences) == MAX_ENUMERATED_PAIRS
    assert compare_pairs(differences).p == pytest.approx(enumerated(differences), abs=1e-12)


def test_p_of_many_untied_pairs_is_exact_and_of_many_tied_ones_nearly_so():
    untied = [0.1 * (value if value % 3 else -value) for value in range(1, 16)]
    assert compare_pairs(untied).p == pytest.approx(enumerated(untied), abs=1e-12)
    tied = [*untied[:-1], untied[-2]]
    assert compare_pairs(tied).p == pytest.approx(enumerated(tied), rel=0.1)


def test_differences_equal_but_for_rounding_are_ties():
    noisy = [0.1 + 0.2, -0.3, 0.7 - 0.4, 1.2]
    assert len(set(map(abs, noisy))) > 2
    assert compare_pairs(noisy).p == enumerated([0.3, -0.3, 0.3, 1.2])


@pytest.mark.parametrize(("n", "p"), [(1, 1.0), (2, 0.5), (5, 0.0625), (6, 0.03125), (8, 0.0078125), (20, 2**-19)])
def test_pairs_of_one_sign_reach_the_smallest_p(n, p):
    found = compare_pairs([0.1 * (index + 1) for index in range(n)])
    assert found.p == pytest.approx(p) and found.smallest_p == p
    assert (found.smallest_p <= 0.05) is (n >= 6)


@SOME
@given(POINTS)
def test_no_pairs_reach_less_than_the_smallest_p(differences):
    assert compare_pairs(differences).p >= compare_pairs(differences).smallest_p


@SOME
@given(POINTS, OVERLAPS, st.randoms())
def test_the_order_of_seeds_changes_nothing(differences, overlap, random):
    mixed = random.sample(differences, len(differences))
    assert compare_pairs(mixed, overlap) == compare_pairs(differences, overlap)


@SOME
@given(POINTS, OVERLAPS)
def test_swapping_the_two_sides_flips_the_sign_and_keeps_p(differences, overlap):
    one, other = compare_pairs(differences, overlap), compare_pairs([-value for value in differences], overlap)
    assert other.mean == pytest.approx(-one.mean) and other.p == pytest.approx(one.p)
    assert (one.std, one.detectable_difference) == pytest.approx((other.std, other.detectable_difference))
    if one.low is not None:
        assert (other.low, other.high) == pytest.approx((-one.high, -one.low))


@pytest.mark.parametrize("overlap", [None, 0.5])
@pytest.mark.parametrize("n", [1, 2, 5, 20])
def test_a_method_against_itself_has_difference_0_and_p_1(n, overlap):
    found = compare_pairs([0.0] * n, overlap)
    assert (found.mean, found.p, found.low, found.detectable_difference) == (0, 1, None, None)
    assert found.std == (0 if n > 1 else None)


def test_the_interval_is_students():
    differences = [1.5, -0.3, 2.2, 0.9, 1.1]
    found = compare_pairs(differences)
    assert (found.low, found.high) == pytest.approx(DescrStatsW(differences).tconfint_mean(0.05))
    assert found.std == pytest.approx(np.std(differences, ddof=1)) and found.mean == pytest.approx(1.08)


@pytest.mark.parametrize(("n", "overlap"), [(3, None), (8, None), (10, 0.5)])
def test_a_detectable_difference_is_found_four_times_in_five(n, overlap):
    differences = list(np.random.default_rng(n).normal(1, 2, n))
    found = compare_pairs(differences, overlap)
    error = found.std * math.sqrt(1 / n + (overlap or 0))
    critical, shift = stats.t.ppf(0.975, n - 1), found.detectable_difference / error
    power = stats.nct.sf(critical, n - 1, shift) + stats.nct.cdf(-critical, n - 1, shift)
    assert power == pytest.approx(0.8, abs=1e-4)
    if overlap is None:
        assert TTestPower().power(found.detectable_difference / found.std, n, 0.05) == pytest.approx(0.8, abs=1e-4)


def test_nadeau_and_bengio_by_hand():
    # mean 3, variance 2.5, times 1/5 + 1/2 = 1.75; t^2 = 9 / 1.75 = 36/7 with 4 degrees of freedom, whose distribution
    # is 1/2 + 3/8 * x * (1 - x^2 / 12) with x^2 = t^2 / (1 + t^2 / 4) = 9/4: 0.95703125, so p = 2 * 0.04296875 = 11/128
    found = compare_pairs([1, 2, 3, 4, 5], overlap=0.5)
    assert found.p == pytest.approx(11 / 128)
    assert (found.low, found.high) == pytest.approx((3 - 2.776445 * 1.75**0.5, 3 + 2.776445 * 1.75**0.5), abs=1e-5)
    assert (found.is_corrected, found.smallest_p) == (True, 0.0)


def test_without_overlap_the_corrected_test_is_the_paired_t_test():
    a, b = [70.1, 68.4, 71.9, 69.0], [66.0, 67.9, 68.8, 69.4]
    found = compare_pairs(np.subtract(a, b), overlap=0)
    assert found.p == pytest.approx(stats.ttest_rel(a, b).pvalue) and found.is_corrected


def test_overlap_widens_the_interval_and_the_detectable_difference():
    differences = [1.5, -0.3, 2.2, 0.9, 1.1, 0.4, 2.0, 1.7, -0.2, 0.6]
    plain, wide = compare_pairs(differences), compare_pairs(differences, overlap=0.5)
    by = math.sqrt(1 + 10 * 0.5)
    assert wide.high - wide.low == pytest.approx(by * (plain.high - plain.low))
    assert wide.detectable_difference == pytest.approx(by * plain.detectable_difference)


@pytest.mark.parametrize("overlap", [None, 0.5])
def test_one_pair_has_a_difference_and_nothing_else(overlap):
    found = compare_pairs([2.5], overlap)
    assert (found.n_pairs, found.mean, found.p, found.smallest_p) == (1, 2.5, 1.0, 1.0)
    assert (found.std, found.low, found.high, found.detectable_difference) == (None,) * 4


@pytest.mark.parametrize("overlap", [None, 0.5])
def test_no_pairs_have_no_p(overlap):
    found = compare_pairs([], overlap)
    assert found.n_pairs == 0 and math.isnan(found.mean)
    assert (found.p, found.low, found.smallest_p) == (None, None, 1.0)


def test_equal_differences_have_a_signed_rank_p_but_no_interval_and_no_t_test():
    plain, corrected = compare_pairs([0.1 + 0.2] * 3 + [0.3] * 3), compare_pairs([1.3] * 6, overlap=0.5)
    assert plain.p == 0.03125 and corrected.p is None
    for found in (plain, corrected):
        assert (found.std, found.low, found.high, found.detectable_difference) == (0.0, None, None, None)


@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_what_is_no_number_is_refused(bad):
    with pytest.raises(ValueError, match="finite"):
        compare_pairs([1.0, bad])
    with pytest.raises(ValueError, match="overlap"):
        compare_pairs([1.0, 2.0], overlap=bad)


@pytest.mark.parametrize("overlap", [None, 0.5])
def test_no_true_difference_is_found_in_at_most_one_case_of_twenty(overlap):
    rng = np.random.default_rng(0)
    shared = 0 if overlap is None else rng.normal(0, math.sqrt(0.5), (400, 1))  # correlation 1/3 = test / all clips
    found = [compare_pairs(row, overlap).p for row in shared + rng.normal(0, 1, (400, 8))]
    assert 0.02 < np.mean([p <= 0.05 for p in found]) < 0.075
    if overlap is not None:  # what the correction is for
        assert np.mean([stats.ttest_1samp(row, 0).pvalue <= 0.05 for row in shared + rng.normal(0, 1, (400, 8))]) > 0.2
