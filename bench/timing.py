"""Timers, throttles and peak memory of a run."""

from __future__ import annotations

import resource
import sys
from collections import defaultdict
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, ExitStack, contextmanager, suppress
from pathlib import Path
from time import perf_counter
from typing import TypeVar

T = TypeVar("T")
MAX_COST_SHARE = 0.005  # share of the run time that a throttled operation may take
MAX_DELAY = 300.0  # maximum seconds between two throttled operations
MAX_UNNAMED_OVERHEAD = 5.0  # seconds of overhead that messages leave out

OVERHEAD = frozenset(
    {
        "prepare",  # lists and decodes clips, or generates the sample: only the first run on them pays for it
        "wait",  # for another process that holds a lock
        "open store",  # starts the run in MLflow, which may be slow or unavailable
        "log",  # epochs to the screen, MLflow and the database of searches
        "checkpoint",  # saves what a killed run resumes from
        "explain",  # explanations for figures and checks; no score depends on them
        "write",  # predictions, figures and weights of the finished run
    }
)
"""Names of a run's seconds that are not training or scoring. All others are, also those of custom methods: "method"
(building models, loading weights, and what a fit does not time), "read" (opening prepared clips), "step", "predict"."""


class Timer:
    """Timer that adds up seconds by name. A nested block is not counted in the outer one."""

    def __init__(self) -> None:
        self._spent: dict[str, float] = defaultdict(float)
        self._running: list[tuple[str, float]] = []

    @contextmanager
    def __call__(self, name: str) -> Iterator[None]:
        """Count the seconds of a block under `name`."""
        self._pause()
        self._running.append((name, perf_counter()))
        try:
            yield
        finally:
            self._pause()
            self._running.pop()
            if self._running:
                self._running[-1] = (self._running[-1][0], perf_counter())

    @contextmanager
    def enter(self, name: str, context: AbstractContextManager[T]) -> Iterator[T]:
        """Hold a context; count the seconds until it is entered, such as those until a lock is free, under `name`."""
        with ExitStack() as held:
            with self(name):
                entered = held.enter_context(context)
            yield entered

    def resume_from(self, spent: dict[str, float]) -> None:
        """Add the seconds that a resumed run spent before it was stopped."""
        for name, seconds in spent.items():
            self._spent[name] += seconds

    def reassign(self, spent: dict[str, float]) -> None:
        """Move seconds of the running block to other names, for a block that waits for another process."""
        self._pause()
        for name, seconds in spent.items():
            self._spent[name] += seconds
            if self._running:
                self._spent[self._running[-1][0]] -= seconds

    def get_seconds(self) -> dict[str, float]:
        """Return name -> seconds so far, without the running block."""
        return {name: round(spent, 4) for name, spent in self._spent.items()}

    def _pause(self) -> None:
        if self._running:
            name, since = self._running[-1]
            now = perf_counter()
            self._spent[name] += now - since
            self._running[-1] = (name, now)


def sum_compute_seconds(seconds: Mapping[str, float]) -> float:
    """Return the seconds of training and scoring among those of a record, by name."""
    return sum(spent for name, spent in seconds.items() if name not in OVERHEAD)


def sum_overhead_seconds(seconds: Mapping[str, float]) -> float:
    """Return the other seconds of a record: of preparing data, waiting, logging and writing files."""
    return sum(spent for name, spent in seconds.items() if name in OVERHEAD)


def describe_overhead(seconds: Mapping[str, float]) -> str:
    """Return ", plus 14 s preparing data and writing files" for the seconds of a record; "" for a few seconds."""
    rest = sum_overhead_seconds(seconds)
    return f", plus {rest:.0f} s preparing data and writing files" if rest > MAX_UNNAMED_OVERHEAD else ""


class Throttle:
    """Limiter of a costly operation to a small share of the run time.

    `is_due` is True at first, and again once the last cost is at most MAX_COST_SHARE of the time since then, at the
    latest after MAX_DELAY.
    """

    def __init__(self) -> None:
        self._cost = self._ended = 0.0

    def is_due(self) -> bool:
        """Return whether the operation may run now."""
        return perf_counter() - self._ended >= min(self._cost / MAX_COST_SHARE, MAX_DELAY)

    @contextmanager
    def __call__(self) -> Iterator[None]:
        """Measure the cost of the operation, which runs in the block."""
        since = perf_counter()
        try:
            yield
        finally:
            self._ended = perf_counter()
            self._cost = self._ended - since


def reset_peak_memory(device: str) -> None:
    """Reset the peak memory. Systems without this feature report the peak since the start of the process."""
    with suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5")  # resets the peak resident memory, see man 5 proc
    if device.startswith("cuda"):
        import torch

        torch.cuda.reset_peak_memory_stats(device)


def read_peak_memory(device: str) -> dict[str, int]:
    """Return `peak_memory_mb` (resident) and, on CUDA, `peak_gpu_memory_mb` (allocated by torch), both in MiB."""
    found = {"peak_memory_mb": round(_read_peak_resident_kib() / 1024)}
    if device.startswith("cuda"):
        import torch

        found["peak_gpu_memory_mb"] = round(torch.cuda.max_memory_allocated(device) / 2**20)
    return found


def _read_peak_resident_kib() -> float:
    with suppress(OSError):  # macOS has no /proc, and some containers omit the line
        for line in Path("/proc/self/status").read_text().splitlines():
            if line.startswith("VmHWM:"):
                return float(line.split()[1])
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / 1024 if sys.platform == "darwin" else peak  # macOS counts bytes
