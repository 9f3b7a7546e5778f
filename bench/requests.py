"""Why a run was made: the requests for it, appended to a file in its folder.

They are not hashed, change no key and travel with the folder. The file may come from a server: a line is read only if
every value is of its type, and a line that a kill cut off is ignored.
"""

from __future__ import annotations

import hashlib
import json
import logging
import re
import shlex
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Literal

from pydantic import AfterValidator, ConfigDict, Field, Strict

from bench.errors import StoreError
from bench.files import atomic_write, is_plain_file, parse_json
from bench.record import Count, EvaluationProtocol, RunFolder, ShortName, sanitise_text, validate

REQUESTS = "requested_by.jsonl"
REQUEST_SCHEMA = 1
Tuning = Literal["none", "shared", "per-arm"]
"""Whose tuned values an arm runs with, where a search is asked for. shared: every arm has those of the full method, so
that arms differ by the ablated part alone. per-arm: each arm has a search of its own with the same budget, so that
none is judged by values chosen for another. none: as the preset has them."""
MAX_LINES, MAX_LINE_BYTES, MAX_FILE_BYTES = 1_000, 200_000, 10_000_000  # what is read of a file
MAX_COMMAND_LENGTH = 10_000  # of a command
_PASSWORD = re.compile(r"://\S*@")
_SECRET = re.compile(r"(?i)([?&][^=&\s]*(?:password|passwd|token|secret|key)[^=&\s]*=)[^&\s]*")
_log = logging.getLogger(__name__)
EmptyText = Literal[""]


SafeText = Annotated[str, Strict(), AfterValidator(sanitise_text)]


@dataclass(frozen=True)
class RequestedPlan:
    """All runs that a command asked for: each arm on every fold of its data sets, with every seed and protocol."""

    __pydantic_config__ = ConfigDict(extra="forbid")

    datasets: dict[ShortName, tuple[Count, ...]]  # name -> folds
    seeds: tuple[Count, ...]
    protocols: tuple[EvaluationProtocol, ...]


@dataclass(frozen=True)
class StoredRequest:
    """One request for a run. Values that were set by hand are those that differ from the preset's."""

    __pydantic_config__ = ConfigDict(extra="forbid")

    study: ShortName | EmptyText  # "" for a command that names none
    arm: ShortName
    preset: ShortName
    plan: RequestedPlan
    tuning: Tuning = "none"
    tuned_by: ShortName | EmptyText = ""  # the arm whose search gave the values
    search: Annotated[str, Strict(), Field(pattern="^([0-9a-f]{12})?$")] = ""  # its digest
    tried: Count = 1  # configurations that the search had tried
    settings: dict[ShortName, SafeText] = field(
        default_factory=dict
    )  # set by hand: field -> text; a file by its sha256
    command: SafeText = ""  # as it was typed, without passwords
    time: Annotated[str, Strict(), Field(pattern=r"^(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ)?$")] = ""  # UTC
    schema: Annotated[int, Strict(), Field(ge=REQUEST_SCHEMA, le=REQUEST_SCHEMA)] = REQUEST_SCHEMA

    def is_like(self, other: StoredRequest) -> bool:
        """Return whether another request differs by its command and time at most."""
        return replace(self, command="", time="") == replace(other, command="", time="")

    def to_line(self) -> bytes:
        """The request as it is stored, with its line break."""
        return json.dumps(asdict(self), separators=(",", ":")).encode() + b"\n"


def format_command(words: Sequence[str]) -> str:
    """Return a command as it was typed; passwords in URLs are replaced by ***."""
    typed = [_SECRET.sub(r"\1***", _PASSWORD.sub("://***@", word)) for word in words]
    text = shlex.join(["python", "bench.py", *typed])
    return text if len(text) <= MAX_COMMAND_LENGTH else f"{text[:MAX_COMMAND_LENGTH]} ..."


def name_files(requests: Iterable[StoredRequest], contents: Mapping[str, str]) -> tuple[StoredRequest, ...]:
    """Return requests that name the files set by hand by their sha256; `contents` are those of a config."""
    return tuple(
        replace(one, settings={name: contents.get(name, text) for name, text in one.settings.items()})
        for one in requests
    )


def parse_requests(text: bytes, where: str) -> tuple[list[StoredRequest], list[str]]:
    """Return the requests in the text of a file, and a warning in one line where lines are none and skipped.

    What stands behind the last line break was cut off by a kill, and is not told.
    """
    lines = text[:MAX_FILE_BYTES].split(b"\n")[:-1]
    found, broken = [], []
    for line in lines[:MAX_LINES]:
        try:
            found.append(_parse_line(line))
        except ValueError as error:
            broken.append(str(error))
    passed = len(broken) + max(0, len(lines) - MAX_LINES)
    reason = broken[0] if broken else f"only {MAX_LINES} are read"
    told = f"{where}: {passed} of {len(lines)} lines are no requests and skipped ({reason})"
    return found, [told] if passed else []


def read_requests(folder: RunFolder) -> tuple[list[StoredRequest], list[str]]:
    """Return the requests for a run, none for one of version 0.1, and a warning where something is skipped."""
    path = folder.path / REQUESTS
    return parse_requests(_read_text(path), str(path))


def add_requests(folder: RunFolder, new: Iterable[StoredRequest]) -> None:
    """Append requests to those of a run, but none that is there already. The caller holds the run's lock.

    A run that is published already brings a new request to MLflow with the next `sync`.
    """
    path = folder.path / REQUESTS
    before = _read_text(path)
    known, _ = parse_requests(before, str(path))
    now = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    added = []
    for one in new:
        line = replace(one, time=one.time or now).to_line()
        try:
            one = _parse_line(line[:-1])
        except ValueError as error:  # no reason to lose a run
            _log.warning("a request of %s is not stored: %s", folder.path.name, error)
            continue
        if not any(one.is_like(other) for other in known):
            known.append(one)
            added.append(line)
    whole = before[: before.rfind(b"\n") + 1]  # without what a kill cut off
    if added and whole.count(b"\n") + len(added) <= MAX_LINES and len(whole) + sum(map(len, added)) <= MAX_FILE_BYTES:
        atomic_write(path, whole + b"".join(added))


def lacks_requests(known: Sequence[StoredRequest], wanted: Sequence[StoredRequest]) -> bool:
    """Return whether one of the wanted requests is not among the known ones."""
    return any(not any(one.is_like(other) for other in known) for one in wanted)


def format_requests(requests: Iterable[StoredRequest]) -> bytes:
    """Return the text of requests in an order of their own, by time, that no merging changes."""
    lines = [(one.time, one.to_line()) for one in requests]
    return b"".join(line for _, line in sorted(lines))


def hash_requests(requests: Sequence[StoredRequest]) -> str:
    """Return the sha256 of the text of requests; "" for none."""
    return hashlib.sha256(format_requests(requests)).hexdigest() if requests else ""


def _read_text(path: Path) -> bytes:
    """Return what is read of a file; nothing of a link."""
    if not is_plain_file(path):
        return b""
    try:
        with path.open("rb") as file:
            return file.read(MAX_FILE_BYTES)
    except OSError as error:
        raise StoreError(f"{path} cannot be read ({error.strerror}); move it away") from None


def _parse_line(line: bytes) -> StoredRequest:
    """Return the request in a line. Raises ValueError, in one line."""
    try:
        if len(line) > MAX_LINE_BYTES:
            raise ValueError(f"longer than {MAX_LINE_BYTES} bytes")
        return validate(StoredRequest, parse_json(line))
    except ValueError as error:
        raise ValueError(ascii(str(error))[1:-1][:200]) from None
