"""What the differences of paired runs, equal in seed and fold, can tell."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache

import numpy as np

ALPHA = 0.05
POWER = 0.8
ENUMERATED = 14  # tied pairs whose 2^n signs are enumerated; beyond, the normal approximation is good
DECIMALS = 9  # of a point; differences equal but for the rounding of floats are ties


@dataclass(frozen=True)
class Paired:
    """Differences of n paired runs, in points. `mean` is NaN for no pairs.

    `low`, `high` and `detectable` are None below two pairs and also where all differences are equal: then `spread` is
    0, and an interval without width would claim a certainty that no number of runs gives.
    """

    n: int
    mean: float
    spread: float | None  # sample standard deviation (n - 1); None below two pairs
    low: float | None  # Student's 95 % interval of the mean
    high: float | None
    p: float | None  # two-sided; None for no pairs, and for a t-test of equal differences other than 0
    smallest: float  # the smallest p that n pairs can reach
    can_reject: bool  # smallest <= ALPHA
    detectable: float | None  # true difference at which the interval leaves out 0 in 8 of 10 repetitions
    corrected: bool  # for overlapping sets of clips (Nadeau and Bengio 2003): then `p` is of a t-test


def compare(differences: Sequence[float], overlap: float | None = None) -> Paired:
    """What `differences` (n,) in points tell; their order does not matter, and NaN or infinity is a ValueError.

    Without `overlap` the pairs count as independent: `p` is that of the exact two-sided signed-rank test (Wilcoxon
    1945), which leaves out differences of 0 (all 0: p = 1), and `smallest` is 2 * 0.5**n, what n pairs of one sign
    reach. The interval and `detectable` are Student's; it can leave out 0 where the pairs are too few for a p of 0.05.

    `overlap` is the number of test clips over that of training clips, for pairs whose sets of clips overlap. The
    variance of the mean is then spread**2 * (1/n + overlap) (Nadeau and Bengio 2003) in the interval, in `detectable`
    and in a t-test with n - 1 degrees of freedom that gives `p`. A t-test has no smallest p: `smallest` is 0 from two
    pairs on, where it has a spread to go by, and 1 below.
    """
    from scipy import stats

    found = np.sort(np.round(np.asarray(differences, dtype=float).reshape(-1), DECIMALS)) + 0.0  # no -0.0
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
        p, smallest = _signed_rank(found), min(1.0, 2 * 0.5**n)
    else:
        p, smallest = _t_test(found, error), 0.0 if n > 1 else 1.0
    return Paired(n, mean, spread, low, high, p, smallest, smallest <= ALPHA, detectable, overlap is not None)


def _signed_rank(found: np.ndarray) -> float | None:
    """Two-sided p of Wilcoxon's test; None for no pairs.

    It is exact for any n without ties and for up to ENUMERATED tied pairs; for more tied ones it is the normal
    approximation with the corrections for ties and continuity.
    """
    from scipy import stats

    moved = found[found != 0]
    if not len(moved):
        return 1.0 if len(found) else None
    if len(np.unique(np.abs(moved))) == len(moved):
        method = "exact"
    elif len(moved) <= ENUMERATED:
        return _enumerated(moved)
    else:
        method = "asymptotic"
    return float(stats.wilcoxon(moved, method=method, correction=method == "asymptotic").pvalue)


def _enumerated(moved: np.ndarray) -> float:
    """Share of all 2^n signs of differences other than 0 whose signed-rank statistic is as extreme as theirs."""
    from scipy import stats

    signs = 1 - 2 * (np.arange(2 ** len(moved))[:, None] >> np.arange(len(moved)) & 1)
    found = stats.wilcoxon(signs * np.abs(moved), axis=1, method="asymptotic").statistic
    return float(np.mean(found <= stats.wilcoxon(moved, method="asymptotic").statistic + 1e-9))


def _t_test(found: np.ndarray, error: float | None) -> float | None:
    """Two-sided p of mean / error; 1 for one pair and where all differences are 0, None where it is not defined."""
    from scipy import stats

    if error is not None:
        return float(2 * stats.t.sf(abs(found.mean()) / error, len(found) - 1))
    return 1.0 if len(found) == 1 or (len(found) and not found.any()) else None


@cache
def _noncentrality(n: int) -> float:
    """True mean, in standard errors, that a two-sided t-test of n pairs at ALPHA finds with probability POWER."""
    from statsmodels.stats.power import TTestPower

    effect = TTestPower().solve_power(nobs=n, alpha=ALPHA, power=POWER, alternative="two-sided")
    return float(effect * n**0.5)
