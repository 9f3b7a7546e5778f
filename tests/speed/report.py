"""Benchmark of a large report: 5 data sets, 16 methods, 8 seeds, 500 predictions each; written, and checked."""

from __future__ import annotations

import subprocess
import sys
import tempfile
import time
from contextlib import suppress
from pathlib import Path

import psutil

from datasets.registry import DATASETS
from studies.requests import get_arms
from tests.reports.made import make_run

ROOT = Path(__file__).resolve().parents[2]
METHODS, SEEDS, CLIPS = 16, 8, 500
LOOK = 0.25  # seconds between looks at the memory


def make_results(results: Path) -> int:
    """The records of all runs; how many there are."""
    arms = [name for name in get_arms() if name != "mart-target-clip"][:METHODS]
    made = [
        make_run(results, arm, dataset, seed=seed, clips=CLIPS)
        for dataset in DATASETS
        for arm in arms
        for seed in range(SEEDS)
    ]
    return len(made)


def timed(*words: str) -> tuple[float, float]:
    """Seconds and peak memory (MB) of a command with all its processes; what they share is counted once."""
    since, most = time.perf_counter(), 0.0
    process = psutil.Popen([sys.executable, "bench.py", "report", *words], cwd=ROOT, stdout=subprocess.DEVNULL)
    while process.poll() is None:
        most = max(most, memory_of(process))
        time.sleep(LOOK)
    if process.returncode:
        raise SystemExit(f"report {' '.join(words)} ended with {process.returncode}")
    return time.perf_counter() - since, most


def memory_of(process: psutil.Process) -> float:
    """MB that a process and its descendants hold now (proportional set size)."""
    total = 0
    for one in [process, *process.children(recursive=True)]:
        with suppress(psutil.Error):  # it may just end
            total += one.memory_full_info().pss
    return total / 1e6


def main() -> None:
    """Print the figures on lines."""
    with tempfile.TemporaryDirectory() as name:
        results, out = Path(name) / "results", Path(name) / "report"
        runs = make_results(results)
        words = ("--runs", "dataset=*", "--results", str(results), "--out", str(out))
        seconds, memory = timed(*words)
        page = (out / "index.html").stat().st_size / 1e6
        print(f"report of {runs} runs        {seconds:5.1f} s   (wanted: under 20)")
        print(f"its memory                {memory:5.0f} MB  (wanted: under 1000)")
        print(f"its page                  {page:5.2f} MB  (wanted: under 5)")
        seconds, _ = timed(*words, "--check")
        print(f"its check                 {seconds:5.1f} s   (wanted: under 30)")
