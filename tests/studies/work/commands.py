"""Run the command line as a process that can be killed, and check its results afterwards."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import uuid4

import psutil
import pytest

from bench.mlflow import MlflowStore
from studies.scheduler import RUN_KEY_ATTR, RUNS_STUDY
from studies.storage import Storage, make_storage_url, select_counted
from tests.conftest import ROOT

TOY = ("--method", "toy", "--dataset", "toy", "--set", "epochs=2", "--set", "pause=0.01")
MARK = "BENCH_TEST_MARK"  # environment variable of a command and of all processes it starts


@dataclass
class Command:
    """A running command, whose output goes to a file."""

    process: subprocess.Popen[bytes]
    said: Path
    mark: str

    def output(self) -> str:
        """Return the output so far."""
        return self.said.read_text()

    def workers(self) -> list[psutil.Process]:
        """Return its running workers."""
        return [other for other in self.family() if "spawn_main" in " ".join(_words(other))]

    def family(self) -> list[psutil.Process]:
        """Return its running descendants, found by MARK, without itself."""
        sign = f"{MARK}={self.mark}".encode()
        return [
            psutil.Process(int(entry.name))
            for entry in Path("/proc").iterdir()
            if entry.name.isdigit() and int(entry.name) != self.process.pid and sign in _environment(entry)
        ]

    def kill(self) -> None:
        """Kill the command, and check that its descendants end within seconds."""
        self.process.kill()
        self.process.wait()
        self.is_gone()

    def is_gone(self, seconds: float = 30) -> None:
        """Check that no descendant is left."""
        wait_for(lambda: not self.family(), seconds=seconds)

    def ends(self, code: int = 0, seconds: float = 280) -> str:
        """Wait for the end with this exit code and no descendant left. Return the output."""
        self.process.wait(seconds)
        assert self.process.returncode == code, self.output()
        self.is_gone()
        return self.output()


class Commands:
    """Starts commands, and kills those that a test leaves running."""

    def __init__(self, folder: Path) -> None:
        self.folder, self._all = folder, list[Command]()

    def start(self, results: Path, *words: str) -> Command:
        """Start the command line, with the toys registered, on a results folder."""
        mark, said = uuid4().hex, self.folder / f"said-{len(self._all)}"
        env = {**os.environ, "BENCH_RESULTS": str(results), "OMP_NUM_THREADS": "1", MARK: mark}
        with said.open("wb") as file:
            process = subprocess.Popen(
                [sys.executable, "-m", "tests.toy_bench", *words],
                cwd=ROOT,
                env=env,
                stdin=subprocess.DEVNULL,
                stdout=file,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        self._all.append(Command(process, said, mark))
        return self._all[-1]

    def end(self) -> None:
        """Kill all commands and their descendants."""
        for command in self._all:
            for process in [command.process, *command.family()]:
                process.kill()
            command.process.wait()


@pytest.fixture
def commands(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Commands]:
    made = Commands(tmp_path_factory.mktemp("said"))
    yield made
    made.end()


def wait_for(condition: Callable[[], object], command: Command | None = None, seconds: float = 120) -> None:
    """Wait until a condition holds. Fail if the command ends before."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if condition():
            return
        assert command is None or command.process.poll() is None, command.output()
        time.sleep(0.02)
    raise AssertionError(f"timeout after {seconds:g} seconds" + (f": {command.output()}" if command else ""))


def kill(process: psutil.Process, how: signal.Signals = signal.SIGKILL) -> None:
    """Send a signal to a process that may have ended."""
    with suppress(psutil.NoSuchProcess):
        process.send_signal(how)


def trials_of(results: Path, url: str | None = None) -> dict[str, list[Any]]:
    """Return study name -> its trials."""
    import optuna

    storage = Storage(make_storage_url(results, url)).open()
    return {
        study.study_name: storage.get_all_trials(study._study_id) for study in optuna.get_all_study_summaries(storage)
    }


def the_search(results: Path, url: str | None = None) -> list[Any]:
    """Return the trials of the only search."""
    (trials,) = [found for name, found in trials_of(results, url).items() if name != RUNS_STUDY]
    return trials


def records(results: Path, stage: str = "final") -> list[dict[str, Any]]:
    """Return the records of successful runs of a stage."""
    found = [json.loads(path.read_text()) for path in sorted(results.glob("runs/*/record.json"))]
    return [record for record in found if record["spec"]["stage"] == stage and record["error"] is None]


def check_search(results: Path, requested: int, url: str | None = None) -> None:
    """Check that a search is complete: all requested trials, each configuration once, none running, and the best one in
    the summary.
    """
    trials = the_search(results, url)
    states = Counter(trial.state.name for trial in trials)
    assert not states["RUNNING"] and not states["WAITING"], states
    counted = select_counted(trials)
    assert all(trial.state.name in ("COMPLETE", "PRUNED") for trial in counted)
    assert len(counted) == requested, states
    drawn = {json.dumps(trial.params, sort_keys=True) for trial in counted}
    assert len(drawn) == requested, "a configuration counts twice"
    assert {json.dumps(trial.params, sort_keys=True) for trial in trials if trial.params} <= drawn, (
        "a configuration is missing"
    )
    best = max((t for t in counted if t.state.name == "COMPLETE"), key=lambda trial: (trial.value, -trial.number))
    (summary,) = results.glob("searches/*/search.json")
    stored = json.loads(summary.read_text())
    assert stored["winner"] == {
        "number": best.number,
        "value": best.value,
        "params": best.params,
        "keys": best.user_attrs["keys"],
    }
    assert sum(stored["tried"].values()) == requested


def check_runs(results: Path, seeds: int, url: str | None = None) -> None:
    """Check that final runs are complete: one record and one MLflow run per seed, none running."""
    made = records(results)
    assert sorted(record["spec"]["seed"] for record in made) == list(range(seeds))
    cells = trials_of(results, url).get(RUNS_STUDY, [])
    assert all(trial.state.is_finished() for trial in cells)
    done = Counter(trial.user_attrs[RUN_KEY_ATTR] for trial in cells if trial.state.name == "COMPLETE")
    assert all(count == 1 for count in done.values())
    runs = list(MlflowStore(results).search_runs(""))
    assert not [run for run in runs if run.info.status == "RUNNING" and "bench.key" in run.data.tags]
    published = Counter(run.data.tags["bench.key"] for run in runs if "bench.record" in run.data.tags)
    here = [path.parent.name for path in results.glob("runs/*/record.json") if _ended_well(path)]
    assert published == Counter(here)


def _ended_well(path: Path) -> bool:
    return json.loads(path.read_text())["error"] is None


def _words(process: psutil.Process) -> list[str]:
    try:
        return process.cmdline()
    except psutil.Error:
        return []


def _environment(entry: Path) -> list[bytes]:
    """Return the environment of a process, or nothing for a zombie."""
    try:
        return (entry / "environ").read_bytes().split(b"\0")
    except OSError:
        return []
