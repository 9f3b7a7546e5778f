"""A training step of MART at the paper's size, on a CPU, spends its time in matrix products."""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
from pathlib import Path

from tests.guard.table import Check, timed

PART = "step"
ROOT = Path(__file__).parents[2]
THREADS, WANTED = 2, 0.80  # threads of torch; the least share of the rate of a matrix product
MORE = 4  # further steps where the first fall short: on a shared machine one step's share moves by 0.06 either way


def check_step(steps: int) -> list[Check]:
    """Time some steps of pre-training in float32, each between matrix products, in a process of their own; and more of
    them where their median falls short, which is then the median of all."""
    with timed(PART, f"mart, {steps} steps of the product's rate") as check:
        check.wanted = f"{WANTED:.2f} or more"
        load = [os.getloadavg()[0]]
        shares, seconds = measure(steps)
        if statistics.median(shares) < WANTED:
            shares, seconds = (old + new for old, new in zip((shares, seconds), measure(MORE), strict=True))
        load.append(os.getloadavg()[0])
        median = statistics.median(shares)
        check.found = f"{median:.2f} median"
        each = ", ".join(f"{share:.3f} ({took:.1f} s)" for share, took in zip(shares, seconds, strict=True))
        around = " and ".join(f"{value:.1f}" for value in load)
        check.notes.append(f"steps {each}; load {around} before and after, on {os.cpu_count()} cores")
        if median < WANTED:
            check.faults.append(f"the median share of {len(shares)} steps is {median:.3f}, not {WANTED:.2f}")
    return [check]


def measure(steps: int) -> tuple[list[float], list[float]]:
    """Each step's share of the product's rate, and its seconds. Raises RuntimeError where the process fails."""
    words = [sys.executable, "-m", "tests.speed.steps", "mart", "--steps", str(steps), "--threads", str(THREADS)]
    env = {**os.environ, "CUDA_VISIBLE_DEVICES": ""}  # the share is that of a CPU also where there is a GPU
    done = subprocess.run(words, cwd=ROOT, env=env, capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError(f"{' '.join(words)} ended with {done.returncode}: {done.stderr.strip()[-400:]}")
    told = json.loads(done.stdout.splitlines()[-1])
    return told["shares"], told["seconds"]
