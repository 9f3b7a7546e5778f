"""The methods that can be run by name, and the named variants that differ from one by config values alone."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from bench.method import Method
from methods.majority import MAJORITY
from methods.mart.entry import MART
from methods.mbt import MBT
from methods.probe import PROBE

METHODS: dict[str, Method] = {method.name: method for method in (MAJORITY, PROBE, MBT, MART)}


@dataclass(frozen=True)
class Pinned:
    """A variant: a method's name and the config values that make it."""

    method: str
    overrides: Mapping[str, object]
    title: str


ARMS: dict[str, Pinned] = {
    "mbt-long": Pinned(
        "mart",
        {"mask": "none", "verify": "none", "w_tacl": 0.0, "w_cue": 0.0},
        "control: MART's schedule with the label loss alone, as many steps",
    ),
    "mart-no-masking": Pinned("mart", {"mask": "none"}, "MART without masking and recovery"),
    "mart-no-verification": Pinned("mart", {"verify": "none"}, "MART that believes every cue"),
    "mart-sentiment-only": Pinned("mart", {"verify": "sentiment"}, "MART whose verification stops at sentiment (E1)"),
}
