"""Schedule a plan: its done, failed and remaining runs, from record files and the shared database; remaining time."""

from __future__ import annotations

import socket
from collections.abc import Iterable, Iterator
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
from bench.tasks import Metric
from bench.timing import sum_compute_seconds
from bench.tracker import find_best_epoch
from studies.plan import Plan, PlannedRun, RunKeyResolver
from studies.search import BestTrial, HyperparameterSearch, find_search_ranges
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

RUNS_STUDY = "cells"  # Optuna study with the runs of all studies
RUN_KEY_ATTR, RUN_NAME_ATTR, SELECTED_EPOCH_ATTR, RESULTS_ATTR = "key", "cell", "chosen", "results"
NON_RETRYABLE: tuple[FailureKind, ...] = ("nan", "data")  # failures that would recur

MAX_RECORDS = 300  # number of newest records from which run times are taken
MINUTE, HOUR, DAY = 60.0, 3600.0, 86400.0
RunTimings = dict[tuple[str, str, str], tuple[float, float]]
"""(method, preset, data set) -> median seconds of earlier runs here, training and scoring, and those of the stages that
they used; data set "" -> over all data sets."""


@dataclass
class Scheduler:
    """The state of a plan. `failed_runs` maps each failed run that is not retried to the reason.

    With `only_known` no file is hashed: runs on data that were never hashed are in `unknown_runs`.
    """

    plan: Plan
    environment: RunEnvironment
    storage: Storage
    command_id: str
    failed_runs: dict[PlannedRun, Failure] = field(default_factory=dict)
    only_known: bool = False
    unknown_runs: set[PlannedRun] = field(default_factory=set)

    def __post_init__(self) -> None:
        self._key_resolver = RunKeyResolver(self.environment, self.only_known)
        self.search_by_run: dict[
            PlannedRun, HyperparameterSearch
        ] = {}  # the run that identifies a search -> the search
        self._remaining: dict[PlannedRun, RunRequest | None] = dict.fromkeys(self.plan.runs)  # None: not ready
        self._keys: dict[PlannedRun, str] = {}
        self._done: set[PlannedRun] = set()
        self._done_elsewhere: set[str] = set()
        # Winner of a finished search and number of its configurations; read once, so that a command uses one winner.
        self._search_results: dict[PlannedRun, tuple[BestTrial | None, int]] = {}
        self.experiments: set[tuple[str, str]] = set()  # (data set, "real" or "sample") of the runs whose spec is known
        # refit run with seed 0 -> the runs that determine its number of epochs
        self._clean_runs: dict[PlannedRun, list[PlannedRun]] = {}
        for run in self.plan.runs:
            self._clean_runs.setdefault(replace(run, seed=0, protocol="refit"), []).append(run)
        self.refresh()

    @property
    def searches(self) -> list[HyperparameterSearch]:
        """Return the searches that runs wait for, except those whose data are missing."""
        return list(self.search_by_run.values())

    @property
    def remaining(self) -> list[PlannedRun]:
        """Return the runs that are neither done nor failed."""
        return list(self._remaining)

    @property
    def done_count(self) -> int:
        """Return the number of runs that have a record, here or on another machine."""
        return len(self._done)

    def refresh(self) -> None:
        """Update the state of the remaining runs from files and searches."""
        unfinished: set[PlannedRun] = set()  # searches that are not over
        for run in list(self._remaining):
            try:
                self._update_run(run, unfinished)
            except (ConfigError, DataError) as error:
                kind: FailureKind = "data" if isinstance(error, DataError) else "other"
                self._mark_failed(run, Failure(kind, str(error), ""))

    def lease_next(self) -> tuple[PlannedRun, RunRequest, Lease] | None:
        """Lease the next run that is ready and not leased. Return None if there is none."""
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
            if self._has_record(run):  # finished since the last refresh
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
        """Update the state of the remaining runs, including the work of other processes."""
        self.refresh()
        if self._list_ready():
            self._sync_with_database()

    def mark_done(self, run: PlannedRun) -> None:
        """Mark a run as done."""
        self._remaining.pop(run, None)
        self._done.add(run)

    def iterate_done(self) -> Iterator[tuple[PlannedRun, RunFolder | None]]:
        """Yield each finished run with its folder, or None if its record is on another machine."""
        for run in self.plan.runs:
            if run in self._done:
                folder = self._get_folder(run)
                yield run, folder if self._has_record(run) else None

    def list_made_elsewhere(self) -> set[str]:
        """Return the keys of the runs that are done and whose record is on another machine."""
        return {self._keys[run] for run, folder in self.iterate_done() if folder is None}

    def requests(self, run: PlannedRun) -> tuple[StoredRequest, ...]:
        """Return the requests to store with a run. The search it waits for must be over."""
        if run.search_run is None:
            return self.plan.requests(run)
        return self.plan.requests(
            run, self.search_by_run[run.search_run].digest, self._search_results[run.search_run][1]
        )

    def _update_run(self, run: PlannedRun, unfinished: set[PlannedRun]) -> None:
        """Update a run: done, ready, or waiting for its search. Raises ConfigError if it can never be executed."""
        winner = None
        if run.search_run is not None:
            search = self._get_search(run.search_run)
            if search is None:
                self.unknown_runs.add(run)
                return
            if run.search_run in unfinished:
                return
            if run.search_run not in self._search_results:
                if not search.is_over():
                    unfinished.add(run.search_run)
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
            if spec is None:
                self.unknown_runs.add(run)
                return
            self._keys[run] = spec.key
            self.experiments.add((spec.dataset, spec.data))
        self._remaining[run] = request
        if self._has_record(run) or self._keys[run] in self._done_elsewhere:
            self.mark_done(run)

    def _get_search(self, run: PlannedRun) -> HyperparameterSearch | None:
        """Return the search of a run, None if its data are unknown."""
        if run not in self.search_by_run:
            base, request = replace(self.plan.request_for(run), stage="trial"), self.plan.request
            spec, fixed = self._key_resolver.make_spec(base), self.plan.fixed_fields(run)
            if spec is None:
                return None
            self.search_by_run[run] = search = HyperparameterSearch(
                base, spec, fixed, request.search_options, request.budget, self.storage, self.command_id
            )
            search.retry_crashed()
            import_summary(search, self.environment.results)
        return self.search_by_run[run]

    def _compute_refit_epochs(self, run: PlannedRun) -> int | None:
        """Return the median of the epochs selected by the clean runs of all seeds, or None until all are done."""
        clean = [other for other in self._clean_runs[replace(run, seed=0)] if other.protocol == "clean"]
        if any(other in self.failed_runs for other in clean):
            raise ConfigError("a clean run that determines the number of epochs failed")
        if not all(other in self._done for other in clean):
            return None
        known = [epochs for other in clean if (epochs := self._find_selected_epoch(other)) is not None]
        return median_low(known) if known else 1

    def _find_selected_epoch(self, run: PlannedRun) -> int | None:
        record = self._get_folder(run).read_record()
        if record is not None:
            return (
                record.chosen
                if record.chosen is not None
                else find_best_epoch(self._get_folder(run).path, self._get_metric(run))
            )
        notes = [trial.user_attrs for trial in self.storage.read_trials(self._open_study())]
        found = [attrs.get(SELECTED_EPOCH_ATTR) for attrs in notes if attrs.get(RUN_KEY_ATTR) == self._keys[run]]
        return next((epochs for epochs in found if epochs is not None), None)

    def _get_metric(self, run: PlannedRun) -> Metric:
        return self.plan.datasets[run.dataset].info.task.primary

    def _open_study(self) -> Study:
        return self.storage.open_study(RUNS_STUDY, maximize=False)

    def _list_ready(self) -> list[tuple[PlannedRun, RunRequest]]:
        return [(run, request) for run, request in self._remaining.items() if request is not None]

    def _sync_with_database(self) -> dict[str, list[FrozenTrial]]:
        """Mark runs that another machine finished or that failed too often. Return run key -> its trials."""
        states: dict[str, list[FrozenTrial]] = {}
        for trial in self.storage.read_trials(self._open_study()):
            states.setdefault(trial.user_attrs.get(RUN_KEY_ATTR, ""), []).append(trial)
        for run, _ in self._list_ready():
            trials = states.get(self._keys[run], [])
            made = [trial.user_attrs for trial in trials if trial.state.name == "COMPLETE"]
            if any((attrs.get(HOST_ATTR), attrs.get(RESULTS_ATTR)) != self._get_location() for attrs in made):
                self._done_elsewhere.add(self._keys[run])
                self.mark_done(run)
                continue
            attempts = [trial.user_attrs for trial in trials if trial.user_attrs.get(COMMAND_ATTR) == self.command_id]
            failed = [attrs for attrs in attempts if attrs.get(ERROR_KIND_ATTR, "interrupted") != "interrupted"]
            died = [attrs for attrs in attempts if attrs.get(ERROR_MESSAGE_ATTR) == DIED_MESSAGE]
            if len(died) >= MAX_DEATHS:
                self._mark_failed(run, Failure("other", f"its process died {len(died)} times", ""))
                continue
            if failed and (len(failed) > self.plan.request.retries or failed[-1][ERROR_KIND_ATTR] in NON_RETRYABLE):
                self._mark_failed(run, Failure(failed[-1][ERROR_KIND_ATTR], failed[-1].get(ERROR_MESSAGE_ATTR, ""), ""))
        return states

    def find_failed_records(self) -> list[tuple[PlannedRun, Record]]:
        """Return the last record of each failed run that was attempted here."""
        tried = [(run, self._get_folder(run).read_failed_record()) for run in self.failed_runs if run in self._keys]
        return [(run, record) for run, record in tried if record is not None]

    def _get_location(self) -> tuple[str, str]:
        """Return this machine and results folder. A run finished here whose record is gone is repeated."""
        return socket.gethostname(), str(self.environment.results.resolve())

    def _mark_failed(self, run: PlannedRun, why: Failure) -> None:
        self.failed_runs[run] = why
        self._remaining.pop(run, None)

    def _has_record(self, run: PlannedRun) -> bool:
        """Return whether the record of a run is here."""
        return (self._get_folder(run).path / RECORD_FILE).exists()

    def _get_folder(self, run: PlannedRun) -> RunFolder:
        return RunFolder(self.environment.results / "runs" / self._keys[run])


def read_timings(results: Path) -> RunTimings:
    """Return the median seconds of training and scoring of the newest finished runs."""
    found: dict[tuple[str, str, str], list[tuple[float, float]]] = {}
    paths = sorted((results / "runs").glob(f"*/{RECORD_FILE}"), key=lambda path: path.stat().st_mtime, reverse=True)
    for path in islice(paths, MAX_RECORDS):
        try:
            record = RunFolder(path.parent).read_record()
        except StoreError:
            continue
        if record is not None:
            spent = sum_compute_seconds(record.seconds), record.stage_seconds
            for dataset in (record.spec.dataset, ""):
                found.setdefault((record.spec.method, record.preset, dataset), []).append(spent)
    return {
        group: (median(own for own, _ in spent), median(stages for _, stages in spent))
        for group, spent in found.items()
    }


def get_seconds(timings: RunTimings, method: str, preset: str, dataset: str, with_stages: bool = True) -> float | None:
    """Return the seconds of such a run, on this data set or else on any; None if there was none."""
    found = timings.get((method, preset, dataset), timings.get((method, preset, "")))
    return None if found is None else sum(found) if with_stages else found[0]


def estimate_remaining_time(scheduler: Scheduler, timings: RunTimings, workers: int) -> str:
    """Describe the time of training and scoring that the remaining runs and trials will take."""
    request, seconds, unknown = scheduler.plan.request, 0.0, 0
    jobs = [(scheduler.plan.request_for(run), True) for run in scheduler.remaining]
    for run in scheduler.plan.searches:
        if run not in scheduler.search_by_run:  # its data are unknown, so no trial has run
            base = scheduler.plan.request_for(run)
            ranges = find_search_ranges(base.config, scheduler.plan.fixed_fields(run), request.search_options.fields)
            jobs += _list_trials(base, ranges, request.budget.trials or 0, request.search_options.seeds)
            seconds += (request.budget.hours or 0.0) * HOUR
    for search in scheduler.searches:
        trials = max(0, (request.budget.trials or 0) - search.count_trials().total)
        jobs += _list_trials(search.base_request, search.ranges, trials, request.search_options.seeds)
        if request.budget.hours:  # an upper bound of the trials that are left
            seconds += max(0.0, request.budget.hours * HOUR - search.compute_seconds())
    for job, with_stages in jobs:
        took = get_seconds(timings, job.method.name, job.preset, job.dataset.info.name, with_stages)
        unknown += took is None
        seconds += took or 0.0
    if not jobs and not seconds:
        return "nothing left to do"
    if jobs and unknown == len(jobs):
        return "time unknown: no comparable run has finished here yet"
    about = f"about {format_duration(seconds / workers)} of training and scoring"
    if request.budget.target and not request.budget.trials and not request.budget.hours:
        return f"{about}, plus the searches, which end when they reach the target"
    runs = "1 run" if unknown == 1 else f"{unknown} runs"
    rest = f", plus {runs} of methods without a finished run here" if unknown else ""
    return f"{about}{rest}"


def _list_trials(base: RunRequest, fields: Iterable[str], trials: int, seeds: int) -> list[tuple[RunRequest, bool]]:
    """Return the runs of a search's trials, and whether each trains the stages: the first of a seed if all share."""
    shared = all(set(fields) <= set(stage.ignores) for stage in base.method.stages)
    return [(base, trial == 0 or not shared) for trial in range(trials) for _ in range(seeds)]


def format_duration(seconds: float) -> str:
    """Format seconds as days, hours, minutes or seconds."""
    for size, name in ((DAY, "days"), (HOUR, "hours"), (MINUTE, "minutes")):
        if seconds >= 1.5 * size:
            return f"{seconds / size:.1f} {name}" if seconds < 10 * size else f"{seconds / size:.0f} {name}"
    return "1 second" if round(seconds) <= 1 else f"{round(seconds)} seconds"
