"""Ranks over data sets: Demsar's numbers, and when ranks are not comparable."""

from __future__ import annotations

import io
import math
import re

import matplotlib.pyplot
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from reports.statistics import compute_mean_ranks, draw_critical_differences

SOME = settings(deadline=None, max_examples=50)
FOUR = {  # neighbours do not differ significantly
    "mart": [80.0, 70.0, 60.0, 75.0, 66.0, 81.0, 64.0, 72.0],
    "mbt": [78.0, 69.0, 57.0, 70.0, 65.0, 79.0, 60.0, 70.0],
    "probe": [70.0, 60.0, 50.0, 66.0, 60.0, 70.0, 55.0, 61.0],
    "majority": [20.0, 15.0, 30.0, 17.0, 12.0, 25.0, 33.0, 18.0],
}


@pytest.mark.parametrize(("k", "q"), [(2, 1.960), (3, 2.343), (4, 2.569), (5, 2.728), (10, 3.164)])
def test_the_critical_difference_is_that_of_demsars_table(k, q):
    scores = {f"m{index}": np.random.default_rng(index).random(14) for index in range(k)}
    assert compute_mean_ranks(scores).critical_difference == pytest.approx(
        q * math.sqrt(k * (k + 1) / (6 * 14)), abs=1e-3
    )


def test_the_best_score_has_rank_1_and_equal_ones_share_theirs():
    found = compute_mean_ranks({"a": [90.0, 0.1 + 0.2], "b": [80.0, 0.3], "c": [70.0, 0.1]})
    assert found.methods == ("a", "b", "c") and found.ranks == (1.25, 1.75, 3.0) and found.n_datasets == 2


def test_friedmans_p_by_hand():
    # mean ranks 1, 2, 3, 4 on 8 data sets: 12 * 8 / (4 * 5) * (1 + 4 + 9 + 16 - 4 * 25 / 4) = 24, 3 degrees of freedom
    found = compute_mean_ranks(FOUR)
    assert found.ranks == (1, 2, 3, 4)
    assert found.friedman_p == pytest.approx(stats.chi2.sf(24, 3))


@SOME
@given(st.lists(st.lists(st.integers(0, 5), min_size=6, max_size=6), min_size=3, max_size=5), st.randoms())
def test_the_order_of_data_sets_and_of_methods_changes_no_rank(rows, random):
    scores = {f"m{index}": row for index, row in enumerate(rows)}
    places, names = random.sample(range(6), 6), random.sample(list(scores), len(scores))
    found, again = (
        compute_mean_ranks(scores),
        compute_mean_ranks({name: [scores[name][place] for place in places] for name in names}),
    )
    expected, got = (
        dict(zip(found.methods, found.ranks, strict=True)),
        dict(zip(again.methods, again.ranks, strict=True)),
    )
    assert got == pytest.approx(expected)
    assert (
        again.friedman_p == pytest.approx(found.friedman_p) and again.critical_difference == found.critical_difference
    )
    assert sum(found.ranks) == pytest.approx(len(rows) * (len(rows) + 1) / 2)


def test_methods_with_equal_scores_have_p_1():
    found = compute_mean_ranks({name: [50.0] * 6 for name in "abc"})
    assert found.friedman_p == 1 and found.ranks == (2, 2, 2) and np.ravel(found.nemenyi_p) == pytest.approx(1)


def test_two_methods_differ_by_nemenyi_where_their_ranks_are_further_apart_than_the_critical_difference():
    found = compute_mean_ranks(FOUR)
    apart = np.abs(np.subtract.outer(found.ranks, found.ranks)) > found.critical_difference
    assert np.array_equal(np.array(found.nemenyi_p) < 0.05, apart) and 0 < apart.sum() < 12


@pytest.mark.parametrize(
    ("k", "n", "carried"), [(3, 5, True), (10, 5, True), (3, 4, False), (2, 9, False), (1, 9, False)]
)
def test_ranks_need_three_methods_on_five_data_sets(k, n, carried):
    found = compute_mean_ranks({f"m{index}": [float(index)] * n for index in range(k)})
    assert found.are_comparable is carried and bool(found.reason) is not carried and bool(found.nemenyi_p) is carried
    if not carried:
        assert found.reason == f"needs at least 3 methods and 5 data sets (here {k} and {n})."


def test_ranks_on_too_few_data_sets_have_a_critical_difference_but_no_comparison():
    found = compute_mean_ranks({"a": [3.0, 3.0], "b": [2.0, 2.0], "c": [1.0, 1.0]})
    assert found.critical_difference == pytest.approx(2.343, abs=1e-3)
    assert not found.are_comparable and re.findall(r"\d+", found.reason)[-2:] == ["3", "2"]


def test_nothing_to_rank_is_not_comparable():
    assert not compute_mean_ranks({}).are_comparable
    found = compute_mean_ranks({"a": [], "b": []})
    assert not found.are_comparable and found.critical_difference is None and math.isnan(found.ranks[0])


@pytest.mark.parametrize("scores", [{"a": [1.0, 2.0], "b": [1.0]}, {"a": [1.0, math.nan], "b": [1.0, 2.0]}])
def test_a_missing_score_is_refused(scores):
    with pytest.raises(ValueError, match="data set"):
        compute_mean_ranks(scores)


def test_the_diagram_names_every_method_and_joins_those_that_do_not_differ():
    found = compute_mean_ranks(FOUR)
    figure = draw_critical_differences(found)
    (axes,) = figure.axes
    words = " ".join(text.get_text() for text in axes.texts)
    assert all(
        f"{name}  {mean:.2f}" in words or f"{mean:.2f}  {name}" in words
        for name, mean in zip(FOUR, found.ranks, strict=True)
    )
    level = [sorted(line.get_xdata()) for line in axes.lines if len(set(line.get_ydata())) == 1]
    assert sorted(level) == [[1, 2], [2, 3], [3, 4]]  # nothing joins ranks further apart than the 1.66 of the title
    assert "8 data sets" in axes.get_title() and "critical difference 1.66" in axes.get_title()
    figure.savefig(io.BytesIO(), format="png")
    assert not matplotlib.pyplot.get_fignums()


def test_a_diagram_of_too_few_data_sets_is_refused():
    with pytest.raises(ValueError, match=r"5 data sets \(here 4 and 4\)"):
        draw_critical_differences(compute_mean_ranks({name: row[:4] for name, row in FOUR.items()}))
