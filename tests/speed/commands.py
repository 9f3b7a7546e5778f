"""Benchmarks of the command line: start-up, memory, and the parts of a run's time."""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
CELL = ("bench.py", "--method", "mart", "--dataset", "ekman6")
WORK = {"read", "step", "predict", "explain", "prepare"}  # training, validation, decoding
STARTUP = {"open store"}


# ru_maxrss of a forked child includes the parent's memory, so a small process starts the measured one.
BETWEEN = """
import resource, subprocess, sys, time
start = time.perf_counter()
done = subprocess.run(sys.argv[1:], stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
wall, peak = time.perf_counter() - start, resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss
sys.stdout.write(f"{done.returncode} {wall} {peak}\\n" + done.stdout.decode())
"""


def timed(*words: str) -> tuple[float, float]:
    """Return the wall seconds and the peak memory (MB) of a command."""
    command = [sys.executable, "-c", BETWEEN, sys.executable, *words]
    measured, _, output = subprocess.run(
        command, cwd=ROOT, capture_output=True, text=True, check=True
    ).stdout.partition("\n")
    status, wall, peak = measured.split()
    if int(status):
        raise SystemExit(f"{' '.join(words)} failed:\n{output}")
    return float(wall), float(peak) / 1024


def median(*words: str, runs: int = 5) -> float:
    """Return the median wall seconds of some runs after a warm-up run."""
    timed(*words)
    return statistics.median(timed(*words)[0] for _ in range(runs))


def measure_start() -> None:
    """Print the seconds of commands that import no heavy packages."""
    print(f"python -c pass                    {median('-c', 'pass'):6.2f} s")
    print(f"bench.py --help                   {median('bench.py', '--help'):6.2f} s   (target: under 0.5)")
    print(f"bench.py list                     {median('bench.py', 'list'):6.2f} s   (target: under 1)")


def measure_cell(folder: str) -> None:
    """Print the figures of the README's command on an empty results folder, and given again."""
    out = Path(folder) / "out.json"
    cell = (*CELL, "--results", folder, "--json", str(out))
    wall, memory = timed(*cell)
    (first,) = json.loads(out.read_text())
    spent: dict[str, float] = first["seconds"]
    print(f"the README's command, cold        {wall:6.1f} s   (target: under 90)")
    print(f"  peak memory, main process       {memory:6.0f} MB  (target: under 2000)")
    start_up = wall - sum(spent.values()) + sum(spent.get(name, 0) for name in STARTUP)
    print(f"  start-up (imports, MLflow)      {start_up:6.1f} s   (target: under 10)")
    for name, seconds in sorted(spent.items(), key=lambda item: -item[1]):
        print(f"    {name:<29} {seconds:6.1f} s")
    again, _ = timed(*cell)
    print(f"the same command again            {again:6.1f} s   ({wall / again:.1f} times faster)")


def measure_share(folder: str) -> None:
    """Print the share of a run's time outside its work, without imports: the second of two seeds in one process."""
    out = Path(folder) / "share.json"
    timed(*CELL, "--results", folder, "--json", str(out), "--seed", "1", "--seeds", "2")
    spent: dict[str, float] = json.loads(out.read_text())[-1]["seconds"]
    rest = {name: seconds for name, seconds in spent.items() if name not in WORK}
    share = sum(rest.values()) / sum(spent.values())
    parts = ", ".join(f"{name} {seconds:.2f} s" for name, seconds in rest.items())
    print(f"outside training and decoding     {share:6.1%}     (target: under 5 %; {parts})")


def main() -> None:
    """Print each figure on a line."""
    measure_start()
    with tempfile.TemporaryDirectory() as folder:
        measure_cell(folder)
        measure_share(folder)
