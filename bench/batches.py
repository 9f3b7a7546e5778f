"""What is logged to MLflow, in as few calls as its limits allow."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mlflow import MlflowClient


def log_batch(
    client: MlflowClient,
    run_id: str,
    metrics: dict[str, float] | None = None,
    params: dict[str, Any] | None = None,
    tags: dict[str, str] | None = None,
) -> None:
    """Numbers, parameters (told again, they must be the same) and tags of a run."""
    from mlflow.entities import Metric, Param, RunTag

    now = int(time.time() * 1000)
    rows = [Metric(name, value, now, 0) for name, value in (metrics or {}).items()]
    named = [Param(name, str(value)[:6000]) for name, value in (params or {}).items()]
    marks = [RunTag(name, value) for name, value in (tags or {}).items()]
    for start in range(0, max(len(rows), 1), 500):
        first = start == 0
        client.log_batch(run_id, rows[start : start + 500], named if first else (), marks if first else ())


Point = tuple[str, int, dict[str, float]]
"""Stage, epoch and its numbers."""


def log_curves(client: MlflowClient, run_id: str, points: Sequence[Point]) -> None:
    """The numbers of epochs."""
    from mlflow.entities import Metric

    now = int(time.time() * 1000)
    rows = [
        Metric(name if name.startswith(f"{stage}/") else f"{stage}/{name}", value, now, epoch)
        for stage, epoch, values in points
        for name, value in values.items()
    ]
    for start in range(0, len(rows), 500):
        client.log_batch(run_id, rows[start : start + 500])


def config_params(config: dict[str, Any]) -> dict[str, Any]:
    """A run's config as MLflow's parameters."""
    return {f"config.{name}": value for name, value in config.items()}
