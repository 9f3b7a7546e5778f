"""What is logged to MLflow, in as few calls as its limits allow."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator, Sequence
from itertools import zip_longest
from typing import TYPE_CHECKING, Any, TypeVar

from bench.outputs import Point

if TYPE_CHECKING:
    from mlflow import MlflowClient


MOST_NUMBERS, MOST_WORDS = 500, 100  # of one call: metrics; parameters, and tags
T = TypeVar("T")


def metric_name(name: str) -> str:
    """Return the name that MLflow accepts for a number: classes of custom data may have any sign in theirs."""
    parts = re.sub(r"[^\w.\- :/]", "_", name).split("/")
    return "/".join(part if part.strip(".") else "_" for part in parts)[:250].rstrip("/")


def log_batch(
    client: MlflowClient,
    run_id: str,
    metrics: dict[str, float] | None = None,
    params: dict[str, Any] | None = None,
    tags: dict[str, str] | None = None,
) -> None:
    """Log numbers, parameters (logged again, they must be the same) and tags of a run."""
    from mlflow.entities import Metric, Param, RunTag

    now = int(time.time() * 1000)
    rows = [Metric(metric_name(name), value, now, 0) for name, value in (metrics or {}).items()]
    named = [Param(metric_name(name), str(value)[:6000]) for name, value in (params or {}).items()]
    marks = [RunTag(metric_name(name), value[:8000]) for name, value in (tags or {}).items()]
    batches = zip_longest(
        batched(rows, MOST_NUMBERS), batched(named, MOST_WORDS), batched(marks, MOST_WORDS), fillvalue=()
    )
    for numbers, words, signs in batches:
        client.log_batch(run_id, numbers, words, signs)


def log_curves(client: MlflowClient, run_id: str, points: Sequence[Point]) -> None:
    """The numbers of epochs."""
    from mlflow.entities import Metric

    now = int(time.time() * 1000)
    rows = [
        Metric(metric_name(name if name.startswith(f"{stage}/") else f"{stage}/{name}"), value, now, epoch)
        for stage, epoch, values in points
        for name, value in values.items()
    ]
    for numbers in batched(rows, MOST_NUMBERS):
        client.log_batch(run_id, numbers)


def config_params(config: dict[str, Any]) -> dict[str, Any]:
    """A run's config as MLflow's parameters."""
    return {f"config.{name}": value for name, value in config.items()}


def batched(rows: Sequence[T], size: int) -> Iterator[Sequence[T]]:
    """Cut rows into batches of at most `size`."""
    for start in range(0, len(rows), size):
        yield rows[start : start + size]
