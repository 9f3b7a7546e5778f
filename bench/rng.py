"""Random generators keyed by purpose.

Each generator is seeded with a hash of (seed, purpose, ...), so there is no state to save: the numbers do not depend on
the number of loader workers, the order of reading or a resume.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy
    import torch


@dataclass(frozen=True)
class RngTree:
    """The random generators of one run.

    Purposes in use: `order` (of clips, by epoch), `augmentation` (by epoch and clip key), `masks` (by epoch and clip
    key), `weights` (by submodule name), `dropout` (the global generator, by stage, epoch and rank).
    """

    seed: int

    def derive_seed(self, purpose: str, *parts: str | int) -> int:
        """Return a 63-bit seed derived from the run's seed, the purpose and all parts."""
        text = "\x1f".join([str(self.seed), purpose, *map(str, parts)])
        return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big") >> 1

    def numpy(self, purpose: str, *parts: str | int) -> numpy.random.Generator:
        """Return a new numpy generator for a purpose."""
        import numpy

        return numpy.random.default_rng(self.derive_seed(purpose, *parts))

    def torch(self, purpose: str, *parts: str | int) -> torch.Generator:
        """Return a new CPU torch generator for a purpose."""
        import torch

        return torch.Generator().manual_seed(self.derive_seed(purpose, *parts))
