"""The text forms of tables: LaTeX, Markdown, CSV and HTML, and what they share."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from string import ascii_lowercase
from typing import NamedTuple

from reports.types import Cell, Column, Row, Table


def make_printable(text: str) -> str:
    """A text of unknown origin with control, direction and undecodable characters spelt out."""
    if text.isprintable():
        return text
    return "".join(sign if sign.isprintable() else sign.encode("unicode_escape").decode() for sign in text)


def plural(count: int, noun: str) -> str:
    """Return a count with its noun: "1 run", "2 runs", "1,200 clips", "2 searches", "3 classes"."""
    ending = "" if count == 1 else "es" if noun.endswith(("s", "x", "ch", "sh")) else "s"
    return f"{count:,} {noun}{ending}"


def get_cell_name(table: Table, line: Row, column: int) -> str:
    """The name of a cell: `<table>/<line>/<column>`, of the name of a line `<table>/<line>`."""
    return f"{table.name}/{line.id}/{table.columns[column].id}" if column else f"{table.name}/{line.id}"


def format_heading(column: Column) -> str:
    """Group and title in one."""
    return f"{column.group} {column.title}".strip()


def assign_footnote_letters(table: Table) -> dict[str, str]:
    """The letter of each footnote: a to z, then aa, ab, ..."""
    return {note: _make_footnote_letter(place) for place, note in enumerate(table.footnotes)}


def format_footnote_marks(cell: Cell, known: Mapping[str, str]) -> str:
    """The letters of a cell's footnotes: "a,c"; none: "". `known` holds them by footnote."""
    return ",".join(dict.fromkeys(known[note] for note in cell.footnotes))


def _make_footnote_letter(place: int) -> str:
    rest, last = divmod(place, len(ascii_lowercase))
    return (_make_footnote_letter(rest - 1) if rest else "") + ascii_lowercase[last]


_CELL = re.compile("\x02([^\x02\x03\x1f]*)\x1f|\x03")  # control characters, of which `make_printable` leaves none


class CellSpan(NamedTuple):
    """Where a cell stands in a text: from `start` to before `end`."""

    name: str
    start: int
    end: int


def mark_cell(name: str, content: str) -> str:
    """Return what a format writes of a cell, between marks that name it; `split_marks` takes them out again."""
    return f"\x02{make_printable(name)}\x1f{content}\x03"


def split_marks(marked: str) -> tuple[str, list[CellSpan]]:
    """Return a text without the marks of its cells, and where each cell stands in it."""
    parts, spans, opened = list[str](), list[CellSpan](), list[tuple[str, int]]()
    length = last = 0
    for found in _CELL.finditer(marked):
        parts.append(marked[last : found.start()])
        length, last = length + found.start() - last, found.end()
        if found[1] is not None:
            opened.append((found[1], length))
        else:
            spans.append(CellSpan(*opened.pop(), length))
    return "".join([*parts, marked[last:]]), spans


def join_lines(lines: Iterable[str], marks: bool) -> str:
    """Return the text that the lines make, with the marks of its cells or without."""
    text = "".join(f"{line}\n" for line in lines)
    return text if marks else split_marks(text)[0]
