"""A table as HTML."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import groupby
from math import isfinite

from reports.formats import (
    assign_footnote_letters,
    escape_html,
    format_footnote_marks,
    get_cell_name,
    join_lines,
    mark_cell,
)
from reports.types import Cell, Column, Row, Table

PAGE_STYLE = """
:root { color-scheme: light dark; --ink: #1d1d1b; --soft: #63625c; --line: #dcd9d0; --paper: #fdfcf9; }
@media (prefers-color-scheme: dark) {
  :root { --ink: #e9e7e1; --soft: #a3a29b; --line: #34373b; --paper: #16181b; } }
body { margin: 2rem auto; padding: 0 1.25rem; max-width: 75rem; background: var(--paper); color: var(--ink);
  font: 16px/1.5 system-ui, "Segoe UI", Roboto, "Liberation Sans", sans-serif; }
figure { margin: 0; overflow-x: auto; }
table { border-collapse: collapse; border-block: 2px solid; font-variant-numeric: tabular-nums lining-nums; }
caption { text-align: left; padding-bottom: .8rem; max-width: 44rem; }
th, td { padding: .35rem .7rem; text-align: left; white-space: nowrap; vertical-align: bottom; }
thead th { color: var(--soft); font-weight: 600; font-size: .9rem; }
thead th[colspan] { text-align: center; border-bottom: 1px solid var(--soft); }
tbody th { font-weight: 400; }
tbody tr:first-child > *, tbody .rule > * { border-top: 1px solid var(--soft); }
.n { text-align: right; }
sup { font-size: .72em; line-height: 0; }
ul { list-style: none; padding: 0; }
ul, .note { margin: .6rem 0 0; color: var(--soft); font-size: .875rem; max-width: 44rem; }
.warning { background: #e69f00; color: #1d1d1b; padding: .6rem 1rem; margin: 0 0 1rem; font-weight: 600; }
"""


def render_html_table(table: Table, marks: bool = False) -> str:
    """Return the table as a figure for a page of ours, without style and script.

    Headings of sortable columns (all but those of words behind the first) hold a button. Every cell says its name in
    `data-cell`, what it is sorted by in `data-value` and the runs it is made of in `data-runs`.
    """
    return join_lines(_render_lines(table, buttons=True), marks)


def render_html_document(table: Table, marks: bool = False) -> str:
    """Return a small page of the table alone. It needs and loads nothing, and a browser lets it do nothing."""
    opening = [
        "<!doctype html>",
        '<html lang="en">',
        "<head>",
        '<meta charset="utf-8">',
        """<meta http-equiv="Content-Security-Policy" content="default-src 'none'; style-src 'unsafe-inline'">""",
        '<meta name="viewport" content="width=device-width, initial-scale=1">',
        f"<title>{escape_html(table.title)}</title>",
        *f"<style>{PAGE_STYLE}</style>".split("\n"),
        "</head>",
        "<body>",
    ]
    return join_lines([*opening, *_render_lines(table, buttons=False), "</body>", "</html>"], marks)


def _render_lines(grid: Table, buttons: bool) -> list[str]:
    known = assign_footnote_letters(grid)
    title = escape_html(grid.title.rstrip(" ."))
    table = [
        *(f'<p class="warning">{escape_html(warning)}</p>' for warning in grid.warnings),
        "<table>",
        f"<caption>{f'<b>{title}.</b> ' if title else ''}{escape_html(grid.caption)}</caption>",
        *_make_head(grid, buttons),
        "<tbody>",
    ]
    foot = [f"<li><sup>{known[note]}</sup> {escape_html(note)}</li>" for note in grid.footnotes]
    foot = ['<ul class="footnotes">', *foot, "</ul>"] if foot else []
    return [
        f'<figure class="grid" id="table-{escape_html(grid.name)}">',
        *table,
        *(written for line in grid.rows for written in _render_row(grid, line, known)),
        *["</tbody>", "</table>", *foot, *(f'<p class="note">{escape_html(note)}</p>' for note in grid.notes)],
        "</figure>",
    ]


def _make_head(table: Table, buttons: bool) -> list[str]:
    """One line of headings, or two where columns have groups."""
    grouped = any(column.group for column in table.columns)
    upper: list[str] = []
    lower: list[str] = []
    for group, members in groupby(enumerate(table.columns), key=lambda place: place[1].group):
        own = [_make_column_title(column, at, buttons, grouped and not group) for at, column in members]
        if group:
            upper.append(f'<th scope="colgroup" colspan="{len(own)}">{escape_html(group)}</th>')
        (lower if group or not grouped else upper).extend(own)
    rows = [upper, lower] if grouped else [lower]
    return ["<thead>", *(part for row in rows for part in ("<tr>", *row, "</tr>")), "</thead>"]


def _make_column_title(column: Column, at: int, buttons: bool, tall: bool) -> str:
    """A column's heading; a tall one stands beside headings of groups."""
    numeric = column.numeric and at > 0
    more = (' rowspan="2"' if tall else "") + _make_align_attribute(numeric)
    said = escape_html(column.title)
    if said and buttons and (numeric or at == 0):
        said = f'<button type="button">{said}</button>'
    return f'<th scope="col"{more}>{said}</th>'


def _make_align_attribute(numeric: bool) -> str:
    return ' class="n"' if numeric else ""


def _render_row(table: Table, line: Row, known: Mapping[str, str]) -> list[str]:
    cells = []
    for at, cell in enumerate(line.cells):
        name, said = get_cell_name(table, line, at), _render_cell(cell, known)
        where = f' data-cell="{escape_html(name)}"'
        if at == 0:
            cells.append(mark_cell(name, f'<th scope="row"{where}>{said}</th>'))
            continue
        value = f' data-value="{float(cell.value)!r}"' if cell.value is not None and isfinite(cell.value) else ""
        runs = f' data-runs="{escape_html(" ".join(cell.run_keys))}"' if cell.run_keys else ""
        more = f"{_make_align_attribute(table.columns[at].numeric)}{where}{value}{runs}"
        cells.append(mark_cell(name, f"<td{more}>{said}</td>"))
    return ['<tr class="rule">' if line.rule_above else "<tr>", *cells, "</tr>"]


def _render_cell(cell: Cell, known: Mapping[str, str]) -> str:
    said, letter = escape_html(cell.text), format_footnote_marks(cell, known)
    if cell.mark:
        said = f"<b>{said}</b>" if cell.mark == "best" else f"<u>{said}</u>"
    return f"{said}<sup>{letter}</sup>" if letter else said
