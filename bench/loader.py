"""Data loading: the clip order of an epoch, opening clips, and stacking them into batches."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from torch.utils.data import DataLoader, Dataset

from bench.method import FitContext, Replica
from bench.processes import exit_with_parent
from bench.rng import RngTree
from bench.tasks import TargetValue
from bench.types import ClipSet, Inputs, OpenedClip, Sampling


def collate(samples: Sequence[OpenedClip]) -> Inputs:
    """Stack opened clips along a new batch axis."""
    return Inputs(
        video=torch.stack([sample.video for sample in samples]),
        audio=torch.stack([sample.audio for sample in samples]),
        words=tuple(sample.words for sample in samples),
        present=torch.stack([sample.present for sample in samples]),
    )


def slice_batch(inputs: Inputs, start: int, stop: int) -> Inputs:
    """Return the clips `start` to `stop` (exclusive) of a batch."""
    return Inputs(
        inputs.video[start:stop], inputs.audio[start:stop], inputs.words[start:stop], inputs.present[start:stop]
    )


def make_target_tensor(targets: Sequence[TargetValue]) -> torch.Tensor:
    """Return the targets of B clips as a (B,) int64 tensor of classes, or a (B, R) float32 tensor of numbers."""
    return torch.tensor(targets, dtype=torch.int64 if isinstance(targets[0], int) else torch.float32)


@dataclass(frozen=True)
class LoadedBatch:
    """A batch of the loader: indices of its clips in the clip set, and their inputs."""

    indices: tuple[int, ...]
    inputs: Inputs


class Loader:
    """Loader of a clip set's batches. The values do not depend on the number of loader processes.

    With `shuffle`, for training, each rank of a data-parallel fit only opens its shard of each batch.
    """

    def __init__(
        self, clips: ClipSet, sampling: Sampling, rng: RngTree, batch: int, ctx: FitContext, shuffle: bool
    ) -> None:
        replica = ctx.replica if shuffle else Replica()
        self._sampler = _EpochBatchSampler(len(clips.clips), batch, rng if shuffle else None, replica)
        self._loader = DataLoader(
            _ClipDataset(clips, sampling, rng),
            batch_sampler=self._sampler,
            collate_fn=_collate_batch,
            num_workers=ctx.loaders,
            persistent_workers=ctx.loaders > 0,
            multiprocessing_context="spawn" if ctx.loaders else None,
            worker_init_fn=_init_loader_process,
            generator=torch.Generator(),  # the global generator is used by dropout
        )

    def __len__(self) -> int:
        """Return the number of batches per epoch."""
        return len(self._sampler)

    def count_clips(self, step: int) -> int:
        """Return the number of clips in the batch of a step, over all devices."""
        return min(self._sampler.batch, self._sampler.clips - step * self._sampler.batch)

    def iterate_epoch(self, epoch: int) -> Iterator[LoadedBatch]:
        """Iterate over the batches of an epoch; order, crops and flips depend only on the seed and the epoch."""
        self._sampler.epoch = epoch
        return iter(self._loader)


class _EpochBatchSampler:
    """Batch sampler of (epoch, index) pairs for one rank; shuffled with the `order` generator, or sequential."""

    def __init__(self, clips: int, batch: int, rng: RngTree | None, replica: Replica) -> None:
        self.clips, self.batch, self.rng, self.replica, self.epoch = clips, batch, rng, replica, 0

    def __len__(self) -> int:
        return -(-self.clips // self.batch)

    def __iter__(self) -> Iterator[list[tuple[int, int]]]:
        order = list(range(self.clips))
        if self.rng is not None:
            order = self.rng.numpy("order", self.epoch).permutation(self.clips).tolist()
        for start in range(0, self.clips, self.batch):
            yield [(self.epoch, index) for index in self.replica.shard(order[start : start + self.batch])]


@dataclass(frozen=True)
class _ClipDataset(Dataset[tuple[int, OpenedClip]]):
    """Adapter from a ClipSet to a torch Dataset."""

    clips: ClipSet
    sampling: Sampling
    rng: RngTree

    def __getitem__(self, key: tuple[int, int]) -> tuple[int, OpenedClip]:
        epoch, index = key
        return index, self.clips.read(index, self.sampling, self.rng, epoch)


def _collate_batch(items: list[tuple[int, OpenedClip]]) -> LoadedBatch:
    return LoadedBatch(tuple(index for index, _ in items), collate([sample for _, sample in items]))


def _init_loader_process(worker: int) -> None:
    exit_with_parent()
