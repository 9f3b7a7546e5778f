"""Benchmark of writing and checking a large report: 5 data sets, 16 methods, 8 seeds, 500 predictions each."""

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
POLL = 0.25  # seconds between memory measurements


def make_results(results: Path) -> int:
    """Write the records of all runs and return their number."""
    arms = [name for name in get_arms() if name != "mart-target-clip"][:METHODS]
    made = [
        make_run(results, arm, dataset, seed=seed, clips=CLIPS)
        for dataset in DATASETS
        for arm in arms
        for seed in range(SEEDS)
    ]
    return len(made)


def timed(*words: str) -> tuple[float, float]:
    """Return the seconds and the peak memory (MB) of a command and its processes, shared memory counted once."""
    since, peak = time.perf_counter(), 0.0
    process = psutil.Popen([sys.executable, "bench.py", "report", *words], cwd=ROOT, stdout=subprocess.DEVNULL)
    while process.poll() is None:
        peak = max(peak, memory_of(process))
        time.sleep(POLL)
    if process.returncode:
        raise SystemExit(f"report {' '.join(words)} ended with {process.returncode}")
    return time.perf_counter() - since, peak


def memory_of(process: psutil.Process) -> float:
    """Return the memory of a process and its descendants in MB (proportional set size)."""
    total = 0
    for member in [process, *process.children(recursive=True)]:
        with suppress(psutil.Error):  # the process may have ended
            total += member.memory_full_info().pss
    return total / 1e6


def main() -> None:
    """Print each figure on a line."""
    with tempfile.TemporaryDirectory() as name:
        results, out = Path(name) / "results", Path(name) / "report"
        runs = make_results(results)
        words = ("--runs", "dataset=*", "--results", str(results), "--out", str(out))
        seconds, memory = timed(*words)
        page = (out / "index.html").stat().st_size / 1e6
        print(f"report of {runs} runs        {seconds:5.1f} s   (target: under 20)")
        print(f"peak memory               {memory:5.0f} MB  (target: under 1000)")
        print(f"size of the page          {page:5.2f} MB  (target: under 5)")
        seconds, _ = timed(*words, "--check")
        print(f"check of the report       {seconds:5.1f} s   (target: under 30)")
