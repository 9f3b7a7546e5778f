"""What a run is (RunSpec), what it found (Record), and its folder of files."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

from filelock import FileLock, Timeout

from bench.errors import StoreError
from bench.files import sha256, write_whole

SCHEMA = 1
Protocol = Literal["clean", "refit", "best-on-test"]
Stage = Literal["final", "trial"]
Kind = Literal["out of memory", "nan", "data", "interrupted", "other", "pruned"]  # pruned: given up by a search
RECORD = "record.json"
ENCODERS = ("weights_video", "weights_audio", "weights_all")  # config fields that name an encoder's published weights


@dataclass(frozen=True)
class RunSpec:
    """Everything that may change a run's numbers, and nothing else: no paths, no devices, no labels."""

    method: str  # the base entry; a pinned name is only a label
    version: int  # of the method
    config: dict[str, Any]  # resolved in full
    dataset: str
    data: Literal["real", "sample"]
    split: str  # fingerprint of (clip key, label, split)
    content: str  # hash of the usable clips and the preparation's parameters
    fold: int
    seed: int
    protocol: Protocol = "clean"
    stage: Stage = "final"  # a trial of a search has no test scores, and never stands in for a final run
    weights: dict[str, str] = field(default_factory=dict)  # config field -> sha256 of the file it names
    schema: int = SCHEMA
    stop: int | None = None  # epochs of the stage that val would have judged: protocol refit

    @property
    def key(self) -> str:
        """The run's name: 20 hex digits that follow from every field (from `stop` only where it is given)."""
        fields = {name: value for name, value in vars(self).items() if (name, value) != ("stop", None)}
        text = json.dumps(fields, sort_keys=True, separators=(",", ":"))
        return hashlib.sha256(text.encode()).hexdigest()[:20]

    @property
    def from_scratch(self) -> bool:
        """Whether the encoders could have started from published weights, and did not."""
        fields = {name for name in ENCODERS if name in self.config}
        return bool(fields) and not fields & self.weights.keys()


@dataclass(frozen=True)
class Failure:
    """Why a run brought no scores."""

    kind: Kind
    message: str
    traceback: str


@dataclass(frozen=True)
class Record:
    """What one run found. `files` are the sha256 of what lies beside it: predictions, curves, weights, pictures."""

    key: str
    spec: RunSpec
    arm: str  # the name it was asked for by
    preset: str
    attempt: int
    scores: dict[str, float | None]  # "test/acc_e", "val/acc_e", ...; fractions
    notes: dict[str, float]  # what the method and the sample's truth tell besides
    seconds: dict[str, float]
    provenance: dict[str, str | int | bool]
    problems: list[dict[str, str]]
    files: dict[str, str] = field(default_factory=dict)
    error: Failure | None = None
    chosen: int | None = None  # epochs after which the best on val was reached

    def as_json(self) -> str:
        """The record as it stands on disk."""
        return json.dumps(asdict(self), indent=1, sort_keys=True, allow_nan=False) + "\n"

    @staticmethod
    def from_json(text: str, where: str) -> Record:
        """A record back from its text; raises StoreError where the text is none or of another schema."""
        try:
            raw = json.loads(text)
            if raw["spec"]["schema"] != SCHEMA:
                raise StoreError(
                    f"{where} has schema {raw['spec']['schema']}, this version reads {SCHEMA}; it is skipped"
                )
            error = Failure(**raw["error"]) if raw["error"] else None
            return Record(**{**raw, "spec": RunSpec(**raw["spec"]), "error": error})
        except (KeyError, TypeError, ValueError) as error:
            raise StoreError(f"{where} is no record ({type(error).__name__}: {error}); move it away") from None


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
        """The finished record, if there is one."""
        path = self.path / RECORD
        return Record.from_json(path.read_text(), str(path)) if path.exists() else None

    def sha(self) -> str:
        """The sha256 of the finished record."""
        return sha256(self.path / RECORD)

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
