"""The final records that are on the disk, finished or failed."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from bench.errors import StoreError
from bench.files import sha256
from bench.record import RECORD, Record, RunFolder, read_record
from bench.requests import StoredRequest, read_requests
from studies.ask import known_arms


@dataclass(frozen=True)
class Found:
    """A record on the disk."""

    record: Record
    path: Path  # of its text: record.json, or failed-N.json
    sha: str  # of that file
    requests: tuple[StoredRequest, ...] = ()  # why the run was made; none where that is not known


def read_records(results: Path) -> tuple[list[Found], list[str]]:
    """Every final record by key, finished or else the last that failed; and why a record or a request was
    passed over."""
    found, passed = [], []
    for place in sorted((results / "runs").glob("*/")):
        try:
            one = _read(RunFolder(place))
            if one is not None and one.record.spec.stage == "final":
                requests, told = read_requests(RunFolder(place))
                found.append(replace(one, requests=tuple(requests)))
                passed += told
        except StoreError as error:
            passed.append(str(error))
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
    path = folder.path / RECORD
    if not path.exists():
        last = folder.last_failure()
        if last is None:
            return None
        path = last
    return Found(read_record(path), path, sha256(path))
