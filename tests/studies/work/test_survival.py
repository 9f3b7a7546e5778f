"""Tests of kills at any time: a search and its final runs complete as if never interrupted."""

from __future__ import annotations

import multiprocessing
import os
import random
import re
import signal
import time
from functools import partial
from pathlib import Path

import pytest
from optuna.distributions import FloatDistribution

from bench.errors import StoreError
from studies import launchers
from studies.plan import Resources, StudyRequest
from studies.scheduler import RUNS_STUDY
from studies.search import SAMPLERS, make_sampler
from studies.storage import Storage, lease_new
from tests.studies.command_line import bench
from tests.studies.work.commands import (
    TOY,
    Command,
    Commands,
    check_runs,
    check_search,
    kill,
    records,
    the_search,
    trials_of,
    wait_for,
)
from tests.studies.work.commands import commands as commands

pytestmark = pytest.mark.slow  # all of them start real workers
WORDS = (*TOY, "--seeds", "2", "--workers", "2")
LONG = ("--set", "pause=0.15")  # long enough for that many kills
VICTIMS = ("worker", "worker", "workers", "command")


def newest(results: Path) -> float:
    """Return the time of the last write to a run folder."""
    return max((path.stat().st_mtime for path in results.glob("runs/*/*")), default=0.0)


def is_at_work(results: Path, command: Command, since: float) -> bool:
    """Return whether a worker is running and has written since."""
    return newest(results) > since and bool(command.workers())


def kill_repeatedly(commands: Commands, results: Path, words: tuple[str, ...], kills: int, seed: int) -> Command:
    """Start a command and kill it or its workers this many times while it works. Return the running command."""
    dice = random.Random(seed)
    command = commands.start(results, *words)
    for _ in range(kills):
        victim = dice.choice(VICTIMS)
        wait_for(partial(is_at_work, results, command, newest(results)), command)
        time.sleep(dice.uniform(0, 1.0))
        assert command.process.poll() is None, f"it ended too early:\n{command.output()}"
        if victim == "command":
            command.kill()
            command = commands.start(results, *words)
        else:
            workers = command.workers()
            for worker in workers if victim == "workers" else dice.sample(workers, min(1, len(workers))):
                kill(worker)
    return command


@pytest.mark.slow
def test_a_search_killed_repeatedly_is_complete_in_the_end(commands, results):
    kill_repeatedly(commands, results, (*WORDS, *LONG, "--trials", "10"), 5, seed=1).ends()
    check_search(results, 10)
    check_runs(results, 2)


@pytest.mark.slow
def test_a_search_on_postgresql_killed_repeatedly_is_complete_in_the_end(commands, results, postgres):
    url = postgres.fresh()
    kill_repeatedly(commands, results, (*WORDS, *LONG, "--trials", "10", "--storage", url), 5, seed=2).ends()
    check_search(results, 10, url)
    check_runs(results, 2, url)


@pytest.mark.parametrize("name", SAMPLERS)
def test_every_sampler_continues_after_its_random_start(tmp_path, name):
    storage = Storage(f"sqlite:///{tmp_path / 'optuna.db'}")
    study, ranges = storage.open_study("one"), {"lr": FloatDistribution(0.001, 1.0, log=True)}
    for number in range(12):
        study.sampler = make_sampler(name, "one", number)
        lease = storage.with_lock(lambda: lease_new(storage, study, ranges))
        lease.complete(lease.params["lr"])
    assert [trial.state.name for trial in study.trials] == ["COMPLETE"] * 12


def running(results: Path) -> list[dict[str, float]]:
    """Return the values of the running trials."""
    return [trial.params for trial in the_search(results) if trial.state.name == "RUNNING"]


def test_a_killed_worker_is_replaced_and_its_trial_runs_again_with_the_same_values(commands, results):
    slow = ("--method", "toy", "--dataset", "toy", "--set", "epochs=2", "--set", "pause=0.1")
    command = commands.start(results, *slow, "--workers", "2", "--trials", "4")
    wait_for(lambda: list(results.glob("runs/*/checkpoints/*")), command)
    running_params, before = running(results), {worker.pid for worker in command.workers()}
    assert running_params and len(before) == 2
    for worker in command.workers():
        kill(worker)
    wait_for(lambda: len({worker.pid for worker in command.workers()} - before) == 2, command)
    command.ends()
    interrupted = [trial for trial in the_search(results) if trial.state.name == "FAIL"]
    assert [trial.params for trial in interrupted] == running_params
    assert {trial.user_attrs["kind"] for trial in interrupted} == {"interrupted"}
    for log in results.glob("runs/*/log"):
        assert re.search(r"INFO finetune: epoch 2/2, loss [\d.]+, val Acc E [\d.]+ %\n", log.read_text())
    check_search(results, 4)
    check_runs(results, 1)


def test_the_error_of_a_worker_ends_the_command_with_its_text(tmp_path):
    wrong = Resources(tmp_path, storage="nonsense")
    with pytest.raises(StoreError, match="--storage 'nonsense': expects postgresql://"):
        launchers.run_worker_processes(StudyRequest("", (), (0,)), wrong, 2, lambda: False)
    check_no_process_is_left()


def check_no_process_is_left() -> None:
    """Check that no process is left. A pool may need a moment to notice that its process has ended."""
    end = time.monotonic() + 5
    while multiprocessing.active_children() and time.monotonic() < end:
        time.sleep(0.05)
    assert not multiprocessing.active_children()


def ignore_sigterm(request: StudyRequest, resources: Resources) -> None:
    """Run a worker that ignores SIGTERM."""
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    (resources.results / "started").touch()
    time.sleep(600)


def test_a_worker_that_ignores_sigterm_is_killed(tmp_path, monkeypatch):
    monkeypatch.setattr(launchers, "_run_worker_process", ignore_sigterm)
    monkeypatch.setattr(launchers, "SHUTDOWN_TIMEOUT", -4)  # plus 5: one second

    def is_done() -> bool:
        if (tmp_path / "started").exists():
            raise KeyboardInterrupt
        return False

    with pytest.raises(KeyboardInterrupt):
        launchers.run_worker_processes(StudyRequest("", (), (0,)), Resources(tmp_path), 2, is_done)
    check_no_process_is_left()


def test_an_interrupted_search_shows_how_to_resume_and_leaves_no_process(commands, results):
    words = (*WORDS, "--trials", "9", "--set", "pause=0.05")  # slow enough to be interrupted
    for how in (signal.SIGINT, signal.SIGTERM):
        since = newest(results)
        command = commands.start(results, *words)
        wait_for(partial(is_at_work, results, command, since), command)
        if how == signal.SIGINT:
            os.killpg(command.process.pid, how)  # as a terminal does
        else:
            command.process.send_signal(how)
        assert "the same command resumes" in command.ends(130, seconds=40)
    commands.start(results, *words).ends()
    check_search(results, 9)
    check_runs(results, 2)


def test_a_resumed_search_draws_the_same_values(commands, results, tmp_path_factory):
    at_once = tmp_path_factory.mktemp("at_once")
    words = (*TOY, "--seeds", "1")
    other = commands.start(at_once, *words, "--trials", "12")  # in another process, with other string hashes
    for trials in ("3", "12"):
        done = bench(*words, "--trials", trials, results=results)
        assert done.code == 0, done.out + done.err
    other.ends()
    check_search(results, 12)
    assert [trial.params for trial in the_search(results)] == [trial.params for trial in the_search(at_once)]


def test_two_concurrent_commands_execute_everything_once(commands, results):
    both = [commands.start(results, *WORDS, "--trials", "6") for _ in range(2)]
    for command in both:
        command.ends()
    check_search(results, 6)
    check_runs(results, 2)


def test_a_failed_run_is_repeated_once_and_again_by_the_next_command(results):
    words = (*TOY, "--set", "fail=error", "--storage", f"sqlite:///{results / 'optuna.db'}")
    for times in (2, 4):
        done = bench(*words, results=results)
        assert done.code == 3 and "failed: toy on toy seed 0: other:" in done.out
        assert "the toy failed as configured" in done.out
        kinds = [trial.user_attrs["kind"] for trial in trials_of(results)[RUNS_STUDY]]
        assert kinds == ["other"] * times
    assert not records(results)


def test_a_diverged_run_is_not_repeated(results):
    words = (*TOY, "--set", "fail=nan", "--storage", f"sqlite:///{results / 'optuna.db'}")
    done = bench(*words, results=results)
    assert done.code == 3 and "failed: toy on toy seed 0: nan:" in done.out
    assert [trial.user_attrs["kind"] for trial in trials_of(results)[RUNS_STUDY]] == ["nan"]


def test_a_search_without_finished_trials_is_reported_and_has_no_score(results):
    done = bench(*TOY, "--set", "fail=error", "--trials", "3", results=results)
    assert done.code == 3
    assert "no trial of its search finished" in done.out and "the toy failed as configured" in done.out
    assert "Acc E" not in (done.out + done.err).replace("val Acc E", "")
    assert [trial.state.name for trial in the_search(results)] == ["FAIL"] * 3
    assert not records(results)
