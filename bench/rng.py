"""Random generators keyed by purpose.

Every draw is a hash of (seed, purpose, ...), so there is no generator state to save: any number of loader workers, any
order of reading and any resumed epoch draws the same numbers.
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
    """The random streams of one run.

    Purposes in use: `order` (of clips, by epoch), `augmentation` (by epoch and clip key), `masks` (by epoch
    and clip key), `weights` (by submodule name), `dropout` (the global generator, by stage and epoch).
    """

    seed: int

    def derive_seed(self, purpose: str, *parts: str | int) -> int:
        """A 63-bit number that depends on the seed, the purpose and every part."""
        text = "\x1f".join([str(self.seed), purpose, *map(str, parts)])
        return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big") >> 1

    def numpy(self, purpose: str, *parts: str | int) -> numpy.random.Generator:
        """A numpy generator of its own for this purpose."""
        import numpy

        return numpy.random.default_rng(self.derive_seed(purpose, *parts))

    def torch(self, purpose: str, *parts: str | int) -> torch.Generator:
        """A CPU torch generator of its own for this purpose."""
        import torch

        return torch.Generator().manual_seed(self.derive_seed(purpose, *parts))
