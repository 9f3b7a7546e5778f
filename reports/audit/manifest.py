"""What every number of a written report is made of: runs, commits, splits, configs, and the sha256 of every file."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from bench.errors import StoreError
from bench.files import parse_json
from bench.outputs import PREDICTIONS
from bench.provenance import commit, source
from reports.audit.texts import FORMATS, grids_of, path_of
from reports.report import Report
from reports.results.run import Run

MANIFEST, SCHEMA = "manifest.json", 1
ASKED = ("name", "runs", "preset", "settings")
AWAY = "move that folder away and write the report again"


@dataclass(frozen=True)
class Manifest:
    """A manifest as it was written."""

    asked: dict[str, Any]  # what the command named: report, runs, preset, settings
    runs: dict[str, dict[str, Any]]  # key -> what the run was
    cells: dict[str, dict[str, Any]]  # cell -> its text, and the keys of its runs
    files: dict[str, str]  # path -> sha256
    finished: bool  # False: the writing was interrupted
    warnings: tuple[str, ...] = ()
    tables: dict[str, list[str]] = field(default_factory=dict)  # table -> its files


def make_manifest(report: Report, asked: Mapping[str, Any], files: Mapping[str, str]) -> str:
    """The manifest's text. A cell names its runs by key; what these were stands once for all cells."""
    head, dirty = commit()
    cells: dict[str, dict[str, Any]] = {}
    for grid in grids_of(report):
        for name, cell in grid.cells():
            if cell.keys:
                cells[name] = {"text": cell.text, "runs": list(cell.keys)}
    found = {
        "schema": SCHEMA,
        "finished": True,
        "asked": dict(asked),
        "made_by": {"commit": head, "dirty": dirty, "source": source()},
        "warnings": list(report.warnings),
        "left_out": list(report.left_out),
        "tables": tables_of(report),
        "runs": {run.record.key: facts(run) for run in report.runs},
        "cells": cells,
        "files": dict(sorted(files.items())),
    }
    return json.dumps(found, indent=1, ensure_ascii=False) + "\n"


def tables_of(report: Report) -> dict[str, list[str]]:
    """The files of each table."""
    return {grid.name: [path_of(grid, kind) for kind in FORMATS] for grid in grids_of(report)}


def begin_manifest(asked: Mapping[str, Any], old: Manifest | None, files: Iterable[str]) -> str:
    """The manifest of a report that is being written: it names the files that are there or will be, and vouches for
    none."""
    known = dict.fromkeys([*(old.files if old is not None else ()), *files], "")
    found = {"schema": SCHEMA, "finished": False, "asked": dict(asked), "runs": {}, "cells": {}, "files": known}
    return json.dumps(found, indent=1) + "\n"


def facts(run: Run) -> dict[str, Any]:
    """What a run was, and by which files."""
    spec, made = run.record.spec, run.record.provenance
    return {
        "record": run.sha,
        "predictions": run.record.files.get(PREDICTIONS),
        "method": spec.method,
        "version": spec.version,
        "dataset": spec.dataset,
        "data": spec.data,
        "fold": spec.fold,
        "seed": spec.seed,
        "protocol": spec.protocol,
        "preset": run.record.preset,
        "config": hashlib.sha256(json.dumps(spec.config, sort_keys=True).encode()).hexdigest(),
        "split": spec.split,
        "content": spec.content,
        "weights": spec.weights,
        "commit": made.get("commit"),
        "dirty": made.get("dirty"),
        "mlflow": run.run_id,
        "failed": run.failed,
    }


def read_manifest(folder: Path) -> Manifest | None:
    """The manifest of a report's folder; None where there is none. Raises StoreError for one that cannot be read."""
    path = folder / MANIFEST
    if not path.is_file():
        return None
    try:
        raw = parse_json(path.read_text())
        if raw["schema"] != SCHEMA:
            raise StoreError(f"{path} has schema {raw['schema']}, this version reads {SCHEMA}; {AWAY}")
        asked, runs, cells, files = (dict(raw[name]) for name in ("asked", "runs", "cells", "files"))
        _ = [*map(dict, runs.values())], [(cell["text"], list(cell["runs"])) for cell in cells.values()]
        _ = [asked[name] for name in ASKED]
        warnings, tables = tuple(map(str, raw.get("warnings", ()))), dict(raw.get("tables", {}))
        return Manifest(asked, runs, cells, files, bool(raw["finished"]), warnings, tables)
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise StoreError(f"{path} is no manifest of a report ({type(error).__name__}); {AWAY}") from None
