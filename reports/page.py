"""The web page of a report: one self-contained file with sortable tables and the runs of every number.

The page holds the data of its runs as gzipped JSON in base64, which its script unpacks.
"""

from __future__ import annotations

import gzip
import hashlib
import json
from base64 import b64encode
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from math import isfinite
from typing import Any
from urllib.parse import quote, urlsplit

import numpy as np
from markupsafe import Markup
from scipy.special import softmax

from bench.artifacts import CURVES_FILE, PREDICTIONS_FILE, read_curves, read_predictions
from bench.errors import StoreError
from bench.files import sha256
from bench.record import RECORD_FILE, Failure
from bench.tasks import OTHER_METRICS, Metric
from bench.timing import sum_overhead_seconds
from reports.formats import make_printable, split_marks
from reports.formats.templates import ASSET_FOLDER, make_html_environment, read_style
from reports.runs import Run
from reports.types import RenderedFigure, Report

SCRIPTS = ("curves", "runs", "page")  # concatenated in this order

MAX_CURVE_POINTS = 100  # per curve; reports of many runs use fewer, but at least MIN_CURVE_POINTS
MIN_CURVE_POINTS, MAX_TOTAL_POINTS = 30, 40_000
MAX_PROBLEMS = 20  # listed per run; all are counted
TRACEBACK_HEAD, TRACEBACK_TAIL, MAX_LINE_CHARS = 6, 14, 400  # lines of a traceback, characters of a line

COLUMNS = ("curves", "epochs", "values", "clips", "predicted", "sure")
"""Fields stored by column, not by run: numbers of one kind next to each other compress to two thirds of the size."""

LIST_FIELDS = ("classes", "targets", "keys", "labels")
ClipLists = dict[tuple[tuple[str, ...], tuple[str, ...], tuple[str, ...], tuple[Any, ...]], int]
"""Classes, targets, clip keys and true classes or numbers -> index of this list in the page's data."""


def render_page(report: Report, shown: Mapping[str, RenderedFigure]) -> str:
    """Return the page as HTML. It loads nothing, escapes every name, and allows one script by its hash.

    `shown` maps names of figures to drawn figures. Curves and predictions are read from the folders of the runs.
    """
    return split_marks(render_page_marked(report, shown))[0]


def render_page_marked(report: Report, shown: Mapping[str, RenderedFigure]) -> str:
    """Return the page with marks around the cells of its tables."""
    script = join_scripts()
    return (
        make_html_environment()
        .get_template("report.html")
        .render(
            report=report,
            shown=shown,
            title=f"{report.title} (BUILT-IN SAMPLE)" if report.is_sample else report.title,
            counts=summarise_counts(report.runs),
            data=make_page_data(report),
            style=read_style(),
            script=Markup(script),
            script_sha256=b64encode(hashlib.sha256(script.encode()).digest()).decode(),
        )
    )


def join_scripts() -> str:
    """Return the script of the page, which is the same for all reports."""
    parts = "\n".join((ASSET_FOLDER / f"{name}.js").read_text() for name in SCRIPTS)
    return f'"use strict";\n(() => {{\n{parts}}})();\n'


def summarise_counts(runs: Sequence[Run]) -> str:
    """Return the sentence with the counts of methods, data sets, seeds and runs."""
    failed = sum(run.failed for run in runs)
    methods = _count_nouns(len({run.label for run in runs}), "method")
    datasets = _count_nouns(len({run.info.name for run in runs}), "data set")
    seeds = _count_nouns(len({run.record.spec.seed for run in runs}), "seed")
    finished = _count_nouns(len(runs) - failed, "finished run")
    lost = f" and {_count_nouns(failed, 'failed run')}" if failed else ""
    return f"{methods} on {datasets} with {seeds}: {finished}{lost}."


def _count_nouns(count: int, noun: str) -> str:
    return f"{count:,} {noun}{'' if count == 1 else 's'}"


def make_page_data(report: Report) -> str:
    """Return the data of the runs as gzipped JSON in base64. The same runs give the same bytes."""
    points = min(MAX_CURVE_POINTS, max(MIN_CURVE_POINTS, MAX_TOTAL_POINTS // max(1, len(report.runs))))
    names = Counter[str]()
    lists: ClipLists = {}
    runs, columns = [], []
    for run in sorted(report.runs, key=lambda run: run.failed):
        key = run.record.key
        names[key] += 1
        identity = key if names[key] == 1 else f"{key}~{names[key]}"
        runs.append({"id": identity, **_describe_run(run, report.tracking_url)})
        columns.append([*_list_curves(run, points), *_list_predictions(run, lists)])
    data = {
        "metrics": _make_all_printable(_list_metrics(report.runs)),
        "lists": [_make_all_printable(dict(zip(LIST_FIELDS, clips, strict=True))) for clips in lists],
        "runs": _make_all_printable(runs),
        "columns": dict(zip(COLUMNS, zip(*columns, strict=True), strict=False)),
    }
    text = json.dumps(data, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    return b64encode(gzip.compress(text.encode(), mtime=0)).decode()


def _list_metrics(runs: Sequence[Run]) -> list[dict[str, Any]]:
    """Return name, title, unit and direction of every score of the runs, those of tables first.

    A score of a class or a target, such as "recall/joy" or "mae/valence", has the unit of its metric.
    """
    shown = {metric.name: metric for run in runs for metric in run.info.task.shown}
    known = shown | {metric.name: metric for metric in OTHER_METRICS}
    stored = dict.fromkeys(name.partition("/")[2] for run in runs for name in run.record.scores)
    found = []
    for name in dict.fromkeys([*known, *stored]):
        base, _, part = name.partition("/")
        metric = known.get(base, Metric(base, base))
        metric = known.get(name, replace(metric, title=f"{metric.title} {part}"))
        unit = {"percent": metric.unit == "percent", "lower": metric.better == "min"}
        found.append({"name": name, "title": metric.title, **unit})
    return found


def _describe_run(run: Run, tracking_url: str) -> dict[str, Any]:
    record, spec = run.record, run.record.spec
    path = run.folder / (f"failed-{record.attempt}.json" if run.failed else RECORD_FILE)
    record_file = f"sha256 {sha256(path)}" if path.exists() else "not on this machine"
    tags = {
        "BUILT-IN SAMPLE": spec.data == "sample",
        "epoch selected on test": spec.protocol == "best-on-test",
        "uncommitted code": record.provenance.get("dirty") is True,
        "plugin": spec.plugin is not None,
    }
    prints = {"key": record.key, "split": spec.split, "content": spec.content, "record file": record_file}
    return {
        "key": record.key,
        "label": run.label,
        "title": run.info.title,
        "fold": spec.fold,
        "seed": spec.seed,
        "tags": [tag for tag, applies in tags.items() if applies],
        "facts": _list_facts(run),
        "chosen": record.chosen,
        "shown": [metric.name for metric in run.info.task.shown],
        "link": _make_link(run, tracking_url),
        "config": dict(sorted(spec.config.items())),
        "prints": {**prints, **spec.weights},
        "made": record.provenance,
        "scores": {name: _round_digits(value, 6) for name, value in record.scores.items()},
        "notes": {name: _round_digits(value, 6) for name, value in record.notes.items()},
        "problem_count": len(record.problems),
        "problems": [": ".join(map(str, problem.values())) for problem in record.problems[:MAX_PROBLEMS]],
        "error": _shorten_failure(record.error) if record.error else None,
    }


def _list_facts(run: Run) -> dict[str, str]:
    """Return the summary of a run as texts by name."""
    record, spec, provenance = run.record, run.record.spec, run.record.provenance
    uncommitted = ", with uncommitted changes" if provenance.get("dirty") is True else ""
    seconds = ", ".join(f"{name} {_format_seconds(value)}" for name, value in record.seconds.items())
    training, rest = record.compute_seconds, sum_overhead_seconds(record.seconds)
    return {
        "arm": run.arm,
        "method": f"{spec.method}, version {spec.version}"
        + (f", from the plugin {provenance.get('plugin', '')}, not from this commit" if spec.plugin else ""),
        "data set": f"{run.info.title} ({spec.dataset}{', BUILT-IN SAMPLE' if spec.data == 'sample' else ''})",
        "fold": str(spec.fold),
        "seed": str(spec.seed),
        "protocol": spec.protocol + ("" if spec.stop is None else f", stopped after {spec.stop} epochs"),
        "stage": spec.stage,
        "preset": record.preset + (f", set by hand: {run.hand_set}" if run.hand_set else ""),
        "hyper-parameters": run.tuning
        + (f", best of {run.search_trials} configurations" if run.search_trials > 1 else ""),
        "configurations tried": str(run.configurations_tried),
        "requested by": run.request,
        "selected epoch": "" if record.chosen is None else str(record.chosen),
        "attempt": str(record.attempt) if record.attempt > 1 else "",
        "duration": f"{_format_seconds(training)}, and {_format_seconds(rest)} of other work ({seconds})"
        if seconds
        else "",
        "commit": f"{provenance.get('commit', '')}{uncommitted}",
        "host": str(provenance.get("host") or ""),
        "device": str(provenance.get("device") or ""),
    }


def _format_seconds(value: float) -> str:
    return f"{value:,.0f} s" if value >= 100 else f"{value:.3g} s"


def _make_link(run: Run, tracking_url: str) -> str | None:
    """Return the address of a run in MLflow; None if the run is not in MLflow or MLflow has no web address."""
    if urlsplit(tracking_url).scheme not in ("http", "https") or not run.mlflow_experiment or not run.mlflow_run_id:
        return None
    experiment, identity = (
        quote(name, safe="", errors="backslashreplace") for name in (run.mlflow_experiment, run.mlflow_run_id)
    )
    return f"{tracking_url.rstrip('/')}/#/experiments/{experiment}/runs/{identity}"


def _shorten_failure(failure: Failure) -> dict[str, str]:
    lines = [
        line if len(line) <= MAX_LINE_CHARS else f"{line[:MAX_LINE_CHARS]} ..."
        for line in failure.traceback.splitlines()
    ]
    if len(lines) > TRACEBACK_HEAD + TRACEBACK_TAIL + 1:
        lines[TRACEBACK_HEAD:-TRACEBACK_TAIL] = [f"  ... {len(lines) - TRACEBACK_HEAD - TRACEBACK_TAIL} lines ..."]
    return {"kind": failure.kind, "message": failure.message[: 5 * MAX_LINE_CHARS], "traceback": "\n".join(lines)}


def _list_curves(run: Run, points: int) -> tuple[Any, list[list[int]], list[list[float | None]]]:
    """Return the stage and name of each curve, or a message if there are none; at most `points` epochs; the values."""
    try:
        stored = read_curves(run.folder)
    except StoreError:  # its message holds a path of this machine
        return f"{CURVES_FILE} cannot be read", [], []
    if not stored:
        exists = (run.folder / CURVES_FILE).exists()
        return "this method does not train in epochs" if exists else _explain_absence(run, CURVES_FILE), [], []
    curves: dict[tuple[str, str], dict[int, float]] = {}
    for stage, epoch, values in stored:
        for name, value in values.items():
            curves.setdefault((stage, name), {})[epoch] = value
    kept = [_pick_epochs(name, curve, points, run.record.chosen) for (_, name), curve in curves.items()]
    rounded = [
        [_round_digits(curve[epoch], 4) for epoch in epochs]
        for curve, epochs in zip(curves.values(), kept, strict=True)
    ]
    return _make_all_printable(list(curves)), kept, rounded


def _pick_epochs(name: str, curve: Mapping[int, float], points: int, chosen: int | None) -> list[int]:
    """Return at most `points` evenly spaced epochs, and the selected epoch of scores on val."""
    epochs = sorted(curve)
    even = np.linspace(0, len(epochs) - 1, min(len(epochs), points)).round().astype(int)
    best = {(chosen or 0) - 1} & set(epochs) if name.startswith("val/") else set()
    return sorted({epochs[place] for place in even} | best)


def _list_predictions(run: Run, lists: ClipLists) -> tuple[int | str, list[Any], list[int]]:
    """Return the index of the list of test clips, or a message if there are no predictions; the predicted classes;
    their probabilities in thousandths.

    A regression has the predicted numbers of each clip, and no probabilities.
    """
    if not (run.folder / PREDICTIONS_FILE).is_file():
        return _explain_absence(run, PREDICTIONS_FILE), [], []
    try:
        found = read_predictions(run.folder, run.info).get("test")
    except StoreError:
        return f"{PREDICTIONS_FILE} cannot be read", [], []
    if found is None:
        return f"{PREDICTIONS_FILE} has no test clips", [], []
    if not run.info.classes:
        truth = tuple(map(tuple, _round_numbers(found.targets)))
        place = lists.setdefault(((), run.info.task.output_names, found.keys, truth), len(lists))
        return place, _round_numbers(found.scores), []
    place = lists.setdefault((run.info.classes, (), found.keys, tuple(found.targets.tolist())), len(lists))
    sure = softmax(found.scores.astype(np.float64), axis=1)[np.arange(len(found.keys)), found.predicted]
    return place, found.predicted.tolist(), (1000 * sure).round().astype(int).tolist()


def _explain_absence(run: Run, file: str) -> str:
    return "failed runs store none" if run.failed else f"{file} is not on this machine"


def _round_digits(value: float | None, digits: int) -> float | None:
    return None if value is None or not isfinite(value) else float(f"{value:.{digits}g}")


def _round_numbers(values: np.ndarray) -> list[list[float | None]]:
    """Return (n, R) numbers with six significant digits."""
    return [[_round_digits(float(value), 6) for value in row] for row in values]


def _make_all_printable(value: Any) -> Any:
    """Return the value with control and direction characters of its texts spelt out; line ends stay."""
    if isinstance(value, str):
        return value if value.isprintable() else "\n".join(make_printable(line) for line in value.split("\n"))
    if isinstance(value, dict):
        return {_make_all_printable(str(name)): _make_all_printable(content) for name, content in value.items()}
    if isinstance(value, list | tuple):
        return [_make_all_printable(content) for content in value]
    return None if isinstance(value, float) and not isfinite(value) else value
