"""Run methods or a study; print the results as tables and write JSON.

`execute_methods` and `execute_study` run, also for `studies.api`; the other functions print.
"""

from __future__ import annotations

import json
import secrets
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

from rich.console import Console

from bench.config import get_or_suggest, parse_overrides
from bench.errors import BenchError, ConfigError
from bench.execute import RunEnvironment, RunRequest, RunResult, execute, publish_waiting
from bench.files import atomic_write, logs_to
from bench.mlflow import MlflowStore, sync
from bench.record import Record, RunFolder
from bench.requests import StoredRequest, Tuning, add_requests, lacks_requests, name_files, read_requests
from bench.timing import describe_overhead
from bench.tracker import ExperimentTracker, ParentStatus
from bench.types import DatasetInfo
from reports.formats import plural
from reports.runs import Run
from reports.terminal import ArmProgress, make_gap_table, make_optimism_table, make_plan_table, render_records
from studies.cli.options import (
    EXIT_DONE,
    EXIT_INCOMPLETE,
    RunOptions,
    choose_device,
    choose_threads,
)
from studies.cli.progress import TerminalReporter, print_line, print_table, print_unavailable
from studies.launchers import run_plan
from studies.plan import (
    ArmGroup,
    PlannedRun,
    Resources,
    StudyRequest,
    list_settings,
    resolve_requests,
    summarize_runs,
)
from studies.requests import (
    apply_task,
    check_fields,
    check_unique_names,
    find_arm,
    find_dataset,
    split_names,
)
from studies.scheduler import Scheduler, estimate_remaining_time, read_timings
from studies.search import PRUNERS, SAMPLERS, Budget, SearchOptions
from studies.search_results import publish_search, start_search_run
from studies.select import TriedCounts, count_tried_in
from studies.storage import make_storage_url
from studies.studies import PROTOCOLS, STUDIES, TUNINGS, Study, find_studies
from studies.worker import make_environment, make_scheduler, publish_remaining


@dataclass(frozen=True)
class FinishedRuns:
    """Runs of a command that were executed one after the other."""

    requests: list[RunRequest]
    outcomes: list[RunResult]  # of the first requests: an error may have ended them early
    environment: RunEnvironment
    error: BenchError | None  # the user's error that ended them


@dataclass(frozen=True)
class FinishedPlan:
    """A plan whose runs are done or have failed; with --dry-run, whose runs are only counted."""

    scheduler: Scheduler
    environment: RunEnvironment


def run_named_study(name: str, datasets: str, seeds: Sequence[int], tuning: str, options: RunOptions) -> int:
    """Run a named study and return the exit code. Raises ConfigError for an unknown name."""
    console = Console()
    with TerminalReporter(console) as screen:
        done = execute_study(name, datasets, seeds, tuning, options, screen)
    return print_outcome(console, done, options)


def execute_study(
    name: str, datasets: str, seeds: Sequence[int], tuning: str, options: RunOptions, screen: TerminalReporter
) -> FinishedPlan:
    """Run a named study. Raises ConfigError for an unknown name."""
    studies = find_studies(name)
    given = parse_overrides(options.settings or [])
    lacking = dict(pair for study in studies for pair in study.required_settings if pair[1] not in given)
    for arm, field in lacking.items():
        screen.notify(f"{arm} is left out: it needs --set {field}=...")
    check_fields([find_arm(arm) for study in studies for arm in study.arms], given)
    if options.task and not datasets:
        raise ConfigError("--task: needs --datasets, the data sets with this task")
    groups = _make_arm_groups(studies, apply_task(datasets, options.task), tuning, lacking, options)
    if tuning and (options.trials, options.hours, options.target) == (None, None, None):
        raise ConfigError(f"--tuning {tuning}: needs a search; add --trials 20, --hours or --target")
    request = _make_study_request(name, groups, seeds, options)
    return _execute_plan(request, _make_resources(options), options, screen)


def run_methods(
    method: str, dataset: str, fold: int | None, protocol: str, seeds: Sequence[int], fresh: bool, options: RunOptions
) -> int:
    """Run the methods named on the command line and return the exit code. Raises ConfigError for an unknown name."""
    console = Console()
    with TerminalReporter(console) as screen:
        done = execute_methods(method, dataset, fold, protocol, seeds, fresh, options, screen)
    return print_outcome(console, done, options)


def execute_methods(
    method: str,
    dataset: str,
    fold: int | None,
    protocol: str,
    seeds: Sequence[int],
    fresh: bool,
    options: RunOptions,
    screen: TerminalReporter,
) -> FinishedRuns | FinishedPlan:
    """Run methods on data sets, both given as comma-separated names. Raises ConfigError for an unknown name."""
    dataset = apply_task(dataset, options.task)
    requests = resolve_requests(
        method,
        dataset,
        options.preset,
        options.settings or [],
        seeds,
        fold,
        options.data,
        options.limit,
        options.pretrain_on,
    )
    known = get_or_suggest(protocol, {name: name for name in PROTOCOLS}, "protocol")
    requests = [replace(request, protocol=known) for request in requests]
    arms = tuple(dict.fromkeys(request.arm for request in requests))
    folds = None if fold is None else (fold,)
    group = ArmGroup(arms, tuple(split_names(dataset, "--dataset")), folds, "per-arm", protocol=known)
    request = _make_study_request("", (group,), seeds, options)
    resources = _make_resources(options)
    shared = options.workers > 1 or options.launcher != "processes" or options.storage
    if request.budget.is_set or known == "refit" or shared or options.dry_run:
        if fresh:
            raise ConfigError(
                "--fresh: not possible with --trials, --hours, --target, --workers, --launcher, --storage, --dry-run "
                "or --protocol refit; omit it"
            )
        return _execute_plan(request, resources, options, screen)
    environment = replace(make_environment(request, resources, screen), fresh=fresh)
    _warn_overlap([request.dataset.info for request in requests] if folds else [], screen)
    requests = _add_requests(requests, options.typed)
    outcomes, error = _run_requests(requests, environment)
    return FinishedRuns(requests, outcomes, environment, error)


def print_outcome(console: Console, done: FinishedRuns | FinishedPlan, options: RunOptions) -> int:
    """Print the results of a command and return the exit code. Raises the error that ended it early."""
    if isinstance(done, FinishedPlan):
        if options.dry_run:
            print_table(console, make_plan_table(_count_planned(done.scheduler)))
            if done.scheduler.unknown_runs:
                print_line(console, _describe_unknown(done.scheduler), "yellow")
            _print_failed(console, done.scheduler)
            return EXIT_DONE
        return _print_study_results(console, done.scheduler, done.environment.store, options.json_file)
    code = EXIT_DONE
    if done.outcomes:
        code = _print_results(console, done.requests, done.outcomes, done.environment, options.json_file)
    if done.error is not None:
        raise done.error
    return code


def _make_arm_groups(
    studies: tuple[Study, ...], datasets: str, tuning: str, lacking: dict[str, str], options: RunOptions
) -> tuple[ArmGroup, ...]:
    """Return the arms of studies, for each protocol and kind of tuning. Raises ConfigError for an unknown name."""
    named = split_names(datasets, "--datasets") if datasets else []
    check_unique_names([find_dataset(dataset, options.data) for dataset in named])
    known: dict[str, Tuning] = {kind: kind for kind in TUNINGS}
    tunings = [get_or_suggest(kind, known, "tuning") for kind in split_names(tuning, "--tuning")] if tuning else []
    return tuple(
        ArmGroup(
            arms=tuple(arm for arm in study.arms if arm not in lacking),
            datasets=tuple(named) or study.datasets,
            folds=() if study.every_fold else None,
            tuning=kind,
            reference_method=study.reference_method,
            protocol=protocol,
            settings=study.quick_overrides if options.preset == "quick" else (),
            study=study.name,
        )
        for study in studies
        for kind in tunings or [study.tuning]
        for protocol in study.protocols
    )


def _make_study_request(
    name: str, groups: tuple[ArmGroup, ...], seeds: Sequence[int], options: RunOptions
) -> StudyRequest:
    return StudyRequest(
        name=name,
        groups=groups,
        seeds=tuple(seeds),
        preset=options.preset,
        settings=tuple(options.settings or []),
        data=options.data,
        budget=Budget(options.trials, options.hours, options.target),
        search_options=_make_search_options(options),
        shard=_parse_shard(options.shard),
        retries=options.retries,
        typed=options.typed,
        limit=options.limit,
        pretrain_on=options.pretrain_on,
        plugins=options.plugins,
    )


def _make_search_options(options: RunOptions) -> SearchOptions:
    if options.search and (options.trials, options.hours, options.target) == (None, None, None):
        raise ConfigError(f"--search {options.search}: needs a budget; add --trials 20, --hours or --target")
    fields = tuple(split_names(options.search, "--search")) if options.search else ()
    return SearchOptions(options.sampler, options.pruner, options.trial_seeds, fields)


def _parse_shard(text: str) -> tuple[int, int]:
    """Return "2/5" as (2, 5). Raises ConfigError for anything else than i/n with 1 <= i <= n."""
    number, _, count = text.partition("/")
    if not (number.isdigit() and count.isdigit() and 1 <= int(number) <= int(count)):
        raise ConfigError(f"--shard: '{text}' is not i/n with 1 <= i <= n; e.g. --shard 2/5")
    return int(number), int(count)


def _make_resources(options: RunOptions) -> Resources:
    return Resources(
        results=options.results,
        tracking_uri=options.tracking_uri,
        storage=options.storage,
        device=choose_device(options.device) if options.launcher == "processes" else options.device or choose_device(),
        is_device_chosen=bool(options.device),
        devices=options.devices,
        threads=choose_threads(options.preset, options.threads, options.workers, options.devices),
        loaders=options.loaders,
        keep_weights=options.weights,
    )


def _add_requests(requests: list[RunRequest], typed: str) -> list[RunRequest]:
    """Attach to each run the request it comes from: a command without a study."""
    plan = summarize_runs(
        (request.dataset.info.name, request.fold, request.seed, request.protocol) for request in requests
    )
    complete = []
    for request in requests:
        settings = list_settings(request)
        stored = StoredRequest("", request.arm, request.preset, plan, settings=settings, command=typed)
        complete.append(replace(request, requests=(stored,)))
    return complete


def _warn_overlap(infos: Iterable[DatasetInfo], screen: TerminalReporter) -> None:
    """Warn of data sets whose folds share test clips."""
    for title in sorted({info.title for info in infos if info.overlap}):
        screen.notify(f"{title}: the test clips of its folds overlap, so runs on different folds are not independent")


def _run_requests(requests: list[RunRequest], environment: RunEnvironment) -> tuple[list[RunResult], BenchError | None]:
    """Execute runs one after the other; return the results, and the user's error that ended them early, if any."""
    outcomes: list[RunResult] = []
    failure: BenchError | None = None
    with logs_to(environment.results / "log"):
        environment.store.end_orphaned_runs()
        for request in requests:
            try:
                outcomes.append(execute(request, environment))
            except BenchError as error:
                failure = error
                break
            environment.reporter.notify(_format_summary_line(outcomes[-1]))
        return publish_waiting(outcomes, environment), failure


def _execute_plan(
    request: StudyRequest, resources: Resources, options: RunOptions, screen: TerminalReporter
) -> FinishedPlan:
    """Check a request and run it, or with --dry-run only show how much work it is."""
    get_or_suggest(request.search_options.sampler, SAMPLERS, "sampler")
    get_or_suggest(request.search_options.pruner, dict.fromkeys(PRUNERS), "pruner")
    if options.launcher != "processes" and options.launcher.partition("://")[0] != "ray":
        raise ConfigError(f"--launcher: unknown launcher '{options.launcher}'; known: processes, ray, ray://HEAD:PORT")
    make_storage_url(resources.results, resources.storage)
    resources = replace(resources, results=resources.results.resolve(), command_id=secrets.token_hex(6))
    request = replace(request, data=request.data.resolve() if request.data is not None else None)
    with logs_to(resources.results / "log"):
        environment = make_environment(request, resources, screen)
        if not options.dry_run:
            environment.store.end_orphaned_runs()
        scheduler = make_scheduler(request, resources, environment, only_known=options.dry_run)
        folds = Counter(dataset for dataset, _ in {(run.dataset, run.fold) for run in scheduler.plan.runs})
        _warn_overlap((scheduler.plan.datasets[name].info for name, count in folds.items() if count > 1), screen)
        screen.print_line(_summarise_plan(scheduler))
        screen.print_line(estimate_remaining_time(scheduler, read_timings(resources.results), options.workers))
        if not options.dry_run:
            _start_mlflow_runs(scheduler, environment.store)
            _store_requests(scheduler)
            status: ParentStatus = "KILLED"
            try:
                show = partial(_update_bars, screen, scheduler)
                run_plan(scheduler, environment, resources, options.workers, options.launcher, show, screen.print_line)
                _store_requests(scheduler)
                publish_remaining(scheduler, environment)
                status = "FAILED" if scheduler.failed_runs else "FINISHED"
            finally:
                _finish_mlflow_runs(scheduler, environment.store, status)
            for search in scheduler.searches:
                publish_search(search, environment.store)
            elsewhere = scheduler.list_made_elsewhere()
            if isinstance(environment.store, MlflowStore) and resources.tracking_uri is not None and elsewhere:
                sync(environment.store, push=False, keys=elsewhere)  # runs of other machines
    return FinishedPlan(scheduler, environment)


def _describe_unknown(scheduler: Scheduler) -> str:
    """Return which runs have no key yet, because their data were never hashed."""
    names = dict.fromkeys(run.dataset for run in scheduler.plan.runs if run in scheduler.unknown_runs)
    counted = plural(len(scheduler.unknown_runs), "run")
    return f"{counted} on {', '.join(names)}: key unknown until prepared, so finished ones are counted as left"


def _start_mlflow_runs(scheduler: Scheduler, store: ExperimentTracker) -> None:
    """Start the MLflow runs of the study, one in each data set's experiment, and of its searches."""
    request = scheduler.plan.request
    params = {
        "seeds": request.seeds,
        "preset": request.preset,
        "budget": request.budget,
        "tuning": _format_tunings(request),
    }
    for dataset, data in sorted(scheduler.experiments):
        if request.name and scheduler.remaining:
            store.start_parent_run(dataset, data, request.name, params)
    for search in scheduler.searches:
        if not search.is_over():
            start_search_run(search, store)


def _read_done(scheduler: Scheduler) -> Iterator[tuple[PlannedRun, RunFolder, Record]]:
    """Yield the finished runs whose records are on this machine."""
    for run, folder in scheduler.iterate_done():
        if folder is not None and (record := folder.read_record()) is not None:
            yield run, folder, record


def _store_requests(scheduler: Scheduler) -> None:
    """Store the current request with runs that were finished earlier."""
    for run, folder, record in _read_done(scheduler):
        requests = name_files(scheduler.requests(run), record.spec.weights)
        if lacks_requests(read_requests(folder)[0], requests):
            with folder.locked(lambda: None):
                add_requests(folder, requests)


def _finish_mlflow_runs(scheduler: Scheduler, store: ExperimentTracker, status: ParentStatus) -> None:
    """Close the study's MLflow runs, and those of interrupted searches."""
    metrics = {"runs/done": float(scheduler.done_count), "runs/failed": float(len(scheduler.failed_runs))}
    for dataset, data in sorted(scheduler.experiments):
        if scheduler.plan.request.name:
            store.finish_parent_run(dataset, data, scheduler.plan.request.name, status, metrics, [], {})
    for search in scheduler.searches:
        if status == "KILLED":
            store.finish_parent_run(search.spec.dataset, search.spec.data, search.title, status, {}, [], {})


def _format_tunings(request: StudyRequest) -> str:
    """Return where the arms' tuned values come from."""
    return ", ".join(dict.fromkeys(group.tuning for group in request.groups)) if request.budget.is_set else "none"


def _summarise_plan(scheduler: Scheduler) -> str:
    """Return the plan as one line: runs, finished runs, searches."""
    request, total = scheduler.plan.request, len(scheduler.plan.runs)
    budget = request.budget
    shard = f", shard {request.shard[0]} of {request.shard[1]}" if request.shard != (1, 1) else ""
    searches = ""
    if scheduler.plan.searches:
        limits = [plural(budget.trials, "trial")] if budget.trials else []
        limits += [f"{budget.hours:g} h"] if budget.hours else []
        metrics = dict.fromkeys(search.metric for search in scheduler.searches)
        limits += [f"val {metric.format_named(budget.target)}" for metric in metrics] if budget.target else []
        tried = sum(search.count_trials().total for search in scheduler.searches)
        searches = f", {plural(len(scheduler.plan.searches), 'search')} of {' or '.join(limits)} ({tried} finished)"
        searches += f", values {_format_tunings(request)}" if request.name else ""
    done, failed = scheduler.done_count, len(scheduler.failed_runs)
    return f"{request.name or 'plan'}{shard}: {plural(total, 'run')}, {done} done, {failed} failed{searches}"


def _update_bars(screen: TerminalReporter, scheduler: Scheduler) -> None:
    """Update the bars of the whole plan."""
    trials = scheduler.plan.request.budget.trials
    if scheduler.searches and trials:
        tried = sum(min(trials, search.count_trials().total) for search in scheduler.searches)
        screen.update_overall("trials", tried, trials * len(scheduler.plan.searches))
    screen.update_overall("runs", scheduler.done_count + len(scheduler.failed_runs), len(scheduler.plan.runs))


def _count_planned(scheduler: Scheduler) -> list[ArmProgress]:
    """Count the planned runs by data set and arm."""
    plan, left = scheduler.plan, set(scheduler.remaining)
    counts: dict[tuple[str, str, str], list[int]] = {}
    for run in plan.runs:
        values = run.tuning_label if run.tuned_by else plan.request.preset
        count = counts.setdefault((run.dataset, plan.row_label(run), values), [0, 0, 0])
        count[1 if run in left else 2 if run in scheduler.failed_runs else 0] += 1
    return [ArmProgress(*group, *count) for group, count in counts.items()]


def _print_study_results(
    console: Console, scheduler: Scheduler, store: ExperimentTracker, json_file: Path | None
) -> int:
    """Print the tables of a finished request, its failures and where its records are; return the exit code."""
    plan, tried = scheduler.plan, count_tried_in(store.results)

    def label(run: PlannedRun, record: Record) -> Run:
        info = plan.datasets[run.dataset].info
        return _label_run(store.results, record, info, run.arm, plan.request.preset, plan.row_label(run), tried)

    done = [(label(run, record), folder) for run, folder, record in _read_done(scheduler)]
    runs = [run for run, _ in done]
    failed = [label(run, record) for run, record in scheduler.find_failed_records()]
    if runs or failed:
        print_table(console, render_records([*runs, *failed]))
    for table in (make_gap_table(runs), make_optimism_table(runs)):
        if table is not None:
            print_table(console, table)
    print_line(console, f"records: {store.results / 'runs'}")
    if plan.request.name in STUDIES:
        print_line(console, f"tables and figures: python bench.py report {plan.request.name}")
    if json_file is not None:
        rows = [{**_to_json(run, store.find_run_id(folder)), "label": run.label} for run, folder in done]
        _write_json(json_file, rows)
    missing = scheduler.done_count - len(runs)
    if missing:
        fetch = "fetch their records with `python bench.py sync --tracking-uri URI`"
        print_line(console, f"{plural(missing, 'run')} finished on other machines; {fetch}", "yellow")
    _print_failed(console, scheduler)
    if store.unavailable_reason:
        return print_unavailable(console, store.unavailable_reason)
    return EXIT_INCOMPLETE if scheduler.failed_runs else EXIT_DONE


def _print_failed(console: Console, scheduler: Scheduler) -> None:
    """Print the failed runs, one line per reason."""
    reasons: dict[tuple[str, str], list[PlannedRun]] = {}
    for run, failure in scheduler.failed_runs.items():
        reasons.setdefault((failure.kind, failure.message), []).append(run)
    for (kind, message), runs in reasons.items():
        more = f" and {len(runs) - 1} more" if len(runs) > 1 else ""
        print_line(console, f"failed: {runs[0]}{more}: {kind}: {message}", "red")


def _print_results(
    console: Console,
    requests: list[RunRequest],
    outcomes: list[RunResult],
    environment: RunEnvironment,
    json_file: Path | None,
) -> int:
    """Print the tables and the failed runs, write the records to `json_file`, and return the exit code."""
    results, tried = environment.results, count_tried_in(environment.results)
    runs = [
        _label_run(results, outcome.record, request.dataset.info, request.arm, request.preset, request.arm, tried)
        for outcome, request in zip(outcomes, requests, strict=False)  # an error may have ended them early
    ]
    print_table(console, render_records(runs))
    print_line(console, f"records: {results / 'runs'}")
    print_line(console, "curves, figures and parameters: python bench.py ui")
    if json_file is not None:
        rows = [_to_json(run, outcome.run_id) for run, outcome in zip(runs, outcomes, strict=True)]
        _write_json(json_file, rows)
    errors = [(outcome.record, outcome.record.error) for outcome in outcomes if outcome.record.error is not None]
    for record, error in errors:
        failure = f"{record.arm} seed {record.spec.seed}: {error.kind}: {error.message}"
        print_line(console, f"failed: {failure}; details in {results / 'runs' / record.key}", "red")
    if any(outcome.record.error is None and outcome.run_id is None for outcome in outcomes):
        return print_unavailable(console, environment.store.unavailable_reason or "MLflow rejected a record")
    return EXIT_INCOMPLETE if errors else EXIT_DONE


def _format_summary_line(outcome: RunResult) -> str:
    """Return the result of a run as one line."""
    if outcome.already_done:
        return f"already finished (run {outcome.record.key}; --fresh repeats it)"
    if outcome.record.error is not None:
        return f"failed: {outcome.record.error.kind}: {outcome.record.error.message}"
    record = outcome.record
    return f"done in {record.compute_seconds:.0f} s (run {record.key}){describe_overhead(record.seconds)}"


def _label_run(
    results: Path, record: Record, info: DatasetInfo, arm: str, preset: str, label: str, tried: TriedCounts
) -> Run:
    """Return a run under the arm and preset of the request: a record can be of another variant with equal values."""
    record = replace(record, arm=arm, preset=preset)
    count = tried.get((arm, record.spec.dataset, record.spec.data), 1)
    if extras := ", ".join(f"{name}={value}" for name, value in record.spec.extras.items()):
        label = f"{label} ({extras})"
    return Run(record, results / "runs" / record.key, info, label, find_arm(arm).method, configurations_tried=count)


def _to_json(run: Run, run_id: str | None) -> dict[str, Any]:
    """Return a run in the form that `--json` writes."""
    record, spec = run.record, run.record.spec
    return {
        "key": record.key,
        "run_id": run_id,
        "spec": {
            "method": record.arm,
            "dataset": spec.dataset,
            "fold": spec.fold,
            "seed": spec.seed,
            "preset": record.preset,
            "protocol": spec.protocol,
            "data": spec.data,
            "config": spec.config,
        },
        "scores": record.scores,
        "notes": record.notes,
        "seconds": record.seconds,
        "problems": record.problems,
        "error": vars(record.error) if record.error else None,
        "tried": run.configurations_tried,
    }


def _write_json(file: Path, rows: list[dict[str, Any]]) -> None:
    atomic_write(file, (json.dumps(rows, indent=1) + "\n").encode())
