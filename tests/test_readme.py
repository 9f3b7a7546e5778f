"""The README's first command, as a newcomer gives it."""

from __future__ import annotations

import os
import shlex
import subprocess
import sys

import pytest

from tests.conftest import ROOT
from tests.readme import TEXT, commands


def run(command, results, cwd):
    """A command of the README, from another directory than the checkout."""
    python, program, *words = shlex.split(command)
    assert (python, program) == ("python", "bench.py")
    env = {**os.environ, "BENCH_RESULTS": str(results), "COLUMNS": "120"}
    env.pop("BENCH_DATA", None)
    return subprocess.run(
        [sys.executable, str(ROOT / program), *words], cwd=cwd, env=env, capture_output=True, text=True, timeout=900
    )


@pytest.mark.slow
def test_the_first_command_goes_the_whole_way_on_the_built_in_sample_and_says_so(tmp_path):
    first = commands()[0]
    assert first in (ROOT / "Makefile").read_text().replace("$(BIN)/", "")  # `make run` gives the same one
    done = run(first, tmp_path / "results", tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    for part in ("BUILT-IN SAMPLE", "not the real data", "Acc E", "recall by class", "E3 degree", "records:"):
        assert part in done.stdout
    assert done.stderr == "" and "already finished" in run(first, tmp_path / "results", tmp_path).stdout


def test_every_option_and_command_of_the_readme_is_known():
    words = {word for line in TEXT.splitlines() for word in line.replace("`", " ").split() if word.startswith("--")}
    told = ""
    for command in ([], ["report"]):
        line = [sys.executable, str(ROOT / "bench.py"), *command, "--help"]
        told += subprocess.run(line, capture_output=True, text=True, timeout=60).stdout
    assert words and [word for word in words if word.rstrip(",;") not in told] == []
