"""Workers: lease trials and planned runs, and execute them until none are left.

A trial is trained on train and scored on val; the test split stays sealed.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from statistics import fmean
from typing import TypeVar

from bench.errors import BenchError, ConfigError, DataError
from bench.execute import RunEnvironment, RunResult, execute, publish_record
from bench.files import logs_to
from bench.mlflow import MlflowStore
from bench.tasks import ACCURACY, Metric
from bench.timing import describe_overhead
from bench.tracker import ProgressReporter, Pruned
from bench.types import DataIssue
from reports.figures.clips import save_run_figures
from reports.formats import format_epoch
from studies.plan import Resources, StudyRequest, make_plan
from studies.requests import use_plugins
from studies.scheduler import SELECTED_EPOCH_ATTR, Scheduler
from studies.search import FIRST_TRIAL_SEED, SECONDS_ATTR, HyperparameterSearch
from studies.storage import Lease, Storage, make_storage_url

IDLE_PAUSE = 0.5  # seconds between checks while other processes work

T = TypeVar("T")
_log = logging.getLogger("bench")


def run_until_done(
    scheduler: Scheduler, environment: RunEnvironment, print_line: Callable[[str], None], once: bool = False
) -> bool:
    """Execute the trials and runs of a plan one by one, until all are done or have failed.

    If `once`, execute at most one. Return whether the last attempt found work.
    """
    while True:
        ran = _run_next_trial(scheduler, environment, print_line) or _run_next_planned(
            scheduler, environment, print_line
        )
        if once:
            return ran
        if not ran:
            scheduler.refresh()
            if not scheduler.remaining:
                return False
            time.sleep(IDLE_PAUSE)  # other processes work on the rest


def publish_remaining(scheduler: Scheduler, environment: RunEnvironment) -> None:
    """Publish the records that are not published yet. An unavailable tracker is contacted once more."""
    if environment.store.unavailable_reason is not None:
        environment.store.retry()
    for _, folder in scheduler.iterate_done():
        if folder is None or environment.store.find_run_id(folder) is not None:
            continue
        if (record := folder.read_record()) is not None:
            with folder.locked(lambda: None):
                publish_record(folder, record, environment, None, found=True)


def _run_next_trial(scheduler: Scheduler, environment: RunEnvironment, print_line: Callable[[str], None]) -> bool:
    """Run a trial of the first search that has one left. Return whether there was one."""
    for search in scheduler.searches:
        lease = None if search.is_over() else search.lease_next()
        if lease is not None:
            print_line(
                f"{search.base_request.dataset.info.name}: {search.title}: {run_trial(search, lease, environment)}"
            )
            if search.is_over():
                scheduler.refresh()
            return True
    return False


def _run_next_planned(scheduler: Scheduler, environment: RunEnvironment, print_line: Callable[[str], None]) -> bool:
    """Execute a planned run that is ready. Return whether there was one."""
    found = scheduler.lease_next()
    if found is None:
        return False
    run, request, lease = found
    outcome = _execute_leased(lambda: execute(request, environment), lease)
    if isinstance(outcome, BenchError):
        print_line(f"{run}: failed: {outcome}")
        return True
    record, seconds = outcome.record, outcome.record.compute_seconds
    if record.error is not None:
        lease.fail(record.error.kind, record.error.message)
        print_line(f"{run}: failed: {record.error.kind}: {record.error.message} (run {record.key})")
        return True
    lease.set_attributes(**{SELECTED_EPOCH_ATTR: record.chosen})
    lease.complete(seconds)
    print_line(f"{run}: done in {seconds:.0f} s (run {record.key}){describe_overhead(record.seconds)}")
    scheduler.mark_done(run)
    return True


def _execute_leased(work: Callable[[], T], lease: Lease) -> T | BenchError:
    """Return the result of leased work, or the user error that failed it.

    Any other exception releases the lease, so that the work is repeated with the same values.
    """
    try:
        return work()
    except (ConfigError, DataError) as error:
        lease.fail("data" if isinstance(error, DataError) else "other", str(error))
        return error
    except BaseException:
        lease.release()
        raise


def run_trial(search: HyperparameterSearch, lease: Lease, environment: RunEnvironment) -> str:
    """Run a leased trial and return a line with its outcome: scored, pruned or failed."""
    outcome = _execute_leased(lambda: _run_trial_seeds(search, lease, environment), lease)
    return outcome if isinstance(outcome, str) else f"trial {lease.number} failed: {outcome}"


def _run_trial_seeds(search: HyperparameterSearch, lease: Lease, environment: RunEnvironment) -> str:
    values: list[float] = []
    keys: list[str] = []
    seconds = 0.0
    for part in range(search.options.seeds):
        outcome = _execute_trial(search, lease, part, environment)
        error, key = outcome.record.error, outcome.record.key
        keys.append(key)
        seconds += outcome.record.compute_seconds
        lease.set_attributes(**{"keys": keys, SECONDS_ATTR: round(seconds, 3)})
        if error is not None and error.kind == "pruned":
            lease.prune()
            return f"trial {lease.number} pruned {error.message} (run {key})"
        if error is not None:
            lease.fail(error.kind, error.message)
            return f"trial {lease.number} failed: {error.kind}: {error.message} (run {key})"
        value = outcome.record.scores[f"val/{search.metric.name}"]
        if value is None:
            reason = f"{search.metric.title} on val is not defined: the predictions are constant"
            lease.fail("nan", reason)
            return f"trial {lease.number} failed: {reason} (run {key})"
        values.append(value)
        if search.options.seeds > 1 and lease.report(value, part) and part + 1 < search.options.seeds:
            lease.prune()
            return f"trial {lease.number} pruned after {part + 1} of {search.options.seeds} seeds"
    lease.complete(fmean(values))
    return f"trial {lease.number}: val {search.metric.format_named(fmean(values))}"


def _execute_trial(search: HyperparameterSearch, lease: Lease, part: int, environment: RunEnvironment) -> RunResult:
    """Execute one run of a trial, on the validation fold of its seed."""

    def watch(epoch: int, value: float) -> None:
        if lease.report(value, epoch):
            raise Pruned(f"after epoch {epoch + 1} at val {search.metric.format_named(value)}")

    request = replace(
        search.base_request,
        config=search.base_request.config.override(lease.params),
        seed=FIRST_TRIAL_SEED + part,
        stage="trial",
        parent=search.title,
        pruning_callback=watch if search.options.seeds == 1 else None,
    )
    return execute(request, environment)


def make_environment(request: StudyRequest, resources: Resources, screen: ProgressReporter) -> RunEnvironment:
    """Return the environment in which this process executes runs."""
    return RunEnvironment(
        results=resources.results,
        store=MlflowStore(resources.results, resources.tracking_uri),
        reporter=screen,
        draw_figures=partial(save_run_figures, notice=screen.notify),
        data_folder=request.data,
        device=resources.device,
        threads=resources.threads,
        loaders=resources.loaders,
        keep_weights=resources.keep_weights,
        devices=resources.devices,
    )


def make_scheduler(
    request: StudyRequest,
    resources: Resources,
    environment: RunEnvironment,
    waits: bool = False,
    only_known: bool = False,
) -> Scheduler:
    """Return a scheduler with the current state of the plan.

    If `waits`, a database that is unavailable at the start is waited for. With `only_known` no data are hashed.
    """
    storage = Storage(make_storage_url(resources.results, resources.storage), environment.reporter.notify, waits)
    return Scheduler(make_plan(request), environment, storage, resources.command_id, only_known=only_known)


def run_worker(request: StudyRequest, resources: Resources, once: bool = False) -> bool:
    """Work without a terminal until nothing is left, or on one trial or run if `once`.

    Return whether the last attempt found work.
    """
    _log.setLevel(logging.INFO)  # the log of a run shows its epochs
    with logs_to(resources.results / "log"):
        use_plugins(request.plugins)
        environment = make_environment(request, resources, LogReporter())
        return run_until_done(
            make_scheduler(request, resources, environment, waits=True),
            environment,
            lambda line: _log.warning("%s", line),
            once,
        )


class LogReporter:
    """A ProgressReporter that writes to the log of the run, outside of runs to that of the worker.

    Issues with the data are left out: records hold them.
    """

    def start_run(self, title: str) -> None:
        """Log the title of a run."""
        _log.info("%s", title)

    def report_progress(self, what: str, done: int, total: int) -> None:
        """Do nothing: a worker has no terminal."""

    def report_epoch(
        self, stage: str, epoch: int, epochs: int, values: dict[str, float], metric: Metric = ACCURACY
    ) -> None:
        """Log a finished epoch; ignore the start of a stage, which has no values."""
        if values:
            _log.info("%s: %s", stage, ", ".join(format_epoch(stage, epoch, epochs, values, metric)))

    def report_data(self, corpus_sample: bool, problems: Sequence[DataIssue]) -> None:
        """Do nothing: the parent process reports it."""

    def notify(self, text: str) -> None:
        """Log a notice."""
        _log.warning("%s", text)
