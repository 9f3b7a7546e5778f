"""The MLflow run of a study or a search, under which the runs of its cells stand: one in each data set's experiment."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from bench.batches import log_batch
from bench.owner import is_left, owner_tags
from bench.record import RunFolder

if TYPE_CHECKING:
    from mlflow.entities import Run

    from bench.store import Store

KEY = "bench.parent_key"  # of a parent alone: follows from its name, and holds no sign that a query would trip over
Status = Literal["FINISHED", "FAILED", "KILLED"]


def begin_parent(store: Store, dataset: str, data: str, name: str, params: dict[str, Any]) -> str | None:
    """The run of a study or search that begins or goes on, owned by this process; None while MLflow is away."""
    with store.best_effort("begin of a study"):
        client, experiment = store.connect(), store.experiment(dataset, data)
        run_id = find_parent(store, experiment, name)
        client.update_run(run_id, status="RUNNING")
        known = client.get_run(run_id).data.params
        new = {key: value for key, value in params.items() if key not in known}  # one told before cannot be changed
        log_batch(client, run_id, params=new, tags=owner_tags())
        return run_id
    return None


def end_parent(
    store: Store,
    dataset: str,
    data: str,
    name: str,
    status: Status,
    metrics: dict[str, float],
    files: Sequence[Path],
    tags: dict[str, str],
) -> None:
    """Close the run of a study or search with what it found; it may be told again. Files that are not there are
    passed over, as are numbers that are none."""
    with store.best_effort("end of a study"):
        client, experiment = store.connect(), store.experiment(dataset, data)
        run_id = find_parent(store, experiment, name)
        finite = {key: value for key, value in metrics.items() if math.isfinite(value)}
        log_batch(client, run_id, metrics=finite, tags=tags)
        store.check_location(run_id)
        for path in files:
            if path.is_file():
                client.log_artifact(run_id, str(path))
        for run in {run.info.run_id for run in _parents(store, experiment, name)} | {run_id}:
            client.set_terminated(run, status)


def tag_run(store: Store, folder: RunFolder, tags: dict[str, str]) -> None:
    """Mark the MLflow run of a folder's run, say as the winner of a search; its newest, where none is noted."""
    with store.best_effort("tag"):
        run_id = store.noted(folder).get("run_id")
        if run_id is None:
            runs = sorted(store.runs_of(folder.path.name), key=lambda run: run.info.start_time)
            run_id = runs[-1].info.run_id if runs else None
        if run_id is not None:
            log_batch(store.connect(), run_id, tags=tags)


def find_parent(store: Store, experiment: str, name: str, works: bool = True) -> str:
    """The parent's run id; made where there is none. One that `works` (a run of its begins) is RUNNING, and this
    process's where its owner is dead."""
    client = store.connect()
    with store.alone():
        found = _parents(store, experiment, name)
        if not found:
            found = [_make(store, experiment, name)]
            if not works:
                client.set_terminated(found[0].info.run_id, "FINISHED")
    run_id: str = found[0].info.run_id
    if works and (found[0].info.status != "RUNNING" or is_left(found[0], own=False)):
        log_batch(client, run_id, tags=owner_tags())
        client.update_run(run_id, status="RUNNING")
    return run_id


def _make(store: Store, experiment: str, name: str) -> Run:
    """A parent, unless another machine was first: all agree on the earliest, and who made a later one takes it back."""
    client = store.connect()
    tags = {KEY: _key(name), "bench.parent": name[:5000], "mlflow.runName": name[:200], **owner_tags()}
    made = client.create_run(experiment, tags=tags)
    first = (_parents(store, experiment, name) or [made])[0]
    if first.info.run_id != made.info.run_id:
        client.delete_run(made.info.run_id)
    return first


def _parents(store: Store, experiment: str, name: str) -> list[Run]:
    """All parents of that name, the earliest first."""
    found = store.connect().search_runs([experiment], f"tags.`{KEY}` = '{_key(name)}'", max_results=100)
    return sorted(found, key=lambda run: (run.info.start_time, run.info.run_id))


def _key(name: str) -> str:
    return hashlib.sha256(name.encode()).hexdigest()[:20]
