"""The command line: all commands and their options; each command's module is imported when it is called.

This module imports no large library, so that `--help` is fast.
"""

from __future__ import annotations

import platform
import re
import signal
import sys
import tomllib
from collections.abc import Sequence
from dataclasses import replace
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from bench.config import propose_name
from bench.errors import BenchError, ConfigError
from bench.record import REPOSITORY, find_commit
from bench.requests import format_command
from studies.cli.options import (
    DEFAULT_RESULTS,
    EXIT_DONE,
    EXIT_INTERRUPTED,
    EXIT_MISTAKE,
    OUTPUT,
    Data,
    Device,
    Fold,
    Interrupted,
    Plugins,
    Results,
    RunOptions,
    Settings,
    StorageUrl,
    TaskName,
    Tracking,
    check_device_name,
    choose_seeds,
    complete_options,
    complete_study_options,
    find_option,
    share_run_options,
    suggest_fix,
    suggest_path,
)

app = typer.Typer(
    add_completion=False,
    no_args_is_help=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
Seed = Annotated[
    list[str] | None,
    typer.Option(
        metavar="N,...",
        help="First seed, or several. Selects the validation fold, too (seed mod 5), unless the data fix it.",
        show_default=False,
    ),
]
DatasetName = Annotated[
    list[str],
    typer.Option(
        "--dataset", metavar="NAME", help="Name (`list datasets`), a manifest.csv, or a folder of CLASS/CLIP.mp4."
    ),
]


def print_version(is_asked: bool) -> None:
    """Print the versions that a bug report needs, if asked, and exit."""
    if not is_asked:
        return
    project = tomllib.loads((REPOSITORY / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    commit, is_changed = find_commit()
    try:
        torch = version("torch")  # from its metadata: importing it takes seconds
    except PackageNotFoundError:
        torch = "absent"
    changed = " with changes" if is_changed and commit != "unknown" else ""
    typer.echo(
        f"{project['name']} {project['version']}, commit {commit[:12]}{changed}, Python {platform.python_version()}, "
        f"torch {torch}"
    )
    raise typer.Exit


@app.callback(invoke_without_command=True)
@share_run_options()
def run(
    context: typer.Context,
    *,
    method: Annotated[
        list[str] | None, typer.Option(metavar="NAME,...", help="Methods (see `list methods`). May be repeated.")
    ] = None,
    dataset: Annotated[
        list[str] | None, typer.Option(metavar="NAME,...", help="Data sets: names (`list datasets`) or paths.")
    ] = None,
    fold: Fold = None,
    seed: Seed = None,
    seeds: Annotated[
        int | None,
        typer.Option(min=1, metavar="N", help="Number of seeds, from --seed on. Default: 1.", show_default=False),
    ] = None,
    fresh: Annotated[bool, typer.Option("--fresh", help="Repeat runs that are already finished.")] = False,
    protocol: Annotated[str, typer.Option(help="clean, refit or best-on-test (marked in all results).")] = "clean",
    show_version: Annotated[
        bool, typer.Option("--version", is_eager=True, callback=print_version, help="Show the versions and exit.")
    ] = False,
    options: RunOptions,
) -> None:
    """Train methods on data sets, score them on the test split, and print tables.

    Epochs are selected on val. With --trials, --hours or --target, hyper-parameters are first searched on val.

    Example: python bench.py --method mart,mbt --dataset ekman6 --seeds 3
    """
    if context.invoked_subcommand is not None:
        for option in context.command.params:
            source = context.get_parameter_source(option.name or "")
            if source is not None and source.name == "COMMANDLINE":
                raise ConfigError(f"{option.opts[0]}: options go after the command name '{context.invoked_subcommand}'")
        return
    methods, datasets = ",".join(method or []), ",".join(dataset or [])
    if not methods or not datasets:
        raise ConfigError("--method and --dataset are both required; `python bench.py list` shows the names")
    options = complete_options(options, methods, datasets, str(context.obj or ""))
    chosen = choose_seeds(seed or [], seeds, 1)
    from studies.cli.run_study import run_methods

    raise typer.Exit(run_methods(methods, datasets, fold, protocol, chosen, fresh, options))


@app.command(name="list")
def list_(
    what: Annotated[str, typer.Argument(help="methods, fields, datasets or studies. Default: all but fields.")] = "",
    plugin: Plugins = None,
    results: Results = DEFAULT_RESULTS,
) -> None:
    """List methods, data sets and studies.

    `list datasets` also shows which data sets are on this machine. `list fields` shows the config fields of the
    methods, for --set.

    Example: python bench.py list datasets
    """
    from studies.cli.data import print_list

    print_list(what, results, plugin or [])


@app.command()
@share_run_options(weights=False)
def study(
    context: typer.Context,
    *,
    name: Annotated[str, typer.Argument(help="Name of a study (see `list studies`).")] = "",
    datasets: Annotated[
        list[str] | None, typer.Option(metavar="NAME,...", help="Data sets. Default: those of the study.")
    ] = None,
    seeds: Annotated[
        int | None, typer.Option(min=1, metavar="N", help="Number of seeds per arm. Default: 5.", show_default=False)
    ] = None,
    seed: Seed = None,
    tuning: Annotated[str, typer.Option(help="shared, per-arm or shared,per-arm. Default: that of the study.")] = "",
    shard: Annotated[str, typer.Option(help="Part i/n of the runs, for machines without a shared database.")] = "1/1",
    retries: Annotated[int, typer.Option(min=0, metavar="N", help="Retries of a failed run.")] = 1,
    options: RunOptions,
) -> None:
    """Run a study, or resume it: finished runs are skipped.

    Example: python bench.py study ablation --seeds 10 --trials 20 --workers 2
    """
    named = ",".join(datasets or [])
    options = replace(options, shard=shard, retries=retries)
    options, chosen = (
        complete_study_options(options, name, named, str(context.obj or "")),
        choose_seeds(seed or [], seeds, 5),
    )
    from studies.cli.run_study import run_named_study

    raise typer.Exit(run_named_study(name, named, chosen, tuning, options))


@app.command()
def report(
    name: Annotated[str, typer.Argument(help="Name of a study. Without it, the runs selected by --runs.")] = "",
    out: Annotated[Path | None, typer.Option(help="Folder of the report. Default: reports/NAME in --results.")] = None,
    check: Annotated[bool, typer.Option("--check", help="Recompute every score of an existing report.")] = False,
    pdf: Annotated[bool, typer.Option("--pdf", help="Also write a PDF (needs pdflatex or tectonic).")] = False,
    runs: Annotated[str, typer.Option(help="Filter of runs, e.g. dataset=ekman6,arm=mart*,seed=0.")] = "",
    preset: Annotated[str, typer.Option(help="quick or paper. Default: the preset of most arms.")] = "",
    settings: Settings = None,
    plugin: Plugins = None,
    results: Results = DEFAULT_RESULTS,
    tracking_uri: Tracking = None,
) -> None:
    """Write tables, statistics, figures and a web page from finished runs.

    Nothing is trained: a report is made from stored records and predictions alone.

    Example: python bench.py report ablation --out paper/ablation
    """
    from studies.cli.report import check_report_folder, write_report_folder

    query = {"name": name, "runs": runs, "preset": preset, "settings": settings or []}
    try:
        if check:
            raise typer.Exit(check_report_folder(Console(), query, out, results, tracking_uri, plugin or []))
        write_report_folder(Console(), query, out, pdf, results, tracking_uri, plugin or [])
    except KeyboardInterrupt:
        raise Interrupted("interrupted; the report is not finished, run the same command again") from None


@app.command(name="runs")
def runs_(
    key: Annotated[str, typer.Argument(help="Key of a run, or its beginning: show this run.")] = "",
    runs: Annotated[str, typer.Option(help="Filter of runs, e.g. dataset=ekman6,arm=mart*,seed=0.")] = "",
    state: Annotated[str, typer.Option(help="finished, failed, running or interrupted.")] = "",
    last: Annotated[
        int | None,
        typer.Option(min=1, metavar="N", help="Number of newest runs to list. Default: all.", show_default=False),
    ] = None,
    trials: Annotated[bool, typer.Option("--trials", help="List trials of searches, too.")] = False,
    json_file: Annotated[
        Path | None, typer.Option("--json", help="Also write the runs to this file.", rich_help_panel=OUTPUT)
    ] = None,
    results: Results = DEFAULT_RESULTS,
) -> None:
    """List finished, failed, running and interrupted runs, or show one.

    Example: python bench.py runs --runs dataset=ekman6,arm=mart* --last 10
    """
    from studies.cli.runs import show_runs

    raise typer.Exit(show_runs(Console(), key, runs, state, last, trials, json_file, results))


@app.command()
def check(
    context: typer.Context,
    dataset: Annotated[
        list[str] | None, typer.Option(help="Data set to check: a name, a manifest.csv, or a folder.")
    ] = None,
    data: Data = None,
    fold: Fold = None,
    task: TaskName = "",
    method: Annotated[str, typer.Option(help="Methods to check, separated by commas.")] = "",
    plugin: Plugins = None,
    settings: Settings = None,
    results: Results = DEFAULT_RESULTS,
) -> None:
    """Check in seconds whether a data set can be used, or test in a minute what every method promises.

    A data set is listed, not decoded. A method runs on a few clips of the built-in sample; each check is a line.

    Example: python bench.py check --dataset clips/manifest.csv
    """
    if bool(method) == bool(dataset):
        raise ConfigError("check: give either --dataset or --method, e.g. --dataset ekman6 or --method mbt")
    unused = {"data", "fold", "task"} if method else {"plugin", "settings"}
    for option in context.command.params:
        source = context.get_parameter_source(option.name or "")
        if option.name in unused and source is not None and source.name == "COMMANDLINE":
            raise ConfigError(f"{option.opts[0]}: has no effect with --{'method' if method else 'dataset'}; omit it")
    from studies.cli.data import check_dataset, check_methods

    if method:
        raise typer.Exit(check_methods(method, plugin or [], settings or [], results))
    raise typer.Exit(check_dataset(",".join(dataset or []), data, fold, task))


@app.command()
def prepare(
    dataset: DatasetName,
    data: Data = None,
    fold: Fold = None,
    preset: Annotated[str, typer.Option(help="Clip size: quick, paper or quick,paper.")] = "quick",
    transcribe: Annotated[
        Path | None,
        typer.Option(help="Folder of a faster-whisper model: transcribe clips without subtitles."),
    ] = None,
    task: TaskName = "",
    results: Results = DEFAULT_RESULTS,
) -> None:
    """Decode and check every clip once, and write a page about the data set.

    Example: python bench.py prepare --dataset ekman6 --data DIR --preset paper
    """
    from studies.cli.data import prepare_dataset

    raise typer.Exit(prepare_dataset(",".join(dataset), data, fold, preset, transcribe, results, task))


@app.command()
def predict(
    videos: Annotated[list[Path], typer.Argument(help="Video or audio files.")],
    key: Annotated[str | None, typer.Option("--run", help="Run key or its beginning. Default: the newest run.")] = None,
    transcript: Annotated[
        Path | None, typer.Option(help="Subtitles of the video; for several videos a folder of NAME.srt files.")
    ] = None,
    transcribe: Annotated[
        Path | None, typer.Option(help="Folder of a faster-whisper model: transcribe videos without subtitles.")
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option(help="Folder of the figures. Default: predictions in --results.", rich_help_panel=OUTPUT),
    ] = None,
    json_file: Annotated[
        Path | None, typer.Option("--json", help="Also write the predictions to this file.", rich_help_panel=OUTPUT)
    ] = None,
    device: Device = "",
    plugin: Plugins = None,
    results: Results = DEFAULT_RESULTS,
) -> None:
    """Run a trained model on any video or audio file.

    Example: python bench.py predict clip.mp4 other.flv
    """
    check_device_name(device)
    from studies.cli.predict import predict_videos

    done = predict_videos(Console(), videos, key, transcript, transcribe, out, json_file, results, device, plugin or [])
    raise typer.Exit(done)


@app.command()
def sync(
    results: Results = DEFAULT_RESULTS,
    tracking_uri: Tracking = None,
    pull: Annotated[bool, typer.Option("--pull", help="Only download records; publish nothing.")] = False,
) -> None:
    """Exchange records with an MLflow server.

    Example: python bench.py sync --tracking-uri http://HOST:5000
    """
    from studies.cli.report import sync_records

    raise typer.Exit(sync_records(Console(), results, tracking_uri, pull))


@app.command()
def ui(
    results: Results = DEFAULT_RESULTS,
    tracking_uri: Tracking = None,
    port: Annotated[int, typer.Option(min=1, max=65535, help="Port on localhost.")] = 5000,
    searches: Annotated[bool, typer.Option("--searches", help="Open Optuna's dashboard instead of MLflow.")] = False,
    storage: StorageUrl = None,
) -> None:
    """Open MLflow, or Optuna's dashboard, on localhost.

    Example: python bench.py ui --port 5001
    """
    from studies.cli.report import open_dashboard, open_mlflow

    if searches:
        open_dashboard(results, storage, port)
    open_mlflow(results, tracking_uri, port)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command line and return its exit code; invalid input prints a one-line error to stderr."""
    signal.signal(signal.SIGTERM, _raise_interrupt)
    words = list(arguments) if arguments is not None else sys.argv[1:]
    message = ""
    try:
        code = app(args=words, prog_name="python bench.py", standalone_mode=False, obj=format_command(words))
        if code == EXIT_INTERRUPTED:  # typer turns a KeyboardInterrupt into this code
            again = " (with --fresh, finished runs are repeated)" if "--fresh" in words else ""
            message = f"interrupted; progress is saved, the same command resumes{again}"
    except BenchError as error:
        code, message = EXIT_MISTAKE, f"error: {' '.join(str(error).split())}"
    except typer.TyperException as error:
        code, message = EXIT_MISTAKE, f"error: {_format_usage_error(error, words)}"
    except Interrupted as stop:
        code, message = EXIT_INTERRUPTED, str(stop)
    if message:
        Console(stderr=True).print(message, markup=False, highlight=False, soft_wrap=True)
    return int(code or EXIT_DONE)


def _format_usage_error(error: typer.TyperException, words: Sequence[str]) -> str:
    """Return typer's message as one line that names the option first and ends with what to write, or the help."""
    message = error.format_message() if hasattr(error, "format_message") else str(error)
    message = " ".join(message.split()).rstrip(".")
    message = re.sub(r"^Invalid value for '?([^':]+)'?: Input", r"\1: input", message)
    message = message.replace(", unable to parse string as an integer", "").replace(
        ", unable to parse string as a number", ""
    )
    names = [item.name or item.callback.__name__ for item in app.registered_commands if item.callback is not None]
    command = f" {words[0]}" if words and words[0] in names else ""
    similar = ""
    if no_option := re.match(r"No such option: (\S+)(?: \(Possible options: (.*)\))?", message):
        context = getattr(error, "ctx", None)
        known = {option for item in context.command.params for option in item.opts} if context is not None else set()
        if hint := suggest_fix(no_option[1], words, known):
            return f"{find_option(no_option[1], words)[0]}: no such option; write {hint}"
        similar = f" (similar: {no_option[2]})" if no_option[2] else ""
        message = f"{no_option[1]}: no such option{similar}"
    is_missing = message == "Missing option '--dataset'" or "unexpected extra argument" in message
    if is_missing and words[0] in ("check", "prepare") and len(words) > 1 and not words[1].startswith("-"):
        return f"missing option '--dataset'; write --dataset {suggest_path(words[1])}"
    if message.startswith("--seeds: ") and "," in (names_of_seeds := find_option("--seeds", words)[1]):
        return f"--seeds: expects their number; write --seed {names_of_seeds}"
    unknown = re.match(r"No such command '(.*?)'|Got unexpected extra argument\S* \((\S+).*\)", message)
    if unknown:
        word = unknown[1] or unknown[2]
        what = "unknown command" if unknown[1] else "unexpected argument"
        if hint := suggest_fix(word, words, names):
            return f"{what} '{word}'; write {hint}"
        end = propose_name(word, names) if unknown[1] else "options begin with --"
        message = f"{what} '{word}'; {end}"
    return f"{message[0].lower()}{message[1:]}; see `python bench.py{command} --help`"


def _raise_interrupt(number: int, frame: object) -> None:
    raise KeyboardInterrupt
