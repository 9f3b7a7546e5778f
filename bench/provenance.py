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

import psutil

ROOT = Path(__file__).resolve().parents[1]
PACKAGES = ("torch", "torchvision", "torchaudio", "timm", "lightning-fabric", "av", "numpy", "scikit-learn", "mlflow")


@cache
def commit() -> tuple[str, bool]:
    """The checkout's commit and whether files differ from it; ("unknown", True) outside of git."""
    try:
        head = _git("rev-parse", "HEAD")
        return head, bool(_git("status", "--porcelain"))
    except (OSError, subprocess.SubprocessError):
        return "unknown", True


def describe(device: str, threads: int) -> dict[str, str | int | bool]:
    """The facts of this process and machine that a record carries."""
    head, dirty = commit()
    return {
        "commit": head,
        "dirty": dirty,
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
    """`pid:start`: names this process even after its number is given to another."""
    return f"{os.getpid()}:{psutil.Process().create_time():.2f}"


def is_alive(process: str) -> bool:
    """Whether the process that `this_process` once named still runs on this machine."""
    number, _, start = process.partition(":")
    try:
        return f"{psutil.Process(int(number)).create_time():.2f}" == start
    except (psutil.Error, ValueError):
        return False


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
