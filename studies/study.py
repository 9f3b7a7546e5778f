"""What a study is: a question, and the arms, data sets, folds and protocols whose runs answer it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import get_args

from bench.record import Protocol
from bench.requests import Tuning

TUNINGS: tuple[Tuning, ...] = get_args(Tuning)
FIVE = ("ekman6", "videoemotion8", "perr", "iemocap", "affwild2")


@dataclass(frozen=True)
class Study:
    """A named question. `needs` names arms that can only run with a config value that the user has to give."""

    name: str
    question: str
    arms: tuple[str, ...]
    datasets: tuple[str, ...] = ("ekman6",)  # that of the paper's ablations
    every_fold: bool = False  # all folds of a data set that has folds, or its first
    tuning: Tuning = "shared"
    full: str = "mart"  # the method whose values are tuned where tuning is shared, and that others are held against
    controls: tuple[str, ...] = ("mbt", "mbt-long")  # arms that others are held against too
    remarked: tuple[str, ...] = ("mart-released",)  # arms that a table has to explain
    table: str = "scores"  # "scores", "optimism", or a kind of table that methods describe their parts for
    protocols: tuple[Protocol, ...] = ("clean",)
    needs: tuple[tuple[str, str], ...] = ()  # (arm, config field)
    quick: tuple[str, ...] = ()  # settings of all arms under the quick preset, as --set has them


RUNS = Study("runs", "", arms=())
"""What a report of runs that no study names has in common with one of a study."""
