"""Which numbers of a column are the best and the second best, as they are printed."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from reports.tables.grid import Mark

Direction = Literal["higher", "lower"]


def marks(printed: Sequence[float | None], direction: Direction = "higher") -> list[Mark]:
    """A mark for each number; None takes no part. Numbers that are printed alike share a mark, and two best leave no
    second; nor is there one where all but the best are alike. Nothing is marked where fewer than two numbers differ."""
    known = sorted({value for value in printed if value is not None}, reverse=direction == "higher")
    if len(known) < 2:
        return ["" for _ in printed]
    several = sum(value == known[0] for value in printed) > 1 or (len(known) == 2 and printed.count(known[1]) > 1)
    names: dict[float, Mark] = {known[0]: "best"} if several else {known[0]: "best", known[1]: "second"}
    return [names.get(value, "") if value is not None else "" for value in printed]
