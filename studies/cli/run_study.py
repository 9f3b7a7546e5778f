"""A study request run under progress bars, and its results as tables, JSON and an exit code."""

from __future__ import annotations

import json
import secrets
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

from rich.console import Console

from bench.config import get_or_suggest, parse_overrides
from bench.errors import BenchError, ConfigError
from bench.execute import RunEnvironment, RunRequest, RunResult, execute, publish_waiting
from bench.files import atomic_write, logs_to
from bench.mlflow import MlflowStore, sync
from bench.record import Record, RunFolder
from bench.requests import StoredRequest, Tuning, add_requests, lacks_requests, name_files
from bench.tracker import ExperimentTracker, ParentStatus
from reports.runs import Run
from reports.terminal import ArmProgress, make_gap_table, make_optimism_table, make_plan_table, render_records
from studies.cli.options import (
    EXIT_DONE,
    EXIT_INCOMPLETE,
    Interrupted,
    RunOptions,
    check_destinations,
    choose_device,
    choose_threads,
    parse_protocol,
    parse_shard,
)
from studies.cli.progress import TerminalReporter
from studies.launchers import run_plan
from studies.plan import ArmGroup, PlannedRun, Resources, StudyRequest, resolve_requests, summarize_runs
from studies.requests import check_fields, check_unique_names, find_arm, find_changes, find_dataset, split_names
from studies.scheduler import Scheduler, estimate_remaining_time, read_timings
from studies.search import PRUNERS, SAMPLERS, Budget, SearchOptions
from studies.search_results import publish_search, start_search_run
from studies.storage import make_storage_url
from studies.studies import STUDIES, TUNINGS, Study
from studies.worker import make_environment, make_scheduler, publish_remaining


def run_named_study(name: str, datasets: str, seeds: tuple[int, ...], tuning: str, options: RunOptions) -> int:
    """Run a named study and return the exit code. Raises ConfigError for a wrong name."""
    found = _find_studies(name)
    console = Console()
    settings = list(options.settings)
    for line in _list_skipped_arms(found, settings):
        console.print(line, style="yellow", markup=False, highlight=False, soft_wrap=True)
    groups = _make_arm_groups(found, datasets, tuning, options.preset, options.data, settings)
    if tuning and (options.trials, options.hours, options.target) == (None, None, None):
        raise ConfigError(f"--tuning {tuning} wants a search: say --trials 20, or --hours, or --target")
    request = _make_study_request(name, groups, seeds, options)
    return launch_request(console, request, _make_resources(options), options)


def run_methods(
    method: str, dataset: str, fold: int | None, protocol: str, seeds: range, fresh: bool, options: RunOptions
) -> int:
    """Run methods that are named on the command line and return the exit code. Raises ConfigError for a wrong name."""
    settings = list(options.settings)
    requests = resolve_requests(method, dataset, options.preset, settings, seeds, fold, options.data)
    requests = [replace(request, protocol=parse_protocol(protocol)) for request in requests]
    check_destinations(options.results, options.tracking_uri, options.json_file)
    console = Console()
    numbers = tuple(dict.fromkeys(request.seed for request in requests))
    request = _make_study_request("", _group_requests(requests, dataset, fold), numbers, options)
    resources = _make_resources(options)
    shared = options.workers > 1 or options.launcher != "processes" or options.storage
    if request.budget.is_set or protocol == "refit" or shared or options.dry_run:
        if fresh:
            raise ConfigError("--fresh repeats single runs; leave it out of a search, a refit, or work that is shared")
        return launch_request(console, request, resources, options)
    with TerminalReporter(console) as screen:
        environment = replace(make_environment(request, resources, screen), fresh=fresh)
        _warn_overlap(requests, fold, screen)
        requests = _add_requests(requests, request.typed)
        outcomes, mistake = _run_requests(requests, environment)
    code = print_results(console, requests, outcomes, environment, options.json_file) if outcomes else EXIT_DONE
    if mistake is not None:
        raise mistake
    return code


def launch_request(console: Console, request: StudyRequest, resources: Resources, options: RunOptions) -> int:
    """Check what a request names, run it, and return the exit code."""
    get_or_suggest(request.search_options.sampler, SAMPLERS, "sampler")
    get_or_suggest(request.search_options.pruner, dict.fromkeys(PRUNERS), "pruner")
    launcher = options.launcher
    if launcher != "processes" and launcher.partition("://")[0] != "ray":
        raise ConfigError(f"unknown launcher '{launcher}'; known: processes, ray, ray://HEAD:PORT")
    make_storage_url(resources.results, resources.storage)
    check_destinations(resources.results, resources.tracking_uri, options.json_file)
    resources = replace(resources, results=resources.results.resolve(), command_id=secrets.token_hex(6))
    request = replace(request, data=request.data.resolve() if request.data is not None else None)
    try:
        return run_study_request(
            console, request, resources, options.workers, launcher, options.dry_run, options.json_file
        )
    except KeyboardInterrupt:
        raise Interrupted("interrupted; the state is kept, the same command goes on where it was") from None


def _make_study_request(
    name: str, groups: tuple[ArmGroup, ...], seeds: tuple[int, ...], options: RunOptions
) -> StudyRequest:
    return StudyRequest(
        name=name,
        groups=groups,
        seeds=seeds,
        preset=options.preset,
        settings=options.settings,
        data=options.data,
        budget=Budget(options.trials, options.hours, options.target),
        search_options=SearchOptions(options.sampler, options.pruner, options.trial_seeds),
        shard=parse_shard(options.shard),
        retries=options.retries,
        typed=options.typed,
    )


def _make_resources(options: RunOptions) -> Resources:
    threads = choose_threads(options.preset, options.threads, options.workers, options.devices)
    return Resources(
        options.results,
        options.tracking_uri,
        options.storage,
        choose_device(),
        options.devices,
        threads,
        options.loaders,
        options.weights,
    )


def _find_studies(name: str) -> tuple[Study, ...]:

    if not name:
        raise ConfigError(f"which study? one of {', '.join(STUDIES)}; `python bench.py list studies` tells of each")
    return get_or_suggest(name, STUDIES, "study")


def _make_arm_groups(
    found: tuple[Study, ...], datasets: str, tuning: str, preset: str, data: Path | None, settings: list[str]
) -> tuple[ArmGroup, ...]:
    """What a study runs, for each of its protocols and ways of tuning. Raises ConfigError for a wrong name."""

    given = parse_overrides(settings)
    check_fields([find_arm(arm) for one in found for arm in one.arms], given)
    named = split_names(datasets, "--datasets") if datasets else []
    check_unique_names([find_dataset(dataset, data) for dataset in named])
    known: dict[str, Tuning] = {way: way for way in TUNINGS}
    ways = [get_or_suggest(way, known, "tuning") for way in split_names(tuning, "--tuning")] if tuning else []
    parts = []
    for one in found:
        wanting = {arm for arm, field in one.required_settings if field not in given}
        for way in ways or [one.tuning]:
            for protocol in one.protocols:
                parts.append(
                    ArmGroup(
                        arms=tuple(arm for arm in one.arms if arm not in wanting),
                        datasets=tuple(named) or one.datasets,
                        folds=() if one.every_fold else None,
                        tuning=way,
                        reference_method=one.reference_method,
                        protocol=protocol,
                        settings=one.quick_overrides if preset == "quick" else (),
                        study=one.name,
                    )
                )
    return tuple(parts)


def _list_skipped_arms(found: tuple[Study, ...], settings: list[str]) -> list[str]:
    """Arms that a study leaves out, each with the setting it wants."""

    given = parse_overrides(settings)
    missing = dict.fromkeys((arm, field) for one in found for arm, field in one.required_settings if field not in given)
    return [f"{arm} is left out: it wants --set {field}=..." for arm, field in missing]


def _group_requests(requests: list[RunRequest], datasets: str, fold: int | None) -> tuple[ArmGroup, ...]:
    """What was named by hand, as a part of an order: each arm searched for itself."""

    arms = tuple(dict.fromkeys(request.arm for request in requests))
    folds = None if fold is None else (fold,)
    named = tuple(split_names(datasets, "--dataset"))
    return (ArmGroup(arms, named, folds, "per-arm", protocol=requests[0].protocol),)


def _add_requests(requests: list[RunRequest], typed: str) -> list[RunRequest]:
    """The runs, each with why it is run: a command that names no study."""

    plan = summarize_runs(
        (request.dataset.info.name, request.fold, request.seed, request.protocol) for request in requests
    )
    found = []
    for request in requests:
        settings = find_changes(request.arm, request.preset, request.config.model_dump(mode="json")) or ()
        stored = StoredRequest("", request.arm, request.preset, plan, settings=dict(settings), command=typed)
        found.append(replace(request, requests=(stored,)))
    return found


def _warn_overlap(requests: list[RunRequest], fold: int | None, screen: TerminalReporter) -> None:
    """Where a fold is asked for, say that folds of this data set test the same clips."""
    for title in sorted(
        {request.dataset.info.title for request in requests if request.dataset.info.overlap and fold is not None}
    ):
        screen.notify(f"{title}: the test clips of its folds overlap, so runs of several are not independent")


def _run_requests(requests: list[RunRequest], environment: RunEnvironment) -> tuple[list[RunResult], BenchError | None]:
    """Run what is asked, one after the other, until a mistake of the user's ends it."""

    outcomes: list[RunResult] = []
    mistake: BenchError | None = None
    with logs_to(environment.results / "log"):
        environment.store.end_orphaned_runs()
        for request in requests:
            try:
                outcomes.append(execute(request, environment))
            except BenchError as error:
                mistake = error
                break
            environment.reporter.notify(format_summary_line(outcomes[-1]))
        return publish_waiting(outcomes, environment), mistake


def run_study_request(
    console: Console,
    request: StudyRequest,
    resources: Resources,
    workers: int,
    launcher: str,
    dry_run: bool,
    json_file: Path | None,
) -> int:
    """Carry an order out (or only print its plan), and say what came of it; the exit code."""
    with TerminalReporter(console) as screen, logs_to(resources.results / "log"):
        environment = make_environment(request, resources, screen)
        if not dry_run:
            environment.store.end_orphaned_runs()
        scheduler = make_scheduler(request, resources, environment)
        for title in _find_overlapping(scheduler):
            screen.notify(f"{title}: the test clips of its folds overlap, so runs of several are not independent")
        screen.print_line(_summarise_plan(scheduler, request))
        screen.print_line(estimate_remaining_time(scheduler, read_timings(resources.results), workers))
        if not dry_run:
            _start_mlflow_runs(scheduler, environment.store)
            _store_requests(scheduler)
            status: ParentStatus = "KILLED"
            try:
                run_plan(
                    scheduler,
                    environment,
                    resources,
                    workers,
                    launcher,
                    lambda scheduler: _update_bars(screen, scheduler),
                    screen.print_line,
                )
                _store_requests(scheduler)
                publish_remaining(scheduler, environment)
                status = "FAILED" if scheduler.failed_runs else "FINISHED"
            finally:
                _finish_mlflow_runs(scheduler, environment.store, status)
            for search in scheduler.searches:
                publish_search(search, environment.store)
            elsewhere = scheduler.list_made_elsewhere()
            if isinstance(environment.store, MlflowStore) and resources.tracking_uri is not None and elsewhere:
                sync(environment.store, push=False, keys=elsewhere)  # what other machines made
    if dry_run:
        console.print(make_plan_table(_count_planned(scheduler)))
        _print_failed(console, scheduler)
        return EXIT_DONE
    return _print_study_results(console, scheduler, environment.store, json_file)


def _print_study_results(
    console: Console, scheduler: Scheduler, store: ExperimentTracker, json_file: Path | None
) -> int:
    """The tables of an order that was carried out, what failed and why, and where its records are."""
    found = list(_read_finished(scheduler))
    runs = [run for run, _ in found]
    failed = [_label_run(scheduler, run, record) for run, record in scheduler.find_failed_records()]
    if runs or failed:
        console.print(render_records([*runs, *failed]))
    for table in (make_gap_table(runs), make_optimism_table(runs)):
        if table is not None:
            console.print(table)
    console.print(f"records: {store.results / 'runs'}", highlight=False, soft_wrap=True)
    if scheduler.plan.request.name in STUDIES:
        console.print(f"tables and figures: python bench.py report {scheduler.plan.request.name}", highlight=False)
    if json_file is not None:
        as_json = [
            to_json(RunResult(run.record, True, store.find_run_id(folder)), run.record.arm, run.record.preset)
            | {"label": run.label, "tried": run.configurations_tried}
            for run, folder in found
        ]
        atomic_write(json_file, (json.dumps(as_json, indent=1) + "\n").encode())
    missing = scheduler.done_count - len(runs)
    if missing:
        line = (
            f"{missing} runs were made on other machines; `python bench.py sync` with their --tracking-uri brings them"
        )
        console.print(line, style="yellow", highlight=False, soft_wrap=True)
    _print_failed(console, scheduler)
    if store.unavailable_reason:
        return print_unavailable(console, store.unavailable_reason)
    return EXIT_INCOMPLETE if scheduler.failed_runs else EXIT_DONE


def _start_mlflow_runs(scheduler: Scheduler, store: ExperimentTracker) -> None:
    """Begin the MLflow runs of the study, one in each data set's experiment, and of its searches."""
    request = scheduler.plan.request
    asked = {
        "seeds": request.seeds,
        "preset": request.preset,
        "budget": request.budget,
        "tuning": _format_tunings(request),
    }
    for dataset, data in sorted(scheduler.experiments):
        if request.name and scheduler.remaining:
            store.start_parent_run(dataset, data, request.name, asked)
    for search in scheduler.searches:
        if not search.is_over():
            start_search_run(search, store)


def _store_requests(scheduler: Scheduler) -> None:
    """Store with the runs that were made before why they are asked for now."""
    for run, folder in scheduler.iterate_done():
        record = folder.read_record() if folder is not None else None
        if folder is not None and record is not None:
            requests = name_files(scheduler.requests(run), record.spec.weights)
            if lacks_requests(folder, requests):
                with folder.locked(lambda: None):
                    add_requests(folder, requests)


def _finish_mlflow_runs(scheduler: Scheduler, store: ExperimentTracker, status: ParentStatus) -> None:
    """Close the study's MLflow runs; those of searches that were interrupted too."""
    metrics = {"runs/done": float(scheduler.done_count), "runs/failed": float(len(scheduler.failed_runs))}
    for dataset, data in sorted(scheduler.experiments):
        if scheduler.plan.request.name:
            store.finish_parent_run(dataset, data, scheduler.plan.request.name, status, metrics, [], {})
    for search in scheduler.searches:
        if status == "KILLED":
            store.finish_parent_run(search.spec.dataset, search.spec.data, search.title, status, {}, [], {})


def _find_overlapping(scheduler: Scheduler) -> list[str]:
    """Titles of data sets of which several folds are planned whose test clips overlap."""
    folds: dict[str, set[int]] = {}
    for run in scheduler.plan.runs:
        folds.setdefault(run.dataset, set()).add(run.fold)
    infos = [scheduler.plan.datasets[name].info for name, found in folds.items() if len(found) > 1]
    return [info.title for info in infos if info.overlap]


def _format_tunings(request: StudyRequest) -> str:
    """Whose values the arms run with."""
    return ", ".join(dict.fromkeys(group.tuning for group in request.groups)) if request.budget.is_set else "none"


def _summarise_plan(scheduler: Scheduler, request: StudyRequest) -> str:
    """What will be done, in a line."""
    budget, total = request.budget, len(scheduler.plan.runs)
    name = request.name or "asked for"
    shard = f", shard {request.shard[0]} of {request.shard[1]}" if request.shard != (1, 1) else ""
    searches = ""
    if scheduler.plan.searches:
        ends = [f"{budget.trials} trials" if budget.trials else "", f"{budget.hours:g} hours" if budget.hours else ""]
        ends += [f"val Acc E {100 * budget.target:g}" if budget.target else ""]
        tried = sum(search.count_trials().total for search in scheduler.searches)
        searches = (
            f", {len(scheduler.plan.searches)} searches of {' or '.join(end for end in ends if end)} ({tried} tried)"
        )
        searches += f", values {_format_tunings(request)}" if request.name else ""
    done, failed = scheduler.done_count, len(scheduler.failed_runs)
    return f"{name}{shard}: {total} runs, {done} of them done, {failed} impossible{searches}"


def _update_bars(screen: TerminalReporter, scheduler: Scheduler) -> None:
    """The bars of the whole order."""
    trials = scheduler.plan.request.budget.trials
    if scheduler.searches and trials:
        tried = sum(min(trials, search.count_trials().total) for search in scheduler.searches)
        screen.update_overall("trials", tried, trials * len(scheduler.plan.searches))
    screen.update_overall("runs", scheduler.done_count + len(scheduler.failed_runs), len(scheduler.plan.runs))


def _count_planned(scheduler: Scheduler) -> list[ArmProgress]:
    """The plan by data set and arm."""
    left, counts = set(scheduler.remaining), dict[tuple[str, str, str], list[int]]()
    for run in scheduler.plan.runs:
        which = (
            run.dataset,
            scheduler.plan.row_label(run),
            run.tuning_label if run.tuned_by else scheduler.plan.request.preset,
        )
        count = counts.setdefault(which, [0, 0, 0])
        count[1 if run in left else 2 if run in scheduler.failed_runs else 0] += 1
    return [ArmProgress(*which, *count) for which, count in counts.items()]


def _read_finished(scheduler: Scheduler) -> Iterator[tuple[Run, RunFolder]]:
    """The runs that are here, under their names in the tables, with their folders."""
    tried = {run: search.count_trials().total for run, search in scheduler.search_by_run.items()}
    for run, folder in scheduler.iterate_done():
        record = folder.read_record() if folder is not None else None
        if folder is not None and record is not None:
            yield _label_run(scheduler, run, record, tried.get(run.search_run, 1) if run.search_run else 1), folder


def _label_run(scheduler: Scheduler, run: PlannedRun, record: Record, tried: int = 1) -> Run:
    """A run under the name that its study gives it."""
    record = replace(record, arm=run.arm, preset=scheduler.plan.request.preset)
    folder, info = scheduler.environment.results / "runs" / record.key, scheduler.plan.datasets[run.dataset].info
    return Run(
        record, folder, info, scheduler.plan.row_label(run), find_arm(run.arm).method, configurations_tried=tried
    )


def _print_failed(console: Console, scheduler: Scheduler) -> None:
    """What failed, and why; what failed for one reason in one line."""
    reasons: dict[tuple[str, str], list[PlannedRun]] = {}
    for run, why in scheduler.failed_runs.items():
        reasons.setdefault((why.kind, why.message), []).append(run)
    for (kind, message), runs in reasons.items():
        more = f" and {len(runs) - 1} more" if len(runs) > 1 else ""
        console.print(f"failed: {runs[0]}{more}: {kind}: {message}", style="red", markup=False, soft_wrap=True)


def print_results(
    console: Console,
    requests: list[RunRequest],
    outcomes: list[RunResult],
    environment: RunEnvironment,
    json_file: Path | None,
) -> int:
    """Print the tables, and write the records where they were asked for; the exit code."""
    done = list(zip(outcomes, requests, strict=False))  # a mistake may have ended them early
    console.print(render_records([_label_as_requested(outcome, request, environment) for outcome, request in done]))
    console.print(f"records: {environment.results / 'runs'}", highlight=False, soft_wrap=True)
    console.print("curves, pictures and parameters: python bench.py ui", highlight=False)
    if json_file is not None:
        rows = [to_json(outcome, request.arm, request.preset) for outcome, request in done]
        atomic_write(json_file, (json.dumps(rows, indent=1) + "\n").encode())
    failed = [outcome for outcome in outcomes if outcome.record.error is not None]
    for outcome in failed:
        error = outcome.record.error
        assert error is not None
        console.print(
            f"failed: {outcome.record.arm} seed {outcome.record.spec.seed}: {error.kind}: {error.message}; "
            f"traceback in {environment.results / 'runs' / outcome.record.key}",
            style="red",
            markup=False,
            soft_wrap=True,
        )
    if any(outcome.record.error is None and outcome.run_id is None for outcome in outcomes):
        return print_unavailable(console, environment.store.unavailable_reason or "MLflow did not take a record")
    return EXIT_INCOMPLETE if failed else EXIT_DONE


def format_summary_line(outcome: RunResult) -> str:
    """A run that is done, in one line."""
    if outcome.already_done:
        return f"finished before, nothing to do (run {outcome.record.key}; --fresh repeats it)"
    if outcome.record.error is not None:
        return f"failed: {outcome.record.error.kind}: {outcome.record.error.message}"
    return f"done in {sum(outcome.record.seconds.values()):.0f} s (run {outcome.record.key})"


def print_unavailable(console: Console, why: str) -> int:
    """Say that records wait for MLflow; the exit code."""
    console.print(
        f"{why}; nothing is lost: the records are files, `python bench.py sync` brings them in later",
        style="yellow",
        markup=False,
        soft_wrap=True,
    )
    return EXIT_INCOMPLETE


def _label_as_requested(outcome: RunResult, request: RunRequest, environment: RunEnvironment) -> Run:
    """The run under the names it was asked for by: a pinned name or a preset is only a label."""
    record = replace(outcome.record, arm=request.arm, preset=request.preset)
    return Run(record, environment.results / "runs" / record.key, request.dataset.info, request.arm, request.method)


def to_json(outcome: RunResult, arm: str, preset: str) -> dict[str, Any]:
    """A record as `--json` writes it."""
    record, spec = outcome.record, outcome.record.spec
    return {
        "key": record.key,
        "run_id": outcome.run_id,
        "spec": {
            "method": arm,
            "dataset": spec.dataset,
            "fold": spec.fold,
            "seed": spec.seed,
            "preset": preset,
            "protocol": spec.protocol,
            "data": spec.data,
            "config": spec.config,
        },
        "scores": record.scores,
        "notes": record.notes,
        "seconds": record.seconds,
        "problems": record.problems,
        "error": vars(record.error) if record.error else None,
    }
