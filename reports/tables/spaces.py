"""The search spaces with the values chosen, for a paper's appendix."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from reports.results.searched import Summary
from reports.tables.columns import ABSENT
from reports.tables.grid import Cell, Column, Grid, Line

COLUMNS = (
    Column("search", "search", numeric=False),
    Column("field", "value", numeric=False),
    Column("range", "range", numeric=False),
    Column("own", "own"),
    Column("chosen", "chosen"),
    Column("tried", "tried"),
    Column("best", "best val Acc E"),
)


def spaces(searches: Sequence[Summary], titles: Mapping[str, str], name: str) -> Grid:
    """A line for each field of each search, the search named in its first."""
    lines: list[Line] = []
    for search in searches:
        for place, (field, space) in enumerate(sorted(search.ranges.items())):
            chosen = (search.winner or {}).get(field)
            cells = (
                Cell(search.called(titles.get(search.dataset, search.dataset)) if place == 0 else ""),
                Cell(field),
                Cell(_range(space)),
                Cell(_value(search.base.get(field))),
                Cell(_value(chosen) if search.winner is not None else ABSENT),
                Cell(str(search.tried) if place == 0 else "", value=search.tried),
                Cell(_best(search) if place == 0 else "", value=search.best),
            )
            lines.append(Line(f"{search.digest}/{field}", cells, rule=place == 0 and bool(lines)))
    sample = any(search.data == "sample" for search in searches)
    return Grid(
        name,
        "Search spaces and the values chosen",
        "What each search could draw, the method's own value, which is tried first, and what it chose on val; test was "
        "out of its reach. Of equal trials the first wins, so values no better than the method's own leave these in "
        "place.",
        COLUMNS,
        tuple(lines),
        warnings=("BUILT-IN SAMPLE: these searches ran on drawn clips.",) if sample else (),
    )


def _range(space: Sequence[Any]) -> str:
    if len(space) == 3 and space[2] in ("log", "linear"):
        return f"{_value(space[0])} to {_value(space[1])}{', log' if space[2] == 'log' else ''}"
    return "one of " + ", ".join(_value(choice) for choice in space)


def _value(value: Any) -> str:
    return f"{value:.3g}" if isinstance(value, float) else ABSENT if value is None else str(value)


def _best(search: Summary) -> str:
    return ABSENT if search.best is None else f"{100 * search.best:.1f}"
