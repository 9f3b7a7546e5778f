"""Which data sets are on this machine: where, how many clips, and what is known of them from preparing."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from bench.errors import BenchError
from datasets.index.places import ROOT, find_folder
from datasets.registry import SOURCES
from datasets.store.ledger import LEDGER, Row, read_ledger
from datasets.survey import find
from reports.data.tables import Present


def present(results: Path) -> list[Present]:
    """A row for each data set of the registry, and for each of one's own that was prepared here."""
    rows = [_row(name, results / "prepared" / name) for name in SOURCES]
    own = sorted(path for path in (results / "prepared").glob("own-*") if path.is_dir())
    return [*rows, *(replace(_count(path.name, _last_ledger(path)), where="prepared") for path in own)]


def _row(name: str, store: Path) -> Present:
    """What is listed and found, and what the store knows; of a tree that cannot be read, why."""
    source, rows = SOURCES[name], _last_ledger(store)
    row = _count(name, rows)
    try:
        if find_folder(source.card, None) is None:
            return replace(row, where="prepared" if row.prepared else "")
        found = find(source, None, source.card.folds[0])
    except BenchError as error:
        return replace(row, where=f"not usable: {error}")
    keys = {clip.key for clip in found.index.clips}
    here = [row for row in rows if row.key in keys]
    prepared = _count(name, here)
    lost = sum(not row.readable for row in here)
    return replace(
        prepared,
        where=_short(found.folder),
        listed=len(found.index.listed),
        usable=len(found.index.clips) - lost,
        problems=len(found.index.problems) + (prepared.problems or 0),
    )


def _count(name: str, rows: Sequence[Row]) -> Present:
    """Clips, hours and problems of prepared clips."""
    if not rows:
        return Present(name, "")
    seconds = sum(row.seconds for row in rows if row.readable)
    usable = sum(row.readable for row in rows)
    return Present(name, "", len(rows), usable, seconds / 3600, sum(len(row.problems) for row in rows), usable)


def _last_ledger(store: Path) -> list[Row]:
    """What was ever prepared in the form that was prepared last."""
    ledgers = sorted(store.glob(f"*/{LEDGER}"), key=lambda path: path.stat().st_mtime)
    return list(read_ledger(ledgers[-1].parent).values()) if ledgers else []


def _short(folder: Path) -> str:
    """A folder as seen from the checkout, where it is inside."""
    return str(folder.relative_to(ROOT)) if folder.is_relative_to(ROOT) else str(folder)
