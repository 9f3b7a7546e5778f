"""MLflow: log runs, studies and searches, and exchange records with other machines.

Records are files on disk and are published to MLflow. No run fails because MLflow is unavailable: `sync` publishes its
record later.
"""

from __future__ import annotations

import hashlib
import json
import logging
import math
import os
import re
import shutil
import socket
import tempfile
import threading
import time
from collections.abc import Callable, Collection, Iterator, Sequence
from concurrent.futures import Future
from concurrent.futures.thread import _threads_queues
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from filelock import FileLock

from bench.artifacts import CURVES_FILE, WEIGHTS_FILE, EpochValues, check_files, find_missing_files, read_curves
from bench.databases import make_sqlite_url, open_database, read_sqlite_path
from bench.errors import StoreError
from bench.files import atomic_write, is_plain_file, parse_json, sha256
from bench.record import (
    MAX_RECORD_BYTES,
    RECORD_FILE,
    Record,
    RunFolder,
    RunSpec,
    find_finished_runs,
    get_process_id,
    is_run_key,
    process_is_alive,
)
from bench.requests import (
    REQUESTS,
    StoredRequest,
    add_requests,
    format_requests,
    hash_requests,
    lacks_requests,
    parse_requests,
    read_requests,
)
from bench.timing import Throttle
from bench.tracker import ExperimentTracker, LiveRun, ParentStatus

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Run

T = TypeVar("T")
TIMEOUT = 15.0  # seconds per call to a remote store; after that it counts as unavailable
FILE_TIMEOUT = 60.0  # seconds per upload or download of a file in a `sync`
MONITOR_DELAY = 10.0  # seconds until system metrics are logged, so that short runs log none
MONITOR_INTERVAL = 30.0  # seconds between two samples of system metrics
MONITOR_TIMEOUT = 1.0  # seconds that the end of a run waits for the last sample
MAX_METRICS = 500  # per call, so that a server answers before the timeout
PAGE_SIZE = 100  # runs per page of a search; a server needs about half a second for one
NOTE_FILE = "mlflow.json"  # next to a record: store -> MLflow run and sha256 of the published record
PARENT_NOTE = "parent"  # key in NOTE_FILE: name of the run's study or search
PARENT_KEY_TAG = "bench.parent_key"  # tag of parent runs: hash of the name, which is safe in a query
REQUESTS_TAG = "bench.requested_by"  # tag: sha256 of the requests for a run
FILE_CALLS = ("log_artifact", "log_text", "download_artifacts")
REMOTE_SCHEMES = ("mlflow-artifacts", "http", "https", "s3", "gs", "wasbs", "abfss", "hdfs", "viewfs", "dbfs", "sftp")
_log = logging.getLogger(__name__)

os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "1")
os.environ.setdefault("MLFLOW_HTTP_REQUEST_TIMEOUT", "10")
os.environ.setdefault("PGCONNECT_TIMEOUT", "10")
os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
os.environ.setdefault("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", "false")
os.environ.setdefault("GIT_PYTHON_REFRESH", "quiet")


def call_within(seconds: float, call: Callable[[], T]) -> T:
    """Return the result of a call. Raises TimeoutError after some seconds; the call then continues in its thread.

    A socket timeout is not enough: it does not end an answer that arrives byte by byte.
    """
    result: Future[T] = Future()

    def run() -> None:
        try:
            result.set_result(call())
        except BaseException as error:  # re-raised in the calling thread
            result.set_exception(error)

    threading.Thread(target=run, daemon=True, name="call to MLflow").start()
    try:
        return result.result(seconds)
    except TimeoutError:
        if result.done():  # raised by the call itself
            raise
        joined: Any = _threads_queues  # at exit Python joins the threads of pools, also those of MLflow's downloads
        for thread in [thread for thread in joined if thread.daemon]:
            del joined[thread]
        raise TimeoutError(f"no answer in {seconds:.0f} s") from None


class GuardedClient:
    """MlflowClient with a timeout on every call. In a `sync`, a file transfer that times out only fails its run."""

    def __init__(self, store: MlflowStore, client: MlflowClient) -> None:
        self._store, self._client = store, client

    def __getattr__(self, name: str) -> Callable[..., Any]:
        method = getattr(self._client, name)
        if not (self._store.is_syncing and name in FILE_CALLS):
            return lambda *args, **kwargs: call_within(TIMEOUT, partial(method, *args, **kwargs))

        def transfer(*args: Any, **kwargs: Any) -> Any:
            try:
                return call_within(FILE_TIMEOUT, partial(method, *args, **kwargs))
            except TimeoutError as error:
                raise StoreError(
                    f"MLflow run {args[0]}: transfer of a file timed out ({_hide_passwords(str(error))}); sync again"
                ) from None

        return transfer


class MlflowStore(ExperimentTracker):
    """The MLflow store in which records are published."""

    def __init__(self, results: Path, tracking_uri: str | None = None) -> None:
        super().__init__(results)
        self.uri = tracking_uri or make_sqlite_url(results / "mlflow.db")
        self.is_syncing = False
        self._database = read_sqlite_path(self.uri)  # None for a remote store
        self._is_server = self.uri.startswith(("http://", "https://"))
        self._is_away = False
        self._client: MlflowClient | None = None
        self._note_key = hashlib.sha256(self.uri.encode()).hexdigest()[:12]

    @property
    def artifact_location(self) -> str | None:
        """Return the URI of the artifact folder, next to the database; None if a server sets it."""
        folder = (self._database.parent if self._database else self.results) / "artifacts"
        return None if self._is_server else folder.resolve().as_uri()

    def open(self) -> None:
        """Connect; create the database if it does not exist."""
        with self.best_effort("open"):
            self.connect()

    def retry(self) -> None:
        """Allow calls again after the store was unavailable."""
        self._is_away, self.unavailable_reason = False, None

    def connect(self) -> MlflowClient:
        """Return the client. Raises StoreError without a call if the store was unavailable before.

        A database file is created under a lock, since MLflow's migration is not safe across processes.
        """
        if self._is_away:
            raise StoreError(self.unavailable_reason or f"MLflow at {_hide_passwords(self.uri)} is unavailable")
        if self._client is None:
            from mlflow import MlflowClient

            for name in ("mlflow", "alembic"):
                logging.getLogger(name).setLevel(logging.ERROR)

            def connect(uri: str) -> MlflowClient:
                client = MlflowClient(uri)
                client.search_experiments(max_results=1)
                return client

            if self._database is None:
                client: Any = GuardedClient(self, call_within(TIMEOUT, partial(connect, self.uri)))
                self._client = client
            else:
                with self.locked():
                    self._client = open_database(self._database, connect, rows="runs")
        return self._client

    @contextmanager
    def best_effort(self, what: str) -> Iterator[None]:
        """Run a block; store its error in `unavailable_reason`. A remote store that fails is not called again."""
        try:
            yield
        except StoreError as error:
            self.unavailable_reason = self.unavailable_reason or str(error)
        except Exception as error:  # of any client, driver or socket; the record is safe on disk
            _log.warning("MLflow %s failed", what, exc_info=True)
            self._is_away = self._database is None and not self.has_answered(error)
            reason = _hide_passwords(_get_reason(error))[:200]
            self.unavailable_reason = f"MLflow at {_hide_passwords(self.uri)} cannot be reached ({reason})"

    def has_answered(self, error: Exception) -> bool:
        """Return whether the store still answers after an error; False without a call after a timeout."""
        if self._client is None or isinstance(error, TimeoutError):
            return False
        try:
            self._client.search_experiments(max_results=1)
        except Exception:  # of any client, driver or socket
            return False
        return True

    def locked(self) -> AbstractContextManager[object]:
        """Return a lock between processes if the store is a database file; it is not reentrant."""
        if self._database is None:
            return nullcontext()
        self._database.parent.mkdir(parents=True, exist_ok=True)
        return FileLock(self._database.with_suffix(".lock"))

    def check_location(self, run_id: str) -> None:
        """Raise StoreError if a server stores the artifacts of a run in a local folder, which clients cannot reach."""
        if not self._is_server:
            return
        location = str(self.connect().get_run(run_id).info.artifact_uri)
        if location.partition(":")[0] not in REMOTE_SCHEMES:
            raise StoreError(
                f"MLflow at {_hide_passwords(self.uri)} stores artifacts at '{ascii(location)[1:-1][:200]}', which "
                "other machines cannot reach; start the server with --serve-artifacts"
            )

    def search_runs(self, query: str) -> Iterator[Run]:
        """Yield the runs of all experiments that match an MLflow filter string."""
        client = self.connect()
        experiments = [experiment.experiment_id for experiment in client.search_experiments()]
        token: str | None = None
        while experiments:
            page = client.search_runs(experiments, query, max_results=PAGE_SIZE, page_token=token)
            yield from page
            token = page.token
            if not token:
                break

    def find_runs(self, key: str) -> list[Run]:
        """Return all MLflow runs of a run key."""
        return list(self.search_runs(f"tags.`bench.key` = '{key}'"))

    def get_experiment_id(self, dataset: str, data: str) -> str:
        """Return the id of a data set's experiment; create it if it does not exist."""
        from mlflow.exceptions import MlflowException

        client = self.connect()
        name = dataset if data == "real" else f"{dataset} (built-in sample)"
        experiment = client.get_experiment_by_name(name)
        if experiment is None:
            try:
                kind = {"mlflow.experimentKind": "custom_model_development"}  # shows training runs, not chats
                return client.create_experiment(name, artifact_location=self.artifact_location, tags=kind)
            except MlflowException:  # another process created it
                experiment = client.get_experiment_by_name(name)
                if experiment is None:
                    raise
        return str(experiment.experiment_id)

    def start_run(self, spec: RunSpec, arm: str, preset: str, folder: RunFolder, parent: str = "") -> MlflowRun:
        """Open an MLflow run for a run that starts or resumes, as a child of its study or search."""
        live_run = MlflowRun(self)
        with self.best_effort("start"):
            if parent:
                self._write_notes(folder, {PARENT_NOTE: parent})  # first, so that a later `sync` can read the parent
            self._open_run(live_run, spec, arm, preset, parent, starts=True)
            live_run.monitor_timer.start()
        return live_run

    def publish(self, folder: RunFolder, record: Record, live_run: LiveRun | None = None) -> str | None:
        """Publish a finished record once; return its run id, or None if that failed."""
        mlflow_run = live_run if isinstance(live_run, MlflowRun) else MlflowRun(self)
        mlflow_run.stop_monitor()
        with self.best_effort("publish"):
            return self.publish_now(folder, record, mlflow_run)
        return None

    def publish_now(self, folder: RunFolder, record: Record, live_run: MlflowRun) -> str:
        """Publish a finished record once: log its metrics, upload its files, and set the record's tag last.

        Raises StoreError if the record cannot be published, and the errors of the client, driver and socket.
        """
        client, sha = self.connect(), folder.hash_record()
        runs = self.find_runs(record.key)
        known = [run.info for run in runs if run.data.tags.get("bench.record") == sha]
        if known:
            run_id, experiment = str(known[0].run_id), str(known[0].experiment_id)
        else:
            check_files(folder.path, record)
            if live_run.run_id is None:
                parent = str(_read_notes(folder).get(PARENT_NOTE, ""))
                self._open_run(live_run, record.spec, record.arm, record.preset, parent, starts=False)
            assert live_run.run_id is not None
            run_id, experiment = live_run.run_id, live_run.experiment
            self.check_location(run_id)
            _upload_record(client, run_id, folder, record, live_run.logged_epochs)
            client.set_tag(run_id, "bench.record", sha)
        replaced = folder.hash_superseded()
        for run in runs:
            if run.data.tags.get("bench.record") in replaced and "bench.superseded" not in run.data.tags:
                client.set_tag(run.info.run_id, "bench.superseded", sha)
        client.set_terminated(run_id, "FINISHED")
        self.write_note(folder, run_id, sha, experiment)
        self.unavailable_reason = None
        return run_id

    def find_run_id(self, folder: RunFolder) -> str | None:
        """Return the MLflow run id of a folder's finished record, from the note next to it; None if there is none."""
        note = self.published_as(folder)
        return note["run_id"] if note.get("sha") == folder.hash_record() else None

    def end_orphaned_runs(self) -> int:
        """Set RUNNING runs of dead processes here to KILLED, except parents of running runs; return their number."""
        orphaned: set[str] = set()
        with self.best_effort("clean-up"):
            running = list(self.search_runs("attributes.status = 'RUNNING'"))
            ours = [run for run in running if {"bench.key", PARENT_KEY_TAG} & run.data.tags.keys()]
            orphaned = {run.info.run_id for run in ours if _is_orphaned(run, own=False)}
            alive = [run for run in running if run.info.run_id not in orphaned]
            orphaned -= {run.data.tags.get("mlflow.parentRunId", "") for run in alive}
            for run_id in orphaned:
                self.connect().set_terminated(run_id, "KILLED")
        return len(orphaned)

    def start_parent_run(self, dataset: str, data: str, name: str, params: dict[str, Any]) -> str | None:
        """Open the run of a study or search that starts or resumes; return its id, or None if MLflow is unavailable."""
        with self.best_effort("start of a study"):
            client, experiment = self.connect(), self.get_experiment_id(dataset, data)
            run_id = find_parent_run(self, experiment, name)
            known = client.get_run(run_id).data.params  # MLflow params cannot be changed
            log_batch(client, run_id, params={key: value for key, value in params.items() if key not in known})
            return run_id
        return None

    def finish_parent_run(
        self,
        dataset: str,
        data: str,
        name: str,
        status: ParentStatus,
        metrics: dict[str, float],
        files: Sequence[Path],
        tags: dict[str, str],
    ) -> None:
        """Close the run of a study or search with its metrics, files and tags. May be called again; missing files are
        skipped."""
        with self.best_effort("end of a study"):
            client, experiment = self.connect(), self.get_experiment_id(dataset, data)
            run_id = find_parent_run(self, experiment, name)
            log_batch(client, run_id, {key: value for key, value in metrics.items() if math.isfinite(value)}, tags=tags)
            self.check_location(run_id)
            for path in filter(Path.is_file, files):
                client.log_artifact(run_id, str(path))
            for run in {run.info.run_id for run in _search_parent_runs(self, experiment, name)} | {run_id}:
                client.set_terminated(run, status)

    def tag_run(self, folder: RunFolder, tags: dict[str, str]) -> None:
        """Add tags to the MLflow run of a folder's run; to the newest if none is noted in the folder."""
        with self.best_effort("tag"):
            run_id = self.published_as(folder).get("run_id")
            if run_id is None:
                runs = sorted(self.find_runs(folder.path.name), key=lambda run: run.info.start_time)
                run_id = runs[-1].info.run_id if runs else None
            if run_id is not None:
                log_batch(self.connect(), run_id, tags=tags)

    def published_as(self, folder: RunFolder) -> dict[str, Any]:
        """Return `run_id`, `experiment` and `sha` of a run's record in this store; empty if none is noted."""
        note = _read_notes(folder).get(self._note_key)
        return note if isinstance(note, dict) and isinstance(note.get("run_id"), str) else {}

    def write_note(self, folder: RunFolder, run_id: str, sha: str, experiment: str) -> None:
        """Note next to a record, with its sha256, the MLflow run in which it is published."""
        self._write_notes(folder, {self._note_key: {"run_id": run_id, "sha": sha, "experiment": experiment}})

    def _write_notes(self, folder: RunFolder, new: dict[str, Any]) -> None:
        atomic_write(folder.path / NOTE_FILE, json.dumps({**_read_notes(folder), **new}).encode())

    def _open_run(self, live_run: MlflowRun, spec: RunSpec, arm: str, preset: str, parent: str, starts: bool) -> None:
        """Create the MLflow run of a live run; delete unfinished MLflow runs of its key whose process has died."""
        client, experiment = self.connect(), self.get_experiment_id(spec.dataset, spec.data)
        names = ("key", "method", "dataset", "data", "split", "protocol", "stage")
        tags = {f"bench.{name}": str(getattr(spec, name)) for name in names} | _make_owner_tags()
        tags |= {"bench.arm": arm, "bench.seed": str(spec.seed), "bench.preset": preset}
        if parent:
            tags["mlflow.parentRunId"] = find_parent_run(self, experiment, parent, starts)
        for run in self.find_runs(spec.key):
            if not {"bench.record", "bench.error"} & run.data.tags.keys() and _is_orphaned(run, own=True):
                client.delete_run(run.info.run_id)  # a resumed run logs everything again
        tags["mlflow.runName"] = f"{arm} seed {spec.seed}"
        live_run.run_id, live_run.experiment = client.create_run(experiment, tags=tags).info.run_id, experiment
        log_batch(client, live_run.run_id, params={f"config.{name}": value for name, value in spec.config.items()})


class MlflowRun(LiveRun):
    """MLflow run of a running run. Its errors lose nothing, since the complete record is published at the end."""

    def __init__(self, store: MlflowStore) -> None:
        super().__init__()
        self.store = store
        self.experiment = ""  # its id
        self.logged_epochs: set[tuple[str, int]] = set()
        self._pending: list[EpochValues] = []
        self._throttle = Throttle()
        self.monitor_timer = threading.Timer(MONITOR_DELAY, self._start_monitor)
        self.monitor_timer.daemon = True
        self._monitor: Any = None

    def _start_monitor(self) -> None:
        """Start logging MLflow's system metrics."""
        from mlflow.system_metrics.system_metrics_monitor import SystemMetricsMonitor

        make: Any = SystemMetricsMonitor  # it has no types
        try:
            monitor = make(
                self.run_id, sampling_interval=MONITOR_INTERVAL, resume_logging=True, tracking_uri=self.store.uri
            )
            monitor.start()
            self._monitor = monitor
        except Exception:  # of any driver, client or socket; system metrics are not part of a record
            _log.warning("no system metrics of run %s", self.run_id, exc_info=True)

    def stop_monitor(self) -> None:
        """Stop logging system metrics; do not wait long for a sample that hangs in a call."""
        self.monitor_timer.cancel()
        if self._monitor is not None:
            monitor, self._monitor = self._monitor, None
            try:
                call_within(MONITOR_TIMEOUT, monitor.finish)
            except TimeoutError:
                _log.warning("the last system metrics of run %s are missing: MLflow did not answer", self.run_id)

    def log_epoch(self, stage: str, epoch: int, values: dict[str, float]) -> None:
        """Log the metrics of an epoch; short epochs are logged in batches."""
        self._pending.append((stage, epoch, values))
        if self._throttle.is_due():
            self._flush()

    def _flush(self) -> None:
        points, self._pending = self._pending, []

        def log(client: MlflowClient, run_id: str) -> None:
            log_curves(client, run_id, points)
            self.logged_epochs.update((stage, epoch) for stage, epoch, _ in points)

        if points:
            with self._throttle():
                self._call(log)

    def end(self, status: str) -> None:
        """Close a run without a record."""
        self.stop_monitor()
        self._flush()
        self._call(lambda client, run_id: client.set_terminated(run_id, status))

    def fail(self, record: Record) -> None:
        """Close a failed run and log its error and traceback."""
        error = record.error
        assert error is not None
        tags, metrics = _make_provenance_tags(record)
        tags |= {"bench.error": error.kind, "bench.message": error.message[:5000]}

        def log_traceback(client: MlflowClient, run_id: str) -> None:
            self.store.check_location(run_id)
            client.log_text(run_id, error.traceback, "traceback.txt")

        self._call(lambda client, run_id: log_batch(client, run_id, metrics, tags=tags))
        if error.traceback:
            self._call(log_traceback)
        self.end("KILLED" if error.kind == "pruned" else "FAILED")

    def _call(self, call: Callable[[MlflowClient, str], object]) -> None:
        if self.run_id is not None:
            with self.store.best_effort("log"):
                call(self.store.connect(), self.run_id)


def clean_metric_name(name: str) -> str:
    """Return a metric name that MLflow accepts; class names of custom data may contain any character."""
    parts = re.sub(r"[^\w.\- :/]", "_", name).split("/")
    return "/".join(part if part.strip(".") else "_" for part in parts)[:250].rstrip("/")


def log_batch(
    client: MlflowClient,
    run_id: str,
    metrics: dict[str, float] | None = None,
    params: dict[str, Any] | None = None,
    tags: dict[str, str] | None = None,
) -> None:
    """Log metrics, params and tags of a run. MLflow rejects a param that is logged again with another value."""
    from mlflow.entities import Metric, Param, RunTag

    now = int(time.time() * 1000)
    metric_list = [Metric(clean_metric_name(name), value, now, 0) for name, value in (metrics or {}).items()]
    param_list = [Param(clean_metric_name(name), str(value)[:6000]) for name, value in (params or {}).items()]
    tag_list = [RunTag(clean_metric_name(name), value[:8000]) for name, value in (tags or {}).items()]
    client.log_batch(run_id, metric_list, param_list, tag_list)


def log_curves(client: MlflowClient, run_id: str, points: Sequence[EpochValues]) -> None:
    """Log the metrics of epochs."""
    from mlflow.entities import Metric

    now = int(time.time() * 1000)
    rows = [
        Metric(clean_metric_name(name if name.startswith(f"{stage}/") else f"{stage}/{name}"), value, now, epoch)
        for stage, epoch, values in points
        for name, value in values.items()
    ]
    for start in range(0, len(rows), MAX_METRICS):
        client.log_batch(run_id, rows[start : start + MAX_METRICS])


def _upload_record(
    client: MlflowClient, run_id: str, folder: RunFolder, record: Record, logged: Collection[tuple[str, int]]
) -> None:
    """Log a record's metrics, except epochs in `logged`, and upload its files, except weights."""
    from mlflow.entities import Dataset, DatasetInput

    spec = record.spec
    points = read_curves(folder.path) if CURVES_FILE in record.files else []
    log_curves(client, run_id, [point for point in points if point[:2] not in logged])
    tags, peaks = _make_provenance_tags(record)
    finals = {**record.scores, **record.notes, **{f"seconds/{name}": value for name, value in record.seconds.items()}}
    metrics = {f"final/{name}": value for name, value in finals.items() if value is not None} | peaks
    log_batch(client, run_id, metrics, {f"config.{name}": value for name, value in spec.config.items()}, tags)
    source = json.dumps({"content": spec.content, "data": spec.data})
    client.log_inputs(run_id, [DatasetInput(Dataset(spec.dataset, spec.split[:36], "local", source))])
    for name in [*(name for name in record.files if name != WEIGHTS_FILE), RECORD_FILE]:
        client.log_artifact(run_id, str(folder.path / name))
    _publish_requests(client, run_id, read_requests(folder)[0])


def _publish_requests(client: MlflowClient, run_id: str, requests: Sequence[StoredRequest]) -> None:
    if requests:
        client.log_text(run_id, format_requests(requests).decode(), REQUESTS)
        client.set_tag(run_id, REQUESTS_TAG, hash_requests(requests))


def _make_provenance_tags(record: Record) -> tuple[dict[str, str], dict[str, float]]:
    """Return a record's provenance as tags and its peak memory as metrics."""
    tags = {f"bench.{name}": str(value) for name, value in record.provenance.items()}
    peaks = {f"final/{name}": float(value) for name, value in record.provenance.items() if name.startswith("peak_")}
    return tags, peaks


def _read_notes(folder: RunFolder) -> dict[str, Any]:
    """Read the notes of a run; empty if they cannot be read, since MLflow has the same information."""
    path = folder.path / NOTE_FILE
    try:
        notes = parse_json(path.read_bytes()) if is_plain_file(path) else {}
    except (OSError, ValueError):
        return {}
    return notes if isinstance(notes, dict) else {}


def _hide_passwords(text: str) -> str:
    return re.sub(r"//[^@/\s]*@", "//", text)


def _get_reason(error: Exception) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0]


def _make_owner_tags() -> dict[str, str]:
    return {"bench.host": socket.gethostname(), "bench.process": get_process_id()}


def _is_orphaned(run: Run, own: bool) -> bool:
    """Return whether the process of a run, on this machine, is dead; with `own`, also True for runs of this process."""
    process = run.data.tags.get("bench.process")
    if process is None or run.data.tags.get("bench.host") != socket.gethostname():
        return False
    return own if process == get_process_id() else not process_is_alive(process)


def find_parent_run(store: MlflowStore, experiment: str, name: str, starts: bool = True) -> str:
    """Return the run id of a study or search; create it if needed. Set it to RUNNING if one of its runs `starts`."""
    client = store.connect()
    with store.locked():
        found = _search_parent_runs(store, experiment, name)
        if not found:
            tags = {PARENT_KEY_TAG: _hash_name(name), "bench.parent": name[:5000], "mlflow.runName": name[:200]}
            made = client.create_run(experiment, tags=tags | _make_owner_tags())
            found = _search_parent_runs(store, experiment, name) or [made]
            if found[0].info.run_id != made.info.run_id:  # another machine created it at the same time
                client.delete_run(made.info.run_id)
            if not starts:
                client.set_terminated(found[0].info.run_id, "FINISHED")
    run_id: str = found[0].info.run_id
    if starts and (found[0].info.status != "RUNNING" or _is_orphaned(found[0], own=False)):
        log_batch(client, run_id, tags=_make_owner_tags())
        client.update_run(run_id, status="RUNNING")
    return run_id


def _search_parent_runs(store: MlflowStore, experiment: str, name: str) -> list[Run]:
    """Return all parent runs of a name, oldest first."""
    query = f"tags.`{PARENT_KEY_TAG}` = '{_hash_name(name)}'"
    found = store.connect().search_runs([experiment], query, max_results=100)
    return sorted(found, key=lambda run: (run.info.start_time, run.info.run_id))


def _hash_name(name: str) -> str:
    return hashlib.sha256(name.encode()).hexdigest()[:20]


@dataclass
class SyncResult:
    """Counts and problems of a sync."""

    pushed: int = 0
    pulled: int = 0
    completed: int = 0  # local records whose missing files were downloaded
    conflicts: set[str] = field(default_factory=set)  # keys with several different records
    skipped: list[str] = field(default_factory=list)  # one message per record that was not exchanged


def sync(store: MlflowStore, push: bool = True, keys: Collection[str] | None = None) -> SyncResult:
    """Push local records (if `push`) and pull those of other machines (all, or only those of `keys`).

    A record that cannot be exchanged is listed in `skipped`. Trials of searches are pushed but never pulled.
    `store.unavailable_reason` is set if MLflow cannot be reached.
    """
    done = SyncResult()
    store.is_syncing = True
    with store.best_effort("sync"):
        published = find_published_records(store)
        here = {folder.path.name: folder for folder in find_finished_runs(store.results)}
        done.conflicts |= {key for key, records in published.items() if len(records) > 1}
        for key, folder in (here if push else {}).items():
            with _skipping_errors(key, done, store):
                _sync_run(store, folder, published.get(key, {}), done)
        for key, records in published.items():
            pull = key not in here and is_run_key(key) and (keys is None or key in keys)
            if pull and any(run.data.tags.get("bench.stage") != "trial" for run in records.values()):
                folder = RunFolder(store.results / "runs" / key)
                with _skipping_errors(key, done, store), _run_lock(folder):
                    _pull(store, folder, records, done)
    return done


def find_published_records(store: MlflowStore) -> dict[str, dict[str, Run]]:
    """Return key -> (sha256 of a record -> its MLflow run), earliest finished first, without superseded records."""
    found: dict[str, dict[str, Run]] = {}
    for run in sorted(store.search_runs("tags.`bench.record` != ''"), key=lambda run: run.info.end_time or 0):
        tags = run.data.tags
        if "bench.superseded" not in tags and run.info.status == "FINISHED":
            found.setdefault(tags.get("bench.key", ""), {}).setdefault(tags["bench.record"], run)
    return found


@contextmanager
def _skipping_errors(key: str, done: SyncResult, store: MlflowStore) -> Iterator[None]:
    """Add an error of one run to `skipped` and continue with the others; re-raise it if the store is unavailable."""
    try:
        yield
    except StoreError as error:
        text = str(error)
        done.skipped.append(text if key in text else f"run {ascii(key)[1:-1]}: {text}")
    except Exception as error:  # of any client or driver; it concerns this run only if the store still answers
        if not store.has_answered(error):
            raise
        _log.warning("run %s could not be synced", ascii(key), exc_info=True)
        reason = ascii(_hide_passwords(_get_reason(error)))[1:200]
        done.skipped.append(f"run {ascii(key)[1:-1]} could not be synced ({reason})")


def _run_lock(folder: RunFolder) -> AbstractContextManager[None]:
    """Return a context manager that holds a run's lock. It raises StoreError if another process holds it."""

    def refuse() -> None:
        raise StoreError(f"run {folder.path.name} is running in another process; sync again when it has finished")

    return folder.locked(refuse)


def _sync_run(store: MlflowStore, folder: RunFolder, remote: dict[str, Run], done: SyncResult) -> None:
    """Push the record of a folder unless it is published; download missing files and merge requests."""
    sha, record = folder.hash_record(), folder.read_record()
    run = remote.get(sha)
    if store.find_run_id(folder) is None or run is None:
        with _run_lock(folder):
            _push(store, folder, remote, done)
    elif record is not None and (missing := find_missing_files(folder.path, record)):
        with _run_lock(folder):
            _download_files(store, folder, run, record, missing)
            done.completed += 1
    if run is not None and run.data.tags.get(REQUESTS_TAG, "") != hash_requests(read_requests(folder)[0]):
        with _run_lock(folder):
            _merge_requests(store, folder, run)


def _push(store: MlflowStore, folder: RunFolder, remote: dict[str, Run], done: SyncResult) -> None:
    record = folder.read_record()
    if record is None:  # removed after the folder was listed
        return
    sha = folder.hash_record()
    if sha not in remote and set(remote) - folder.hash_superseded():
        done.conflicts.add(record.key)
    else:
        store.publish_now(folder, record, MlflowRun(store))
        done.pushed += sha not in remote


def _pull(store: MlflowStore, folder: RunFolder, remote: dict[str, Run], done: SyncResult) -> None:
    """Download the earliest record of a run that is not superseded; store nothing unless every sha256 matches."""
    shas = [sha for sha in remote if sha not in folder.hash_superseded()]
    if not shas or folder.read_record() is not None:
        return
    run = remote[shas[0]]
    text = _download_text(store, folder, run, RECORD_FILE)
    record = Record.from_json(text, f"MLflow run {run.info.run_id}")
    if hashlib.sha256(text).hexdigest() != shas[0] or record.key != folder.path.name:
        raise StoreError(f"MLflow run {run.info.run_id}: its record does not match the sha256 in its tag; not pulled")
    if record.spec.stage == "trial":
        return
    _download_files(store, folder, run, record, [name for name in record.files if name != WEIGHTS_FILE])
    atomic_write(folder.path / RECORD_FILE, text)  # last, so that a record is never without its files
    done.pulled += 1
    store.write_note(folder, run.info.run_id, shas[0], run.info.experiment_id)
    shutil.rmtree(folder.checkpoints, ignore_errors=True)
    _merge_requests(store, folder, run)
    if folder.hash_superseded():
        store.publish_now(folder, record, MlflowRun(store))  # tags the superseded run


def _merge_requests(store: MlflowStore, folder: RunFolder, run: Run) -> None:
    """Download the published requests for a run, and publish local ones that are not among them."""
    published: list[StoredRequest] = []
    if run.data.tags.get(REQUESTS_TAG, ""):
        text = _download_text(store, folder, run, REQUESTS)
        published = parse_requests(text, f"MLflow run {run.info.run_id}")[0]
    add_requests(folder, published)
    local = read_requests(folder)[0]
    if lacks_requests(published, local):
        store.check_location(run.info.run_id)
        _publish_requests(store.connect(), run.info.run_id, local)


def _download_files(store: MlflowStore, folder: RunFolder, run: Run, record: Record, names: list[str]) -> None:
    """Download files of a record. Raises StoreError, and stores none, if one does not match its sha256."""
    with tempfile.TemporaryDirectory(prefix=".pull-", dir=folder.path) as temporary:
        for name in names:
            if sha256(_download_file(store, run, name, Path(temporary))) != record.files[name]:
                raise StoreError(f"MLflow run {run.info.run_id}: {name} was changed; not pulled")
        for name in names:
            Path(temporary, name).replace(folder.path / name)


def _download_text(store: MlflowStore, folder: RunFolder, run: Run, name: str) -> bytes:
    """Return the content of a file of a run."""
    with tempfile.TemporaryDirectory(prefix=".pull-", dir=folder.path) as temporary:
        return _download_file(store, run, name, Path(temporary)).read_bytes()


def _download_file(store: MlflowStore, run: Run, name: str, target: Path) -> Path:
    """Download a file into a folder. Raises StoreError if the result is not a plain file or is too large."""
    store.check_location(run.info.run_id)
    store.connect().download_artifacts(run.info.run_id, name, str(target))
    path = target / name
    if not is_plain_file(path) or (name in (RECORD_FILE, REQUESTS) and path.stat().st_size > MAX_RECORD_BYTES):
        raise StoreError(f"MLflow run {run.info.run_id}: {name} is not a file or too large; not pulled")
    return path
