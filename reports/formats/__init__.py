"""Formats of tables (LaTeX, Markdown, CSV, HTML), and functions that several of them or the screen use."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from string import ascii_lowercase
from typing import NamedTuple

from bench.tasks import ACCURACY, Metric
from reports.types import Cell, Column, Row, Table


def make_printable(text: str) -> str:
    """Escape control, direction and undecodable characters of a text of unknown origin."""
    if text.isprintable():
        return text
    return "".join(char if char.isprintable() else char.encode("unicode_escape").decode() for char in text)


def plural(count: int, noun: str) -> str:
    """Return a count with its noun: "1 run", "2 runs", "1,200 clips", "2 searches", "3 classes"."""
    ending = "" if count == 1 else "es" if noun.endswith(("s", "x", "ch", "sh")) else "s"
    return f"{count:,} {noun}{ending}"


def format_epoch(
    stage: str, epoch: int, epochs: int, values: Mapping[str, float], metric: Metric = ACCURACY
) -> list[str]:
    """Return the parts of a line on a finished epoch: "epoch 7/40", "loss 0.812", "val Acc E 61.2 %"."""
    loss = values.get(f"{stage}/loss")
    scores = {
        split: value for name, value in values.items() if name == f"{(split := name.split('/')[0])}/{metric.name}"
    }
    return [
        f"epoch {epoch}/{epochs}",
        *([] if loss is None else [f"loss {loss:.3f}"]),
        *(f"{split} {metric.format_named(value)}" for split, value in scores.items()),
    ]


def get_cell_name(table: Table, row: Row, column: int) -> str:
    """Return the name of a cell, `<table>/<row>/<column>`; that of a row's first cell is `<table>/<row>`."""
    return f"{table.name}/{row.id}/{table.columns[column].id}" if column else f"{table.name}/{row.id}"


def format_heading(column: Column) -> str:
    """Return group and title as one text."""
    return f"{column.group} {column.title}".strip()


def assign_footnote_letters(table: Table) -> dict[str, str]:
    """Return the letter of each footnote: a to z, then aa, ab, ..."""
    return {note: _make_footnote_letter(place) for place, note in enumerate(table.footnotes)}


def format_footnote_marks(cell: Cell, known: Mapping[str, str]) -> str:
    """Return the letters of a cell's footnotes, "a,c", or "" without any; `known` maps footnotes to letters."""
    return ",".join(dict.fromkeys(known[note] for note in cell.footnotes))


def _make_footnote_letter(place: int) -> str:
    rest, last = divmod(place, len(ascii_lowercase))
    return (_make_footnote_letter(rest - 1) if rest else "") + ascii_lowercase[last]


_CELL = re.compile("\x02([^\x02\x03\x1f]*)\x1f|\x03")  # control characters, which `make_printable` escapes


class CellSpan(NamedTuple):
    """Position of a cell in a text: from `start` up to `end`, exclusive."""

    name: str
    start: int
    end: int


def mark_cell(name: str, content: str) -> str:
    """Return the text of a cell between marks that name it, which `split_marks` removes."""
    return f"\x02{make_printable(name)}\x1f{content}\x03"


def split_marks(marked: str) -> tuple[str, list[CellSpan]]:
    """Return a text without the marks of its cells, and the position of each cell."""
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
    """Join lines to a text, with or without the marks of its cells."""
    text = "".join(f"{line}\n" for line in lines)
    return text if marks else split_marks(text)[0]
