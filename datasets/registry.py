"""The data sets that can be run by name."""

from __future__ import annotations

from functools import partial

from bench.data import Corpus, Dataset, Request
from datasets import affwild2, ekman6, iemocap, perr, videoemotion8
from datasets.index.source import Source, tree_source


def as_dataset(source: Source) -> Dataset:
    """What a run asks of a data set."""
    return Dataset(source.card, partial(_load, source))


def _load(source: Source, request: Request) -> Corpus:
    from datasets.corpus import load_corpus

    return load_corpus(source, request)


ENTRIES = (ekman6, videoemotion8, perr, iemocap, affwild2)
SOURCES: dict[str, Source] = {entry.CARD.name: tree_source(entry.CARD, entry.RULES) for entry in ENTRIES}
DATASETS: dict[str, Dataset] = {name: as_dataset(source) for name, source in SOURCES.items()}
