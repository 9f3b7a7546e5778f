"""Where the seconds of a run go: named shares of wall time."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from time import perf_counter


class Clock:
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

    def go_on(self, spent: dict[str, float]) -> None:
        """Add what a run that goes on had spent before it was stopped."""
        for name, seconds in spent.items():
            self._spent[name] += seconds

    def move(self, spent: dict[str, float]) -> None:
        """Put seconds of the running block under other names: those of a process that the block waits for."""
        self._pause()
        for name, seconds in spent.items():
            self._spent[name] += seconds
            if self._running:
                self._spent[self._running[-1][0]] -= seconds

    def seconds(self) -> dict[str, float]:
        """Name -> seconds so far, of finished blocks."""
        return {name: round(spent, 4) for name, spent in self._spent.items()}

    def _pause(self) -> None:
        if self._running:
            name, since = self._running[-1]
            now = perf_counter()
            self._spent[name] += now - since
            self._running[-1] = (name, now)
