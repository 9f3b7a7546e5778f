"""A hyper-parameter search with Optuna: search ranges, samplers, pruners, the budget, and the trials so far."""

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
HYPERBAND_MIN_TRIALS = 40  # from here on each of Hyperband's three brackets at the paper's 150 epochs gets ten or more
WARMUP_EPOCHS = 10  # epochs in which nobody is given up
STARTUP_TRIALS = 3  # finished trials before a median may speak
WILCOXON_P = 0.2  # the p-value under which a trial is worse than the best one

MAX_CONSECUTIVE_FAILURES = 10  # trials in a row that fail: the search is over, whatever its budget
FIRST_TRIAL_SEED = 1000  # of trials: final runs have seeds of their own, and no run is both


def find_search_ranges(config: Config, fixed: Collection[str]) -> dict[str, SearchRange]:
    """Field name -> range, of the fields that change a number here and that nobody has fixed (an arm's own values, and
    what was set by hand)."""
    return {name: search for name, search in config.get_search_ranges().items() if name not in fixed}


def make_distributions(config: Config, ranges: dict[str, SearchRange]) -> dict[str, BaseDistribution]:
    """Field name -> distribution; a range is widened to hold the config's own value, which is tried first."""
    return {name: _make_distribution(search, getattr(config, name)) for name, search in ranges.items()}


def get_config_values(config: Config, ranges: dict[str, SearchRange]) -> dict[str, Any]:
    """The config's own values of the searched fields: under the paper preset, the paper's."""
    return {name: getattr(config, name) for name in ranges}


def _make_distribution(search: SearchRange, own: Any) -> BaseDistribution:
    if search.choices:
        return CategoricalDistribution(tuple(dict.fromkeys((*search.choices, own))))
    assert search.low is not None and search.high is not None  # a range has both ends
    low, high = min(search.low, own), max(search.high, own)
    if isinstance(own, int) and not isinstance(own, bool):
        return IntDistribution(int(low), int(high), log=search.log)
    return FloatDistribution(low, high, log=search.log and low > 0)


def make_sampler(name: str, study: str, trials: int) -> BaseSampler:
    """A sampler for the next trial of a study that has so many. It is seeded by both: one made anew, in another process
    or after a stop, does not repeat what was drawn, and the same history is gone on with in the same way."""
    seed = int.from_bytes(hashlib.sha256(f"{study}\x1f{trials}".encode()).digest()[:4], "big")
    made: BaseSampler = getattr(optuna.samplers, get_or_suggest(name, SAMPLERS, "sampler"))(seed=seed)
    return made


def choose_pruner(name: str, trials: int, seeds: int) -> str:
    """What `auto` stands for in a search of so many trials (0 = open) with so many runs each. Raises ConfigError for a
    pruner that cannot read what such trials report: an accuracy an epoch, or with several runs one a run."""
    get_or_suggest(name, dict.fromkeys(PRUNERS), "pruner")
    if name == "auto":
        return "wilcoxon" if seeds > 1 else "hyperband" if trials >= HYPERBAND_MIN_TRIALS else "median"
    if name != "none" and (name == "wilcoxon") != (seeds > 1):
        many = f"epochs, and a trial of {seeds} runs has none"
        reads = "runs of a trial, and here each has one" if seeds == 1 else many
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
    """When a search ends: after so many trials, so many hours of trials (of all workers together), or at a score."""

    trials: int | None = None
    hours: float | None = None
    target: float | None = None  # val/acc_e, a fraction

    @property
    def is_set(self) -> bool:
        """Whether anything is to be searched."""
        return (self.trials, self.hours, self.target) != (None, None, None)


@dataclass(frozen=True)
class SearchOptions:
    """How a search goes about."""

    sampler: str = "tpe"
    pruner: str = "auto"
    seeds: int = 1  # runs of a trial, each on a validation fold of its own; a trial's score is their mean


@dataclass(frozen=True)
class BestTrial:
    """The best finished trial; of equals the earliest, so that the method's own values win a tie."""

    number: int
    value: float  # val/acc_e
    params: dict[str, Any]
    keys: list[str]  # of its runs


@dataclass(frozen=True)
class TrialCounts:
    """How many configurations a search tried, and what came of them."""

    finished: int
    pruned: int
    failed: int

    @property
    def total(self) -> int:
        """All configurations that were looked at."""
        return self.finished + self.pruned + self.failed


class HyperparameterSearch:
    """A search in its database. `base` is the run that its trials vary: the same arm, fold and data."""

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
        self.ranges = find_search_ranges(base.config, fixed)
        self.digest = self._compute_digest()
        self.title = f"search {base.arm} {self.digest[:6]}"
        self.name = f"{spec.dataset}/{base.arm}/{base.preset}/fold {base.fold}/{self.digest}"
        self._study: Study | None = None
        self._imported: tuple[BestTrial | None, TrialCounts] | None = None  # its end, from another machine

    @property
    def study(self) -> Study:
        """Optuna's study."""
        if self._study is None:
            pruner = make_pruner(self.options.pruner, self.budget.trials or 0, self.options.seeds)
            self._study = self.storage.open_study(self.name, pruner=pruner)
        return self._study

    def retry_crashed(self) -> None:
        """Let what crashed under an earlier command be tried again, where the search is not over or found nothing."""
        trials = self.get_trials()
        crashed = any(trial.user_attrs.get(ERROR_KIND_ATTR) in CRASH_KINDS for trial in select_counted(trials))
        if crashed and (self.find_best_trial() is None or not self._is_budget_spent(trials)):
            self.storage.with_lock(lambda: enqueue_crashed(self.study, self.command_id))

    @property
    def is_imported(self) -> bool:
        """Whether its end came from another machine."""
        return self._imported is not None

    def import_result(self, winner: BestTrial | None, tried: TrialCounts) -> None:
        """Believe what another machine found, where the budget asks no more and the database here knows less."""
        enough = self.budget.trials is not None and tried.total >= self.budget.trials
        if enough and tried.total > self.count_trials().total:
            self._imported = winner, tried

    def lease_next(self) -> Lease | None:
        """The next trial to run, or None where none is left for this process to begin."""
        return None if self.is_imported else self.storage.with_lock(self._lease_next)

    def _lease_next(self) -> Lease | None:
        requeue_orphans(self.storage, self.study)
        trials = self.get_trials()
        waiting = any(trial.state.name == "WAITING" for trial in trials)
        begun = len(select_counted(trials)) + sum(trial.state.name == "RUNNING" for trial in trials)
        is_filled = self.budget.trials is not None and begun >= self.budget.trials
        if self._is_budget_spent(trials) or (is_filled and not waiting):
            return None
        drawn = make_distributions(self.base_request.config, self.ranges)
        if not trials:
            enqueue(self.study, get_config_values(self.base_request.config, self.ranges), drawn, origin="own values")
        if waiting or not trials:
            return lease_waiting(self.storage, self.study, **{COMMAND_ATTR: self.command_id})
        self.study.sampler = make_sampler(self.options.sampler, self.name, len(trials))
        return lease_new(self.storage, self.study, drawn, **{COMMAND_ATTR: self.command_id})

    def is_over(self) -> bool:
        """Whether it has had enough, and nothing of it is under way."""
        trials = self.get_trials()
        running = any(trial.state.name == "RUNNING" for trial in trials)
        return self.is_imported or (self._is_budget_spent(trials) and not running)

    def get_trials(self) -> list[FrozenTrial]:
        """All trials so far."""
        return self.storage.read_trials(self.study)

    def find_best_trial(self) -> BestTrial | None:
        """The best trial that finished; None where none did."""
        if self._imported is not None:
            return self._imported[0]
        done = [trial for trial in self.get_trials() if trial.state.name == "COMPLETE" and trial.value is not None]
        if not done:
            return None
        best = max(done, key=lambda trial: (trial.value or 0.0, -trial.number))
        keys = [key for key in best.user_attrs.get("keys", []) if is_run_key(key)]  # the database may be shared
        return BestTrial(best.number, best.value or 0.0, dict(best.params), keys)

    def compute_seconds(self) -> float:
        """How long its trials took so far, of all workers together."""
        return sum(_compute_trial_seconds(trial) for trial in self.get_trials())

    def count_trials(self) -> TrialCounts:
        """What came of the configurations so far; one that was interrupted and run again counts once."""
        if self._imported is not None:
            return self._imported[1]
        states = [trial.state.name for trial in select_counted(self.get_trials())]
        return TrialCounts(states.count("COMPLETE"), states.count("PRUNED"), states.count("FAIL"))

    def trial_history(self) -> list[dict[str, Any]]:
        """Every configuration that was tried, in the order they were begun: what it scored on val, if it was finished,
        and the seconds that all trials had taken when it ended."""
        found, spent = [], 0.0
        for trial in select_counted(self.get_trials()):
            spent += _compute_trial_seconds(trial)
            state = trial.state.name.lower()
            value = trial.value if state == "complete" else None
            found.append({"number": trial.number, "state": state, "value": value, "spent": round(spent, 3)})
        return found

    def list_failures(self) -> list[str]:
        """Why trials failed."""
        return [
            f"trial {trial.number}: {trial.user_attrs.get(ERROR_KIND_ATTR)}: {trial.user_attrs.get('message', '')}"
            for trial in select_counted(self.get_trials())
            if trial.state.name == "FAIL"
        ]

    def _is_budget_spent(self, trials: Sequence[FrozenTrial]) -> bool:
        """Whether no further configuration may be begun."""
        budget, counted = self.budget, select_counted(trials)
        last = [trial.state.name for trial in counted[-MAX_CONSECUTIVE_FAILURES:]]
        if last == ["FAIL"] * MAX_CONSECUTIVE_FAILURES:
            return True
        best = max((trial.value for trial in trials if trial.state.name == "COMPLETE" and trial.value), default=0.0)
        seconds = sum(_compute_trial_seconds(trial) for trial in trials)
        return (
            (budget.trials is not None and len(counted) >= budget.trials)
            or (budget.hours is not None and seconds >= budget.hours * 3600)
            or (budget.target is not None and best >= budget.target)
        )

    def _compute_digest(self) -> str:
        """Of all that makes another search: the method's version, values, ranges, data and the runs of a trial. Neither
        budget nor sampler nor pruner count: a search can be gone on with under others."""
        spec = self.spec
        values = [spec.method, spec.version, spec.config, spec.weights, spec.data, spec.split, spec.content, spec.fold]
        what = {
            "spec": values,
            "ranges": {name: (s.low, s.high, s.log, s.choices) for name, s in self.ranges.items()},
            "seeds": self.options.seeds,
        }
        return hashlib.sha256(json.dumps(what, sort_keys=True, default=str).encode()).hexdigest()[:12]


def _compute_trial_seconds(trial: FrozenTrial) -> float:
    """How long a trial took, or has taken so far."""
    if trial.datetime_start is None:
        return 0.0
    return ((trial.datetime_complete or datetime.now()) - trial.datetime_start).total_seconds()
