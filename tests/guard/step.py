"""Guard of training speed: a MART step at the paper's size on a CPU spends its time in matrix products."""

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
THREADS, MIN_SHARE = 2, 0.80  # PyTorch threads; smallest share of the FLOP rate of a matrix product
MORE = 4  # steps added if the first fall short: on a shared machine the share of a step varies by 0.06


def check_step(steps: int) -> list[Check]:
    """Time pre-training steps in float32 in a child process, each between matrix products.

    If their median falls short, more steps are timed and the median of all counts.
    """
    with timed(PART, f"mart, {steps} steps of the product's rate") as check:
        check.expected = f"{MIN_SHARE:.2f} or more"
        load = [os.getloadavg()[0]]
        shares, seconds = measure(steps)
        if statistics.median(shares) < MIN_SHARE:
            shares, seconds = (old + new for old, new in zip((shares, seconds), measure(MORE), strict=True))
        load.append(os.getloadavg()[0])
        median = statistics.median(shares)
        check.found = f"{median:.2f} median"
        each = ", ".join(f"{share:.3f} ({took:.1f} s)" for share, took in zip(shares, seconds, strict=True))
        around = " and ".join(f"{value:.1f}" for value in load)
        check.notes.append(f"steps {each}; load {around} before and after, on {os.cpu_count()} cores")
        if median < MIN_SHARE:
            check.faults.append(f"the median share of {len(shares)} steps is {median:.3f}, not {MIN_SHARE:.2f}")
    return [check]


def measure(steps: int) -> tuple[list[float], list[float]]:
    """Return each step's share of the product's FLOP rate and its seconds; raise RuntimeError if the process fails."""
    words = [sys.executable, "-m", "tests.speed.steps", "mart", "--steps", str(steps), "--threads", str(THREADS)]
    env = {**os.environ, "CUDA_VISIBLE_DEVICES": ""}  # measure on the CPU even if there is a GPU
    done = subprocess.run(words, cwd=ROOT, env=env, capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError(f"{' '.join(words)} ended with {done.returncode}: {done.stderr.strip()[-400:]}")
    measured = json.loads(done.stdout.splitlines()[-1])
    return measured["shares"], measured["seconds"]
