"""One method's mean over data sets."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from reports.statistics.clips import LEVEL, Interval

FEWEST_RUNS = 5  # of each data set; with 3, only some 83 % of such intervals hold the truth


def over_datasets(
    scores: Sequence[Sequence[float]],
    overlaps: Sequence[float | None] | None = None,
    draws: int = 2000,
    seed: int = 0,
) -> Interval:
    """Mean over data sets of a method's mean over runs, in the unit of `scores`, for new runs on these data sets.

    `scores` holds the scores of the runs of each data set, whose numbers may differ; each data set counts the same.
    Runs are resampled within each data set (stratified bootstrap; Agarwal et al. 2021), in the percentile interval. It
    is somewhat narrow: with 5 runs about 90 % of such intervals hold the truth. `groups` is the number of data sets.

    Of a data set whose n runs are folds that share clips, `overlaps` holds the number of test clips over that of
    training clips: there the drawn means lie farther from the mean, so that their variance grows from 1/n to 1/n +
    overlap of that of the runs (Nadeau and Bengio 2003). None is a data set of independent runs.

    No data sets, one without runs, NaN, or an overlap that is no finite number from 0 on is a ValueError.
    """
    from scipy.stats import bootstrap

    samples = [np.sort(np.asarray(runs, dtype=float)) for runs in scores]
    if not samples or not all(len(runs) and np.isfinite(runs).all() for runs in samples):
        raise ValueError("a mean over data sets takes finite scores of at least one run on each")
    shared = [0.0 if one is None else one for one in overlaps or [None] * len(samples)]
    if not all(0 <= one < np.inf for one in shared):
        raise ValueError(f"an overlap is test clips / training clips, not one of {shared}")
    wider = [(1 + len(runs) * one) ** 0.5 for runs, one in zip(samples, shared, strict=True)]
    centers = [float(runs.mean()) for runs in samples]
    mean = float(np.mean(centers))
    fewest = min(len(runs) for runs in samples)
    if fewest < FEWEST_RUNS:
        why = f"It takes {FEWEST_RUNS} runs (or folds) on each data set to give an interval, not {fewest}."
        return Interval(mean, None, None, None, len(samples), why)
    if not any(np.ptp(runs) for runs in samples):
        why = "The runs do not differ on any data set, so they tell no interval."
        return Interval(mean, None, None, None, len(samples), why)

    def aggregated(*drawn: np.ndarray, axis: int = -1) -> np.ndarray:
        means = [
            center + factor * (runs.mean(axis=axis) - center)
            for runs, center, factor in zip(drawn, centers, wider, strict=True)
        ]
        return np.asarray(sum(means) / len(means))

    options = {"n_resamples": draws, "confidence_level": LEVEL, "method": "percentile", "rng": seed}
    ends = bootstrap(samples, aggregated, vectorized=True, **options).confidence_interval
    return Interval(mean, float(ends.low), float(ends.high), None, len(samples))
