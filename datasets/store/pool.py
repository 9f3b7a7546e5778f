"""Long work over the cores that stops at once when it has to."""

from __future__ import annotations

import multiprocessing
import os
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from typing import Any, TypeVar

from bench.children import work_alone

T = TypeVar("T")
FEW = 4  # pieces of work; fewer are done here, which is sooner than processes start


def run_all(
    work: Callable[..., T], pieces: Sequence[tuple[Any, ...]], name: str, report: Callable[[str, int, int], None]
) -> list[T]:
    """What `work` gives for each piece, in the order in which they end.

    After an error or Ctrl-C no piece is begun any more.
    """
    report(name, 0, len(pieces))
    found: list[T] = []
    if len(pieces) < FEW:
        for piece in pieces:
            found.append(work(*piece))
            report(name, len(found), len(pieces))
        return found
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(min(len(pieces), os.cpu_count() or 1), context, initializer=work_alone) as pool:
        futures = [pool.submit(work, *piece) for piece in pieces]
        try:
            for future in as_completed(futures):
                found.append(future.result())
                report(name, len(found), len(pieces))
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise
    return found
