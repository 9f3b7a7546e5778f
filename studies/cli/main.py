"""The command line: the commands that train (`python bench.py --method ...` and `study`), and the entry point."""

from __future__ import annotations

import secrets
import signal
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console

from bench.errors import BenchError, ConfigError
from bench.requests import format_command
from studies.cli import data as data_commands
from studies.cli import runs as report_commands
from studies.cli import runs as run_commands
from studies.cli.options import (
    DEFAULT_RESULTS,
    EXIT_DONE,
    EXIT_INTERRUPTED,
    EXIT_MISTAKE,
    Data,
    Devices,
    DryRun,
    Fold,
    Hours,
    Interrupted,
    JsonFile,
    Launcher,
    Loaders,
    Preset,
    ProtocolName,
    Pruner,
    Results,
    Retries,
    Sampler,
    Settings,
    Shard,
    StorageUrl,
    Target,
    Threads,
    Tracking,
    Trials,
    TrialSeeds,
    Weights,
    Workers,
    check_destinations,
    choose_device,
    choose_threads,
    parse_protocol,
    parse_shard,
)

if TYPE_CHECKING:
    from bench.execute import RunEnvironment, RunRequest, RunResult
    from studies.cli.progress import TerminalReporter
    from studies.plan import ArmGroup, Resources, StudyRequest
    from studies.studies import Study


app = typer.Typer(add_completion=False, no_args_is_help=False, pretty_exceptions_enable=False)


def study(
    context: typer.Context,
    name: Annotated[str, typer.Argument(help="A name of `list studies`.")] = "",
    datasets: Annotated[str, typer.Option(help="Data sets, with commas between; default: the study's own.")] = "",
    seeds: Annotated[int, typer.Option(min=1, help="How many seeds each arm is run with.")] = 5,
    seed: Annotated[int, typer.Option(min=0, help="First seed; validation fold = seed mod 5.")] = 0,
    tuning: Annotated[
        str, typer.Option(help="shared, per-arm, or both with a comma between; default: the study's own.")
    ] = "",
    preset: Preset = "quick",
    settings: Settings = None,
    data: Data = None,
    trials: Trials = None,
    hours: Hours = None,
    target: Target = None,
    sampler: Sampler = "tpe",
    pruner: Pruner = "auto",
    trial_seeds: TrialSeeds = 1,
    workers: Workers = 1,
    threads: Threads = None,
    devices: Devices = 1,
    shard: Shard = "1/1",
    retries: Retries = 1,
    storage: StorageUrl = None,
    launcher: Launcher = "processes",
    dry_run: DryRun = False,
    json_file: JsonFile = None,
    weights: Weights = False,
    loaders: Loaders = 0,
    results: Results = DEFAULT_RESULTS,
    tracking_uri: Tracking = None,
) -> None:
    """Run a named study, or go on with it: what is done is skipped, what failed is tried again.

    Example: python bench.py study ablation --seeds 10 --trials 20 --workers 2
    """
    from studies.plan import Resources, StudyRequest
    from studies.search import Budget, SearchOptions

    found = _find_studies(name)
    console = Console()
    for line in _list_skipped_arms(found, settings or []):
        console.print(line, style="yellow", markup=False, highlight=False, soft_wrap=True)
    parts = _make_arm_groups(found, datasets, tuning, preset, data, settings or [])
    if tuning and (trials, hours, target) == (None, None, None):
        raise ConfigError(f"--tuning {tuning} wants a search: say --trials 20, or --hours, or --target")
    numbers = tuple(range(seed, seed + seeds))
    budget, how = Budget(trials, hours, target), SearchOptions(sampler, pruner, trial_seeds)
    request = StudyRequest(
        name, parts, numbers, preset, tuple(settings or []), data, budget, how, parse_shard(shard), retries
    )
    request = replace(request, typed=str(context.obj or ""))
    cores = choose_threads(preset, threads, workers, devices)
    place = Resources(results, tracking_uri, storage, choose_device(), devices, cores, loaders, weights)
    raise typer.Exit(launch_request(console, request, place, workers, launcher, dry_run, json_file))


def launch_request(
    console: Console,
    request: StudyRequest,
    resources: Resources,
    workers: int,
    launcher: str,
    dry_run: bool,
    json_file: Path | None,
) -> int:
    """Check what an order names, and carry it out; the exit code."""
    from bench.config import get_or_suggest
    from studies.cli.run_study import run_study_request
    from studies.search import PRUNERS, SAMPLERS
    from studies.storage import make_storage_url

    get_or_suggest(request.search_options.sampler, SAMPLERS, "sampler")
    get_or_suggest(request.search_options.pruner, dict.fromkeys(PRUNERS), "pruner")
    if launcher != "processes" and launcher.partition("://")[0] != "ray":
        raise ConfigError(f"unknown launcher '{launcher}'; known: processes, ray, ray://HEAD:PORT")
    make_storage_url(resources.results, resources.storage)
    check_destinations(resources.results, resources.tracking_uri, json_file)
    resources = replace(resources, results=resources.results.resolve(), command_id=secrets.token_hex(6))
    request = replace(request, data=request.data.resolve() if request.data is not None else None)
    try:
        return run_study_request(console, request, resources, workers, launcher, dry_run, json_file)
    except KeyboardInterrupt:
        raise Interrupted("interrupted; the state is kept, the same command goes on where it was") from None


def _find_studies(name: str) -> tuple[Study, ...]:
    from bench.config import get_or_suggest
    from studies.studies import STUDIES

    if not name:
        raise ConfigError(f"which study? one of {', '.join(STUDIES)}; `python bench.py list studies` tells of each")
    return get_or_suggest(name, STUDIES, "study")


def _make_arm_groups(
    found: tuple[Study, ...], datasets: str, tuning: str, preset: str, data: Path | None, settings: list[str]
) -> tuple[ArmGroup, ...]:
    """What a study runs, for each of its protocols and ways of tuning. Raises ConfigError for a wrong name."""
    from bench.config import get_or_suggest, parse_overrides
    from bench.requests import Tuning
    from studies.plan import ArmGroup
    from studies.requests import check_fields, check_unique_names, find_arm, find_dataset, split_names
    from studies.studies import TUNINGS

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
    from bench.config import parse_overrides

    given = parse_overrides(settings)
    missing = dict.fromkeys((arm, field) for one in found for arm, field in one.required_settings if field not in given)
    return [f"{arm} is left out: it wants --set {field}=..." for arm, field in missing]


@app.callback(invoke_without_command=True)
def run(
    context: typer.Context,
    method: Annotated[str, typer.Option(help="Methods to run, with commas between.")] = "",
    dataset: Annotated[str, typer.Option(help="Data sets to run them on, with commas between.")] = "",
    data: Data = None,
    fold: Fold = None,
    preset: Preset = "quick",
    settings: Settings = None,
    seed: Annotated[int, typer.Option(min=0, help="First seed; validation fold = seed mod 5.")] = 0,
    seeds: Annotated[int, typer.Option(min=1, help="How many seeds.")] = 1,
    fresh: Annotated[bool, typer.Option("--fresh", help="Run again even where a finished record is there.")] = False,
    protocol: ProtocolName = "clean",
    trials: Trials = None,
    hours: Hours = None,
    target: Target = None,
    sampler: Sampler = "tpe",
    pruner: Pruner = "auto",
    trial_seeds: TrialSeeds = 1,
    workers: Workers = 1,
    threads: Threads = None,
    devices: Devices = 1,
    storage: StorageUrl = None,
    launcher: Launcher = "processes",
    dry_run: DryRun = False,
    json_file: JsonFile = None,
    weights: Weights = True,
    loaders: Loaders = 0,
    results: Results = DEFAULT_RESULTS,
    tracking_uri: Tracking = None,
) -> None:
    """Train, select on val, score test once, and print a table. With --trials, search the values on val first.

    Example: python bench.py --method mart,mbt --dataset ekman6 --seeds 3
    """
    if context.invoked_subcommand is not None:
        given = [option for option in context.command.params if _is_given(context, option.name)]
        if given:
            raise ConfigError(f"{given[0].opts[0]} stands before '{context.invoked_subcommand}'; put it behind")
        return
    if not method or not dataset:
        raise ConfigError("--method and --dataset are both wanted; `python bench.py list` shows what there is")
    from studies.cli.progress import TerminalReporter
    from studies.cli.run_study import print_results
    from studies.plan import Resources, StudyRequest
    from studies.requests import resolve_requests
    from studies.search import Budget, SearchOptions
    from studies.worker import make_environment

    requests = resolve_requests(method, dataset, preset, settings or [], range(seed, seed + seeds), fold, data)
    requests = [replace(request, protocol=parse_protocol(protocol)) for request in requests]
    check_destinations(results, tracking_uri, json_file)
    console = Console()
    threads = choose_threads(preset, threads, workers, devices)
    budget, how = Budget(trials, hours, target), SearchOptions(sampler, pruner, trial_seeds)
    request = StudyRequest(
        "",
        _group_requests(requests, dataset, fold),
        _list_seeds(requests),
        preset,
        tuple(settings or []),
        data,
        budget,
        how,
    )
    request = replace(request, typed=str(context.obj or ""))
    place = Resources(results, tracking_uri, storage, choose_device(), devices, threads, loaders, weights)
    if budget.is_set or protocol == "refit" or workers > 1 or launcher != "processes" or storage or dry_run:
        if fresh:
            raise ConfigError("--fresh repeats single runs; leave it out of a search, a refit, or work that is shared")
        raise typer.Exit(launch_request(console, request, place, workers, launcher, dry_run, json_file))
    with TerminalReporter(console) as screen:
        environment = replace(make_environment(request, place, screen), fresh=fresh)
        _warn_overlap(requests, fold, screen)
        requests = _add_requests(requests, request.typed)
        outcomes, mistake = _run_requests(requests, environment)
    code = print_results(console, requests, outcomes, environment, json_file) if outcomes else EXIT_DONE
    if mistake is not None:
        raise mistake
    raise typer.Exit(code)


app.command(name="list")(data_commands.list_)
app.command()(study)
app.command()(report_commands.report)
app.command()(data_commands.check)
app.command()(data_commands.prepare)
app.command()(run_commands.predict)
app.command()(run_commands.sync)
app.command()(run_commands.ui)


def main(arguments: Sequence[str] | None = None) -> int:
    """The command as a function of its words: the exit code; mistakes become one line on stderr."""
    signal.signal(signal.SIGTERM, _raise_interrupt)
    errors = Console(stderr=True)
    try:
        words = list(arguments) if arguments is not None else sys.argv[1:]
        code = app(args=words, standalone_mode=False, obj=format_command(words))
    except BenchError as error:
        errors.print(f"error: {' '.join(str(error).split())}", markup=False, highlight=False, soft_wrap=True)
        return EXIT_MISTAKE
    except typer.TyperException as error:
        errors.print(f"error: {_format_usage_error(error)}", markup=False, highlight=False, soft_wrap=True)
        return EXIT_MISTAKE
    except Interrupted as stop:
        errors.print(str(stop), highlight=False, soft_wrap=True)
        return EXIT_INTERRUPTED
    if code == EXIT_INTERRUPTED:  # typer turns a KeyboardInterrupt into this code
        errors.print(
            "interrupted; the state is kept, the same command goes on where it was (with --fresh, finished runs again)",
            highlight=False,
            soft_wrap=True,
        )
    return int(code or EXIT_DONE)


def _group_requests(requests: list[RunRequest], datasets: str, fold: int | None) -> tuple[ArmGroup, ...]:
    """What was named by hand, as a part of an order: each arm searched for itself."""
    from studies.plan import ArmGroup
    from studies.requests import split_names

    arms = tuple(dict.fromkeys(request.arm for request in requests))
    folds = None if fold is None else (fold,)
    named = tuple(split_names(datasets, "--dataset"))
    return (ArmGroup(arms, named, folds, "per-arm", protocol=requests[0].protocol),)


def _add_requests(requests: list[RunRequest], typed: str) -> list[RunRequest]:
    """The runs, each with why it is run: a command that names no study."""
    from bench.requests import StoredRequest
    from studies.plan import summarize_runs
    from studies.requests import find_changes

    plan = summarize_runs(
        (request.dataset.info.name, request.fold, request.seed, request.protocol) for request in requests
    )
    found = []
    for ask in requests:
        settings = find_changes(ask.arm, ask.preset, ask.config.model_dump(mode="json")) or ()
        request = StoredRequest("", ask.arm, ask.preset, plan, settings=dict(settings), command=typed)
        found.append(replace(ask, requests=(request,)))
    return found


def _list_seeds(requests: list[RunRequest]) -> tuple[int, ...]:
    return tuple(dict.fromkeys(request.seed for request in requests))


def _warn_overlap(requests: list[RunRequest], fold: int | None, screen: TerminalReporter) -> None:
    """Where a fold is asked for, say that folds of this data set test the same clips."""
    for title in sorted(
        {request.dataset.info.title for request in requests if request.dataset.info.overlap and fold is not None}
    ):
        screen.notify(f"{title}: the test clips of its folds overlap, so runs of several are not independent")


def _run_requests(requests: list[RunRequest], environment: RunEnvironment) -> tuple[list[RunResult], BenchError | None]:
    """Run what is asked, one after the other, until a mistake of the user's ends it."""
    from bench.execute import execute
    from bench.files import logs_to
    from studies.cli.run_study import format_summary_line

    outcomes: list[RunResult] = []
    with logs_to(environment.results / "log"):
        environment.store.end_orphaned_runs()
        for request in requests:
            try:
                outcomes.append(execute(request, environment))
            except BenchError as error:
                return outcomes, error
            environment.reporter.notify(format_summary_line(outcomes[-1]))
    return outcomes, None


def _is_given(context: typer.Context, name: str | None) -> bool:
    source = context.get_parameter_source(name) if name is not None else None
    return source is not None and source.name == "COMMANDLINE"


def _format_usage_error(error: typer.TyperException) -> str:
    """Typer's own complaint as one line."""
    message = error.format_message() if hasattr(error, "format_message") else str(error)
    return f"{' '.join(message.split()).rstrip('.')}; `python bench.py --help` shows the options"


def _raise_interrupt(number: int, frame: object) -> None:
    raise KeyboardInterrupt
