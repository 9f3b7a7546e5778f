"""Hyper-parameter search with Optuna: ranges, samplers, pruners, budgets and trials."""

from __future__ import annotations

import hashlib
import json
import warnings
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import optuna
from optuna import Study, pruners
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.exceptions import ExperimentalWarning
from optuna.pruners import BasePruner
from optuna.samplers import BaseSampler
from optuna.trial import FrozenTrial

from bench.config import Config, SearchRange, get_or_suggest
from bench.errors import ConfigError
from bench.execute import RunRequest
from bench.record import RunSpec, is_run_key
from studies.storage import (
    COMMAND_ATTR,
    CRASH_KINDS,
    ERROR_KIND_ATTR,
    Lease,
    Storage,
    enqueue,
    enqueue_crashed,
    lease_new,
    lease_waiting,
    requeue_orphans,
    select_counted,
)

SAMPLERS = {"tpe": "TPESampler", "random": "RandomSampler", "gp": "GPSampler"}

PRUNERS = ("auto", "median", "hyperband", "halving", "wilcoxon", "none")
HYPERBAND_MIN_TRIALS = 40  # then each of Hyperband's three brackets (paper preset, 150 epochs) has ten or more
WARMUP_EPOCHS = 10  # epochs without pruning
STARTUP_TRIALS = 3  # finished trials before the median pruner starts
WILCOXON_P = 0.2  # a trial is pruned if it is worse than the best one at this p-value

MAX_CONSECUTIVE_FAILURES = 10  # failed trials in a row that end the search, whatever its budget
SECONDS_ATTR = "seconds"  # of training and scoring of a trial's runs that have ended
FIRST_TRIAL_SEED = 1000  # seeds of trials start here; final runs start at 0, so that no run is both


def find_search_ranges(config: Config, fixed: Collection[str], only: Collection[str] = ()) -> dict[str, SearchRange]:
    """Return field name -> range for the fields that affect results under this config and are not fixed.

    `fixed` holds the fields pinned by the arm or set by the user. If `only` names fields, others are not searched.
    """
    ranges = config.get_search_ranges()
    return {name: ranges[name] for name in ranges if name not in fixed and (not only or name in only)}


def make_distributions(config: Config, ranges: dict[str, SearchRange]) -> dict[str, BaseDistribution]:
    """Return field name -> distribution. Ranges are widened to include the config's value, which is the first trial."""
    return {name: _make_distribution(search, getattr(config, name)) for name, search in ranges.items()}


def get_config_values(config: Config, ranges: dict[str, SearchRange]) -> dict[str, Any]:
    """Return the config's values of the searched fields (those of the paper under the paper preset)."""
    return {name: getattr(config, name) for name in ranges}


def _make_distribution(search: SearchRange, default: Any) -> BaseDistribution:
    if search.choices:
        return CategoricalDistribution(tuple(dict.fromkeys((*search.choices, default))))
    assert search.low is not None and search.high is not None  # without choices a range has both bounds
    low, high = min(search.low, default), max(search.high, default)
    if isinstance(default, int) and not isinstance(default, bool):
        return IntDistribution(int(low), int(high), log=search.log)
    return FloatDistribution(low, high, log=search.log and low > 0)


def make_sampler(name: str, study: str, trials: int) -> BaseSampler:
    """Make the sampler for the next trial of a study that has `trials` trials.

    The seed follows from both arguments: a sampler made in another process or after an interruption does not repeat
    earlier draws, and the same history continues in the same way.
    """
    seed = int.from_bytes(hashlib.sha256(f"{study}\x1f{trials}".encode()).digest()[:4], "big")
    made: BaseSampler = getattr(optuna.samplers, get_or_suggest(name, SAMPLERS, "sampler"))(seed=seed)
    return made


def choose_pruner(name: str, trials: int, seeds: int) -> str:
    """Return the name of the pruner; `auto` depends on the number of trials (0 = open) and of seeds per trial.

    Raises ConfigError for a pruner that does not fit the values that trials report: one accuracy per epoch with one
    seed, one per seed with several.
    """
    get_or_suggest(name, dict.fromkeys(PRUNERS), "pruner")
    if name == "auto":
        return "wilcoxon" if seeds > 1 else "hyperband" if trials >= HYPERBAND_MIN_TRIALS else "median"
    if name != "none" and (name == "wilcoxon") != (seeds > 1):
        needs = "several seeds per trial" if seeds == 1 else f"one seed per trial, not {seeds}"
        raise ConfigError(f"pruner '{name}' needs {needs}; choose auto or none")
    return name


def make_pruner(name: str, trials: int, seeds: int) -> BasePruner:
    """Make the pruner of a search over the primary metric on val, reported per epoch or per seed (both from 0).

    See docs/speed.md for what pruning saves. During the learning-rate warm-up a model is at chance, and val has few
    clips: no trial is pruned before epoch 10, a quarter of the epochs of the quick preset. The median needs three
    trials, the fewest with which one lucky trial is not the median. Wilcoxon prunes a trial if three seeds are all
    worse than those of the best trial (p = 1/8); Optuna's default p = 0.1 would need four seeds, often the last one,
    and two seeds are never significant.
    """
    match choose_pruner(name, trials, seeds):
        case "median":
            return pruners.MedianPruner(n_startup_trials=STARTUP_TRIALS, n_warmup_steps=WARMUP_EPOCHS)
        case "hyperband":
            return pruners.HyperbandPruner(min_resource=WARMUP_EPOCHS, max_resource="auto", reduction_factor=3)
        case "halving":
            return pruners.SuccessiveHalvingPruner(min_resource=WARMUP_EPOCHS, reduction_factor=3)
        case "wilcoxon":
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", ExperimentalWarning)
                return pruners.WilcoxonPruner(p_threshold=WILCOXON_P)
        case _:
            return pruners.NopPruner()


@dataclass(frozen=True)
class Budget:
    """Limits of a search: number of trials, hours of training and scoring over all workers, or a target score."""

    trials: int | None = None
    hours: float | None = None
    target: float | None = None  # primary metric on val, as stored: a fraction for percents

    @property
    def is_set(self) -> bool:
        """Return whether any limit is set, that is, whether to search at all."""
        return (self.trials, self.hours, self.target) != (None, None, None)


@dataclass(frozen=True)
class SearchOptions:
    """Sampler, pruner and runs per trial of a search."""

    sampler: str = "tpe"
    pruner: str = "auto"
    seeds: int = 1  # runs per trial, each on another validation fold; the score is their mean
    fields: tuple[str, ...] = ()  # to search; (): all with a range


@dataclass(frozen=True)
class BestTrial:
    """The best finished trial; on a tie the earliest, so that the preset's values are kept."""

    number: int
    value: float  # primary metric on val
    params: dict[str, Any]
    keys: list[str]  # keys of its runs


@dataclass(frozen=True)
class TrialCounts:
    """Number of configurations that a search tried, by outcome."""

    finished: int
    pruned: int
    failed: int

    @property
    def total(self) -> int:
        """Return the number of all configurations."""
        return self.finished + self.pruned + self.failed


class HyperparameterSearch:
    """A search in its database. `base` is the run whose config the trials vary; arm, fold and data are the same."""

    def __init__(
        self,
        base: RunRequest,
        spec: RunSpec,
        fixed: Collection[str],
        options: SearchOptions,
        budget: Budget,
        storage: Storage,
        command: str = "",
    ) -> None:
        self.base_request, self.spec, self.options, self.budget, self.storage = base, spec, options, budget, storage
        self.command_id = command
        self.metric = base.dataset.info.task.primary
        self.ranges = find_search_ranges(base.config, fixed, options.fields)
        self.digest = self._compute_digest()
        self.title = f"search {base.arm} {self.digest[:6]}"
        self.name = f"{spec.dataset}/{base.arm}/{base.preset}/fold {base.fold}/{self.digest}"
        self._study: Study | None = None
        self._imported: tuple[BestTrial | None, TrialCounts] | None = None  # result from another machine

    @property
    def study(self) -> Study:
        """Return the Optuna study, created on first use."""
        if self._study is None:
            pruner = make_pruner(self.options.pruner, self.budget.trials or 0, self.options.seeds)
            maximize = self.metric.better == "max"
            self._study = self.storage.open_study(self.name, pruner=pruner, maximize=maximize)
        return self._study

    def retry_crashed(self) -> None:
        """Queue again the trials that crashed under an earlier command, if the search is not over or has no result."""
        trials = self.get_trials()
        crashed = any(trial.user_attrs.get(ERROR_KIND_ATTR) in CRASH_KINDS for trial in select_counted(trials))
        if crashed and (self.find_best_trial() is None or not self._is_budget_spent(trials)):
            self.storage.with_lock(lambda: enqueue_crashed(self.study, self.command_id))

    @property
    def is_imported(self) -> bool:
        """Return whether the result was imported from another machine."""
        return self._imported is not None

    def import_result(self, winner: BestTrial | None, tried: TrialCounts) -> None:
        """Use another machine's result if it has enough trials for the budget, and more than the database here."""
        enough = self.budget.trials is not None and tried.total >= self.budget.trials
        if enough and tried.total > self.count_trials().total:
            self._imported = winner, tried

    def lease_next(self) -> Lease | None:
        """Lease the next trial. Return None if there is none for this process to start."""
        return None if self.is_imported else self.storage.with_lock(self._lease_next)

    def _lease_next(self) -> Lease | None:
        requeue_orphans(self.storage, self.study)
        trials = self.get_trials()
        waiting = any(trial.state.name == "WAITING" for trial in trials)
        begun = len(select_counted(trials)) + sum(trial.state.name == "RUNNING" for trial in trials)
        is_filled = self.budget.trials is not None and begun >= self.budget.trials
        if self._is_budget_spent(trials) or (is_filled and not waiting):
            return None
        distributions = make_distributions(self.base_request.config, self.ranges)
        if not trials:
            enqueue(
                self.study, get_config_values(self.base_request.config, self.ranges), distributions, origin="own values"
            )
        notes: dict[str, object] = {COMMAND_ATTR: self.command_id, SECONDS_ATTR: 0.0}
        if waiting or not trials:
            return lease_waiting(self.storage, self.study, **notes)
        self.study.sampler = make_sampler(self.options.sampler, self.name, len(trials))
        return lease_new(self.storage, self.study, distributions, **notes)

    def is_over(self) -> bool:
        """Return whether the budget is spent and no trial is running."""
        trials = self.get_trials()
        running = any(trial.state.name == "RUNNING" for trial in trials)
        return self.is_imported or (self._is_budget_spent(trials) and not running)

    def get_trials(self) -> list[FrozenTrial]:
        """Return all trials so far."""
        return self.storage.read_trials(self.study)

    def find_best_trial(self) -> BestTrial | None:
        """Return the best finished trial, or None if there is none."""
        if self._imported is not None:
            return self._imported[0]
        done = {trial.number: (trial, value) for trial in self.get_trials() if (value := _get_value(trial)) is not None}
        if not done:
            return None
        best, value = max(done.values(), key=lambda pair: (self.metric.rank(pair[1]), -pair[0].number))
        keys = [key for key in best.user_attrs.get("keys", []) if is_run_key(key)]  # the database may be shared
        return BestTrial(best.number, value, dict(best.params), keys)

    def compute_seconds(self) -> float:
        """Return the seconds of training and scoring of all trials so far, summed over workers."""
        return sum(_compute_trial_seconds(trial) for trial in self.get_trials())

    def count_trials(self) -> TrialCounts:
        """Count the configurations so far by outcome. One that was interrupted and repeated counts once."""
        if self._imported is not None:
            return self._imported[1]
        states = [trial.state.name for trial in select_counted(self.get_trials())]
        return TrialCounts(states.count("COMPLETE"), states.count("PRUNED"), states.count("FAIL"))

    def trial_history(self) -> list[dict[str, Any]]:
        """Return every configuration in order of start.

        Each has its number, state, values (`params`), val score (None unless finished), and `spent`: the seconds of
        all trials up to it.
        """
        history, spent = [], 0.0
        for trial in select_counted(self.get_trials()):
            spent += _compute_trial_seconds(trial)
            state = trial.state.name.lower()
            value = trial.value if state == "complete" else None
            found = {"number": trial.number, "state": state, "params": dict(trial.params), "value": value}
            history.append({**found, "spent": round(spent, 3)})
        return history

    def list_failures(self) -> list[str]:
        """Return a line for each failed trial, with its reason."""
        return [
            f"trial {trial.number}: {trial.user_attrs.get(ERROR_KIND_ATTR)}: {trial.user_attrs.get('message', '')}"
            for trial in select_counted(self.get_trials())
            if trial.state.name == "FAIL"
        ]

    def _is_budget_spent(self, trials: Sequence[FrozenTrial]) -> bool:
        """Return whether no further configuration may start."""
        budget, counted = self.budget, select_counted(trials)
        last = [trial.state.name for trial in counted[-MAX_CONSECUTIVE_FAILURES:]]
        if last == ["FAIL"] * MAX_CONSECUTIVE_FAILURES:
            return True
        values = [value for trial in trials if (value := _get_value(trial)) is not None]
        is_reached = budget.target is not None and any(not self.metric.is_better(budget.target, v) for v in values)
        seconds = sum(_compute_trial_seconds(trial) for trial in trials)
        return (
            (budget.trials is not None and len(counted) >= budget.trials)
            or (budget.hours is not None and seconds >= budget.hours * 3600)
            or is_reached
        )

    def _compute_digest(self) -> str:
        """Hash all that identifies a search: method version, config, ranges, data and seeds per trial.

        Budget, sampler and pruner are left out: a search can be continued with others.
        """
        spec = self.spec
        values = [spec.method, spec.version, spec.config, spec.weights, spec.data, spec.split, spec.content, spec.fold]
        values += [spec.plugin] if spec.plugin else []
        identity = {
            "spec": values,
            "ranges": {name: (s.low, s.high, s.log, s.choices) for name, s in self.ranges.items()},
            "seeds": self.options.seeds,
        }
        return hashlib.sha256(json.dumps(identity, sort_keys=True, default=str).encode()).hexdigest()[:12]


def _get_value(trial: FrozenTrial) -> float | None:
    """Return the value of a finished trial; None for any other."""
    return trial.value if trial.state.name == "COMPLETE" else None


def _compute_trial_seconds(trial: FrozenTrial) -> float:
    """Return the seconds of training and scoring of a trial's runs, or the seconds since the start of a running trial.

    An interrupted trial has none: the trial that repeats it resumes its runs, whose seconds include them. Trials of
    version 0.1, which stored none, count from start to end.
    """
    if trial.datetime_start is None:
        return 0.0
    if SECONDS_ATTR in trial.user_attrs and trial.state.is_finished():
        kind = trial.user_attrs.get(ERROR_KIND_ATTR, "interrupted") if trial.state.name == "FAIL" else ""
        return 0.0 if kind == "interrupted" else float(trial.user_attrs[SECONDS_ATTR])
    return ((trial.datetime_complete or datetime.now()) - trial.datetime_start).total_seconds()
