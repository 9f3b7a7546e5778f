"""A search: which arm on which data, how its trials are drawn and given up, and when it has had enough."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any

from bench.execute import Ask
from bench.record import RunSpec, is_key
from studies.queue.claims import COMMAND, CRASHES, KIND, Claim, queue, queue_crashed, reap, take_new, take_waiting, used
from studies.queue.storage import Storage
from studies.search.pruners import make_pruner
from studies.search.ranges import distributions, own_values, searched
from studies.search.samplers import make_sampler

if TYPE_CHECKING:
    from optuna import Study
    from optuna.trial import FrozenTrial

HOPELESS = 10  # trials in a row that fail: the search is over, whatever its budget
FIRST_SEED = 1000  # of trials: final runs have seeds of their own, and no run is both


@dataclass(frozen=True)
class Budget:
    """When a search ends: after so many trials, so many hours of trials (of all workers together), or at a score."""

    trials: int | None = None
    hours: float | None = None
    target: float | None = None  # val/acc_e, a fraction

    @property
    def asked(self) -> bool:
        """Whether anything is to be searched."""
        return (self.trials, self.hours, self.target) != (None, None, None)


@dataclass(frozen=True)
class How:
    """How a search goes about."""

    sampler: str = "tpe"
    pruner: str = "auto"
    seeds: int = 1  # runs of a trial, each on a validation fold of its own; a trial's score is their mean


@dataclass(frozen=True)
class Winner:
    """The best finished trial; of equals the earliest, so that the method's own values win a tie."""

    number: int
    value: float  # val/acc_e
    params: dict[str, Any]
    keys: list[str]  # of its runs


@dataclass(frozen=True)
class Tried:
    """How many configurations a search tried, and what came of them."""

    finished: int
    pruned: int
    failed: int

    @property
    def total(self) -> int:
        """All configurations that were looked at."""
        return self.finished + self.pruned + self.failed


class Search:
    """A search in its database. `base` is the run that its trials vary: the same arm, fold and data."""

    def __init__(
        self,
        base: Ask,
        spec: RunSpec,
        fixed: Collection[str],
        how: How,
        budget: Budget,
        storage: Storage,
        command: str = "",
    ) -> None:
        self.base, self.spec, self.how, self.budget, self.storage = base, spec, how, budget, storage
        self.command = command
        self.ranges = searched(base.config, fixed)
        self.digest = self._digest(spec)
        self.title = f"search {base.arm} {self.digest[:6]}"
        self.name = f"{spec.dataset}/{base.arm}/{base.preset}/fold {base.fold}/{self.digest}"
        self._study: Study | None = None
        self._brought: tuple[Winner | None, Tried] | None = None  # its end, from another machine

    @property
    def study(self) -> Study:
        """Optuna's study."""
        if self._study is None:
            pruner = make_pruner(self.how.pruner, self.budget.trials or 0, self.how.seeds)
            self._study = self.storage.study(self.name, pruner=pruner)
        return self._study

    def go_on(self) -> None:
        """Let what crashed under an earlier command be tried again, where the search is not over or found nothing."""
        crashed = [trial for trial in used(self.trials()) if trial.user_attrs.get(KIND) in CRASHES]
        if crashed and (self.winner() is None or not self._is_spent(self.trials())):
            self.storage.alone(lambda: queue_crashed(self.study, self.command))

    @property
    def is_brought(self) -> bool:
        """Whether its end came from another machine."""
        return self._brought is not None

    def bring(self, winner: Winner | None, tried: Tried) -> None:
        """Believe what another machine found, where the budget asks no more and the database here knows less."""
        enough = self.budget.trials is not None and tried.total >= self.budget.trials
        if enough and tried.total > self.tried().total:
            self._brought = winner, tried

    def claim(self) -> Claim | None:
        """The next trial to run, or None where none is left for this process to begin."""
        return None if self.is_brought else self.storage.alone(self._claim)

    def _claim(self) -> Claim | None:
        reap(self.storage, self.study)
        trials = self.trials()
        waiting = [trial for trial in trials if trial.state.name == "WAITING"]
        under_way = [trial for trial in trials if trial.state.name == "RUNNING"]
        if self._is_spent(trials) or (not waiting and self._is_promised(trials, len(under_way))):
            return None
        drawn = distributions(self.base.config, self.ranges)
        if not trials:
            queue(self.study, own_values(self.base.config, self.ranges), drawn, origin="own values")
        if waiting or not trials:
            return take_waiting(self.storage, self.study, **{COMMAND: self.command})
        self.study.sampler = make_sampler(self.how.sampler, self.name, len(trials))
        return take_new(self.storage, self.study, drawn, **{COMMAND: self.command})

    def is_over(self) -> bool:
        """Whether it has had enough, and nothing of it is under way."""
        trials = self.trials()
        return self.is_brought or (
            self._is_spent(trials) and not any(trial.state.name == "RUNNING" for trial in trials)
        )

    def trials(self) -> list[FrozenTrial]:
        """All trials so far."""
        return self.storage.patient(lambda: self.study.get_trials(deepcopy=False))

    def winner(self) -> Winner | None:
        """The best trial that finished; None where none did."""
        if self._brought is not None:
            return self._brought[0]
        done = [trial for trial in self.trials() if trial.state.name == "COMPLETE" and trial.value is not None]
        if not done:
            return None
        best = max(done, key=lambda trial: (trial.value or 0.0, -trial.number))
        keys = [key for key in best.user_attrs.get("keys", []) if is_key(key)]  # the database may be shared
        return Winner(best.number, best.value or 0.0, dict(best.params), keys)

    def seconds(self) -> float:
        """How long its trials took so far, of all workers together."""
        return sum(_seconds(trial) for trial in self.trials())

    def tried(self) -> Tried:
        """What came of the configurations so far; one that was interrupted and run again counts once."""
        if self._brought is not None:
            return self._brought[1]
        counted = used(self.trials())
        states = [trial.state.name for trial in counted]
        return Tried(states.count("COMPLETE"), states.count("PRUNED"), states.count("FAIL"))

    def told(self) -> list[dict[str, Any]]:
        """Every configuration that was tried, in the order they were begun: what it scored on val, if it was finished,
        and the seconds that all trials had taken when it ended."""
        found, spent = [], 0.0
        for trial in used(self.trials()):
            spent += _seconds(trial)
            value = trial.value if trial.state.name == "COMPLETE" else None
            state = trial.state.name.lower()
            found.append({"number": trial.number, "state": state, "value": value, "spent": round(spent, 3)})
        return found

    def failures(self) -> list[str]:
        """Why trials failed."""
        return [
            f"trial {trial.number}: {trial.user_attrs.get(KIND)}: {trial.user_attrs.get('message', '')}"
            for trial in used(self.trials())
            if trial.state.name == "FAIL"
        ]

    def _is_spent(self, trials: Sequence[FrozenTrial]) -> bool:
        """Whether no further configuration may be begun."""
        budget, counted = self.budget, used(trials)
        if len(counted) >= HOPELESS and all(trial.state.name == "FAIL" for trial in counted[-HOPELESS:]):
            return True
        best = max((trial.value for trial in trials if trial.state.name == "COMPLETE" and trial.value), default=0.0)
        seconds = sum(_seconds(trial) for trial in trials)
        return (
            (budget.trials is not None and len(counted) >= budget.trials)
            or (budget.hours is not None and seconds >= budget.hours * 3600)
            or (budget.target is not None and best >= budget.target)
        )

    def _is_promised(self, trials: Sequence[FrozenTrial], under_way: int) -> bool:
        """Whether those under way already make up the number of trials."""
        return self.budget.trials is not None and len(used(trials)) + under_way >= self.budget.trials

    def _digest(self, spec: RunSpec) -> str:
        """Of all that makes another search: the method's version, values, ranges, data and the runs of a trial. Neither
        budget nor sampler nor pruner count: a search can be gone on with under others."""
        what = {
            "spec": [
                spec.method,
                spec.version,
                spec.config,
                spec.weights,
                spec.data,
                spec.split,
                spec.content,
                spec.fold,
            ],
            "ranges": {name: (s.low, s.high, s.log, s.choices) for name, s in self.ranges.items()},
            "seeds": self.how.seeds,
        }
        return hashlib.sha256(json.dumps(what, sort_keys=True, default=str).encode()).hexdigest()[:12]


def _seconds(trial: FrozenTrial) -> float:
    """How long a trial took, or has taken so far."""
    if trial.datetime_start is None:
        return 0.0
    return ((trial.datetime_complete or datetime.now()) - trial.datetime_start).total_seconds()
