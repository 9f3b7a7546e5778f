"""The command line: what is asked becomes runs, a table, and an exit code."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.table import Table

from bench.errors import BenchError, ConfigError, StoreError
from studies.exits import DONE, INCOMPLETE, INTERRUPTED, MISTAKE

if TYPE_CHECKING:
    from bench.execute import Ask, Desk, Outcome

SCHEMES = (
    "http",
    "https",
    "sqlite",
    "postgresql",
    "postgresql+psycopg",
    "mysql",
    "mysql+pymysql",
    "mssql",
    "databricks",
)
THREADS = {"quick": 2, "paper": os.cpu_count() or 2}  # of torch on the CPU; fixed, since they change the last bits


class _Interrupted(Exception):
    """Ctrl-C in a command that leaves nothing to go on from."""


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
        given = [option for option in context.command.params if _is_given(context, option.name)]
        if given:
            raise ConfigError(f"{given[0].opts[0]} stands before '{context.invoked_subcommand}'; put it behind")
        return
    if not method or not dataset:
        raise ConfigError("--method and --dataset are both wanted; `python bench.py list` shows what there is")
    from functools import partial

    from bench.execute import Desk
    from bench.store import Store
    from reports.pictures import draw_all
    from studies.answer import answer
    from studies.ask import resolve
    from studies.screen import Terminal

    asks = resolve(method, dataset, preset, settings or [], range(seed, seed + seeds))
    _check_places(results, tracking_uri, json_file)
    console = Console()
    with Terminal(console) as screen:
        desk = Desk(
            results=results,
            store=Store(results, tracking_uri),
            screen=screen,
            draw=partial(draw_all, notice=screen.notice),
            data=data,
            device=_device(),
            threads=THREADS[preset],
            loaders=loaders,
            fresh=fresh,
            keep_weights=weights,
        )
        outcomes, mistake = _run_all(asks, desk)
    code = answer(console, asks, outcomes, desk, json_file) if outcomes else DONE
    if mistake is not None:
        raise mistake
    raise typer.Exit(code)


@app.command(name="list")
def list_(
    what: Annotated[str, typer.Argument(help="methods or datasets; both when left out.")] = "",
) -> None:
    """What there is, with one line each."""
    from datasets.registry import DATASETS
    from studies.ask import known_arms

    if what not in ("", "methods", "datasets"):
        from bench.names import propose

        raise ConfigError(f"unknown list '{what}'; {propose(what, ['methods', 'datasets'])}")
    console = Console()
    if what in ("", "methods"):
        rows = [(name, arm.title) for name, arm in known_arms().items()]
        console.print(_listing("method", rows))
    if what in ("", "datasets"):
        rows = [(name, f"{entry.card.title}: {', '.join(entry.card.classes)}") for name, entry in DATASETS.items()]
        console.print(_listing("data set", rows))


@app.command()
def sync(results: Results = RESULTS, tracking_uri: Tracking = None) -> None:
    """Exchange records with MLflow, both ways."""
    from bench import exchange
    from bench.logs import logs_to
    from bench.store import Store
    from studies.answer import say_away

    _check_places(results, tracking_uri)
    store, console = Store(results, tracking_uri), Console()
    with logs_to(results / "log"):
        done = exchange.sync(store)
    console.print(f"{done.pushed} records pushed, {done.pulled} pulled", highlight=False)
    told = [f"run {key}: there are different records of this run; none was changed" for key in sorted(done.conflicts)]
    for line in [*told, *done.skipped]:
        console.print(line, style="yellow", markup=False, highlight=False, soft_wrap=True)
    if store.away:
        raise typer.Exit(say_away(console, store.away))
    if told or done.skipped:
        raise typer.Exit(INCOMPLETE)


@app.command()
def ui(
    results: Results = RESULTS,
    tracking_uri: Tracking = None,
    port: Annotated[int, typer.Option(min=1, max=65535, help="Port on localhost.")] = 5000,
) -> None:
    """Open MLflow's pages on localhost."""
    from bench.logs import logs_to
    from bench.store import Store

    _check_places(results, tracking_uri)
    store = Store(results, tracking_uri)
    with logs_to(results / "log"):
        store.open()
    if store.away:
        raise StoreError(store.away)
    page = f"http://127.0.0.1:{port}/#/experiments?workflowType=machine_learning"  # else it opens on chats and traces
    Console().print(f"MLflow at {page} (Ctrl-C ends it)", highlight=False, soft_wrap=True)
    sys.stdout.flush()
    words = ["-m", "mlflow", "ui", "--backend-store-uri", store.uri, "--host", "127.0.0.1", "--port", str(port)]
    words += ["--default-artifact-root", store.artifacts] if store.artifacts else []
    os.execv(sys.executable, [sys.executable, *words])


@app.command()
def predict(
    videos: Annotated[list[Path], typer.Argument(help="Files of video, of sound or of pictures alone.")],
    key: Annotated[str | None, typer.Option("--run", help="Key of a run, or its start; default: the newest.")] = None,
    transcript: Annotated[Path | None, typer.Option(help="Subtitles (.srt) of the one video.")] = None,
    out: Annotated[Path | None, typer.Option(help="Folder of the pictures; default: predictions in --results.")] = None,
    json_file: Annotated[Path | None, typer.Option("--json", help="Write the predictions to a file too.")] = None,
    results: Results = RESULTS,
) -> None:
    """What a finished run's model says of any video.

    Example: python bench.py predict clip.mp4 other.flv
    """
    from bench.logs import logs_to
    from studies.model import load_model
    from studies.predict import check_words
    from studies.predicted import answer_files

    try:
        model = load_model(results, key, _device())
        check_words(model, transcript, videos)
        if out is not None and out.exists() and not out.is_dir():
            raise ConfigError(f"--out {out} is a file; name a folder for the pictures")
        place = out or results / "predictions"
        _check_places(place, None, json_file)
        with logs_to(results / "log"):
            code = answer_files(Console(), model, videos, transcript, place, json_file)
    except KeyboardInterrupt:
        raise _Interrupted("interrupted; pictures of the files that were done are kept") from None
    raise typer.Exit(code)


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
    except _Interrupted as stop:
        errors.print(str(stop), highlight=False, soft_wrap=True)
        return INTERRUPTED
    if code == INTERRUPTED:  # typer turns a KeyboardInterrupt into this code
        errors.print(
            "interrupted; the state is kept, the same command goes on where it was (with --fresh, finished runs again)",
            highlight=False,
            soft_wrap=True,
        )
    return int(code or DONE)


def _run_all(asks: list[Ask], desk: Desk) -> tuple[list[Outcome], BenchError | None]:
    """Run what is asked, one after the other, until a mistake of the user's ends it."""
    from bench.execute import execute
    from bench.logs import logs_to
    from studies.answer import told

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


def _listing(kind: str, rows: list[tuple[str, str]]) -> Table:
    table = Table(box=None, pad_edge=False)
    table.add_column(kind, style="bold")
    table.add_column("")
    for name, line in rows:
        table.add_row(name, line)
    return table


def _check_places(results: Path, tracking_uri: str | None, json_file: Path | None = None) -> None:
    """Raise at once for what could not be written in the end."""
    from bench.files import write_whole

    if tracking_uri is not None and tracking_uri.partition("://")[0] not in SCHEMES:
        raise ConfigError(
            f"--tracking-uri '{tracking_uri}' is neither a server nor a database; for example http://127.0.0.1:5000"
            " or sqlite:////path/mlflow.db"
        )
    if json_file is not None and (json_file.is_dir() or not json_file.absolute().parent.is_dir()):
        raise ConfigError(f"--json {json_file} is no file that can be written: name a file in a folder that is there")
    probe = results / ".writable"
    write_whole(probe, b"")
    probe.unlink(missing_ok=True)


def _device() -> str:
    import torch

    return "cuda" if torch.cuda.is_available() else "cpu"


def _is_given(context: typer.Context, name: str | None) -> bool:
    source = context.get_parameter_source(name) if name is not None else None
    return source is not None and source.name == "COMMANDLINE"


def _usage_line(error: typer.TyperException) -> str:
    """Typer's own complaint as one line."""
    message = error.format_message() if hasattr(error, "format_message") else str(error)
    return f"{' '.join(message.split()).rstrip('.')}; `python bench.py --help` shows the options"


def _as_interrupt(number: int, frame: object) -> None:
    raise KeyboardInterrupt
