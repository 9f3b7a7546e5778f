"""What a run is (RunSpec), what it found (Record), and its folder of files."""

from __future__ import annotations

import hashlib
import json
import math
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from functools import cache
from pathlib import Path
from typing import Annotated, Any, Literal

from filelock import FileLock, Timeout
from pydantic import AfterValidator, BeforeValidator, ConfigDict, Field, Strict, TypeAdapter, ValidationError

from bench.errors import StoreError
from bench.files import is_plain_file, sha256, write_whole

SCHEMA = 1
Protocol = Literal["clean", "refit", "best-on-test"]
Stage = Literal["final", "trial"]
Kind = Literal["out of memory", "nan", "data", "interrupted", "other", "pruned"]  # pruned: given up by a search
RECORD = "record.json"
DEPTH = 8  # levels of lists and objects in a record's text; ours have four
LARGEST = 256_000_000  # bytes of a record's file
_KEY = re.compile("[0-9a-f]{20}")
_PLAIN = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")
_ATTEMPT = re.compile(r"failed-[1-9][0-9]{0,8}\.json")
_RESERVED = re.compile(
    r"record\.json|mlflow\.json|requested_by\.jsonl|log|checkpoints|(failed|superseded)-.*", re.IGNORECASE
)


def is_key(key: object) -> bool:
    """Return whether a value is the key of a run, and so the name of its folder: 20 hex digits."""
    return isinstance(key, str) and bool(_KEY.fullmatch(key))


def is_file_name(name: str) -> bool:
    """Return whether a record may list a file of this name: it lies in the run's folder and is none of its own."""
    return bool(_PLAIN.fullmatch(name)) and not _RESERVED.fullmatch(name)


def _check_file_name(name: str) -> str:
    if not is_file_name(name):
        raise ValueError(f"a file named {ascii(name)[:60]} may lie outside its folder")
    return name


def _check_label(text: str) -> str:
    if not 0 < len(text) <= 250 or "/" in text or "\\" in text or not text.isprintable():
        raise ValueError(f"{ascii(text)[:60]} is not a name")
    return text


def _check_number(value: object) -> object:
    if isinstance(value, bool) or not isinstance(value, int | float) or not abs(value) < 1e300:
        raise ValueError("not a finite number")
    return value


# The types below hold what a record's text may contain: they coerce nothing, so that a run's key follows from the text.
Text = Annotated[str, Strict()]
Int = Annotated[int, Strict(), Field(ge=-(2**63), lt=2**63)]
Count = Annotated[int, Strict(), Field(ge=0, lt=2**63)]
Number = Annotated[float, BeforeValidator(_check_number)]
Label = Annotated[str, Strict(), AfterValidator(_check_label)]
FileName = Annotated[str, Strict(), AfterValidator(_check_file_name)]
Key = Annotated[str, Strict(), Field(pattern=f"^{_KEY.pattern}$")]
Digest = Annotated[str, Strict(), Field(pattern="^[0-9a-f]{64}$")]


@dataclass(frozen=True)
class RunSpec:
    """Everything that may change a run's numbers, and nothing else: no paths, no devices, no labels."""

    __pydantic_config__ = ConfigDict(extra="forbid")

    method: Label  # the base entry; a pinned name is only a label
    version: Int  # of the method
    config: dict[Label, Any]  # resolved in full
    dataset: Label
    data: Literal["real", "sample"]
    split: Digest  # fingerprint of (clip key, label, split)
    content: Digest  # hash of the usable clips and the preparation's parameters
    fold: Count
    seed: Count
    protocol: Protocol = "clean"
    stage: Stage = "final"  # a trial of a search has no test scores, and never stands in for a final run
    weights: dict[Label, Digest] = field(default_factory=dict)  # config field -> sha256 of the file it names
    schema: Int = SCHEMA
    stop: Count | None = None  # epochs of the stage that val would have judged: protocol refit

    @property
    def key(self) -> str:
        """The run's name: 20 hex digits that follow from every field (from `stop` only where it is given)."""
        fields = {name: value for name, value in vars(self).items() if (name, value) != ("stop", None)}
        text = json.dumps(fields, sort_keys=True, separators=(",", ":"))
        return hashlib.sha256(text.encode()).hexdigest()[:20]


@dataclass(frozen=True)
class Failure:
    """Why a run brought no scores."""

    __pydantic_config__ = ConfigDict(extra="forbid")

    kind: Kind
    message: Text
    traceback: Text


@dataclass(frozen=True)
class Record:
    """What one run found. `files` are the sha256 of what lies beside it: predictions, curves, weights, pictures."""

    __pydantic_config__ = ConfigDict(extra="forbid")

    key: Key
    spec: RunSpec
    arm: Label  # the name it was asked for by
    preset: Label
    attempt: Count
    scores: dict[Text, Number | None]  # "test/acc_e", "val/acc_e", ...; fractions
    notes: dict[Text, Number]  # what the method and the sample's truth tell besides
    seconds: dict[Text, Number]
    provenance: dict[Label, Text | Int | bool]
    problems: list[dict[Text, Text]]
    files: dict[FileName, Digest] = field(default_factory=dict)
    error: Failure | None = None
    chosen: Count | None = None  # epochs after which the best on val was reached

    def as_json(self) -> str:
        """The record as it stands on disk."""
        return json.dumps(asdict(self), indent=1, sort_keys=True, allow_nan=False) + "\n"

    @staticmethod
    def from_json(text: str | bytes, where: str) -> Record:
        """Parse a record's text. This is the only way in for records, whoever wrote them.

        Raises StoreError, in one line, for a text that is not a record, is of another schema, names files outside its
        folder, or whose key does not follow from its spec. No value is coerced.
        """
        try:
            raw = json.loads(text, parse_constant=_refuse_constant)
            schema = raw["spec"]["schema"]
            if schema != SCHEMA:
                raise StoreError(f"{where} has schema {ascii(schema)[:20]}, this version reads {SCHEMA}; it is skipped")
            record = _adapter().validate_python(_bounded(raw, DEPTH))
            if record.key != record.spec.key:
                raise ValueError("its key does not follow from its spec")
        except ValidationError as error:
            first = error.errors(include_url=False, include_input=False)[0]
            reason = f"{'.'.join(map(str, first['loc']))}: {first['msg']}"
        except (KeyError, TypeError, ValueError, RecursionError) as error:
            reason = f"{type(error).__name__}: {error}"
        else:
            return record
        raise StoreError(f"{where} is not a record ({ascii(reason)[1:-1][:200]}); move it away")


@cache
def _adapter() -> TypeAdapter[Record]:
    return TypeAdapter(Record)


def _refuse_constant(name: str) -> None:
    raise ValueError(f"{name} is not a number")


def _bounded(value: Any, depth: int) -> Any:
    """Return a value of JSON with halves of characters replaced. Raises ValueError where it is nested deeper than
    `depth` levels or holds a number that is not finite."""
    if isinstance(value, str):
        return value.encode(errors="backslashreplace").decode()
    if isinstance(value, float) and not math.isfinite(value):
        raise ValueError("a number is not finite")
    if isinstance(value, int) and not -(2**63) <= value < 2**63:
        raise ValueError("a number is too large")
    if isinstance(value, dict | list) and depth == 0:
        raise ValueError("nested too deeply")
    if isinstance(value, dict):
        return {_bounded(name, 0): _bounded(one, depth - 1) for name, one in value.items()}
    if isinstance(value, list):
        return [_bounded(one, depth - 1) for one in value]
    return value


def read_record(path: Path) -> Record:
    """Read the file of a record, which lies in the folder of its run.

    Raises StoreError, in one line, where it is a link or no file, cannot be read, or is not the record of that run.
    """
    try:
        if path.parent.is_symlink() or not is_plain_file(path):
            raise StoreError(f"{path} is a link or no file; move it away")
        if path.stat().st_size > LARGEST:
            raise StoreError(f"{path} is larger than {LARGEST / 1e6:.0f} MB and not a record; move it away")
        record = Record.from_json(path.read_bytes(), str(path))
    except OSError as error:
        raise StoreError(f"{path} cannot be read ({error.strerror}); move it away") from None
    if record.key != path.parent.name:
        raise StoreError(f"{path} is the record of another run ({record.key}); move it away")
    return record


@dataclass(frozen=True)
class RunFolder:
    """The folder of one run: checkpoints while it goes, record and files once it is done."""

    path: Path

    @property
    def lock(self) -> Path:
        """The lock file of the run, beside its folder."""
        return self.path.with_suffix(".lock")

    @property
    def checkpoints(self) -> Path:
        """Where a fit keeps what it needs to go on after a kill."""
        return self.path / "checkpoints"

    def record(self) -> Record | None:
        """Read the finished record, if there is one. Raises StoreError where it cannot be read."""
        path = self.path / RECORD
        return read_record(path) if path.exists() else None

    def failed_record(self) -> Record | None:
        """Read the record of the last try that failed, if there is one. Raises StoreError where it cannot be read."""
        path = self.last_failure()
        return read_record(path) if path is not None else None

    def last_failure(self) -> Path | None:
        """Return the file of the last try that failed. Raises StoreError where a file's number is none."""
        tries = list(self.path.glob("failed-*.json"))
        if odd := [path for path in tries if not _ATTEMPT.fullmatch(path.name)]:
            raise StoreError(f"{odd[0]} is not a record; move it away")
        return max(tries, key=lambda path: (len(path.name), path.name), default=None)

    def sha(self) -> str:
        """The sha256 of the finished record. Raises StoreError where there is none to read."""
        try:
            return sha256(self.path / RECORD)
        except OSError as error:
            raise StoreError(f"{self.path / RECORD} cannot be read ({error.strerror}); move it away") from None

    def superseded(self) -> set[str]:
        """The sha256 of the records that fresh runs have replaced."""
        return {sha256(path) for path in self.path.glob(f"superseded-*/{RECORD}")}

    def attempts(self) -> int:
        """How many runs of this key have ended so far, in success or failure."""
        return len(list(self.path.glob("failed-*.json"))) + len(list(self.path.glob("superseded-*")))

    def write(self, record: Record) -> None:
        """Put the record in place, whole or not at all; a failed one stands aside under its attempt's number."""
        name = RECORD if record.error is None else f"failed-{record.attempt}.json"
        write_whole(self.path / name, record.as_json().encode())

    def set_aside(self, record: Record) -> None:
        """Make room for a fresh run: the finished record moves with its files into a folder of its own, itself first,
        so that it never stands without them."""
        place = self.path / f"superseded-{self.attempts() + 1}"
        place.mkdir()
        for name in (RECORD, *record.files):
            if (self.path / name).exists():  # weights and a light record's files may be on another machine
                (self.path / name).replace(place / name)

    @contextmanager
    def held(self, busy: Callable[[], None]) -> Iterator[None]:
        """Hold the run's lock. Where another process has it, call `busy`, which may raise, and then wait.

        Raises StoreError where the folder cannot be written.
        """
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            lock = FileLock(self.lock)
            try:
                lock.acquire(timeout=0)
            except Timeout:
                busy()
                lock.acquire()
        except OSError as error:
            raise StoreError(
                f"cannot write {self.path.parent}: {error.strerror}; choose another place with --results"
            ) from None
        try:
            yield
        finally:
            lock.release()


def finished_runs(results: Path) -> list[RunFolder]:
    """The folders that hold a finished record, by key."""
    return [RunFolder(path.parent) for path in sorted((results / "runs").glob(f"*/{RECORD}"))]
