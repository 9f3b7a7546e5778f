"""The command line: every command with its options, each run by a module that is imported when it is called.

Nothing heavy is imported here, so that `--help` answers at once.
"""

from __future__ import annotations

import signal
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from bench.errors import BenchError, ConfigError
from bench.requests import format_command
from studies.cli.options import (
    DEFAULT_RESULTS,
    EXIT_DONE,
    EXIT_INTERRUPTED,
    EXIT_MISTAKE,
    Data,
    Fold,
    Interrupted,
    Results,
    RunOptions,
    Settings,
    StorageUrl,
    Tracking,
    share_run_options,
)

app = typer.Typer(add_completion=False, no_args_is_help=False, pretty_exceptions_enable=False)
Seed = Annotated[int, typer.Option(min=0, help="First seed; validation fold = seed mod 5.")]
DatasetName = Annotated[
    str, typer.Option("--dataset", help="A name of `list datasets`, a manifest.csv, or a folder of <Class>/<clip>.mp4.")
]


@app.callback(invoke_without_command=True)
@share_run_options()
def run(
    context: typer.Context,
    *,
    method: Annotated[str, typer.Option(help="Methods to run, with commas between.")] = "",
    dataset: Annotated[str, typer.Option(help="Data sets to run them on, with commas between.")] = "",
    fold: Fold = None,
    seed: Seed = 0,
    seeds: Annotated[int, typer.Option(min=1, help="How many seeds.")] = 1,
    fresh: Annotated[bool, typer.Option("--fresh", help="Run again even where a finished record is there.")] = False,
    protocol: Annotated[str, typer.Option(help="clean, refit, or best-on-test (flagged for ever).")] = "clean",
    options: RunOptions,
) -> None:
    """Train, select on val, score test once, and print a table. With --trials, search the values on val first.

    Example: python bench.py --method mart,mbt --dataset ekman6 --seeds 3
    """
    if context.invoked_subcommand is not None:
        for option in context.command.params:
            source = context.get_parameter_source(option.name or "")
            if source is not None and source.name == "COMMANDLINE":
                raise ConfigError(f"{option.opts[0]} stands before '{context.invoked_subcommand}'; put it behind")
        return
    if not method or not dataset:
        raise ConfigError("--method and --dataset are both wanted; `python bench.py list` shows what there is")
    from studies.cli.run_study import run_methods

    options = replace(options, typed=str(context.obj or ""))
    raise typer.Exit(run_methods(method, dataset, fold, protocol, range(seed, seed + seeds), fresh, options))


@app.command(name="list")
def list_(
    what: Annotated[str, typer.Argument(help="methods, datasets or studies; all when left out.")] = "",
    results: Results = DEFAULT_RESULTS,
) -> None:
    """What there is, with one line each; of data sets, what is on this machine.

    Example: python bench.py list datasets
    """
    from studies.cli.data import print_list

    print_list(what, results)


@app.command()
@share_run_options(weights=False)
def study(
    context: typer.Context,
    *,
    name: Annotated[str, typer.Argument(help="A name of `list studies`.")] = "",
    datasets: Annotated[str, typer.Option(help="Data sets, with commas between; default: the study's own.")] = "",
    seeds: Annotated[int, typer.Option(min=1, help="How many seeds each arm is run with.")] = 5,
    seed: Seed = 0,
    tuning: Annotated[
        str, typer.Option(help="shared, per-arm, or both with a comma between; default: the study's own.")
    ] = "",
    shard: Annotated[str, typer.Option(help="i/n: only this part, for machines without a shared database.")] = "1/1",
    retries: Annotated[int, typer.Option(min=0, help="How often a run that broke is tried again.")] = 1,
    options: RunOptions,
) -> None:
    """Run a named study, or go on with it: what is done is skipped, what failed is tried again.

    Example: python bench.py study ablation --seeds 10 --trials 20 --workers 2
    """
    from studies.cli.run_study import run_named_study

    options = replace(options, shard=shard, retries=retries, typed=str(context.obj or ""))
    raise typer.Exit(run_named_study(name, datasets, tuple(range(seed, seed + seeds)), tuning, options))


@app.command()
def report(
    name: Annotated[str, typer.Argument(help="A name of `list studies`; left out: the runs that --runs takes.")] = "",
    out: Annotated[Path | None, typer.Option(help="Folder of the report; default: reports/NAME in --results.")] = None,
    check: Annotated[bool, typer.Option("--check", help="Recompute every number of a written report.")] = False,
    pdf: Annotated[
        bool, typer.Option("--pdf", help="Print the LaTeX too, where pdflatex or tectonic is there.")
    ] = False,
    runs: Annotated[str, typer.Option(help="Only these runs: dataset=ekman6,arm=mart*,seed=0.")] = "",
    preset: Annotated[str, typer.Option(help="quick or paper; default: the one that most arms have runs with.")] = "",
    settings: Settings = None,
    results: Results = DEFAULT_RESULTS,
    tracking_uri: Tracking = None,
) -> None:
    """Tables, statistics, figures and a web page of a study, from its records alone; nothing is run.

    Example: python bench.py report ablation --out paper/ablation
    """
    from studies.cli.runs import check_report_folder, write_report_folder

    asked = {"name": name, "runs": runs, "preset": preset, "settings": settings or []}
    try:
        if check:
            raise typer.Exit(check_report_folder(Console(), asked, out, results, tracking_uri))
        write_report_folder(Console(), asked, out, pdf, results, tracking_uri)
    except KeyboardInterrupt:
        raise Interrupted("interrupted; the report is not finished, the same command writes it anew") from None


@app.command()
def check(dataset: DatasetName, data: Data = None, fold: Fold = None) -> None:
    """Whether a data set is fit to run, in seconds: nothing is decoded.

    Example: python bench.py check --dataset clips/manifest.csv
    """
    from studies.cli.prepare import check_dataset

    raise typer.Exit(check_dataset(dataset, data, fold))


@app.command()
def prepare(
    dataset: DatasetName,
    data: Data = None,
    fold: Fold = None,
    preset: Annotated[str, typer.Option(help="Whose clip size is prepared: quick, paper, or quick,paper.")] = "quick",
    transcribe: Annotated[
        Path | None, typer.Option(help="Folder of a faster-whisper model: write srt files where there are none.")
    ] = None,
    results: Results = DEFAULT_RESULTS,
) -> None:
    """Decode and check every clip into the prepared store, and write a page about the data set.

    Example: python bench.py prepare --dataset ekman6 --data DIR --preset paper
    """
    from studies.cli.prepare import prepare_dataset

    raise typer.Exit(prepare_dataset(dataset, data, fold, preset, transcribe, results))


@app.command()
def predict(
    videos: Annotated[list[Path], typer.Argument(help="Files of video, of sound or of pictures alone.")],
    key: Annotated[str | None, typer.Option("--run", help="Key of a run, or its start; default: the newest.")] = None,
    transcript: Annotated[Path | None, typer.Option(help="Subtitles (.srt) of the one video.")] = None,
    out: Annotated[Path | None, typer.Option(help="Folder of the pictures; default: predictions in --results.")] = None,
    json_file: Annotated[Path | None, typer.Option("--json", help="Write the predictions to a file too.")] = None,
    results: Results = DEFAULT_RESULTS,
) -> None:
    """What a finished run's model says of any video.

    Example: python bench.py predict clip.mp4 other.flv
    """
    from studies.cli.predict import predict_videos

    raise typer.Exit(predict_videos(Console(), videos, key, transcript, out, json_file, results))


@app.command()
def sync(
    results: Results = DEFAULT_RESULTS,
    tracking_uri: Tracking = None,
    pull: Annotated[bool, typer.Option("--pull", help="Only bring what others published; publish nothing.")] = False,
) -> None:
    """Exchange records with MLflow, both ways."""
    from studies.cli.runs import sync_records

    raise typer.Exit(sync_records(Console(), results, tracking_uri, pull))


@app.command()
def ui(
    results: Results = DEFAULT_RESULTS,
    tracking_uri: Tracking = None,
    port: Annotated[int, typer.Option(min=1, max=65535, help="Port on localhost.")] = 5000,
    searches: Annotated[bool, typer.Option("--searches", help="Optuna's dashboard of the searches instead.")] = False,
    storage: StorageUrl = None,
) -> None:
    """Open MLflow's pages, or those of the searches, on localhost."""
    from studies.cli.runs import open_dashboard, open_mlflow

    if searches:
        open_dashboard(results, storage, port)
    open_mlflow(results, tracking_uri, port)


def main(arguments: Sequence[str] | None = None) -> int:
    """The command as a function of its words: the exit code; mistakes become one line on stderr."""
    signal.signal(signal.SIGTERM, _raise_interrupt)
    words = list(arguments) if arguments is not None else sys.argv[1:]
    message = ""
    try:
        code = app(args=words, standalone_mode=False, obj=format_command(words))
        if code == EXIT_INTERRUPTED:  # typer turns a KeyboardInterrupt into this code
            again = " (with --fresh, finished runs again)" if "--fresh" in words else ""
            message = f"interrupted; the state is kept, the same command goes on where it was{again}"
    except BenchError as error:
        code, message = EXIT_MISTAKE, f"error: {' '.join(str(error).split())}"
    except typer.TyperException as error:
        code, message = EXIT_MISTAKE, f"error: {_format_usage_error(error)}"
    except Interrupted as stop:
        code, message = EXIT_INTERRUPTED, str(stop)
    if message:
        Console(stderr=True).print(message, markup=False, highlight=False, soft_wrap=True)
    return int(code or EXIT_DONE)


def _format_usage_error(error: typer.TyperException) -> str:
    """Typer's own complaint as one line."""
    message = error.format_message() if hasattr(error, "format_message") else str(error)
    return f"{' '.join(message.split()).rstrip('.')}; `python bench.py --help` shows the options"


def _raise_interrupt(number: int, frame: object) -> None:
    raise KeyboardInterrupt
