"""Tests of child processes: a script without a main guard does not run its work again in its workers."""

from __future__ import annotations

import multiprocessing
import subprocess
import sys
from pathlib import Path

import pytest

from bench.errors import ConfigError
from bench.types import SplitRequest
from datasets.registry import DATASETS

ROOT = Path(__file__).parents[2]
WITHOUT_GUARD = """
import multiprocessing
from bench.processes import check_main_guard
check_main_guard()
print("at work")
worker = multiprocessing.get_context("spawn").Process(target=print)
worker.start()
worker.join()
raise SystemExit(worker.exitcode)
"""


def test_a_worker_that_imports_an_unguarded_script_ends_with_one_clear_error(tmp_path: Path) -> None:
    script = tmp_path / "study.py"
    script.write_text(f"import sys; sys.path.insert(0, {str(ROOT)!r})\n{WITHOUT_GUARD}")
    done = subprocess.run([sys.executable, str(script)], capture_output=True, text=True, timeout=60)
    assert done.stdout == "at work\n" and done.returncode == 1
    assert "ConfigError: a script that starts runs must call them under `if __name__ ==" in done.stderr


def test_data_are_not_loaded_in_a_process_that_is_half_started(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(multiprocessing.current_process(), "_inheriting", True, raising=False)
    with pytest.raises(ConfigError, match="if __name__"):
        DATASETS["ekman6"].load(SplitRequest(None, tmp_path, 24, 32, 0))
