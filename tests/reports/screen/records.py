"""Records made by hand for tests of tables and pictures."""

from __future__ import annotations

from typing import Any

from bench.record import Failure, Record, RunSpec


def record(arm: str = "mbt", seed: int = 0, acc: float | None = 0.5, **values: Any) -> Record:
    """A finished record with one score and one class, or a failed one where `acc` is None."""
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
