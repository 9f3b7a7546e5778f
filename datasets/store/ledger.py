"""The ledger of a prepared store: one line a clip, so that a run knows what is in it without opening any file.

Lines are only ever added, the last one of a clip counts, and a line that a killed process left half written is none.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from bench.errors import StoreError
from bench.files import write_whole
from datasets.segments import HOP, RATE

LEDGER = "ledger.jsonl"
SPARE = 1000  # superseded lines from which on a ledger is written anew


@dataclass(frozen=True)
class Row:
    """What is known of one clip: how its sources looked when they were read, and what was in them."""

    key: str
    quick: str  # marks of the sources (datasets/store/sources.py)
    full: str
    ends: tuple[str, ...]  # first and last picture of a folder of frames
    name: str  # of the prepared file
    content: str  # sha256 of the bytes of the sources
    readable: bool  # False: there is no prepared file, and `problems` say why
    problems: tuple[tuple[str, str, str], ...]
    frames: int = 0  # of 1/30 s
    sound: int = 0  # frames of 10 ms
    words: int = 0
    looks: str = ""  # digest of what is seen; empty where there is nothing
    sounds: str = ""  # digest of what is heard
    bytes: int = 0  # of the prepared file

    @property
    def seconds(self) -> float:
        """The clip's length."""
        return self.frames / RATE if self.frames else self.sound / HOP


def read_ledger(place: Path) -> dict[str, Row]:
    """Clip key -> its last whole line; nothing where there is no ledger."""
    try:
        text = (place / LEDGER).read_bytes()
    except FileNotFoundError:
        return {}
    except OSError as error:
        raise StoreError(f"cannot read {place / LEDGER} ({error.strerror}); choose another --results") from None
    rows: dict[str, Row] = {}
    for line in text.split(b"\n"):
        row = _parse(line)
        if row is not None:
            rows[row.key] = row
    return rows


class Ledger:
    """A ledger open for adding; only the holder of the store's lock opens one."""

    def __init__(self, place: Path, rows: Mapping[str, Row]) -> None:
        self._path = place / LEDGER
        self._tidy(rows)

    def add(self, rows: Iterable[Row]) -> None:
        """Add lines; raises StoreError where the disk is full. A line that is lost costs a hash, not a decoding."""
        lines = "".join(f"{json.dumps(asdict(row), separators=(',', ':'))}\n" for row in rows)
        try:
            with self._path.open("ab") as file:
                file.write(b"\n" * self._torn(file.tell()) + lines.encode())
        except OSError as error:
            raise StoreError(
                f"cannot write {self._path}: {error.strerror or error}; free space or choose another --results, then "
                "start again: it goes on"
            ) from error

    def _torn(self, size: int) -> bool:
        """Whether the last line has no end."""
        if not size:
            return False
        with self._path.open("rb") as file:
            file.seek(-1, os.SEEK_END)
            return file.read(1) != b"\n"

    def _tidy(self, rows: Mapping[str, Row]) -> None:
        """Write the ledger anew once most of its lines are superseded."""
        try:
            lines = self._path.read_bytes().count(b"\n")
        except OSError:
            return
        if lines > 2 * len(rows) + SPARE:
            text = "".join(f"{json.dumps(asdict(row), separators=(',', ':'))}\n" for row in rows.values())
            write_whole(self._path, text.encode())


def _parse(line: bytes) -> Row | None:
    try:
        raw: dict[str, Any] = json.loads(line)
        raw["problems"], raw["ends"] = tuple(tuple(row) for row in raw["problems"]), tuple(raw["ends"])
        return Row(**raw)
    except (ValueError, TypeError, KeyError):
        return None
