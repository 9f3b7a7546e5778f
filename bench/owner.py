"""Which process an MLflow run belongs to."""

from __future__ import annotations

import socket
from typing import TYPE_CHECKING

from bench.provenance import is_alive, this_process

if TYPE_CHECKING:
    from mlflow.entities import Run


def owner_tags() -> dict[str, str]:
    """The tags that name this process as a run's owner."""
    return {"bench.host": socket.gethostname(), "bench.process": this_process()}


def is_left(run: Run, own: bool) -> bool:
    """Whether a run was left by a dead process of this machine, or (`own`) is this process's."""
    process = run.data.tags.get("bench.process")
    if process is None or run.data.tags.get("bench.host") != socket.gethostname():
        return False
    return own if process == this_process() else not is_alive(process)
