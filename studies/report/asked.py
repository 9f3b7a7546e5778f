"""What a study was asked for, kept beside the records: which folds and seeds its tables have to wait for."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from filelock import FileLock

from bench.errors import StoreError
from bench.files import parse_json, write_whole
from studies.report.naming import Settings

FOLDER = "studies"
Cells = Mapping[str, set[tuple[int, int]]]
"""Data set -> (fold, seed) of every arm."""


def note_asked(
    results: Path, study: str, preset: str, settings: Settings, cells: Iterable[tuple[str, int, int]]
) -> None:
    """Add the (data set, fold, seed) that a command asks for to what was asked before."""
    path = results / FOLDER / f"{study}.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(path.with_suffix(".lock")):
        known = _read(path)
        mine = next((one for one in known if _is(one, preset, settings)), None)
        if mine is None:
            mine = {"preset": preset, "settings": dict(settings), "cells": []}
            known.append(mine)
        found = {tuple(cell) for cell in mine["cells"]} | set(cells)
        if len(found) != len(mine["cells"]):
            mine["cells"] = sorted(found)
            write_whole(path, (json.dumps(known, indent=1) + "\n").encode())


def read_asked(results: Path, study: str, preset: str, settings: Settings) -> Cells:
    """The cells that a study was ever asked for with this preset and these settings; none where it never was."""
    found: dict[str, set[tuple[int, int]]] = {}
    for one in _read(results / FOLDER / f"{study}.json"):
        if _is(one, preset, settings):
            for dataset, fold, seed in one["cells"]:
                found.setdefault(dataset, set()).add((fold, seed))
    return found


def _is(one: Mapping[str, Any], preset: str, settings: Settings) -> bool:
    return bool(one["preset"] == preset and one["settings"] == dict(settings))


def _read(path: Path) -> list[dict[str, Any]]:
    if not path.exists():
        return []
    try:
        found = parse_json(path.read_text())
        for one in found:
            _, _, _ = one["preset"], one["settings"].items(), [(str(d), int(f), int(s)) for d, f, s in one["cells"]]
        return list(found)
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise StoreError(
            f"{path} is no list of what a study was asked ({type(error).__name__}); move it away"
        ) from None
