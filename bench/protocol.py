"""What a protocol lets a fit see: which clips it trains on, which choose the epoch, and which are scored after it.

clean: choose on val. refit: train on train and val together, for a number of epochs that clean runs chose.
best-on-test: the test list chooses, as in the field's released code; flagged for ever, since its scores are too high.
A trial of a search is clean, and the test split is out of its reach.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import NamedTuple, NoReturn

from bench.data import Clip, ClipSet, Corpus, Sample, Sampling
from bench.record import Protocol, RunSpec, Stage
from bench.streams import Streams


class View(NamedTuple):
    """The splits of one run as its protocol arranges them."""

    train: ClipSet
    choose: ClipSet  # what a fit is given as val
    scored: Mapping[str, ClipSet]  # split -> clips that the finished predictor is scored on
    told: Corpus  # what a record may show clips of: val only where it was not trained on
    curve: str  # the split that `choose` is, as curves name it


class SealedError(Exception):
    """The test split was reached for where it must not be: a bug, never a user's mistake."""


class Sealed:
    """A split that cannot be opened, nor its labels read."""

    @property
    def clips(self) -> NoReturn:
        """Nobody's business."""
        raise SealedError("the test split is sealed during a search")

    def read(self, index: int, sampling: Sampling, streams: Streams, epoch: int) -> NoReturn:
        """Nobody's business."""
        raise SealedError("the test split is sealed during a search")


@dataclass(frozen=True)
class Joined:
    """Clip sets as one, in the order of their keys."""

    parts: tuple[ClipSet, ...]

    @property
    def clips(self) -> tuple[Clip, ...]:
        """All clips."""
        return tuple(self.parts[part].clips[index] for part, index in self._places())

    def read(self, index: int, sampling: Sampling, streams: Streams, epoch: int) -> Sample:
        """A clip of the part that it came from."""
        part, place = self._places()[index]
        return self.parts[part].read(place, sampling, streams, epoch)

    def _places(self) -> list[tuple[int, int]]:
        places = [(part, index) for part, clips in enumerate(self.parts) for index in range(len(clips.clips))]
        return sorted(places, key=lambda place: self.parts[place[0]].clips[place[1]].key)


NO_CLIPS = Joined(())


def seal(corpus: Corpus) -> Corpus:
    """The corpus without its test split."""
    return replace(corpus, test=Sealed())


def arrange(corpus: Corpus, protocol: Protocol, stage: Stage) -> View:
    """The splits as a run of this protocol and stage sees them."""
    if stage == "trial":
        return View(corpus.train, corpus.val, {"val": corpus.val}, corpus, "val")
    if protocol == "refit":
        both = Joined((corpus.train, corpus.val))
        return View(both, corpus.val, {"test": corpus.test}, replace(corpus, train=both, val=NO_CLIPS), "val")
    if protocol == "best-on-test":
        return View(corpus.train, corpus.test, {"test": corpus.test}, replace(corpus, val=NO_CLIPS), "test")
    return View(corpus.train, corpus.val, {"val": corpus.val, "test": corpus.test}, corpus, "val")


def flag(spec: RunSpec) -> str:
    """What every table has to say beside a run's numbers; empty for a clean one."""
    return {"clean": "", "refit": "refit on train + val", "best-on-test": "EPOCH CHOSEN ON TEST"}[spec.protocol]
