"""An MLflow run is filled from a record: whatever it lacks of it, but the tag that makes it one."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import TYPE_CHECKING

from bench.batches import config_params, log_batch, log_curves, metric_name
from bench.outputs import CURVES, WEIGHTS, read_points
from bench.packed import REQUESTS_PREFIX, pack
from bench.record import RECORD, Record, RunFolder
from bench.requests import REQUESTS, StoredRequest, format_requests, hash_requests, read_requests

if TYPE_CHECKING:
    from mlflow import MlflowClient

REQUESTS_TAG = "bench.requested_by"  # the sha256 of the requests for a run


def fill(client: MlflowClient, run_id: str, folder: RunFolder, record: Record) -> None:
    """Log and upload all that is missing; raises where anything fails. Weights stay where they were trained."""
    from mlflow.entities import Dataset, DatasetInput

    spec, known, logged = record.spec, client.get_run(run_id), logged_epochs(client, run_id)
    log_batch(client, run_id, params=config_params(spec.config))
    points = read_points(folder.path) if CURVES in record.files else []
    log_curves(client, run_id, [point for point in points if point[:2] not in logged])
    tags, numbers = provenance_of(record)
    finals = {metric_name(name): value for name, value in {**_finals(record), **numbers}.items()}
    missing = {name: value for name, value in finals.items() if name not in known.data.metrics}
    log_batch(client, run_id, metrics=missing, tags={**tags, **pack((folder.path / RECORD).read_bytes())})
    if known.inputs is None or not known.inputs.dataset_inputs:
        source = json.dumps({"content": spec.content, "data": spec.data})
        client.log_inputs(run_id, [DatasetInput(Dataset(spec.dataset, spec.split[:36], "local", source))])
    for name in [*(name for name in record.files if name != WEIGHTS), RECORD]:
        client.log_artifact(run_id, str(folder.path / name))
    publish_requests(client, run_id, read_requests(folder)[0])


def publish_requests(client: MlflowClient, run_id: str, requests: Sequence[StoredRequest]) -> None:
    """Upload the requests for a run, as a file and, where they are not too long, as tags that a search brings."""
    if requests:
        text = format_requests(requests)
        client.log_text(run_id, text.decode(), REQUESTS)
        log_batch(client, run_id, tags={REQUESTS_TAG: hash_requests(requests), **pack(text, REQUESTS_PREFIX)})


def logged_epochs(client: MlflowClient, run_id: str) -> set[tuple[str, int]]:
    """The (stage, epoch) pairs whose curves a run already holds."""
    found = set()
    for name in client.get_run(run_id).data.metrics:
        if name.endswith("/loss") and not name.startswith("final/"):
            stage = name.removesuffix("/loss")
            found |= {(stage, int(point.step)) for point in client.get_metric_history(run_id, name)}
    return found


def provenance_of(record: Record) -> tuple[dict[str, str], dict[str, float]]:
    """Where a record comes from, as tags; what of it can be compared (peaks of memory), as metrics."""
    tags = {f"bench.{name}": str(value) for name, value in record.provenance.items()}
    peaks = {f"final/{name}": float(value) for name, value in record.provenance.items() if name.startswith("peak_")}
    return tags, peaks


def _finals(record: Record) -> dict[str, float]:
    numbers = {**record.scores, **record.notes, **{f"seconds/{k}": v for k, v in record.seconds.items()}}
    return {f"final/{name}": value for name, value in numbers.items() if value is not None}
