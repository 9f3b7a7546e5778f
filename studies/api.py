"""Python interface of the command line, for notebooks and scripts: `from studies.api import run, study, records`.

Keywords are the options of `python bench.py --help`, with `_` for `-`; the runs, their keys and their files are the
same. Errors are raised as BenchError: ConfigError for names and values, DataError for data, StoreError for files. After
KeyboardInterrupt the same call resumes.
"""

from __future__ import annotations

import json
import os
import sys
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import fields, replace
from pathlib import Path
from typing import Any, get_type_hints

import pandas
from rich.console import Console

from bench.config import parse_overrides, propose_name
from bench.errors import ConfigError, StoreError
from bench.processes import check_main_guard
from bench.record import Failure, Record, RunFolder, read_dataset_info
from bench.requests import StoredRequest, format_call, read_requests
from bench.tasks import ACCURACY, Metric
from bench.types import DataIssue
from datasets.registry import DATASETS, is_path
from studies.cli.options import (
    DEFAULT_RESULTS,
    RunOptions,
    check_device_name,
    complete_options,
    complete_study_options,
)
from studies.cli.predict import find_unreadable, make_row, run_model
from studies.cli.progress import TerminalReporter, print_unavailable
from studies.cli.report import write_report_folder
from studies.cli.run_study import FinishedPlan, FinishedRuns, execute_methods, execute_study, print_outcome
from studies.plan import PlannedRun
from studies.requests import find_arm, load_plugins
from studies.select import read_records

Names = str | Path | Sequence[str | Path]
"""A name, several separated by commas, or a list of names; data sets also as paths."""
Files = str | Path | Sequence[str | Path] | None
"""A file, or a list of files."""
COMMAND_ONLY = {
    "config_file",
    "dry_run",
    "json_file",
    "typed",
    "plugins",
}  # fields of RunOptions without a use in Python
STUDY_ONLY = {"shard", "retries"}
OWN_KEYWORDS = {"method", "dataset", "datasets", "seeds", "seed", "fold", "protocol", "fresh", "tuning", "quiet"}
"""Keywords of `run` and `study` that are not in RunOptions."""
FIRST_COLUMNS = (
    *("key", "method", "arm", "dataset", "data", "fold", "seed", "preset", "protocol", "limit", "pretrain_on", "study"),
    *("metric", "val", "test", "seconds", "error", "version", "plugin", "schema", "commit"),
)


def run(
    method: Names = "mart",
    dataset: Names = "ekman6",
    *,
    seeds: int | Sequence[int] = 1,
    seed: int = 0,
    preset: str = "quick",
    settings: Mapping[str, object] | None = None,
    data: str | Path | None = None,
    fold: int | None = None,
    protocol: str = "clean",
    trials: int | None = None,
    hours: float | None = None,
    target: float | None = None,
    workers: int = 1,
    fresh: bool = False,
    results: str | Path | None = None,
    quiet: bool = True,
    **more: Any,
) -> pandas.DataFrame:
    """Train methods on data sets and return one row a run, failed runs included; the columns are those of `records`.

    Args:
        seeds: number of seeds from `seed` on, or a list of seeds.
        settings: config values, as for `--set`.
        results: folder of the records. Default: $BENCH_RESULTS, else `results` in the checkout.
        quiet: print one line a run; otherwise print what the command prints.
        more: other options of the command: task, limit, pretrain_on, plugin (a file or a list), search, sampler,
            pruner, trial_seeds, device, threads, devices, loaders, launcher, storage, weights, tracking_uri.

    Example: run("mart,mbt", seeds=3, settings={"epochs": 5})
    """
    if more.keys() & STUDY_ONLY:
        raise ConfigError(f"{', '.join(sorted(more.keys() & STUDY_ONLY))}: only possible with a study")
    options = _make_options(
        preset=preset,
        settings=settings,
        data=data,
        trials=trials,
        hours=hours,
        target=target,
        workers=workers,
        results=results,
        **more,
    )
    methods, datasets, chosen = _join(method), _join(dataset), _list_seeds(seeds, seed)
    call = _format_call(
        options, "run", method=methods, dataset=datasets, seeds=list(chosen), fold=fold, protocol=protocol
    )
    options = complete_options(options, methods, datasets, call)
    with _open_reporter(quiet) as screen:
        done = execute_methods(methods, datasets, fold, protocol, chosen, fresh, options, screen)
    return _finish(done, options, quiet)


def study(
    name: str,
    *,
    datasets: Names = "",
    seeds: int | Sequence[int] = 5,
    seed: int = 0,
    preset: str = "quick",
    settings: Mapping[str, object] | None = None,
    data: str | Path | None = None,
    tuning: str = "",
    trials: int | None = None,
    hours: float | None = None,
    target: float | None = None,
    workers: int = 1,
    results: str | Path | None = None,
    quiet: bool = True,
    **more: Any,
) -> pandas.DataFrame:
    """Run a named study, or resume it, and return one row a run; the columns are those of `records`.

    The arguments are those of `run`, and in `more` also shard and retries. As for the command, weights are not saved
    unless weights=True. Runs whose records are on other machines have no row.

    Example: study("ablation", seeds=10, trials=20, workers=2)
    """
    options = _make_options(
        preset=preset,
        settings=settings,
        data=data,
        trials=trials,
        hours=hours,
        target=target,
        workers=workers,
        results=results,
        **{"weights": False, **more},
    )
    named, chosen = _join(datasets), _list_seeds(seeds, seed)
    call = _format_call(options, "study", name=name, datasets=named, seeds=list(chosen), tuning=tuning)
    options = complete_study_options(options, name, named, call)
    with _open_reporter(quiet) as screen:
        done = execute_study(name, named, chosen, tuning, options, screen)
    return _finish(done, options, quiet)


def report(
    name: str = "",
    *,
    out: str | Path | None = None,
    runs: str = "",
    preset: str = "",
    settings: Mapping[str, object] | None = None,
    pdf: bool = False,
    plugin: Files = None,
    results: str | Path | None = None,
    tracking_uri: str | None = None,
    quiet: bool = True,
) -> Path:
    """Write a report of a study, or of the runs selected by a filter, and return the file of its page.

    As for the command, the plugins of methods in it are given again.

    Example: report(runs="dataset=ekman6,arm=mart*")
    """
    query = {"name": name, "runs": runs, "preset": preset, "settings": _format_settings(settings)}
    folder, plugins = Path(out) if out is not None else None, _list_files(plugin)
    return write_report_folder(_make_console(quiet), query, folder, pdf, _find_results(results), tracking_uri, plugins)


def predict(
    videos: str | Path | Sequence[str | Path],
    *,
    run: str | None = None,
    transcript: str | Path | None = None,
    transcribe: str | Path | None = None,
    out: str | Path | None = None,
    device: str = "",
    plugin: Files = None,
    results: str | Path | None = None,
    quiet: bool = True,
) -> pandas.DataFrame:
    """Predict video or audio files with a trained model and return one row a file; figures are saved to `out`.

    Columns: file, run, method, dataset, data, emotion, sentiment, seconds, a column `probability/<class>` for each
    class (for scores `score/<target>`), and as in the file of `--json` segments, curve, cues, present, unused, problems
    and error. Raises MediaError if no file can be read.

    Example: predict(["clip.mp4", "other.flv"])
    """
    files = _list_files(videos)
    if not files:
        raise ConfigError("videos: no file given; name at least one")
    check_device_name(device)
    load_plugins(_list_files(plugin))
    words, recogniser, folder = (Path(path) if path is not None else None for path in (transcript, transcribe, out))
    model, file_results = run_model(
        _make_console(quiet), files, run, words, recogniser, folder, None, _find_results(results), device
    )
    find_unreadable(file_results)
    rows = []
    for path, result in file_results:
        row = make_row(model, path, result)
        prefix, key = ("probability", "probabilities") if "probabilities" in row else ("score", "scores")
        values = row.pop(key) or dict.fromkeys(model.info.task.output_names)
        rest = {column: row.pop(column) for column in ("segments", "curve", "cues", "present", "unused", "problems")}
        rest["error"] = row.pop("error")
        rows.append({**row, **{f"{prefix}/{label}": value for label, value in values.items()}, **rest})
    return pandas.DataFrame(rows)


def records(results: str | Path | None = None) -> pandas.DataFrame:
    """Return one row for each finished or failed run of a results folder, in order of key; trials have none.

    Columns: key, method, arm, dataset, data (real or sample), fold, seed, preset, protocol, limit, pretrain_on, study
    (those that requested the run), metric (the primary one of the data set) and its value on val and test, seconds,
    error, version (of the method), plugin (the file of a method that is not from this repository), schema, commit,
    every score (`test/<metric>`, ...), every note (`note/<name>`) and every config value (`config/<field>`). A record
    that cannot be read is skipped with a warning.
    """
    folder = _find_results(results)
    if not folder.is_dir():
        raise StoreError(f"results: no such folder: '{folder}'; name the folder of a command's --results")
    found, skipped = read_records(folder)
    for line in skipped:
        warnings.warn(line, stacklevel=2)
    return _make_frame(
        [_make_record_row(stored.record, RunFolder(stored.path.parent), stored.requests) for stored in found]
    )


def _finish(done: FinishedRuns | FinishedPlan, options: RunOptions, quiet: bool) -> pandas.DataFrame:
    """Print the results unless quiet, raise the error that ended the runs early, and return the rows."""
    if not quiet:
        print_outcome(Console(), done, options)
    elif isinstance(done, FinishedRuns) and done.error is not None:
        raise done.error
    elif reason := done.environment.store.unavailable_reason:
        print_unavailable(_make_line_console(), reason)
    rows = []
    for record in _list_outcomes(done):
        if isinstance(record, Record):
            folder = RunFolder(done.environment.results / "runs" / record.key)
            rows.append(_make_record_row(record, folder, read_requests(folder)[0]))
        else:
            rows.append(_make_failed_row(*record, options.preset))
    return _make_frame(rows)


def _list_outcomes(done: FinishedRuns | FinishedPlan) -> Iterator[Record | tuple[PlannedRun, Failure]]:
    """Yield the record of each run, under the arm and preset of the request; a run that failed before has none."""
    if isinstance(done, FinishedRuns):
        for request, outcome in zip(done.requests, done.outcomes, strict=False):
            yield replace(outcome.record, arm=request.arm, preset=request.preset)
        return
    scheduler, preset = done.scheduler, done.scheduler.plan.request.preset
    found = {run: folder.read_record() for run, folder in scheduler.iterate_done() if folder is not None}
    found |= dict(scheduler.find_failed_records())
    for run in scheduler.plan.runs:
        record = found.get(run)
        if record is not None:
            yield replace(record, arm=run.arm, preset=preset)
        elif run in scheduler.failed_runs:
            yield run, scheduler.failed_runs[run]


def _make_record_row(record: Record, folder: RunFolder, requests: Sequence[StoredRequest]) -> dict[str, Any]:
    spec, metric = record.spec, _find_metric(record, folder)
    return {
        "key": record.key,
        "method": spec.method,
        "arm": record.arm,
        "dataset": spec.dataset,
        "data": spec.data,
        "fold": spec.fold,
        "seed": spec.seed,
        "preset": record.preset,
        "protocol": spec.protocol,
        "limit": spec.limit,
        "pretrain_on": spec.pretrain_on.dataset if spec.pretrain_on is not None else None,
        "study": ", ".join(dict.fromkeys(request.study for request in requests if request.study)),
        "metric": metric.name,
        "val": record.scores.get(f"val/{metric.name}"),
        "test": record.scores.get(f"test/{metric.name}"),
        "seconds": record.compute_seconds,
        "error": f"{record.error.kind}: {record.error.message}" if record.error is not None else None,
        "version": spec.version,
        "plugin": record.provenance.get("plugin"),
        "schema": spec.schema,
        "commit": record.provenance.get("commit"),
        **record.scores,
        **{f"note/{name}": value for name, value in record.notes.items()},
        **{f"config/{name}": value for name, value in spec.config.items()},
    }


def _make_failed_row(planned: PlannedRun, failure: Failure, preset: str) -> dict[str, Any]:
    """Return the row of a run without a record, such as one whose data are missing."""
    return {
        "method": find_arm(planned.arm).method.name,
        "arm": planned.arm,
        "dataset": planned.dataset,
        "fold": planned.fold,
        "seed": planned.seed,
        "preset": preset,
        "protocol": planned.protocol,
        "error": f"{failure.kind}: {failure.message}",
    }


def _find_metric(record: Record, folder: RunFolder) -> Metric:
    """Return the primary metric of a run's data set; a failed run on custom data does not store its own."""
    try:
        info = read_dataset_info(folder.path)
    except StoreError:
        info = None
    if info is None and record.spec.dataset in DATASETS:
        info = DATASETS[record.spec.dataset].info
    return info.task.primary if info is not None else ACCURACY


def _make_frame(rows: Sequence[Mapping[str, Any]]) -> pandas.DataFrame:
    """Return rows as a table: first what identifies a run, then its scores, notes and config values."""
    names = list(dict.fromkeys([*FIRST_COLUMNS, *(name for row in rows for name in row)]))
    names.sort(key=lambda name: (name.startswith("config/"), name.startswith("note/")))
    return pandas.DataFrame(rows, columns=names)


def _make_options(**given: Any) -> RunOptions:
    """Return the options of a call. Raises ConfigError for an unknown keyword or a value below its minimum."""
    check_main_guard()
    known = {field.name for field in fields(RunOptions)} - COMMAND_ONLY
    if unknown := next((name for name in given if name not in known), None):
        raise ConfigError(f"unknown keyword '{unknown}'; {propose_name(unknown, known | OWN_KEYWORDS)}")
    hints = get_type_hints(RunOptions, include_extras=True)
    for name, value in given.items():
        least = next((option.min for option in getattr(hints[name], "__metadata__", ())), None)
        is_number = isinstance(value, int | float) and not isinstance(value, bool)
        if least is not None and value is not None and not (is_number and value >= least):
            raise ConfigError(f"{name}: expected a number of at least {least}, got {value!r}")
    data = Path(given["data"]) if given["data"] is not None else None
    plugin = _list_files(given.get("plugin"))
    settings, results = _format_settings(given["settings"]), _find_results(given["results"])
    return RunOptions(**{**given, "data": data, "settings": settings, "plugin": plugin or None, "results": results})


def _format_call(options: RunOptions, function: str, /, **own: Any) -> str:
    """Return the text of a call, which is stored with each run: its arguments, and the options that were changed."""
    arguments = {key: value for key, value in own.items() if value not in (None, "")}
    for field in fields(RunOptions):
        value = getattr(options, field.name)
        if value != field.default and value not in (None, "", []) and field.name != "results":
            arguments[field.name] = parse_overrides(value) if field.name == "settings" else _write_paths(value)
    return format_call(function, arguments)


def _list_seeds(seeds: int | Sequence[int], first: int) -> tuple[int, ...]:
    """Return `seeds` seeds from `first` on, or the listed ones without duplicates. Raises ConfigError for others."""
    listed = range(first, first + int(seeds)) if isinstance(seeds, int) else seeds
    if not isinstance(seeds, int) and first:
        raise ConfigError("seed: counts from it only if seeds is a number; omit seed, or list all in seeds")
    chosen = tuple(dict.fromkeys(listed))
    if not chosen or any(isinstance(number, bool) or not isinstance(number, int) or number < 0 for number in chosen):
        raise ConfigError(f"seeds: expected a number from 1 on or a list of seeds from 0 on, got {seeds!r}")
    return chosen


def _write_paths(value: Any) -> Any:
    """Return a value whose paths, alone or in a list, are texts."""
    if isinstance(value, list):
        return [_write_paths(item) for item in value]
    return str(value) if isinstance(value, Path) else value


def _list_files(files: Files) -> list[Path]:
    return [Path(file) for file in ([files] if isinstance(files, str | Path) else files or ())]


def _format_settings(settings: Mapping[str, object] | None) -> list[str]:
    """Return config values as `--set` takes them."""
    texts = {
        name: str(value) if isinstance(value, str | Path) else json.dumps(value, default=str)
        for name, value in (settings or {}).items()
    }
    return [f"{name}={text}" for name, text in texts.items()]


def _join(names: Names) -> str:
    """Return names separated by commas; a Path is written so that it is not taken for a name of the registry."""
    several = [names] if isinstance(names, str | Path) else names
    texts = [os.fspath(name) for name in several]
    return ",".join(
        f"./{text}" if isinstance(name, Path) and not is_path(text) else text
        for name, text in zip(several, texts, strict=True)
    )


def _find_results(results: str | Path | None) -> Path:
    return Path(results) if results is not None else Path(os.environ.get("BENCH_RESULTS") or DEFAULT_RESULTS)


def _make_console(quiet: bool) -> Console:
    return Console(quiet=True, force_terminal=False, force_jupyter=False) if quiet else Console()


def _make_line_console() -> Console:
    """Return a console that prints plain lines, also in a notebook."""
    return Console(file=sys.stdout, force_terminal=False, force_jupyter=False, no_color=True)


@contextmanager
def _open_reporter(quiet: bool) -> Iterator[TerminalReporter]:
    with _LineReporter() if quiet else TerminalReporter(Console()) as screen:
        yield screen


class _LineReporter(TerminalReporter):
    """Reporter that prints a line for each run, notice and minute of preparing clips, and nothing for an epoch."""

    def __init__(self) -> None:
        super().__init__(_make_line_console())
        self._title = ""

    def start_run(self, title: str) -> None:
        """Remember the title of a run for the lines that follow."""
        with self._silence():
            super().start_run(title)
        self._title = title

    def report_epoch(self, *args: Any, **kwargs: Any) -> None:
        """Print nothing."""
        with self._silence():
            super().report_epoch(*args, **kwargs)

    def report_data(self, corpus_sample: bool, problems: Sequence[DataIssue]) -> None:
        """Print once that the built-in sample is used; `records` of runs list the issues of data."""
        if corpus_sample and "sample" not in self._printed:
            self._printed.add("sample")
            self.print_line("BUILT-IN SAMPLE: no data set was found; the scores do not measure a method on real videos")

    def notify(self, text: str) -> None:
        """Print a notice about the current run."""
        self.print_line(f"{self._title}: {text}" if self._title else text)

    @contextmanager
    def _silence(self) -> Iterator[None]:
        self.console.quiet = True
        try:
            yield
        finally:
            self.console.quiet = False
