"""What the machine does while a run goes on (CPU, memory, disk, network, GPUs), as MLflow's `system/...` metrics."""

from __future__ import annotations

import logging
import threading
import time
from typing import Any

EVERY = 10.0  # seconds between two samples; later in a long run 1 % of the time it took so far
PATIENCE = 1.0  # seconds that the end of a run waits for a sample that is being logged
_log = logging.getLogger(__name__)


class Monitor:
    """A thread that samples until it is ended, or until MLflow fails it; a run shorter than EVERY never feels it."""

    def __init__(self, uri: str, run_id: str) -> None:
        self._uri, self._run_id = uri, run_id
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="system metrics", daemon=True)

    def start(self) -> None:
        """Begin to sample."""
        self._thread.start()

    def end(self) -> None:
        """No more samples; one that hangs in a call is left behind."""
        self._over.set()
        self._thread.join(PATIENCE)

    def _watch(self) -> None:
        try:
            self._sample()
        except Exception:  # whatever a driver, a client or a socket raises: samples are no part of a record
            _log.warning("no more system metrics of run %s", self._run_id, exc_info=True)

    def _sample(self) -> None:
        import psutil

        start = time.monotonic()
        psutil.cpu_percent()  # tells the share since it was last asked
        if self._over.wait(EVERY):
            return
        from mlflow.system_metrics.system_metrics_monitor import SystemMetricsMonitor

        make: Any = SystemMetricsMonitor  # it has no types
        inner = make(self._run_id, resume_logging=True, tracking_uri=self._uri)
        while not self._over.is_set():
            inner.collect_metrics()
            inner.publish_metrics(inner.aggregate_metrics())
            self._over.wait(max(EVERY, (time.monotonic() - start) / 100))
