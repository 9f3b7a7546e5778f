"""A report as one web page that needs no other file: tables that sort, and the runs behind every number.

The data of its runs are one block of JSON in which repeated values are stored once: `shared` holds the values that
others refer to by index. Small numbers are written as digits of base 64.
"""

from __future__ import annotations

import hashlib
import json
from base64 import b64encode
from collections.abc import Mapping, Sequence
from math import isfinite
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import urlsplit

import numpy as np

from bench.artifacts import CURVES_FILE, PREDICTIONS_FILE, read_predictions
from bench.errors import StoreError
from bench.files import parse_json, sha256
from bench.record import RECORD_FILE, Failure
from bench.types import DatasetInfo
from reports.formats import escape_html, make_printable
from reports.formats.html import render_html_table
from reports.runs import Run
from reports.types import Report, ReportFigure, Section, Table

ASSET_FOLDER = Path(__file__).parent / "page_assets"
SCRIPTS = ("elements", "data", "tables", "curves", "clips", "run", "list", "places")  # in the order of reading

COLUMN_GAP = 2  # letters between two columns
WIDE_TABLE_CHARS = 160  # letters; a wider table is printed on a page of its own, turned


DIALOGS = (
    '<dialog id="drill" aria-labelledby="drill-title"><div class="bar">'
    '<button type="button" id="drill-back">‹ Back</button><span></span>'
    '<button type="button" id="drill-close">Close</button></div><div id="drill-body"></div></dialog>'
    '<dialog id="large" aria-label="Figure"><div class="bar"><span></span>'
    '<button type="button" id="large-close">Close</button></div><div id="large-body"></div></dialog>'
    '<div id="said" class="unseen" role="status" aria-live="polite"></div>'
)

MAX_CURVE_POINTS = 100  # of a curve at most; fewer, down to FEWEST, where runs are so many that all would be over ALL
MIN_CURVE_POINTS, MAX_TOTAL_POINTS = 30, 40_000
CURVE_STEPS = 4095  # of a curve's height: two letters a point
PROBABILITY_STEPS = 1000  # of a percent: two letters a probability
MAX_PROBLEMS = 20  # that a run names; all are counted
TRACEBACK_HEAD, TRACEBACK_TAIL, MAX_LINE_CHARS = 6, 14, 400  # lines of a traceback, and letters of a line

BASE64_DIGITS = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
_BASE64_BYTES = np.frombuffer(BASE64_DIGITS.encode(), dtype=np.uint8)


class RenderedFigure(NamedTuple):
    """A figure as bytes."""

    media_type: str  # "image/svg+xml" | "image/png"
    content: bytes


def render_page(report: Report, pictures: Mapping[str, RenderedFigure]) -> str:
    """The page as HTML. Nothing is fetched, every name is escaped, one script runs, known by its hash.

    `pictures` are the drawn figures by name. Curves and predictions are read from the runs' folders.
    """
    code = join_scripts()
    title = f"{report.title} (BUILT-IN SAMPLE)" if report.is_sample else report.title
    style = (ASSET_FOLDER / "page.css").read_text()
    sections = "".join(_render_section(section, report.is_sample, pictures) for section in report.sections)
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        f'<meta http-equiv="Content-Security-Policy" content="{make_content_policy(code)}">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f'<meta name="referrer" content="no-referrer"><title>{escape_html(title)}</title><style>{style}</style></head>'
        f'<body><a class="skip" href="#main">To the results</a>{_render_banner(report)}{_render_header(report)}'
        f"{_render_contents(report)}"
        f'<main id="main" tabindex="-1">{sections}{_render_run_list(report)}</main>{_render_footer(report)}{DIALOGS}'
        f'<script type="application/json" id="data">{make_page_data(report)}</script><script>{code}</script></body>'
        "</html>\n"
    )


def join_scripts() -> str:
    """The script of every page, the same for all reports."""
    parts = "\n".join((ASSET_FOLDER / f"{name}.js").read_text() for name in SCRIPTS)
    return f'"use strict";\n(() => {{\n{parts}}})();\n'


def make_content_policy(code: str) -> str:
    """What the browser lets the page do: run this script, show pictures that it holds, and nothing else."""
    digest = b64encode(hashlib.sha256(code.encode()).digest()).decode()
    return (
        "default-src 'none'; img-src data:; style-src 'unsafe-inline'; "
        f"script-src 'sha256-{digest}'; base-uri 'none'; form-action 'none'"
    )


def _render_banner(report: Report) -> str:
    said = "BUILT-IN SAMPLE: drawn clips, not real data. Its numbers say that the program works, and nothing else."
    return f'<div class="banner" role="note">{said}</div>' if report.is_sample else ""


def _render_header(report: Report) -> str:
    runs = report.runs
    failed = sum(run.failed for run in runs)
    counted = [
        (len({run.label for run in runs}), "methods"),
        (len({run.info.name for run in runs}), "data sets"),
        (len({run.record.spec.seed for run in runs}), "seeds"),
        (len(runs) - failed, "finished runs"),
        *([(failed, "failed runs")] if failed else []),
    ]
    figures = "".join(
        f'<div class="figure"><b>{many:,}</b><span>{escape_html(what if many != 1 else what[:-1])}</span></div>'
        for many, what in counted
    )
    return (
        f'<header><p class="kicker">Report</p><h1>{escape_html(report.title)}</h1><p class="lead">'
        f"{escape_html(report.summary)}</p>"
        f'<div class="figures">{figures}</div>{_render_warnings(report.warnings)}{_render_left_out(report.omissions)}'
        '<p class="hint">Press a heading of a table to sort it, a number to see the runs that it is made of, '
        "a figure to enlarge it.</p></header>"
    )


def _render_warnings(warnings: tuple[str, ...]) -> str:
    return "".join(f'<p class="warning">{escape_html(warning)}</p>' for warning in warnings)


def _render_left_out(lines: tuple[str, ...]) -> str:
    return f'<p class="hint">{escape_html(" ".join(lines))}</p>' if lines else ""


def _render_contents(report: Report) -> str:
    links = [(f"section-{section.id}", section.title) for section in report.sections] + [("runs", "All runs")]
    items = "".join(f'<li><a href="#{escape_html(place)}">{escape_html(title)}</a></li>' for place, title in links)
    return f'<nav aria-label="Contents"><ul>{items}</ul></nav>'


def _render_section(section: Section, sample: bool, pictures: Mapping[str, RenderedFigure]) -> str:
    tag = ' <span class="tag">BUILT-IN SAMPLE</span>' if sample else ""
    paragraphs = "".join(f"<p>{escape_html(paragraph)}</p>" for paragraph in section.paragraphs)
    tables = "".join(_render_table(table) for table in section.tables)
    drawn = "".join(_render_figure(picture, pictures[picture.name]) for picture in section.figures)
    return (
        f'<section id="section-{escape_html(section.id)}"><h2>{escape_html(section.title)}{tag}</h2>'
        f"{paragraphs}{tables}{drawn}</section>"
    )


def _render_table(table: Table) -> str:
    """With its width in letters, by which paper chooses the size of its print."""
    columns = zip(*(line.cells for line in table.rows), strict=True) if table.rows else [()] * len(table.columns)
    longest = [
        max(len(column.title), *(len(cell.text) + len(cell.footnotes) for cell in cells), 0)
        for column, cells in zip(table.columns, columns, strict=True)
    ]
    letters = sum(longest) + COLUMN_GAP * len(longest)
    kind = ' class="broad"' if letters > WIDE_TABLE_CHARS else ""
    return f'<div{kind} style="--letters:{letters}">{render_html_table(table)}</div>'


def _render_figure(picture: ReportFigure, drawn: RenderedFigure) -> str:
    source = f"data:{drawn.media_type};base64,{b64encode(drawn.content).decode()}"
    return (
        f'<figure class="picture" id="picture-{escape_html(picture.name)}">'
        '<button type="button" class="enlarge" aria-haspopup="dialog" title="Enlarge">'
        f'<img alt="{escape_html(picture.caption)}" src="{escape_html(source)}"></button>'
        f"<figcaption><b>{escape_html(picture.title)}.</b> {escape_html(picture.caption)}</figcaption></figure>"
    )


def _render_run_list(report: Report) -> str:
    tag = ' <span class="tag">BUILT-IN SAMPLE</span>' if report.is_sample else ""
    return (
        f'<section id="runs"><h2>All runs{tag}</h2>'
        "<p>Every number above is made of these. Each opens with what it was, its scores, its config, "
        'its curves and what it said of every test clip.</p><div id="list"></div>'
        "<noscript><p>The list needs the page's script; tables and figures are whole without it.</p></noscript>"
        f'<p class="paper">{len(report.runs):,} runs are listed in the web page.</p></section>'
    )


def _render_footer(report: Report) -> str:
    return (
        f'<footer><p class="note">{escape_html(report.title)}. One file: it fetches nothing and sends nothing. '
        "Names of clips are those of the data sets' owners.</p></footer>"
    )


class Interner:
    """Values kept once."""

    def __init__(self) -> None:
        self.values: list[Any] = []
        self._indices: dict[str, int] = {}

    def intern(self, value: Any) -> int:
        """Where the value stands in `values`."""
        at = self._indices.setdefault(json.dumps(value, sort_keys=True), len(self.values))
        if at == len(self.values):
            self.values.append(value)
        return at


class DeltaEncoder:
    """Mappings told by what sets them apart from the first of their kind."""

    def __init__(self, once: Interner) -> None:
        self._interner = once
        self._bases: dict[str, Mapping[str, Any]] = {}

    def encode(self, kind: str, values: Mapping[str, Any]) -> list[Any]:
        """Place of the first mapping of the kind, fields that differ from it, names of those that are gone."""
        base = self._bases.setdefault(kind, values)
        changed = {name: value for name, value in values.items() if name not in base or base[name] != value}
        return [self._interner.intern(dict(base)), changed, [name for name in base if name not in values]]


def make_page_data(report: Report) -> str:
    """The data of a report's page, safe inside a script element: no text in it can end the element."""
    once = Interner()
    bases = DeltaEncoder(once)
    points = min(MAX_CURVE_POINTS, max(MIN_CURVE_POINTS, MAX_TOTAL_POINTS // max(1, len(report.runs))))
    names: dict[str, int] = {}
    runs = []
    for run in sorted(report.runs, key=lambda run: run.failed):
        key = run.record.key
        names[key] = names.get(key, 0) + 1
        told = (
            _describe_run(run, once, bases)
            | _encode_scores(run, once)
            | _encode_curves(run, once, points)
            | _encode_predictions(run, once)
        )
        runs.append({"id": key if names[key] == 1 else f"{key}~{names[key]}", **told})
    tracking = report.tracking_url.rstrip("/") if urlsplit(report.tracking_url).scheme in ("http", "https") else None
    text = json.dumps(
        _make_all_printable({"tracking": tracking, "shared": once.values, "runs": runs}),
        ensure_ascii=False,
        allow_nan=False,
        separators=(",", ":"),
    )
    for sign in "<>&\u2028\u2029":
        text = text.replace(sign, f"\\u{ord(sign):04x}")
    return text


def _describe_run(run: Run, once: Interner, bases: DeltaEncoder) -> dict[str, Any]:
    record, spec = run.record, run.record.spec
    path = run.folder / (f"failed-{record.attempt}.json" if run.failed else RECORD_FILE)
    return {
        "key": record.key,
        "sha": sha256(path) if path.exists() else None,
        "label": run.label,
        "arm": run.arm,
        "title": run.info.title,
        "spec": once.intern(_describe_spec(run)),
        "request": once.intern(run.request),
        "fold": spec.fold,
        "seed": spec.seed,
        "attempt": record.attempt,
        "chosen": record.chosen,
        "config": bases.encode(f"config of {spec.method}", spec.config),
        "made": bases.encode("provenance", record.provenance),
        "seconds": {name: _round_digits(value, 4) for name, value in record.seconds.items()},
        "problems": [len(record.problems), once.intern(record.problems[:MAX_PROBLEMS])],
        "mlflow": [run.mlflow_experiment, run.mlflow_run_id]
        if run.mlflow_experiment is not None and run.mlflow_run_id is not None
        else None,
        "error": _shorten_failure(record.error) if record.error else None,
    }


def _describe_spec(run: Run) -> dict[str, Any]:
    """What runs of one arm on one data set have in common."""
    record, spec = run.record, run.record.spec
    names = ("method", "version", "dataset", "data", "protocol", "stage", "stop", "split", "content", "weights")
    told = {"preset": record.preset, "values": run.tuning, "settings": run.hand_set, "tried": run.configurations_tried}
    return {name: getattr(spec, name) for name in names} | told


def _shorten_failure(failure: Failure) -> dict[str, str]:
    lines = [
        line if len(line) <= MAX_LINE_CHARS else f"{line[:MAX_LINE_CHARS]} ..."
        for line in failure.traceback.splitlines()
    ]
    if len(lines) > TRACEBACK_HEAD + TRACEBACK_TAIL + 1:
        lines[TRACEBACK_HEAD:-TRACEBACK_TAIL] = [f"  ... {len(lines) - TRACEBACK_HEAD - TRACEBACK_TAIL} lines ..."]
    return {"kind": failure.kind, "message": failure.message[: 5 * MAX_LINE_CHARS], "traceback": "\n".join(lines)}


def _encode_scores(run: Run, once: Interner) -> dict[str, Any]:
    told = {}
    for name, values in (("scores", run.record.scores), ("notes", run.record.notes)):
        told[name] = [once.intern(list(values)), [_round_digits(value, 6) for value in values.values()]]
    return told


def _encode_curves(run: Run, once: Interner, points: int) -> dict[str, Any]:
    """Each as stage and name, epochs, its lowest and highest value, and its points between these."""
    found = read_curves(run.folder)
    if isinstance(found, str):
        return {"curves": _explain_absence(run, found)}
    drawn = []
    for series in found:
        kept = _pick_points(series, points, run.record.chosen)
        epochs, values = series.epochs[kept], series.values[kept]
        low, high = float(values.min()), float(values.max())
        height = np.zeros(len(values)) if high == low else (values - low) / (high - low) * CURVE_STEPS
        place = [once.intern([series.stage, series.name]), once.intern(epochs.tolist())]
        drawn.append([*place, _round_digits(low, 5), _round_digits(high, 5), encode_numbers(height.round(), 2)])
    return {"curves": drawn}


def _pick_points(series: MetricCurve, points: int, chosen: int | None) -> np.ndarray:
    """Places of at most `points` points evenly along the curve, and of the epoch that val chose."""
    many = len(series.epochs)
    even = np.linspace(0, many - 1, min(many, points)).round().astype(int)
    best = np.flatnonzero(series.name.startswith("val/") & (series.epochs == (chosen or 0) - 1))
    return np.unique(np.concatenate([even, best]))


def _encode_predictions(run: Run, once: Interner) -> dict[str, Any]:
    """Place of the list of clips, then predicted classes and their probabilities in its order."""
    found = read_test_predictions(run.folder, run.info)
    if isinstance(found, str):
        return {"clips": _explain_absence(run, found)}
    width = count_digits(len(found.classes))
    return {
        "clips": [
            once.intern(_encode_clip_list(found, width)),
            encode_numbers(found.predicted_labels, width),
            encode_numbers((found.probabilities * PROBABILITY_STEPS).round(), 2),
        ]
    }


def _encode_clip_list(found: TestPredictions, width: int) -> dict[str, Any]:
    return {
        "classes": list(found.classes),
        "keys": list(found.clips),
        "label": encode_numbers(found.labels, width),
        "width": width,
    }


def _explain_absence(run: Run, told: str) -> str:
    return "a failed run keeps none" if run.failed and "not on this machine" in told else told


def _round_digits(value: float | None, digits: int) -> float | None:
    return None if value is None or not np.isfinite(value) else float(f"{value:.{digits}g}")


def _make_all_printable(value: Any) -> Any:
    """The same with every text printable: control and direction characters spelt out, line ends kept."""
    if isinstance(value, str):
        return value if value.isprintable() else "\n".join(make_printable(line) for line in value.split("\n"))
    if isinstance(value, Mapping):
        return {_make_all_printable(str(name)): _make_all_printable(content) for name, content in value.items()}
    if isinstance(value, Sequence):
        return [_make_all_printable(content) for content in value]
    return None if isinstance(value, float) and not np.isfinite(value) else value


class MetricCurve(NamedTuple):
    """One curve of one stage."""

    stage: str
    name: str  # "val/acc_e", "finetune/loss"
    epochs: np.ndarray  # (n,) int64, rising
    values: np.ndarray  # (n,) float64


class TestPredictions(NamedTuple):
    """What was said of the test clips. n clips, C classes."""

    classes: tuple[str, ...]
    clips: tuple[str, ...]  # n keys
    labels: np.ndarray  # (n,) int64, index of the true class
    predicted_labels: np.ndarray  # (n,) int64
    probabilities: np.ndarray  # (n,) of the predicted class, 0 to 1: softmax of the scores


def read_curves(folder: Path) -> list[MetricCurve] | str:
    """Every curve, in the order in which they were drawn, without what is no number; or why there are none."""
    try:
        points = parse_json((folder / CURVES_FILE).read_bytes())
        found: dict[tuple[str, str], dict[int, float]] = {}
        for point in points:
            for name, value in point["values"].items():
                if isfinite(value):
                    found.setdefault((point["stage"], name), {})[int(point["epoch"])] = float(value)
    except FileNotFoundError:
        return f"{CURVES_FILE} is not on this machine"
    except (OSError, ValueError, TypeError, KeyError, AttributeError) as error:
        return f"{CURVES_FILE} cannot be read ({type(error).__name__}: {error})"
    return [
        MetricCurve(stage, name, np.array(sorted(drawn)), np.array([drawn[epoch] for epoch in sorted(drawn)]))
        for (stage, name), drawn in found.items()
    ]


def read_test_predictions(folder: Path, info: DatasetInfo) -> TestPredictions | str:
    """The test predictions, in the order of the file; or why there are none."""
    if not (folder / PREDICTIONS_FILE).is_file():
        return f"{PREDICTIONS_FILE} is not on this machine"
    try:
        found = read_predictions(folder, info).get("test")
    except StoreError:  # which names a place on this machine: no matter of a page
        return f"{PREDICTIONS_FILE} cannot be read"
    if found is None:
        return f"{PREDICTIONS_FILE} holds no test clip"
    probability = _compute_probability(found.scores.astype(np.float64), found.predicted)
    return TestPredictions(info.classes, found.keys, found.targets, found.predicted, probability)


def _compute_probability(scores: np.ndarray, predicted: np.ndarray) -> np.ndarray:
    """(n, C) scores and (n,) classes -> (n,) softmax at the class."""
    powers = np.exp(scores - scores.max(axis=1, keepdims=True))
    found: np.ndarray = powers[np.arange(len(scores)), predicted] / powers.sum(axis=1)
    return found


def encode_numbers(values: np.ndarray, width: int) -> str:
    """(n,) whole numbers from 0 to 64^width - 1 as n * width letters, high digits first."""
    powers = 64 ** np.arange(width - 1, -1, -1, dtype=np.int64)
    places = values.astype(np.int64)[:, None] // powers % 64
    return bytes(_BASE64_BYTES[places].tobytes()).decode()


def count_digits(count: int) -> int:
    """How many letters a number below `count` takes."""
    width = 1
    while 64**width < count:
        width += 1
    return width
