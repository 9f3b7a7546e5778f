"""Run specs, records, run folders and provenance."""

from __future__ import annotations

import hashlib
import json
import math
import os
import platform
import re
import socket
import subprocess
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import asdict, dataclass, field
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

from filelock import FileLock, Timeout
from pydantic import AfterValidator, ConfigDict, Field, Strict, TypeAdapter, ValidationError

from bench.errors import StoreError
from bench.files import atomic_write, is_plain_file, parse_json, remove_leftovers, sha256

T = TypeVar("T")
SCHEMA = 1
EvaluationProtocol = Literal["clean", "refit", "best-on-test"]
RunStage = Literal["final", "trial"]
FailureKind = Literal["out of memory", "nan", "data", "interrupted", "other", "pruned"]  # pruned: given up by a search
RECORD_FILE = "record.json"
MAX_JSON_DEPTH = 8  # levels of lists and objects in a record's text; ours have four
MAX_RECORD_BYTES = 256_000_000  # bytes of a record's file
_KEY_PATTERN = re.compile("[0-9a-f]{20}")
_FILE_NAME_PATTERN = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")
_ATTEMPT_PATTERN = re.compile(r"failed-[1-9][0-9]{0,8}\.json")
_RESERVED_PATTERN = re.compile(
    r"record\.json|mlflow\.json|requested_by\.jsonl|log|checkpoints|(failed|superseded)-.*", re.IGNORECASE
)


# The types below hold what a record's text may contain: they coerce nothing, so that a run's key follows from the text.
StrictText = Annotated[str, Strict()]
StrictInt = Annotated[int, Strict(), Field(ge=-(2**63), lt=2**63)]
Count = Annotated[int, Strict(), Field(ge=0, lt=2**63)]
RunKey = Annotated[str, Strict(), Field(pattern=f"^{_KEY_PATTERN.pattern}$")]
Digest = Annotated[str, Strict(), Field(pattern="^[0-9a-f]{64}$")]

REPOSITORY = Path(__file__).resolve().parents[1]
LOCK_FILE = REPOSITORY / "requirements.lock"
CODE_FOLDERS = ("bench", "methods", "datasets", "studies", "reports")
RECORDED_PACKAGES = (
    "torch",
    "torchvision",
    "torchaudio",
    "timm",
    "lightning-fabric",
    "av",
    "numpy",
    "scikit-learn",
    "mlflow",
)


def is_run_key(key: object) -> bool:
    """Return whether a value is the key of a run, and so the name of its folder: 20 hex digits."""
    return isinstance(key, str) and bool(_KEY_PATTERN.fullmatch(key))


def is_artifact_name(name: str) -> bool:
    """Return whether a record may list a file of this name: it lies in the run's folder and is none of its own."""
    return bool(_FILE_NAME_PATTERN.fullmatch(name)) and not _RESERVED_PATTERN.fullmatch(name)


def _check_artifact_name(name: str) -> str:
    if not is_artifact_name(name):
        raise ValueError(f"a file named {ascii(name)[:60]} may lie outside its folder")
    return name


def _check_label(text: str) -> str:
    if not 0 < len(text) <= 250 or "/" in text or "\\" in text or not text.isprintable():
        raise ValueError(f"{ascii(text)[:60]} is not a name")
    return text


def _check_number(value: float) -> float:
    if not abs(value) < 1e300:
        raise ValueError("not a finite number")
    return value


FiniteNumber = Annotated[float, Strict(), AfterValidator(_check_number)]
ShortName = Annotated[str, Strict(), AfterValidator(_check_label)]
ArtifactName = Annotated[str, Strict(), AfterValidator(_check_artifact_name)]


@dataclass(frozen=True)
class RunSpec:
    """Everything that may change a run's numbers, and nothing else: no paths, no devices, no labels."""

    __pydantic_config__ = ConfigDict(extra="forbid")

    method: ShortName  # the base entry; a pinned name is only a label
    version: StrictInt  # of the method
    config: dict[ShortName, Any]  # resolved in full
    dataset: ShortName
    data: Literal["real", "sample"]
    split: Digest  # fingerprint of (clip key, label, split)
    content: Digest  # hash of the usable clips and the preparation's parameters
    fold: Count
    seed: Count
    protocol: EvaluationProtocol = "clean"
    stage: RunStage = "final"  # a trial of a search has no test scores, and never stands in for a final run
    weights: dict[ShortName, Digest] = field(default_factory=dict)  # config field -> sha256 of the file it names
    schema: StrictInt = SCHEMA
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

    kind: FailureKind
    message: StrictText
    traceback: StrictText


@dataclass(frozen=True)
class Record:
    """What one run found. `files` are the sha256 of what lies beside it: predictions, curves, weights, pictures."""

    __pydantic_config__ = ConfigDict(extra="forbid")

    key: RunKey
    spec: RunSpec
    arm: ShortName  # the name it was asked for by
    preset: ShortName
    attempt: Count
    scores: dict[StrictText, FiniteNumber | None]  # "test/acc_e", "val/acc_e", ...; fractions
    notes: dict[StrictText, FiniteNumber]  # what the method and the sample's truth tell besides
    seconds: dict[StrictText, FiniteNumber]
    provenance: dict[ShortName, StrictText | StrictInt | bool]
    problems: list[dict[StrictText, StrictText]]
    files: dict[ArtifactName, Digest] = field(default_factory=dict)
    error: Failure | None = None
    chosen: Count | None = None  # epochs after which the best on val was reached

    def to_json(self) -> str:
        """The record as it stands on disk."""
        return json.dumps(asdict(self), indent=1, sort_keys=True, allow_nan=False) + "\n"

    @staticmethod
    def from_json(text: str | bytes, where: str) -> Record:
        """Parse a record's text. This is the only way in for records, whoever wrote them.

        Raises StoreError, in one line, for a text that is not a record, is of another schema, names files outside its
        folder, or whose key does not follow from its spec. No value is coerced.
        """
        try:
            raw = parse_json(text)
            schema = raw["spec"]["schema"]
            if schema != SCHEMA:
                raise StoreError(f"{where} has schema {ascii(schema)[:20]}, this version reads {SCHEMA}; it is skipped")
            record = validate(Record, _sanitise_json(raw, MAX_JSON_DEPTH))
            if record.key != record.spec.key:
                raise ValueError("its key does not follow from its spec")
        except (KeyError, TypeError, ValueError) as error:
            what = str(error) if type(error) is ValueError else f"{type(error).__name__}: {error}"
            reason = ascii(what)[1:-1][:200]
            raise StoreError(f"{where} is not a record ({reason}); move it away") from None
        return record


def validate(kind: type[T], value: object) -> T:
    """Return a value of JSON as a dataclass. Raises ValueError, which names the first field that is wrong."""
    try:
        found: T = _get_adapter(kind).validate_python(value)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        raise ValueError(f"{'.'.join(map(str, first['loc']))}: {first['msg']}") from None
    return found


_get_adapter: Callable[[Any], TypeAdapter[Any]] = cache(TypeAdapter)  # made once a class


def sanitise_text(text: str) -> str:
    """Return a text with halves of characters replaced."""
    return text.encode(errors="backslashreplace").decode()


def _sanitise_json(value: Any, depth: int) -> Any:
    """Return a value of JSON with halves of characters replaced. Raises ValueError where it is nested deeper than
    `depth` levels or holds a number that is not finite."""
    if isinstance(value, str):
        return sanitise_text(value)
    if isinstance(value, float) and not math.isfinite(value):
        raise ValueError("a number is not finite")
    if isinstance(value, int) and not -(2**63) <= value < 2**63:
        raise ValueError("a number is too large")
    if isinstance(value, dict | list) and depth == 0:
        raise ValueError("nested too deeply")
    if isinstance(value, dict):
        return {_sanitise_json(name, 0): _sanitise_json(one, depth - 1) for name, one in value.items()}
    if isinstance(value, list):
        return [_sanitise_json(one, depth - 1) for one in value]
    return value


def read_record(path: Path) -> Record:
    """Read the file of a record, which lies in the folder of its run.

    Raises StoreError, in one line, where it is a link or no file, cannot be read, or is not the record of that run.
    """
    try:
        if path.parent.is_symlink() or not is_plain_file(path):
            raise StoreError(f"{path} is a link or no file; move it away")
        if path.stat().st_size > MAX_RECORD_BYTES:
            raise StoreError(f"{path} is larger than {MAX_RECORD_BYTES / 1e6:.0f} MB and not a record; move it away")
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
    def checkpoints(self) -> Path:
        """Where a fit keeps what it needs to go on after a kill."""
        return self.path / "checkpoints"

    def read_record(self) -> Record | None:
        """Read the finished record, if there is one. Raises StoreError where it cannot be read."""
        path = self.path / RECORD_FILE
        return read_record(path) if path.exists() else None

    def read_failed_record(self) -> Record | None:
        """Read the record of the last try that failed, if there is one. Raises StoreError where it cannot be read."""
        path = self.find_last_failure()
        return read_record(path) if path is not None else None

    def find_last_failure(self) -> Path | None:
        """Return the file of the last try that failed. Raises StoreError where a file's number is none."""
        tries = list(self.path.glob("failed-*.json"))
        if odd := [path for path in tries if not _ATTEMPT_PATTERN.fullmatch(path.name)]:
            raise StoreError(f"{odd[0]} is not a record; move it away")
        return max(tries, key=lambda path: (len(path.name), path.name), default=None)

    def hash_record(self) -> str:
        """The sha256 of the finished record. Raises StoreError where there is none to read."""
        try:
            return sha256(self.path / RECORD_FILE)
        except OSError as error:
            raise StoreError(f"{self.path / RECORD_FILE} cannot be read ({error.strerror}); move it away") from None

    def hash_superseded(self) -> set[str]:
        """The sha256 of the records that fresh runs have replaced."""
        return {sha256(path) for path in self.path.glob(f"superseded-*/{RECORD_FILE}")}

    def count_attempts(self) -> int:
        """How many runs of this key have ended so far, in success or failure."""
        return len(list(self.path.glob("failed-*.json"))) + len(list(self.path.glob("superseded-*")))

    def write_record(self, record: Record) -> None:
        """Put the record in place, whole or not at all; a failed one stands aside under its attempt's number."""
        name = RECORD_FILE if record.error is None else f"failed-{record.attempt}.json"
        atomic_write(self.path / name, record.to_json().encode())

    def set_aside(self, record: Record) -> None:
        """Make room for a fresh run: the finished record moves with its files into a folder of its own, itself first,
        so that it never stands without them."""
        place = self.path / f"superseded-{self.count_attempts() + 1}"
        place.mkdir()
        for name in (RECORD_FILE, *record.files):
            if (self.path / name).exists():  # weights may be on another machine
                (self.path / name).replace(place / name)

    def locked(self, busy: Callable[[], None]) -> AbstractContextManager[None]:
        """Return a block that holds the run's lock, as `lock_folder` does."""
        return lock_folder(self.path, busy)


@contextmanager
def lock_folder(folder: Path, busy: Callable[[], None]) -> Iterator[None]:
    """Make a folder and hold its lock. Where another process has it, call `busy`, which may raise, and then wait.

    What a killed process left half-written in it is removed. Raises StoreError where the folder cannot be written.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock = FileLock(folder.with_suffix(".lock"))
        try:
            lock.acquire(timeout=0)
        except Timeout:
            busy()
            lock.acquire()
        remove_leftovers(folder)
    except OSError as error:
        raise StoreError(
            f"cannot write {folder.parent}: {error.strerror}; choose another place with --results"
        ) from None
    try:
        yield
    finally:
        lock.release()


def find_finished_runs(results: Path) -> list[RunFolder]:
    """The folders that hold a finished record, by key."""
    return [RunFolder(path.parent) for path in sorted((results / "runs").glob(f"*/{RECORD_FILE}"))]


@cache
def find_commit() -> tuple[str, bool]:
    """The checkout's commit and whether the program differs from it; ("unknown", True) outside of git."""
    try:
        head = _run_git("rev-parse", "HEAD")
        return head, bool(_run_git("status", "--porcelain", "--", "bench.py", "requirements.lock", *CODE_FOLDERS))
    except (OSError, subprocess.SubprocessError):
        return "unknown", True


@cache
def hash_source() -> str:
    """A hash of all code of the program, whatever git knows of it."""
    digest = hashlib.sha256()
    for path in sorted(path for folder in CODE_FOLDERS for path in (REPOSITORY / folder).rglob("*.py")):
        digest.update(f"{path.relative_to(REPOSITORY)}\0".encode() + path.read_bytes() + b"\0")
    return digest.hexdigest()[:16]


def collect_provenance(device: str, threads: int) -> dict[str, str | int | bool]:
    """The facts of this process and machine that a record carries."""
    head, dirty = find_commit()
    return {
        "commit": head,
        "dirty": dirty,
        "source": hash_source(),
        "lock": sha256(LOCK_FILE)[:16] if LOCK_FILE.exists() else "none",
        "python": platform.python_version(),
        **{package: _get_package_version(package) for package in RECORDED_PACKAGES},
        "platform": platform.platform(),
        "processor": _get_processor_name(),
        "device": _get_device_name(device),
        "threads": threads,
        "host": socket.gethostname(),
    }


def get_process_id() -> str:
    """`pid:start:boot`: names this process even after its number is given to another, whatever the clock is set to."""
    return _make_process_id(os.getpid())


def process_is_alive(process: str) -> bool:
    """Whether the process that `get_process_id` once named still runs on this machine."""
    try:
        return _make_process_id(int(process.partition(":")[0])) == process
    except (OSError, ValueError):
        return False


def _make_process_id(number: int) -> str:
    """Its number, its start in ticks since boot (field 22 of Linux's stat), and which boot that was."""
    start = Path(f"/proc/{number}/stat").read_text().rpartition(")")[2].split()[19]
    return f"{number}:{start}:{Path('/proc/sys/kernel/random/boot_id').read_text().strip()}"


def _run_git(*words: str) -> str:
    done = subprocess.run(["git", *words], cwd=REPOSITORY, capture_output=True, text=True, timeout=10, check=True)
    return done.stdout.strip()


def _get_package_version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "absent"


def _get_processor_name() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:  # macOS has no /proc
        return platform.processor()
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), "unknown")


def _get_device_name(device: str) -> str:
    if device == "cpu":
        return "cpu"
    import torch

    return torch.cuda.get_device_name(device)
