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
MIN_POOL_PIECES = 4  # pieces of work; fewer are done here, which is sooner than processes start


def exit_with_parent() -> None:
    """Ask the kernel to end this process when its parent dies, now if that has happened, and leave Ctrl-C to it."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    ctypes.CDLL(None).prctl(1, signal.SIGTERM)  # PR_SET_PDEATHSIG
    parent = multiprocessing.parent_process()
    if parent is not None and os.getppid() != parent.pid:
        os._exit(1)


def check_main_guard() -> None:
    """Raise ConfigError in a process that imports the script that started it: it would do the script's work again, and
    wait for what its parent holds."""
    if getattr(multiprocessing.current_process(), "_inheriting", False):
        raise ConfigError("a script that starts runs wants its work under `if __name__ == '__main__':`")


def init_pool_worker() -> None:
    """Give a worker of a pool one thread (of the torch it may import later), and no life after its parent."""
    exit_with_parent()
    os.environ["OMP_NUM_THREADS"] = "1"


def run_each(
    work: Callable[..., T],
    pieces: Sequence[tuple[Any, ...]],
    name: str,
    report: Callable[[str, int, int], None],
    broken: Callable[..., T] | None = None,
) -> Iterator[T]:
    """What `work` gives for each piece, as soon as it ends.

    After an error or Ctrl-C no piece is begun any more. For a piece that ends its process (a decoder that crashes, the
    kernel for want of memory) `broken` gives the result; raises DataError without it.
    """
    report(name, 0, len(pieces))
    if len(pieces) < MIN_POOL_PIECES:
        for done, piece in enumerate(pieces, 1):
            yield work(*piece)
            report(name, done, len(pieces))
        return
    done, waiting = 0, list(range(len(pieces)))
    workers = min(len(pieces), os.cpu_count() or 1)
    while waiting:
        ended: list[int] = []
        try:
            for number, found in _run_pool(work, pieces, waiting, workers):
                ended.append(number)
                yield found
                done += 1
                report(name, done, len(pieces))
            return
        except BrokenProcessPool:
            if broken is None:
                raise DataError(f"a process of '{name}' was killed, perhaps for want of memory; start again") from None
            gone = set(ended)
            waiting = [number for number in waiting if number not in gone]
        for number in waiting[: 2 * workers + 1]:  # one of these was under way: each by itself
            try:
                ((_, found),) = _run_pool(work, pieces, [number], 1)
            except BrokenProcessPool:
                found = broken(*pieces[number])
            yield found
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
