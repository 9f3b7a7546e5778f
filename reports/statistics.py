"""Intervals and tests that claim no more than the number of runs and clips allows. Tests of clips resample groups of
clips for the given runs; tests of runs pair runs of equal seed and fold."""

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

MIN_GROUPS = 10  # a bootstrap of fewer groups is far too narrow
CONFIDENCE_LEVEL = 0.95
MAX_RESAMPLED_GROUPS = 2_000_000  # resampled groups held in memory

ALPHA = 0.05
POWER = 0.8
MAX_ENUMERATED_PAIRS = 14  # tied pairs whose 2^n signs are enumerated; beyond, the normal approximation is good
DIFFERENCE_DECIMALS = 9  # of a point; differences equal but for the rounding of floats are ties

MIN_RUNS = 5  # of each data set; with 3, only some 83 % of such intervals hold the truth

RANKS_ALPHA = 0.05
MIN_METHODS = 3
MIN_DATASETS = 5
SCORE_DECIMALS = 9  # scores equal but for the rounding of floats share a rank

BINS = 15


def adjust_holm(ps: Sequence[float | None]) -> list[float | None]:
    """Adjusted p-values (Holm 1979) in the order given, valid under any dependence of the tests; None stays None and
    does not count in the family. NaN, or anything that is no probability, is a ValueError."""
    tested = [p for p in ps if p is not None]
    if not all(0 <= p <= 1 for p in tested):
        raise ValueError(f"not p-values: {tested}")
    adjusted = iter(multipletests(tested, method="holm")[1].tolist() if tested else ())
    return [None if p is None else float(next(adjusted)) for p in ps]


def format_significance_stars(p: float | None, smallest: float) -> str:
    """`*`, `**`, `***` for an adjusted p of at most 0.05, 0.01, 0.001; else nothing. `smallest` is the smallest p that
    the test can reach: no star is given for a level below it, whatever p says."""
    return "" if p is None else "*" * sum(p <= level and smallest <= level for level in STAR_LEVELS)


@dataclass(frozen=True)
class Interval:
    """A mean in percent or points, with a 95 % interval where one can be given."""

    mean: float
    low: float | None
    high: float | None
    p: float | None  # two-sided, of a mean of 0; None where nothing is tested
    groups: int  # that were resampled
    reason: str = ""  # there is no interval: a sentence


def compute_accuracy_difference(
    right_a: ArrayLike, right_b: ArrayLike, groups: Sequence[str], draws: int = 2000, seed: int = 0
) -> Interval:
    """Mean difference in accuracy, a minus b, in points, for new clips under these very runs.

    `right_a` and `right_b` are (R, n) bool: R paired runs on the same n clips; `groups` names the n clips' videos,
    speakers or sessions, which are resampled with all runs of their clips on both sides (cluster bootstrap; Davison
    and Hinkley 1997). Of the percentile intervals of 10 groups about 92 % hold the truth, not 95 %.
    `p` is twice the smaller tail of the draws, one draw added to each (Davison and Hinkley 1997), 1 at most.
    """
    first, second = _count_pair(right_a, right_b)
    gains = first.sum(axis=0) - second.sum(axis=0)
    member = _index_groups(groups, first.shape[1])
    return _bootstrap_groups(gains, member, [np.unique(member)], len(first), draws, seed, test=True)


def compute_accuracy_interval(
    right: ArrayLike, labels: ArrayLike, groups: Sequence[str], draws: int = 2000, seed: int = 0
) -> Interval:
    """Accuracy in percent, the mean of R runs, for new clips under these very runs; `right` is (R, n) bool.

    A bootstrap stratified by class (Efron and Tibshirani 1993): clips are resampled within each class of `labels` (n,),
    so that class sizes stay. Where a group holds several clips, groups are resampled, within the strata of the class of
    most of their clips (of equally many, the first), and class sizes stay nearly. Strata of one group, which would not
    vary at all, are resampled as one stratum; a single one joins the smallest other.
    """
    found, label = _count_correct(right), np.asarray(labels)
    if label.shape != found.shape[1:]:
        raise ValueError(f"{found.shape[1]} clips have labels of shape {label.shape}")
    member = _index_groups(groups, found.shape[1])
    strata = _make_strata(label, member)
    return _bootstrap_groups(found.sum(axis=0), member, strata, len(found), draws, seed, test=False)


def mcnemar_test(right_a: ArrayLike, right_b: ArrayLike) -> float:
    """Two-sided p of the exact McNemar test (1947) that two methods have the same accuracy on clips like these; (R, n)
    bool each, paired run by run.

    Several pairs are put together as twice the median of their p-values, 1 at most, which holds under any dependence
    (Rueger 1978; Vovk and Wang 2020); one pair keeps its own. Clips count as independent: where they come in groups,
    `compute_accuracy_difference` is the test to go by.
    """
    first, second = _count_pair(right_a, right_b)
    only_a, only_b = (first > second).sum(axis=1).tolist(), (first < second).sum(axis=1).tolist()
    each = [float(exact([[0, a], [b, 0]], exact=True).pvalue) for a, b in zip(only_a, only_b, strict=True)]
    return each[0] if len(each) == 1 else min(1.0, 2 * float(np.median(each)))


def compute_accuracy_standard_error(accuracy_percent: float, n: int) -> float:
    """Standard error, in points, of one run's accuracy on n independent clips: that of a binomial share. It is 0 at 0
    and at 100 percent, where this formula says nothing."""
    if not 0 <= accuracy_percent <= 100 or n < 1:
        raise ValueError(f"no accuracy in percent on clips: {accuracy_percent} on {n}")
    share = accuracy_percent / 100
    return float(100 * (share * (1 - share) / n) ** 0.5)


def _count_correct(right: ArrayLike) -> np.ndarray:
    """(R, n) of 0 and 1; a ValueError unless it is bool with at least one run and one clip."""
    found = np.asarray(right)
    if found.dtype != bool or found.ndim != 2 or not found.size:
        raise ValueError(f"right or wrong is bool (runs, clips), not {found.dtype} {found.shape}")
    return found.astype(int)


def _count_pair(right_a: ArrayLike, right_b: ArrayLike) -> tuple[np.ndarray, np.ndarray]:
    """`_count_correct` of runs on the same clips."""
    first, second = _count_correct(right_a), _count_correct(right_b)
    if first.shape != second.shape:
        raise ValueError(f"runs on the same clips come in equal shapes, not {first.shape} and {second.shape}")
    return first, second


def _index_groups(groups: Sequence[str], clips: int) -> np.ndarray:
    """(n,) index of each clip's group."""
    if len(groups) != clips:
        raise ValueError(f"{clips} clips have {len(groups)} names of groups")
    return np.unique(np.asarray(groups), return_inverse=True)[1]


def _make_strata(label: np.ndarray, member: np.ndarray) -> list[np.ndarray]:
    """Indices of groups by the class of most of their clips; none holds a single group if there are several groups."""
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
    """Percentile interval of the mean of `values` (n,), counts over `runs`, with groups resampled within strata."""
    groups = int(member.max()) + 1
    mean = 100 * float(values.sum()) / (runs * len(values))
    if groups < MIN_GROUPS:
        why = f"It takes {MIN_GROUPS} independent groups of clips to give an interval, not {groups}."
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
        return Interval(mean, None, None, p, groups, "Resampling the clips changes nothing, so it tells no interval.")
    return Interval(mean, low, high, p, groups)


def _bootstrap(
    samples: Sequence[np.ndarray],
    statistic: Callable[..., np.ndarray],
    draws: int,
    seed: int,
    batch: int | None = None,
) -> tuple[float, float, np.ndarray]:
    """Ends of the percentile interval of a statistic, and its (draws,) values."""
    options: dict[str, Any] = {"n_resamples": draws, "confidence_level": CONFIDENCE_LEVEL, "batch": batch}
    found = stats.bootstrap(samples, statistic, vectorized=True, method="percentile", rng=seed, **options)
    ends = found.confidence_interval
    return float(ends.low), float(ends.high), found.bootstrap_distribution


@dataclass(frozen=True)
class PairedTest:
    """Differences of n paired runs, in points. `mean` is NaN for no pairs. `low`, `high` and `detectable_difference`
    are None below two pairs and also where all differences are equal: then `std` is 0, and an interval without width
    would claim a certainty that no number of runs gives."""

    n_pairs: int
    mean: float
    std: float | None  # sample standard deviation (n - 1); None below two pairs
    low: float | None  # Student's 95 % interval of the mean
    high: float | None
    p: float | None  # two-sided; None for no pairs, and for a t-test of equal differences other than 0
    smallest_p: float  # the smallest p that n pairs can reach
    detectable_difference: float | None  # true difference at which the interval leaves out 0 in 8 of 10 repetitions
    is_corrected: bool  # for overlapping sets of clips (Nadeau and Bengio 2003): then `p` is of a t-test


def compare_pairs(differences: Sequence[float], overlap: float | None = None) -> PairedTest:
    """What `differences` (n,) in points tell; their order does not matter, and NaN or infinity is a ValueError.

    Without `overlap` the pairs count as independent: `p` is that of the exact two-sided signed-rank test (Wilcoxon
    1945), which leaves out differences of 0 (all 0: p = 1), and `smallest` is 2 * 0.5**n, what n pairs of one sign
    reach. The interval and `detectable` are Student's; it can leave out 0 where the pairs are too few for a p of 0.05.

    `overlap` is the number of test clips over that of training clips, for pairs whose sets of clips overlap. The
    variance of the mean is then spread**2 * (1/n + overlap) (Nadeau and Bengio 2003) in the interval, in `detectable`
    and in a t-test with n - 1 degrees of freedom that gives `p`. A t-test has no smallest p: `smallest` is 0 from two
    pairs on, where it has a spread to go by, and 1 below.
    """
    found = np.sort(np.round(np.asarray(differences, dtype=float).reshape(-1), DIFFERENCE_DECIMALS)) + 0.0  # no -0.0
    if not np.isfinite(found).all():
        raise ValueError(f"differences must be finite numbers: {list(differences)}")
    if overlap is not None and not 0 <= overlap < np.inf:
        raise ValueError(f"overlap is test clips / training clips, not {overlap}")
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
    """Two-sided p of Wilcoxon's test; None for no pairs. It is exact for any n without ties and for up to
    MAX_ENUMERATED_PAIRS tied pairs; for more it is the normal approximation, corrected for ties and continuity."""
    moved = found[found != 0]
    if not len(moved):
        return 1.0 if len(found) else None
    if len(np.unique(np.abs(moved))) == len(moved):
        return float(stats.wilcoxon(moved, method="exact").pvalue)
    if len(moved) <= MAX_ENUMERATED_PAIRS:
        return _enumerate_signed_rank_p(moved)
    return float(stats.wilcoxon(moved, method="asymptotic", correction=True).pvalue)


def _enumerate_signed_rank_p(moved: np.ndarray) -> float:
    """Share of all 2^n signs of differences other than 0 whose signed-rank statistic is as extreme as theirs."""
    signs = 1 - 2 * (np.arange(2 ** len(moved))[:, None] >> np.arange(len(moved)) & 1)
    found = stats.wilcoxon(signs * np.abs(moved), axis=1, method="asymptotic").statistic
    return float(np.mean(found <= stats.wilcoxon(moved, method="asymptotic").statistic + 1e-9))


def _compute_t_test_p(found: np.ndarray, error: float | None) -> float | None:
    """Two-sided p of mean / error; 1 for one pair and where all differences are 0, None where it is not defined."""
    if error is not None:
        return float(2 * stats.t.sf(abs(found.mean()) / error, len(found) - 1))
    return 1.0 if len(found) == 1 or (len(found) and not found.any()) else None


@cache
def _noncentrality(n: int) -> float:
    """True mean, in standard errors, that a two-sided t-test of n pairs at ALPHA finds with probability POWER."""
    effect = TTestPower().solve_power(nobs=n, alpha=ALPHA, power=POWER, alternative="two-sided")
    return float(effect * n**0.5)


def mean_over_datasets(
    scores: Sequence[Sequence[float]], overlaps: Sequence[float | None] | None = None, draws: int = 2000, seed: int = 0
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
    why = ""
    if fewest < MIN_RUNS:
        why = f"It takes {MIN_RUNS} runs (or folds) on each data set to give an interval, not {fewest}."
    elif not any(np.ptp(runs) for runs in samples):
        why = "The runs do not differ on any data set, so they tell no interval."
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
    """Methods by their mean rank over data sets; 1 is best."""

    methods: tuple[str, ...]
    ranks: tuple[float, ...]
    n_datasets: int
    friedman_p: float | None  # p that all methods are alike; None below three methods or two data sets
    critical_difference: float | None  # Nemenyi's at 0.05; None below two methods or without data sets
    are_comparable: bool  # there are enough of both for ranks to be compared
    reason: str  # they are not: a sentence
    nemenyi_p: tuple[tuple[float, ...], ...] = ()  # p of every two methods, where carried


def compute_mean_ranks(scores: Mapping[str, Sequence[float]]) -> MeanRanks:
    """Ranks of methods by their mean score (higher is better) on each data set, the same order of data sets for all.
    Equal scores share their mean rank. Friedman's p is the chi-squared approximation, which is cautious for few data
    sets; the critical difference is q * sqrt(k (k + 1) / 6N), q being of the studentised range over sqrt(2) (Nemenyi
    1963). Methods without a score on each data set, or with NaN, are a ValueError."""
    lengths = {len(row) for row in scores.values()}
    if len(lengths) > 1:
        raise ValueError(f"methods have scores on different numbers of data sets: {sorted(lengths)}")
    k, n = len(scores), max(lengths, default=0)
    table = np.round(np.array(list(scores.values()), dtype=float).reshape(k, n), SCORE_DECIMALS)
    if not np.isfinite(table).all():
        raise ValueError("ranks take a finite score of each method on each data set")
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
    """Critical difference diagram: a bar joins methods whose mean ranks are too close to tell apart (Nemenyi, 0.05). A
    ValueError where the ranks are not comparable."""
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
    """Clips by how sure a model is of them, from the least to the most; bins without a clip are left out."""

    confidence: np.ndarray  # mean of a bin's clips, a fraction
    accuracy: np.ndarray  # share of them that are right
    clips: np.ndarray


def bin_clips(scores: np.ndarray, labels: np.ndarray, bins: int = BINS) -> ConfidenceBins:
    """Sort clips into bins by confidence, the softmax of their highest score; `scores` are logits (n, C), `labels` (n,)
    the true classes. The bins hold equally many clips (Nguyen and O'Connor 2015), but clips of one confidence share a
    bin, so that the order of clips does not matter and a model of constant confidence has one bin."""
    scores, labels = np.asarray(scores, dtype=float), np.asarray(labels)
    if scores.ndim != 2 or not scores.size or labels.shape != scores.shape[:1] or bins < 1:
        raise ValueError(f"{bins} bins of scores {scores.shape} with labels {labels.shape}")
    if not np.isfinite(scores).all():
        raise ValueError("a score is not a finite number")
    confidence = softmax(scores, axis=1).max(axis=1)
    right = scores.argmax(axis=1) == labels
    at = ((stats.rankdata(confidence, method="min") - 1) * bins / len(scores)).astype(int)
    _, at, clips = np.unique(at, return_inverse=True, return_counts=True)
    return ConfidenceBins(np.bincount(at, confidence) / clips, np.bincount(at, right) / clips, clips)


def expected_calibration_error(scores: np.ndarray, labels: np.ndarray, bins: int = BINS) -> float:
    """Expected calibration error, a fraction: the mean gap between confidence and accuracy in the bins of `bin_clips`.
    With few clips it is biased upwards: a bin of 5 clips is off by nearly 0.2 in a perfectly calibrated model of
    confidence 0.5. So compare it only between models on the same clips."""
    found = bin_clips(scores, labels, bins)
    return float(np.average(np.abs(found.confidence - found.accuracy), weights=found.clips))
