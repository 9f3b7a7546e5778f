"""Which cells of a written table somebody changed by hand."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from difflib import SequenceMatcher
from itertools import takewhile, zip_longest
from typing import NamedTuple

from reports.formats import csvtext, html, latex, markdown
from reports.formats.places import Written, text_of
from reports.tables.grid import Grid


class Kind(NamedTuple):
    """A format: what it writes, how a line falls into cells, and what in a line tells which one it is."""

    written: Callable[[Grid], list[Written]]
    split: Callable[[str], list[str]]
    own: Callable[[str], str]


def _whole(line: str) -> list[str]:
    return [line.strip()]


def _first(split: Callable[[str], list[str]]) -> Callable[[str], str]:
    return lambda line: "".join(split(line)[:1])


def _captured(pattern: str) -> Callable[[str], str]:
    def own(line: str) -> str:
        found = re.search(pattern, line)
        return found[1] if found else ""

    return own


HTML = (_whole, _captured('data-cell="([^"]*)"'))
KINDS = {
    "md": Kind(markdown.written, markdown.split, _first(markdown.split)),
    "tex": Kind(latex.written, _whole, _captured(r" % (.*):[^:]*$")),
    "csv": Kind(csvtext.written, csvtext.split, _first(csvtext.split)),
    "html": Kind(html.written, *HTML),
    "page": Kind(html.written_document, *HTML),
}


def edited(grid: Grid, kind: str, text: str) -> list[str]:
    """What in a file's text is not as the format writes the grid: names of cells, or "line 12"; [] if nothing is.

    `kind` is "md", "tex", "csv" or "html" (a page of the table alone, or the table as it stands in ours). A cell is
    named if its text, its mark, or what the file says of its runs differs, and if it is gone. "line 12" is a line of
    the text with a change that belongs to no cell: in a heading, a footnote, an added line.
    """
    if kind == "html" and "<!doctype" in text[:200].lower():
        kind = "page"
    form = KINDS[kind]
    written = form.written(grid)
    if text == text_of(written):
        return []
    lines = text.removesuffix("\n").split("\n")
    found = [name for change in _changes(written, lines, form) for name in change]
    return list(dict.fromkeys(found or [f"line {len(lines)}"]))  # else only the last line end is gone


def _changes(written: Sequence[Written], lines: Sequence[str], form: Kind) -> Iterator[list[str]]:
    """What each line that differs is told as."""
    then = [line.text for line in written]
    head = _alike(then, lines)
    foot = _alike(then[head:][::-1], lines[head:][::-1])
    matcher = SequenceMatcher(None, then[head : len(then) - foot], lines[head : len(lines) - foot])
    for tag, *ends in matcher.get_opcodes():
        if tag == "equal":
            continue
        start, end, first, last = (head + place for place in ends)
        for line, at in _paired(written[start:end], range(first, last), lines, form):
            place = f"line {min(first if at is None else at, len(lines) - 1) + 1}"
            if line is None:
                yield [place]
            elif at is None:
                yield [name for name in line.cells if name] or [place]
            else:
                yield _cells(line, form.split(lines[at]), form.split(line.text)) or [place]


def _alike(then: Sequence[str], now: Sequence[str]) -> int:
    """How many lines are the same before the first that differs."""
    return sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], zip(then, now, strict=False)))


def _paired(
    written: Sequence[Written], places: Iterable[int], lines: Sequence[str], form: Kind
) -> Iterator[tuple[Written | None, int | None]]:
    """Lines that were written beside the places of those that stand there now: by what is their own, then in order."""
    free = dict.fromkeys(places)
    known: dict[str, list[int]] = {}
    for at in free:
        known.setdefault(form.own(lines[at]), []).append(at)
    left = []
    for line in written:
        same = known.get(form.own(line.text)) if line.cells else None
        if same:
            free.pop(same[0])
            yield line, same.pop(0)
        else:
            left.append(line)
    yield from zip_longest(left, free)


def _cells(line: Written, now: Sequence[str], then: Sequence[str]) -> list[str]:
    """The names of the cells of a line that differ; all where it has no longer as many."""
    whole = len(now) == len(line.cells)
    return [name for at, name in enumerate(line.cells) if name and not (whole and now[at] == then[at])]
