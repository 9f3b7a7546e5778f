"""Long work over the cores that stops at once when it has to."""

from __future__ import annotations

import multiprocessing
import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from typing import Any, TypeVar

from bench.children import work_alone
from bench.errors import DataError

T = TypeVar("T")
FEW = 4  # pieces of work; fewer are done here, which is sooner than processes start


def run_all(
    work: Callable[..., T], pieces: Sequence[tuple[Any, ...]], name: str, report: Callable[[str, int, int], None]
) -> list[T]:
    """What `work` gives for each piece, in the order in which they end."""
    return list(run_each(work, pieces, name, report))


def run_each(
    work: Callable[..., T], pieces: Sequence[tuple[Any, ...]], name: str, report: Callable[[str, int, int], None]
) -> Iterator[T]:
    """What `work` gives for each piece, as soon as it ends.

    After an error or Ctrl-C no piece is begun any more. Raises DataError where a process was killed.
    """
    report(name, 0, len(pieces))
    if len(pieces) < FEW:
        for done, piece in enumerate(pieces, 1):
            yield work(*piece)
            report(name, done, len(pieces))
        return
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(min(len(pieces), os.cpu_count() or 1), context, initializer=work_alone) as pool:
        futures = [pool.submit(work, *piece) for piece in pieces]
        try:
            for done, future in enumerate(as_completed(futures), 1):
                yield future.result()
                report(name, done, len(pieces))
        except BrokenProcessPool:
            raise DataError(
                f"a process of '{name}' was killed, perhaps for want of memory; start again, it goes on where it was"
            ) from None
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise
