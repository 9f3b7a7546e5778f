"""Mean ranks of methods over data sets, and how far apart they must lie (Demsar 2006)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from matplotlib.figure import Figure

ALPHA = 0.05
FEWEST_METHODS = 3
FEWEST_DATASETS = 5
DECIMALS = 9  # scores equal but for the rounding of floats share a rank


@dataclass(frozen=True)
class Ranks:
    """Methods by their mean rank over data sets; 1 is best."""

    methods: tuple[str, ...]
    ranks: tuple[float, ...]
    datasets: int
    friedman: float | None  # p that all methods are alike; None below three methods or two data sets
    critical: float | None  # Nemenyi's critical difference at 0.05; None below two methods or without data sets
    carried: bool  # there are enough of both for ranks to be compared
    why: str  # they are not: a sentence
    nemenyi: tuple[tuple[float, ...], ...] = ()  # p of every two methods, where carried


def rank(scores: Mapping[str, Sequence[float]]) -> Ranks:
    """Ranks of methods by their mean score (higher is better) on each data set, the same order of data sets for all.

    Equal scores share their mean rank. Friedman's p is the chi-squared approximation, which is cautious for few data
    sets; the critical difference is q * sqrt(k (k + 1) / 6N), q being of the studentised range over sqrt(2) (Nemenyi
    1963). Methods without a score on each data set, or with NaN, are a ValueError.
    """
    from scipy import stats

    lengths = {len(row) for row in scores.values()}
    if len(lengths) > 1:
        raise ValueError(f"methods have scores on different numbers of data sets: {sorted(lengths)}")
    k, n = len(scores), max(lengths, default=0)
    table = np.round(np.array(list(scores.values()), dtype=float).reshape(k, n), DECIMALS)
    if not np.isfinite(table).all():
        raise ValueError("ranks take a finite score of each method on each data set")
    each = stats.rankdata(-table, axis=0)
    means = tuple(each.mean(axis=1).tolist()) if n else (float("nan"),) * k
    critical = None
    if k > 1 and n:
        critical = float(stats.studentized_range.ppf(1 - ALPHA, k, np.inf) / 2**0.5 * (k * (k + 1) / (6 * n)) ** 0.5)
    friedman = None
    if k > 2 and n > 1:
        friedman = float(stats.friedmanchisquare(*table).pvalue) if np.ptp(each, axis=0).any() else 1.0
    why = _why(k, n, critical)
    nemenyi = () if why else _nemenyi(table)
    return Ranks(tuple(scores), means, n, friedman, critical, not why, why, nemenyi)


def draw_ranks(ranks: Ranks) -> Figure:
    """Critical difference diagram: a bar joins methods whose mean ranks are too close to tell apart (Nemenyi, 0.05).

    A ValueError where the ranks are not carried.
    """
    if not ranks.carried:
        raise ValueError(ranks.why)
    from matplotlib.figure import Figure
    from pandas import DataFrame
    from scikit_posthocs import critical_difference_diagram

    figure = Figure(figsize=(7.5, 1.6 + 0.3 * len(ranks.methods)), layout="constrained")
    axes = figure.subplots()
    names = list(ranks.methods)
    critical_difference_diagram(
        dict(zip(names, ranks.ranks, strict=True)),
        DataFrame(ranks.nemenyi, index=names, columns=names),
        alpha=ALPHA,
        ax=axes,
        label_fmt_left="{label}  {rank:.2f} ",
        label_fmt_right=" {rank:.2f}  {label}",
        color_palette=dict.fromkeys(names, "black"),
        elbow_props={"linewidth": 0.8},
        crossbar_props={"linewidth": 3, "color": "tab:blue"},
    )
    axes.set_xticks(range(1, len(names) + 1))
    axes.set_xlim(1 - 0.05 * len(names), 1.05 * len(names))
    title = f"mean rank over {ranks.datasets} data sets, 1 is best"
    tests = f"critical difference {ranks.critical:.2f} (Nemenyi, {ALPHA}), Friedman p {ranks.friedman:.2g}"
    axes.set_title(f"{title}\n{tests}", fontsize=10)
    return figure


def _why(k: int, n: int, critical: float | None) -> str:
    """Why k methods on n data sets are not compared by rank; nothing where they are."""
    reasons = []
    if k < FEWEST_METHODS:
        reasons.append(f"it takes {FEWEST_METHODS} methods, not {k}")
    if n < FEWEST_DATASETS:
        reasons.append(f"it takes {FEWEST_DATASETS} data sets, not {n}")
    if critical is not None and critical >= k - 1:
        reasons.append(f"mean ranks of {k} methods differ by {k - 1} at most, and would have to by {critical:.2f}")
    return f"Mean ranks are not compared: {'; '.join(reasons)}." if reasons else ""


def _nemenyi(table: np.ndarray) -> tuple[tuple[float, ...], ...]:
    """(k, k) p-values of every two rows of `table` (k, n)."""
    from scikit_posthocs import posthoc_nemenyi_friedman

    return tuple(tuple(row) for row in posthoc_nemenyi_friedman(table.T).to_numpy().tolist())
