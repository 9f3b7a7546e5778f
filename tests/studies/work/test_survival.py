"""Kill it anywhere: a search and the runs after it end as if nothing had been."""

from __future__ import annotations

import random
import signal
import time
from pathlib import Path

import pytest

from tests.studies.work.commands import (
    TOY,
    Command,
    Commands,
    check_runs,
    check_search,
    kill,
    records,
    the_search,
    wait_for,
)
from tests.studies.work.commands import commands as commands

WORDS = (*TOY, "--seeds", "2", "--workers", "2")
VICTIMS = ("worker", "worker", "workers", "command")


def newest(results: Path) -> float:
    """When something was last written for a run."""
    return max((path.stat().st_mtime for path in results.glob("runs/*/*")), default=0.0)


def torment(commands: Commands, results: Path, words: tuple[str, ...], kills: int, seed: int) -> Command:
    """A command that was killed so many times, wholly or in part, each time while it worked, and is under way again."""
    dice = random.Random(seed)
    command = commands.start(results, *words)
    for _ in range(kills):
        victim, last = dice.choice(VICTIMS), newest(results)
        wait_for(lambda: newest(results) > last and command.workers(), command)
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


def test_a_search_killed_three_times_is_whole_in_the_end(commands, results):
    torment(commands, results, (*WORDS, "--trials", "8"), 3, seed=3).ends()
    check_search(results, 8)
    check_runs(results, 2)


@pytest.mark.slow
@pytest.mark.parametrize("seed", [0, 1])
def test_a_search_killed_again_and_again_is_whole_in_the_end(commands, results, seed):
    torment(commands, results, (*WORDS, "--trials", "12"), 7, seed).ends()
    check_search(results, 12)
    check_runs(results, 2)


@pytest.mark.slow
def test_a_search_on_postgresql_killed_again_and_again_is_whole_in_the_end(commands, results, postgres):
    url = postgres.fresh()
    torment(commands, results, (*WORDS, "--trials", "12", "--storage", url), 6, seed=2).ends()
    check_search(results, 12, url)
    check_runs(results, 2, url)
