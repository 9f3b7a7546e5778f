"""Clips on their way into batches: the order of an epoch, the reading and the stacking."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from torch.utils.data import DataLoader, Dataset

from bench.children import exit_with_parent
from bench.data import ClipSet, Inputs, Sample, Sampling
from bench.method import Context
from bench.share import Share
from bench.streams import Streams


def collate(samples: Sequence[Sample]) -> Inputs:
    """Stack opened clips along a new first axis."""
    return Inputs(
        video=torch.stack([sample.video for sample in samples]),
        audio=torch.stack([sample.audio for sample in samples]),
        words=tuple(sample.words for sample in samples),
        present=torch.stack([sample.present for sample in samples]),
    )


def part_of(inputs: Inputs, start: int, stop: int) -> Inputs:
    """The clips `start` to `stop` of a batch."""
    return Inputs(
        inputs.video[start:stop], inputs.audio[start:stop], inputs.words[start:stop], inputs.present[start:stop]
    )


@dataclass(frozen=True)
class Read:
    """A batch as the loader gives it: which clips of the set, and their inputs."""

    indices: tuple[int, ...]
    inputs: Inputs


class Loader:
    """Opens the clips of a set batch by batch, with the same values whatever the number of loader processes.

    Shuffled batches are for training: where several devices share a fit, each opens its own part of them alone.
    """

    def __init__(
        self, clips: ClipSet, sampling: Sampling, streams: Streams, batch: int, ctx: Context, shuffle: bool
    ) -> None:
        share = ctx.share if shuffle else Share()
        self._order = _Order(len(clips.clips), batch, streams if shuffle else None, share)
        self._loader = DataLoader(
            _Opened(clips, sampling, streams),
            batch_sampler=self._order,
            collate_fn=_collate_read,
            num_workers=ctx.loaders,
            persistent_workers=ctx.loaders > 0,
            multiprocessing_context="spawn" if ctx.loaders else None,
            worker_init_fn=_start_loader,
            generator=torch.Generator(),  # the global generator belongs to dropout
        )

    def __len__(self) -> int:
        """Batches an epoch."""
        return len(self._order)

    def clips(self, step: int) -> int:
        """How many clips the batch of a step has, over all devices."""
        return min(self._order.batch, self._order.clips - step * self._order.batch)

    def epoch(self, epoch: int) -> Iterator[Read]:
        """The batches of an epoch; its order, crops and flips follow from its number alone."""
        self._order.epoch = epoch
        return iter(self._loader)


class _Order:
    """A share of batches of (epoch, index) pairs; shuffled by the `order` stream, or as they come."""

    def __init__(self, clips: int, batch: int, streams: Streams | None, share: Share) -> None:
        self.clips, self.batch, self.streams, self.share, self.epoch = clips, batch, streams, share, 0

    def __len__(self) -> int:
        return -(-self.clips // self.batch)

    def __iter__(self) -> Iterator[list[tuple[int, int]]]:
        order = list(range(self.clips))
        if self.streams is not None:
            order = self.streams.numpy("order", self.epoch).permutation(self.clips).tolist()
        for start in range(0, self.clips, self.batch):
            yield [(self.epoch, index) for index in self.share.of(order[start : start + self.batch])]


@dataclass(frozen=True)
class _Opened(Dataset[tuple[int, Sample]]):
    """A ClipSet as torch's loader wants it."""

    clips: ClipSet
    sampling: Sampling
    streams: Streams

    def __getitem__(self, place: tuple[int, int]) -> tuple[int, Sample]:
        epoch, index = place
        return index, self.clips.read(index, self.sampling, self.streams, epoch)


def _collate_read(items: list[tuple[int, Sample]]) -> Read:
    return Read(tuple(index for index, _ in items), collate([sample for _, sample in items]))


def _start_loader(worker: int) -> None:
    exit_with_parent()
