"""Why a run brought no scores, as one of a few classes, and what is done about the one that can be helped."""

from __future__ import annotations

import gc
import traceback

from bench.config import Config
from bench.errors import BenchError, DataError, Diverged
from bench.notebook import Pruned
from bench.record import Failure, Kind

NO_MEMORY = ("CUDA out of memory", "can't allocate memory", "CUBLAS_STATUS_ALLOC_FAILED")  # as torch words it


def failure_of(error: Exception) -> Failure:
    """Class, message and traceback of what broke; a user's mistake is no failure of the run and is raised again."""
    if isinstance(error, Pruned):
        return Failure("pruned", str(error), "")
    if isinstance(error, Diverged):
        return Failure("nan", str(error), "")
    if isinstance(error, DataError):
        return Failure("data", str(error), "")
    if isinstance(error, BenchError):
        raise error
    first = str(error).splitlines()[0] if str(error) else ""
    kind: Kind = "out of memory" if _lacks_memory(error, first) else "other"
    failure = Failure(kind, f"{type(error).__name__}: {first}", traceback.format_exc())
    traceback.clear_frames(error.__traceback__)  # they hold the tensors that the next try wants room for
    return failure


def half_of(config: Config, micro_batch: int | None, devices: int = 1) -> int:
    """Half as many clips at once as each device of a run without room had; 0 where that cannot be."""
    share: int = -(-getattr(config, "batch", 1) // devices)
    return (share if micro_batch is None else min(micro_batch, share)) // 2


def free_memory(device: str) -> None:
    """Give back what a try that had no room still holds."""
    import torch

    gc.collect()
    if device.startswith("cuda"):
        torch.cuda.empty_cache()


def _lacks_memory(error: Exception, message: str) -> bool:
    import torch

    return isinstance(error, MemoryError | torch.OutOfMemoryError) or any(text in message for text in NO_MEMORY)
