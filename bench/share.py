"""A process's share of a fit over several devices: its part of every batch, and what the processes tell each other."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeVar

T = TypeVar("T")


@dataclass(frozen=True)
class Share:
    """Process `rank` of `world`, one a device. The first of them alone writes and tells."""

    rank: int = 0
    world: int = 1

    def of(self, batch: list[T]) -> list[T]:
        """This process's clips of a batch; the first clip, for nothing, where none is left for it."""
        return batch[self.rank :: self.world] or batch[:1]

    def idle(self, clips: int) -> bool:
        """Whether no clip of a batch of so many is this process's own."""
        return self.rank >= clips

    def agree(self, values: dict[str, float]) -> dict[str, float]:
        """The first process's values, in every process."""
        return self._all(values)[0]

    def mean(self, values: dict[str, tuple[float, int]]) -> dict[str, float]:
        """Name -> mean over the clips of all processes, from each one's own mean and number of clips."""
        told = self._all(values)
        found = {}
        for name in dict.fromkeys(name for one in told for name in one):
            parts = [one[name] for one in told if name in one]
            clips = sum(count for _, count in parts)
            found[name] = parts[0][0] if len(parts) == 1 else sum(mean * count for mean, count in parts) / clips
        return found

    def _all(self, own: T) -> list[T]:
        """What each process says, in the order of their ranks."""
        if self.world == 1:
            return [own]
        import torch.distributed

        said: list[T] = [own] * self.world
        torch.distributed.all_gather_object(said, own)
        return said
