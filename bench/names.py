"""Look-up by name that proposes the nearest known name."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from difflib import get_close_matches
from typing import TypeVar

from bench.errors import ConfigError

T = TypeVar("T")


def propose(name: str, known: Iterable[str]) -> str:
    """The tail of an error message: the nearest known name, or all of them."""
    known = sorted(known)
    near = get_close_matches(name, known, n=1, cutoff=0.5)
    return f"did you mean '{near[0]}'?" if near else f"known: {', '.join(known)}"


def look_up(name: str, table: Mapping[str, T], kind: str) -> T:
    """The entry of `table` called `name`; raises ConfigError naming the nearest entry of this `kind`."""
    if name in table:
        return table[name]
    raise ConfigError(f"unknown {kind} '{name}'; {propose(name, table)}")
