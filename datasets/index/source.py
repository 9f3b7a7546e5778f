"""A data set as something that can be indexed: its card, how its clips are listed, and where they are."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from bench.data import Card
from datasets.index.layout import index_tree
from datasets.index.rows import Index
from datasets.index.rules import Rules


@dataclass(frozen=True)
class Source:
    """One of the five, looked for in the usual places, or one's own, which is where it was named."""

    card: Card
    index: Callable[[Path, int], Index]  # folder (or manifest), fold
    place: Path | None = None  # of one's own


def tree_source(card: Card, rules: Rules) -> Source:
    """A data set in the tree of lists and media."""
    return Source(card, partial(_index, card, rules))


def _index(card: Card, rules: Rules, root: Path, fold: int) -> Index:
    return index_tree(root, card, rules, fold)
