"""Paired comparisons of rows with a reference: run by run and clip by clip, adjusted for their number.

Runs of several folds share clips, so each fold counts as one observation.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from statistics import fmean

from bench.requests import Tuning
from bench.tasks import Metric
from reports.runs import PredictionCache, Run, RunTable, pair_runs
from reports.statistics import (
    Interval,
    PairedTest,
    adjust_holm,
    compare_pairs,
)


def mean_over_folds(values: Mapping[tuple[int, int], float]) -> list[float]:
    """Return a value for each observation: a seed of a single fold, or the mean over seeds of each of several folds."""
    folds = sorted({fold for fold, _ in values})
    if len(folds) < 2:
        return list(values.values())
    by_fold = [[value for (found, _), value in values.items() if found == fold] for fold in folds]
    return [sum(found) / len(found) for found in by_fold]


def compute_fold_overlap(runs: Sequence[Run]) -> float | None:
    """Return the ratio of test to training clips for runs of several folds, which share clips; None for one fold."""
    if len({run.record.spec.fold for run in runs}) < 2:
        return None
    tested = [run.record.scores.get("test/n") or 0.0 for run in runs]
    trained = [run.record.notes.get("clips/train") for run in runs]
    known = [count for count in trained if count]
    if known:
        return fmean(tested) / fmean(known)
    total = runs[0].info.clips  # older records lack clips/train; val is a part of the other clips
    return fmean(tested) / (0.8 * (total - fmean(tested))) if total and total > fmean(tested) else 1.0


@dataclass(frozen=True)
class Comparison:
    """A row minus the reference on one data set, in the primary metric on test."""

    dataset: str
    dataset_title: str
    metric: Metric
    label: str
    reference: str
    tuning: Tuning
    differences: tuple[float, ...]  # for each seed, or for each fold where there are several
    run_keys: tuple[str, ...]  # of the runs of both
    paired_test: PairedTest
    clip_interval: Interval | None  # None where predictions are missing or seeds have different clips
    mcnemar_p: float | None  # None, too, where clips are tested more than once
    adjusted_p: float | None = None  # by pairs, Holm over all comparisons with this reference
    adjusted_clip_p: float | None = None  # by clips
    family_size: int = 1  # comparisons that Holm adjusts for


def compare_with_reference(
    run_table: RunTable, reference: str, predictions: PredictionCache | None
) -> list[Comparison]:
    """Compare all other rows with a reference on every data set that both have runs on; by clips given predictions."""
    pairs = [(label, reference) for label in run_table.labels if label != reference]
    return compare_family(run_table, pairs, predictions)


def compare_family(
    run_table: RunTable, family: Sequence[tuple[str, str]], predictions: PredictionCache | None
) -> list[Comparison]:
    """Compare each row with its reference on every data set that both have runs on; adjust p for all comparisons."""
    found = [
        comparison
        for dataset in run_table.dataset_titles
        for label, reference in family
        if (comparison := _compare_on_dataset(run_table, label, reference, dataset, predictions)) is not None
    ]
    by_pairs = adjust_holm([item.paired_test.p for item in found])
    by_clips = adjust_holm([item.clip_interval.p if item.clip_interval is not None else None for item in found])
    size = sum(item.paired_test.p is not None for item in found)
    return [
        replace(item, adjusted_p=pairs, adjusted_clip_p=clips, family_size=size)
        for item, pairs, clips in zip(found, by_pairs, by_clips, strict=True)
    ]


def _compare_on_dataset(
    run_table: RunTable, label: str, reference: str, dataset: str, predictions: PredictionCache | None
) -> Comparison | None:
    gains: dict[tuple[int, int], float] = {}
    both: list[tuple[Run, Run]] = []
    for run, other in pair_runs(run_table, label, reference, dataset):
        ours, theirs = run.get_score(run.metric), other.get_score(run.metric)
        if ours is not None and theirs is not None:  # the correlation of a constant prediction is not defined
            gains[run.record.spec.fold, run.record.spec.seed] = ours - theirs
            both.append((run, other))
    if not gains:
        return None
    differences, runs = mean_over_folds(gains), [run for pair in both for run in pair]
    clips, mcnemar_p = _compare_clips(both, predictions) if predictions is not None else (None, None)
    return Comparison(
        dataset=dataset,
        dataset_title=run_table.dataset_titles[dataset],
        metric=run_table.get_metric(dataset),
        label=label,
        reference=reference,
        tuning=both[0][0].tuning,
        differences=tuple(differences),
        run_keys=tuple(run.record.key for run in runs),
        paired_test=compare_pairs(differences, compute_fold_overlap(runs)),
        clip_interval=clips,
        mcnemar_p=mcnemar_p,
    )


def _compare_clips(
    both: Sequence[tuple[Run, Run]], predictions: PredictionCache
) -> tuple[Interval | None, float | None]:
    """Return the interval and McNemar's p by clips; None without predictions, or where seeds have other clips.

    McNemar's p is None, too, where clips are tested more than once, and without classes.
    """
    first, second = (predictions.pair_predictions([pair[side] for pair in both]) for side in (0, 1))
    if first is None or second is None or first.groups != second.groups:
        return None, None
    once = len({run.record.spec.fold for run, _ in both}) == 1 or not both[0][0].info.overlap
    return first.compute_difference(second), first.compute_mcnemar_p(second) if once else None
