"""Run a server, and end it when the process that started it ends in any way.

Usage: `server_guard.py PID SIGNAL USER COMMAND...`. SIGTERM also ends the guard. The server
receives SIGNAL, and is killed with its children if it does not end within PATIENCE.
"""

import ctypes
import os
import signal
import subprocess
import sys
import time

import psutil

PATIENCE = 15.0  # seconds


def die_with_guard() -> None:
    """Request SIGQUIT from Linux for when the guard is killed."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(1, signal.SIGQUIT)  # PR_SET_PDEATHSIG


def guard(owner: int, ending: int, user: str, command: list[str]) -> int:
    ended: list[int] = []
    signal.signal(signal.SIGTERM, lambda number, frame: ended.append(number))
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    drop = {"user": user, "group": user, "extra_groups": []} if user else {}
    server = subprocess.Popen(command, preexec_fn=die_with_guard, **drop)
    while server.poll() is None and not ended and os.getppid() == owner:
        time.sleep(0.05)
    parts = psutil.Process(server.pid).children(recursive=True) if server.poll() is None else []
    if server.poll() is None:
        server.send_signal(ending)
    try:
        return server.wait(PATIENCE)
    except subprocess.TimeoutExpired:
        server.kill()
        return server.wait()
    finally:
        for part in psutil.wait_procs(parts, 2)[1]:
            part.kill()


if __name__ == "__main__":
    sys.exit(guard(int(sys.argv[1]), int(sys.argv[2]), sys.argv[3], sys.argv[4:]))
