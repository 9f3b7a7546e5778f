"""Child processes and process pools that end with the process that started them."""

from __future__ import annotations

import ast
import ctypes
import multiprocessing
import os
import signal
import sys
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path
from types import FrameType
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
    """Raise ConfigError if each process that is started would run the program's script again, since it imports it.

    It is also raised in a process that is doing so. A script from standard input is no file: its name is removed, since
    a started process would search for it.
    """
    main = sys.modules["__main__"]
    if getattr(main, "__file__", None) == "<stdin>":
        del main.__file__
    if getattr(multiprocessing.current_process(), "_inheriting", False) or _is_script_unguarded():
        raise ConfigError("a script that starts runs must call them under `if __name__ == '__main__':`")


def _is_script_unguarded() -> bool:
    """Return whether a statement of the program's script is being executed that an import would execute too.

    A notebook, standard input and `python -c` have no file to import.
    """
    main = sys.modules["__main__"]
    path, name = getattr(main, "__file__", None), getattr(main.__spec__, "name", "")
    frame: FrameType | None = sys._getframe()
    while frame is not None and not (
        frame.f_globals is vars(main) and frame.f_code.co_name == "<module>" and frame.f_code.co_filename == path
    ):
        frame = frame.f_back
    if frame is None or path is None or name.endswith("__main__"):  # a package's __main__ is not imported
        return False
    try:
        tree = ast.parse(Path(path).read_bytes())
    except (OSError, SyntaxError, ValueError):
        return False
    around = [
        node
        for node in ast.walk(tree)
        if isinstance(node, ast.If) and node.lineno <= frame.f_lineno <= (node.end_lineno or node.lineno)
    ]
    names = [part.id for node in around for part in ast.walk(node.test) if isinstance(part, ast.Name)]
    return "__name__" not in names


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
