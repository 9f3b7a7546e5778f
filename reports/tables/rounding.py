"""How many digits a number is printed with, on the screen as in every table: as many as its spread can stand for."""

from __future__ import annotations

from collections.abc import Sequence
from math import floor, log10
from statistics import median

from reports.results.pools import Number
from reports.statistics.clips import resolution

SIGNIFICANT = 2  # digits of the spread
MOST = 2  # decimals of a score in percent
TYPICAL = 500  # test clips, where nothing is known of them
UNKNOWN_SPREAD = 1  # decimals of a number of which no spread is known


def decimals(numbers: Sequence[Number], clips: Sequence[float] = ()) -> int:
    """Decimals of a column of percents: two significant digits of its median spread over runs; of single runs, of the
    standard error that a share of so many test clips has. 0 to 2."""
    spreads = [number.spread for number in numbers if number.spread]
    if not spreads and numbers:
        n = median(clips) if clips else TYPICAL
        spreads = [resolution(number.mean, int(n)) for number in numbers if 0 < number.mean < 100]
    return decimals_of_spreads(spreads)


def decimals_of_spreads(spreads: Sequence[float | None]) -> int:
    """Choose the decimals that numbers of these spreads share: those of the median; None and 0 have no say."""
    known = [spread for spread in spreads if spread]
    return digits(median(known)) if known else UNKNOWN_SPREAD


def digits(spread: float) -> int:
    """Decimals that show two significant digits of a spread, 0 to 2."""
    if spread <= 0:
        return MOST
    return min(MOST, max(0, SIGNIFICANT - 1 - floor(log10(float(f"{spread:.1e}")))))


def shown(number: Number, places: int) -> str:
    """The mean, with its spread where there are several runs."""
    return f"{signless(f'{number.mean:.{places}f}')}{_behind(number, places)}"


def shown_difference(number: Number) -> str:
    """Print a mean of differences with its sign and its spread: "+1.2 ± 0.6"."""
    places = decimals_of_spreads([number.spread])
    return f"{signed(number.mean, places)}{_behind(number, places)}"


def interval_text(mean: float, low: float | None, high: float | None, spread: float | None) -> str:
    """A signed mean in points with its interval."""
    places = decimals_of_spreads([spread])
    if low is None or high is None:
        return signed(mean, places)
    return f"{signed(mean, places)} [{signed(low, places)}, {signed(high, places)}]"


def signed(value: float, places: int) -> str:
    """A difference with its sign; a zero without."""
    text = f"{value:+.{places}f}"
    return signless(text).lstrip("+") if float(text) == 0 else text.replace("-", "−")


def quantity(value: float) -> str:
    """Print a cost with three significant digits, and all digits before the point."""
    places = max(0, 2 - floor(log10(float(f"{abs(value):.2e}")))) if value else 2
    return f"{value:.{places}f}"


def signless(text: str) -> str:
    """A zero without its sign."""
    return text.lstrip("-") if float(text) == 0 else text


def _behind(number: Number, places: int) -> str:
    return "" if number.spread is None else f" ± {number.spread:.{places}f}"
