"""Families of tests: Holm's adjustment, and stars that too few runs cannot reach."""

from __future__ import annotations

import itertools
import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from statsmodels.stats.multitest import multipletests

from reports.statistics import adjust_holm, format_significance_stars

FEW = settings(deadline=None, max_examples=6)  # statsmodels collects garbage at each call
FAMILY = st.lists(st.none() | st.floats(0, 1), max_size=12)


def test_holm_by_hand():
    # sorted 0.005, 0.01, 0.03, 0.04 times 4, 3, 2, 1, and never less than the one before
    assert adjust_holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])


@FEW
@given(FAMILY)
def test_an_adjusted_p_is_never_below_the_raw_one_and_keeps_the_order(ps):
    adjusted = adjust_holm(ps)
    pairs = sorted((p, q) for p, q in zip(ps, adjusted, strict=True) if p is not None)
    assert all(p <= q <= 1 for p, q in pairs)
    assert all(one <= other + 1e-15 for (_, one), (_, other) in itertools.pairwise(pairs))


@FEW
@given(FAMILY)
def test_what_was_not_tested_stays_so_and_does_not_count(ps):
    adjusted = adjust_holm(ps)
    assert [q is None for q in adjusted] == [p is None for p in ps]
    assert [q for q in adjusted if q is not None] == adjust_holm([p for p in ps if p is not None])


@FEW
@given(st.lists(st.floats(0, 1), min_size=1, max_size=12))
def test_holm_rejects_no_less_than_bonferroni(ps):
    bonferroni = multipletests(ps, method="bonferroni")[1]
    assert all(q <= b + 1e-12 for q, b in zip(adjust_holm(ps), bonferroni, strict=True))


def test_a_family_of_none_is_empty():
    assert adjust_holm([]) == [] and adjust_holm([None, None]) == [None, None]


@pytest.mark.parametrize("bad", [math.nan, -0.1, 1.1])
def test_what_is_no_probability_is_refused(bad):
    with pytest.raises(ValueError, match="p-values"):
        adjust_holm([0.5, bad])


@pytest.mark.parametrize(
    ("p", "given"),
    [(None, ""), (1.0, ""), (0.051, ""), (0.05, "*"), (0.011, "*"), (0.01, "**"), (0.001, "***"), (0.0, "***")],
)
def test_stars_are_of_their_levels(p, given):
    assert format_significance_stars(p, smallest=0.0) == given


@pytest.mark.parametrize(
    ("smallest", "given"), [(0.0625, ""), (0.03125, "*"), (0.0078125, "**"), (0.0009765625, "***")]
)
def test_no_star_is_given_for_a_level_that_cannot_be_reached(smallest, given):
    assert format_significance_stars(0.0, smallest) == given
