"""Benchmark of shared work: eight workers on PostgreSQL with one-second trials, and two workers against one."""

from __future__ import annotations

import multiprocessing
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from bench.execute import RunRequest
from bench.record import RunSpec
from studies.search import FIRST_TRIAL_SEED, Budget, HyperparameterSearch, SearchOptions
from studies.storage import Storage, make_storage_url
from tests.postgres import find_binaries, running
from tests.toys import TOY, TOY_DATA, ToyConfig

ROOT = Path(__file__).resolve().parents[2]
WORKERS, TRIALS, EPOCHS, SECOND = 8, 80, 5, 1.0
CELL = ("bench.py", "--method", "mbt", "--dataset", "ekman6", "--seeds", "6", "--threads", "1")


def work(url: str, results: str, spent: Any) -> None:
    """Run a worker: lease trials, report epochs for one second each, complete them; `spent` gets the storage time."""
    spec = RunSpec("toy", 1, ToyConfig().model_dump(), "toy", "real", "f", "c", 0, FIRST_TRIAL_SEED)
    base = RunRequest("toy", TOY, ToyConfig(), "quick", TOY_DATA, FIRST_TRIAL_SEED, stage="trial")
    search = HyperparameterSearch(
        base,
        spec,
        set(),
        SearchOptions(pruner="none"),
        Budget(trials=TRIALS),
        Storage(make_storage_url(Path(results), url)),
    )
    search.get_trials()
    while not search.is_over():
        since = time.perf_counter()
        lease = search.lease_next()
        if lease is None:
            time.sleep(0.2)
            continue
        inside = time.perf_counter() - since
        for epoch in range(EPOCHS):
            time.sleep(SECOND / EPOCHS)
            since = time.perf_counter()
            lease.report(lease.params["lr"], epoch)
            inside += time.perf_counter() - since
        since = time.perf_counter()
        lease.complete(lease.params["lr"])
        spent.put((lease.number, inside + time.perf_counter() - since))


def measure_postgres() -> None:
    """Print errors, missing and duplicate trials, and the storage time per trial, waiting for the lock included."""
    binaries, context = find_binaries(), multiprocessing.get_context("spawn")
    if binaries is None:
        print("8 workers on PostgreSQL: not measured, PostgreSQL is not installed")
        return
    with running(binaries) as server, tempfile.TemporaryDirectory() as results:
        url, spent = server.fresh(), context.Queue()
        workers = [context.Process(target=work, args=(url, results, spent)) for _ in range(WORKERS)]
        for worker in workers:
            worker.start()
        found = [spent.get(timeout=300) for _ in range(TRIALS)]
        for worker in workers:
            worker.join(timeout=60)
        errors = sum(worker.exitcode != 0 for worker in workers)
        numbers = [number for number, _ in found]
        missing, duplicate = TRIALS - len(set(numbers)), len(numbers) - len(set(numbers)) + (not spent.empty())
        times = sorted(1000 * seconds for _, seconds in found)
    print(f"8 workers on PostgreSQL, {TRIALS} trials: {errors} errors, {missing} missing, {duplicate} duplicate")
    print(f"  storage time a trial, median       {statistics.median(times):6.0f} ms  (target: under 50)")
    print(f"  storage time, 95th percentile      {times[int(0.95 * TRIALS)]:6.0f} ms")


def seconds_of(workers: int, results: str) -> float:
    """Return the wall seconds of a plan with some single-threaded workers; one worker uses the shared database too."""
    command = [sys.executable, *CELL, "--results", results, "--workers", str(workers)]
    command += ["--storage", f"sqlite:///{results}/optuna.db"]
    since = time.perf_counter()
    subprocess.run(command, cwd=ROOT, env={**os.environ, "OMP_NUM_THREADS": "1"}, check=True, stdout=subprocess.DEVNULL)
    return time.perf_counter() - since


def measure_workers() -> None:
    """Print the speed-up of two single-threaded workers over one."""
    found = {}
    for workers in (1, 2):
        with tempfile.TemporaryDirectory() as results:
            prepare = [sys.executable, "bench.py", "--method", "majority", "--dataset", "ekman6", "--results", results]
            subprocess.run(prepare, cwd=ROOT, check=True, stdout=subprocess.DEVNULL)
            found[workers] = seconds_of(workers, results)
    seconds = f"{found[1]:.0f} and {found[2]:.0f} s, including start-up"
    print(f"2 workers against 1, one thread each   {found[1] / found[2]:5.2f}   (target: 1.8; {seconds})")


def main() -> None:
    """Print each figure on a line."""
    measure_postgres()
    measure_workers()


if __name__ == "__main__":
    main()
