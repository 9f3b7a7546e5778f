"""Tables as plain text: GitHub-flavoured Markdown, CSV, and tables fitted to a terminal."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterator, Mapping, Sequence
from copy import copy
from dataclasses import replace

from rich.cells import cell_len
from rich.console import Console, ConsoleOptions, RenderResult
from rich.measure import Measurement
from rich.table import Column as TerminalColumn
from rich.table import Table as TerminalTable
from rich.text import Text

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

MEASURED_WIDTH = 10_000  # terminal columns; every table has its natural width there
MAX_WORD = 32  # terminal columns that a word in a wrapping text gets before other columns are left out
MIN_FOLDED = 16  # the same for a text that may be broken anywhere, say a path
ACTIVE_CHARS = re.compile(r"[\\`*_\[\]<>|~&$#]")  # special in Markdown, its tables, or GitHub's mathematics
BLOCK_START = re.compile(r"^(\d*)(?=[-+=.)])")  # starts a list, a rule or a heading

NOTE_COLUMN = "note"
FORMULA_START = re.compile(r"'*[=+\-@＝＋－＠]")  # what a spreadsheet may run; a leading ' is doubled
SIGNED_NUMBER = re.compile(r"[+-](?:\d[\d.,]*(?: ?[±%\[(][^=@|!]*)?)?")  # -1.2, +0.5 ± 0.1, -1.2 [-2.0, -0.4], -


def render_markdown(table: Table, marks: bool = False) -> str:
    """Return title, warnings, caption, a pipe table, footnotes, notes and explanations, without rules between rows.

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
    for note in (*table.notes, *table.explanations):
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


class FittedTable(TerminalTable):
    """Terminal table that never breaks a name or a number: where it is too wide, it leaves out its last columns.

    The first `keys` columns are always shown. `drop_first` names headings that are left out before the others, the
    first of them first. With `split`, no column is left out: the rest follows as tables below. Columns without
    `no_wrap` may wrap between words, those with the overflow "fold" anywhere, say paths. Print it with `crop=False`: a
    single name may still be longer than a line.
    """

    keys: int = 1
    drop_first: tuple[str, ...] = ()
    split: bool = False
    hint: str = ""  # where the columns that are left out can be read

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        for table, width in fit_table(self, console, options):
            yield from TerminalTable.__rich_console__(table, console, options.update_width(width))


def fit_table(table: FittedTable, console: Console, options: ConsoleOptions) -> list[tuple[FittedTable, int]]:
    """Return the tables that show `table` in the width of `options`, each with the width it needs.

    One table without its least important columns, or with `table.split` several with some of the columns each.
    """
    width, keys = options.max_width, list(range(table.keys))
    order = sorted(range(table.keys, len(table.columns)), key=lambda place: _rank_column(table, place))

    def measure(places: Sequence[int], wrap_keys: bool) -> int:
        candidate = copy(table)
        candidate.columns, candidate.min_width = _take_columns(table, places, wrap_keys), None
        return Measurement.get(console, options.update_width(MEASURED_WIDTH), candidate).maximum

    wrap_keys = bool(order) and measure([*keys, order[0]], False) > width
    parts: list[list[int]] = [[]]
    for place in order:
        if parts[-1] and measure(sorted([*keys, *parts[-1], place]), wrap_keys) > width:
            if not table.split:
                break
            parts.append([])
        parts[-1].append(place)
    found = []
    for number, part in enumerate(parts):
        shown, places = copy(table), sorted([*keys, *part])
        needed = max(width, measure(places, wrap_keys))
        shown.columns = _take_columns(table, places, wrap_keys)
        _widen_columns(shown.columns, needed - measure(places, wrap_keys))
        if table.title:
            title = f"{table.title} (continued)" if number else str(table.title)
            shown.title = Text(title, table.title_style or "table.title")
        captions = [str(table.caption)] if table.caption and part == parts[-1] else []
        if not table.split and len(part) < len(order):
            absent = ", ".join(_format_header(table, place) for place in sorted(set(order) - set(part)))
            captions.append(f"not shown at {width} columns: {absent}; {table.hint or 'use a wider terminal'}")
        shown.caption = Text("\n".join(captions), "table.caption") if captions else None
        texts = [*str(shown.title or "").splitlines(), *str(shown.caption or "").split()]
        shown.min_width = min(needed, max(map(cell_len, texts), default=0))
        found.append((shown, needed))
    return found


def _rank_column(table: FittedTable, place: int) -> tuple[int, int]:
    """Return a sort key that is greater for a column that is left out earlier."""
    heading, early = _format_header(table, place), table.drop_first
    return (len(early) - early.index(heading), 0) if heading in early else (0, place)


def _take_columns(table: FittedTable, places: Sequence[int], wrap_keys: bool) -> list[TerminalColumn]:
    """Return some columns of a table, numbered again, those that may wrap as narrow as they may become.

    With `wrap_keys` the names of rows may wrap, too. Words longer than MAX_WORD, or MIN_FOLDED where the overflow is
    "fold", break: scripts without spaces are one word.
    """
    found = []
    for number, place in enumerate(places):
        column, is_key = table.columns[place], place < table.keys
        is_name = column.no_wrap  # its words are never broken
        column = replace(column, _index=number, no_wrap=column.no_wrap and not (wrap_keys and is_key))
        if not column.no_wrap:
            column.width = max(map(cell_len, " ".join(_list_texts(column)).split()), default=1)
        if not is_name:
            column.width = min(column.width or 1, MIN_FOLDED if column.overflow == "fold" else MAX_WORD)
            column.overflow = "fold"
        found.append(column)
    return found


def _widen_columns(columns: Sequence[TerminalColumn], left: int) -> None:
    """Share what is left of a line among the columns that wrap, the narrowest first, as far as their texts need it."""
    natural = {
        place: max(cell_len(line) for text in _list_texts(column) for line in text.splitlines() or [""])
        for place, column in enumerate(columns)
        if not column.no_wrap
    }
    for _ in range(left):
        open_places = [place for place, most in natural.items() if (columns[place].width or 0) < most]
        if not open_places:
            return
        narrowest = columns[min(open_places, key=lambda place: columns[place].width or 0)]
        narrowest.width = (narrowest.width or 0) + 1


def _list_texts(column: TerminalColumn) -> list[str]:
    """Return the texts of a column as they are shown, without markup."""
    cells = (column.header, *column.cells, column.footer)
    return [Text.from_markup(cell).plain if isinstance(cell, str) else str(cell) for cell in cells]


def _format_header(table: FittedTable, place: int) -> str:
    return _list_texts(table.columns[place])[0]
