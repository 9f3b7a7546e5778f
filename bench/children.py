"""Child processes that never outlive the one that started them."""

from __future__ import annotations

import ctypes
import os
import signal


def exit_with_parent() -> None:
    """Ask the kernel to end this process when its parent dies, and leave Ctrl-C to the parent."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    ctypes.CDLL(None).prctl(1, signal.SIGTERM)  # PR_SET_PDEATHSIG


def work_alone() -> None:
    """Start of a worker of a pool: one thread of its own (of the torch it may import later), and no life after its
    parent."""
    exit_with_parent()
    os.environ["OMP_NUM_THREADS"] = "1"
