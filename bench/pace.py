"""How often something that costs time is worth doing: as often as keeps it under a small share of all time."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from time import perf_counter

SHARE = 0.005  # of the time between two
LONGEST = 300.0  # seconds that it is put off at most


class Pace:
    """`due` at first, and then whenever the last time's cost has become a small share of the time since."""

    def __init__(self) -> None:
        self._cost = self._ended = 0.0

    def due(self) -> bool:
        """Whether it is time again."""
        return perf_counter() - self._ended >= min(self._cost / SHARE, LONGEST)

    @contextmanager
    def __call__(self) -> Iterator[None]:
        """A block that does it, and whose cost is taken."""
        since = perf_counter()
        try:
            yield
        finally:
            self._ended = perf_counter()
            self._cost = self._ended - since
