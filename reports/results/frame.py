"""The runs of a table or a figure: its lines, its data sets, and which runs of two lines are a pair."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from reports.results.mixtures import mixtures
from reports.results.pools import Pool, Wanted, cell_of, datasets_of, lines_of, pool
from reports.results.run import Run, opened


@dataclass(frozen=True)
class Frame:
    """The runs of a table, how many of them each arm ought to have, and what is to be said of them."""

    runs: tuple[Run, ...]
    wanted: Wanted
    remarks: Mapping[str, str]  # arm -> a sentence
    values: str  # a sentence: which preset, which values, chosen by whom
    told: tuple[str, ...] = ()  # warnings that runs alone do not tell: a filter left some of them out

    @property
    def warnings(self) -> tuple[str, ...]:
        """What nobody may miss above a table of these runs."""
        return (*mixtures(self.runs), *self.told)

    @property
    def is_sample(self) -> bool:
        """Whether any of them was made on the built-in sample."""
        return any(run.record.spec.data == "sample" for run in self.runs)

    @property
    def labels(self) -> tuple[str, ...]:
        """The lines."""
        return lines_of(self.runs)

    @property
    def datasets(self) -> dict[str, str]:
        """Name -> title."""
        return datasets_of(self.runs)

    def pools(self, dataset: str) -> list[Pool]:
        """The runs of each line on a data set."""
        return [pool(self.runs, label, dataset, self.wanted) for label in self.labels]

    def of(self, label: str) -> list[Run]:
        """The runs of a line."""
        return [run for run in self.runs if run.label == label]

    def only(self, labels: Sequence[str]) -> Frame:
        """Some of its lines."""
        return replace(self, runs=tuple(run for run in self.runs if run.label in labels))

    def among(self, datasets: Sequence[str]) -> Frame:
        """Its runs on some data sets."""
        return replace(self, runs=tuple(run for run in self.runs if run.record.spec.dataset in datasets))

    def on(self, dataset: str) -> Frame:
        """Its runs on one data set."""
        return self.among([dataset])


def paired(frame: Frame, ours: str, theirs: str, dataset: str) -> list[tuple[Run, Run]]:
    """The finished runs of two lines that differ by the arm alone: of one fold and seed, on the same clips."""
    places = [
        {cell_of(run): run for run in frame.of(label) if not run.failed and run.record.spec.dataset == dataset}
        for label in (ours, theirs)
    ]
    both = [(places[0][cell], places[1][cell]) for cell in sorted(places[0].keys() & places[1].keys())]
    return [(one, other) for one, other in both if _on_same_clips(one, other)]


def _on_same_clips(one: Run, other: Run) -> bool:
    """By their fingerprints; of content where both open clips in one size, for else it differs anyhow."""
    ours, theirs = one.record.spec, other.record.spec
    return ours.split == theirs.split and (ours.content == theirs.content or opened(ours) != opened(theirs))
