"""Tables as plain text: GitHub-flavoured Markdown, or CSV."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterator, Mapping, Sequence

from reports.formats import (
    assign_footnote_letters,
    format_footnote_marks,
    format_heading,
    get_cell_name,
    join_lines,
    make_printable,
    mark_cell,
)
from reports.types import Cell, Column, Row, Table

ACTIVE_CHARS = re.compile(r"[\\`*_\[\]<>|~&$#]")  # special in Markdown, its tables, or GitHub's mathematics
BLOCK_START = re.compile(r"^(\d*)(?=[-+=.)])")  # starts a list, a rule or a heading

NOTE_COLUMN = "note"
FORMULA_START = re.compile(r"'*[=+\-@＝＋－＠]")  # what a spreadsheet may run; a leading ' is doubled
SIGNED_NUMBER = re.compile(r"[+-](?:\d[\d.,]*(?: ?[±%\[(][^=@|!]*)?)?")  # -1.2, +0.5 ± 0.1, -1.2 [-2.0, -0.4], -


def render_markdown(table: Table, marks: bool = False) -> str:
    """Return title, warnings, caption, a pipe table, footnotes and notes; rules between rows are left out.

    Cells are padded, so that the source is readable.
    """
    known = assign_footnote_letters(table)
    head = [f"### {_escape_markdown(table.title)}", ""]
    for warning in table.warnings:
        head += [f"> **{_escape_markdown(warning)}**", ">"]
    if table.warnings:
        head[-1] = ""
    head += [escape_paragraph(table.caption), ""] if table.caption else []
    foot = [f"- <sup>{known[note]}</sup> {_escape_markdown(note)}" for note in table.footnotes]
    foot = ["", *foot] if foot else []
    for note in table.notes:
        foot += ["", escape_paragraph(note)]
    return join_lines([*head, *_render_pipe_table(table, known), *foot], marks)


def _render_pipe_table(table: Table, known: Mapping[str, str]) -> list[str]:
    titles = [_escape_markdown(format_heading(column)) for column in table.columns]
    bodies = [[_render_markdown_cell(cell, known) for cell in row.cells] for row in table.rows]
    widths = [max(3, *(len(cells[at]) for cells in [titles, *bodies])) for at in range(len(titles))]
    right = [column.numeric and at > 0 for at, column in enumerate(table.columns)]

    def pad(cells: Sequence[str]) -> list[str]:
        places = zip(cells, widths, right, strict=True)
        return [cell.rjust(width) if end else cell.ljust(width) for cell, width, end in places]

    rows = [pad(titles), ["-" * (width - 1) + (":" if end else "-") for width, end in zip(widths, right, strict=True)]]
    for row, body in zip(table.rows, bodies, strict=True):
        rows.append([mark_cell(get_cell_name(table, row, at), cell) for at, cell in enumerate(pad(body))])
    return [f"| {' | '.join(cells)} |" for cells in rows]


def _render_markdown_cell(cell: Cell, known: Mapping[str, str]) -> str:
    text, letter = _escape_markdown(cell.text), format_footnote_marks(cell, known)
    if text and cell.mark:
        text = f"**{text}**" if cell.mark == "best" else f"<u>{text}</u>"
    return f"{text}<sup>{letter}</sup>" if letter else text


def _escape_markdown(text: str) -> str:
    return ACTIVE_CHARS.sub(r"\\\g<0>", make_printable(text).strip(" "))


def escape_paragraph(text: str) -> str:
    """Escape a text of unknown origin for a paragraph of Markdown."""
    return BLOCK_START.sub(r"\1\\", _escape_markdown(text))


def render_csv(table: Table, marks: bool = False) -> str:
    """Return a header and a line for each row: its cells, and a last column `note` with warnings and its footnotes.

    The notes are repeated so that sorting or copying rows does not lose them. Text that a spreadsheet could run as a
    formula is prefixed with an apostrophe; signed numbers are not.
    """
    heads = [guard_formula(format_heading(column)) for column in table.columns]
    return join_lines([_join_csv_row([*heads, NOTE_COLUMN]), *_render_csv_rows(table)], marks)


def _render_csv_rows(table: Table) -> Iterator[str]:
    for row in table.rows:
        cells = [
            guard_formula(cell.text, numeric=column.numeric and at > 0)
            for at, (column, cell) in enumerate(zip(table.columns, row.cells, strict=True))
        ]
        marked = [
            mark_cell(get_cell_name(table, row, at), _join_csv_row([cell, ""])[:-1]) for at, cell in enumerate(cells)
        ]
        note = guard_formula(" ".join([*table.warnings, *_collect_footnotes(table.columns, row)]))
        yield ",".join([*marked, _join_csv_row([note, ""])[:-1]])


def _collect_footnotes(columns: Sequence[Column], row: Row) -> list[str]:
    """Return the footnotes of a row, each with the headings of its cells; those of its name apply to the whole row."""
    headings: dict[str, list[str]] = {}
    for at, (column, cell) in enumerate(zip(columns, row.cells, strict=True)):
        for note in dict.fromkeys(cell.footnotes):
            headings.setdefault(note, []).extend([format_heading(column)] if at else [])
    return [f"{', '.join(places)}: {note}" if places else note for note, places in headings.items()]


def guard_formula(text: str, numeric: bool = False) -> str:
    """Prefix a text that a spreadsheet could run as a formula with an apostrophe, except signed `numeric` cells."""
    plain = make_printable(text)
    guarded = FORMULA_START.match(plain) and not (numeric and SIGNED_NUMBER.fullmatch(plain))
    return f"'{plain}" if guarded else plain


def _join_csv_row(values: Sequence[str]) -> str:
    line = io.StringIO()
    csv.writer(line, lineterminator="").writerow(values)
    return line.getvalue()
