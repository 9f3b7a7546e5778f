"""When a trial of a search is given up: the pruners, by name."""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING

from bench.errors import ConfigError
from bench.names import look_up

if TYPE_CHECKING:
    from optuna.pruners import BasePruner

PRUNERS = ("auto", "median", "hyperband", "halving", "wilcoxon", "none")
MANY_TRIALS = 40  # from here on each of Hyperband's brackets, three at the paper's 150 epochs, gets ten or more

WARM_UP = 10  # epochs in which nobody is given up
START_UP = 3  # finished trials before a median may speak
SURE = 0.2  # the p-value under which a trial is worse than the best one


def choose_pruner(name: str, trials: int, seeds: int) -> str:
    """What `auto` stands for in a search of so many trials (0 = open) with so many runs each. Raises ConfigError for a
    pruner that cannot read what such trials report: an accuracy an epoch, or with several runs one a run."""
    look_up(name, dict.fromkeys(PRUNERS), "pruner")
    if name == "auto":
        return "wilcoxon" if seeds > 1 else "hyperband" if trials >= MANY_TRIALS else "median"
    if name != "none" and (name == "wilcoxon") != (seeds > 1):
        reads = (
            "runs of a trial, and here each has one" if seeds == 1 else f"epochs, and a trial of {seeds} runs has none"
        )
        raise ConfigError(f"pruner '{name}' compares {reads}; say auto or none")
    return name


def make_pruner(name: str, trials: int, seeds: int) -> BasePruner:
    """The pruner of a search that maximises val/acc_e, reported by epoch or by seed, both counted from 0.

    The settings have reasons; docs/speed.md tells what they save. In its first epochs a model is at chance while the
    step size rises, and val has few clips: nobody is given up before epoch 10, a quarter of the quick preset's. A
    median is taken of three trials, the fewest of which one lucky trial is not the median. Wilcoxon gives a trial up
    when three seeds are all worse than the best trial's (p = 1/8): the 0.1 of Optuna wants four, the last of most; two
    never tell.
    """
    from optuna import pruners
    from optuna.exceptions import ExperimentalWarning

    match choose_pruner(name, trials, seeds):
        case "median":
            return pruners.MedianPruner(n_startup_trials=START_UP, n_warmup_steps=WARM_UP)
        case "hyperband":
            return pruners.HyperbandPruner(min_resource=WARM_UP, max_resource="auto", reduction_factor=3)
        case "halving":
            return pruners.SuccessiveHalvingPruner(min_resource=WARM_UP, reduction_factor=3)
        case "wilcoxon":
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", ExperimentalWarning)
                return pruners.WilcoxonPruner(p_threshold=SURE)
        case _:
            return pruners.NopPruner()
