"""A table as HTML, there and back."""

from __future__ import annotations

from collections.abc import Mapping
from html.parser import HTMLParser
from itertools import groupby
from math import isfinite

from reports.foreign import text
from reports.formats.places import Written, letters, marks, name_of, text_of
from reports.tables.grid import Cell, Column, Grid, Line

STYLE = """
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


def html_table(grid: Grid) -> str:
    """The table as a figure for a page of ours, without style and script.

    Headings of sortable columns (all but those of words behind the first) hold a button. Every cell says its name in
    `data-cell`, what it is sorted by in `data-value` and the runs it is made of in `data-runs`.
    """
    return text_of(written(grid))


def html_document(grid: Grid) -> str:
    """A small page of the table alone. It needs and loads nothing, and a browser lets it do nothing."""
    return text_of(written_document(grid))


def written(grid: Grid, buttons: bool = True) -> list[Written]:
    """The lines of `html_table`, with the cells on them."""
    known = letters(grid)
    title = text(grid.title.rstrip(" ."))
    table = [
        *(f'<p class="warning">{text(warning)}</p>' for warning in grid.warnings),
        "<table>",
        f"<caption>{f'<b>{title}.</b> ' if title else ''}{text(grid.caption)}</caption>",
        *_head(grid, buttons),
        "<tbody>",
    ]
    foot = [f"<li><sup>{known[note]}</sup> {text(note)}</li>" for note in grid.footnotes]
    foot = ['<ul class="footnotes">', *foot, "</ul>"] if foot else []
    return [
        Written(f'<figure class="grid" id="table-{text(grid.name)}">'),
        *map(Written, table),
        *(written for line in grid.lines for written in _line(grid, line, known)),
        *map(Written, ["</tbody>", "</table>", *foot, *(f'<p class="note">{text(note)}</p>' for note in grid.notes)]),
        Written("</figure>"),
    ]


def written_document(grid: Grid) -> list[Written]:
    """The lines of `html_document`, with the cells on them."""
    opening = [
        "<!doctype html>",
        '<html lang="en">',
        "<head>",
        '<meta charset="utf-8">',
        """<meta http-equiv="Content-Security-Policy" content="default-src 'none'; style-src 'unsafe-inline'">""",
        '<meta name="viewport" content="width=device-width, initial-scale=1">',
        f"<title>{text(grid.title)}</title>",
        *f"<style>{STYLE}</style>".split("\n"),
        "</head>",
        "<body>",
    ]
    return [*map(Written, opening), *written(grid, buttons=False), *map(Written, ["</body>", "</html>"])]


def read_html(content: str) -> dict[str, str]:
    """The plain text of every cell by its name, without letters of footnotes; names of lines as `<table>/<line>`."""
    reader = _Reader()
    reader.feed(content)
    reader.close()
    return {name: "".join(parts) for name, parts in reader.found.items()}


def _head(grid: Grid, buttons: bool) -> list[str]:
    """One line of headings, or two where columns have groups."""
    grouped = any(column.group for column in grid.columns)
    upper: list[str] = []
    lower: list[str] = []
    for group, members in groupby(enumerate(grid.columns), key=lambda place: place[1].group):
        own = [_title(column, at, buttons, grouped and not group) for at, column in members]
        if group:
            upper.append(f'<th scope="colgroup" colspan="{len(own)}">{text(group)}</th>')
        (lower if group or not grouped else upper).extend(own)
    rows = [upper, lower] if grouped else [lower]
    return ["<thead>", *(part for row in rows for part in ("<tr>", *row, "</tr>")), "</thead>"]


def _title(column: Column, at: int, buttons: bool, tall: bool) -> str:
    """A column's heading; a tall one stands beside headings of groups."""
    numeric = column.numeric and at > 0
    more = (' rowspan="2"' if tall else "") + _right(numeric)
    said = text(column.title)
    if said and buttons and (numeric or at == 0):
        said = f'<button type="button">{said}</button>'
    return f'<th scope="col"{more}>{said}</th>'


def _right(numeric: bool) -> str:
    return ' class="n"' if numeric else ""


def _line(grid: Grid, line: Line, known: Mapping[str, str]) -> list[Written]:
    cells = []
    for at, cell in enumerate(line.cells):
        name, said = name_of(grid, line, at), _cell(cell, known)
        where = f' data-cell="{text(name)}"'
        if at == 0:
            cells.append(Written(f'<th scope="row"{where}>{said}</th>', (name,)))
            continue
        value = f' data-value="{float(cell.value)!r}"' if cell.value is not None and isfinite(cell.value) else ""
        runs = f' data-runs="{text(" ".join(cell.keys))}"' if cell.keys else ""
        more = f"{_right(grid.columns[at].numeric)}{where}{value}{runs}"
        cells.append(Written(f"<td{more}>{said}</td>", (name,)))
    return [Written('<tr class="rule">' if line.rule else "<tr>"), *cells, Written("</tr>")]


def _cell(cell: Cell, known: Mapping[str, str]) -> str:
    said, letter = text(cell.text), marks(cell, known)
    if cell.mark:
        said = f"<b>{said}</b>" if cell.mark == "best" else f"<u>{said}</u>"
    return f"{said}<sup>{letter}</sup>" if letter else said


class _Reader(HTMLParser):
    """Collects what stands in elements that have a `data-cell`."""

    def __init__(self) -> None:
        super().__init__()
        self.found: dict[str, list[str]] = {}
        self._parts: list[str] | None = None  # of the cell that is open
        self._aside = False  # inside the letters of footnotes

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Opens a cell."""
        name = dict(attrs).get("data-cell")
        if name is not None:
            self._parts = self.found.setdefault(name, [])
        self._aside = self._aside or tag == "sup"

    def handle_endtag(self, tag: str) -> None:
        """Closes it."""
        if tag in ("td", "th", "tr"):
            self._parts = None
        self._aside = self._aside and tag != "sup"

    def handle_data(self, data: str) -> None:
        """Keeps what a reader sees."""
        if self._parts is not None and not self._aside:
            self._parts.append(data)
