"""Workers as processes of this machine: started, watched, replaced when one dies, and ended with their parent."""

from __future__ import annotations

import multiprocessing
import os
import signal
import time
from collections.abc import Callable
from functools import partial
from multiprocessing.process import BaseProcess
from typing import Any

from bench.children import exit_with_parent, refuse_half_started
from bench.errors import StoreError
from studies.work.order import Order, Place

DEATHS = 20  # workers that may die before the command gives up: something kills them
LAST_WORDS, LEAVING = 600.0, 15  # seconds for what is left when all is done (uploads), and after an interruption


def run_workers(order: Order, place: Place, count: int, gpus: int, look: Callable[[], bool]) -> None:
    """Keep `count` workers at the order until `look` says that nothing is left, or all of them have ended.

    Raises StoreError with a worker's mistake, or when workers die again and again. Nobody is left behind.
    """
    refuse_half_started()
    context = multiprocessing.get_context("spawn")
    mistakes: Any = context.SimpleQueue()
    start = partial(_start, context, order, place, gpus, mistakes)
    workers = {number: start(number) for number in range(count)}
    deaths = 0
    try:
        while workers and not look():
            time.sleep(0.3)
            for number, worker in list(workers.items()):
                if worker.is_alive():
                    continue
                del workers[number]
                if not mistakes.empty():
                    raise StoreError(mistakes.get())
                if worker.exitcode:
                    deaths += 1
                    if deaths > DEATHS:
                        raise StoreError(f"{deaths} workers died (the last with code {worker.exitcode}); see the log")
                    workers[number] = start(number)
        end = time.monotonic() + LAST_WORDS
        for worker in workers.values():
            worker.join(timeout=max(0.0, end - time.monotonic()))
    finally:
        _end(list(workers.values()))


def deal(visible: str | None, gpus: int, number: int, each: int) -> str:
    """The GPUs of a worker: the next `each` of those that this process may see, in turn."""
    names = [name.strip() for name in (visible or ",".join(map(str, range(gpus)))).split(",") if name.strip()]
    return ",".join(names[(number * each + i) % len(names)] for i in range(min(each, len(names))))


def _start(context: Any, order: Order, place: Place, gpus: int, mistakes: Any, number: int) -> BaseProcess:
    """A worker with one GPU of its own where there are any, and as many threads as the place says."""
    changed = {"OMP_NUM_THREADS": str(place.threads)}
    if gpus:
        changed["CUDA_VISIBLE_DEVICES"] = deal(os.environ.get("CUDA_VISIBLE_DEVICES"), gpus, number, place.devices)
    kept = {name: os.environ.get(name) for name in changed}
    os.environ.update(changed)
    try:
        worker: BaseProcess = context.Process(target=_work, args=(order, place, mistakes), name=f"worker {number + 1}")
        worker.start()
        return worker
    finally:
        for name, value in kept.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value


def _work(order: Order, place: Place, mistakes: Any) -> None:
    """A worker's life."""
    exit_with_parent()
    signal.signal(signal.SIGTERM, _interrupt)
    from bench.errors import BenchError
    from studies.work.desk import take_part

    try:
        take_part(order, place)
    except KeyboardInterrupt:
        os._exit(130)
    except BenchError as error:
        mistakes.put(str(error))


def _interrupt(number: int, frame: object) -> None:
    """End in order, and soon: whoever asked may be dead, and the database away."""
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    signal.alarm(LEAVING)
    raise KeyboardInterrupt


def _end(workers: list[BaseProcess]) -> None:
    """Ask workers to stop, and after a while make them."""
    for worker in workers:
        worker.terminate()
    for worker in workers:
        worker.join(timeout=LEAVING + 5)
        if worker.is_alive():
            worker.kill()
            worker.join()
