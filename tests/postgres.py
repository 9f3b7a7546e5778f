"""PostgreSQL server for tests."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import count
from pathlib import Path

import pytest

from tests.servers import Server, free_port

# fsync is off: committed data survive a kill of the server, but not a power failure
SETTINGS = {
    "listen_addresses": "127.0.0.1",
    "unix_socket_directories": "",
    "shared_buffers": "32MB",
    "max_connections": "100",
    "fsync": "off",
}


class Postgres(Server):
    """A PostgreSQL server with a new cluster, whose superuser `postgres` needs no password."""

    def __init__(self, binaries: Path, folder: Path, user: str) -> None:
        self.port = free_port()
        self.url = self._address("postgres")
        self._number = count(1)
        data = folder / "data"
        words = ["--auth=trust", "--username=postgres", "--encoding=UTF8", "--locale=C", "--no-sync"]
        drop = {"user": user, "group": user, "extra_groups": []} if user else {}
        subprocess.run([binaries / "initdb", *words, data], cwd=folder, check=True, capture_output=True, **drop)
        settings = [word for name, value in SETTINGS.items() for word in ("-c", f"{name}={value}")]
        command = [str(binaries / "postgres"), "-D", str(data), "-p", str(self.port), *settings]
        super().__init__(command, folder / "log", self._answers, ending=signal.SIGINT, user=user)

    def fresh(self) -> str:
        """Create an empty database and return its URL."""
        import psycopg

        name = f"test{next(self._number)}"
        with psycopg.connect(self._plain("postgres"), autocommit=True) as connection:
            connection.execute(f"CREATE DATABASE {name}")
        return self._address(name)

    def kill(self, how: signal.Signals = signal.SIGQUIT) -> None:
        """Kill the server without a checkpoint; the next start recovers from the log."""
        super().kill(how)

    def _address(self, name: str) -> str:
        return f"postgresql+psycopg://postgres@127.0.0.1:{self.port}/{name}"

    def _plain(self, name: str) -> str:
        return self._address(name).replace("+psycopg", "")

    def _answers(self) -> bool:
        import psycopg

        try:
            psycopg.connect(self._plain("postgres"), connect_timeout=5).close()
        except psycopg.OperationalError:
            return False
        return True


def find_binaries() -> Path | None:
    """Return the folder of PostgreSQL's programs: from PATH, or else Debian's newest version."""
    found = shutil.which("postgres")
    folders = [Path(found).resolve().parent] if found else []
    folders += sorted(Path("/usr/lib/postgresql").glob("[0-9]*/bin"), key=lambda bin: float(bin.parent.name))[::-1]
    return next((folder for folder in folders if (folder / "postgres").exists() and (folder / "initdb").exists()), None)


def need_binaries() -> Path:
    """Return the folder of PostgreSQL's programs. Without them skip the test, or fail it on the CI."""
    if (binaries := find_binaries()) is not None:
        return binaries
    missing = "PostgreSQL is not installed (Debian: apt-get install postgresql)"
    if os.environ.get("CI") == "true":
        pytest.fail(missing)
    pytest.skip(missing)


@pytest.fixture(scope="session")
def postgres() -> Iterator[Postgres]:
    """Run one PostgreSQL server per test process (0.5 s to start); tests create databases with `postgres.fresh()`."""
    with running(need_binaries()) as server:
        yield server


@contextmanager
def running(binaries: Path) -> Iterator[Postgres]:
    """Run a server for the duration of the block."""
    with tempfile.TemporaryDirectory(prefix="postgres-") as name:
        user = "postgres" if os.geteuid() == 0 else ""  # it refuses to run as root
        if user:
            shutil.chown(name, user, user)
        server = Postgres(binaries, Path(name), user)
        server.start()
        yield server
        server.stop()
