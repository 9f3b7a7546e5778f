"""A data set's facts counted: by class and in all, and whether they are fit to run."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby

from bench.data import Problem, Split
from bench.facts import FOLDS, LOSSES, ClipFacts, Facts

SPLITS: tuple[Split, ...] = ("train", "val", "test")
MODALITIES = ("picture", "sound", "words")
MUCH = 0.1  # share of the listed clips; more than this lost, and scores are hardly those of the data set
SIGNS = {-1: "−", 0: "0", 1: "+"}


@dataclass(frozen=True)
class Tally:
    """Clips counted, those that are lost apart from the others."""

    name: str
    sign: str
    splits: dict[Split, int]  # usable clips
    lost: int  # listed, but missing or unreadable
    groups: int
    opened: int  # prepared and readable
    seconds: float  # of those
    present: tuple[int, int, int]  # of those, with picture, sound, words

    @property
    def clips(self) -> int:
        """The usable clips of all splits."""
        return sum(self.splits.values())


def tally(facts: Facts) -> list[Tally]:
    """A row for each class, in the card's order."""
    lost = lost_keys(facts)
    by_class: list[list[ClipFacts]] = [[] for _ in facts.card.classes]
    for clip in facts.clips:
        by_class[clip.label].append(clip)
    signs = [SIGNS[sign] for sign in facts.card.sentiment]
    return [_tally(*row, lost) for row in zip(facts.card.classes, signs, by_class, strict=True)]


def total(facts: Facts) -> Tally:
    """All classes as one row."""
    return _tally("all", "", facts.clips, lost_keys(facts))


def _tally(name: str, sign: str, clips: Sequence[ClipFacts], lost: frozenset[str]) -> Tally:
    usable = [clip for clip in clips if clip.key not in lost and not clip.dropped]
    opened = [clip for clip in usable if clip.seconds is not None]
    counts = Counter(clip.split for clip in usable)
    return Tally(
        name,
        sign,
        {split: counts[split] for split in SPLITS},
        len(clips) - len(usable),
        len({clip.group for clip in usable}),
        len(opened),
        sum(clip.seconds or 0.0 for clip in opened),
        (
            sum(clip.present[0] for clip in opened),
            sum(clip.present[1] for clip in opened),
            sum(clip.present[2] for clip in opened),
        ),
    )


def lost_keys(facts: Facts) -> frozenset[str]:
    """The keys of listed clips that are missing or unreadable."""
    told = {problem.where for problem in facts.problems if problem.what in LOSSES}
    return frozenset(clip.key for clip in facts.clips if clip.key in told and clip.seconds is None)


def has_val(facts: Facts) -> bool:
    """Whether the lists state a val split; otherwise it is cut from train by the seed."""
    return any(clip.split == "val" for clip in facts.clips)


def name_splits(facts: Facts) -> tuple[Split, ...]:
    """The splits that the lists state."""
    return SPLITS if has_val(facts) else ("train", "test")


def by_kind(problems: Sequence[Problem]) -> list[tuple[str, list[Problem]]]:
    """Problems of each kind in their order, the most frequent kind first."""
    ordered = sorted(problems, key=lambda problem: problem.what)
    kinds = [(kind, list(found)) for kind, found in groupby(ordered, key=lambda problem: problem.what)]
    return sorted(kinds, key=lambda row: -len(row[1]))


def faults(facts: Facts) -> list[str]:
    """What forbids a run, a line each."""
    usable = total(facts).splits
    lines = [f"the {split} split has no usable clip" for split in name_splits(facts) if not usable[split]]
    if usable["train"]:
        lines += [f"class '{row.name}' has no training clip" for row in tally(facts) if not row.splits["train"]]
        groups = len({clip.group for clip in facts.clips if clip.split == "train"})
        if not has_val(facts) and groups < FOLDS:
            lines.append(f"the training list has {groups} groups, and is cut into {FOLDS} folds of whole groups")
    return lines


def doubts(facts: Facts) -> list[str]:
    """What does not forbid a run but makes its scores worth less, a line each."""
    rows, everything = tally(facts), total(facts)
    lines = [
        f"class '{row.name}' has no {split} clip"
        for split in name_splits(facts)[1:]
        if everything.splits[split]
        for row in rows
        if not row.splits[split]
    ]
    if not has_val(facts):
        groups = _training_groups(facts)
        lines += [
            f"class '{name}' has {groups[label]} training group{'s' * (groups[label] > 1)}: "
            f"some of the {FOLDS} validation folds are without it"
            for label, name in enumerate(facts.card.classes)
            if 0 < groups[label] < FOLDS
        ]
    if everything.lost > MUCH * len(facts.clips):
        lines.append(f"{everything.lost} of {len(facts.clips)} listed clips are missing or unreadable")
    if everything.opened:
        absent = [name for name, count in zip(MODALITIES, everything.present, strict=True) if not count]
        lines += [f"no clip has {name if name == 'words' else f'a {name}'}" for name in absent]
    return lines


def _training_groups(facts: Facts) -> Counter[int]:
    lost = lost_keys(facts)
    pairs = {(clip.label, clip.group) for clip in facts.clips if clip.split == "train" and clip.key not in lost}
    return Counter(label for label, _ in pairs)
