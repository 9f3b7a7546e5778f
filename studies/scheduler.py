"""The state of a plan: which runs are done, running, failed and left, read from the record files and the shared
database, and how long the rest will take.
"""

from __future__ import annotations

import socket
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from itertools import islice
from pathlib import Path
from statistics import median, median_low

from optuna import Study
from optuna.trial import FrozenTrial

from bench.errors import ConfigError, DataError, StoreError
from bench.execute import RunEnvironment, RunRequest
from bench.record import RECORD_FILE, Failure, FailureKind, Record, RunFolder
from bench.requests import StoredRequest
from bench.tracker import find_best_epoch
from studies.plan import Plan, PlannedRun, RunKeyResolver
from studies.search import BestTrial, HyperparameterSearch
from studies.search_results import import_summary
from studies.storage import (
    COMMAND_ATTR,
    DIED_MESSAGE,
    ERROR_KIND_ATTR,
    ERROR_MESSAGE_ATTR,
    HOST_ATTR,
    MAX_DEATHS,
    Lease,
    Storage,
    lease_new,
    requeue_orphans,
)

RUNS_STUDY = "cells"  # Optuna's study of all cells of a storage: whatever study wants a run, it is made once
RUN_KEY_ATTR, RUN_NAME_ATTR, SELECTED_EPOCH_ATTR, RESULTS_ATTR = "key", "cell", "chosen", "results"
NON_RETRYABLE: tuple[FailureKind, ...] = ("nan", "data")  # failures that come again when nothing is changed

MAX_RECORDS = 300  # records, the newest
MINUTE, HOUR, DAY = 60.0, 3600.0, 86400.0
RunTimings = dict[tuple[str, str, str], float]
"""(method, preset, data set) -> median seconds of runs made here before; (method, preset, "") -> on any data set."""


@dataclass
class Scheduler:
    """The state of a plan. `failed_runs` are the runs that cannot be made, each with its reason."""

    plan: Plan
    environment: RunEnvironment
    storage: Storage
    command_id: str
    failed_runs: dict[PlannedRun, Failure] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self._key_resolver = RunKeyResolver(self.environment)
        self.search_by_run: dict[PlannedRun, HyperparameterSearch] = {}  # the run that represents a search -> it
        self._remaining: dict[PlannedRun, RunRequest | None] = dict.fromkeys(self.plan.runs)  # None: not known yet
        self._keys: dict[PlannedRun, str] = {}
        self._done: set[PlannedRun] = set()
        self._done_elsewhere: set[str] = set()
        # The winner of a search and how many configurations it had tried, when it was over: one winner a command.
        self._search_results: dict[PlannedRun, tuple[BestTrial | None, int]] = {}
        self.experiments: set[tuple[str, str]] = set()  # (data set, real or sample) of the runs that are known
        # Of a refit without its seed, the runs it takes its epochs from.
        self._clean_runs: dict[PlannedRun, list[PlannedRun]] = {}
        for run in self.plan.runs:
            self._clean_runs.setdefault(replace(run, seed=0, protocol="refit"), []).append(run)
        self.refresh()

    @property
    def searches(self) -> list[HyperparameterSearch]:
        """The searches that cells wait for, as far as their data can be had."""
        return list(self.search_by_run.values())

    @property
    def remaining(self) -> list[PlannedRun]:
        """The cells that are neither done nor lost."""
        return list(self._remaining)

    @property
    def done_count(self) -> int:
        """How many cells have their record, here or on another machine."""
        return len(self._done)

    def refresh(self) -> None:
        """Look again at what was left."""
        going_on: set[PlannedRun] = set()  # searches that are not over
        for run in list(self._remaining):
            try:
                self._update_run(run, going_on)
            except (ConfigError, DataError) as error:
                kind: FailureKind = "data" if isinstance(error, DataError) else "other"
                self._mark_failed(run, Failure(kind, str(error), ""))

    def lease_next(self) -> tuple[PlannedRun, RunRequest, Lease] | None:
        """The next cell that can be run now and that nobody has; None where there is none."""
        if not self._list_ready():
            return None
        return self.storage.with_lock(self._lease_next)

    def _lease_next(self) -> tuple[PlannedRun, RunRequest, Lease] | None:
        study = self._open_study()
        requeue_orphans(self.storage, study)
        states = self._sync_with_database()
        for run, request in self._list_ready():
            key = self._keys[run]
            if any(trial.state.name == "RUNNING" for trial in states.get(key, [])):
                continue
            if self._has_record(run):  # since the last look
                self.mark_done(run)
                continue
            notes = {
                RUN_KEY_ATTR: key,
                RUN_NAME_ATTR: str(run),
                COMMAND_ATTR: self.command_id,
                RESULTS_ATTR: self._get_location()[1],
            }
            return run, request, lease_new(self.storage, study, {}, **notes)
        return None

    def refresh_from_database(self) -> None:
        """Look again at what was left, and at what other processes made of it."""
        self.refresh()
        if self._list_ready():
            self._sync_with_database()

    def mark_done(self, run: PlannedRun) -> None:
        """A cell was run here."""
        self._remaining.pop(run, None)
        self._done.add(run)

    def iterate_done(self) -> Iterator[tuple[PlannedRun, RunFolder | None]]:
        """Every cell of the plan that is done, with its folder; None where another machine has it."""
        for run in self.plan.runs:
            if run in self._done:
                folder = self._get_folder(run)
                yield run, folder if self._has_record(run) else None

    def list_made_elsewhere(self) -> set[str]:
        """Return the keys of the runs that are done and whose record is on another machine."""
        return {self._keys[run] for run, folder in self.iterate_done() if folder is None}

    def requests(self, run: PlannedRun) -> tuple[StoredRequest, ...]:
        """Return why a cell is run, once the search that it waits for is over."""
        if run.search_run is None:
            return self.plan.requests(run)
        return self.plan.requests(
            run, self.search_by_run[run.search_run].digest, self._search_results[run.search_run][1]
        )

    def _update_run(self, run: PlannedRun, going_on: set[PlannedRun]) -> None:
        """Whether a cell is done, ready to be run, waiting for its search, or never to be run."""
        winner = None
        if run.search_run is not None:
            search = self._get_search(run.search_run)
            if run.search_run in going_on:
                return
            if run.search_run not in self._search_results:
                if not search.is_over():
                    going_on.add(run.search_run)
                    return
                self._search_results[run.search_run] = search.find_best_trial(), search.count_trials().total
            winner, _ = self._search_results[run.search_run]
            if winner is None:
                raise ConfigError(f"no trial of its search finished ({'; '.join(search.list_failures()[:1])})")
        stop = self._compute_refit_epochs(run) if run.protocol == "refit" else None
        if run.protocol == "refit" and stop is None:
            return
        request = self.plan.request_for(run, winner.params if winner is not None else None, stop)
        request = replace(request, requests=self.requests(run))
        if run.search_run is not None and not self.plan.request.name:
            request = replace(request, parent=self.search_by_run[run.search_run].title)
        if run not in self._keys:
            spec = self._key_resolver.make_spec(request)
            self._keys[run] = spec.key
            self.experiments.add((spec.dataset, spec.data))
        self._remaining[run] = request
        if self._has_record(run) or self._keys[run] in self._done_elsewhere:
            self.mark_done(run)

    def _get_search(self, run: PlannedRun) -> HyperparameterSearch:
        if run not in self.search_by_run:
            base, request = replace(self.plan.request_for(run), stage="trial"), self.plan.request
            spec, fixed = self._key_resolver.make_spec(base), self.plan.fixed_fields(run)
            self.search_by_run[run] = search = HyperparameterSearch(
                base, spec, fixed, request.search_options, request.budget, self.storage, self.command_id
            )
            search.retry_crashed()
            import_summary(search, self.environment.results)
        return self.search_by_run[run]

    def _compute_refit_epochs(self, run: PlannedRun) -> int | None:
        """The median of the epochs that the clean runs of all seeds chose; None until all of them are there."""
        clean = [other for other in self._clean_runs[replace(run, seed=0)] if other.protocol == "clean"]
        if any(other in self.failed_runs for other in clean):
            raise ConfigError("a clean run that a refit takes its epochs from failed")
        if not all(other in self._done for other in clean):
            return None
        known = [epochs for other in clean if (epochs := self._find_selected_epoch(other)) is not None]
        return median_low(known) if known else 1

    def _find_selected_epoch(self, run: PlannedRun) -> int | None:
        record = self._get_folder(run).read_record()
        if record is not None:
            return record.chosen if record.chosen is not None else find_best_epoch(self._get_folder(run).path)
        notes = [trial.user_attrs for trial in self.storage.read_trials(self._open_study())]
        found = [one.get(SELECTED_EPOCH_ATTR) for one in notes if one.get(RUN_KEY_ATTR) == self._keys[run]]
        return next((epochs for epochs in found if epochs is not None), None)

    def _open_study(self) -> Study:
        return self.storage.open_study(RUNS_STUDY, maximize=False)

    def _list_ready(self) -> list[tuple[PlannedRun, RunRequest]]:
        return [(run, request) for run, request in self._remaining.items() if request is not None]

    def _sync_with_database(self) -> dict[str, list[FrozenTrial]]:
        """Take note of cells that another machine did, or that failed as often as they may; the trials of each key."""
        states: dict[str, list[FrozenTrial]] = {}
        for trial in self.storage.read_trials(self._open_study()):
            states.setdefault(trial.user_attrs.get(RUN_KEY_ATTR, ""), []).append(trial)
        for run, _ in self._list_ready():
            trials = states.get(self._keys[run], [])
            made = [trial.user_attrs for trial in trials if trial.state.name == "COMPLETE"]
            if any((one.get(HOST_ATTR), one.get(RESULTS_ATTR)) != self._get_location() for one in made):
                self._done_elsewhere.add(self._keys[run])
                self.mark_done(run)
                continue
            mine = [trial.user_attrs for trial in trials if trial.user_attrs.get(COMMAND_ATTR) == self.command_id]
            failed = [one for one in mine if one.get(ERROR_KIND_ATTR, "interrupted") != "interrupted"]
            died = [one for one in mine if one.get(ERROR_MESSAGE_ATTR) == DIED_MESSAGE]
            if len(died) >= MAX_DEATHS:
                self._mark_failed(run, Failure("other", f"the process that ran it died {len(died)} times", ""))
                continue
            if failed and (len(failed) > self.plan.request.retries or failed[-1][ERROR_KIND_ATTR] in NON_RETRYABLE):
                self._mark_failed(run, Failure(failed[-1][ERROR_KIND_ATTR], failed[-1].get(ERROR_MESSAGE_ATTR, ""), ""))
        return states

    def find_failed_records(self) -> list[tuple[PlannedRun, Record]]:
        """The records of lost cells that were tried here, each the last of its tries."""
        tried = [(run, self._get_folder(run).read_failed_record()) for run in self.failed_runs if run in self._keys]
        return [(run, record) for run, record in tried if record is not None]

    def _get_location(self) -> tuple[str, str]:
        """This machine and results folder: what was made here and is gone is made again."""
        return socket.gethostname(), str(self.environment.results.resolve())

    def _mark_failed(self, run: PlannedRun, why: Failure) -> None:
        self.failed_runs[run] = why
        self._remaining.pop(run, None)

    def _has_record(self, run: PlannedRun) -> bool:
        """Whether its record is here."""
        return (self._get_folder(run).path / RECORD_FILE).exists()

    def _get_folder(self, run: PlannedRun) -> RunFolder:
        return RunFolder(self.environment.results / "runs" / self._keys[run])


def read_timings(results: Path) -> RunTimings:
    """Return the median seconds of the newest finished runs."""
    found: dict[tuple[str, str, str], list[float]] = {}
    paths = sorted((results / "runs").glob(f"*/{RECORD_FILE}"), key=lambda path: path.stat().st_mtime, reverse=True)
    for path in islice(paths, MAX_RECORDS):
        try:
            record = RunFolder(path.parent).read_record()
        except StoreError:
            continue
        if record is not None:
            spent = sum(record.seconds.values())
            for dataset in (record.spec.dataset, ""):
                found.setdefault((record.spec.method, record.preset, dataset), []).append(spent)
    return {which: median(spent) for which, spent in found.items()}


def get_seconds(timings: RunTimings, method: str, preset: str, dataset: str) -> float | None:
    """Return what such a run took, on this data set or else on another; None where none was made."""
    return timings.get((method, preset, dataset), timings.get((method, preset, "")))


def estimate_remaining_time(scheduler: Scheduler, timings: RunTimings, workers: int) -> str:
    """How long what is left will take, in words."""
    request, seconds, unknown = scheduler.plan.request, 0.0, 0
    jobs = [scheduler.plan.request_for(run) for run in scheduler.remaining]
    for search in scheduler.searches:
        trials = max(0, (request.budget.trials or 0) - search.count_trials().total)
        jobs += [search.base_request] * trials * request.search_options.seeds
        if request.budget.hours:  # at most, and not for the runs of other searches
            seconds += max(0.0, request.budget.hours * HOUR - search.compute_seconds())
    for job in jobs:
        took = get_seconds(timings, job.method.name, job.preset, job.dataset.info.name)
        unknown += took is None
        seconds += took or 0.0
    if not jobs and not seconds:
        return "nothing is left to do"
    if jobs and unknown == len(jobs):
        return "how long it takes is not known: no such run was timed here yet"
    if request.budget.target and not request.budget.trials and not request.budget.hours:
        return f"about {format_duration(seconds / workers)}, beside searches that end when their target is reached"
    rest = f", and {unknown} runs of methods that were not timed here yet" if unknown else ""
    return f"about {format_duration(seconds / workers)}{rest}"


def format_duration(seconds: float) -> str:
    """A duration as a person says it."""
    for size, name in ((DAY, "days"), (HOUR, "hours"), (MINUTE, "minutes")):
        if seconds >= 1.5 * size:
            return f"{seconds / size:.1f} {name}" if seconds < 10 * size else f"{seconds / size:.0f} {name}"
    return f"{max(1, round(seconds))} seconds"
