"""The README's main command, as a new user types it."""

from __future__ import annotations

import os
import shlex
import subprocess
import sys

import pytest

from tests.conftest import ROOT
from tests.documents import README, read_commands


def run(command, results, cwd):
    """Run a command of the README in a directory other than the checkout."""
    python, program, *words = shlex.split(command)
    assert (python, program) == ("python", "bench.py")
    env = {**os.environ, "BENCH_RESULTS": str(results), "COLUMNS": "120"}
    env.pop("BENCH_DATA", None)
    return subprocess.run(
        [sys.executable, str(ROOT / program), *words], cwd=cwd, env=env, capture_output=True, text=True, timeout=900
    )


@pytest.mark.slow
def test_the_main_command_runs_on_the_built_in_sample_and_labels_it(tmp_path):
    first = read_commands(README)[0].text
    assert first in (ROOT / "Makefile").read_text().replace("$(BIN)/", "")  # `make run` gives the same one
    done = run(first, tmp_path / "results", tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    for part in ("BUILT-IN SAMPLE", "not the real data", "Acc E", "recall by class", "E3 degree", "records:"):
        assert part in done.stdout
    assert done.stderr == "" and "already finished" in run(first, tmp_path / "results", tmp_path).stdout
