"""Benchmarks of the whole command, run by `make speed`: start-up, memory, and where a run's seconds go.

Seconds hold for one machine at one time; compare ratios taken in one run.
"""

from __future__ import annotations

import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
WORK = {"read", "step", "predict", "explain", "prepare"}  # training, validation, decoding
STARTUP = {"open store"}


def timed(*words: str) -> tuple[float, float]:
    """Wall seconds and peak memory (MB) of one command of ours."""
    start = time.perf_counter()
    process = subprocess.Popen([sys.executable, *words], cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    output = process.stdout.read().decode() if process.stdout else ""
    _, status, usage = os.wait4(process.pid, 0)
    if status:
        raise SystemExit(f"{' '.join(words)} failed:\n{output}")
    return time.perf_counter() - start, usage.ru_maxrss / 1024


def median(*words: str, runs: int = 5) -> float:
    """Median wall seconds over a few runs, after one that is not counted."""
    timed(*words)
    return statistics.median(timed(*words)[0] for _ in range(runs))


def main() -> None:
    """Print every figure on a line of its own."""
    print(f"python -c pass                    {median('-c', 'pass'):6.2f} s")
    print(f"bench.py --help                   {median('bench.py', '--help'):6.2f} s   (wanted: under 0.5)")
    print(f"bench.py list                     {median('bench.py', 'list'):6.2f} s   (wanted: under 1)")
    with tempfile.TemporaryDirectory() as folder:
        cell = (
            "bench.py",
            "--method",
            "mart",
            "--dataset",
            "ekman6",
            "--results",
            folder,
            "--json",
            f"{folder}/out.json",
        )
        wall, memory = timed(*cell)
        (row,) = json.loads((Path(folder) / "out.json").read_text())
        seconds: dict[str, float] = row["seconds"]
        counted = sum(seconds.values())
        start_up = wall - counted + sum(seconds.get(name, 0) for name in STARTUP)
        rest = {name: spent for name, spent in seconds.items() if name not in WORK | STARTUP}
        print(f"the README's command, cold        {wall:6.1f} s   (wanted: under 90)")
        print(f"  peak memory, main process       {memory:6.0f} MB  (wanted: under 2000)")
        print(f"  start-up (imports, MLflow)      {start_up:6.1f} s   (wanted: under 10)")
        for name, spent in sorted(seconds.items(), key=lambda item: -item[1]):
            print(f"  {name:<31} {spent:6.1f} s")
        share = sum(rest.values()) / (counted - sum(seconds.get(name, 0) for name in STARTUP))
        print(f"  outside training and decoding   {share:6.1%}     (wanted: under 5 %)")
        again, _ = timed(*cell)
        print(f"the same command again            {again:6.1f} s   ({wall / again:.1f} times faster)")
    print(f"peak memory of any child          {resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024:6.0f} MB")


if __name__ == "__main__":
    main()
