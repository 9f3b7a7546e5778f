"""What the names of a data set's clips tell beside their class."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from bench.data import Split


@dataclass(frozen=True)
class Rules:
    """How a clip's bare name is read; without rules it tells nothing, and a clip is a group of its own."""

    group: Callable[[str], str | None] | None = None  # the video, session or drama; None where it tells none
    certain: bool = True  # False: a group that straddles the official lists is no group after all
    split: Callable[[str], Split | None] | None = None  # where there is no list
    held_out: Callable[[str], int | None] | None = None  # the fold that tests the clip, whatever a list says
