"""Kill the first start on an empty results folder at many moments, and check that the next start works.

`python -m tests.bench.first_starts MOMENTS` prints the faults as JSON. It runs as a separate process because it forks,
so that imports are only paid for once.
"""

from __future__ import annotations

import json
import logging
import os
import signal
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import mlflow  # noqa: F401 - imported once, before the forks
import optuna

from bench.mlflow import MlflowStore
from studies.storage import Storage, make_storage_url

MOST = 6  # limit of kills, as a multiple of MOMENTS, if later starts are slower than the first
FULL = 3  # starts that are checked although no database exists yet; more would repeat the same check


def start(results: Path) -> None:
    """Open both databases, as the first command does."""
    store = MlflowStore(results)
    store.open()
    assert store.unavailable_reason is None, store.unavailable_reason
    Storage(make_storage_url(results, None)).open_study("one")


def forked(call: Callable[[], None], after: float | None = None) -> bool:
    """Run a call in a forked process, killed after `after` seconds; return whether it succeeded."""
    child = os.fork()
    if child == 0:
        code = 1
        try:
            call()
            code = 0
        except BaseException as error:
            print(f"{type(error).__name__}: {error}", file=sys.stderr)
        finally:
            os._exit(code)
    if after is not None:
        time.sleep(after)
        os.kill(child, signal.SIGKILL)
    return os.waitpid(child, 0)[1] == 0


def check(results: Path, full: bool) -> list[str]:
    """Return the faults of a folder after a killed start."""
    there = [name for name in ("mlflow.db", "optuna.db") if (results / name).exists()]
    if not full and len(there) < 2:
        return []
    wrong = [] if forked(lambda: start(results)) else [f"the next start fails with {there}"]
    leftovers = [path.name for path in results.iterdir() if path.name.startswith(".") or "broken" in path.name]
    return wrong + [f"{name} is left" for name in leftovers]


def main(moments: int) -> None:
    """Kill starts at moments spread evenly over one start, and later ones until one has created a database."""
    logging.disable(logging.CRITICAL)
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    wrong: list[str] = []
    with tempfile.TemporaryDirectory() as name:
        whole = Path(name) / "whole"
        began = time.monotonic()
        assert forked(lambda: start(whole))
        seconds, moment, made, full = time.monotonic() - began, 0, 0, 0
        while moment < moments or (not made and moment < MOST * moments):  # a busy machine may be slower now
            results = Path(name) / str(moment)
            forked(lambda results=results: start(results), after=seconds * moment / moments)  # type: ignore[misc]
            begun = results.exists()
            made += (results / "mlflow.db").exists()
            wrong += [f"moment {moment}: {line}" for line in (check(results, full < FULL) if begun else [])]
            full += begun
            moment += 1
    print(json.dumps({"wrong": wrong, "kills": moment, "made": made}))


if __name__ == "__main__":
    main(int(sys.argv[1]))
