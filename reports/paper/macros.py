"""LaTeX macros for numbers in running text: `\\methodDataAccE` is what the table of scores prints there."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from functools import partial

from reports.results.frame import Frame
from reports.results.part import Part
from reports.tables.columns import METRICS, column
from reports.tables.scores import percent

SPELT = ("Zero", "One", "Two", "Three", "Four", "Five", "Six", "Seven", "Eight", "Nine")
HEAD = """% Numbers of the tables of scores, for running text. \\methodDataAccE is a mean in percent,
% \\methodDataAccEStd its standard deviation over runs, \\methodDataAccEN how many runs there are; behind each its runs.
"""


def macros(parts: Sequence[Part], warnings: Sequence[str] = ()) -> str:
    """One line for each number, the warnings above all. Where two studies have different numbers under one name, that
    of the later is preceded by its study's; digits of data sets and arms are spelt where they alone tell two apart."""
    lines: dict[str, str] = {}
    for part in parts:
        for name, text, keys in _numbers(part.frame):
            behind = f"{{{text}}} % {keys}"
            own = name if lines.get(name, behind) == behind else f"{letters(part.name, first=False)}{letters(name)}"
            lines.setdefault(own, behind)
    told = "".join(f"% {' '.join(warning.split())}\n" for warning in warnings)
    return told + HEAD + "".join(f"\\newcommand{{\\{name}}}{behind}\n" for name, behind in lines.items())


def _numbers(frame: Frame) -> Iterator[tuple[str, str, str]]:
    """Names, texts as the table of scores has them, and what stands behind: the runs, and how many of how many."""
    titles = _apart(
        [letters(title) for title in frame.datasets.values()],
        [letters(dataset, spelt=True) for dataset in frame.datasets],
    )
    names = _apart(
        [letters(label, first=False) for label in frame.labels],
        [letters(label, first=False, spelt=True) for label in frame.labels],
    )
    for dataset, place in zip(frame.datasets, titles, strict=True):
        pools = frame.pools(dataset)
        for metric, short in METRICS.items():
            read = partial(percent, metric)
            for name, pool, cell in zip(names, pools, column(pools, read), strict=True):
                number = pool.number(read)
                if number is None:
                    continue
                told, _, lacks = cell.text.partition(" (")
                mean, _, spread = told.partition(" ± ")
                whole, behind = f"{name}{place}{letters(short)}", " ".join(number.keys)
                behind += f" ({lacks}" if lacks else ""
                yield whole, mean, behind
                if spread:
                    yield f"{whole}Std", spread, behind
                yield f"{whole}N", str(len(number.values)), behind


def _apart(names: Sequence[str], spelt: Sequence[str]) -> list[str]:
    """Each name once: spelt where two are alike, and with a letter more where that does not tell them apart."""
    once = [other if names.count(name) > 1 else name for name, other in zip(names, spelt, strict=True)]
    return [
        f"{name}{chr(ord('A') + once[:place].count(name))}" if once.count(name) > 1 else name
        for place, name in enumerate(once)
    ]


def letters(name: str, first: bool = True, spelt: bool = False) -> str:
    """A name as LaTeX takes it for a command: its Latin letters, each word with a capital; digits dropped or spelt."""
    text = "".join(SPELT[int(sign)] if sign in "0123456789" else sign for sign in name) if spelt else name
    words = re.findall(r"[A-Za-z]+", text)
    joined = "".join(word[0].upper() + word[1:] for word in words) or "X"
    return joined if first else joined[0].lower() + joined[1:]
