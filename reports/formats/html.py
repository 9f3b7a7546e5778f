"""Tables as HTML, written by templates that escape whatever they are given."""

from __future__ import annotations

from base64 import b64encode
from functools import cache
from html.parser import HTMLParser
from itertools import groupby
from math import isfinite
from pathlib import Path
from typing import Any, NamedTuple

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from reports.formats import (
    RenderedLine,
    assign_footnote_letters,
    format_footnote_marks,
    format_heading,
    get_cell_name,
    get_cell_names,
    make_printable,
    mark_cell,
    split_marks,
)
from reports.types import Column, Table

TEMPLATE_FOLDER = Path(__file__).parents[1] / "templates"
ASSET_FOLDER = Path(__file__).parents[1] / "page_assets"
COLUMN_GAP = 2  # letters between two columns


class RenderedFigure(NamedTuple):
    """A figure as bytes."""

    media_type: str  # "image/svg+xml" | "image/png"
    content: bytes

    @property
    def url(self) -> str:
        """The figure as an address that holds it."""
        return f"data:{self.media_type};base64,{b64encode(self.content).decode()}"


@cache
def make_html_environment() -> Environment:
    """Return the environment of our templates. Every text is made printable, then escaped; unknown names raise."""
    made = Environment(
        loader=FileSystemLoader(TEMPLATE_FOLDER),
        autoescape=True,
        undefined=StrictUndefined,
        finalize=_spell_out,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    functions = (
        assign_footnote_letters,
        count_letters,
        format_footnote_marks,
        format_heading,
        get_cell_name,
        group_columns,
        isfinite,
    )
    made.globals |= {function.__name__: function for function in functions}
    made.globals["mark"] = lambda name, content: Markup(mark_cell(name, content))
    return made


def read_style() -> Markup:
    """Return the style of our pages."""
    return Markup((ASSET_FOLDER / "page.css").read_text())


def _spell_out(value: Any) -> Any:
    """Return a text without characters that cannot be printed; what is HTML already stays."""
    return make_printable(value) if isinstance(value, str) and not isinstance(value, Markup) else value


def group_columns(table: Table) -> list[tuple[str, list[tuple[int, Column]]]]:
    """Return neighbours of one group together, with their places."""
    places = groupby(enumerate(table.columns), key=lambda place: place[1].group)
    return [(group, list(members)) for group, members in places]


def count_letters(table: Table) -> int:
    """Return the width of a table in letters, by which paper chooses the size of its print."""
    widths = [
        max(len(column.title), *(len(row.cells[at].text) + len(row.cells[at].footnotes) for row in table.rows), 0)
        for at, column in enumerate(table.columns)
    ]
    return sum(widths) + COLUMN_GAP * len(widths)


def render_html_table(table: Table, buttons: bool = True) -> str:
    """Return the table as a figure for a page of ours, its cells between marks."""
    template: Any = make_html_environment().get_template("table.html").module
    return str(template.write_table(table, buttons))


def render_html_document(table: Table) -> str:
    """Return a page of the table alone, which needs, loads and runs nothing, its cells between marks."""
    return make_html_environment().get_template("document.html").render(table=table, title=table.title)


def render_html_lines(table: Table) -> list[RenderedLine]:
    """Return the lines of `render_html_table`, with the cells on them."""
    return _split_lines(table, render_html_table(table))


def render_html_document_lines(table: Table) -> list[RenderedLine]:
    """Return the lines of `render_html_document`, with the cells on them."""
    return _split_lines(table, render_html_document(table))


def _split_lines(table: Table, marked: str) -> list[RenderedLine]:
    names = {make_printable(name): name for row in table.rows for name in get_cell_names(table, row)}
    pairs = [split_marks(line) for line in marked.removesuffix("\n").split("\n")]
    return [RenderedLine(line, tuple(names[cell.name] for cell in cells)) for line, cells in pairs]


def read_html(content: str) -> dict[str, str]:
    """The plain text of every cell by its name, without letters of footnotes; names of lines as `<table>/<line>`."""
    reader = _CellReader()
    reader.feed(content)
    reader.close()
    return {name: "".join(parts) for name, parts in reader.texts.items()}


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
