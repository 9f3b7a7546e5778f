"""Every line held against a reference: run by run, clip by clip, and corrected for how many there are."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from bench.requests import Tuning
from reports.results.folds import mean_over_folds, overlap
from reports.results.frame import Frame, paired
from reports.results.predicted import Shelf
from reports.results.run import Run
from reports.statistics.clips import Interval, McNemar, difference, mcnemar
from reports.statistics.families import holm
from reports.statistics.pairs import Paired, compare

METRIC = "acc_e"


@dataclass(frozen=True)
class Comparison:
    """A line minus the reference on one data set, in points of Acc E on test."""

    dataset: str
    title: str
    label: str
    reference: str
    values: Tuning
    differences: tuple[float, ...]  # one a seed, or one a fold where there are several
    keys: tuple[str, ...]  # of the runs of both
    pairs: Paired
    clips: Interval | None  # None where predictions are missing or seeds saw different clips
    mcnemar: McNemar | None  # None, too, where clips are tested more than once
    adjusted: float | None = None  # p of the pairs, by Holm over all comparisons with this reference
    adjusted_clips: float | None = None  # that of the clips
    family: int = 1  # comparisons that Holm adjusts for


def compare_with(frame: Frame, reference: str, shelf: Shelf | None) -> list[Comparison]:
    """All other lines against one, on every data set where they have runs in common: a family. Without a shelf by runs
    alone."""
    return compare_family(frame, [(label, reference) for label in frame.labels if label != reference], shelf)


def compare_family(frame: Frame, family: Sequence[tuple[str, str]], shelf: Shelf | None) -> list[Comparison]:
    """Every line with its reference, on every data set where both have runs in common, adjusted for all of them."""
    found = [
        one
        for dataset in frame.datasets
        for label, reference in family
        if (one := _compare(frame, label, reference, dataset, shelf)) is not None
    ]
    by_pairs = holm([one.pairs.p for one in found])
    by_clips = holm([one.clips.p if one.clips is not None else None for one in found])
    return [
        replace(one, adjusted=pairs, adjusted_clips=clips, family=sum(other.pairs.p is not None for other in found))
        for one, pairs, clips in zip(found, by_pairs, by_clips, strict=True)
    ]


def _compare(frame: Frame, label: str, reference: str, dataset: str, shelf: Shelf | None) -> Comparison | None:
    both = paired(frame, label, reference, dataset)
    gains: dict[tuple[int, int], float] = {}
    for one, other in both:
        ours, theirs = one.percent(METRIC), other.percent(METRIC)
        if ours is not None and theirs is not None:
            gains[one.record.spec.fold, one.record.spec.seed] = ours - theirs
    if not gains:
        return None
    differences = mean_over_folds(gains)
    clips, tests = _by_clips(both, shelf) if shelf is not None else (None, None)
    return Comparison(
        dataset=dataset,
        title=frame.datasets[dataset],
        label=label,
        reference=reference,
        values=both[0][0].values,
        differences=tuple(differences),
        keys=tuple(run.record.key for pair in both for run in pair),
        pairs=compare(differences, overlap([run for pair in both for run in pair])),
        clips=clips,
        mcnemar=tests,
    )


def _by_clips(both: Sequence[tuple[Run, Run]], shelf: Shelf) -> tuple[Interval | None, McNemar | None]:
    """The tests on single clips, where predictions are here and seeds were tested on the same ones; McNemar's only
    where no clip is tested twice."""
    first, second = shelf.tested([one for one, _ in both]), shelf.tested([other for _, other in both])
    if first is None or second is None or first.groups != second.groups:
        return None, None
    once = len({one.record.spec.fold for one, _ in both}) == 1 or not both[0][0].card.overlap
    return (
        difference(first.right, second.right, first.groups),
        mcnemar(first.right, second.right) if once else None,
    )
