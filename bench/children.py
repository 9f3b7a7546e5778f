"""Child processes that never outlive the one that started them."""

from __future__ import annotations

import ctypes
import multiprocessing
import os
import signal

from bench.errors import ConfigError


def exit_with_parent() -> None:
    """Ask the kernel to end this process when its parent dies, now if that has happened, and leave Ctrl-C to it."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    ctypes.CDLL(None).prctl(1, signal.SIGTERM)  # PR_SET_PDEATHSIG
    parent = multiprocessing.parent_process()
    if parent is not None and os.getppid() != parent.pid:
        os._exit(1)


def refuse_half_started() -> None:
    """Raise ConfigError in a process that imports the script that started it: it would do the script's work again, and
    wait for what its parent holds."""
    if getattr(multiprocessing.current_process(), "_inheriting", False):
        raise ConfigError("a script that starts runs wants its work under `if __name__ == '__main__':`")


def work_alone() -> None:
    """Start of a worker of a pool: one thread of its own (of the torch it may import later), and no life after its
    parent."""
    exit_with_parent()
    os.environ["OMP_NUM_THREADS"] = "1"
