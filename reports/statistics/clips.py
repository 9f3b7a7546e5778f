"""What the predictions of single clips, right or wrong, can tell of methods and their differences."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

FEWEST_GROUPS = 10  # a bootstrap of fewer groups is far too narrow
LEVEL = 0.95
AT_ONCE = 2_000_000  # resampled groups held in memory


@dataclass(frozen=True)
class Interval:
    """A mean in percent or points, with a 95 % interval where one can be given."""

    mean: float
    low: float | None
    high: float | None
    p: float | None  # two-sided, of a mean of 0; None where nothing is tested
    groups: int  # that were resampled
    why: str = ""  # there is no interval: a sentence


@dataclass(frozen=True)
class McNemar:
    """Exact McNemar tests (1947) of R pairs of runs on the same clips."""

    p: float  # of all pairs together
    each: tuple[float, ...]  # of each pair, two-sided
    discordant: tuple[tuple[int, int], ...]  # clips that only the first, only the second run had right


def difference(
    right_a: ArrayLike, right_b: ArrayLike, groups: Sequence[str], draws: int = 2000, seed: int = 0
) -> Interval:
    """Mean difference in accuracy, a minus b, in points, for new clips under these very runs.

    `right_a` and `right_b` are (R, n) bool: R paired runs on the same n clips; `groups` names the n clips' videos,
    speakers or sessions. Groups are resampled, with all runs of their clips on both sides (cluster bootstrap; Davison
    and Hinkley 1997), so the interval leaves out how runs differ by seed; `pairs.compare` has that. It is the
    percentile interval, somewhat narrow for few groups: with 10 about 92 % of such intervals hold the truth, not 95 %.
    `p` is twice the smaller tail of the draws, one draw added to each (Davison and Hinkley 1997), 1 at most.
    """
    first, second = _runs(right_a), _runs(right_b)
    if first.shape != second.shape:
        raise ValueError(f"runs on the same clips come in equal shapes, not {first.shape} and {second.shape}")
    gains = first.sum(axis=0) - second.sum(axis=0)
    member = _members(groups, first.shape[1])
    every = np.arange(member.max() + 1)
    return _resampled(gains, member, [every], len(first), draws, seed, test=True)


def score_interval(
    right: ArrayLike, labels: ArrayLike, groups: Sequence[str], draws: int = 2000, seed: int = 0
) -> Interval:
    """Accuracy in percent, the mean of R runs, for new clips under these very runs; `right` is (R, n) bool.

    A bootstrap stratified by class (Efron and Tibshirani 1993): clips are resampled within each class of `labels` (n,),
    so that class sizes stay. Where a group holds several clips, groups are resampled, within the strata of the class of
    most of their clips (of equally many, the first), and class sizes stay nearly. Strata of one group, which would not
    vary at all, are resampled as one stratum; a single one joins the smallest other.
    """
    found, label = _runs(right), np.asarray(labels)
    if label.shape != found.shape[1:]:
        raise ValueError(f"{found.shape[1]} clips have labels of shape {label.shape}")
    member = _members(groups, found.shape[1])
    return _resampled(found.sum(axis=0), member, _strata(label, member), len(found), draws, seed, test=False)


def mcnemar(right_a: ArrayLike, right_b: ArrayLike) -> McNemar:
    """Whether two methods have the same accuracy on clips like these; (R, n) bool each, paired run by run.

    Several pairs are put together as twice the median of their p-values, 1 at most, which holds under any dependence
    (Rueger 1978; Vovk and Wang 2020); one pair keeps its own. Clips count as independent: where they come in groups,
    `difference` is the test to go by.
    """
    from statsmodels.stats.contingency_tables import mcnemar as exact

    first, second = _runs(right_a) == 1, _runs(right_b) == 1
    if first.shape != second.shape:
        raise ValueError(f"runs on the same clips come in equal shapes, not {first.shape} and {second.shape}")
    only_a, only_b = (first & ~second).sum(axis=1).tolist(), (~first & second).sum(axis=1).tolist()
    each = tuple(float(exact([[0, a], [b, 0]], exact=True).pvalue) for a, b in zip(only_a, only_b, strict=True))
    p = each[0] if len(each) == 1 else min(1.0, 2 * float(np.median(each)))
    return McNemar(p, each, tuple(zip(only_a, only_b, strict=True)))


def resolution(accuracy_percent: float, n: int) -> float:
    """Standard error, in points, of one run's accuracy on n independent clips: that of a binomial share.

    It is 0 at 0 and at 100 percent, where this formula says nothing.
    """
    if not 0 <= accuracy_percent <= 100 or n < 1:
        raise ValueError(f"no accuracy in percent on clips: {accuracy_percent} on {n}")
    share = accuracy_percent / 100
    return float(100 * (share * (1 - share) / n) ** 0.5)


def _runs(right: ArrayLike) -> np.ndarray:
    """(R, n) of 0 and 1; a ValueError unless it is bool with at least one run and one clip."""
    found = np.asarray(right)
    if found.dtype != bool or found.ndim != 2 or not found.size:
        raise ValueError(f"right or wrong is bool (runs, clips), not {found.dtype} {found.shape}")
    return found.astype(int)


def _members(groups: Sequence[str], clips: int) -> np.ndarray:
    """(n,) index of each clip's group."""
    if len(groups) != clips:
        raise ValueError(f"{clips} clips have {len(groups)} names of groups")
    return np.unique(np.asarray(groups), return_inverse=True)[1]


def _strata(label: np.ndarray, member: np.ndarray) -> list[np.ndarray]:
    """Indices of groups by the class of most of their clips; none holds a single group if there are several groups."""
    classes, index = np.unique(label, return_inverse=True)
    counts = np.zeros((member.max() + 1, len(classes)), dtype=int)
    np.add.at(counts, (member, index), 1)
    main = counts.argmax(axis=1)
    strata = [np.flatnonzero(main == kind) for kind in np.unique(main)]
    lone = [stratum for stratum in strata if len(stratum) == 1]
    rest = sorted((stratum for stratum in strata if len(stratum) > 1), key=len)
    if len(lone) == 1 and rest:
        lone.append(rest.pop(0))
    return [*rest, np.concatenate(lone)] if lone else rest


def _resampled(
    values: np.ndarray, member: np.ndarray, strata: list[np.ndarray], runs: int, draws: int, seed: int, test: bool
) -> Interval:
    """Percentile interval of the mean of `values` (n,), counts over `runs`, with groups resampled within strata."""
    from scipy.stats import bootstrap

    groups = int(member.max()) + 1
    mean = 100 * float(values.sum()) / (runs * len(values))
    if groups < FEWEST_GROUPS:
        why = f"It takes {FEWEST_GROUPS} independent groups of clips to give an interval, not {groups}."
        return Interval(mean, None, None, None, groups, why)
    sums = np.bincount(member, weights=values)  # whole numbers: sums of draws are exact, and so is a tie with 0
    sizes = np.bincount(member)

    def share(*chosen: np.ndarray, axis: int = -1) -> np.ndarray:
        drawn = np.concatenate(chosen, axis=axis).astype(int)
        return np.asarray(100 * sums[drawn].sum(axis=axis) / (runs * sizes[drawn].sum(axis=axis)))

    batch = max(1, AT_ONCE // groups)
    options = {"n_resamples": draws, "confidence_level": LEVEL, "method": "percentile", "rng": seed, "batch": batch}
    found = bootstrap(strata, share, vectorized=True, **options)
    drawn = found.bootstrap_distribution
    tail = min(int((drawn <= 0).sum()), int((drawn >= 0).sum()))
    p = min(1.0, 2 * (tail + 1) / (draws + 1)) if test else None
    if np.ptp(drawn) < 1e-9:
        return Interval(mean, None, None, p, groups, "Resampling the clips changes nothing, so it tells no interval.")
    ends = found.confidence_interval
    return Interval(mean, float(ends.low), float(ends.high), p, groups)
