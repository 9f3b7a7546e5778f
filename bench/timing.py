"""Time and memory that a run uses: timers, throttles and peaks."""

from __future__ import annotations

import resource
import sys
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from time import perf_counter

MAX_COST_SHARE = 0.005  # of the time between two
MAX_DELAY = 300.0  # seconds that it is put off at most


class Timer:
    """Adds up seconds by name; an inner share is not counted in the outer one, so that shares add up."""

    def __init__(self) -> None:
        self._spent: dict[str, float] = defaultdict(float)
        self._running: list[tuple[str, float]] = []

    @contextmanager
    def __call__(self, name: str) -> Iterator[None]:
        """Count the block under `name`."""
        self._pause()
        self._running.append((name, perf_counter()))
        try:
            yield
        finally:
            self._pause()
            self._running.pop()
            if self._running:
                self._running[-1] = (self._running[-1][0], perf_counter())

    def resume_from(self, spent: dict[str, float]) -> None:
        """Add what a run that goes on had spent before it was stopped."""
        for name, seconds in spent.items():
            self._spent[name] += seconds

    def reassign(self, spent: dict[str, float]) -> None:
        """Put seconds of the running block under other names: those of a process that the block waits for."""
        self._pause()
        for name, seconds in spent.items():
            self._spent[name] += seconds
            if self._running:
                self._spent[self._running[-1][0]] -= seconds

    def get_seconds(self) -> dict[str, float]:
        """Name -> seconds so far, of finished blocks."""
        return {name: round(spent, 4) for name, spent in self._spent.items()}

    def _pause(self) -> None:
        if self._running:
            name, since = self._running[-1]
            now = perf_counter()
            self._spent[name] += now - since
            self._running[-1] = (name, now)


class Throttle:
    """`is_due` at first, and then whenever the last time's cost has become a small share of the time since."""

    def __init__(self) -> None:
        self._cost = self._ended = 0.0

    def is_due(self) -> bool:
        """Whether it is time again."""
        return perf_counter() - self._ended >= min(self._cost / MAX_COST_SHARE, MAX_DELAY)

    @contextmanager
    def __call__(self) -> Iterator[None]:
        """A block that does it, and whose cost is taken."""
        since = perf_counter()
        try:
            yield
        finally:
            self._ended = perf_counter()
            self._cost = self._ended - since


def reset_peak_memory(device: str) -> None:
    """Count from now on, where the system can; a system that cannot counts from the start of the process."""
    with suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5")  # man 5 proc: forgets the peak of the resident memory
    if device.startswith("cuda"):
        import torch

        torch.cuda.reset_peak_memory_stats(device)


def read_peak_memory(device: str) -> dict[str, int]:
    """`peak_memory_mb`, resident, and on CUDA `peak_gpu_memory_mb`, as torch allocated it; in MiB."""
    found = {"peak_memory_mb": round(_read_peak_resident_kib() / 1024)}
    if device.startswith("cuda"):
        import torch

        found["peak_gpu_memory_mb"] = round(torch.cuda.max_memory_allocated(device) / 2**20)
    return found


def _read_peak_resident_kib() -> float:
    with suppress(OSError):  # macOS has no /proc, some containers leave the line out
        for line in Path("/proc/self/status").read_text().splitlines():
            if line.startswith("VmHWM:"):
                return float(line.split()[1])
    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return most / 1024 if sys.platform == "darwin" else most  # macOS counts bytes
