"""The MLflow run of a run under way: it may lose everything, the record is brought in at the end."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import TYPE_CHECKING, Protocol

from bench.batches import log_batch, log_curves
from bench.filling import provenance_of
from bench.monitor import Monitor
from bench.outputs import Point
from bench.pace import Pace
from bench.record import Record

if TYPE_CHECKING:
    from mlflow import MlflowClient

_log = logging.getLogger(__name__)


class MlflowConnection(Protocol):
    """The part of an MLflow store that a live run needs."""

    uri: str

    def connect(self) -> MlflowClient:
        """Return the client of the store. Raises where the store cannot be reached."""
        ...

    def check_location(self, run_id: str) -> None:
        """Raise StoreError where artifacts of the run would lie outside the store's place for them."""
        ...


class Live:
    """What a run tells MLflow while it goes on. `run_id` is None while MLflow is away."""

    def __init__(self, store: MlflowConnection) -> None:
        self.store = store
        self.run_id: str | None = None
        self.logged: set[tuple[str, int]] = set()
        self._waiting: list[Point] = []
        self._pace = Pace()
        self._lost = False  # after one call that failed no other is tried: each might take its time
        self._monitor: Monitor | None = None

    def watch(self) -> None:
        """Log what the machine does, until the run ends."""
        if self.run_id is not None:
            self._monitor = Monitor(self.store.uri, self.run_id)
            self._monitor.start()

    def unwatch(self) -> None:
        """The machine's part ends before the run's does."""
        if self._monitor is not None:
            self._monitor.end()
            self._monitor = None

    def log_epoch(self, stage: str, epoch: int, values: dict[str, float]) -> None:
        """The numbers of an epoch, of several in one batch where they are short; what the run holds is not logged
        again."""
        if (stage, epoch) not in self.logged:
            self._waiting.append((stage, epoch, values))
            self.logged.add((stage, epoch))
        if self._pace.due():
            self._flush()

    def _flush(self) -> None:
        points, self._waiting = self._waiting, []
        if points:
            with self._pace():
                self._try(lambda client, run_id: log_curves(client, run_id, points))

    def end(self, status: str) -> None:
        """Close a run that brought no record: FAILED, or KILLED when it was interrupted and may go on."""
        self.unwatch()
        self._flush()
        self._try(lambda client, run_id: client.set_terminated(run_id, status))

    def fail(self, record: Record) -> None:
        """Close a run that brought no scores, with its reason: KILLED where a search gave it up, else FAILED."""
        error = record.error
        assert error is not None
        self.unwatch()
        tags, metrics = provenance_of(record)
        tags |= {"bench.error": error.kind, "bench.message": error.message[:5000]}
        self._try(lambda client, run_id: log_batch(client, run_id, metrics=metrics, tags=tags))
        if error.traceback:
            self._try(lambda client, run_id: self.store.check_location(run_id))
            self._try(lambda client, run_id: client.log_text(run_id, error.traceback, "traceback.txt"))
        self._lost = False  # its status is worth a call of its own
        self.end("KILLED" if error.kind == "pruned" else "FAILED")

    def _try(self, call: Callable[[MlflowClient, str], object]) -> None:
        if self.run_id is None or self._lost:
            return
        try:
            call(self.store.connect(), self.run_id)
        except Exception:  # as in best_effort: nothing that a store does may harm a run
            self._lost = True
            _log.warning("MLflow lost sight of run %s until it ends", self.run_id, exc_info=True)
