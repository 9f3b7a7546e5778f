"""A table as Markdown of GitHub's kind, there and back."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

from reports.foreign import printable
from reports.formats.places import Written, heading, letters, marks, names_of, text_of
from reports.tables.grid import Cell, Grid

ACTIVE = re.compile(r"[\\`*_\[\]<>|~&$#]")  # what Markdown, its tables, or GitHub's mathematics may act on
OPENING = re.compile(r"^(\d*)(?=[-+=.)])")  # before what makes a paragraph a list, a rule or a heading
BAR = re.compile(r"(?<!\\)((?:\\\\)*)\|")  # a pipe that no backslash takes the meaning of
ESCAPED = re.compile(r"\\([!-/:-@\[-`{-~])")
LETTERS = re.compile(r"<sup>[^<]*</sup>$")


def markdown(grid: Grid) -> str:
    """Title, warnings, caption, a pipe table, footnotes and notes. Rules have no counterpart and are left out.

    Cells are padded, so that the text can be read as it is.
    """
    return text_of(written(grid))


def written(grid: Grid) -> list[Written]:
    """The lines of `markdown`, with the cells on them."""
    known = letters(grid)
    head = [f"### {_escape(grid.title)}", ""]
    for warning in grid.warnings:
        head += [f"> **{_escape(warning)}**", ">"]
    if grid.warnings:
        head[-1] = ""
    head += [paragraph(grid.caption), ""] if grid.caption else []
    foot = [f"- <sup>{known[note]}</sup> {_escape(note)}" for note in grid.footnotes]
    foot = ["", *foot] if foot else []
    for note in grid.notes:
        foot += ["", paragraph(note)]
    return [*map(Written, head), *_table(grid, known), *map(Written, foot)]


def read_markdown(text: str) -> list[list[str]]:
    """The body's cells as plain text, line by line: without marks, letters of footnotes and spaces around."""
    rows = [line for line in text.split("\n") if line.startswith("|")]
    return [[_plain(cell) for cell in split(row)] for row in rows[2:]]


def split(line: str) -> list[str]:
    """The cells of one line of a pipe table, as they are written; none where it is no such line."""
    cells = BAR.sub("\\1\n", line.strip()).split("\n")
    return [cell.strip(" ") for cell in cells[1:-1]]


def _table(grid: Grid, known: Mapping[str, str]) -> list[Written]:
    titles = [_escape(heading(column)) for column in grid.columns]
    bodies = [[_cell(cell, known) for cell in line.cells] for line in grid.lines]
    widths = [max(3, *(len(row[at]) for row in [titles, *bodies])) for at in range(len(titles))]
    right = [column.numeric and at > 0 for at, column in enumerate(grid.columns)]
    parts = ["-" * (width - 1) + ":" if end else "-" * width for width, end in zip(widths, right, strict=True)]
    return [
        Written(_row(titles, widths, right)),
        Written(_row(parts, widths, right)),
        *(
            Written(_row(body, widths, right), names_of(grid, line))
            for line, body in zip(grid.lines, bodies, strict=True)
        ),
    ]


def _row(cells: Sequence[str], widths: Sequence[int], right: Sequence[bool]) -> str:
    places = zip(cells, widths, right, strict=True)
    return f"| {' | '.join(cell.rjust(width) if end else cell.ljust(width) for cell, width, end in places)} |"


def _cell(cell: Cell, known: Mapping[str, str]) -> str:
    text, letter = _escape(cell.text), marks(cell, known)
    if text and cell.mark:
        text = f"**{text}**" if cell.mark == "best" else f"<u>{text}</u>"
    return f"{text}<sup>{letter}</sup>" if letter else text


def _plain(cell: str) -> str:
    bare = LETTERS.sub("", cell)
    for opening, closing in (("**", "**"), ("<u>", "</u>")):
        if bare.startswith(opening) and bare.endswith(closing):
            bare = bare.removeprefix(opening).removesuffix(closing)
    return ESCAPED.sub(r"\1", bare)


def _escape(text: str) -> str:
    return ACTIVE.sub(r"\\\g<0>", printable(text).strip(" "))


def paragraph(text: str) -> str:
    """A foreign text as a paragraph of plain words."""
    return OPENING.sub(r"\1\\", _escape(text))
