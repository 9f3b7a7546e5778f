"""The command line: what is asked becomes runs, a table, and an exit code."""

from __future__ import annotations

import signal
import sys
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console

from bench.errors import BenchError, ConfigError
from bench.requests import format_command
from studies.command import data_commands, report_commands, run_commands, study_commands
from studies.command.exits import DONE, INTERRUPTED, MISTAKE
from studies.command.options import (
    RESULTS,
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
    Sampler,
    Settings,
    StorageUrl,
    Target,
    Threads,
    Tracking,
    Trials,
    TrialSeeds,
    Weights,
    Workers,
    check_places,
    choose_device,
    choose_threads,
    parse_protocol,
)

if TYPE_CHECKING:
    from bench.execute import Ask, Desk, Outcome
    from studies.command.screen import Terminal
    from studies.work.order import Part

app = typer.Typer(add_completion=False, no_args_is_help=False, pretty_exceptions_enable=False)


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
    results: Results = RESULTS,
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
    from studies.ask import resolve
    from studies.command.answer import answer
    from studies.command.screen import Terminal
    from studies.command.study_commands import run_order
    from studies.search.search import Budget, How
    from studies.work.desk import make_desk
    from studies.work.order import Order, Place

    asks = resolve(method, dataset, preset, settings or [], range(seed, seed + seeds), fold, data)
    asks = [replace(ask, protocol=parse_protocol(protocol)) for ask in asks]
    check_places(results, tracking_uri, json_file)
    console = Console()
    threads = choose_threads(preset, threads, workers, devices)
    budget, how = Budget(trials, hours, target), How(sampler, pruner, trial_seeds)
    order = Order("", _parts(asks, dataset, fold), _seeds(asks), preset, tuple(settings or []), data, budget, how)
    order = replace(order, typed=str(context.obj or ""))
    place = Place(results, tracking_uri, storage, choose_device(), devices, threads, loaders, weights)
    if budget.asked or protocol == "refit" or workers > 1 or launcher != "processes" or storage or dry_run:
        if fresh:
            raise ConfigError("--fresh repeats single runs; leave it out of a search, a refit, or work that is shared")
        raise typer.Exit(run_order(console, order, place, workers, launcher, dry_run, json_file))
    with Terminal(console) as screen:
        desk = replace(make_desk(order, place, screen), fresh=fresh)
        _warn_of_overlap(asks, fold, screen)
        asks = _with_requests(asks, order.typed)
        outcomes, mistake = _run_all(asks, desk)
    code = answer(console, asks, outcomes, desk, json_file) if outcomes else DONE
    if mistake is not None:
        raise mistake
    raise typer.Exit(code)


app.command(name="list")(data_commands.list_)
app.command()(study_commands.study)
app.command()(report_commands.report)
app.command()(data_commands.check)
app.command()(data_commands.prepare)
app.command()(run_commands.predict)
app.command()(run_commands.sync)
app.command()(run_commands.ui)


def main(arguments: Sequence[str] | None = None) -> int:
    """The command as a function of its words: the exit code; mistakes become one line on stderr."""
    signal.signal(signal.SIGTERM, _as_interrupt)
    errors = Console(stderr=True)
    try:
        words = list(arguments) if arguments is not None else sys.argv[1:]
        code = app(args=words, standalone_mode=False, obj=format_command(words))
    except BenchError as error:
        errors.print(f"error: {' '.join(str(error).split())}", markup=False, highlight=False, soft_wrap=True)
        return MISTAKE
    except typer.TyperException as error:
        errors.print(f"error: {_usage_line(error)}", markup=False, highlight=False, soft_wrap=True)
        return MISTAKE
    except Interrupted as stop:
        errors.print(str(stop), highlight=False, soft_wrap=True)
        return INTERRUPTED
    if code == INTERRUPTED:  # typer turns a KeyboardInterrupt into this code
        errors.print(
            "interrupted; the state is kept, the same command goes on where it was (with --fresh, finished runs again)",
            highlight=False,
            soft_wrap=True,
        )
    return int(code or DONE)


def _parts(asks: list[Ask], datasets: str, fold: int | None) -> tuple[Part, ...]:
    """What was named by hand, as a part of an order: each arm searched for itself."""
    from studies.ask import split_names
    from studies.work.order import Part

    arms = tuple(dict.fromkeys(ask.arm for ask in asks))
    folds = None if fold is None else (fold,)
    named = tuple(split_names(datasets, "--dataset"))
    return (Part(arms, named, folds, "per-arm", protocol=asks[0].protocol),)


def _with_requests(asks: list[Ask], typed: str) -> list[Ask]:
    """The runs, each with why it is run: a command that names no study."""
    from bench.requests import StoredRequest
    from studies.ask import find_changes
    from studies.work.plan import summarize_runs

    plan = summarize_runs((ask.dataset.card.name, ask.fold, ask.seed, ask.protocol) for ask in asks)
    found = []
    for ask in asks:
        settings = find_changes(ask.arm, ask.preset, ask.config.model_dump(mode="json")) or ()
        request = StoredRequest("", ask.arm, ask.preset, plan, settings=dict(settings), command=typed)
        found.append(replace(ask, requests=(request,)))
    return found


def _seeds(asks: list[Ask]) -> tuple[int, ...]:
    return tuple(dict.fromkeys(ask.seed for ask in asks))


def _warn_of_overlap(asks: list[Ask], fold: int | None, screen: Terminal) -> None:
    """Where a fold is asked for, say that folds of this data set test the same clips."""
    for title in sorted({ask.dataset.card.title for ask in asks if ask.dataset.card.overlap and fold is not None}):
        screen.notice(f"{title}: the test clips of its folds overlap, so runs of several are not independent")


def _run_all(asks: list[Ask], desk: Desk) -> tuple[list[Outcome], BenchError | None]:
    """Run what is asked, one after the other, until a mistake of the user's ends it."""
    from bench.execute import execute
    from bench.logs import logs_to
    from studies.command.answer import told

    outcomes: list[Outcome] = []
    with logs_to(desk.results / "log"):
        desk.store.reap()
        for ask in asks:
            try:
                outcomes.append(execute(ask, desk))
            except BenchError as error:
                return outcomes, error
            desk.screen.notice(told(outcomes[-1]))
    return outcomes, None


def _is_given(context: typer.Context, name: str | None) -> bool:
    source = context.get_parameter_source(name) if name is not None else None
    return source is not None and source.name == "COMMANDLINE"


def _usage_line(error: typer.TyperException) -> str:
    """Typer's own complaint as one line."""
    message = error.format_message() if hasattr(error, "format_message") else str(error)
    return f"{' '.join(message.split()).rstrip('.')}; `python bench.py --help` shows the options"


def _as_interrupt(number: int, frame: object) -> None:
    raise KeyboardInterrupt
