"""Which data sets are on this machine: where, how many clips, and what is known of them from preparing."""

from __future__ import annotations

from pathlib import Path

from bench.data import Card
from bench.errors import BenchError
from datasets.corpus import find_folder
from datasets.registry import SOURCES
from datasets.segments import HOP, RATE
from datasets.store.ledger import LEDGER, Row, read_ledger
from datasets.survey import find
from reports.datatables import Present


def present(results: Path) -> list[Present]:
    """A row for each data set of the registry, and for each of one's own that was prepared here."""
    rows = [_row(name, results / "prepared" / name) for name in SOURCES]
    own = sorted(path for path in (results / "prepared").glob("own-*") if path.is_dir())
    return [*rows, *(_own(path) for path in own)]
