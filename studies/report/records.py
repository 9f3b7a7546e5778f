"""The final records that are on the disk, finished or failed."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from bench.errors import StoreError
from bench.files import sha256
from bench.record import RECORD, Record, RunFolder
from studies.ask import known_arms


@dataclass(frozen=True)
class Found:
    """A record on the disk."""

    record: Record
    path: Path  # of its text: record.json, or failed-N.json
    sha: str  # of that file


def read_records(results: Path) -> tuple[list[Found], list[str]]:
    """Every final record by key, finished or else the last that failed; and why one was passed over."""
    found, passed = [], []
    for place in sorted((results / "runs").glob("*/")):
        try:
            one = _read(RunFolder(place))
        except StoreError as error:
            passed.append(str(error))
            continue
        except (OSError, ValueError) as error:
            passed.append(f"{place} holds no record that can be read ({type(error).__name__}: {error}); move it away")
            continue
        if one is not None and one.record.spec.stage == "final":
            found.append(one)
    return found, passed


def current(found: Sequence[Found]) -> tuple[list[Found], list[str]]:
    """The records of the methods' present versions; how many are of others, or of methods that are not known."""
    versions = {arm.method.name: arm.method.version for arm in known_arms().values()}
    kept = [one for one in found if versions.get(one.record.spec.method) == one.record.spec.version]
    rest = Counter((one.record.spec.method, one.record.spec.version) for one in found)
    rest.subtract((one.record.spec.method, one.record.spec.version) for one in kept)
    told = [
        f"{count} {'runs' if count > 1 else 'run'} of version {version} of {name} left out: "
        + (f"this is version {versions[name]}" if name in versions else "no such method is known here")
        for (name, version), count in rest.items()
        if count
    ]
    return kept, told


def _read(folder: RunFolder) -> Found | None:
    record = folder.record()
    if record is not None:
        return Found(_checked(record, folder.path / RECORD), folder.path / RECORD, folder.sha())
    tries = sorted(folder.path.glob("failed-*.json"), key=lambda path: int(path.stem.rpartition("-")[2]))
    if not tries:
        return None
    last = tries[-1]
    return Found(_checked(Record.from_json(last.read_text(), str(last)), last), last, sha256(last))


def _checked(record: Record, where: Path) -> Record:
    """The record; raises StoreError for one whose key does not follow from what it says the run was, and for values
    that are not of their kind."""
    if not record.key == record.spec.key == where.parent.name:
        raise StoreError(f"{where} is not the record of its run: its key and what the run was do not belong together")
    tables = (record.scores, record.notes, record.seconds, record.provenance, record.files)
    sound = isinstance(record.preset, str) and all(isinstance(table, dict) for table in tables)
    if not sound or not _numbers(record):
        raise StoreError(f"{where} is no record (a value is not of its kind); move it away")
    return record


def _numbers(record: Record) -> bool:
    """Whether what ought to be numbers are finite ones; a score may be None."""
    known = (*record.notes.values(), *record.seconds.values(), *(v for v in record.scores.values() if v is not None))
    chosen = record.chosen is None or isinstance(record.chosen, int)
    return chosen and all(isinstance(value, int | float) and abs(value) < 1e300 for value in known)
