"""The real command line as a process that can be killed, and what must hold of its results whatever happened to it."""

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
MARK = "BENCH_TEST_MARK"  # in the environment of a command and of all that it starts


@dataclass
class Command:
    """A command under way; its words go to a file."""

    process: subprocess.Popen[bytes]
    said: Path
    mark: str

    def output(self) -> str:
        """What it has said."""
        return self.said.read_text()

    def workers(self) -> list[psutil.Process]:
        """Its workers that live."""
        return [other for other in self.family() if "spawn_main" in " ".join(_words(other))]

    def family(self) -> list[psutil.Process]:
        """Every process that it started, and they started, and that lives, itself left out."""
        sign = f"{MARK}={self.mark}".encode()
        return [
            psutil.Process(int(entry.name))
            for entry in Path("/proc").iterdir()
            if entry.name.isdigit() and int(entry.name) != self.process.pid and sign in _environment(entry)
        ]

    def kill(self) -> None:
        """Kill the command itself, and see that nobody outlives it by more than seconds."""
        self.process.kill()
        self.process.wait()
        self.is_gone()

    def is_gone(self, seconds: float = 30) -> None:
        """See that nobody is left."""
        wait_for(lambda: not self.family(), seconds=seconds)

    def ends(self, code: int = 0, seconds: float = 280) -> str:
        """Wait for its end, with this exit code and nobody left behind; what it said."""
        self.process.wait(seconds)
        assert self.process.returncode == code, self.output()
        self.is_gone()
        return self.output()


class Commands:
    """Starts commands, and ends what a test leaves."""

    def __init__(self, folder: Path) -> None:
        self.folder, self._all = folder, list[Command]()

    def start(self, results: Path, *words: str) -> Command:
        """The command line with the toys in its registries, on a results folder."""
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
        """End all of them."""
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
    """Wait until a condition holds, as long as the command lives."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if condition():
            return
        assert command is None or command.process.poll() is None, command.output()
        time.sleep(0.02)
    raise AssertionError(f"waited {seconds:g} seconds in vain" + (f": {command.output()}" if command else ""))


def kill(process: psutil.Process, how: signal.Signals = signal.SIGKILL) -> None:
    """Send a signal to a process that may be gone."""
    with suppress(psutil.NoSuchProcess):
        process.send_signal(how)


def trials_of(results: Path, url: str | None = None) -> dict[str, list[Any]]:
    """Study -> its trials."""
    import optuna

    storage = Storage(make_storage_url(results, url)).open()
    return {one.study_name: storage.get_all_trials(one._study_id) for one in optuna.get_all_study_summaries(storage)}


def the_search(results: Path, url: str | None = None) -> list[Any]:
    """The trials of the one search."""
    (trials,) = [found for name, found in trials_of(results, url).items() if name != RUNS_STUDY]
    return trials


def records(results: Path, stage: str = "final") -> list[dict[str, Any]]:
    """The records of runs of a stage that ended well."""
    found = [json.loads(path.read_text()) for path in sorted(results.glob("runs/*/record.json"))]
    return [record for record in found if record["spec"]["stage"] == stage and record["error"] is None]


def check_search(results: Path, asked: int, url: str | None = None) -> None:
    """A search is whole: as many trials as were asked for, each configuration once, nothing under way, and the best is
    what its summary names."""
    trials = the_search(results, url)
    states = Counter(trial.state.name for trial in trials)
    assert not states["RUNNING"] and not states["WAITING"], states
    counted = select_counted(trials)
    assert all(trial.state.name in ("COMPLETE", "PRUNED") for trial in counted)
    assert len(counted) == asked, states
    drawn = {json.dumps(trial.params, sort_keys=True) for trial in counted}
    assert len(drawn) == asked, "a configuration counts twice"
    assert {json.dumps(trial.params, sort_keys=True) for trial in trials if trial.params} <= drawn, "one was lost"
    best = max((t for t in counted if t.state.name == "COMPLETE"), key=lambda trial: (trial.value, -trial.number))
    (summary,) = results.glob("searches/*/search.json")
    told = json.loads(summary.read_text())
    assert told["winner"] == {
        "number": best.number,
        "value": best.value,
        "params": best.params,
        "keys": best.user_attrs["keys"],
    }
    assert sum(told["tried"].values()) == asked


def check_runs(results: Path, seeds: int, url: str | None = None) -> None:
    """The final runs are whole: one record and one MLflow run for each seed, nothing under way."""
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
    """Of a process that lives: a dead one that nobody has waited for has none."""
    try:
        return (entry / "environ").read_bytes().split(b"\0")
    except OSError:
        return []
