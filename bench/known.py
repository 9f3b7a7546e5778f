"""What runs would be, without making them: the key of each is known once its data set was looked at."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from bench.data import Corpus
from bench.execute import Ask, Desk, contents_of, load, spec_of
from bench.facts import FOLDS
from bench.protocol import NO_CLIPS, seal
from bench.record import RunFolder, RunSpec


class Known:
    """Remembers the fingerprints of data sets, so that thousands of runs cost a few looks at the data.

    A data set is asked once for each clip size, fold and validation fold; no clip of any split is kept. A file that
    configs name is read once.
    """

    def __init__(self, desk: Desk) -> None:
        self._desk = desk
        self._seen: dict[tuple[object, ...], Corpus] = {}
        self._contents: dict[frozenset[tuple[str, Path]], dict[str, str]] = {}

    def spec(self, ask: Ask) -> RunSpec:
        """What the run is. Raises DataError where its data cannot be had, ConfigError for a file that is not there."""
        files = frozenset(ask.config.files().items())
        if files not in self._contents:
            self._contents[files] = contents_of(ask.config)
        return spec_of(ask, self._look(ask), self._contents[files])

    def folder(self, ask: Ask) -> RunFolder:
        """Where the run is, or would be."""
        return RunFolder(self._desk.results / "runs" / self.spec(ask).key)

    def _look(self, ask: Ask) -> Corpus:
        sampling = ask.method.sampling(ask.config, False)
        which = (ask.dataset.card.name, sampling.size, sampling.mels, ask.fold, ask.seed % FOLDS)
        if which not in self._seen:
            corpus = seal(load(ask, self._desk))
            self._seen[which] = replace(corpus, train=NO_CLIPS, val=NO_CLIPS, truth={}, problems=())
        return self._seen[which]
