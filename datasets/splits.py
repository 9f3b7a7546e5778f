"""Folds: a list cut once for all into parts of whole groups, the same for every method."""

from __future__ import annotations

import hashlib
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import replace

from bench.data import Card, Clip
from bench.facts import FOLDS


def validation_fold(clips: Sequence[Clip], name: str) -> dict[str, int]:
    """Group -> fold 0..4: stratified by class, whole groups, seeded by the data set's name alone.

    Within a class the groups are dealt out in the order of a hash, and each class goes on where the last one
    stopped, so that folds differ by at most one clip a class however the list was ordered.
    """
    labels: dict[str, Counter[int]] = defaultdict(Counter)
    for clip in clips:
        labels[clip.group][clip.label] += 1
    by_class: dict[int, list[str]] = defaultdict(list)
    for group, counts in labels.items():
        by_class[min(counts, key=lambda label: (-counts[label], label))].append(group)
    folds: dict[str, int] = {}
    for label in sorted(by_class):
        for group in sorted(by_class[label], key=lambda group: _hash(name, group)):
            folds[group] = len(folds) % FOLDS
    return folds


def hold_out(clips: Sequence[Clip], folds: Mapping[str, int], fold: int, count: int) -> list[Clip]:
    """Clips whose key is of `fold` (1 to `count`) for test, of the fold after it for val, the others for train."""
    after = fold % count + 1
    return [
        replace(clip, split="test" if folds[clip.key] == fold else "val" if folds[clip.key] == after else "train")
        for clip in clips
    ]


def fingerprint(splits: Mapping[str, Sequence[Clip]], card: Card) -> str:
    """The sha256 of every (split, clip key, label): names the split in every record."""
    rows = sorted(
        f"{split}\t{clip.key}\t{card.classes[clip.label]}" for split, clips in splits.items() for clip in clips
    )
    return hashlib.sha256("\n".join(rows).encode()).hexdigest()


def _hash(*parts: str) -> str:
    return hashlib.sha256("\x1f".join(parts).encode()).hexdigest()
