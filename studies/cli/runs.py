"""The command `runs`: list finished, failed, running and interrupted runs, or show one of them.

It only reads files of the results folder, and imports no large library.
"""

from __future__ import annotations

import json
import shlex
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from itertools import zip_longest
from pathlib import Path
from textwrap import wrap
from typing import Any, Literal, get_args

from rich.cells import cell_len
from rich.console import Console
from rich.text import Text

from bench.config import get_or_suggest, propose_name
from bench.errors import ConfigError, StoreError
from bench.files import atomic_write, is_plain_file
from bench.record import (
    RECORD_FILE,
    SCHEMA,
    Record,
    RunFolder,
    RunSpec,
    StartedRun,
    is_run_key,
    read_dataset_info,
    read_record,
)
from bench.requests import StoredRequest, read_requests
from bench.tasks import ACCURACY, OTHER_METRICS, Metric
from bench.timing import OVERHEAD
from bench.types import DatasetInfo
from datasets.registry import DATASETS
from reports.formats import make_printable, plural
from reports.formats.plain import FittedTable
from studies.cli.options import DEFAULT_RESULTS, EXIT_DONE, check_json
from studies.cli.progress import print_line, print_table
from studies.requests import RunFilter, find_changes, get_preset_values, parse_filter

State = Literal["finished", "failed", "running", "interrupted"]
STATES: tuple[State, ...] = get_args(State)
STYLES: dict[State, str] = {"finished": "", "failed": "red", "running": "green", "interrupted": "yellow"}
MIN_KEY = 8  # digits of a key that are shown, or as many as make all keys different
MAX_KEYS_SHOWN = 5  # run keys listed in an error
MAX_FAULTS_SHOWN = 5  # records that cannot be read
MAX_SHOWN = 10  # requests and data issues of one run
TRACEBACK_LINES = 12
MAX_LOG_BYTES = 4000  # of the end of a log
LABEL_WIDTH = 10  # columns to the left of what is known about one run
MIN_FOLDED = 14  # columns of a name that is folded because the list is too wide
FOLDED, NUMBERS = ("method", "data set"), ("fold", "seed", "test", "age")  # columns that fold; that are right-aligned
UNKNOWN, NO_VALUE = "?", "-"
TIME_UNITS = ((86400.0, "d"), (3600.0, "h"), (60.0, "min"))


@dataclass(frozen=True)
class StoredRun:
    """What the folder of a run holds. Without a record, arm and spec are those that its process wrote at its start."""

    folder: RunFolder
    state: State
    time: float  # when it finished or failed, started if it is running, or wrote its last checkpoint
    record: Record | None = None
    started: StartedRun | None = None

    @property
    def key(self) -> str:
        """Return the run key."""
        return self.folder.path.name

    @property
    def source(self) -> Record | StartedRun | None:
        """Return what names the run's arm, preset and spec; None if nothing does."""
        return self.record or self.started

    @property
    def spec(self) -> RunSpec | None:
        """Return the spec, None if it is unknown."""
        return self.source.spec if self.source is not None else None

    @property
    def is_trial(self) -> bool:
        """Return whether the run is a trial of a search."""
        return self.spec is not None and self.spec.stage == "trial"

    def matches(self, only: RunFilter) -> bool:
        """Return whether the run matches a filter; one without a known spec is only found by its key."""
        if self.source is None or self.spec is None:
            return all(name == "key" for name, _ in only.terms) and only.may_match(key=self.key)
        spec = {name: str(value) for name, value in vars(self.spec).items()}
        return only.may_match(**{**spec, "arm": self.source.arm, "preset": self.source.preset, "key": self.key})


def show_runs(
    console: Console,
    key: str,
    runs: str,
    state: str,
    last: int | None,
    trials: bool,
    json_file: Path | None,
    results: Path,
) -> int:
    """Print the runs of a results folder, newest first, or the one whose key begins with `key`; return the exit code.

    Raises ConfigError for an invalid filter, state or key.
    """
    only = parse_filter(runs) if runs else RunFilter()
    wanted = get_or_suggest(state, {name: name for name in STATES}, "state") if state else None
    if "=" in key:
        raise ConfigError(f"runs: '{key}' is not a run key; to filter runs, write --runs {key}")
    check_json(json_file)
    folders = _find_folders(results)
    if key:
        run = _read_run(_find_folder(key, folders, results))
        if run is None:
            raise StoreError(f"run {key}: its folder is empty")
        _print_run(console, run)
        _write_json(json_file, [run])
        return EXIT_DONE
    shown: list[StoredRun] = []
    faults: list[str] = []
    hidden = 0
    for folder in sorted(folders, key=_find_time, reverse=True):
        try:
            run = _read_run(folder)
        except (StoreError, OSError) as error:
            faults.append(str(error))
            continue
        if run is None or not run.matches(only) or wanted not in (None, run.state):
            continue
        if run.is_trial and not trials:
            hidden += 1
        elif last is None or len(shown) < last:
            shown.append(run)
        else:
            break
    shown.sort(key=lambda run: run.time, reverse=True)
    _print_list(console, shown, hidden, [folder.path.name for folder in folders], results)
    for line in faults[:MAX_FAULTS_SHOWN]:
        print_line(console, f"not listed: {make_printable(line)}", "yellow")
    if len(faults) > MAX_FAULTS_SHOWN:
        print_line(console, f"... and {len(faults) - MAX_FAULTS_SHOWN} more records that cannot be read", "yellow")
    _write_json(json_file, shown)
    return EXIT_DONE


def _find_folders(results: Path) -> list[RunFolder]:
    return [RunFolder(path) for path in (results / "runs").glob("*/") if is_run_key(path.name)]


def _find_folder(key: str, folders: Sequence[RunFolder], results: Path) -> RunFolder:
    """Return the folder whose key begins with `key`. Raises ConfigError if there is none, or more than one."""
    found = sorted(folder.path.name for folder in folders if folder.path.name.startswith(key))
    if not folders:
        raise ConfigError(f"runs: no run in {results / 'runs'}; name another folder with --results")
    if not found:
        keys = [folder.path.name for folder in sorted(folders, key=_find_time, reverse=True)]
        near = get_close_matches(key, keys, n=1, cutoff=0.6)
        raise ConfigError(f"runs: unknown run '{key}'; {propose_name(key, near or keys[:MAX_KEYS_SHOWN])}")
    if len(found) > 1:
        shown = ", ".join(found[:MAX_KEYS_SHOWN])
        raise ConfigError(f"runs: '{key}' matches {len(found)} runs; give more of the key: {shown}")
    return RunFolder(results / "runs" / found[0])


def _find_time(folder: RunFolder) -> float:
    """Return when a folder was last changed, as far as its record or the folder itself shows."""
    for path in (folder.path / RECORD_FILE, folder.checkpoints, folder.path):
        try:
            return path.stat().st_mtime
        except OSError:
            continue
    return 0.0


def _read_run(folder: RunFolder) -> StoredRun | None:
    """Read the state of a run, None for an empty folder. Raises StoreError for a record that cannot be read."""
    path = folder.path / RECORD_FILE
    if path.exists():
        return StoredRun(folder, "finished", path.stat().st_mtime, read_record(path))
    started, failure = folder.read_start(), folder.find_last_failure()
    since = max((_get_mtime(each) for each in folder.checkpoints.glob("*")), default=0.0)
    if folder.is_locked():
        return StoredRun(folder, "running", _get_mtime(folder.start_file) or since, started=started)
    if failure is not None and (since <= _get_mtime(failure) or started is None):
        return StoredRun(folder, "failed", _get_mtime(failure), read_record(failure))
    if not any(folder.path.iterdir()):
        return None
    return StoredRun(folder, "interrupted", since or _get_mtime(folder.path), started=started)


def _get_mtime(path: Path) -> float:
    """Return when a file was changed, 0 if it does not exist (any more)."""
    try:
        return path.stat().st_mtime
    except OSError:
        return 0.0


def _print_list(console: Console, shown: Sequence[StoredRun], hidden: int, keys: Sequence[str], results: Path) -> None:
    """Print a table of runs, and how many there are of each state."""
    if shown:
        console.print(_make_list(shown, keys, console.width), soft_wrap=True)
    counts = Counter(run.state for run in shown)
    parts = ", ".join(f"{counts[state]} {state}" for state in STATES if counts[state])
    more = f"; {plural(hidden, 'trial')} of searches not shown, see --trials" if hidden else ""
    where = results / "runs"
    if shown:
        presets = _list_presets(shown)
        preset = f", preset {presets[0]}" if len(presets) == 1 else ""
        metrics = {_find_metric(run).title for run in shown if run.record is not None and run.record.scores}
        metric = f", scores: {metrics.pop()}" if len(metrics) == 1 else ""
        print_line(console, f"{plural(len(shown), 'run')} in {where}: {parts}{preset}{metric}{more}")
        first = next((run for state in ("failed", "running") for run in shown if run.state == state), shown[0])
        again = ["python", "bench.py", "runs", first.key[: _find_width(keys)]]
        again += ["--results", str(results)] if results != DEFAULT_RESULTS else []
        print_line(console, f"details of one: {shlex.join(again)}")
    elif keys:
        print_line(console, f"no run in {where} matches{more}")
    else:
        print_line(console, f"no run in {where}; start one: python bench.py --method mart --dataset ekman6")


def _find_width(keys: Sequence[str]) -> int:
    """Return how many first digits make the keys different."""
    return next((width for width in range(MIN_KEY, 20) if len({key[:width] for key in keys}) == len(set(keys))), 20)


def _make_list(shown: Sequence[StoredRun], keys: Sequence[str], width: int) -> Text:
    """Return a heading and a line for each run, newest first, that fit into `width` columns if names can be folded.

    This is no table of rich, which would take 3 s for a thousand runs.
    """
    now, digits = time.time(), _find_width(keys)
    named = len({_find_metric(run).title for run in shown if run.record is not None}) > 1
    columns = {
        "run": [run.key[:digits] for run in shown],
        "method": [_describe_method(run) for run in shown],
        "data set": [UNKNOWN if run.spec is None else _describe_data(run.spec) for run in shown],
        "fold": [UNKNOWN if run.spec is None else str(run.spec.fold) for run in shown],
        "seed": [UNKNOWN if run.spec is None else str(run.spec.seed) for run in shown],
        "preset": [UNKNOWN if run.source is None else run.source.preset for run in shown],
        "state": [_describe_state(run) for run in shown],
        "test": [_format_score(run, named) for run in shown],
        "age": [_format_age(now - run.time) for run in shown],
    }
    if not any(run.spec is not None and run.spec.fold for run in shown):
        del columns["fold"]
    if len(_list_presets(shown)) == 1:
        del columns["preset"]  # named below the list
    columns = {name: [make_printable(cell) for cell in cells] for name, cells in columns.items()}
    widths = {name: max(map(cell_len, [name, *cells])) for name, cells in columns.items()}
    for name in FOLDED:
        excess = sum(widths.values()) + len(widths) - 1 - width
        widths[name] = max(min(widths[name], MIN_FOLDED), widths[name] - max(0, excess))
    lines = [Text(_format_row(list(widths), widths), "bold")]
    rows = zip(shown, zip(*columns.values(), strict=True), strict=True)
    lines += [Text(_format_row(cells, widths), STYLES[run.state]) for run, cells in rows]
    return Text("\n").join(lines)


def _format_row(cells: Sequence[str], widths: Mapping[str, int]) -> str:
    """Return cells as one line, or several if one is wider than its column: names break at spaces and dashes."""
    parts = [
        wrap(cell, width) if cell_len(cell) > width else [cell]
        for cell, width in zip(cells, widths.values(), strict=True)
    ]
    lines = []
    for line in zip_longest(*parts, fillvalue=""):
        padded = []
        for (name, width), part in zip(widths.items(), line, strict=True):
            gap = " " * (width - cell_len(part))
            padded.append(gap + part if name in NUMBERS else part + gap)
        lines.append(" ".join(padded).rstrip())
    return "\n".join(lines)


def _list_presets(shown: Sequence[StoredRun]) -> list[str]:
    return sorted({run.source.preset for run in shown if run.source is not None})


def _describe_method(run: StoredRun) -> str:
    """Return the arm of a run, with the protocol if it is not the clean one."""
    if run.spec is None or run.source is None:
        return UNKNOWN
    more = [run.spec.protocol] * (run.spec.protocol != "clean") + ["trial"] * run.is_trial
    return f"{run.source.arm} ({', '.join(more)})" if more else run.source.arm


def _describe_data(spec: RunSpec) -> str:
    """Return the data set, with what sets its clips apart from those of other runs."""
    more = ["sample"] * (spec.data == "sample") + [f"{name}={value}" for name, value in spec.extras.items()]
    return f"{spec.dataset} ({', '.join(more)})" if more else spec.dataset


def _describe_state(run: StoredRun) -> str:
    """Return the state, with the version that made a record of an older schema."""
    is_old = run.spec is not None and run.spec.schema < SCHEMA
    return f"{run.state} (0.1)" if is_old else run.state


def _find_info(run: StoredRun) -> DatasetInfo | None:
    """Return the data set of a run: a registered one, or the one in its folder, if it can be read."""
    if run.spec is not None and run.spec.dataset in DATASETS:
        return DATASETS[run.spec.dataset].info
    try:
        return read_dataset_info(run.folder.path)
    except StoreError:
        return None


def _find_metric(run: StoredRun) -> Metric:
    """Return the primary metric of a run's data set; that of classes if the data set is not known."""
    info = _find_info(run)
    return ACCURACY if info is None else info.task.primary


def _format_score(run: StoredRun, named: bool) -> str:
    """Return the primary score on test, that on val for a trial, "-" without one; with its name if `named`."""
    if run.record is None:
        return NO_VALUE
    split, metric = "val" if run.is_trial else "test", _find_metric(run)
    value = run.record.scores.get(f"{split}/{metric.name}")
    if value is None:
        return NO_VALUE
    return f"{'val ' * run.is_trial}{metric.format_named(value) if named else metric.format(value)}"


def _format_age(seconds: float) -> str:
    """Return how long ago something was: "3 d", "2 h", "5 min", "12 s"."""
    for size, unit in TIME_UNITS:
        if seconds >= size:
            return f"{seconds / size:.0f} {unit}"
    return f"{max(0.0, seconds):.0f} s"


def _print_run(console: Console, run: StoredRun) -> None:
    """Print all that is known about one run."""
    for label, text in _describe_run(run):
        print_line(console, f"{label:<{LABEL_WIDTH}} {make_printable(text)}")
    record = run.record
    if record is not None and record.scores:
        print_line(console, "")
        print_table(console, _make_score_table(run, record))
    if record is not None and record.error is not None:
        lines = record.error.traceback.rstrip().splitlines()[-TRACEBACK_LINES:]
        print_line(console, "")
        for line in lines or [f"{record.error.kind}: {record.error.message}"]:
            print_line(console, make_printable(line), "red")


def _describe_run(run: StoredRun) -> Iterator[tuple[str, str]]:
    """Yield the labelled lines on one run; lines that continue another have an empty label."""
    spec, source, record = run.spec, run.source, run.record
    yield "run", run.key
    yield "folder", str(run.folder.path)
    age = f"{_format_age(time.time() - run.time)}"
    yield "state", f"{_describe_state(run)}, {f'for {age}' if run.state == 'running' else f'{age} ago'}"
    if spec is None or source is None:
        yield "spec", "unknown; the process that started it wrote none"
    else:
        yield (
            "method",
            f"{source.arm}"
            + (
                f" ({spec.method}, version {spec.version})"
                if source.arm != spec.method
                else f", version {spec.version}"
            ),
        )
        yield "data set", f"{_describe_data(spec)}, fold {spec.fold}, seed {spec.seed}"
        stop = f", trained for {plural(spec.stop, 'epoch')}" if spec.stop is not None else ""
        yield "protocol", f"{spec.protocol}{', a trial of a search' if run.is_trial else ''}{stop}"
        yield "preset", f"{source.preset}; {_describe_changes(source.arm, source.preset, spec)}"
    if record is not None:
        yield from _describe_record(record)
    else:
        yield from _describe_progress(run)
    yield from _describe_requests(run)
    files = (
        list(record.files)
        if record is not None and record.files
        else sorted(path.name for path in run.folder.path.iterdir())
    )
    yield "files", ", ".join(files)
    if record is not None and record.error is not None:
        yield "error", f"{record.error.kind}: {record.error.message}"
    if run.state in ("interrupted", "failed") and not run.is_trial:
        yield (
            "next",
            "give its command again" + (": it resumes after its last checkpoint" if run.state == "interrupted" else ""),
        )


def _describe_changes(arm: str, preset: str, spec: RunSpec) -> str:
    """Return the config values that differ from those of the arm under the preset."""
    base, changes = get_preset_values(arm, preset), find_changes(arm, preset, spec.config)
    if base is None or changes is None:
        return "values: " + ", ".join(f"{name}={value}" for name, value in sorted(spec.config.items()))
    parts = []
    for name, value in changes:
        value = f"sha256 {spec.weights[name][:12]}" if name in spec.weights else value
        parts.append(f"{name}={value} (preset: {str(base[name]) or 'none'})")
    return ", ".join(parts) or "all values are those of the preset"


def _describe_record(record: Record) -> Iterator[tuple[str, str]]:
    """Yield what a record says next to its spec and scores."""
    if record.chosen is not None:
        yield "epoch", f"{record.chosen} was best on val"
    for name, use in record.stages.items():
        yield "stage", f"{name}: {use.key}, {use.seconds:.0f} s by {'another' if use.reused else 'this'} run"
    trained = {name: use.seconds for name, use in record.stages.items() if not use.reused}
    work = {name: took for name, took in record.seconds.items() if name not in OVERHEAD}
    yield "seconds", _describe_seconds({**trained, **work})
    yield "overhead", _describe_seconds({name: took for name, took in record.seconds.items() if name in OVERHEAD})
    facts = dict(record.provenance)
    commit = f"{str(facts.pop('commit', UNKNOWN))[:12]}{' with changes' if facts.pop('dirty', False) else ''}"
    yield "commit", commit
    machine = [
        f"{name} {facts.pop(name)}" for name in ("host", "device", "processor", "threads", "devices") if name in facts
    ]
    yield "machine", ", ".join(machine) or UNKNOWN
    yield "made with", ", ".join(f"{name} {value}" for name, value in facts.items()) or UNKNOWN
    kinds = Counter(problem.get("what", UNKNOWN) for problem in record.problems)
    if kinds:
        yield "data issues", ", ".join(f"{count} {kind}" for kind, count in sorted(kinds.items()))
    for problem in record.problems[:MAX_SHOWN]:
        yield "", ": ".join(problem.get(name, UNKNOWN) for name in ("what", "where", "why"))
    if len(record.problems) > MAX_SHOWN:
        yield "", f"... and {len(record.problems) - MAX_SHOWN} more"


def _describe_seconds(seconds: Mapping[str, float]) -> str:
    """Return "60 (pretrain 27, step 26, read 4)", the largest first, without those that round to 0."""
    spent = sorted(seconds.items(), key=lambda item: -item[1])
    parts = ", ".join(f"{name} {took:.0f}" for name, took in spent if round(took))
    return f"{sum(seconds.values()):.0f}" + (f" ({parts})" if parts else "")


def _describe_progress(run: StoredRun) -> Iterator[tuple[str, str]]:
    """Yield the checkpoints of a run without a record, and the last line of its log."""
    saved = sorted(run.folder.checkpoints.glob("*.pt"), key=_get_mtime)
    ages = [f"{path.stem} {_format_age(time.time() - _get_mtime(path))} ago" for path in saved]
    yield "saved", ", ".join(ages) or "no epoch yet"
    log = run.folder.path / "log"
    if is_plain_file(log):
        lines = log.read_bytes()[-MAX_LOG_BYTES:].decode(errors="replace").splitlines()
        yield "log", lines[-1] if lines else "empty"


def _describe_requests(run: StoredRun) -> Iterator[tuple[str, str]]:
    """Yield why a run was made: the studies and commands that requested it."""
    try:
        requests, notes = read_requests(run.folder)
    except StoreError as error:
        requests, notes = [], [str(error)]
    for request in requests[:MAX_SHOWN]:
        yield "requested", _describe_request(request)
        if request.command:
            yield "", request.command
    if len(requests) > MAX_SHOWN:
        yield "", f"... and {len(requests) - MAX_SHOWN} more"
    for note in notes:
        yield "", note


def _describe_request(request: StoredRequest) -> str:
    by = f"study {request.study}" if request.study else "command"
    tuned = ""
    if request.tuning != "none":
        tuned = f", values tuned for {request.tuned_by or request.arm} ({plural(request.tried, 'configuration')} tried)"
    return f"{request.time or 'at an unknown time'} by {by} as {request.arm}, preset {request.preset}{tuned}"


def _make_score_table(run: StoredRun, record: Record) -> FittedTable:
    """Return val and test scores, the main metrics first."""
    info = _find_info(run)
    task = info.task if info is not None else None
    known = [*(task.shown if task is not None else ()), *(task.extra if task is not None else ()), *OTHER_METRICS]
    metrics = {metric.name: metric for metric in reversed(known)}
    names = dict.fromkeys(metric.name for metric in known)
    names |= dict.fromkeys(name.partition("/")[2] for name in record.scores)
    table = FittedTable(box=None, pad_edge=False)
    table.add_column("score", no_wrap=True)
    for split in ("val", "test"):
        table.add_column(split, justify="right", no_wrap=True)
    for name in names:
        values = [record.scores.get(f"{split}/{name}") for split in ("val", "test")]
        if any(value is not None for value in values):
            metric = metrics.get(name, Metric(name, name.replace("/", " of ")))
            cells = [NO_VALUE if value is None else _format_value(metric, value) for value in values]
            table.add_row(*(Text(make_printable(cell)) for cell in (metric.title, *cells)))
    return table


def _format_value(metric: Metric, value: float) -> str:
    """Format a score; counts have no decimals."""
    return str(int(value)) if metric.scale == 1 and value == int(value) else metric.format(value)


def _write_json(file: Path | None, shown: Sequence[StoredRun]) -> None:
    """Write the runs as a list; what is not known of a run is null."""
    if file is not None:
        atomic_write(file, (json.dumps([_to_json(run) for run in shown], indent=1) + "\n").encode())


def _to_json(run: StoredRun) -> dict[str, Any]:
    """Return a run in the form that `--json` writes; a record has the fields of the `--json` of a run."""
    spec, source, record = run.spec, run.source, run.record
    row: dict[str, Any] = {"key": run.key, "state": run.state, "time": run.time, "folder": str(run.folder.path)}
    row["spec"] = None
    if spec is not None and source is not None:
        names = ("dataset", "fold", "seed", "protocol", "stage", "data", "schema", "config")
        row["spec"] = {"method": source.arm, "preset": source.preset} | {name: getattr(spec, name) for name in names}
    known = ("scores", "notes", "seconds", "provenance", "problems", "files")
    row |= {name: getattr(record, name) if record is not None else None for name in known}
    return row | {"error": vars(record.error) if record is not None and record.error is not None else None}
