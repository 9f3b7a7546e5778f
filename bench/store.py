"""Records published to MLflow: whole, once, and never at the price of a run.

MLflow being away loses nothing: the record is a file, and `sync` brings it in later.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import re
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from filelock import FileLock

from bench.errors import StoreError
from bench.files import write_whole
from bench.outputs import CURVES, WEIGHTS
from bench.provenance import is_alive, this_process
from bench.record import RECORD, Record, RunFolder, RunSpec

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Run

PATIENCE = 60.0  # seconds in which a store that did not answer is not asked again
_NOTE = "mlflow.json"  # beside a record: store -> the run it is published under, and which record that was
_log = logging.getLogger(__name__)

os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "1")
os.environ.setdefault("MLFLOW_HTTP_REQUEST_TIMEOUT", "10")
os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
os.environ.setdefault("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", "false")
os.environ.setdefault("GIT_PYTHON_REFRESH", "quiet")


class Store:
    """The MLflow store that records are published to. `away` says why it could not be reached the last time."""

    def __init__(self, results: Path, tracking_uri: str | None = None) -> None:
        self.results = results
        self.uri = tracking_uri or f"sqlite:///{(results / 'mlflow.db').resolve()}"
        self.away: str | None = None
        self._failed_at = 0.0
        self._client: MlflowClient | None = None

    def open(self) -> None:
        """Connect, and make a database that is not there yet."""
        with self.best_effort("open"):
            self.connect()

    def begin(self, spec: RunSpec, arm: str, preset: str, folder: RunFolder, parent: str = "") -> Live:
        """An MLflow run for a run that starts, or the one under which a run that goes on was begun; below that of the
        study or search `parent`, where one is named."""
        live = Live(self)
        with self.best_effort("begin"):
            client = self.connect()
            tags = _opening_tags(spec, arm, preset)
            if parent:
                tags["mlflow.parentRunId"] = self.parent_id(spec, parent)
            noted = self.noted(folder).get("run_id")
            runs = self.runs_of(spec.key)
            for run in runs:
                if run.info.run_id == noted and "bench.record" not in run.data.tags and is_left(run, own=True):
                    live.run_id = run.info.run_id
                    client.update_run(live.run_id, status="RUNNING")
                    _log_batch(client, live.run_id, tags=tags)
                    live.logged = self._logged(live.run_id)
                elif run.info.status == "RUNNING" and "bench.record" not in run.data.tags and is_left(run, own=True):
                    client.set_terminated(run.info.run_id, "KILLED")
            if live.run_id is None:
                tags["mlflow.runName"] = f"{arm} seed {spec.seed}"
                live.run_id = client.create_run(self._experiment(spec), tags=tags).info.run_id
            self._note(folder, live.run_id, None)
            _log_batch(client, live.run_id, params=spec.config)
        return live

    def publish(self, folder: RunFolder, record: Record, live: Live | None = None) -> str | None:
        """Bring a finished record in, once; its run id, or None while the store is away.

        What is missing is logged, the files are uploaded, and last of all comes the tag that makes the run a record.
        """
        with self.best_effort("publish"):
            client, sha = self.connect(), folder.sha()
            runs = self.runs_of(record.key)
            known = [run.info.run_id for run in runs if run.data.tags.get("bench.record") == sha]
            if known:
                run_id: str = known[0]
            else:
                if live is None or live.run_id is None:
                    live = self.begin(record.spec, record.arm, record.preset, folder)
                if live.run_id is None:
                    raise StoreError(self.away or "no MLflow run could be made")
                run_id = live.run_id
                self._fill(run_id, folder, record)
                client.set_tag(run_id, "bench.record", sha)
            replaced = folder.superseded()
            for run in runs:
                if run.data.tags.get("bench.record") in replaced and "bench.superseded" not in run.data.tags:
                    client.set_tag(run.info.run_id, "bench.superseded", sha)
            client.set_terminated(run_id, "FINISHED")
            self._note(folder, run_id, sha)
            self.away = None
            return run_id
        return None

    def run_id(self, folder: RunFolder) -> str | None:
        """The run id that the finished record of a folder is published under in this store, from a note beside it."""
        noted = self.noted(folder)
        return noted["run_id"] if noted.get("sha") == folder.sha() else None

    def parent_id(self, spec: RunSpec, name: str) -> str:
        """The MLflow run of a study or search in the experiment of a run; made where there is none."""
        client, experiment = self.connect(), self._experiment(spec)
        found = client.search_runs([experiment], f"tags.`bench.parent` = '{name}'", max_results=1)
        if found:
            return str(found[0].info.run_id)
        tags = {"bench.parent": name, "mlflow.runName": name}
        return str(client.create_run(experiment, tags=tags).info.run_id)

    def reap(self) -> int:
        """Mark runs that this machine's dead processes left RUNNING as KILLED; how many there were."""
        dead = 0
        with self.best_effort("reap"):
            for run in self.search("attributes.status = 'RUNNING'"):
                if "bench.key" in run.data.tags and is_left(run, own=False):
                    self.connect().set_terminated(run.info.run_id, "KILLED")
                    dead += 1
        return dead

    @property
    def artifacts(self) -> str | None:
        """Where files of runs go: beside the database, and None where a server decides."""
        if self.uri.startswith(("http://", "https://")):
            return None
        return ((self._database.parent if self._database else self.results) / "artifacts").resolve().as_uri()

    def connect(self) -> MlflowClient:
        """The client. A database file is made under a lock, since several processes would race in its migration.

        Raises StoreError without asking while the store was away a moment ago.
        """
        if self.away is not None and time.monotonic() - self._failed_at < PATIENCE:
            raise StoreError(self.away)
        if self._client is None:
            from mlflow import MlflowClient

            logging.getLogger("mlflow").setLevel(logging.ERROR)
            logging.getLogger("alembic").setLevel(logging.ERROR)
            if self._database is not None:
                self._database.parent.mkdir(parents=True, exist_ok=True)
                with FileLock(self._database.with_suffix(".lock")):
                    client = MlflowClient(self.uri)
                    client.search_experiments(max_results=1)
            else:
                client = MlflowClient(self.uri)
                client.search_experiments(max_results=1)
            self._client = client
        return self._client

    def search(self, query: str) -> list[Run]:
        """All runs of all experiments that a query of MLflow's finds."""
        client = self.connect()
        experiments = [found.experiment_id for found in client.search_experiments()]
        runs: list[Run] = []
        token: str | None = None
        while experiments:
            page = client.search_runs(experiments, query, max_results=1000, page_token=token)
            runs.extend(page)
            token = page.token
            if not token:
                break
        return runs

    def runs_of(self, key: str) -> list[Run]:
        """All MLflow runs of one run of ours."""
        return self.search(f"tags.`bench.key` = '{key}'")

    def noted(self, folder: RunFolder) -> dict[str, Any]:
        """`run_id` in this store, and `sha` of the record once it is published; empty where nothing is noted."""
        found: dict[str, Any] = _notes(folder).get(self._name, {})
        return found

    @contextmanager
    def best_effort(self, what: str) -> Iterator[None]:
        """A block whose failure only marks the store as away."""
        try:
            yield
        except StoreError as error:
            self.away = self.away or str(error)
        except Exception as error:  # whatever a client, a driver or a socket raises: the record is safe on disk
            _log.warning("MLflow %s failed", what, exc_info=True)
            reason = _shown((str(error).strip() or type(error).__name__).splitlines()[0])[:200]
            self.away = f"MLflow at {_shown(self.uri)} cannot be reached ({reason})"
            self._failed_at = time.monotonic()

    @property
    def _name(self) -> str:
        return hashlib.sha256(self.uri.encode()).hexdigest()[:12]

    @property
    def _database(self) -> Path | None:
        return Path(self.uri.removeprefix("sqlite:///")) if self.uri.startswith("sqlite:///") else None

    def _note(self, folder: RunFolder, run_id: str, sha: str | None) -> None:
        notes = {**_notes(folder), self._name: {"run_id": run_id, "sha": sha}}
        write_whole(folder.path / _NOTE, json.dumps(notes).encode())

    def _experiment(self, spec: RunSpec) -> str:
        from mlflow.exceptions import MlflowException

        client = self.connect()
        name = spec.dataset if spec.data == "real" else f"{spec.dataset} (built-in sample)"
        found = client.get_experiment_by_name(name)
        if found is None:
            try:
                kind = {"mlflow.experimentKind": "custom_model_development"}  # its pages show runs, not chats
                return client.create_experiment(name, artifact_location=self.artifacts, tags=kind)
            except MlflowException:  # another process was first
                found = client.get_experiment_by_name(name)
                if found is None:
                    raise
        return str(found.experiment_id)

    def _logged(self, run_id: str) -> set[tuple[str, int]]:
        """The (stage, epoch) pairs whose curves a run already holds."""
        client = self.connect()
        found = set()
        for name in client.get_run(run_id).data.metrics:
            if name.endswith("/loss") and not name.startswith("final/"):
                stage = name.removesuffix("/loss")
                found |= {(stage, int(point.step)) for point in client.get_metric_history(run_id, name)}
        return found

    def _fill(self, run_id: str, folder: RunFolder, record: Record) -> None:
        """Everything of a record that a run lacks, but the tag that makes it one; raises where anything fails."""
        from mlflow.entities import Dataset, DatasetInput

        client, spec = self.connect(), record.spec
        logged, known = self._logged(run_id), client.get_run(run_id)
        _log_batch(client, run_id, params=spec.config)
        curves = json.loads((folder.path / CURVES).read_text()) if CURVES in record.files else []
        for point in curves:
            if (point["stage"], point["epoch"]) not in logged:
                _log_curve(client, run_id, point["stage"], point["epoch"], point["values"])
        numbers = {**record.scores, **record.notes, **{f"seconds/{k}": v for k, v in record.seconds.items()}}
        finals = {f"final/{name}": value for name, value in numbers.items() if value is not None}
        missing = {name: value for name, value in finals.items() if name not in known.data.metrics}
        tags = {f"bench.{name}": str(value) for name, value in record.provenance.items()}
        _log_batch(client, run_id, metrics=missing, tags=tags)
        if known.inputs is None or not known.inputs.dataset_inputs:
            source = json.dumps({"content": spec.content, "data": spec.data})
            client.log_inputs(run_id, [DatasetInput(Dataset(spec.dataset, spec.split[:36], "local", source))])
        for name in [
            *(name for name in record.files if name != WEIGHTS),
            RECORD,
        ]:  # weights stay where they were trained
            client.log_artifact(run_id, str(folder.path / name))


class Live:
    """The MLflow run of a run under way; it may lose everything, the record is brought in at the end."""

    def __init__(self, store: Store) -> None:
        self.store = store
        self.run_id: str | None = None
        self.logged: set[tuple[str, int]] = set()
        self._lost = False  # after one call that failed no other is tried: each might take its time

    def log_epoch(self, stage: str, epoch: int, values: dict[str, float]) -> None:
        """One batch of curve points; an epoch that the run already holds is not logged again."""
        if (stage, epoch) not in self.logged:
            self._try(lambda client, run_id: _log_curve(client, run_id, stage, epoch, values))
            self.logged.add((stage, epoch))

    def end(self, status: str) -> None:
        """Close a run that brought no record: FAILED, or KILLED when it was interrupted and may go on."""
        self._try(lambda client, run_id: client.set_terminated(run_id, status))

    def fail(self, record: Record) -> None:
        """Close a run that brought no scores, with its reason: KILLED where a search gave it up, else FAILED."""
        error = record.error
        assert error is not None
        tags = {"bench.error": error.kind, "bench.message": error.message}
        self._try(lambda client, run_id: _log_batch(client, run_id, tags=tags))
        if error.traceback:
            self._try(lambda client, run_id: client.log_text(run_id, error.traceback, "traceback.txt"))
        self.end("KILLED" if error.kind == "pruned" else "FAILED")

    def _try(self, call: Callable[[MlflowClient, str], object]) -> None:
        if self.run_id is None or self._lost:
            return
        try:
            call(self.store.connect(), self.run_id)
        except Exception:  # as in best_effort: nothing that a store does may harm a run
            self._lost = True
            _log.warning("MLflow lost sight of run %s until it ends", self.run_id, exc_info=True)


def is_left(run: Run, own: bool) -> bool:
    """Whether a run was left by a dead process of this machine, or (`own`) is this process's."""
    process = run.data.tags.get("bench.process")
    if process is None or run.data.tags.get("bench.host") != socket.gethostname():
        return False
    return own if process == this_process() else not is_alive(process)


def forget_run(folder: RunFolder) -> None:
    """Drop the note of what a run is published under, so that the next attempt gets an MLflow run of its own."""
    (folder.path / _NOTE).unlink(missing_ok=True)


def _log_curve(client: MlflowClient, run_id: str, stage: str, epoch: int, values: dict[str, float]) -> None:
    """The numbers of one epoch in one call."""
    named = {name if name.startswith(f"{stage}/") else f"{stage}/{name}": v for name, v in values.items()}
    _log_batch(client, run_id, metrics=named, step=epoch)


def _log_batch(
    client: MlflowClient,
    run_id: str,
    metrics: dict[str, float] | None = None,
    params: dict[str, Any] | None = None,
    tags: dict[str, str] | None = None,
    step: int = 0,
) -> None:
    """As few calls as MLflow's limits allow; parameters told again are the same."""
    from mlflow.entities import Metric, Param, RunTag

    now = int(time.time() * 1000)
    rows = [Metric(name, value, now, step) for name, value in (metrics or {}).items()]
    named = [Param(f"config.{name}", str(value)[:6000]) for name, value in (params or {}).items()]
    marks = [RunTag(name, value) for name, value in (tags or {}).items()]
    for start in range(0, max(len(rows), 1), 500):
        first = start == 0
        client.log_batch(run_id, rows[start : start + 500], named if first else (), marks if first else ())


def _notes(folder: RunFolder) -> dict[str, Any]:
    path = folder.path / _NOTE
    found: dict[str, Any] = json.loads(path.read_text()) if path.exists() else {}
    return found


def _opening_tags(spec: RunSpec, arm: str, preset: str) -> dict[str, str]:
    return {
        "bench.key": spec.key,
        "bench.arm": arm,
        "bench.method": spec.method,
        "bench.dataset": spec.dataset,
        "bench.data": spec.data,
        "bench.split": spec.split,
        "bench.seed": str(spec.seed),
        "bench.preset": preset,
        "bench.protocol": spec.protocol,
        "bench.host": socket.gethostname(),
        "bench.process": this_process(),
    }


def _shown(text: str) -> str:
    """A text without the passwords of the URIs in it."""
    return re.sub(r"//[^@/\s]*@", "//", text)
