"""The samplers that a search can draw with, by name."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

from bench.names import look_up

if TYPE_CHECKING:
    from optuna.samplers import BaseSampler

SAMPLERS = {"tpe": "TPESampler", "random": "RandomSampler", "gp": "GPSampler"}


def make_sampler(name: str, study: str, trials: int) -> BaseSampler:
    """A sampler for the next trial of a study that has so many. It is seeded by both: one made anew, in another process
    or after a stop, does not repeat what was drawn, and the same history is gone on with in the same way."""
    import optuna

    seed = int.from_bytes(hashlib.sha256(f"{study}\x1f{trials}".encode()).digest()[:4], "big")
    made: BaseSampler = getattr(optuna.samplers, look_up(name, SAMPLERS, "sampler"))(seed=seed)
    return made
