"""What a search may draw: the ranges that config fields declare, as Optuna's distributions."""

from __future__ import annotations

from collections.abc import Collection
from typing import TYPE_CHECKING, Any

from bench.config import Config, Search

if TYPE_CHECKING:
    from optuna.distributions import BaseDistribution


def searched(config: Config, fixed: Collection[str]) -> dict[str, Search]:
    """Field name -> range, of the fields that change a number here and that nobody has fixed (an arm's own values, and
    what was set by hand)."""
    return {name: search for name, search in config.ranges().items() if name not in fixed}


def distributions(config: Config, ranges: dict[str, Search]) -> dict[str, BaseDistribution]:
    """Field name -> distribution; a range is widened to hold the config's own value, which is tried first."""
    return {name: _distribution(search, getattr(config, name)) for name, search in ranges.items()}


def own_values(config: Config, ranges: dict[str, Search]) -> dict[str, Any]:
    """The config's own values of the searched fields: under the paper preset, the paper's."""
    return {name: getattr(config, name) for name in ranges}


def _distribution(search: Search, own: Any) -> BaseDistribution:
    from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

    if search.choices:
        return CategoricalDistribution(tuple(dict.fromkeys((*search.choices, own))))
    assert search.low is not None and search.high is not None  # a range has both ends
    low, high = min(search.low, own), max(search.high, own)
    if isinstance(own, int) and not isinstance(own, bool):
        return IntDistribution(int(low), int(high), log=search.log)
    return FloatDistribution(low, high, log=search.log and low > 0)
