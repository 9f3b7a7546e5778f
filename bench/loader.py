"""Data loading: the clip order of an epoch, opening clips, and stacking them into batches."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import torch
from torch.nn.utils.rnn import pad_sequence
from torch.utils.data import DataLoader, Dataset

from bench.method import FitContext, Replica
from bench.processes import exit_with_parent
from bench.rng import RngTree
from bench.tasks import TargetValue
from bench.types import FEATURES, ClipSet, Inputs, OpenedClip, Sampling


def collate(samples: Sequence[OpenedClip]) -> Inputs:
    """Stack opened clips along a new batch axis; streams of features are padded to the longest."""
    streams: dict[str, Any] = {}
    lengths: dict[str, torch.Tensor] = {}
    for name, first in samples[0].streams.items():
        values: Any = [sample.streams[name] for sample in samples]
        if not isinstance(first, torch.Tensor):
            streams[name] = tuple(values)
        elif name.startswith(FEATURES):
            streams[name] = pad_sequence(values, batch_first=True)
            lengths[name] = torch.tensor([len(value) for value in values])
        else:
            streams[name] = torch.stack(values)
    present = {name: torch.tensor([sample.present[name] for sample in samples]) for name in samples[0].present}
    return Inputs(streams, present, lengths)


def slice_batch(inputs: Inputs, start: int, stop: int) -> Inputs:
    """Return the clips `start` to `stop` (exclusive) of a batch."""
    return Inputs(
        {name: value[start:stop] for name, value in inputs.streams.items()},
        {name: value[start:stop] for name, value in inputs.present.items()},
        {name: value[start:stop] for name, value in inputs.lengths.items()},
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

    With `shuffle`, for training, each rank of a data-parallel fit only opens its shard of each batch. For a coupled
    method a last batch of one clip, too few for a batch norm, joins the batch before it.
    """

    def __init__(self, clips: ClipSet, sampling: Sampling, batch: int, ctx: FitContext, shuffle: bool) -> None:
        replica = ctx.replica if shuffle else Replica()
        ends = _find_batch_ends(len(clips.clips), batch, join=shuffle and ctx.coupled)
        self._sampler = _EpochBatchSampler(ends, ctx.rng if shuffle else None, replica)
        self._loader = DataLoader(
            _ClipDataset(clips, sampling, ctx.rng),
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

    def count_clips(self, index: int) -> int:
        """Return the number of clips in a batch of each epoch, over all devices."""
        return self._sampler.ends[index] - (self._sampler.ends[index - 1] if index else 0)

    def iterate_epoch(self, epoch: int) -> Iterator[LoadedBatch]:
        """Iterate over the batches of an epoch; order, crops and flips depend only on the seed and the epoch."""
        self._sampler.epoch = epoch
        return iter(self._loader)


def _find_batch_ends(clips: int, batch: int, join: bool) -> list[int]:
    """Return the number of clips up to the end of each batch; with `join` a last batch of one joins the one before."""
    ends = [*range(batch, clips, batch), clips] if clips else []
    if join and batch < clips and clips % batch == 1:
        del ends[-2]
    return ends


class _EpochBatchSampler:
    """Batch sampler of (epoch, index) pairs for one rank; shuffled with the `order` generator, or sequential."""

    def __init__(self, ends: list[int], rng: RngTree | None, replica: Replica) -> None:
        self.ends, self.rng, self.replica, self.epoch = ends, rng, replica, 0

    def __len__(self) -> int:
        return len(self.ends)

    def __iter__(self) -> Iterator[list[tuple[int, int]]]:
        clips = self.ends[-1] if self.ends else 0
        order = list(range(clips))
        if self.rng is not None:
            order = self.rng.numpy("order", self.epoch).permutation(clips).tolist()
        for start, end in pairwise([0, *self.ends]):
            yield [(self.epoch, index) for index in self.replica.shard(order[start:end])]


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
