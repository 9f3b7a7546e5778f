"""Runs of several folds: how many independent pieces of evidence they are, and how far folds share clips."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from statistics import fmean

from reports.results.run import Run


def mean_over_folds(values: Mapping[tuple[int, int], float]) -> list[float]:
    """Values of (fold, seed) as one number for each piece of evidence: of a single fold one a seed, of several folds
    one a fold, the mean of its seeds."""
    folds = sorted({fold for fold, _ in values})
    if len(folds) < 2:
        return list(values.values())
    of = [[value for (place, _), value in values.items() if place == fold] for fold in folds]
    return [sum(found) / len(found) for found in of]


def overlap(runs: Sequence[Run]) -> float | None:
    """Test clips for each training clip, of runs of several folds: these share training clips, and some test clips too.
    None for one fold."""
    if len({run.record.spec.fold for run in runs}) < 2:
        return None
    tested = [run.record.scores.get("test/n") or 0.0 for run in runs]
    trained = [run.record.notes.get("clips/train") for run in runs]
    known = [count for count in trained if count]
    if known:
        return fmean(tested) / fmean(known)
    total = runs[0].card.clips  # an older record does not tell; val is a part of what is not tested
    return fmean(tested) / (0.8 * (total - fmean(tested))) if total and total > fmean(tested) else 1.0
