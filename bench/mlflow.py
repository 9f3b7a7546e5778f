"""The MLflow store: finds, opens and publishes runs, and the parent runs of studies and searches.

No run fails because MLflow is unavailable: the record is a file, and `sync` publishes it later.
"""

from __future__ import annotations

import hashlib
import json
import logging
import math
import os
import re
import socket
import time
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from filelock import FileLock

from bench.artifacts import check_files
from bench.errors import StoreError
from bench.files import atomic_write, is_plain_file, open_database, parse_json
from bench.mlflow_run import LiveRun, find_logged_epochs, log_batch, make_config_params, upload_record
from bench.record import Record, RunFolder, RunSpec, get_process_id, process_is_alive

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Run

RETRY_DELAY = 60.0  # seconds in which a store that did not answer is not asked again
PAGE_SIZE = 100  # runs in one answer of a search: half a second's work of a server, far from the timeout below
NOTE_FILE = "mlflow.json"  # beside a record: store -> the run it is published under, and which record that was
REMOTE_SCHEMES = (
    "mlflow-artifacts",
    "http",
    "https",
    "s3",
    "gs",
    "wasbs",
    "abfss",
    "hdfs",
    "viewfs",
    "dbfs",
    "sftp",
    "ftp",
)
_PARENT_NOTE = "parent"  # there too: the name of the study or search that it stands under
_log = logging.getLogger(__name__)

os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "1")
os.environ.setdefault("MLFLOW_HTTP_REQUEST_TIMEOUT", "10")
os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
os.environ.setdefault("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", "false")
os.environ.setdefault("GIT_PYTHON_REFRESH", "quiet")

PARENT_KEY_TAG = (
    "bench.parent_key"  # of a parent alone: follows from its name, and holds no sign that a query would trip over
)
ParentStatus = Literal["FINISHED", "FAILED", "KILLED"]


class MlflowStore:
    """The MLflow store that records are published to. `away` says why it could not be reached the last time."""

    def __init__(self, results: Path, tracking_uri: str | None = None) -> None:
        self.results = results
        self.uri = tracking_uri or f"sqlite:///{(results / 'mlflow.db').resolve()}"
        self.unavailable_reason: str | None = None
        self._failed_at = 0.0
        self._client: MlflowClient | None = None

    def open(self) -> None:
        """Connect, and make a database that is not there yet."""
        with self.best_effort("open"):
            self.connect()

    def start_run(self, spec: RunSpec, arm: str, preset: str, folder: RunFolder, parent: str = "") -> LiveRun:
        """An MLflow run for a run that starts, or the one under which a run that goes on was begun; below that of the
        study or search `parent`, where one is named."""
        live_run = LiveRun(self)
        with self.best_effort("begin"):
            if parent:
                self._write_notes(folder, {_PARENT_NOTE: parent})  # first: a record that is published later has it too
            self._open_run(live_run, spec, arm, preset, folder, parent, works=True)
            live_run.start_monitor()
        return live_run

    def publish(self, folder: RunFolder, record: Record, live_run: LiveRun | None = None) -> str | None:
        """Bring a finished record in, once; its run id, or None while the store is away.

        What is missing is logged, the files are uploaded, and last of all comes the tag that makes the run a record.
        """
        if live_run is not None:
            live_run.stop_monitor()
        with self.best_effort("publish"):
            client, sha = self.connect(), folder.hash_record()
            runs = self.find_runs(record.key)
            known = [run.info for run in runs if run.data.tags.get("bench.record") == sha]
            if known:
                run_id: str = known[0].run_id
            else:
                check_files(folder.path, record)
                live_run = live_run or LiveRun(self)
                if live_run.run_id is None:
                    parent = str(_read_notes(folder).get(_PARENT_NOTE, ""))
                    self._open_run(live_run, record.spec, record.arm, record.preset, folder, parent, works=False)
                assert live_run.run_id is not None
                run_id = live_run.run_id
                self.check_location(run_id)
                upload_record(client, run_id, folder, record)
                client.set_tag(run_id, "bench.record", sha)
            replaced = folder.hash_superseded()
            for run in runs:
                if run.data.tags.get("bench.record") in replaced and "bench.superseded" not in run.data.tags:
                    client.set_tag(run.info.run_id, "bench.superseded", sha)
            client.set_terminated(run_id, "FINISHED")
            experiment = known[0].experiment_id if known else self.published_as(folder).get("experiment")
            self.write_note(folder, run_id, sha, experiment)
            self.unavailable_reason = None
            return run_id
        return None

    def find_run_id(self, folder: RunFolder) -> str | None:
        """The run id that the finished record of a folder is published under in this store, from a note beside it."""
        noted = self.published_as(folder)
        return noted["run_id"] if noted.get("sha") == folder.hash_record() else None

    def end_orphaned_runs(self) -> int:
        """Mark runs that this machine's dead processes left RUNNING as KILLED, but a parent of runs that go on; how
        many there were."""
        dead = 0
        with self.best_effort("reap"):
            running = list(self.search_runs("attributes.status = 'RUNNING'"))
            ours = [run for run in running if {"bench.key", PARENT_KEY_TAG} & run.data.tags.keys()]
            left = {run.info.run_id for run in ours if is_orphaned(run, own=False)}
            left -= {run.data.tags.get("mlflow.parentRunId", "") for run in running if run.info.run_id not in left}
            for run_id in left:
                self.connect().set_terminated(run_id, "KILLED")
                dead += 1
        return dead

    @property
    def artifact_location(self) -> str | None:
        """Where files of runs go: beside the database, and None where a server decides."""
        if self.uri.startswith(("http://", "https://")):
            return None
        return ((self._database_path.parent if self._database_path else self.results) / "artifacts").resolve().as_uri()

    def connect(self) -> MlflowClient:
        """The client. A database file is made under a lock, since several processes would race in its migration.

        Raises StoreError without asking while the store was away a moment ago.
        """
        from mlflow import MlflowClient

        if self.unavailable_reason is not None and time.monotonic() - self._failed_at < RETRY_DELAY:
            raise StoreError(self.unavailable_reason)
        if self._client is None:
            logging.getLogger("mlflow").setLevel(logging.ERROR)
            logging.getLogger("alembic").setLevel(logging.ERROR)

            def connect(uri: str) -> MlflowClient:
                client = MlflowClient(uri)
                client.search_experiments(max_results=1)
                return client

            with self.locked():
                if self._database_path is None:
                    self._client = connect(self.uri)
                else:
                    self._client = open_database(self._database_path, connect, rows="runs")
        return self._client

    def check_location(self, run_id: str) -> None:
        """Raise StoreError where a server says that files of a run lie in a folder of this machine: what it names is
        neither read nor written."""
        if not self.uri.startswith(("http://", "https://")):
            return
        location = str(self.connect().get_run(run_id).info.artifact_uri)
        if location.partition(":")[0] not in REMOTE_SCHEMES:
            raise StoreError(
                f"MLflow at {_hide_passwords(self.uri)} keeps files of runs at {ascii(location)[1:200]}, which is "
                "not a server's"
                " place; start it with --serve-artifacts"
            )

    def is_reachable(self) -> bool:
        """Return whether the store can be reached now."""
        try:
            (self._client or self.connect()).search_experiments(max_results=1)
        except Exception:  # whatever a client, a driver or a socket raises
            return False
        return True

    def locked(self) -> AbstractContextManager[object]:
        """A block that one process at a time enters, where the store is a file; not to be entered twice."""
        if self._database_path is None:
            return nullcontext()
        self._database_path.parent.mkdir(parents=True, exist_ok=True)
        return FileLock(self._database_path.with_suffix(".lock"))

    def search_runs(self, query: str) -> Iterator[Run]:
        """All runs of all experiments that a query of MLflow's finds, page by page."""
        client = self.connect()
        experiments = [found.experiment_id for found in client.search_experiments()]
        token: str | None = None
        while experiments:
            page = client.search_runs(experiments, query, max_results=PAGE_SIZE, page_token=token)
            yield from page
            token = page.token
            if not token:
                break

    def find_runs(self, key: str) -> list[Run]:
        """All MLflow runs of one run of ours."""
        return list(self.search_runs(f"tags.`bench.key` = '{key}'"))

    def get_experiment_id(self, dataset: str, data: str) -> str:
        """The id of the experiment that holds a data set's runs; made where there is none."""
        from mlflow.exceptions import MlflowException

        client = self.connect()
        name = dataset if data == "real" else f"{dataset} (built-in sample)"
        found = client.get_experiment_by_name(name)
        if found is None:
            try:
                kind = {"mlflow.experimentKind": "custom_model_development"}  # its pages show runs, not chats
                return client.create_experiment(name, artifact_location=self.artifact_location, tags=kind)
            except MlflowException:  # another process was first
                found = client.get_experiment_by_name(name)
                if found is None:
                    raise
        return str(found.experiment_id)

    def published_as(self, folder: RunFolder) -> dict[str, Any]:
        """`run_id` and `experiment` in this store, and `sha` of the record once it is published; empty where nothing is
        noted."""
        found = _read_notes(folder).get(self._note_key)
        return found if isinstance(found, dict) and isinstance(found.get("run_id"), str) else {}

    def write_note(self, folder: RunFolder, run_id: str, sha: str | None, experiment: str | None) -> None:
        """Keep beside a run which MLflow run is its own, in which experiment, and (`sha`) which record that holds."""
        self._write_notes(folder, json.loads(self.make_note(run_id, sha, experiment)))

    def make_note(self, run_id: str, sha: str | None, experiment: str | None) -> bytes:
        """The note of a run that has none of another store."""
        return json.dumps({self._note_key: {"run_id": run_id, "sha": sha, "experiment": experiment}}).encode()

    @contextmanager
    def best_effort(self, what: str) -> Iterator[None]:
        """A block whose failure only marks the store as away."""
        try:
            yield
        except StoreError as error:
            self.unavailable_reason = self.unavailable_reason or str(error)
        except Exception as error:  # whatever a client, a driver or a socket raises: the record is safe on disk
            _log.warning("MLflow %s failed", what, exc_info=True)
            reason = _hide_passwords((str(error).strip() or type(error).__name__).splitlines()[0])[:200]
            self.unavailable_reason = f"MLflow at {_hide_passwords(self.uri)} cannot be reached ({reason})"
            self._failed_at = time.monotonic()

    @property
    def _note_key(self) -> str:
        return hashlib.sha256(self.uri.encode()).hexdigest()[:12]

    @property
    def _database_path(self) -> Path | None:
        return Path(self.uri.removeprefix("sqlite:///")) if self.uri.startswith("sqlite:///") else None

    def _open_run(
        self, live_run: LiveRun, spec: RunSpec, arm: str, preset: str, folder: RunFolder, parent: str, works: bool
    ) -> None:
        """Give `live` a run: the one noted, if it was left without a record, or a new one; others left are closed."""
        client, experiment = self.connect(), self.get_experiment_id(spec.dataset, spec.data)
        tags = _make_opening_tags(spec, arm, preset)
        if parent:
            tags["mlflow.parentRunId"] = find_parent_run(self, experiment, parent, works)
        noted = self.published_as(folder).get("run_id")
        for run in self.find_runs(spec.key):
            if "bench.record" in run.data.tags or not is_orphaned(run, own=True):
                continue
            if run.info.run_id == noted:
                live_run.run_id = run.info.run_id
                client.update_run(live_run.run_id, status="RUNNING")
                log_batch(client, live_run.run_id, tags=tags)
                live_run.logged_epochs = find_logged_epochs(client, live_run.run_id)
            elif run.info.status == "RUNNING":
                client.set_terminated(run.info.run_id, "KILLED")
        if live_run.run_id is None:
            tags["mlflow.runName"] = f"{arm} seed {spec.seed}"
            live_run.run_id = client.create_run(experiment, tags=tags).info.run_id
        self.write_note(folder, live_run.run_id, None, experiment)
        log_batch(client, live_run.run_id, params=make_config_params(spec.config))

    def _write_notes(self, folder: RunFolder, new: dict[str, Any]) -> None:
        atomic_write(folder.path / NOTE_FILE, json.dumps({**_read_notes(folder), **new}).encode())


def forget_run(folder: RunFolder) -> None:
    """Drop the note of what a run is published under, so that the next attempt gets an MLflow run of its own."""
    (folder.path / NOTE_FILE).unlink(missing_ok=True)


def _read_notes(folder: RunFolder) -> dict[str, Any]:
    """Read the notes; none where they cannot be read, since all of them can be found in the store again."""
    path = folder.path / NOTE_FILE
    try:
        found = parse_json(path.read_bytes()) if is_plain_file(path) else {}
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def _make_opening_tags(spec: RunSpec, arm: str, preset: str) -> dict[str, str]:
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
        "bench.stage": spec.stage,
        **make_owner_tags(),
    }


def _hide_passwords(text: str) -> str:
    """A text without the passwords of the URIs in it."""
    return re.sub(r"//[^@/\s]*@", "//", text)


def make_owner_tags() -> dict[str, str]:
    """The tags that name this process as a run's owner."""
    return {"bench.host": socket.gethostname(), "bench.process": get_process_id()}


def is_orphaned(run: Run, own: bool) -> bool:
    """Whether a run was left by a dead process of this machine, or (`own`) is this process's."""
    process = run.data.tags.get("bench.process")
    if process is None or run.data.tags.get("bench.host") != socket.gethostname():
        return False
    return own if process == get_process_id() else not process_is_alive(process)


def start_parent_run(store: MlflowStore, dataset: str, data: str, name: str, params: dict[str, Any]) -> str | None:
    """The run of a study or search that begins or goes on, owned by this process; None while MLflow is away."""
    with store.best_effort("begin of a study"):
        client, experiment = store.connect(), store.get_experiment_id(dataset, data)
        run_id = find_parent_run(store, experiment, name)
        client.update_run(run_id, status="RUNNING")
        known = client.get_run(run_id).data.params
        new = {key: value for key, value in params.items() if key not in known}  # one told before cannot be changed
        log_batch(client, run_id, params=new, tags=make_owner_tags())
        return run_id
    return None


def finish_parent_run(
    store: MlflowStore,
    dataset: str,
    data: str,
    name: str,
    status: ParentStatus,
    metrics: dict[str, float],
    files: Sequence[Path],
    tags: dict[str, str],
) -> None:
    """Close the run of a study or search with what it found; it may be told again. Files that are not there are
    passed over, as are numbers that are none."""
    with store.best_effort("end of a study"):
        client, experiment = store.connect(), store.get_experiment_id(dataset, data)
        run_id = find_parent_run(store, experiment, name)
        finite = {key: value for key, value in metrics.items() if math.isfinite(value)}
        log_batch(client, run_id, metrics=finite, tags=tags)
        store.check_location(run_id)
        for path in files:
            if path.is_file():
                client.log_artifact(run_id, str(path))
        for run in {run.info.run_id for run in _search_parent_runs(store, experiment, name)} | {run_id}:
            client.set_terminated(run, status)


def tag_run(store: MlflowStore, folder: RunFolder, tags: dict[str, str]) -> None:
    """Mark the MLflow run of a folder's run, say as the winner of a search; its newest, where none is noted."""
    with store.best_effort("tag"):
        run_id = store.published_as(folder).get("run_id")
        if run_id is None:
            runs = sorted(store.find_runs(folder.path.name), key=lambda run: run.info.start_time)
            run_id = runs[-1].info.run_id if runs else None
        if run_id is not None:
            log_batch(store.connect(), run_id, tags=tags)


def find_parent_run(store: MlflowStore, experiment: str, name: str, works: bool = True) -> str:
    """The parent's run id; made where there is none. One that `works` (a run of its begins) is RUNNING, and this
    process's where its owner is dead."""
    client = store.connect()
    with store.locked():
        found = _search_parent_runs(store, experiment, name)
        if not found:
            found = [_create_parent_run(store, experiment, name)]
            if not works:
                client.set_terminated(found[0].info.run_id, "FINISHED")
    run_id: str = found[0].info.run_id
    if works and (found[0].info.status != "RUNNING" or is_orphaned(found[0], own=False)):
        log_batch(client, run_id, tags=make_owner_tags())
        client.update_run(run_id, status="RUNNING")
    return run_id


def _create_parent_run(store: MlflowStore, experiment: str, name: str) -> Run:
    """A parent, unless another machine was first: all agree on the earliest, and who made a later one takes it back."""
    client = store.connect()
    tags = {
        PARENT_KEY_TAG: _hash_parent_name(name),
        "bench.parent": name[:5000],
        "mlflow.runName": name[:200],
        **make_owner_tags(),
    }
    made = client.create_run(experiment, tags=tags)
    first = (_search_parent_runs(store, experiment, name) or [made])[0]
    if first.info.run_id != made.info.run_id:
        client.delete_run(made.info.run_id)
    return first


def _search_parent_runs(store: MlflowStore, experiment: str, name: str) -> list[Run]:
    """All parents of that name, the earliest first."""
    found = store.connect().search_runs(
        [experiment], f"tags.`{PARENT_KEY_TAG}` = '{_hash_parent_name(name)}'", max_results=100
    )
    return sorted(found, key=lambda run: (run.info.start_time, run.info.run_id))


def _hash_parent_name(name: str) -> str:
    return hashlib.sha256(name.encode()).hexdigest()[:20]
