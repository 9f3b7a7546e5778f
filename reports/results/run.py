"""A run as a report sees it: a record, where its files are, and how the study that is reported names it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from bench.data import Card
from bench.method import Method
from bench.record import Record, RunSpec
from bench.requests import Tuning

UNKNOWN = "unknown request"  # of a run of version 0.1, which stored none


@dataclass(frozen=True)
class Run:
    """A final record, finished or failed, with what it is called."""

    record: Record
    folder: Path  # of its files
    card: Card
    arm: str  # name of the method or of the pinned variant
    method: Method
    values: Tuning = "none"
    settings: str = ""  # values set by hand beside the preset: "epochs=2, lr=0.01"
    tried: int = 1  # configurations that were tried for its values
    searched: bool = False  # whether the arm has values that a search could vary
    tuned_by: str = ""  # the arm whose search gave the values
    search: str = ""  # its digest
    request: str = UNKNOWN  # what asked for it: a study, or a command
    sha: str = ""  # sha256 of the record's file
    run_id: str | None = None  # of MLflow
    experiment: str | None = None  # there
    apart: str = ""  # what tells its line from others of the arm: "per-arm", "epochs=2", a protocol

    @property
    def label(self) -> str:
        """What its line is called."""
        return f"{self.arm} ({self.apart})" if self.apart else self.arm

    @property
    def failed(self) -> bool:
        """Whether it ended without scores."""
        return self.record.error is not None

    @property
    def from_scratch(self) -> bool:
        """Whether its encoders could have started from published weights, and did not."""
        return self.method.is_from_scratch(self.record.spec.config, self.record.spec.weights)

    def percent(self, name: str) -> float | None:
        """A score of the test split in percent: `acc_e`, `recall/joy`, ...; None where there is none."""
        value = self.record.scores.get(f"test/{name}")
        return None if value is None else 100 * value


def opened(spec: RunSpec) -> tuple[object, object]:
    """In what size a run opens clips; the content of runs that differ in it has different fingerprints."""
    return spec.config.get("size"), spec.config.get("mels")
