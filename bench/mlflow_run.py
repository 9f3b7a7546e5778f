"""One MLflow run, written while a fit goes on and completed from its record.

A live run may lose everything: the record is published at the end.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import json
import logging
import re
import threading
import time
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import zip_longest
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

import psutil

from bench.artifacts import CURVES_FILE, WEIGHTS_FILE, EpochValues, read_curves
from bench.record import RECORD_FILE, Record, RunFolder
from bench.requests import REQUESTS, StoredRequest, format_requests, hash_requests, read_requests
from bench.timing import Throttle

if TYPE_CHECKING:
    from mlflow import MlflowClient

MAX_METRICS, MAX_PARAMS = 500, 100  # of one call: metrics; parameters, and tags
T = TypeVar("T")

TAG_PREFIX, REQUESTS_PREFIX = "bench.json.", "bench.requests."
TAG_LENGTH = 7_000  # characters; MLflow cuts a tag at 8,000
MAX_RECORD_TAGS = 8  # a record that needs more is uploaded as a file alone
MAX_UNPACKED_BYTES = 2_000_000  # bytes of a record: what unpacks to more is none

REQUESTS_TAG = "bench.requested_by"  # the sha256 of the requests for a run

SAMPLE_INTERVAL = 10.0  # seconds between two samples; later in a long run 1 % of the time it took so far
MONITOR_TIMEOUT = 1.0  # seconds that the end of a run waits for a sample that is being logged
_log = logging.getLogger(__name__)


def clean_metric_name(name: str) -> str:
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
    rows = [Metric(clean_metric_name(name), value, now, 0) for name, value in (metrics or {}).items()]
    named = [Param(clean_metric_name(name), str(value)[:6000]) for name, value in (params or {}).items()]
    marks = [RunTag(clean_metric_name(name), value[:8000]) for name, value in (tags or {}).items()]
    batches = zip_longest(
        split_batches(rows, MAX_METRICS),
        split_batches(named, MAX_PARAMS),
        split_batches(marks, MAX_PARAMS),
        fillvalue=(),
    )
    for numbers, words, signs in batches:
        client.log_batch(run_id, numbers, words, signs)


def log_curves(client: MlflowClient, run_id: str, points: Sequence[EpochValues]) -> None:
    """The numbers of epochs."""
    from mlflow.entities import Metric

    now = int(time.time() * 1000)
    rows = [
        Metric(clean_metric_name(name if name.startswith(f"{stage}/") else f"{stage}/{name}"), value, now, epoch)
        for stage, epoch, values in points
        for name, value in values.items()
    ]
    for numbers in split_batches(rows, MAX_METRICS):
        client.log_batch(run_id, numbers)


def make_config_params(config: dict[str, Any]) -> dict[str, Any]:
    """A run's config as MLflow's parameters."""
    return {f"config.{name}": value for name, value in config.items()}


def split_batches(rows: Sequence[T], size: int) -> Iterator[Sequence[T]]:
    """Cut rows into batches of at most `size`."""
    for start in range(0, len(rows), size):
        yield rows[start : start + size]


def pack_record(record: bytes, prefix: str = TAG_PREFIX) -> dict[str, str]:
    """The tags that hold a record's text, compressed; none where it is too long for tags."""
    text = base64.b64encode(zlib.compress(record, 9)).decode()
    pieces = [text[start : start + TAG_LENGTH] for start in range(0, len(text), TAG_LENGTH)]
    if len(pieces) > MAX_RECORD_TAGS or len(record) > MAX_UNPACKED_BYTES:
        return {}
    return {f"{prefix}{index}": piece for index, piece in enumerate(pieces)}


def unpack_record(tags: Mapping[str, str], sha: str, prefix: str = TAG_PREFIX) -> bytes | None:
    """The record's text, if the tags of a run hold all of it: that is, if its sha256 is `sha`."""
    text = "".join(tags.get(f"{prefix}{index}", "") for index in range(MAX_RECORD_TAGS))
    try:
        record = zlib.decompressobj().decompress(base64.b64decode(text, validate=True), MAX_UNPACKED_BYTES)
    except (binascii.Error, zlib.error):
        return None
    return record if hashlib.sha256(record).hexdigest() == sha else None


def upload_record(client: MlflowClient, run_id: str, folder: RunFolder, record: Record) -> None:
    """Log and upload all that is missing; raises where anything fails. Weights stay where they were trained."""
    from mlflow.entities import Dataset, DatasetInput

    spec, known, logged = record.spec, client.get_run(run_id), find_logged_epochs(client, run_id)
    log_batch(client, run_id, params=make_config_params(spec.config))
    points = read_curves(folder.path) if CURVES_FILE in record.files else []
    log_curves(client, run_id, [point for point in points if point[:2] not in logged])
    tags, numbers = make_provenance_tags(record)
    finals = {clean_metric_name(name): value for name, value in {**_collect_final_metrics(record), **numbers}.items()}
    missing = {name: value for name, value in finals.items() if name not in known.data.metrics}
    log_batch(client, run_id, metrics=missing, tags={**tags, **pack_record((folder.path / RECORD_FILE).read_bytes())})
    if known.inputs is None or not known.inputs.dataset_inputs:
        source = json.dumps({"content": spec.content, "data": spec.data})
        client.log_inputs(run_id, [DatasetInput(Dataset(spec.dataset, spec.split[:36], "local", source))])
    for name in [*(name for name in record.files if name != WEIGHTS_FILE), RECORD_FILE]:
        client.log_artifact(run_id, str(folder.path / name))
    publish_requests(client, run_id, read_requests(folder)[0])


def publish_requests(client: MlflowClient, run_id: str, requests: Sequence[StoredRequest]) -> None:
    """Upload the requests for a run, as a file and, where they are not too long, as tags that a search brings."""
    if requests:
        text = format_requests(requests)
        client.log_text(run_id, text.decode(), REQUESTS)
        log_batch(client, run_id, tags={REQUESTS_TAG: hash_requests(requests), **pack_record(text, REQUESTS_PREFIX)})


def find_logged_epochs(client: MlflowClient, run_id: str) -> set[tuple[str, int]]:
    """The (stage, epoch) pairs whose curves a run already holds."""
    found = set()
    for name in client.get_run(run_id).data.metrics:
        if name.endswith("/loss") and not name.startswith("final/"):
            stage = name.removesuffix("/loss")
            found |= {(stage, int(point.step)) for point in client.get_metric_history(run_id, name)}
    return found


def make_provenance_tags(record: Record) -> tuple[dict[str, str], dict[str, float]]:
    """Where a record comes from, as tags; what of it can be compared (peaks of memory), as metrics."""
    tags = {f"bench.{name}": str(value) for name, value in record.provenance.items()}
    peaks = {f"final/{name}": float(value) for name, value in record.provenance.items() if name.startswith("peak_")}
    return tags, peaks


def _collect_final_metrics(record: Record) -> dict[str, float]:
    numbers = {**record.scores, **record.notes, **{f"seconds/{k}": v for k, v in record.seconds.items()}}
    return {f"final/{name}": value for name, value in numbers.items() if value is not None}


class SystemMonitor:
    """A thread that samples until it is ended, or until MLflow fails it; a run shorter than EVERY never feels it."""

    def __init__(self, uri: str, run_id: str) -> None:
        self._uri, self._run_id = uri, run_id
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._run, name="system metrics", daemon=True)

    def start(self) -> None:
        """Begin to sample."""
        self._thread.start()

    def stop(self) -> None:
        """No more samples; one that hangs in a call is left behind."""
        self._stopped.set()
        self._thread.join(MONITOR_TIMEOUT)

    def _run(self) -> None:
        try:
            self._sample()
        except Exception:  # whatever a driver, a client or a socket raises: samples are no part of a record
            _log.warning("no more system metrics of run %s", self._run_id, exc_info=True)

    def _sample(self) -> None:
        start = time.monotonic()
        psutil.cpu_percent()  # tells the share since it was last asked
        if self._stopped.wait(SAMPLE_INTERVAL):
            return
        from mlflow.system_metrics.system_metrics_monitor import SystemMetricsMonitor

        make: Any = SystemMetricsMonitor  # it has no types
        inner = make(self._run_id, resume_logging=True, tracking_uri=self._uri)
        while not self._stopped.is_set():
            inner.collect_metrics()
            inner.publish_metrics(inner.aggregate_metrics())
            self._stopped.wait(max(SAMPLE_INTERVAL, (time.monotonic() - start) / 100))


class MlflowConnection(Protocol):
    """The part of an MLflow store that a live run needs."""

    uri: str

    def connect(self) -> MlflowClient:
        """Return the client of the store. Raises where the store cannot be reached."""
        ...

    def check_location(self, run_id: str) -> None:
        """Raise StoreError where artifacts of the run would lie outside the store's place for them."""
        ...


class LiveRun:
    """What a run tells MLflow while it goes on. `run_id` is None while MLflow is away."""

    def __init__(self, store: MlflowConnection) -> None:
        self.store = store
        self.run_id: str | None = None
        self.logged_epochs: set[tuple[str, int]] = set()
        self._pending: list[EpochValues] = []
        self._throttle = Throttle()
        self._disconnected = False  # after one call that failed no other is tried: each might take its time
        self._monitor: SystemMonitor | None = None

    def start_monitor(self) -> None:
        """Log what the machine does, until the run ends."""
        if self.run_id is not None:
            self._monitor = SystemMonitor(self.store.uri, self.run_id)
            self._monitor.start()

    def stop_monitor(self) -> None:
        """The machine's part ends before the run's does."""
        if self._monitor is not None:
            self._monitor.stop()
            self._monitor = None

    def log_epoch(self, stage: str, epoch: int, values: dict[str, float]) -> None:
        """The numbers of an epoch, of several in one batch where they are short; what the run holds is not logged
        again."""
        if (stage, epoch) not in self.logged_epochs:
            self._pending.append((stage, epoch, values))
            self.logged_epochs.add((stage, epoch))
        if self._throttle.is_due():
            self._flush()

    def _flush(self) -> None:
        points, self._pending = self._pending, []
        if points:
            with self._throttle():
                self._call(lambda client, run_id: log_curves(client, run_id, points))

    def end(self, status: str) -> None:
        """Close a run that brought no record: FAILED, or KILLED when it was interrupted and may go on."""
        self.stop_monitor()
        self._flush()
        self._call(lambda client, run_id: client.set_terminated(run_id, status))

    def fail(self, record: Record) -> None:
        """Close a run that brought no scores, with its reason: KILLED where a search gave it up, else FAILED."""
        error = record.error
        assert error is not None
        self.stop_monitor()
        tags, metrics = make_provenance_tags(record)
        tags |= {"bench.error": error.kind, "bench.message": error.message[:5000]}
        self._call(lambda client, run_id: log_batch(client, run_id, metrics=metrics, tags=tags))
        if error.traceback:
            self._call(lambda client, run_id: self.store.check_location(run_id))
            self._call(lambda client, run_id: client.log_text(run_id, error.traceback, "traceback.txt"))
        self._disconnected = False  # its status is worth a call of its own
        self.end("KILLED" if error.kind == "pruned" else "FAILED")

    def _call(self, call: Callable[[MlflowClient, str], object]) -> None:
        if self.run_id is None or self._disconnected:
            return
        try:
            call(self.store.connect(), self.run_id)
        except Exception:  # as in best_effort: nothing that a store does may harm a run
            self._disconnected = True
            _log.warning("MLflow lost sight of run %s until it ends", self.run_id, exc_info=True)
