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
class ClassFacts:
    """A class in an additional section: a cell for each heading, and a line below that explains them."""

    name: str
    cells: tuple[str | float, ...]  # a share from 0 to 1 is printed in percent, with a bar
    why: str


@dataclass(frozen=True)
class FactsSection:
    """A section of a data set's page on what a method finds in the data, class by class."""

    id: str  # of its table
    title: str
    headings: tuple[str, ...]  # behind that of the classes
    classes: tuple[ClassFacts, ...]
    meaning: str  # what the headings mean
    lead: str = ""  # opening words
    names: str = ""  # that the lead is about, in bold behind it


@dataclass(frozen=True)
class Facts:
    """A data set on this machine."""

    card: Card
    fold: int
    sample: bool  # the built-in sample stands in for the real data
    clips: tuple[ClipFacts, ...]  # all that are listed, in their order
    problems: tuple[Problem, ...]
    stills: Mapping[str, tuple[Still, ...]] = field(default_factory=dict)  # class -> a few of its clips
    sections: tuple[FactsSection, ...] = ()  # additional ones of its page
    bytes: int = 0  # of the prepared store
