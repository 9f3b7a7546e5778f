"""The command line: what is asked becomes runs, a table, and an exit code."""

from __future__ import annotations

import json
import os
import signal
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

from bench.errors import BenchError, ConfigError, StoreError

if TYPE_CHECKING:
    from bench.execute import Ask, Desk, Outcome

DONE, MISTAKE, INCOMPLETE, INTERRUPTED = 0, 2, 3, 130
THREADS = {"quick": 2, "paper": os.cpu_count() or 2}  # of torch on the CPU; fixed, since they change the last bits

app = typer.Typer(add_completion=False, no_args_is_help=False, pretty_exceptions_enable=False)

RESULTS = Path(__file__).resolve().parents[1] / "results"
Results = Annotated[Path, typer.Option(envvar="BENCH_RESULTS", help="Folder of records, checkpoints and MLflow.")]
Tracking = Annotated[str | None, typer.Option(help="MLflow server or database; default: one inside --results.")]


@app.callback(invoke_without_command=True)
def run(
    context: typer.Context,
    method: Annotated[str, typer.Option(help="Methods to run, with commas between.")] = "",
    dataset: Annotated[str, typer.Option(help="Data sets to run them on, with commas between.")] = "",
    data: Annotated[
        Path | None, typer.Option(help="Folder of the real data (else BENCH_DATA, data/NAME, sample).")
    ] = None,
    preset: Annotated[str, typer.Option(help="quick: small model, any CPU. paper: the paper's sizes.")] = "quick",
    settings: Annotated[list[str] | None, typer.Option("--set", help="A config value: --set lr=0.001.")] = None,
    seed: Annotated[int, typer.Option(min=0, help="First seed; validation fold = seed mod 5.")] = 0,
    seeds: Annotated[int, typer.Option(min=1, help="How many seeds.")] = 1,
    fresh: Annotated[bool, typer.Option("--fresh", help="Run again even where a finished record is there.")] = False,
    json_file: Annotated[Path | None, typer.Option("--json", help="Write the records to a file too.")] = None,
    weights: Annotated[bool, typer.Option(help="Keep the finished model's weights.")] = True,
    loaders: Annotated[int, typer.Option(min=0, help="Loader processes; changes no number.")] = 0,
    results: Results = RESULTS,
    tracking_uri: Tracking = None,
) -> None:
    """Train, select on val, score test once, and print a table.

    Example: python bench.py --method mart,mbt --dataset ekman6 --seeds 3
    """
    if context.invoked_subcommand is not None:
        given = [name for name in context.params if _is_given(context, name)]
        if given:
            raise ConfigError(
                f"--{given[0].replace('_', '-')} stands before '{context.invoked_subcommand}'; put it behind"
            )
        return
    if not method or not dataset:
        raise ConfigError("--method and --dataset are both wanted; `python bench.py list` shows what there is")
    from studies.ask import resolve

    asks = resolve(method, dataset, preset, settings or [], range(seed, seed + seeds))
    raise typer.Exit(_run_all(asks, data, results, tracking_uri, fresh, json_file, weights, loaders, preset))


@app.command(name="list")
def list_(
    what: Annotated[str, typer.Argument(help="methods or datasets; both when left out.")] = "",
) -> None:
    """What there is, with one line each."""
    from studies.ask import dataset_names, known_arms

    if what not in ("", "methods", "datasets"):
        from bench.names import propose

        raise ConfigError(f"unknown list '{what}'; {propose(what, ['methods', 'datasets'])}")
    console = Console()
    if what in ("", "methods"):
        rows = [(name, arm.title) for name, arm in known_arms().items()]
        console.print(_listing("method", rows))
    if what in ("", "datasets"):
        rows = [
            (name, f"{entry.card.title}: {', '.join(entry.card.classes)}") for name, entry in dataset_names().items()
        ]
        console.print(_listing("data set", rows))


@app.command()
def sync(results: Results = RESULTS, tracking_uri: Tracking = None) -> None:
    """Exchange records with MLflow, both ways."""
    from bench.store import Store

    _check_writable(results)
    exchange = Store(results, tracking_uri).sync()
    console = Console()
    console.print(f"{exchange.pushed} records pushed, {exchange.pulled} pulled", highlight=False)
    for key in exchange.conflicts:
        console.print(f"run {key}: MLflow holds another record of the same run; neither was changed", style="yellow")
    if exchange.away:
        raise typer.Exit(_say_away(console, exchange.away))


@app.command()
def ui(
    results: Results = RESULTS,
    tracking_uri: Tracking = None,
    port: Annotated[int, typer.Option(min=1, max=65535, help="Port on localhost.")] = 5000,
) -> None:
    """Open MLflow's pages on localhost."""
    from bench.store import Store

    _check_writable(results)
    store = Store(results, tracking_uri)
    store.open()
    if store.away:
        raise StoreError(store.away)
    Console().print(f"MLflow at http://127.0.0.1:{port} (Ctrl-C ends it)", highlight=False)
    sys.stdout.flush()
    words = ["-m", "mlflow", "ui", "--backend-store-uri", store.uri, "--host", "127.0.0.1", "--port", str(port)]
    words += ["--default-artifact-root", store.artifacts] if store.artifacts else []
    os.execv(sys.executable, [sys.executable, *words])


def main(arguments: Sequence[str] | None = None) -> int:
    """The command as a function of its words: the exit code; mistakes become one line on stderr."""
    signal.signal(signal.SIGTERM, _as_interrupt)
    errors = Console(stderr=True)
    try:
        code = app(args=list(arguments) if arguments is not None else None, standalone_mode=False)
    except BenchError as error:
        errors.print(f"error: {' '.join(str(error).split())}", markup=False, highlight=False, soft_wrap=True)
        return MISTAKE
    except typer.TyperException as error:
        errors.print(f"error: {_usage_line(error)}", markup=False, highlight=False, soft_wrap=True)
        return MISTAKE
    if code == INTERRUPTED:  # typer turns a KeyboardInterrupt into this code
        errors.print("interrupted; the state is kept, the same command goes on where it was", highlight=False)
    return int(code or DONE)


def _run_all(
    asks: list[Ask],
    data: Path | None,
    results: Path,
    tracking_uri: str | None,
    fresh: bool,
    json_file: Path | None,
    weights: bool,
    loaders: int,
    preset: str,
) -> int:
    """Run what is asked, one after the other; a table and the exit code."""
    _check_writable(results)
    console = Console()
    from bench.store import Store
    from studies.screen import Terminal

    store = Store(results, tracking_uri)
    outcomes: list[Outcome] = []
    with Terminal(console) as screen:
        from bench.execute import Desk, execute
        from reports.figures import draw_confusion

        desk = Desk(
            results=results,
            store=store,
            screen=screen,
            draw=draw_confusion,
            data=data,
            device=_device(),
            threads=THREADS[preset],
            loaders=loaders,
            fresh=fresh,
            keep_weights=weights,
        )
        store.reap()
        for ask in asks:
            screen.start_run(f"{ask.arm} on {ask.dataset.card.name}, seed {ask.seed}")
            outcomes.append(execute(ask, desk))
            screen.notice(_told(outcomes[-1]))
    return _finish(console, asks, outcomes, desk, json_file)


def _finish(console: Console, asks: list[Ask], outcomes: list[Outcome], desk: Desk, json_file: Path | None) -> int:
    from reports.terminal import show

    titles = {ask.dataset.card.name: ask.dataset.card.title for ask in asks}
    labelled = [_as_asked(outcome, ask) for outcome, ask in zip(outcomes, asks, strict=True)]
    console.print(show(labelled, titles))
    console.print(f"records: {desk.results / 'runs'}", highlight=False, soft_wrap=True)
    console.print("curves, pictures and parameters: python bench.py ui", highlight=False)
    if json_file is not None:
        from bench.files import write_whole

        rows = [_as_row(outcome, ask) for outcome, ask in zip(outcomes, asks, strict=True)]
        write_whole(json_file, (json.dumps(rows, indent=1) + "\n").encode())
    failed = [outcome for outcome in outcomes if outcome.record.error is not None]
    for outcome in failed:
        error = outcome.record.error
        assert error is not None
        console.print(
            f"failed: {outcome.record.arm} seed {outcome.record.spec.seed}: {error.kind}: {error.message}; "
            f"traceback in {desk.results / 'runs' / outcome.record.key}",
            style="red",
            markup=False,
            soft_wrap=True,
        )
    if desk.store.away:
        return _say_away(console, desk.store.away)
    return INCOMPLETE if failed else DONE


def _as_asked(outcome: Outcome, ask: Ask) -> Any:
    """The record under the names it was asked for by: a pinned name or a preset is only a label."""
    from dataclasses import replace

    return replace(outcome.record, arm=ask.arm, preset=ask.preset)


def _as_row(outcome: Outcome, ask: Ask) -> dict[str, Any]:
    """A record as `--json` writes it."""
    record, spec = outcome.record, outcome.record.spec
    return {
        "key": record.key,
        "run_id": outcome.run_id,
        "spec": {
            "method": ask.arm,
            "dataset": spec.dataset,
            "fold": spec.fold,
            "seed": spec.seed,
            "preset": ask.preset,
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


def _told(outcome: Outcome) -> str:
    if outcome.found:
        return f"finished before, nothing to do (run {outcome.record.key}; --fresh repeats it)"
    if outcome.record.error is not None:
        return f"failed: {outcome.record.error.kind}: {outcome.record.error.message}"
    return f"done in {sum(outcome.record.seconds.values()):.0f} s (run {outcome.record.key})"


def _say_away(console: Console, why: str) -> int:
    console.print(
        f"{why}; nothing is lost: the records are files, `python bench.py sync` brings them in later",
        style="yellow",
        markup=False,
        soft_wrap=True,
    )
    return INCOMPLETE


def _listing(kind: str, rows: list[tuple[str, str]]) -> Table:
    table = Table(box=None, pad_edge=False)
    table.add_column(kind, style="bold")
    table.add_column("")
    for name, line in rows:
        table.add_row(name, line)
    return table


def _check_writable(results: Path) -> None:
    from bench.files import write_whole

    probe = results / ".writable"
    write_whole(probe, b"")
    probe.unlink(missing_ok=True)


def _device() -> str:
    import torch

    return "cuda" if torch.cuda.is_available() else "cpu"


def _is_given(context: typer.Context, name: str) -> bool:
    source = context.get_parameter_source(name)
    return source is not None and source.name == "COMMANDLINE"


def _usage_line(error: typer.TyperException) -> str:
    """Typer's own complaint as one line."""
    message = error.format_message() if hasattr(error, "format_message") else str(error)
    return f"{' '.join(message.split()).rstrip('.')}; `python bench.py --help` shows the options"


def _as_interrupt(number: int, frame: object) -> None:
    raise KeyboardInterrupt
