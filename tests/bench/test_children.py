"""Tests of child processes: a script without a main guard does not run its work again in its workers."""

from __future__ import annotations

import multiprocessing
import os
import subprocess
import sys
from pathlib import Path

import pytest

from bench.errors import ConfigError
from bench.processes import check_main_guard
from bench.types import SplitRequest
from datasets.registry import DATASETS

ROOT = Path(__file__).parents[2]
SCRIPT = """
import multiprocessing
from bench.processes import check_main_guard

def work():
    check_main_guard()
    worker = multiprocessing.get_context("spawn").Process(target=print, args=("in a worker",))
    worker.start()
    worker.join()
    raise SystemExit(worker.exitcode)

"""
ERROR = "ConfigError: a script that starts runs must call them under `if __name__ == '__main__':`"


def run_python(*words: object, text: str | None = None, cwd: Path = ROOT) -> subprocess.CompletedProcess[str]:
    env, command = {**os.environ, "PYTHONPATH": str(ROOT)}, [sys.executable, *map(str, words)]
    return subprocess.run(command, input=text, cwd=cwd, env=env, capture_output=True, text=True, timeout=60)


@pytest.mark.parametrize(
    "last", ["work()", "if True:\n    work()", "try:\n    work()\nfinally:\n    pass", "def f():\n    work()\n\nf()"]
)
def test_a_script_without_a_main_guard_ends_with_one_clear_error_before_a_worker_starts(
    tmp_path: Path, last: str
) -> None:
    script = tmp_path / "study.py"
    script.write_text(SCRIPT + last)
    done = run_python(script)
    assert done.stdout == "" and done.returncode == 1 and done.stderr.count(ERROR) == 1


NESTED = "try:\n    if '__main__' == __name__:\n        work()\nfinally:\n    pass"


@pytest.mark.parametrize("last", ["if __name__ == '__main__':\n    work()", NESTED])
def test_a_script_with_a_main_guard_starts_workers(tmp_path: Path, last: str) -> None:
    (tmp_path / "study.py").write_text(SCRIPT + last)
    for words in (["study.py"], ["-m", "study"]):
        done = run_python(*words, cwd=tmp_path)
        assert (done.stdout, done.returncode) == ("in a worker\n", 0), done.stderr


def test_code_without_a_file_starts_workers() -> None:
    code = f"{SCRIPT}work()\n"
    for words, text in ((["-c", code], None), ([], code), (["-"], code), (["-i"], code)):
        done = run_python(*words, text=text)
        assert done.stdout == "in a worker\n", done.stderr


def test_a_worker_that_imports_an_unguarded_script_stops(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(multiprocessing.current_process(), "_inheriting", True, raising=False)
    with pytest.raises(ConfigError, match="if __name__"):
        check_main_guard()


def test_data_are_not_loaded_in_a_process_that_is_half_started(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(multiprocessing.current_process(), "_inheriting", True, raising=False)
    with pytest.raises(ConfigError, match="if __name__"):
        DATASETS["ekman6"].load(SplitRequest(None, tmp_path, 24, 32, 0))
