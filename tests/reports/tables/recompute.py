"""Independent computations of the numbers of tables, from stored predictions."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import numpy as np
from scipy import optimize, stats

from reports.runs import Run
from tests.reports.tables.by_hand import accuracy, logits, read

MINUS = str.maketrans("−", "-")


def confusion(run: Run, sentiment: bool = False) -> np.ndarray:
    """Count (true, predicted) on test, of classes or of their polarities."""
    card, table = run.info, read(run)
    true = [card.classes.index(name) for name in table["label"]]
    guess = logits(run).argmax(axis=1).tolist()
    kinds: list[int] = list(range(len(card.classes)))
    if sentiment:
        kinds = sorted(set(card.sentiment))
        true, guess = ([kinds.index(card.sentiment[one]) for one in row] for row in (true, guess))
    counts = np.zeros((len(kinds), len(kinds)))
    for one, other in zip(true, guess, strict=True):
        counts[one, other] += 1
    return counts


def score(run: Run, name: str) -> float | None:
    """Return a test score in percent: acc_e, f1_s, recall/joy; None for a class without clips."""
    counts = confusion(run, sentiment=name.endswith("_s"))
    if name.startswith("acc"):
        return float(100 * counts.trace() / counts.sum())
    of = counts.sum(axis=1)
    if name.startswith("recall/"):
        row = run.info.classes.index(name.removeprefix("recall/"))
        return float(100 * counts[row, row] / of[row]) if of[row] else None
    both = of + counts.sum(axis=0)
    f1 = np.divide(2 * counts.diagonal(), both, out=np.zeros(len(of)), where=both > 0)
    return float(100 * (f1 * of).sum() / of.sum())


def two_digits(spread: float) -> int:
    """Return the decimals (0 to 2) that show two significant digits of a spread."""
    return int(np.clip(1 - int(f"{spread:.1e}".partition("e")[2]), 0, 2))


def places(values: Sequence[Sequence[float]], clips: int) -> int:
    """Return the decimals of a column from the percents of its rows and the numbers of test clips."""
    spreads = [found for one in values if len(one) > 1 and (found := float(np.std(one, ddof=1))) > 0]
    if not spreads:
        means = np.array([np.mean(one) for one in values]) / 100
        spreads = [100 * float(np.sqrt(p * (1 - p) / clips)) for p in means if 0 < p < 1]
    return two_digits(float(np.median(spreads))) if spreads else 1


def shown(values: Sequence[float], decimals: int) -> str:
    """Format mean ± standard deviation."""
    mean = f"{np.mean(values):.{decimals}f}"
    return mean if len(values) < 2 else f"{mean} ± {np.std(values, ddof=1):.{decimals}f}"


def calibration(run: Run, bins: int = 15) -> float:
    """Return the calibration error in percent in bins of equally many clips; confidences must differ."""
    scores, table = logits(run), read(run)
    each = np.exp(scores - scores.max(axis=1, keepdims=True))
    sure = (each / each.sum(axis=1, keepdims=True)).max(axis=1)
    assert len(set(sure)) == len(sure) and len(sure) % bins == 0
    hit = np.array(run.info.classes)[scores.argmax(axis=1)] == table["label"].to_numpy()
    order = np.argsort(sure)
    gaps = (sure[order] - hit[order]).reshape(bins, -1).mean(axis=1)
    return float(100 * np.abs(gaps).mean())


def gains(ours: Sequence[Run], theirs: Sequence[Run]) -> list[float]:
    """Return differences in points of Acc E by seed, or with several folds by fold, the mean of its seeds."""
    places = [{(r.record.spec.fold, r.record.spec.seed): accuracy(r) for r in runs} for runs in (ours, theirs)]
    both = {cell: places[0][cell] - places[1][cell] for cell in sorted(places[0].keys() & places[1].keys())}
    folds = sorted({fold for fold, _ in both})
    if len(folds) == 1:
        return list(both.values())
    return [float(np.mean([gain for (fold, _), gain in both.items() if fold == one])) for one in folds]


def interval(differences: Sequence[float], overlap: float = 0.0) -> tuple[float, float, float, float]:
    """Return mean, ends of the 95 % t-interval, and standard error, corrected for folds that overlap."""
    n, mean = len(differences), float(np.mean(differences))
    error = float(np.std(differences, ddof=1)) * (1 / n + overlap) ** 0.5
    half = float(stats.t.ppf(0.975, n - 1)) * error
    return mean, mean - half, mean + half, error


def signed_rank(differences: Sequence[float]) -> float:
    """Return the two-sided p of Wilcoxon's test, over all signs."""
    moved = [one for one in np.round(differences, 9) if one]
    ranks = stats.rankdata(np.abs(moved))
    seen = sum(rank for rank, one in zip(ranks, moved, strict=True) if one > 0)
    sums = np.array([sum(itertools.compress(ranks, signs)) for signs in itertools.product([0, 1], repeat=len(moved))])
    return min(1.0, 2 * min(float(np.mean(sums <= seen + 1e-9)), float(np.mean(sums >= seen - 1e-9))))


def detectable(n: int, error: float) -> float:
    """Return the true difference whose interval excludes 0 in 8 of 10 repetitions."""
    limit = stats.t.ppf(0.975, n - 1)
    scales = np.sqrt(stats.chi2.ppf((np.arange(20000) + 0.5) / 20000, n - 1) / (n - 1))

    def lack(shift: float) -> float:
        found = stats.norm.sf(limit * scales - shift) + stats.norm.cdf(-limit * scales - shift)
        return float(found.mean()) - 0.8

    return float(optimize.brentq(lack, 0.01, 90)) * error


def holm(ps: Sequence[float]) -> list[float]:
    """Return adjusted p-values, by definition."""
    order = sorted(range(len(ps)), key=lambda at: ps[at])
    found, most = [0.0] * len(ps), 0.0
    for place, at in enumerate(order):
        most = max(most, min(1.0, (len(ps) - place) * ps[at]))
        found[at] = most
    return found


def mcnemar(only_a: int, only_b: int) -> float:
    """Return the exact two-sided p of one pair of runs."""
    return float(stats.binomtest(only_a, only_a + only_b).pvalue) if only_a + only_b else 1.0


def numbers(text: str) -> list[float]:
    """Return the numbers of a cell: "−1.1 [−2.0, +0.2]" -> -1.1, -2.0, 0.2."""
    for sign in "[],±*":
        text = text.replace(sign, " ")
    return [float(word) for word in text.translate(MINUS).split()]
