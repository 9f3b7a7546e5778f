"""Hand-made runs for tests of terminal tables."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

from bench.record import Failure, Record, RunSpec
from bench.tasks import Classification
from bench.types import DatasetInfo
from methods import METHODS
from reports.runs import Run

CARD = DatasetInfo(
    "toy",
    "Toy clips",
    Classification(("low", "high"), (-1, 1)),
    {},
    "en",
    "toy",
    "none",
    "here",
    splits="by hand",
    clips=40,
)


def run(arm: str = "mbt", seed: int = 0, acc: float | None = 0.5, **values: Any) -> Run:
    """Return a run of `record(...)` with the given protocol, val score and number of configurations tried."""
    protocol, val, tried = (
        values.pop(name, none) for name, none in (("protocol", "clean"), ("val", None), ("tried", 1))
    )
    made = record(arm, seed, acc, **values)
    made = replace(made, spec=replace(made.spec, protocol=protocol), scores={**made.scores, "val/acc_e": val})
    return Run(made, Path("nowhere"), CARD, arm, METHODS[made.spec.method], configurations_tried=tried)


def record(arm: str = "mbt", seed: int = 0, acc: float | None = 0.5, **values: Any) -> Record:
    """Return a finished record with one score and one class, or a failed one if `acc` is None."""
    data = values.pop("data", "real")
    config, weights = values.pop("config", {}), values.pop("weights", {})
    spec = RunSpec(arm, 1, config, "toy", data, "f" * 64, "c" * 64, 0, seed, weights=weights)
    scores = {"test/acc_e": acc, "test/n": 8.0, "test/recall/low": acc}
    failed = Failure("other", "RuntimeError: broke", "") if acc is None else None
    facts: dict[str, Any] = {"preset": "quick", "notes": {}, "seconds": {"step": 2.0, "read": 1.0}, **values}
    return Record(
        key=spec.key,
        spec=spec,
        arm=arm,
        attempt=1,
        scores={} if failed else scores,
        provenance={},
        problems=[],
        error=failed,
        **facts,
    )
