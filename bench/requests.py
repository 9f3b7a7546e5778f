"""Requests for a run: the commands and studies that requested it, stored as lines of a file in its folder.

They do not affect the run key. The file may come from a server, so a line is only used if every value has its type; an
incomplete last line, left by a killed process, is ignored.
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
"""Source of an arm's tuned hyper-parameters. shared: all arms use those found for the full method, so that arms differ
only by the ablated component. per-arm: each arm has its own search with the same budget, so that no arm runs with
values tuned for another. none: the values of the preset."""
MAX_LINES, MAX_LINE_BYTES, MAX_FILE_BYTES = 1_000, 200_000, 10_000_000  # the rest of a file is not read
MAX_COMMAND_LENGTH = 10_000  # characters
_PASSWORD = re.compile(r"://\S*@")
_SECRET = re.compile(r"(?i)([?&][^=&\s]*(?:password|passwd|token|secret|key)[^=&\s]*=)[^&\s]*")
_log = logging.getLogger(__name__)
EmptyText = Literal[""]


SafeText = Annotated[str, Strict(), AfterValidator(sanitise_text)]


@dataclass(frozen=True)
class RequestedPlan:
    """Runs that a command requests for each arm: every fold of the data sets, every seed and every protocol."""

    __pydantic_config__ = ConfigDict(extra="forbid")

    datasets: dict[ShortName, tuple[Count, ...]]  # name -> folds
    seeds: tuple[Count, ...]
    protocols: tuple[EvaluationProtocol, ...]


@dataclass(frozen=True)
class StoredRequest:
    """A request for a run."""

    __pydantic_config__ = ConfigDict(extra="forbid")

    study: ShortName | EmptyText  # "" for a command without a study
    arm: ShortName
    preset: ShortName
    plan: RequestedPlan
    tuning: Tuning = "none"
    tuned_by: ShortName | EmptyText = ""  # arm whose search found the values
    search: Annotated[str, Strict(), Field(pattern="^([0-9a-f]{12})?$")] = ""  # digest of that search
    tried: Count = 1  # trials of that search
    # --set field -> text, for values that differ from the preset; a file is named by its sha256
    settings: dict[ShortName, SafeText] = field(default_factory=dict)
    command: SafeText = ""  # without passwords
    time: Annotated[str, Strict(), Field(pattern=r"^(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ)?$")] = ""  # UTC
    schema: Annotated[int, Strict(), Field(ge=REQUEST_SCHEMA, le=REQUEST_SCHEMA)] = REQUEST_SCHEMA

    def is_like(self, other: StoredRequest) -> bool:
        """Return whether two requests are equal except for command and time."""
        return replace(self, command="", time="") == replace(other, command="", time="")

    def to_line(self) -> bytes:
        """Return the stored line, including the line break."""
        return json.dumps(asdict(self), separators=(",", ":")).encode() + b"\n"


def format_command(args: Sequence[str]) -> str:
    """Return the command line of the arguments; passwords and tokens in URLs are replaced by ***."""
    return _cut(shlex.join(["python", "bench.py", *map(_hide_passwords, args)]))


def format_call(name: str, arguments: Mapping[str, object]) -> str:
    """Return a call in Python as text; passwords and tokens in URLs are replaced by ***."""
    shown = {key: _hide_passwords(value) if isinstance(value, str) else value for key, value in arguments.items()}
    return _cut(f"{name}({', '.join(f'{key}={value!r}' for key, value in shown.items())})")


def _hide_passwords(text: str) -> str:
    return _SECRET.sub(r"\1***", _PASSWORD.sub("://***@", text))


def _cut(text: str) -> str:
    return text if len(text) <= MAX_COMMAND_LENGTH else f"{text[:MAX_COMMAND_LENGTH]} ..."


def name_files(requests: Iterable[StoredRequest], contents: Mapping[str, str]) -> tuple[StoredRequest, ...]:
    """Replace file paths in the settings of requests by their sha256, given as field -> sha256."""
    return tuple(
        replace(request, settings={name: contents.get(name, text) for name, text in request.settings.items()})
        for request in requests
    )


def parse_requests(text: bytes, where: str) -> tuple[list[StoredRequest], list[str]]:
    """Return the valid requests in the text of a file, and a one-line warning if lines were skipped.

    An incomplete last line, left by a killed process, is ignored without a warning.
    """
    lines = text[:MAX_FILE_BYTES].split(b"\n")[:-1]
    requests, errors = [], []
    for line in lines[:MAX_LINES]:
        try:
            requests.append(_parse_line(line))
        except ValueError as error:
            errors.append(str(error))
    skipped = len(errors) + max(0, len(lines) - MAX_LINES)
    reason = errors[0] if errors else f"only the first {MAX_LINES} are read"
    warning = f"{where}: skipped {skipped} of {len(lines)} lines ({reason})"
    return requests, [warning] if skipped else []


def read_requests(folder: RunFolder) -> tuple[list[StoredRequest], list[str]]:
    """Read the requests for a run, and a warning if lines were skipped. Runs of version 0.1 have no requests."""
    path = folder.path / REQUESTS
    return parse_requests(_read_text(path), str(path))


def add_requests(folder: RunFolder, new: Iterable[StoredRequest]) -> None:
    """Append new requests to those of a run, without duplicates. The caller holds the run's lock.

    If the run is already published, the next `sync` uploads them.
    """
    path = folder.path / REQUESTS
    before = _read_text(path)
    known, _ = parse_requests(before, str(path))
    now = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    added = []
    for request in new:
        line = replace(request, time=request.time or now).to_line()
        try:
            request = _parse_line(line[:-1])
        except ValueError as error:  # not worth failing the run
            _log.warning("run %s: a request is not stored: %s", folder.path.name, error)
            continue
        if not any(request.is_like(other) for other in known):
            known.append(request)
            added.append(line)
    complete = before[: before.rfind(b"\n") + 1]  # without an incomplete last line
    lines, size = complete.count(b"\n") + len(added), len(complete) + sum(map(len, added))
    if added and lines <= MAX_LINES and size <= MAX_FILE_BYTES:
        atomic_write(path, complete + b"".join(added))


def lacks_requests(known: Sequence[StoredRequest], others: Sequence[StoredRequest]) -> bool:
    """Return whether any of `others` is not among the known requests."""
    return any(not any(other.is_like(request) for request in known) for other in others)


def format_requests(requests: Iterable[StoredRequest]) -> bytes:
    """Return the text of requests, sorted by time, so that it does not depend on the order of merging."""
    lines = [(request.time, request.to_line()) for request in requests]
    return b"".join(line for _, line in sorted(lines))


def hash_requests(requests: Sequence[StoredRequest]) -> str:
    """Return the sha256 of the text of requests; "" if there are none."""
    return hashlib.sha256(format_requests(requests)).hexdigest() if requests else ""


def _read_text(path: Path) -> bytes:
    """Return the first MAX_FILE_BYTES of a file; empty if it does not exist or is a link."""
    if not is_plain_file(path):
        return b""
    try:
        with path.open("rb") as file:
            return file.read(MAX_FILE_BYTES)
    except OSError as error:
        raise StoreError(f"{path} cannot be read ({error.strerror}); move it away") from None


def _parse_line(line: bytes) -> StoredRequest:
    """Parse a line. Raises ValueError with a one-line message."""
    try:
        if len(line) > MAX_LINE_BYTES:
            raise ValueError(f"longer than {MAX_LINE_BYTES} bytes")
        return validate(StoredRequest, parse_json(line))
    except ValueError as error:
        raise ValueError(ascii(str(error))[1:-1][:200]) from None
