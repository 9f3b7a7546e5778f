"""Run the command line in the test process, or in a new process where necessary."""

from __future__ import annotations

import io
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from dataclasses import dataclass
from pathlib import Path

import pytest

from datasets.registry import DATASETS
from methods import METHODS
from studies.cli.main import main
from studies.requests import use_plugins
from tests.conftest import ROOT, work_here
from tests.toys import TOY, TOY_DATA


@dataclass(frozen=True)
class CommandResult:
    """Exit code and output of a command."""

    code: int
    out: str
    err: str


def bench(*words: object, results: Path | None = None, data: Path | None = None) -> CommandResult:
    """Run `python bench.py WORDS` in this process, with the toys registered and real data only in BENCH_DATA=`data`.

    No process is started: a new one, and the pool that decodes clips, would each import for 3 to 5 s.
    """
    out, err = io.StringIO(), io.StringIO()
    with as_command(results, data), redirect_stdout(out), redirect_stderr(err):
        code = main([str(word) for word in words])
    return CommandResult(code, out.getvalue(), err.getvalue())


@contextmanager
def as_command(results: Path | None = None, data: Path | None = None) -> Iterator[None]:
    """Register the toys, set the folders and start no process, as `bench` does for one command."""
    with pytest.MonkeyPatch.context() as patch, _as_it_was():
        patch.chdir(ROOT)
        patch.setenv("COLUMNS", "200")
        patch.delenv("BENCH_DATA", raising=False)
        work_here(patch)
        if data is not None:
            patch.setenv("BENCH_DATA", str(data))
        if results is not None:
            patch.setenv("BENCH_RESULTS", str(results))
        patch.setitem(METHODS, "toy", TOY)
        patch.setitem(DATASETS, "toy", TOY_DATA)
        yield


def process(
    *words: object, cwd: Path = ROOT, data: Path | None = None, first: Callable[[], object] | None = None
) -> CommandResult:
    """Run Python with these arguments in a new process, which calls `first` before it starts.

    Only this shows what a new process imports, its working folder, its two output streams and its exit code.
    """
    env = {**os.environ, "PYTHONPATH": str(ROOT), "COLUMNS": "200"}
    env.pop("BENCH_DATA", None)
    if data is not None:
        env["BENCH_DATA"] = str(data)
    done = subprocess.run(
        [sys.executable, *map(str, words)],
        cwd=cwd,
        env=env,
        capture_output=True,
        text=True,
        timeout=900,
        preexec_fn=first,
    )
    return CommandResult(done.returncode, done.stdout, done.stderr)


def one_line(answer: CommandResult, *parts: str) -> bool:
    """Check for a user error: exit code 2, and one line on stderr that contains all of `parts`."""
    assert answer.code == 2, answer.err
    assert answer.err.count("\n") == 1 and answer.err.startswith("error: "), answer.err
    for part in parts:
        assert part in answer.err
    return True


@contextmanager
def _as_it_was() -> Iterator[None]:
    """Restore the signal handler, torch's threads, and the known arms after a block."""
    import torch

    ending, threads = signal.getsignal(signal.SIGTERM), torch.get_num_threads()
    _forget_arms()
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, ending)
        torch.set_num_threads(threads)
        _forget_arms()


def _forget_arms() -> None:
    use_plugins(())
