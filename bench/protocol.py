"""The splits that a protocol lets a fit train on, select by and score.

clean: select on val. refit: train on train and val together, for a number of epochs that clean runs selected.
best-on-test: select on the test list, as the field's released code does; always flagged, since its scores are too high.
A trial of a search is clean and cannot read the test split.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import NamedTuple, NoReturn

from bench.record import EvaluationProtocol, RunSpec, RunStage
from bench.rng import RngTree
from bench.types import Clip, ClipSet, DatasetSplits, OpenedClip, Sampling


class SplitView(NamedTuple):
    """The splits of one run as its protocol arranges them."""

    train: ClipSet
    selection: ClipSet  # what a fit is given as val
    scored: Mapping[str, ClipSet]  # split -> clips that the finished predictor is scored on
    reportable: DatasetSplits  # what a record may show clips of: val only where it was not trained on
    selection_name: str  # the split that `selection` is, as curves name it


class SealedError(Exception):
    """The test split was reached for where it must not be: a bug, never a user's mistake."""


class SealedSplit:
    """A split that cannot be opened, nor its labels read."""

    @property
    def clips(self) -> NoReturn:
        """Nobody's business."""
        raise SealedError("the test split is sealed during a search")

    def read(self, index: int, sampling: Sampling, rng: RngTree, epoch: int) -> NoReturn:
        """Nobody's business."""
        raise SealedError("the test split is sealed during a search")


@dataclass(frozen=True)
class ConcatClips:
    """Clip sets as one, in the order of their keys."""

    parts: tuple[ClipSet, ...]

    @property
    def clips(self) -> tuple[Clip, ...]:
        """All clips."""
        return tuple(self.parts[part].clips[index] for part, index in self._locate_clips())

    def read(self, index: int, sampling: Sampling, rng: RngTree, epoch: int) -> OpenedClip:
        """A clip of the part that it came from."""
        part, place = self._locate_clips()[index]
        return self.parts[part].read(place, sampling, rng, epoch)

    def _locate_clips(self) -> list[tuple[int, int]]:
        places = [(part, index) for part, clips in enumerate(self.parts) for index in range(len(clips.clips))]
        return sorted(places, key=lambda place: self.parts[place[0]].clips[place[1]].key)


NO_CLIPS = ConcatClips(())


def seal_test(splits: DatasetSplits) -> DatasetSplits:
    """The corpus without its test split."""
    return replace(splits, test=SealedSplit())


def split_view(splits: DatasetSplits, protocol: EvaluationProtocol, stage: RunStage) -> SplitView:
    """The splits as a run of this protocol and stage sees them."""
    if stage == "trial":
        return SplitView(splits.train, splits.val, {"val": splits.val}, splits, "val")
    if protocol == "refit":
        both = ConcatClips((splits.train, splits.val))
        return SplitView(both, splits.val, {"test": splits.test}, replace(splits, train=both, val=NO_CLIPS), "val")
    if protocol == "best-on-test":
        return SplitView(splits.train, splits.test, {"test": splits.test}, replace(splits, val=NO_CLIPS), "test")
    return SplitView(splits.train, splits.val, {"val": splits.val, "test": splits.test}, splits, "val")


def describe_protocol(spec: RunSpec) -> str:
    """What every table has to say beside a run's numbers; empty for a clean one."""
    return {"clean": "", "refit": "refit on train + val", "best-on-test": "EPOCH CHOSEN ON TEST"}[spec.protocol]
