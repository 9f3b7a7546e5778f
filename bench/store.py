"""Records published to MLflow: whole, once, and never at the price of a run.

MLflow being away loses nothing: the record is a file, and `sync` brings it in later.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import re
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any

from filelock import FileLock

from bench import parents
from bench.batches import config_params, log_batch
from bench.database import open_database
from bench.errors import StoreError
from bench.files import is_plain_file, parse_json, write_whole
from bench.filling import fill, logged_epochs
from bench.live import Live
from bench.outputs import check_files
from bench.owner import is_left, owner_tags
from bench.record import Record, RunFolder, RunSpec

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Run

PATIENCE = 60.0  # seconds in which a store that did not answer is not asked again
PAGE = 100  # runs in one answer of a search: half a second's work of a server, far from the timeout below
NOTE = "mlflow.json"  # beside a record: store -> the run it is published under, and which record that was
REMOTE = ("mlflow-artifacts", "http", "https", "s3", "gs", "wasbs", "abfss", "hdfs", "viewfs", "dbfs", "sftp", "ftp")
_PARENT = "parent"  # there too: the name of the study or search that it stands under
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
            if parent:
                self._write_notes(folder, {_PARENT: parent})  # first: a record that is published later has it too
            self._open_run(live, spec, arm, preset, folder, parent, works=True)
            live.watch()
        return live

    def publish(self, folder: RunFolder, record: Record, live: Live | None = None) -> str | None:
        """Bring a finished record in, once; its run id, or None while the store is away.

        What is missing is logged, the files are uploaded, and last of all comes the tag that makes the run a record.
        """
        if live is not None:
            live.unwatch()
        with self.best_effort("publish"):
            client, sha = self.connect(), folder.sha()
            runs = self.runs_of(record.key)
            known = [run.info for run in runs if run.data.tags.get("bench.record") == sha]
            if known:
                run_id: str = known[0].run_id
            else:
                check_files(folder.path, record)
                live = live or Live(self)
                if live.run_id is None:
                    parent = str(_notes(folder).get(_PARENT, ""))
                    self._open_run(live, record.spec, record.arm, record.preset, folder, parent, works=False)
                assert live.run_id is not None
                run_id = live.run_id
                self.check_location(run_id)
                fill(client, run_id, folder, record)
                client.set_tag(run_id, "bench.record", sha)
            replaced = folder.superseded()
            for run in runs:
                if run.data.tags.get("bench.record") in replaced and "bench.superseded" not in run.data.tags:
                    client.set_tag(run.info.run_id, "bench.superseded", sha)
            client.set_terminated(run_id, "FINISHED")
            experiment = known[0].experiment_id if known else self.noted(folder).get("experiment")
            self.note(folder, run_id, sha, experiment)
            self.away = None
            return run_id
        return None

    def run_id(self, folder: RunFolder) -> str | None:
        """The run id that the finished record of a folder is published under in this store, from a note beside it."""
        noted = self.noted(folder)
        return noted["run_id"] if noted.get("sha") == folder.sha() else None

    def reap(self) -> int:
        """Mark runs that this machine's dead processes left RUNNING as KILLED, but a parent of runs that go on; how
        many there were."""
        dead = 0
        with self.best_effort("reap"):
            running = list(self.search("attributes.status = 'RUNNING'"))
            ours = [run for run in running if {"bench.key", parents.KEY} & run.data.tags.keys()]
            left = {run.info.run_id for run in ours if is_left(run, own=False)}
            left -= {run.data.tags.get("mlflow.parentRunId", "") for run in running if run.info.run_id not in left}
            for run_id in left:
                self.connect().set_terminated(run_id, "KILLED")
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

            def connect(uri: str) -> MlflowClient:
                client = MlflowClient(uri)
                client.search_experiments(max_results=1)
                return client

            with self.alone():
                if self._database is None:
                    self._client = connect(self.uri)
                else:
                    self._client = open_database(self._database, connect, rows="runs")
        return self._client

    def check_location(self, run_id: str) -> None:
        """Raise StoreError where a server says that files of a run lie in a folder of this machine: what it names is
        neither read nor written."""
        if not self.uri.startswith(("http://", "https://")):
            return
        location = str(self.connect().get_run(run_id).info.artifact_uri)
        if location.partition(":")[0] not in REMOTE:
            raise StoreError(
                f"MLflow at {_shown(self.uri)} keeps files of runs at {ascii(location)[1:200]}, which is not a server's"
                " place; start it with --serve-artifacts"
            )

    def answers(self) -> bool:
        """Return whether the store can be reached now."""
        try:
            (self._client or self.connect()).search_experiments(max_results=1)
        except Exception:  # whatever a client, a driver or a socket raises
            return False
        return True

    def alone(self) -> AbstractContextManager[object]:
        """A block that one process at a time enters, where the store is a file; not to be entered twice."""
        if self._database is None:
            return nullcontext()
        self._database.parent.mkdir(parents=True, exist_ok=True)
        return FileLock(self._database.with_suffix(".lock"))

    def search(self, query: str) -> Iterator[Run]:
        """All runs of all experiments that a query of MLflow's finds, page by page."""
        client = self.connect()
        experiments = [found.experiment_id for found in client.search_experiments()]
        token: str | None = None
        while experiments:
            page = client.search_runs(experiments, query, max_results=PAGE, page_token=token)
            yield from page
            token = page.token
            if not token:
                break

    def runs_of(self, key: str) -> list[Run]:
        """All MLflow runs of one run of ours."""
        return list(self.search(f"tags.`bench.key` = '{key}'"))

    def experiment(self, dataset: str, data: str) -> str:
        """The id of the experiment that holds a data set's runs; made where there is none."""
        from mlflow.exceptions import MlflowException

        client = self.connect()
        name = dataset if data == "real" else f"{dataset} (built-in sample)"
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

    def noted(self, folder: RunFolder) -> dict[str, Any]:
        """`run_id` and `experiment` in this store, and `sha` of the record once it is published; empty where nothing is
        noted."""
        found = _notes(folder).get(self._name)
        return found if isinstance(found, dict) and isinstance(found.get("run_id"), str) else {}

    def note(self, folder: RunFolder, run_id: str, sha: str | None, experiment: str | None) -> None:
        """Keep beside a run which MLflow run is its own, in which experiment, and (`sha`) which record that holds."""
        self._write_notes(folder, json.loads(self.as_note(run_id, sha, experiment)))

    def as_note(self, run_id: str, sha: str | None, experiment: str | None) -> bytes:
        """The note of a run that has none of another store."""
        return json.dumps({self._name: {"run_id": run_id, "sha": sha, "experiment": experiment}}).encode()

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

    def _open_run(
        self, live: Live, spec: RunSpec, arm: str, preset: str, folder: RunFolder, parent: str, works: bool
    ) -> None:
        """Give `live` a run: the one noted, if it was left without a record, or a new one; others left are closed."""
        client, experiment = self.connect(), self.experiment(spec.dataset, spec.data)
        tags = _opening_tags(spec, arm, preset)
        if parent:
            tags["mlflow.parentRunId"] = parents.find_parent(self, experiment, parent, works)
        noted = self.noted(folder).get("run_id")
        for run in self.runs_of(spec.key):
            if "bench.record" in run.data.tags or not is_left(run, own=True):
                continue
            if run.info.run_id == noted:
                live.run_id = run.info.run_id
                client.update_run(live.run_id, status="RUNNING")
                log_batch(client, live.run_id, tags=tags)
                live.logged = logged_epochs(client, live.run_id)
            elif run.info.status == "RUNNING":
                client.set_terminated(run.info.run_id, "KILLED")
        if live.run_id is None:
            tags["mlflow.runName"] = f"{arm} seed {spec.seed}"
            live.run_id = client.create_run(experiment, tags=tags).info.run_id
        self.note(folder, live.run_id, None, experiment)
        log_batch(client, live.run_id, params=config_params(spec.config))

    def _write_notes(self, folder: RunFolder, new: dict[str, Any]) -> None:
        write_whole(folder.path / NOTE, json.dumps({**_notes(folder), **new}).encode())


def forget_run(folder: RunFolder) -> None:
    """Drop the note of what a run is published under, so that the next attempt gets an MLflow run of its own."""
    (folder.path / NOTE).unlink(missing_ok=True)


def _notes(folder: RunFolder) -> dict[str, Any]:
    """Read the notes; none where they cannot be read, since all of them can be found in the store again."""
    path = folder.path / NOTE
    try:
        found = parse_json(path.read_bytes()) if is_plain_file(path) else {}
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


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
        "bench.stage": spec.stage,
        **owner_tags(),
    }


def _shown(text: str) -> str:
    """A text without the passwords of the URIs in it."""
    return re.sub(r"//[^@/\s]*@", "//", text)
