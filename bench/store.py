"""Records in and out of MLflow: published whole, once, and pulled back from other machines.

MLflow being away never kills or loses a run: the record is a file, and `sync` brings it in later.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import re
import shutil
import socket
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from filelock import FileLock

from bench.errors import StoreError
from bench.files import sha256, write_whole
from bench.provenance import is_alive, this_process
from bench.record import RECORD, Record, RunFolder, RunSpec, read_records

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Run

WEIGHTS = "weights.safetensors"  # stays on the machine that trained it
_PLAIN = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")  # a file name that cannot leave its folder
_KEY = re.compile(r"[0-9a-f]{20}")
_log = logging.getLogger(__name__)

os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "1")
os.environ.setdefault("MLFLOW_HTTP_REQUEST_TIMEOUT", "10")
os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
os.environ.setdefault("GIT_PYTHON_REFRESH", "quiet")


class Store:
    """The MLflow store that records are published to. `away` says why it cannot be reached, if so."""

    def __init__(self, results: Path, tracking_uri: str | None = None) -> None:
        self.results = results
        self.embedded = tracking_uri is None
        self.uri = tracking_uri or f"sqlite:///{(results / 'mlflow.db').resolve()}"
        self.away: str | None = None
        self._client: MlflowClient | None = None

    def open(self) -> None:
        """Connect; an embedded store is made under a lock, since several processes would race in its migration."""
        with self._best_effort("open"):
            self._connect()

    def begin(self, spec: RunSpec, arm: str, preset: str) -> Live:
        """An MLflow run for a run that starts or goes on: the one a killed process left behind, or a new one."""
        live = Live(self, spec.key)
        with self._best_effort("begin"):
            client = self._connect()
            experiment = self._experiment(spec)
            left = [run for run in self._runs_of(spec.key) if "bench.record" not in run.data.tags and _is_free(run)]
            if left:
                live.run_id = left[0].info.run_id
                client.update_run(live.run_id, status="RUNNING")
                for other in left[1:]:
                    client.set_terminated(other.info.run_id, "KILLED")
            else:
                tags = {"mlflow.runName": f"{arm} seed {spec.seed}", "bench.key": spec.key}
                live.run_id = client.create_run(experiment, tags=tags).info.run_id
            for name, value in _opening_tags(spec, arm, preset).items():
                client.set_tag(live.run_id, name, value)
            live.logged = self._logged(live.run_id)
        return live

    def publish(self, folder: RunFolder, record: Record, live: Live | None = None) -> str | None:
        """Bring a finished record in, once; its run id, or None while the store is away."""
        run_id: str | None = None
        with self._best_effort("publish"):
            client = self._connect()
            sha = folder.sha()
            runs = self._runs_of(record.key)
            known = [run for run in runs if run.data.tags.get("bench.record") == sha]
            if known:
                run_id = known[0].info.run_id
            else:
                if live is None or live.run_id is None:
                    live = self.begin(record.spec, record.arm, record.preset)
                if live.run_id is None:
                    raise StoreError(self.away or "no run could be made")
                run_id = live.run_id
                self._fill(run_id, folder, record, live)
                client.set_tag(run_id, "bench.record", sha)
                replaced = folder.superseded()
                for run in runs:
                    if run.data.tags.get("bench.record") in replaced:
                        client.set_tag(run.info.run_id, "bench.superseded", sha)
            client.set_terminated(run_id, "FINISHED")
            write_whole(folder.path / "mlflow.json", json.dumps({self._name: run_id}).encode())
        return run_id

    def run_id(self, folder: RunFolder) -> str | None:
        """The run id a record was published under in this store, from a note beside the record."""
        note = folder.path / "mlflow.json"
        return json.loads(note.read_text()).get(self._name) if note.exists() else None

    def reap(self) -> int:
        """Mark runs that this machine's dead processes left RUNNING as KILLED; how many there were."""
        dead = 0
        with self._best_effort("reap"):
            client = self._connect()
            for run in self._search("attributes.status = 'RUNNING'"):
                if "bench.key" in run.data.tags and _is_free(run):
                    client.set_terminated(run.info.run_id, "KILLED")
                    dead += 1
        return dead

    def sync(self) -> Exchange:
        """Push the records MLflow lacks and pull those that other machines published."""
        pushed, pulled, conflicts = 0, 0, []
        with self._best_effort("sync"):
            self._connect()
            published = [run for run in self._search("tags.`bench.record` != ''") if _counts(run)]
            shas = {run.data.tags["bench.record"]: run for run in published}
            local: dict[str, str] = {}
            for folder, record in read_records(self.results):
                sha = local[record.key] = folder.sha()
                if sha not in shas or self.run_id(folder) is None:
                    other = [run for run in published if run.data.tags.get("bench.key") == record.key]
                    if other and sha not in shas:
                        conflicts.append(record.key)
                    elif self.publish(folder, record) is not None:
                        pushed += sha not in shas
            for sha, run in shas.items():
                key = run.data.tags.get("bench.key", "")
                if key not in local:
                    self._pull(run, key, sha)
                    pulled += 1
        return Exchange(pushed, pulled, tuple(dict.fromkeys(conflicts)), self.away)

    @property
    def artifacts(self) -> str | None:
        """Where files of runs go: beside the database, and None where a server decides."""
        if self.uri.startswith(("http://", "https://")):
            return None
        beside = Path(self.uri.removeprefix("sqlite:///")).parent if self.uri.startswith("sqlite:///") else self.results
        return (beside / "artifacts").resolve().as_uri()

    @property
    def _name(self) -> str:
        return hashlib.sha256(self.uri.encode()).hexdigest()[:12]

    def _connect(self) -> MlflowClient:
        if self._client is None:
            if self.away is not None:
                raise StoreError(self.away)
            from mlflow import MlflowClient

            logging.getLogger("mlflow").setLevel(logging.ERROR)
            logging.getLogger("alembic").setLevel(logging.ERROR)
            if self.embedded:
                self.results.mkdir(parents=True, exist_ok=True)
                with FileLock(self.results / "mlflow.lock"):
                    client = MlflowClient(self.uri)
                    client.search_experiments(max_results=1)
            else:
                client = MlflowClient(self.uri)
                client.search_experiments(max_results=1)
            self._client = client
        return self._client

    def _experiment(self, spec: RunSpec) -> str:
        from mlflow.exceptions import MlflowException

        client = self._connect()
        name = spec.dataset if spec.data == "real" else f"{spec.dataset} (built-in sample)"
        found = client.get_experiment_by_name(name)
        if found is None:
            try:
                return client.create_experiment(name, artifact_location=self.artifacts)
            except MlflowException:  # another process was first
                found = client.get_experiment_by_name(name)
                if found is None:
                    raise
        return str(found.experiment_id)

    def _search(self, query: str) -> list[Run]:
        client = self._connect()
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

    def _runs_of(self, key: str) -> list[Run]:
        return self._search(f"tags.`bench.key` = '{key}'")

    def _logged(self, run_id: str) -> set[tuple[str, int]]:
        """The (stage, epoch) pairs whose curves a run already holds."""
        client = self._connect()
        found = set()
        for name in client.get_run(run_id).data.metrics:
            if name.endswith("/loss") and not name.startswith(("val/", "test/")):
                stage = name.removesuffix("/loss")
                found |= {(stage, int(point.step)) for point in client.get_metric_history(run_id, name)}
        return found

    def _fill(self, run_id: str, folder: RunFolder, record: Record, live: Live) -> None:
        """Everything of a record but the tag that makes it one."""
        from mlflow.entities import Dataset, DatasetInput, Metric

        client, spec = self._connect(), record.spec
        curves = json.loads((folder.path / "curves.json").read_text()) if "curves.json" in record.files else []
        for point in curves:
            live.log_epoch(point["stage"], point["epoch"], point["values"])
        now = int(time.time() * 1000)
        numbers = {**record.scores, **record.notes, **{f"seconds/{k}": v for k, v in record.seconds.items()}}
        finals = [Metric(f"final/{name}", value, now, 0) for name, value in numbers.items() if value is not None]
        for start in range(0, len(finals), 500):
            client.log_batch(run_id, metrics=finals[start : start + 500])
        for name, value in record.provenance.items():
            client.set_tag(run_id, f"bench.{name}", str(value))
        source = json.dumps({"content": spec.content, "data": spec.data})
        used = Dataset(spec.dataset, spec.split[:36], "local", source)
        client.log_inputs(run_id, [DatasetInput(used)])
        for name in record.files:
            if name != WEIGHTS:
                client.log_artifact(run_id, str(folder.path / name))
        client.log_artifact(run_id, str(folder.path / RECORD))

    def _pull(self, run: Run, key: str, sha: str) -> None:
        """Bring one published record here; nothing is kept unless every checksum fits."""
        client = self._connect()
        if not _KEY.fullmatch(key):
            raise StoreError(f"MLflow run {run.info.run_id} names its record '{key}', which is no key; not pulled")
        (self.results / "runs").mkdir(parents=True, exist_ok=True)
        place = Path(tempfile.mkdtemp(prefix=".pull-", dir=self.results / "runs"))
        try:
            got = Path(client.download_artifacts(run.info.run_id, RECORD, str(place)))
            record = Record.from_json(got.read_text(), f"MLflow run {run.info.run_id}")
            if sha256(got) != sha or record.key != key or record.spec.key != key:
                raise StoreError(f"the record of MLflow run {run.info.run_id} is not what its tag says; not pulled")
            for name, wanted in record.files.items():
                if name == WEIGHTS:
                    continue
                if not _PLAIN.fullmatch(name):
                    raise StoreError(
                        f"MLflow run {run.info.run_id} lists a file '{name}' outside its folder; not pulled"
                    )
                if sha256(Path(client.download_artifacts(run.info.run_id, name, str(place)))) != wanted:
                    raise StoreError(f"{name} of MLflow run {run.info.run_id} was changed; not pulled")
            target = self.results / "runs" / key
            target.mkdir(exist_ok=True)
            for file in sorted(place.iterdir(), key=lambda file: file.name == RECORD):  # the record last
                file.replace(target / file.name)
            write_whole(target / "mlflow.json", json.dumps({self._name: run.info.run_id}).encode())
        finally:
            shutil.rmtree(place, ignore_errors=True)

    @contextmanager
    def _best_effort(self, what: str) -> Iterator[None]:
        """A block whose failure only marks the store as away."""
        try:
            yield
        except StoreError as error:
            self.away = self.away or str(error)
        except Exception as error:  # whatever a client, a driver or a socket raises: the record is safe on disk
            _log.warning("MLflow %s failed", what, exc_info=True)
            reason = (str(error).strip() or type(error).__name__).splitlines()[0][:200]
            self.away = f"MLflow at {_shown(self.uri)} cannot be reached ({reason})"


class Live:
    """The MLflow run of a run under way; it may lose everything, the record is brought in at the end."""

    def __init__(self, store: Store, key: str) -> None:
        self.store, self.key = store, key
        self.run_id: str | None = None
        self.logged: set[tuple[str, int]] = set()

    def log_params(self, params: dict[str, Any]) -> None:
        """The config's values; told again they are the same."""
        if self._is_open():
            from mlflow.entities import Param

            with self.store._best_effort("log_params"):
                rows = [Param(name, str(value)[:6000]) for name, value in params.items()]
                self.store._connect().log_batch(str(self.run_id), params=rows)

    def log_epoch(self, stage: str, epoch: int, values: dict[str, float]) -> None:
        """One batch of curve points; an epoch that the run already holds is not logged again."""
        if self._is_open() and (stage, epoch) not in self.logged:
            from mlflow.entities import Metric

            with self.store._best_effort("log_epoch"):
                now = int(time.time() * 1000)
                named = {name if name.startswith(f"{stage}/") else f"{stage}/{name}": v for name, v in values.items()}
                rows = [Metric(name, value, now, epoch) for name, value in named.items()]
                self.store._connect().log_batch(str(self.run_id), metrics=rows)
                self.logged.add((stage, epoch))

    def end(self, status: str) -> None:
        """Close a run that brought no record: FAILED, or KILLED when it was interrupted."""
        if self._is_open():
            with self.store._best_effort("end"):
                self.store._connect().set_terminated(str(self.run_id), status)

    def _is_open(self) -> bool:
        return self.run_id is not None and self.store.away is None


class Exchange:
    """What a sync did."""

    def __init__(self, pushed: int, pulled: int, conflicts: tuple[str, ...], away: str | None) -> None:
        self.pushed, self.pulled, self.conflicts, self.away = pushed, pulled, conflicts, away


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


def _is_free(run: Run) -> bool:
    """Whether a run without a record was left by a dead (or this) process of this machine."""
    tags = run.data.tags
    if tags.get("bench.host", socket.gethostname()) != socket.gethostname():
        return False
    process = tags.get("bench.process", "")
    return process == this_process() or not is_alive(process)


def _counts(run: Run) -> bool:
    return "bench.superseded" not in run.data.tags and run.info.status == "FINISHED"


def _shown(uri: str) -> str:
    """A URI without its password."""
    return re.sub(r"//[^@/]*@", "//", uri)
