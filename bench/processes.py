"""Child processes and process pools that end with the process that started them."""

from __future__ import annotations

import ctypes
import multiprocessing
import os
import signal
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from typing import Any, TypeVar

from bench.errors import ConfigError, DataError

T = TypeVar("T")
MIN_POOL_PIECES = 4  # with fewer pieces of work, starting processes takes longer than the work


def exit_with_parent() -> None:
    """End this process when its parent dies, at once if it is dead; ignore Ctrl-C, which the parent handles."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    ctypes.CDLL(None).prctl(1, signal.SIGTERM)  # PR_SET_PDEATHSIG
    parent = multiprocessing.parent_process()
    if parent is not None and os.getppid() != parent.pid:
        os._exit(1)


def check_main_guard() -> None:
    """Raise ConfigError in a spawned process that imports the script of its parent, since it would run it again."""
    if getattr(multiprocessing.current_process(), "_inheriting", False):
        raise ConfigError("a script that starts runs must call them under `if __name__ == '__main__':`")


def init_pool_worker() -> None:
    """Initialise a pool worker: one OpenMP thread, and exit with the parent process."""
    exit_with_parent()
    os.environ["OMP_NUM_THREADS"] = "1"


def run_each(
    work: Callable[..., T],
    pieces: Sequence[tuple[Any, ...]],
    name: str,
    report: Callable[[str, int, int], None],
    broken: Callable[..., T] | None = None,
    pool_from: int | None = None,
) -> Iterator[T]:
    """Run `work(*piece)` for each piece in a process pool and yield the results as they complete.

    Fewer than `pool_from` pieces (by default MIN_POOL_PIECES) run in this process.

    No piece is started after an error or Ctrl-C. If a piece kills its process (a decoder crash, out of memory), yield
    `broken(*piece)` instead. Raises DataError if `broken` is not given.
    """
    report(name, 0, len(pieces))
    if len(pieces) < (MIN_POOL_PIECES if pool_from is None else pool_from):
        for done, piece in enumerate(pieces, 1):
            yield work(*piece)
            report(name, done, len(pieces))
        return
    done, waiting = 0, list(range(len(pieces)))
    workers = min(len(pieces), os.cpu_count() or 1)
    while waiting:
        ended: list[int] = []
        try:
            for number, result in _run_pool(work, pieces, waiting, workers):
                ended.append(number)
                yield result
                done += 1
                report(name, done, len(pieces))
            return
        except BrokenProcessPool:
            if broken is None:
                raise DataError(
                    f"{name}: a process was killed, perhaps because memory ran out; give the same command again"
                ) from None
            completed = set(ended)
            waiting = [number for number in waiting if number not in completed]
        for number in waiting[: 2 * workers + 1]:  # one of these broke the pool: run each in its own process
            try:
                ((_, result),) = _run_pool(work, pieces, [number], 1)
            except BrokenProcessPool:
                result = broken(*pieces[number])
            yield result
            done += 1
            report(name, done, len(pieces))
        waiting = waiting[2 * workers + 1 :]


def _run_pool(
    work: Callable[..., T], pieces: Sequence[tuple[Any, ...]], numbers: Sequence[int], workers: int
) -> Iterator[tuple[int, T]]:
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(workers, context, initializer=init_pool_worker) as pool:
        futures = {pool.submit(work, *pieces[number]): number for number in numbers}
        try:
            for future in as_completed(futures):
                yield futures[future], future.result()
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise
