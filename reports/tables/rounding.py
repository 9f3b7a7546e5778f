"""How many decimals a column of numbers is printed with: as many as its spread can stand for."""

from __future__ import annotations

from collections.abc import Sequence
from math import floor, log10
from statistics import median

from reports.results.pools import Number
from reports.statistics.clips import resolution

SIGNIFICANT = 2  # digits of the spread
MOST = 2  # decimals of a score in percent
TYPICAL = 500  # test clips, where nothing is known of them


def decimals(numbers: Sequence[Number], clips: Sequence[float] = ()) -> int:
    """Decimals of a column of percents: two significant digits of its median spread over runs; of single runs, of the
    standard error that a share of so many test clips has. 0 to 2."""
    spreads = [number.spread for number in numbers if number.spread]
    if not spreads and numbers:
        n = median(clips) if clips else TYPICAL
        spreads = [resolution(number.mean, int(n)) for number in numbers if 0 < number.mean < 100]
    return digits(median(spreads)) if spreads else 1


def digits(spread: float) -> int:
    """Decimals that show two significant digits of a spread, 0 to 2."""
    if spread <= 0:
        return MOST
    return min(MOST, max(0, SIGNIFICANT - 1 - floor(log10(float(f"{spread:.1e}")))))


def shown(number: Number, places: int) -> str:
    """The mean, with its spread where there are several runs."""
    mean = signless(f"{number.mean:.{places}f}")
    return mean if number.spread is None else f"{mean} ± {number.spread:.{places}f}"


def signless(text: str) -> str:
    """A zero without its sign."""
    return text.lstrip("-") if float(text) == 0 else text
