"""Kill it anywhere: a search and the runs after it end as if nothing had been."""

from __future__ import annotations

import multiprocessing
import os
import random
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
LONG = ("--set", "pause=0.15")  # so that it is still at work when it has been killed that often
VICTIMS = ("worker", "worker", "workers", "command")


def newest(results: Path) -> float:
    """When something was last written for a run."""
    return max((path.stat().st_mtime for path in results.glob("runs/*/*")), default=0.0)


def is_at_work(results: Path, command: Command, since: float) -> bool:
    """Whether a worker lives, and something was written since."""
    return newest(results) > since and bool(command.workers())


def torment(commands: Commands, results: Path, words: tuple[str, ...], kills: int, seed: int) -> Command:
    """A command that was killed so many times, wholly or in part, each time while it worked, and is under way again."""
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
def test_a_search_killed_again_and_again_is_whole_in_the_end(commands, results):
    torment(commands, results, (*WORDS, *LONG, "--trials", "10"), 5, seed=1).ends()
    check_search(results, 10)
    check_runs(results, 2)


@pytest.mark.slow
def test_a_search_on_postgresql_killed_again_and_again_is_whole_in_the_end(commands, results, postgres):
    url = postgres.fresh()
    torment(commands, results, (*WORDS, *LONG, "--trials", "10", "--storage", url), 5, seed=2).ends()
    check_search(results, 10, url)
    check_runs(results, 2, url)


@pytest.mark.parametrize("name", SAMPLERS)
def test_every_sampler_draws_on_after_its_random_beginning(tmp_path, name):
    storage = Storage(f"sqlite:///{tmp_path / 'optuna.db'}")
    study, ranges = storage.open_study("one"), {"lr": FloatDistribution(0.001, 1.0, log=True)}
    for number in range(12):
        study.sampler = make_sampler(name, "one", number)
        claim = storage.with_lock(lambda: lease_new(storage, study, ranges))
        claim.complete(claim.params["lr"])
    assert [trial.state.name for trial in study.trials] == ["COMPLETE"] * 12


def running(results: Path) -> list[dict[str, float]]:
    """The values of the trials that are under way."""
    return [trial.params for trial in the_search(results) if trial.state.name == "RUNNING"]


def test_a_killed_worker_is_replaced_and_its_trial_runs_again_with_the_same_values(commands, results):
    slow = ("--method", "toy", "--dataset", "toy", "--set", "epochs=2", "--set", "pause=0.1")
    command = commands.start(results, *slow, "--workers", "2", "--trials", "4")
    wait_for(lambda: list(results.glob("runs/*/checkpoints/*")), command)
    under_way, before = running(results), {worker.pid for worker in command.workers()}
    assert under_way and len(before) == 2
    for worker in command.workers():
        kill(worker)
    wait_for(lambda: len({worker.pid for worker in command.workers()} - before) == 2, command)
    command.ends()
    interrupted = [trial for trial in the_search(results) if trial.state.name == "FAIL"]
    assert [trial.params for trial in interrupted] == under_way
    assert {trial.user_attrs["kind"] for trial in interrupted} == {"interrupted"}
    check_search(results, 4)
    check_runs(results, 1)


def test_the_error_of_a_worker_ends_the_command_with_its_text(tmp_path):
    wrong = Resources(tmp_path, storage="nonsense")
    with pytest.raises(StoreError, match="--storage 'nonsense' is no database"):
        launchers.run_worker_processes(StudyRequest("", (), (0,)), wrong, 2, lambda: False)
    check_nobody_is_left()


def check_nobody_is_left() -> None:
    """Check that no process is left; the thread of a pool may take a moment to note that its own has ended."""
    end = time.monotonic() + 5
    while multiprocessing.active_children() and time.monotonic() < end:
        time.sleep(0.05)
    assert not multiprocessing.active_children()


def ignore_sigterm(request: StudyRequest, resources: Resources) -> None:
    """A worker that does not end when it is asked to."""
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    (resources.results / "started").touch()
    time.sleep(600)


def test_a_worker_that_does_not_end_when_asked_is_killed(tmp_path, monkeypatch):
    monkeypatch.setattr(launchers, "_run_worker_process", ignore_sigterm)
    monkeypatch.setattr(launchers, "SHUTDOWN_TIMEOUT", -4)  # a second

    def look() -> bool:
        if (tmp_path / "started").exists():
            raise KeyboardInterrupt
        return False

    with pytest.raises(KeyboardInterrupt):
        launchers.run_worker_processes(StudyRequest("", (), (0,)), Resources(tmp_path), 2, look)
    check_nobody_is_left()


def test_an_interrupted_search_says_how_to_go_on_and_leaves_nobody(commands, results):
    words = (*WORDS, "--trials", "9", "--set", "pause=0.05")  # or it may be done before it is stopped
    for how in (signal.SIGINT, signal.SIGTERM):
        since = newest(results)
        command = commands.start(results, *words)
        wait_for(partial(is_at_work, results, command, since), command)
        if how == signal.SIGINT:
            os.killpg(command.process.pid, how)  # as a terminal does
        else:
            command.process.send_signal(how)
        assert "the same command goes on where it was" in command.ends(130, seconds=40)
    commands.start(results, *words).ends()
    check_search(results, 9)
    check_runs(results, 2)


def test_a_search_goes_on_with_the_values_that_it_would_have_drawn(commands, results, tmp_path_factory):
    at_once = tmp_path_factory.mktemp("at_once")
    words = (*TOY, "--seeds", "1")
    other = commands.start(at_once, *words, "--trials", "12")  # in a process of its own, with other hashes of names
    for trials in ("3", "12"):
        done = bench(*words, "--trials", trials, results=results)
        assert done.code == 0, done.out + done.err
    other.ends()
    check_search(results, 12)
    assert [trial.params for trial in the_search(results)] == [trial.params for trial in the_search(at_once)]


def test_two_commands_at_once_on_one_folder_make_everything_once(commands, results):
    both = [commands.start(results, *WORDS, "--trials", "6") for _ in range(2)]
    for command in both:
        command.ends()
    check_search(results, 6)
    check_runs(results, 2)


def test_a_cell_that_breaks_is_tried_twice_and_again_by_the_next_command(results):
    words = (*TOY, "--set", "fail=error", "--storage", f"sqlite:///{results / 'optuna.db'}")
    for times in (2, 4):
        done = bench(*words, results=results)
        assert done.code == 3 and "failed: toy on toy seed 0: other:" in done.out
        assert "the toy failed as configured" in done.out
        kinds = [trial.user_attrs["kind"] for trial in trials_of(results)[RUNS_STUDY]]
        assert kinds == ["other"] * times
    assert not records(results)


def test_a_cell_that_diverges_is_not_tried_again(results):
    words = (*TOY, "--set", "fail=nan", "--storage", f"sqlite:///{results / 'optuna.db'}")
    done = bench(*words, results=results)
    assert done.code == 3 and "failed: toy on toy seed 0: nan:" in done.out
    assert [trial.user_attrs["kind"] for trial in trials_of(results)[RUNS_STUDY]] == ["nan"]


def test_a_search_whose_trials_all_fail_says_so_and_reports_no_score(results):
    done = bench(*TOY, "--set", "fail=error", "--trials", "3", results=results)
    assert done.code == 3
    assert "no trial of its search finished" in done.out and "the toy failed as configured" in done.out
    assert "Acc E" not in (done.out + done.err).replace("val Acc E", "")
    assert [trial.state.name for trial in the_search(results)] == ["FAIL"] * 3
    assert not records(results)
