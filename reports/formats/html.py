"""A table as HTML."""

from __future__ import annotations

from collections.abc import Mapping
from html.parser import HTMLParser
from itertools import groupby
from math import isfinite

from reports.formats import (
    RenderedLine,
    assign_footnote_letters,
    escape_html,
    format_footnote_marks,
    get_cell_name,
    join_lines,
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


def render_html_table(table: Table) -> str:
    """The table as a figure for a page of ours, without style and script.

    Headings of sortable columns (all but those of words behind the first) hold a button. Every cell says its name in
    `data-cell`, what it is sorted by in `data-value` and the runs it is made of in `data-runs`.
    """
    return join_lines(render_html_lines(table))


def render_html_document(table: Table) -> str:
    """A small page of the table alone. It needs and loads nothing, and a browser lets it do nothing."""
    return join_lines(render_html_document_lines(table))


def render_html_lines(grid: Table, buttons: bool = True) -> list[RenderedLine]:
    """The lines of `render_html_table`, with the cells on them."""
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
        RenderedLine(f'<figure class="grid" id="table-{escape_html(grid.name)}">'),
        *map(RenderedLine, table),
        *(written for line in grid.rows for written in _render_row(grid, line, known)),
        *map(
            RenderedLine,
            ["</tbody>", "</table>", *foot, *(f'<p class="note">{escape_html(note)}</p>' for note in grid.notes)],
        ),
        RenderedLine("</figure>"),
    ]


def render_html_document_lines(table: Table) -> list[RenderedLine]:
    """The lines of `render_html_document`, with the cells on them."""
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
    return [
        *map(RenderedLine, opening),
        *render_html_lines(table, buttons=False),
        *map(RenderedLine, ["</body>", "</html>"]),
    ]


def read_html(content: str) -> dict[str, str]:
    """The plain text of every cell by its name, without letters of footnotes; names of lines as `<table>/<line>`."""
    reader = _CellReader()
    reader.feed(content)
    reader.close()
    return {name: "".join(parts) for name, parts in reader.texts.items()}


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


def _render_row(table: Table, line: Row, known: Mapping[str, str]) -> list[RenderedLine]:
    cells = []
    for at, cell in enumerate(line.cells):
        name, said = get_cell_name(table, line, at), _render_cell(cell, known)
        where = f' data-cell="{escape_html(name)}"'
        if at == 0:
            cells.append(RenderedLine(f'<th scope="row"{where}>{said}</th>', (name,)))
            continue
        value = f' data-value="{float(cell.value)!r}"' if cell.value is not None and isfinite(cell.value) else ""
        runs = f' data-runs="{escape_html(" ".join(cell.run_keys))}"' if cell.run_keys else ""
        more = f"{_make_align_attribute(table.columns[at].numeric)}{where}{value}{runs}"
        cells.append(RenderedLine(f"<td{more}>{said}</td>", (name,)))
    return [RenderedLine('<tr class="rule">' if line.rule_above else "<tr>"), *cells, RenderedLine("</tr>")]


def _render_cell(cell: Cell, known: Mapping[str, str]) -> str:
    said, letter = escape_html(cell.text), format_footnote_marks(cell, known)
    if cell.mark:
        said = f"<b>{said}</b>" if cell.mark == "best" else f"<u>{said}</u>"
    return f"{said}<sup>{letter}</sup>" if letter else said


class _CellReader(HTMLParser):
    """Collects what stands in elements that have a `data-cell`."""

    def __init__(self) -> None:
        super().__init__()
        self.texts: dict[str, list[str]] = {}
        self._parts: list[str] | None = None  # of the cell that is open
        self._in_footnote = False  # inside the letters of footnotes

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Opens a cell."""
        name = dict(attrs).get("data-cell")
        if name is not None:
            self._parts = self.texts.setdefault(name, [])
        self._in_footnote = self._in_footnote or tag == "sup"

    def handle_endtag(self, tag: str) -> None:
        """Closes it."""
        if tag in ("td", "th", "tr"):
            self._parts = None
        self._in_footnote = self._in_footnote and tag != "sup"

    def handle_data(self, data: str) -> None:
        """Keeps what a reader sees."""
        if self._parts is not None and not self._in_footnote:
            self._parts.append(data)
