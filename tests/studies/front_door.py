"""The real command line, in the process of the tests, and for what only a process of its own can show in one."""

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
from methods.registry import METHODS
from studies.command.cli import main
from studies.report import naming
from tests.conftest import ROOT, work_here
from tests.toys import TOY, TOY_DATA


@dataclass(frozen=True)
class Answer:
    """How a command ended, and what it said."""

    code: int
    out: str
    err: str


def bench(*words: object, results: Path | None = None, data: Path | None = None) -> Answer:
    """What `python bench.py WORDS` answers with the toys in its registries, and no real data but in BENCH_DATA=`data`.

    A process of its own would import for 3 to 5 s, and so would those that decode clips: here all is done in this one.
    """
    out, err = io.StringIO(), io.StringIO()
    with pytest.MonkeyPatch.context() as patch, _as_it_was(), redirect_stdout(out), redirect_stderr(err):
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
        code = main([str(word) for word in words])
    return Answer(code, out.getvalue(), err.getvalue())


def process(
    *words: object, cwd: Path = ROOT, data: Path | None = None, first: Callable[[], object] | None = None
) -> Answer:
    """What Python answers to words in a process of its own, which does `first` before it starts.

    For what nothing else can show: what a fresh process loads, from where it starts, what its two streams hold, the
    exit code that the system sees.
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
    return Answer(done.returncode, done.stdout, done.stderr)


def one_line(answer: Answer, *parts: str) -> bool:
    """A mistake: exit code 2 and one line on stderr that says all of `parts`."""
    assert answer.code == 2, answer.err
    assert answer.err.count("\n") == 1 and answer.err.startswith("error: "), answer.err
    for part in parts:
        assert part in answer.err
    return True


@contextmanager
def _as_it_was() -> Iterator[None]:
    """A block after which signals end this process as before, torch has its threads, and no name of an arm is kept."""
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
    naming._arms_of.cache_clear()
    naming._preset.cache_clear()
