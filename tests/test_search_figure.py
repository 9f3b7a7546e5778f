"""Tests of the pruning benchmark: epochs until the best val of a search, and searches that pruned it."""

from __future__ import annotations

import json
import math

import optuna
import pytest

from tests.speed.search import SMALL, STORED, Replayed, compare, order, replay

optuna.logging.set_verbosity(optuna.logging.WARNING)

GOOD, BAD, BEST = [0.6] * 40, [0.1] * 40, [0.9] * 40
LATE = [0.1] * 30 + [0.9] * 10  # best at the end, worst before


def test_unpruned_epochs_count_up_to_the_end_of_the_first_trial_with_the_best_val():
    assert replay([GOOD, BEST, BAD, BEST], "none", "") == Replayed(80, 160, at_once=False)


def test_a_pruned_trial_costs_the_epochs_it_ran():
    assert replay([GOOD, GOOD, GOOD, BAD, BEST, BAD], "median", "") == Replayed(171, 182, at_once=False)


def test_nothing_is_saved_if_the_first_trial_is_the_best():
    assert replay([BEST, GOOD, GOOD, BAD], "median", "") == Replayed(40, 131, at_once=True)


def test_a_pruned_best_val_is_never_reached():
    assert replay([GOOD, GOOD, GOOD, LATE], "median", "") == Replayed(math.inf, 131, at_once=False)


def test_an_equal_trial_reaches_it_if_the_first_was_pruned():
    assert replay([GOOD, GOOD, GOOD, LATE, BEST], "median", "").reached == 171


def test_more_failures_than_half_make_the_median_endless():
    plain = [Replayed(400, 800, False)] * 3
    assert "50%" in compare(plain, [Replayed(200, 400, False)] * 2 + [Replayed(math.inf, 300, False)])
    assert "inf%; 2 of 3" in compare(plain, [Replayed(200, 400, False)] + [Replayed(math.inf, 300, False)] * 2)


@pytest.mark.parametrize("own_first", [True, False])
def test_an_order_has_each_trial_once_and_repeats_with_its_seed(own_first):
    numbers = order(20, 60, own_first, 3)
    assert numbers == order(20, 60, own_first, 3) != order(20, 60, own_first, 4)
    assert len(set(numbers)) == 20 and (numbers[0] == 0 or not own_first)


def test_the_stored_curves_are_complete_and_start_with_the_presets_values():
    trials = json.loads(STORED.read_text())["trials"]
    assert len(trials) > SMALL and trials[0]["values"] == {}
    assert {len(trial["val"]) for trial in trials} == {40}
