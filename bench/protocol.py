"""Evaluation protocols: the splits that a fit trains on, selects on and is scored on.

clean: train on train, select the epoch on val. refit: train on train and val for the number of epochs that clean runs
selected. best-on-test: select the epoch on test, as released code in the field does; the scores are optimistic, and
every table flags them. A trial of a search is clean and has no access to the test split.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import NamedTuple, NoReturn

from bench.record import EvaluationProtocol, RunSpec, RunStage
from bench.rng import RngTree
from bench.types import Clip, ClipSet, DatasetSplits, OpenedClip, Sampling


class SplitView(NamedTuple):
    """The splits of one run under its protocol."""

    train: ClipSet
    selection: ClipSet  # passed to the fit as val
    scored: Mapping[str, ClipSet]  # split -> clips that the trained predictor is scored on
    reportable: DatasetSplits  # splits whose clips a record may show: val only if it was not trained or selected on
    selection_name: str  # "val" or "test": name of `selection` in the curves


class SealedError(Exception):
    """Raised when code reads the test split during a search. It is a bug in the code, not a mistake of the user."""


HELD_OUT = "held out"  # key of the marks of all clips of a sealed split
SEALED_MESSAGE = "test split: not available during a search; a trial may only use the train and val splits"


class SealedSplit:
    """Placeholder for the test split of a trial; every access raises SealedError."""

    @property
    def clips(self) -> NoReturn:
        """Raise SealedError: the test split is not available during a search."""
        raise SealedError(SEALED_MESSAGE)

    @property
    def contents(self) -> NoReturn:
        """Raise SealedError: the test split is not available during a search."""
        raise SealedError(SEALED_MESSAGE)

    def read(self, index: int, sampling: Sampling, rng: RngTree, epoch: int) -> NoReturn:
        """Raise SealedError: the test split is not available during a search."""
        raise SealedError(SEALED_MESSAGE)


@dataclass(frozen=True)
class ConcatClips:
    """Concatenation of clip sets, sorted by clip key."""

    parts: tuple[ClipSet, ...]

    @property
    def clips(self) -> tuple[Clip, ...]:
        """Return the clips of all parts, sorted by key."""
        return tuple(self.parts[part].clips[index] for part, index in self._locate_clips())

    @property
    def contents(self) -> tuple[str, ...]:
        """Return a digest of each clip's media."""
        contents = [part.contents for part in self.parts]
        return tuple(contents[part][index] for part, index in self._locate_clips())

    def read(self, index: int, sampling: Sampling, rng: RngTree, epoch: int) -> OpenedClip:
        """Open a clip with its own clip set."""
        part, index = self._locate_clips()[index]
        return self.parts[part].read(index, sampling, rng, epoch)

    def _locate_clips(self) -> list[tuple[int, int]]:
        positions = [(part, index) for part, clips in enumerate(self.parts) for index in range(len(clips.clips))]
        return sorted(positions, key=lambda position: self.parts[position[0]].clips[position[1]].key)


NO_CLIPS = ConcatClips(())


@dataclass(frozen=True)
class ClipSubset:
    """Some clips of a clip set."""

    whole: ClipSet
    rows: tuple[int, ...]

    @property
    def clips(self) -> tuple[Clip, ...]:
        """Return the clips."""
        return tuple(self.whole.clips[row] for row in self.rows)

    @property
    def contents(self) -> tuple[str, ...]:
        """Return a digest of each clip's media."""
        contents = self.whole.contents
        return tuple(contents[row] for row in self.rows)

    def read(self, index: int, sampling: Sampling, rng: RngTree, epoch: int) -> OpenedClip:
        """Open a clip."""
        return self.whole.read(self.rows[index], sampling, rng, epoch)


def seal_test(splits: DatasetSplits) -> DatasetSplits:
    """Return the splits with a test split that raises SealedError, and without the keys of its clips elsewhere.

    A key names a class. The digests of held-out clips stay, so that no clip with their content is trained on.
    """
    seen = {clip.key for clip in (*splits.train.clips, *splits.val.clips)}
    marks = {key: found for key, found in splits.marks.items() if key in seen}
    hidden = [found for key, found in splits.marks.items() if key not in seen]
    if hidden:
        marks[HELD_OUT] = frozenset().union(*hidden)
    truth = {key: found for key, found in splits.truth.items() if key in seen}
    return replace(splits, test=SealedSplit(), marks=marks, truth=truth)


def split_view(splits: DatasetSplits, protocol: EvaluationProtocol, stage: RunStage) -> SplitView:
    """Return the splits that a run of this protocol and stage uses."""
    if stage == "trial":
        return SplitView(splits.train, splits.val, {"val": splits.val}, splits, "val")
    if protocol == "refit":
        both = ConcatClips((splits.train, splits.val))
        return SplitView(both, splits.val, {"test": splits.test}, replace(splits, train=both, val=NO_CLIPS), "val")
    if protocol == "best-on-test":
        return SplitView(splits.train, splits.test, {"test": splits.test}, replace(splits, val=NO_CLIPS), "test")
    return SplitView(splits.train, splits.val, {"val": splits.val, "test": splits.test}, splits, "val")


def describe_protocol(spec: RunSpec) -> str:
    """Return the label that every table prints next to the scores of a run; empty for a clean run."""
    return {"clean": "", "refit": "refit on train + val", "best-on-test": "EPOCH CHOSEN ON TEST"}[spec.protocol]
