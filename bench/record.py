"""Run specs, records, run folders, the info on the data set in them, and provenance."""

from __future__ import annotations

import errno
import fcntl
import hashlib
import json
import math
import os
import platform
import re
import shutil
import socket
import subprocess
from collections.abc import Callable, Iterator, Mapping
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
from bench.tasks import Classification, Regression, Task
from bench.timing import sum_compute_seconds
from bench.types import DatasetInfo

T = TypeVar("T")
SCHEMA = 2
READABLE_SCHEMAS = (1, SCHEMA)  # 1: version 0.1, whose run keys depend on decoded clips
EvaluationProtocol = Literal["clean", "refit", "best-on-test"]
RunStage = Literal["final", "trial"]
# pruned: stopped early by a search
FailureKind = Literal["out of memory", "nan", "data", "interrupted", "other", "pruned"]
RECORD_FILE = "record.json"
DATASET_INFO_FILE = "card.json"  # next to the record
START_FILE = "run.json"  # in the folder of checkpoints: what the process that trains there executes
MAX_JSON_DEPTH = 8  # levels of nested lists and objects in a record; those that we write have four
MAX_RECORD_BYTES = 256_000_000  # bytes of a record's file
_KEY_PATTERN = re.compile("[0-9a-f]{20}")
_FILE_NAME_PATTERN = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")
_ATTEMPT_PATTERN = re.compile(r"failed-[1-9][0-9]{0,8}\.json")
_RESERVED_PATTERN = re.compile(
    r"record\.json|mlflow\.json|requested_by\.jsonl|log|checkpoints|(failed|superseded)-.*", re.IGNORECASE
)


# Strict types of a record's fields. Nothing is coerced, so that the run key can be recomputed from the text.
StrictText = Annotated[str, Strict()]
StrictInt = Annotated[int, Strict(), Field(ge=-(2**63), lt=2**63)]
StrictBool = Annotated[bool, Strict()]
Count = Annotated[int, Strict(), Field(ge=0, lt=2**63)]
RunKey = Annotated[str, Strict(), Field(pattern=f"^{_KEY_PATTERN.pattern}$")]
Digest = Annotated[str, Strict(), Field(pattern="^[0-9a-f]{64}$")]

TASK_FIELDS: dict[type[Task], tuple[str, ...]] = {
    Classification: ("classes", "sentiment"),
    Regression: ("targets", "select"),
}
"""Kind of task -> its fields in the file of a dataset info."""

REPOSITORY = Path(__file__).resolve().parents[1]
LOCK_FILE = REPOSITORY / "requirements.lock"
CODE_FOLDERS = ("bench", "methods", "datasets", "studies", "reports")
CHECKPOINT_FACTS = ("source", "lock", "python", "torch", "device", "threads", "processor")  # of one training
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
    """Return whether a value is a run key: 20 hex digits, also the name of the run's folder."""
    return isinstance(key, str) and bool(_KEY_PATTERN.fullmatch(key))


def is_artifact_name(name: str) -> bool:
    """Return whether a record may list a file of this name: no path and not a file that the run folder itself uses."""
    return bool(_FILE_NAME_PATTERN.fullmatch(name)) and not _RESERVED_PATTERN.fullmatch(name)


def _check_artifact_name(name: str) -> str:
    if not is_artifact_name(name):
        raise ValueError(f"invalid file name {ascii(name)[:60]}")
    return name


def _check_label(text: str) -> str:
    if not 0 < len(text) <= 250 or "/" in text or "\\" in text or not text.isprintable():
        raise ValueError(f"invalid name {ascii(text)[:60]}")
    return text


def _check_number(value: float) -> float:
    if not abs(value) < 1e300:
        raise ValueError("not a finite number")
    return value


FiniteNumber = Annotated[float, Strict(), AfterValidator(_check_number)]
ShortName = Annotated[str, Strict(), AfterValidator(_check_label)]
ArtifactName = Annotated[str, Strict(), AfterValidator(_check_artifact_name)]


@dataclass(frozen=True)
class PretrainingData:
    """Another data set whose training clips a run is pre-trained on."""

    __pydantic_config__ = ConfigDict(extra="forbid")

    dataset: ShortName
    data: Literal["real", "sample"]
    split: Digest
    content: Digest
    fold: Count


@dataclass(frozen=True)
class RunSpec:
    """All inputs that change a run's numbers; paths, devices and labels are not part of it."""

    __pydantic_config__ = ConfigDict(extra="forbid")

    method: ShortName  # registry name; a variant is stored as the method with another config
    version: StrictInt  # of the method
    config: dict[ShortName, Any]  # all fields, defaults included
    dataset: ShortName
    data: Literal["real", "sample"]
    split: Digest  # `DataIdentity.fingerprint`; in schema 1 of the usable clips only
    content: Digest  # `DataIdentity.content_hash`; in schema 1 of the usable clips only
    fold: Count
    seed: Count
    protocol: EvaluationProtocol = "clean"
    stage: RunStage = "final"  # a trial of a search has no test scores; reports use final runs only
    weights: dict[ShortName, Digest] = field(default_factory=dict)  # config field -> sha256 of the file it names
    schema: StrictInt = SCHEMA
    stop: Count | None = None  # protocol refit: epochs of the supervised stage, as selected by clean runs
    limit: Count | None = None  # clips of each class in each split, for a try; None = all
    pretrain_on: PretrainingData | None = None  # None: the run's own training clips
    plugin: Digest | None = None  # sha256 of the text of the plugin that defines the method

    @property
    def key(self) -> str:
        """Return the run key, 20 hex digits: a hash of all fields that are set."""
        return hash_fields(asdict(self))[:20]

    @property
    def extras(self) -> dict[str, str]:
        """Return the options, in addition to config values, that set this run apart: option -> text."""
        found = {"limit": str(self.limit)} if self.limit is not None else {}
        return found | ({"pretrain_on": self.pretrain_on.dataset} if self.pretrain_on is not None else {})


def hash_fields(fields: Mapping[str, Any]) -> str:
    """Return the sha256 of fields, without those that are None, so that a later version can add fields."""
    known = {name: value for name, value in fields.items() if value is not None}
    return hashlib.sha256(json.dumps(known, sort_keys=True, separators=(",", ":")).encode()).hexdigest()


@dataclass(frozen=True)
class StartedRun:
    """What a process executes: written into the run's folder when it starts, removed with the checkpoints."""

    __pydantic_config__ = ConfigDict(extra="forbid")

    arm: ShortName
    preset: ShortName
    spec: RunSpec


@dataclass(frozen=True)
class Failure:
    """Reason why a run has no scores."""

    __pydantic_config__ = ConfigDict(extra="forbid")

    kind: FailureKind
    message: StrictText
    traceback: StrictText


@dataclass(frozen=True)
class StageUse:
    """A stored stage of training that a run used, such as its pre-training."""

    __pydantic_config__ = ConfigDict(extra="forbid")

    key: RunKey
    sha256: Digest  # of its weights
    seconds: FiniteNumber  # of its training
    reused: StrictBool = False  # whether another run trained it


@dataclass(frozen=True)
class Record:
    """Result of one run. `files` maps each file next to it (predictions, curves, weights, figures) to its sha256."""

    __pydantic_config__ = ConfigDict(extra="forbid")

    key: RunKey
    spec: RunSpec
    arm: ShortName  # the name that was requested: a method or one of its variants
    preset: ShortName
    attempt: Count
    scores: dict[StrictText, FiniteNumber | None]  # "test/<metric>", "val/<metric>", ..., as stored
    notes: dict[StrictText, FiniteNumber]  # other numbers: losses, costs, checks against the sample's ground truth
    seconds: dict[StrictText, FiniteNumber]  # by activity, such as "step" and "read"
    provenance: dict[ShortName, StrictText | StrictInt | bool]
    problems: list[dict[StrictText, StrictText]]
    files: dict[ArtifactName, Digest] = field(default_factory=dict)
    error: Failure | None = None
    chosen: Count | None = None  # number of epochs after which the score on val was best
    clips: Digest | None = None  # `DatasetSplits.fingerprint`: of the clips that could be decoded
    stages: dict[ShortName, StageUse] = field(default_factory=dict)  # by name

    @property
    def compute_seconds(self) -> float:
        """Return the seconds of training and scoring, and of the stages that this run trained.

        A sum over runs counts a stage once, for the run that trained it.
        """
        return sum_compute_seconds(self.seconds) + sum(use.seconds for use in self.stages.values() if not use.reused)

    @property
    def stage_seconds(self) -> float:
        """Return the seconds of all stages that the run used, also of those that another run trained."""
        return sum(use.seconds for use in self.stages.values())

    @property
    def decoded_split(self) -> str:
        """Return the fingerprint of the clips that the run used."""
        return self.clips or self.spec.split

    def to_json(self) -> str:
        """Return the text of the record's file."""
        return json.dumps(asdict(self), indent=1, sort_keys=True, allow_nan=False) + "\n"

    @staticmethod
    def from_json(text: str | bytes, where: str) -> Record:
        """Parse the text of a record. All records, also those from other machines, are validated here.

        Raises StoreError for a text that is not a record, has another schema, names files outside the run folder or
        has a key that is not the hash of its spec. No value is coerced.
        """
        try:
            raw = parse_json(text)
            schema = raw["spec"]["schema"]
            if schema not in READABLE_SCHEMAS:
                raise StoreError(f"{where} is skipped: it has schema {ascii(schema)[:20]}, this version reads {SCHEMA}")
            record = validate(Record, _sanitise_json(raw, MAX_JSON_DEPTH))
            if record.key != record.spec.key:
                raise ValueError("its key is not the hash of its spec")
        except (KeyError, TypeError, ValueError) as error:
            message = str(error) if type(error) is ValueError else f"{type(error).__name__}: {error}"
            reason = ascii(message)[1:-1][:200]
            raise StoreError(f"{where} is not a record ({reason}); move it away") from None
        return record


def validate(kind: type[T], value: object) -> T:
    """Convert parsed JSON to a dataclass. Raises ValueError that names the first invalid field."""
    try:
        instance: T = _get_adapter(kind).validate_python(value)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        raise ValueError(f"{'.'.join(map(str, first['loc']))}: {first['msg']}") from None
    return instance


_get_adapter: Callable[[Any], TypeAdapter[Any]] = cache(TypeAdapter)  # slow to construct: once per class


def sanitise_text(text: str) -> str:
    """Return a text with unpaired surrogates replaced by backslash escapes."""
    return text.encode(errors="backslashreplace").decode()


def _sanitise_json(value: Any, depth: int) -> Any:
    """Return parsed JSON with unpaired surrogates replaced.

    Raises ValueError if it is nested deeper than `depth` levels or contains a number that is not finite or too large.
    """
    if isinstance(value, str):
        return sanitise_text(value)
    if isinstance(value, float) and not math.isfinite(value):
        raise ValueError("a number is not finite")
    if isinstance(value, int) and not -(2**63) <= value < 2**63:
        raise ValueError("a number is too large")
    if isinstance(value, dict | list) and depth == 0:
        raise ValueError("nested too deeply")
    if isinstance(value, dict):
        return {_sanitise_json(name, 0): _sanitise_json(item, depth - 1) for name, item in value.items()}
    if isinstance(value, list):
        return [_sanitise_json(item, depth - 1) for item in value]
    return value


def read_record(path: Path) -> Record:
    """Read the file of a record in the folder of its run.

    Raises StoreError if it is a link or not a file, cannot be read, or is not the record of that run.
    """
    try:
        if path.parent.is_symlink() or not is_plain_file(path):
            raise StoreError(f"{path} is a link or not a file; move it away")
        if path.stat().st_size > MAX_RECORD_BYTES:
            raise StoreError(f"{path} is larger than {MAX_RECORD_BYTES / 1e6:.0f} MB, so not a record; move it away")
        record = Record.from_json(path.read_bytes(), str(path))
    except OSError as error:
        raise StoreError(f"{path} cannot be read ({error.strerror}); move it away") from None
    if record.key != path.parent.name:
        raise StoreError(f"{path} is the record of another run ({record.key}); move it away")
    return record


@dataclass(frozen=True)
class RunFolder:
    """The folder of one run: checkpoints while it is running, its record and files once it is finished."""

    path: Path

    @property
    def checkpoints(self) -> Path:
        """Return the folder of the checkpoints that a killed run resumes from."""
        return self.path / "checkpoints"

    def read_record(self) -> Record | None:
        """Read the record of a finished run, None if there is none. Raises StoreError if it cannot be read."""
        path = self.path / RECORD_FILE
        return read_record(path) if path.exists() else None

    def read_failed_record(self) -> Record | None:
        """Read the record of the last failed attempt, None if there is none. Raises StoreError if it cannot be read."""
        path = self.find_last_failure()
        return read_record(path) if path is not None else None

    def find_last_failure(self) -> Path | None:
        """Return the file of the last failed attempt. Raises StoreError for an invalid file name."""
        attempts = list(self.path.glob("failed-*.json"))
        if invalid := [path for path in attempts if not _ATTEMPT_PATTERN.fullmatch(path.name)]:
            raise StoreError(f"{invalid[0]} is not a record; move it away")
        return max(attempts, key=lambda path: (len(path.name), path.name), default=None)

    def hash_record(self) -> str:
        """Return the sha256 of the finished record. Raises StoreError if it cannot be read."""
        try:
            return sha256(self.path / RECORD_FILE)
        except OSError as error:
            raise StoreError(f"{self.path / RECORD_FILE} cannot be read ({error.strerror}); move it away") from None

    def hash_superseded(self) -> set[str]:
        """Return the sha256 of the records that runs with --fresh have replaced."""
        return {sha256(path) for path in self.path.glob(f"superseded-*/{RECORD_FILE}")}

    def count_attempts(self) -> int:
        """Return how many earlier runs of this key failed or were replaced."""
        return len(list(self.path.glob("failed-*.json"))) + len(list(self.path.glob("superseded-*")))

    def write_record(self, record: Record) -> None:
        """Write the record atomically; that of a failed run goes to `failed-<attempt>.json`."""
        name = RECORD_FILE if record.error is None else f"failed-{record.attempt}.json"
        atomic_write(self.path / name, record.to_json().encode())

    def set_aside(self, record: Record) -> None:
        """Move the finished record and its files to `superseded-<n>`, so that the run can be repeated.

        The record is moved first, so that it is never in the run folder without its files.
        """
        target = self.path / f"superseded-{self.count_attempts() + 1}"
        target.mkdir()
        for name in (RECORD_FILE, *record.files):
            if (self.path / name).exists():  # weights may be on another machine
                (self.path / name).replace(target / name)

    @property
    def start_file(self) -> Path:
        """Return the path of the file that names what a process executes here."""
        return self.checkpoints / START_FILE

    def write_start(self, started: StartedRun) -> None:
        """Write what starts in this folder, for `python bench.py runs`; a record replaces it."""
        atomic_write(self.start_file, json.dumps(asdict(started)).encode())

    def read_start(self) -> StartedRun | None:
        """Return what started in this folder; None if that is unknown, say written by another version."""
        path = self.start_file
        try:
            started = validate(StartedRun, parse_json(path.read_bytes())) if is_plain_file(path) else None
        except (OSError, ValueError):
            return None
        return started if started is not None and started.spec.key == self.path.name else None

    def is_locked(self) -> bool:
        """Return whether a process holds the lock of this run, i.e. executes it. The lock is not waited for."""
        try:
            with self.path.with_suffix(".lock").open("rb") as file:
                fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)  # released when the file is closed
        except FileNotFoundError:
            return False
        except OSError as error:
            return error.errno in (errno.EACCES, errno.EAGAIN)
        return False

    def locked(self, busy: Callable[[], None]) -> AbstractContextManager[None]:
        """Return a context manager that holds the run's lock, see `lock_folder`."""
        return lock_folder(self.path, busy)


def drop_stale_checkpoints(
    checkpoints: Path, provenance: Mapping[str, Any], devices: int, notify: Callable[[str], None]
) -> None:
    """Delete checkpoints that other code, packages or devices wrote, and note the present ones.

    All numbers of a record come from one environment.
    """
    current = {**{name: provenance[name] for name in CHECKPOINT_FACTS}, "devices": devices}
    made_by = checkpoints / "made-by.json"
    if made_by.exists() and json.loads(made_by.read_text()) != current:
        notify("the checkpoint was written by other code, packages or hardware; training starts from scratch")
        shutil.rmtree(checkpoints)
    atomic_write(made_by, json.dumps(current).encode())


@contextmanager
def lock_folder(folder: Path, busy: Callable[[], None]) -> Iterator[None]:
    """Create a folder and hold its lock. If another process holds it, call `busy`, which may raise, and wait.

    Temporary files of killed processes are removed. Raises StoreError if the folder cannot be written.
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
            f"cannot write {folder.parent}: {error.strerror}; choose another folder with --results"
        ) from None
    try:
        yield
    finally:
        lock.release()


def find_finished_runs(results: Path) -> list[RunFolder]:
    """Return the folders of all finished runs, sorted by key."""
    return [RunFolder(path.parent) for path in sorted((results / "runs").glob(f"*/{RECORD_FILE}"))]


def write_dataset_info(folder: Path, info: DatasetInfo) -> None:
    """Write the dataset info into the folder of a run; the values of its task are on the top level."""
    raw = {**asdict(info), "emotions": {name: sorted(emotions) for name, emotions in info.emotions.items()}}
    raw |= raw.pop("task")
    atomic_write(folder / DATASET_INFO_FILE, (json.dumps(raw, indent=1, sort_keys=True) + "\n").encode())


def read_dataset_info(folder: Path) -> DatasetInfo | None:
    """Read the dataset info that a run stored; None if there is none.

    Raises StoreError if the file is invalid: each value must be of its type, each class have a sentiment of -1, 0 or 1
    (or none of them any), and each target a range.
    """
    path = folder / DATASET_INFO_FILE
    if not path.exists():
        return None
    try:
        raw = parse_json(path.read_text())
        kind: type[Task] = Regression if "targets" in raw else Classification
        task: Task = validate(kind, {name: raw.pop(name) for name in TASK_FIELDS[kind] if name in raw})
        task.check()
        info = validate(DatasetInfo, {**raw, "task": task})
        if not info.folds or not set(info.emotions) <= set(info.classes):
            raise ValueError("folds are missing, or emotions do not match the classes")
        return info
    except (OSError, ValueError, TypeError, AttributeError) as error:
        reason = str(error).splitlines()[0]
        message = f"{type(error).__name__}: {ascii(reason)[1:-1]}"
        raise StoreError(f"{path} is not a valid dataset info ({message}); move it away") from None


@cache
def find_commit() -> tuple[str, bool]:
    """Return the commit of the checkout and whether the code differs from it; ("unknown", True) outside of git."""
    try:
        head = _run_git("rev-parse", "HEAD")
        return head, bool(_run_git("status", "--porcelain", "--", "bench.py", "requirements.lock", *CODE_FOLDERS))
    except (OSError, subprocess.SubprocessError):
        return "unknown", True


@cache
def hash_source() -> str:
    """Return a hash of all source files, also of those that are not committed."""
    digest = hashlib.sha256()
    for path in sorted(path for folder in CODE_FOLDERS for path in (REPOSITORY / folder).rglob("*.py")):
        digest.update(f"{path.relative_to(REPOSITORY)}\0".encode() + path.read_bytes() + b"\0")
    return digest.hexdigest()[:16]


def collect_provenance(device: str, threads: int) -> dict[str, str | int | bool]:
    """Return the commit, package versions, device and host that are stored in a record."""
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
    """Return `pid:start:boot`, which identifies this process even if its pid is reused or the clock is changed."""
    return _make_process_id(os.getpid())


def process_is_alive(process: str) -> bool:
    """Return whether the process with this `get_process_id` is still running on this machine."""
    try:
        return _make_process_id(int(process.partition(":")[0])) == process
    except (OSError, ValueError):
        return False


def _make_process_id(number: int) -> str:
    """Return the pid, the start in clock ticks since boot (field 22 of /proc/pid/stat) and the boot id."""
    start = Path(f"/proc/{number}/stat").read_text().rpartition(")")[2].split()[19]
    return f"{number}:{start}:{Path('/proc/sys/kernel/random/boot_id').read_text().strip()}"


def _run_git(*args: str) -> str:
    done = subprocess.run(["git", *args], cwd=REPOSITORY, capture_output=True, text=True, timeout=10, check=True)
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
