"""All that a page tells of its runs, as one block of JSON in which whatever repeats is kept once.

The page's script turns it back: `shared` holds the values that others point at by their place.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any
from urllib.parse import urlsplit

import numpy as np

from bench.files import sha256
from bench.record import RECORD, Failure
from reports.foreign import printable
from reports.page.packed import pack, width_of
from reports.page.runs import Predicted, Series, read_curves, read_tested
from reports.report import Report
from reports.results.run import Run

POINTS = 100  # of a curve at most; fewer, down to FEWEST, where runs are so many that all would be over ALL
FEWEST, ALL = 30, 40_000
STEPS = 4095  # of a curve's height: two letters a point
TENTHS = 1000  # of a percent: two letters a probability
PROBLEMS = 20  # that a run names; all are counted
HEAD, TAIL, LONG = 6, 14, 400  # lines of a traceback, and letters of a line


class Once:
    """Values kept once."""

    def __init__(self) -> None:
        self.values: list[Any] = []
        self._places: dict[str, int] = {}

    def place(self, value: Any) -> int:
        """Where the value stands in `values`."""
        at = self._places.setdefault(json.dumps(value, sort_keys=True), len(self.values))
        if at == len(self.values):
            self.values.append(value)
        return at


class Bases:
    """Mappings told by what sets them apart from the first of their kind."""

    def __init__(self, once: Once) -> None:
        self._once = once
        self._first: dict[str, Mapping[str, Any]] = {}

    def apart(self, kind: str, values: Mapping[str, Any]) -> list[Any]:
        """Place of the first mapping of the kind, fields that differ from it, names of those that are gone."""
        base = self._first.setdefault(kind, values)
        changed = {name: value for name, value in values.items() if name not in base or base[name] != value}
        return [self._once.place(dict(base)), changed, [name for name in base if name not in values]]


def block(report: Report) -> str:
    """The data of a report's page, safe inside a script element: no text in it can end the element."""
    once = Once()
    bases = Bases(once)
    points = min(POINTS, max(FEWEST, ALL // max(1, len(report.runs))))
    names: dict[str, int] = {}
    runs = []
    for run in sorted(report.runs, key=lambda run: run.failed):
        key = run.record.key
        names[key] = names.get(key, 0) + 1
        told = _facts(run, once, bases) | _scores(run, once) | _curves(run, once, points) | _clips(run, once)
        runs.append({"id": key if names[key] == 1 else f"{key}~{names[key]}", **told})
    tracking = report.tracking.rstrip("/") if urlsplit(report.tracking).scheme in ("http", "https") else None
    text = json.dumps(
        _clean({"tracking": tracking, "shared": once.values, "runs": runs}),
        ensure_ascii=False,
        allow_nan=False,
        separators=(",", ":"),
    )
    for sign in "<>&\u2028\u2029":
        text = text.replace(sign, f"\\u{ord(sign):04x}")
    return text


def _facts(run: Run, once: Once, bases: Bases) -> dict[str, Any]:
    record, spec = run.record, run.record.spec
    path = run.folder / (f"failed-{record.attempt}.json" if run.failed else RECORD)
    return {
        "key": record.key,
        "sha": sha256(path) if path.exists() else None,
        "label": run.label,
        "arm": run.arm,
        "title": run.card.title,
        "spec": once.place(_spec(run)),
        "request": once.place(run.request),
        "fold": spec.fold,
        "seed": spec.seed,
        "attempt": record.attempt,
        "chosen": record.chosen,
        "config": bases.apart(f"config of {spec.method}", spec.config),
        "made": bases.apart("provenance", record.provenance),
        "seconds": {name: _rounded(value, 4) for name, value in record.seconds.items()},
        "problems": [len(record.problems), once.place(record.problems[:PROBLEMS])],
        "mlflow": [run.experiment, run.run_id] if run.experiment is not None and run.run_id is not None else None,
        "error": _error(record.error) if record.error else None,
    }


def _spec(run: Run) -> dict[str, Any]:
    """What runs of one arm on one data set have in common."""
    record, spec = run.record, run.record.spec
    names = ("method", "version", "dataset", "data", "protocol", "stage", "stop", "split", "content", "weights")
    told = {"preset": record.preset, "values": run.values, "settings": run.settings, "tried": run.tried}
    return {name: getattr(spec, name) for name in names} | told


def _error(failure: Failure) -> dict[str, str]:
    lines = [line if len(line) <= LONG else f"{line[:LONG]} ..." for line in failure.traceback.splitlines()]
    if len(lines) > HEAD + TAIL + 1:
        lines[HEAD:-TAIL] = [f"  ... {len(lines) - HEAD - TAIL} lines ..."]
    return {"kind": failure.kind, "message": failure.message[: 5 * LONG], "traceback": "\n".join(lines)}


def _scores(run: Run, once: Once) -> dict[str, Any]:
    told = {}
    for name, values in (("scores", run.record.scores), ("notes", run.record.notes)):
        told[name] = [once.place(list(values)), [_rounded(value, 6) for value in values.values()]]
    return told


def _curves(run: Run, once: Once, points: int) -> dict[str, Any]:
    """Each as stage and name, epochs, its lowest and highest value, and its points between these."""
    found = read_curves(run.folder)
    if isinstance(found, str):
        return {"curves": _why(run, found)}
    drawn = []
    for series in found:
        kept = _thinned(series, points, run.record.chosen)
        epochs, values = series.epochs[kept], series.values[kept]
        low, high = float(values.min()), float(values.max())
        height = np.zeros(len(values)) if high == low else (values - low) / (high - low) * STEPS
        place = [once.place([series.stage, series.name]), once.place(epochs.tolist())]
        drawn.append([*place, _rounded(low, 5), _rounded(high, 5), pack(height.round(), 2)])
    return {"curves": drawn}


def _thinned(series: Series, points: int, chosen: int | None) -> np.ndarray:
    """Places of at most `points` points evenly along the curve, and of the epoch that val chose."""
    many = len(series.epochs)
    even = np.linspace(0, many - 1, min(many, points)).round().astype(int)
    best = np.flatnonzero(series.name.startswith("val/") & (series.epochs == (chosen or 0) - 1))
    return np.unique(np.concatenate([even, best]))


def _clips(run: Run, once: Once) -> dict[str, Any]:
    """Place of the list of clips, then predicted classes and their probabilities in its order."""
    found = read_tested(run.folder, run.card)
    if isinstance(found, str):
        return {"clips": _why(run, found)}
    width = width_of(len(found.classes))
    return {
        "clips": [
            once.place(_listed(found, width)),
            pack(found.predicted, width),
            pack((found.probability * TENTHS).round(), 2),
        ]
    }


def _listed(found: Predicted, width: int) -> dict[str, Any]:
    return {
        "classes": list(found.classes),
        "keys": list(found.clips),
        "label": pack(found.label, width),
        "width": width,
    }


def _why(run: Run, told: str) -> str:
    return "a failed run keeps none" if run.failed and "not on this machine" in told else told


def _rounded(value: float | None, digits: int) -> float | None:
    return None if value is None or not np.isfinite(value) else float(f"{value:.{digits}g}")


def _clean(value: Any) -> Any:
    """The same with every text printable: control and direction characters spelt out, line ends kept."""
    if isinstance(value, str):
        return value if value.isprintable() else "\n".join(printable(line) for line in value.split("\n"))
    if isinstance(value, Mapping):
        return {_clean(str(name)): _clean(content) for name, content in value.items()}
    if isinstance(value, Sequence):
        return [_clean(content) for content in value]
    return None if isinstance(value, float) and not np.isfinite(value) else value
