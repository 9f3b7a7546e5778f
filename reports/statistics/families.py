"""P-values of one family of comparisons, adjusted for their number."""

from __future__ import annotations

from collections.abc import Sequence

LEVELS = (0.05, 0.01, 0.001)


def holm(ps: Sequence[float | None]) -> list[float | None]:
    """Adjusted p-values (Holm 1979) in the order given; None stays None and does not count in the family.

    Valid under any dependence of the tests. NaN, or anything that is no probability, is a ValueError.
    """
    from statsmodels.stats.multitest import multipletests

    tested = [p for p in ps if p is not None]
    if not all(0 <= p <= 1 for p in tested):
        raise ValueError(f"not p-values: {tested}")
    adjusted = iter(multipletests(tested, method="holm")[1].tolist() if tested else ())
    return [None if p is None else float(next(adjusted)) for p in ps]


def stars(p: float | None, smallest: float) -> str:
    """`*`, `**`, `***` for an adjusted p of at most 0.05, 0.01, 0.001; else nothing.

    `smallest` is the smallest p that the test can reach: no star is given for a level below it, whatever p says.
    """
    return "" if p is None else "*" * sum(p <= level and smallest <= level for level in LEVELS)
