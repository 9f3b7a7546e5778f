"""What a study is: a question, and the arms, data sets, folds and protocols whose runs answer it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from bench.record import Protocol

Tuning = Literal["none", "frozen", "re-tuned"]
"""Whose tuned values an arm runs with, where a search is asked for. frozen: every arm has those of the full method, so
that arms differ by the ablated part alone. re-tuned: each arm has a search of its own with the same budget, so that
none is judged by values chosen for another. none: as the preset has them."""
TUNINGS: tuple[Tuning, ...] = ("none", "frozen", "re-tuned")
FIVE = ("ekman6", "videoemotion8", "perr", "iemocap", "affwild2")


@dataclass(frozen=True)
class Study:
    """A named question. `needs` names arms that can only run with a config value that the user has to give."""

    name: str
    question: str
    arms: tuple[str, ...]
    datasets: tuple[str, ...] = ("ekman6",)  # that of the paper's ablations
    every_fold: bool = False  # all folds of a data set that has folds, or its first
    tuning: Tuning = "frozen"
    full: str = "mart"  # the method whose values are tuned where tuning is frozen, and that others are held against
    controls: tuple[str, ...] = ("mbt", "mbt-long")  # arms that others are held against too
    remarked: tuple[str, ...] = ("mart-released",)  # arms that a table has to explain
    table: str = "scores"  # "scores", "optimism", or a kind of table that methods describe their parts for
    protocols: tuple[Protocol, ...] = ("clean",)
    needs: tuple[tuple[str, str], ...] = ()  # (arm, config field)
    quick: tuple[str, ...] = ()  # settings of all arms under the quick preset, as --set has them


RUNS = Study("runs", "", arms=())
"""What a report of runs that no study names has in common with one of a study."""
