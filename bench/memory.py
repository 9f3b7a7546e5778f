"""The most memory that a run held: of this process, and of its GPU."""

from __future__ import annotations

import contextlib
import resource
import sys
from pathlib import Path

_STATUS, _CLEAR = Path("/proc/self/status"), Path("/proc/self/clear_refs")
_PEAK = "VmHWM:"


def reset_peaks(device: str) -> None:
    """Count from now on, where the system can; a system that cannot counts from the start of the process."""
    with contextlib.suppress(OSError):
        _CLEAR.write_text("5")  # man 5 proc: forgets the peak of the resident memory
    if device.startswith("cuda"):
        import torch

        torch.cuda.reset_peak_memory_stats(device)


def peaks(device: str) -> dict[str, int]:
    """`peak_memory_mb`, resident, and on CUDA `peak_gpu_memory_mb`, as torch allocated it; in MiB."""
    found = {"peak_memory_mb": round(_resident_kib() / 1024)}
    if device.startswith("cuda"):
        import torch

        found["peak_gpu_memory_mb"] = round(torch.cuda.max_memory_allocated(device) / 2**20)
    return found


def _resident_kib() -> float:
    try:
        lines = _STATUS.read_text().splitlines()
    except OSError:
        lines = []
    told = [line.split()[1] for line in lines if line.startswith(_PEAK)]
    if told:
        return float(told[0])
    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return most / 1024 if sys.platform == "darwin" else most  # macOS counts bytes
