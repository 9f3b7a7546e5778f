"""Where a data set is on this machine, and where its prepared clips are kept."""

from __future__ import annotations

import os
from pathlib import Path

from bench.data import Card
from bench.errors import DataError
from datasets.index.links import list_folder

ROOT = Path(__file__).resolve().parents[2]


def find_folder(card: Card, given: Path | None) -> Path | None:
    """The folder of the real data: the given one, BENCH_DATA (it or its child), or data/<name>; None without any."""
    if given is not None:
        if not given.is_dir():
            raise DataError(f"--data {given} is no folder; {card.title}: {card.obtain}")
        if not list_folder(given):
            raise DataError(f"--data {given} is empty; {card.title}: {card.obtain}")
        return given / card.name if (given / card.name).is_dir() else given
    named = os.environ.get("BENCH_DATA")
    if named:
        place = Path(named)
        if not place.is_dir():
            raise DataError(f"BENCH_DATA={named} is no folder; correct it or unset it")
        if (place / card.name).is_dir():
            return place / card.name
        return place if any((place / part).is_dir() for part in ("imgs", "img", "mp3", "video")) else None
    usual = ROOT / "data" / card.name
    return usual if usual.is_dir() else None


def store_name(card: Card, sample: bool) -> str:
    """The folder of a data set's prepared clips; the sample never lies beside real ones."""
    return f"{card.name}-sample" if sample else card.name
