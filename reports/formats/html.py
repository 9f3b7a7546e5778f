"""Tables as HTML, written by templates that escape whatever they are given."""

from __future__ import annotations

from base64 import b64encode
from functools import cache
from itertools import groupby
from math import isfinite
from pathlib import Path
from typing import Any, NamedTuple

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from reports.formats import (
    assign_footnote_letters,
    format_footnote_marks,
    format_heading,
    get_cell_name,
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


def render_html_table(table: Table, marks: bool = False) -> str:
    """Return the table as a figure for a page of ours, with the marks of its cells or without."""
    template: Any = make_html_environment().get_template("table.html").module
    text = str(template.write_table(table, True))
    return text if marks else split_marks(text)[0]


def render_html_document(table: Table, marks: bool = False) -> str:
    """Return a page of the table alone, which needs, loads and runs nothing, with the marks of its cells or without."""
    text = make_html_environment().get_template("document.html").render(table=table, title=table.title)
    return text if marks else split_marks(text)[0]
