"""Where a number comes from: commit, versions, machine and device, as they stood when the run was made."""

from __future__ import annotations

import hashlib
import os
import platform
import socket
import subprocess
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
FOLDERS = ("bench", "methods", "datasets", "studies", "reports")
PACKAGES = ("torch", "torchvision", "torchaudio", "timm", "lightning-fabric", "av", "numpy", "scikit-learn", "mlflow")


@cache
def commit() -> tuple[str, bool]:
    """The checkout's commit and whether the program differs from it; ("unknown", True) outside of git."""
    try:
        head = _git("rev-parse", "HEAD")
        return head, bool(_git("status", "--porcelain", "--", "bench.py", "requirements.lock", *FOLDERS))
    except (OSError, subprocess.SubprocessError):
        return "unknown", True


@cache
def source() -> str:
    """A hash of all code of the program, whatever git knows of it."""
    digest = hashlib.sha256()
    for path in sorted(path for folder in FOLDERS for path in (ROOT / folder).rglob("*.py")):
        digest.update(f"{path.relative_to(ROOT)}\0".encode() + path.read_bytes() + b"\0")
    return digest.hexdigest()[:16]


def describe(device: str, threads: int) -> dict[str, str | int | bool]:
    """The facts of this process and machine that a record carries."""
    head, dirty = commit()
    return {
        "commit": head,
        "dirty": dirty,
        "source": source(),
        "lock": _lock(),
        "python": platform.python_version(),
        **{package: _version(package) for package in PACKAGES},
        "platform": platform.platform(),
        "processor": _processor(),
        "device": _device(device),
        "threads": threads,
        "host": socket.gethostname(),
    }


def this_process() -> str:
    """`pid:start:boot`: names this process even after its number is given to another, whatever the clock is set to."""
    return _named(os.getpid())


def is_alive(process: str) -> bool:
    """Whether the process that `this_process` once named still runs on this machine."""
    number, _, _ = process.partition(":")
    try:
        return _named(int(number)) == process
    except (OSError, ValueError):
        return False


def _named(number: int) -> str:
    """Its number, its start in ticks since boot (field 22 of Linux's stat), and which boot that was."""
    start = Path(f"/proc/{number}/stat").read_text().rpartition(")")[2].split()[19]
    return f"{number}:{start}:{Path('/proc/sys/kernel/random/boot_id').read_text().strip()}"


def _git(*words: str) -> str:
    done = subprocess.run(["git", *words], cwd=ROOT, capture_output=True, text=True, timeout=10, check=True)
    return done.stdout.strip()


def _lock() -> str:
    lock = ROOT / "requirements.lock"
    return hashlib.sha256(lock.read_bytes()).hexdigest()[:16] if lock.exists() else "none"


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "absent"


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor()
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), "unknown")


def _device(device: str) -> str:
    if device == "cpu":
        return "cpu"
    import torch

    return torch.cuda.get_device_name(device)
