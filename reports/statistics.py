"""Intervals and tests of scores, with what the number of runs and clips allows.

Tests by clips resample groups of clips for the given runs; tests by runs pair runs of equal seed and fold.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any, NamedTuple

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import ArrayLike
from pandas import DataFrame
from scikit_posthocs import critical_difference_diagram, posthoc_nemenyi_friedman
from scipy import stats
from scipy.special import softmax
from scipy.stats.contingency import crosstab
from statsmodels.stats.contingency_tables import mcnemar as exact
from statsmodels.stats.multitest import multipletests
from statsmodels.stats.power import TTestPower

STAR_LEVELS = (0.05, 0.01, 0.001)

MIN_GROUPS = 10  # intervals from fewer groups are far too narrow
CONFIDENCE_LEVEL = 0.95
MAX_RESAMPLED_GROUPS = 2_000_000  # held in memory at once

ALPHA = 0.05
POWER = 0.8
MAX_ENUMERATED_PAIRS = 14  # tied pairs whose 2^n signs are enumerated; beyond, the normal approximation is good
DIFFERENCE_DECIMALS = 9  # in points; differences that are equal up to float rounding are ties

MIN_RUNS = 5  # of each data set; with 3, only about 83 % of such intervals contain the true value

RANKS_ALPHA = 0.05
MIN_METHODS = 3
MIN_DATASETS = 5
SCORE_DECIMALS = 9  # scores that are equal up to float rounding share a rank

BINS = 15


def adjust_holm(ps: Sequence[float | None]) -> list[float | None]:
    """Return adjusted p-values (Holm 1979) in the order given, valid under any dependence of the tests.

    None stays None and does not count in the family. Raises ValueError: a value is not a probability.
    """
    tested = [p for p in ps if p is not None]
    if not all(0 <= p <= 1 for p in tested):
        raise ValueError(f"not p-values: {tested}")
    adjusted = iter(multipletests(tested, method="holm")[1].tolist() if tested else ())
    return [None if p is None else float(next(adjusted)) for p in ps]


def format_significance_stars(p: float | None, smallest: float) -> str:
    """Return `*`, `**`, `***` for an adjusted p of at most 0.05, 0.01, 0.001, else "".

    `smallest` is the smallest p that the test can reach; levels below it get no star.
    """
    return "" if p is None else "*" * sum(p <= level and smallest <= level for level in STAR_LEVELS)


@dataclass(frozen=True)
class Interval:
    """A mean in the unit of its score or in points, with a 95 % interval where there are enough data for one."""

    mean: float
    low: float | None
    high: float | None
    p: float | None  # two-sided, of a mean of 0; None where nothing is tested
    groups: int  # number of resampled groups
    reason: str = ""  # sentence on why there is no interval


def compute_accuracy_difference(
    right_a: ArrayLike, right_b: ArrayLike, groups: Sequence[str], draws: int = 2000, seed: int = 0
) -> Interval:
    """Return the mean difference in accuracy, a minus b, in points, with its interval for new clips and these runs.

    `right_a` and `right_b` are (R, n) bool: R paired runs on the same n clips; `groups` names the n clips' videos,
    speakers or sessions, which are resampled with all runs of their clips on both sides (cluster bootstrap; Davison
    and Hinkley 1997). About 92 %, not 95 %, of the percentile intervals from 10 groups contain the true value.
    `p` is twice the smaller tail of the draws, with one draw added to each (Davison and Hinkley 1997), at most 1.
    """
    first, second = _count_pair(right_a, right_b)
    gains = first.sum(axis=0) - second.sum(axis=0)
    member = _index_groups(groups, first.shape[1])
    return _bootstrap_groups(gains, member, [np.unique(member)], len(first), draws, seed, test=True)


def compute_accuracy_interval(
    right: ArrayLike, labels: ArrayLike, groups: Sequence[str], draws: int = 2000, seed: int = 0
) -> Interval:
    """Return the accuracy in percent, the mean of R runs, with its interval for new clips; `right` is (R, n) bool.

    A bootstrap stratified by class (Efron and Tibshirani 1993): clips are resampled within each class of `labels` (n,),
    so that class sizes are constant. Where a group holds several clips, groups are resampled within strata of the class
    of most of their clips (the first of several), and class sizes are nearly constant. Strata of one group, which would
    not vary, are merged into one stratum; a single one joins the smallest other.
    """
    found, label = _count_correct(right), np.asarray(labels)
    if label.shape != found.shape[1:]:
        raise ValueError(f"labels: shape {label.shape} for {found.shape[1]} clips")
    member = _index_groups(groups, found.shape[1])
    strata = _make_strata(label, member)
    return _bootstrap_groups(found.sum(axis=0), member, strata, len(found), draws, seed, test=False)


@dataclass(frozen=True)
class ClipSums:
    """Numbers of each clip whose sums over clips give a score, such as an error and a count, or moments."""

    values: np.ndarray  # (R, n, F) float: F numbers of n clips in R runs
    score: Callable[[np.ndarray], np.ndarray]  # maps (..., F) sums over clips to (...) scores

    def sum_groups(self, member: np.ndarray) -> np.ndarray:
        """Return the (G, R, F) sums over the clips of each group; `member` (n,) are the groups of the clips."""
        sums = np.zeros((int(member.max()) + 1, self.values.shape[0], self.values.shape[2]))
        np.add.at(sums, member, self.values.swapaxes(0, 1))
        return sums


def compute_score_difference(
    first: ClipSums, second: ClipSums, groups: Sequence[str], scale: float, draws: int = 2000, seed: int = 0
) -> Interval:
    """Return the mean difference in a score over R paired runs, first minus second, with its interval for new clips.

    As `compute_accuracy_difference`, for scores that are not the share of correct clips; times `scale`.
    """
    if first.values.shape != second.values.shape:
        raise ValueError(f"runs on the same clips must have equal shapes: {first.values.shape}, {second.values.shape}")
    member = _index_groups(groups, first.values.shape[1])
    sums = [item.sum_groups(member) for item in (first, second)]

    def difference(counts: np.ndarray) -> np.ndarray:
        one, other = (item.score(_sum_draws(counts, part)) for item, part in zip((first, second), sums, strict=True))
        return np.asarray(scale * (one - other).mean(-1))

    return _bootstrap_counts(difference, len(sums[0]), draws, seed, test=True)


def compute_score_interval(
    item: ClipSums, groups: Sequence[str], scale: float, draws: int = 2000, seed: int = 0
) -> Interval:
    """Return a score, the mean of R runs times `scale`, with its interval for new clips (bootstrap of whole groups)."""
    member = _index_groups(groups, item.values.shape[1])
    sums = item.sum_groups(member)
    return _bootstrap_counts(
        lambda counts: np.asarray(scale * item.score(_sum_draws(counts, sums)).mean(-1)),
        len(sums),
        draws,
        seed,
        test=False,
    )


def _sum_draws(counts: np.ndarray, sums: np.ndarray) -> np.ndarray:
    """Return (..., R, F) sums over groups that are drawn (..., G) times; `sums` (G, R, F) are those of each group."""
    return np.tensordot(counts, sums, axes=(-1, 0))


def _bootstrap_counts(
    statistic: Callable[[np.ndarray], np.ndarray], groups: int, draws: int, seed: int, test: bool
) -> Interval:
    """Return the interval of a statistic of (..., G) counts: how often each group of clips is drawn."""
    mean = float(statistic(np.ones(groups)))
    if groups < MIN_GROUPS:
        why = f"no interval: needs at least {MIN_GROUPS} independent groups of clips (here {groups})"
        return Interval(mean, None, None, None, groups, why)

    def evaluate(chosen: np.ndarray, axis: int = -1) -> np.ndarray:
        rows = np.moveaxis(chosen, axis, -1).astype(int)
        counts = np.zeros((*rows.shape[:-1], groups))
        flat = counts.reshape(-1, groups)
        np.add.at(flat, (np.arange(len(flat))[:, None], rows.reshape(len(flat), -1)), 1)
        return statistic(counts)

    batch = max(1, MAX_RESAMPLED_GROUPS // groups)
    low, high, drawn = _bootstrap([np.arange(groups)], evaluate, draws, seed, batch=batch)
    tail = min(int((drawn <= 0).sum()), int((drawn >= 0).sum()))
    p = min(1.0, 2 * (tail + 1) / (draws + 1)) if test else None
    if np.ptp(drawn) < 1e-9:
        return Interval(mean, None, None, p, groups, "no interval: resampling the clips changes nothing")
    return Interval(mean, low, high, p, groups)


def sum_errors(predicted: np.ndarray, targets: np.ndarray) -> ClipSums:
    """Return the sums of the mean absolute error; `predicted` is (R, n, K), `targets` (n, K)."""
    errors = np.abs(predicted - targets).mean(-1)
    return ClipSums(np.stack([errors, np.ones_like(errors)], -1), lambda sums: sums[..., 0] / sums[..., 1])


def sum_moments(predicted: np.ndarray, targets: np.ndarray, concordance: bool) -> ClipSums:
    """Return the sums of the concordance or Pearson's correlation, a mean over K targets.

    `predicted` is (R, n, K), `targets` (n, K). A draw of clips with equal targets, or equal predictions, has 0.
    """
    middle = targets.mean(0)  # moments of numbers far from 0 would cancel
    x, y = np.broadcast_to(targets - middle, predicted.shape), predicted.astype(np.float64) - middle
    if not concordance:
        y = y - y.mean(1, keepdims=True)
    moments = np.stack([np.ones_like(y), x, y, x * x, y * y, x * y], -1)  # (R, n, K, 6)

    def correlate(sums: np.ndarray) -> np.ndarray:
        shaped = sums.reshape(*sums.shape[:-1], -1, 6)
        count, sum_x, sum_y, xx, yy, xy = np.moveaxis(shaped, -1, 0)
        mean_x, mean_y, xx, yy = sum_x / count, sum_y / count, xx / count, yy / count
        var_x, var_y = _drop_rounding(xx - mean_x**2, xx), _drop_rounding(yy - mean_y**2, yy)
        covariance = np.where((var_x > 0) & (var_y > 0), xy / count - mean_x * mean_y, 0.0)
        if concordance:
            above, below = 2 * covariance, var_x + var_y + (mean_x - mean_y) ** 2
        else:
            above, below = covariance, np.sqrt(var_x * var_y)
        return np.asarray(np.divide(above, below, out=np.zeros_like(above), where=below > 0).mean(-1))

    return ClipSums(moments.reshape(*moments.shape[:2], -1), correlate)


def _drop_rounding(variance: np.ndarray, square: np.ndarray) -> np.ndarray:
    """Return variances, with 0 for those that are rounding errors of the mean `square` that they were computed from."""
    return np.asarray(np.where(variance > 1e-12 * square, variance, 0.0))


def mcnemar_test(right_a: ArrayLike, right_b: ArrayLike) -> float:
    """Return the two-sided p of the exact McNemar test (1947) of equal accuracy; (R, n) bool each, paired run by run.

    Several pairs of runs are combined as twice the median of their p-values, at most 1, which is valid under any
    dependence (Rueger 1978; Vovk and Wang 2020). Clips count as independent: where they come in groups, use
    `compute_accuracy_difference`.
    """
    first, second = _count_pair(right_a, right_b)
    only_a, only_b = (first > second).sum(axis=1).tolist(), (first < second).sum(axis=1).tolist()
    each = [float(exact([[0, a], [b, 0]], exact=True).pvalue) for a, b in zip(only_a, only_b, strict=True)]
    return each[0] if len(each) == 1 else min(1.0, 2 * float(np.median(each)))


def compute_accuracy_standard_error(accuracy_percent: float, n: int) -> float:
    """Return the binomial standard error, in points, of an accuracy on n independent clips.

    It is 0 at 0 and at 100 percent, where the formula is not informative.
    """
    if not 0 <= accuracy_percent <= 100 or n < 1:
        raise ValueError(f"accuracy must be 0 to 100 percent on at least 1 clip, not {accuracy_percent} on {n}")
    share = accuracy_percent / 100
    return float(100 * (share * (1 - share) / n) ** 0.5)


def _count_correct(right: ArrayLike) -> np.ndarray:
    """Return (R, n) of 0 and 1. Raises ValueError: not bool, or without runs or clips."""
    found = np.asarray(right)
    if found.dtype != bool or found.ndim != 2 or not found.size:
        raise ValueError(f"correct predictions must be bool (runs, clips), not {found.dtype} {found.shape}")
    return found.astype(int)


def _count_pair(right_a: ArrayLike, right_b: ArrayLike) -> tuple[np.ndarray, np.ndarray]:
    """Return `_count_correct` of two sets of runs on the same clips."""
    first, second = _count_correct(right_a), _count_correct(right_b)
    if first.shape != second.shape:
        raise ValueError(f"runs on the same clips must have equal shapes, not {first.shape} and {second.shape}")
    return first, second


def _index_groups(groups: Sequence[str], clips: int) -> np.ndarray:
    """Return (n,) indices of the group of each clip."""
    if len(groups) != clips:
        raise ValueError(f"groups: {len(groups)} names for {clips} clips")
    return np.unique(np.asarray(groups), return_inverse=True)[1]


def _make_strata(label: np.ndarray, member: np.ndarray) -> list[np.ndarray]:
    """Return indices of groups by the class of most of their clips; no stratum has one group if there are several."""
    main = crosstab(member, label).count.argmax(axis=1)  # the first of equally many
    strata = [np.flatnonzero(main == kind) for kind in np.unique(main)]
    lone = [stratum for stratum in strata if len(stratum) == 1]
    rest = sorted((stratum for stratum in strata if len(stratum) > 1), key=len)
    if len(lone) == 1 and rest:
        lone.append(rest.pop(0))
    return [*rest, np.concatenate(lone)] if lone else rest


def _bootstrap_groups(
    values: np.ndarray, member: np.ndarray, strata: list[np.ndarray], runs: int, draws: int, seed: int, test: bool
) -> Interval:
    """Return the interval of the mean of `values` (n,), counts over `runs`; groups are resampled within strata."""
    groups = int(member.max()) + 1
    mean = 100 * float(values.sum()) / (runs * len(values))
    if groups < MIN_GROUPS:
        why = f"no interval: needs at least {MIN_GROUPS} independent groups of clips (here {groups})"
        return Interval(mean, None, None, None, groups, why)
    sums = np.bincount(member, weights=values)  # whole numbers: sums of draws are exact, and so is a tie with 0
    sizes = np.bincount(member)

    def share(*chosen: np.ndarray, axis: int = -1) -> np.ndarray:
        drawn = np.concatenate(chosen, axis=axis).astype(int)
        return np.asarray(100 * sums[drawn].sum(axis=axis) / (runs * sizes[drawn].sum(axis=axis)))

    low, high, drawn = _bootstrap(strata, share, draws, seed, batch=max(1, MAX_RESAMPLED_GROUPS // groups))
    tail = min(int((drawn <= 0).sum()), int((drawn >= 0).sum()))
    p = min(1.0, 2 * (tail + 1) / (draws + 1)) if test else None
    if np.ptp(drawn) < 1e-9:
        return Interval(mean, None, None, p, groups, "no interval: resampling the clips changes nothing")
    return Interval(mean, low, high, p, groups)


def _bootstrap(
    samples: Sequence[np.ndarray],
    statistic: Callable[..., np.ndarray],
    draws: int,
    seed: int,
    batch: int | None = None,
) -> tuple[float, float, np.ndarray]:
    """Return the ends of the percentile interval of a statistic, and its (draws,) values."""
    options: dict[str, Any] = {"n_resamples": draws, "confidence_level": CONFIDENCE_LEVEL, "batch": batch}
    found = stats.bootstrap(samples, statistic, vectorized=True, method="percentile", rng=seed, **options)
    ends = found.confidence_interval
    return float(ends.low), float(ends.high), found.bootstrap_distribution


@dataclass(frozen=True)
class PairedTest:
    """Differences of n paired runs, in points or in the unit of their score.

    `mean` is NaN for no pairs. `low`, `high` and `detectable_difference` are None below two pairs, and where all
    differences are equal: then `std` is 0, and an interval of no width would be misleading.
    """

    n_pairs: int
    mean: float
    std: float | None  # sample standard deviation (n - 1); None below two pairs
    low: float | None  # Student's 95 % interval of the mean
    high: float | None
    p: float | None  # two-sided; None for no pairs, and for a t-test of equal differences other than 0
    smallest_p: float  # the smallest p that n pairs can reach
    detectable_difference: float | None  # true difference whose interval excludes 0 in 8 of 10 repetitions
    is_corrected: bool  # for overlapping sets of clips (Nadeau and Bengio 2003): then `p` is of a t-test


def compare_pairs(differences: Sequence[float], overlap: float | None = None) -> PairedTest:
    """Test `differences` (n,) in points, in any order. Raises ValueError: a difference is NaN or infinite.

    Without `overlap` the pairs count as independent. `p` is that of the exact two-sided signed-rank test (Wilcoxon
    1945), which ignores differences of 0 (all 0: p = 1). `smallest_p` is 2 * 0.5**n, reached by n pairs of one sign.
    Interval and `detectable_difference` are Student's; the interval can exclude 0 where n is too small for p = 0.05.

    `overlap` is the ratio of test to training clips, for pairs whose sets of clips overlap. The variance of the mean is
    then std**2 * (1/n + overlap) (Nadeau and Bengio 2003) in the interval, in `detectable_difference` and in a t-test
    with n - 1 degrees of freedom that gives `p`. A t-test has no smallest p: `smallest_p` is 0 from two pairs on, and 1
    below, where there is no spread.
    """
    found = np.sort(np.round(np.asarray(differences, dtype=float).reshape(-1), DIFFERENCE_DECIMALS)) + 0.0  # no -0.0
    if not np.isfinite(found).all():
        raise ValueError(f"differences must be finite numbers: {list(differences)}")
    if overlap is not None and not 0 <= overlap < np.inf:
        raise ValueError(f"overlap must be test clips / training clips, not {overlap}")
    n = len(found)
    mean = float(found.mean()) if n else float("nan")
    spread = None if n < 2 else float(found.std(ddof=1)) if np.ptp(found) else 0.0
    low = high = detectable = error = None
    if spread:
        error = spread * (1 / n + (overlap or 0.0)) ** 0.5
        low, high = (float(end) for end in stats.t.interval(1 - ALPHA, n - 1, loc=mean, scale=error))
        detectable = _noncentrality(n) * error
    if overlap is None:
        p, smallest = _compute_signed_rank_p(found), min(1.0, 2 * 0.5**n)
    else:
        p, smallest = _compute_t_test_p(found, error), 0.0 if n > 1 else 1.0
    return PairedTest(n, mean, spread, low, high, p, smallest, detectable, overlap is not None)


def _compute_signed_rank_p(found: np.ndarray) -> float | None:
    """Return the two-sided p of Wilcoxon's test; None for no pairs.

    It is exact for any n without ties and for up to MAX_ENUMERATED_PAIRS tied pairs; beyond, it is the normal
    approximation, corrected for ties and continuity.
    """
    moved = found[found != 0]
    if not len(moved):
        return 1.0 if len(found) else None
    if len(np.unique(np.abs(moved))) == len(moved):
        return float(stats.wilcoxon(moved, method="exact").pvalue)
    if len(moved) <= MAX_ENUMERATED_PAIRS:
        return _enumerate_signed_rank_p(moved)
    return float(stats.wilcoxon(moved, method="asymptotic", correction=True).pvalue)


def _enumerate_signed_rank_p(moved: np.ndarray) -> float:
    """Return the share of all 2^n signs of non-zero differences whose signed-rank statistic is at least as extreme."""
    signs = 1 - 2 * (np.arange(2 ** len(moved))[:, None] >> np.arange(len(moved)) & 1)
    found = stats.wilcoxon(signs * np.abs(moved), axis=1, method="asymptotic").statistic
    return float(np.mean(found <= stats.wilcoxon(moved, method="asymptotic").statistic + 1e-9))


def _compute_t_test_p(found: np.ndarray, error: float | None) -> float | None:
    """Return the two-sided p of mean / error; 1 for one pair or where all differences are 0, None where undefined."""
    if error is not None:
        return float(2 * stats.t.sf(abs(found.mean()) / error, len(found) - 1))
    return 1.0 if len(found) == 1 or (len(found) and not found.any()) else None


@cache
def _noncentrality(n: int) -> float:
    """Return the true mean, in standard errors, that a two-sided t-test of n pairs at ALPHA detects with POWER."""
    effect = TTestPower().solve_power(nobs=n, alpha=ALPHA, power=POWER, alternative="two-sided")
    return float(effect * n**0.5)


def mean_over_datasets(
    scores: Sequence[Sequence[float]], overlaps: Sequence[float | None] | None = None, draws: int = 2000, seed: int = 0
) -> Interval:
    """Return the mean over data sets of a method's mean over runs, with its interval for new runs, in their unit.

    `scores` holds the scores of the runs of each data set, whose numbers may differ; data sets count equally. Runs are
    resampled within each data set (stratified bootstrap; Agarwal et al. 2021). The percentile interval is somewhat
    narrow: with 5 runs about 90 % of such intervals contain the true value. `groups` is the number of data sets.

    `overlaps` holds the ratio of test to training clips of each data set whose n runs are folds that share clips, and
    None for data sets of independent runs. Means of draws are then scaled away from the mean, so that their variance
    grows from 1/n to 1/n + overlap of that of the runs (Nadeau and Bengio 2003).

    Raises ValueError: no data sets, one without runs, a score that is not finite, or a negative or infinite overlap.
    """
    samples = [np.sort(np.asarray(runs, dtype=float)) for runs in scores]
    if not samples or not all(len(runs) and np.isfinite(runs).all() for runs in samples):
        raise ValueError("scores: a mean over data sets needs at least one run on each, and finite scores")
    shared = [0.0 if overlap is None else overlap for overlap in overlaps or [None] * len(samples)]
    if not all(0 <= overlap < np.inf for overlap in shared):
        raise ValueError(f"overlaps must be test clips / training clips, not {shared}")
    wider = [(1 + len(runs) * overlap) ** 0.5 for runs, overlap in zip(samples, shared, strict=True)]
    centers = [float(runs.mean()) for runs in samples]
    mean = float(np.mean(centers))
    fewest = min(len(runs) for runs in samples)
    why = ""
    if fewest < MIN_RUNS:
        why = f"no interval: needs at least {MIN_RUNS} runs or folds on each data set (here {fewest})"
    elif not any(np.ptp(runs) for runs in samples):
        why = "no interval: runs do not differ on any data set"
    if why:
        return Interval(mean, None, None, None, len(samples), why)

    def aggregated(*drawn: np.ndarray, axis: int = -1) -> np.ndarray:
        rows = zip(drawn, centers, wider, strict=True)
        means = [center + factor * (runs.mean(axis=axis) - center) for runs, center, factor in rows]
        return np.asarray(sum(means) / len(means))

    low, high, _ = _bootstrap(samples, aggregated, draws, seed)
    return Interval(mean, low, high, None, len(samples))


@dataclass(frozen=True)
class MeanRanks:
    """Mean ranks of methods over data sets; 1 is best."""

    methods: tuple[str, ...]
    ranks: tuple[float, ...]
    n_datasets: int
    friedman_p: float | None  # p of equal ranks of all methods; None below three methods or two data sets
    critical_difference: float | None  # Nemenyi, 0.05; None below two methods or without data sets
    are_comparable: bool  # there are enough methods and data sets to compare ranks
    reason: str  # why they are not comparable
    nemenyi_p: tuple[tuple[float, ...], ...] = ()  # p of every two methods, if comparable


def compute_mean_ranks(scores: Mapping[str, Sequence[float]]) -> MeanRanks:
    """Return mean ranks of methods by their score (higher is better) on each data set, in one order of data sets.

    Equal scores share their mean rank. Friedman's p is the chi-squared approximation, which is conservative for few
    data sets. The critical difference is q * sqrt(k (k + 1) / 6N), with q the quantile of the studentised range over
    sqrt(2) (Nemenyi 1963). Raises ValueError: a method lacks a finite score on a data set.
    """
    lengths = {len(row) for row in scores.values()}
    if len(lengths) > 1:
        raise ValueError(f"scores: methods have different numbers of data sets: {sorted(lengths)}")
    k, n = len(scores), max(lengths, default=0)
    table = np.round(np.array(list(scores.values()), dtype=float).reshape(k, n), SCORE_DECIMALS)
    if not np.isfinite(table).all():
        raise ValueError("scores: every method needs a finite score on each data set")
    each = stats.rankdata(-table, axis=0)
    means = tuple(each.mean(axis=1).tolist()) if n else (float("nan"),) * k
    critical = None
    if k > 1 and n:
        studentized = stats.studentized_range.ppf(1 - RANKS_ALPHA, k, np.inf)
        critical = float(studentized / 2**0.5 * (k * (k + 1) / (6 * n)) ** 0.5)
    friedman = None
    if k > 2 and n > 1:
        friedman = float(stats.friedmanchisquare(*table).pvalue) if np.ptp(each, axis=0).any() else 1.0
    why = _explain_no_comparison(k, n, critical)
    nemenyi = [] if why else posthoc_nemenyi_friedman(table.T).to_numpy().tolist()
    return MeanRanks(tuple(scores), means, n, friedman, critical, not why, why, tuple(map(tuple, nemenyi)))


def draw_critical_differences(ranks: MeanRanks) -> Figure:
    """Draw a critical-difference diagram: bars join methods whose mean ranks do not differ (Nemenyi, 0.05).

    Raises ValueError: the ranks are not comparable.
    """
    if not ranks.are_comparable:
        raise ValueError(ranks.reason)
    figure = Figure(figsize=(7.5, 1.6 + 0.3 * len(ranks.methods)), layout="constrained")
    axes = figure.subplots()
    names = list(ranks.methods)
    critical_difference_diagram(
        dict(zip(names, ranks.ranks, strict=True)),
        DataFrame(ranks.nemenyi_p, index=names, columns=names),
        alpha=RANKS_ALPHA,
        ax=axes,
        label_fmt_left="{label}  {rank:.2f} ",
        label_fmt_right=" {rank:.2f}  {label}",
        color_palette=dict.fromkeys(names, "black"),
        elbow_props={"linewidth": 0.8},
        crossbar_props={"linewidth": 3, "color": "tab:blue"},
    )
    axes.set_xticks(range(1, len(names) + 1))
    axes.set_xlim(1 - 0.05 * len(names), 1.05 * len(names))
    nemenyi = f"critical difference {ranks.critical_difference:.2f} (Nemenyi, {RANKS_ALPHA})"
    tests = f"{nemenyi}, Friedman p {ranks.friedman_p:.2g}"
    axes.set_title(f"mean rank over {ranks.n_datasets} data sets, 1 is best\n{tests}", fontsize=10)
    return figure


def _explain_no_comparison(k: int, n: int, critical: float | None) -> str:
    """Return why k methods on n data sets cannot be compared by rank; empty where they can."""
    if k < MIN_METHODS or n < MIN_DATASETS:
        return f"needs at least {MIN_METHODS} methods and {MIN_DATASETS} data sets (here {k} and {n})."
    if critical is not None and critical >= k - 1:
        return f"mean ranks of {k} methods differ by at most {k - 1}, less than the critical difference {critical:.2f}."
    return ""


class ConfidenceBins(NamedTuple):
    """Bins of clips by confidence, in ascending order; bins without clips are left out."""

    confidence: np.ndarray  # mean of a bin's clips, a fraction
    accuracy: np.ndarray  # share of correct clips
    clips: np.ndarray


def bin_clips(scores: np.ndarray, labels: np.ndarray, bins: int = BINS) -> ConfidenceBins:
    """Bin clips by confidence, the highest softmax probability; `scores` are logits (n, C), `labels` (n,) true classes.

    Bins hold equally many clips (Nguyen and O'Connor 2015), but clips of equal confidence share a bin, so that the
    order of clips does not matter and a model of constant confidence has one bin.
    """
    scores, labels = np.asarray(scores, dtype=float), np.asarray(labels)
    if scores.ndim != 2 or not scores.size or labels.shape != scores.shape[:1] or bins < 1:
        raise ValueError(f"cannot make {bins} bins of scores {scores.shape} with labels {labels.shape}")
    if not np.isfinite(scores).all():
        raise ValueError("scores: not all are finite")
    confidence = softmax(scores, axis=1).max(axis=1)
    right = scores.argmax(axis=1) == labels
    at = ((stats.rankdata(confidence, method="min") - 1) * bins / len(scores)).astype(int)
    _, at, clips = np.unique(at, return_inverse=True, return_counts=True)
    return ConfidenceBins(np.bincount(at, confidence) / clips, np.bincount(at, right) / clips, clips)


def expected_calibration_error(scores: np.ndarray, labels: np.ndarray, bins: int = BINS) -> float:
    """Return the expected calibration error, a fraction: the mean gap of confidence and accuracy over `bin_clips`.

    It is biased upwards with few clips: by nearly 0.2 for bins of 5 clips and a perfectly calibrated model of
    confidence 0.5. Compare it only between models on the same clips.
    """
    found = bin_clips(scores, labels, bins)
    return float(np.average(np.abs(found.confidence - found.accuracy), weights=found.clips))
