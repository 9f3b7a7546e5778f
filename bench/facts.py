"""What preparing finds out about a data set: what its page and its tables show, nothing of it secret or of a path."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from bench.data import Card, Problem, Split

LOSSES = frozenset({"missing", "unreadable"})  # kinds of problem that cost the clip that they name
FOLDS = 5  # parts that a training list is cut into


@dataclass(frozen=True)
class ClipFacts:
    """A clip as listed, and, once it is prepared, what is in it."""

    key: str
    label: int
    split: Split
    group: str
    seconds: float | None  # None: not prepared, or not readable
    words: int = 0  # inside the clip
    present: tuple[bool, bool, bool] = (False, False, False)  # video, audio, words
    dropped: bool = False  # a copy of a clip in a later split: never trained or selected on


@dataclass(frozen=True)
class Still:
    """A picture from the middle of a clip."""

    key: str
    jpeg: bytes


@dataclass(frozen=True)
class Coverage:
    """What the affective lexicon has to say for a class."""

    entries: int  # of the lexicon that speak for the class
    clips: float  # share of the class's clips with at least one cue that speaks for it, 0 to 1
    cues: float  # cues of any class in a clip of this one, mean


@dataclass(frozen=True)
class Facts:
    """A data set on this machine."""

    card: Card
    fold: int
    sample: bool  # the built-in sample stands in for the real data
    clips: tuple[ClipFacts, ...]  # all that are listed, in their order
    problems: tuple[Problem, ...]
    stills: Mapping[str, tuple[Still, ...]] = field(default_factory=dict)  # class -> a few of its clips
    coverage: Mapping[str, Coverage] = field(default_factory=dict)  # class -> ; empty where it was not counted
    bytes: int = 0  # of the prepared store
