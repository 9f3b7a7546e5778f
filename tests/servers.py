"""Servers for tests, on a local port; they can be stopped and restarted, and end with the tests.

The fixture `mlflow_server` runs MLflow; tests/postgres.py runs PostgreSQL.
"""

from __future__ import annotations

import os
import random
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import psutil
import pytest

GUARD = Path(__file__).with_name("server_guard.py")


def free_port() -> int:
    """Return a free port below Linux's range for outgoing connections, so that it stays free while a server is down."""
    while True:
        port = random.SystemRandom().randrange(20_000, 32_000)
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)):
                return port


@dataclass
class Server:
    """A server process run by server_guard.py. `ready` returns whether it responds; `ending` is its shutdown signal."""

    command: list[str]
    log: Path
    ready: Callable[[], bool]
    ending: signal.Signals = signal.SIGTERM
    user: str = ""
    env: dict[str, str] = field(default_factory=dict)
    _guard: subprocess.Popen[bytes] | None = None

    def start(self, seconds: float = 120) -> None:
        """Start the server with its existing data, and wait until it responds."""
        assert self._guard is None, "the server is already running"
        words = [str(os.getpid()), str(int(self.ending)), self.user, *self.command]
        with self.log.open("ab") as log:
            self._guard = subprocess.Popen(
                [sys.executable, str(GUARD), *words],
                cwd=self.log.parent,
                env={**os.environ, **self.env},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        end = time.monotonic() + seconds
        while not self.ready():
            if self._guard.poll() is not None or time.monotonic() > end:
                self.stop()
                pytest.fail(f"{self.command[0]} did not start: {self.log.read_text()[-2000:]}")
            time.sleep(0.03)

    def stop(self) -> None:
        """Shut the server down; its data and port stay the same."""
        if self._guard is not None:
            self._guard.terminate()
            self._guard.wait()
            self._guard = None

    def kill(self, how: signal.Signals = signal.SIGKILL) -> None:
        """Kill the server and its children."""
        assert self._guard is not None, "the server is not running"
        server, *parts = psutil.Process(self._guard.pid).children(recursive=True)
        server.send_signal(how)
        self._guard.wait()
        self._guard = None
        for part in psutil.wait_procs(parts, 5)[1]:
            part.kill()


class MlflowServer(Server):
    """`mlflow server` on a SQLite store, at `url`."""

    def __init__(self, folder: Path) -> None:
        port = free_port()
        self.url = f"http://127.0.0.1:{port}"
        words = ["-m", "mlflow", "server", "--host", "127.0.0.1", "--port", str(port), "--workers", "1"]
        store = ["--backend-store-uri", f"sqlite:///{folder / 'mlflow.db'}"]
        store += ["--artifacts-destination", str(folder / "artifacts")]
        env = {"MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false", "MLFLOW_DISABLE_TELEMETRY": "true"}
        super().__init__([sys.executable, *words, *store], folder / "log", self._answers, env=env)

    def _answers(self) -> bool:
        try:
            with urllib.request.urlopen(f"{self.url}/health", timeout=5) as answer:
                return answer.status == 200
        except (urllib.error.URLError, OSError):
            return False


@pytest.fixture(scope="session")
def mlflow_server(tmp_path_factory: pytest.TempPathFactory, ready_mlflow: Path) -> Iterator[MlflowServer]:
    """Run one MLflow server per session (6 s to start, 430 MB); tests need distinct names in it."""
    folder = tmp_path_factory.mktemp("mlflow_server")
    shutil.copy(ready_mlflow, folder / "mlflow.db")
    server = MlflowServer(folder)
    server.start()
    yield server
    server.stop()
