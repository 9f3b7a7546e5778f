"""Tests of pruners: the choice of auto, invalid combinations, and which trials are pruned."""

from __future__ import annotations

import warnings

import optuna
import pytest

from bench.errors import ConfigError
from studies.search import PRUNERS, choose_pruner, make_pruner

optuna.logging.set_verbosity(optuna.logging.WARNING)


def find_pruned(trials: list[list[float]], name: str, seeds: int = 1) -> list[int | None]:
    """Return after how many reports each trial was pruned, or None if it was not."""
    study = optuna.create_study(direction="maximize", pruner=make_pruner(name, len(trials), seeds), study_name="s")
    ends: list[int | None] = []
    for values in trials:
        trial = study.ask()
        for step, value in enumerate(values):
            trial.report(value, step)
            if trial.should_prune():
                ends.append(step + 1)
                study.tell(trial, state=optuna.trial.TrialState.PRUNED)
                break
        else:
            ends.append(None)
            study.tell(trial, sum(values) / len(values))
    return ends


def test_auto_depends_on_the_number_of_trials_and_seeds():
    assert [choose_pruner("auto", trials, 1) for trials in (0, 20, 39, 40, 100)] == ["median"] * 3 + ["hyperband"] * 2
    assert choose_pruner("auto", 100, 3) == "wilcoxon"


@pytest.mark.parametrize("name", PRUNERS)
def test_every_name_makes_a_pruner_without_a_warning(name):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert isinstance(make_pruner(name, 20, 3 if name == "wilcoxon" else 1), optuna.pruners.BasePruner)


def test_a_wrong_name_proposes_the_right_one():
    with pytest.raises(ConfigError, match="unknown pruner 'hyperbnd'; did you mean 'hyperband'"):
        make_pruner("hyperbnd", 20, 1)


@pytest.mark.parametrize(("name", "seeds"), [("median", 3), ("hyperband", 2), ("halving", 2), ("wilcoxon", 1)])
def test_a_pruner_that_does_not_fit_the_trials_is_refused(name, seeds):
    with pytest.raises(ConfigError, match=f"pruner '{name}' needs .*; choose auto or none"):
        make_pruner(name, 20, seeds)


@pytest.mark.parametrize("name", ["median", "halving", "hyperband"])
def test_no_trial_is_pruned_in_the_first_epochs(name):
    ends = find_pruned([[0.5] * 40] * 4 + [[0.1] * 40] * 8, name)
    assert all(end is None or end > 10 for end in ends) and any(ends)


def test_a_bad_trial_is_pruned_by_the_median_of_three():
    assert find_pruned([[0.5] * 40] * 2 + [[0.1] * 40] * 2, "median") == [None, None, None, 11]


def test_a_tie_does_not_prune_a_trial():
    assert find_pruned([[0.5] * 40] * 8, "median") == [None] * 8


def test_three_worse_seeds_prune_a_trial():
    best = [0.6, 0.5, 0.7, 0.6, 0.6]
    worse = [value - 0.1 for value in best]
    mixed = [0.55, 0.6, 0.65, 0.6, 0.55]
    assert find_pruned([best, worse, mixed], "wilcoxon", seeds=5) == [None, 3, None]
