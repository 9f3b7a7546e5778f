"""Tables as HTML, rendered by templates that escape all text."""

from __future__ import annotations

from functools import cache
from math import isfinite
from pathlib import Path
from typing import Any

from jinja2 import Environment
from markupsafe import Markup

from reports.formats import format_heading, make_printable, split_marks
from reports.formats.templates import make_environment
from reports.types import Table

ASSET_FOLDER = Path(__file__).parents[1] / "page_assets"
COLUMN_GAP = 2  # characters between two columns


@cache
def make_html_environment() -> Environment:
    """Return the jinja2 environment for HTML. Every text is made printable, then escaped."""
    made = make_environment(make_printable)
    made.globals |= {function.__name__: function for function in (count_letters, format_heading, isfinite)}
    return made


def read_style() -> Markup:
    """Return the style sheet of all pages."""
    return Markup((ASSET_FOLDER / "page.css").read_text())


def count_letters(table: Table) -> int:
    """Return the width of a table in characters, from which the style sheet derives the size of its type."""
    widths = [
        max(len(column.title), *(len(row.cells[at].text) + len(row.cells[at].footnotes) for row in table.rows), 0)
        for at, column in enumerate(table.columns)
    ]
    return sum(widths) + COLUMN_GAP * len(widths)


def render_html_table(table: Table, marks: bool = False) -> str:
    """Return the table as an element of a report page, with or without the marks of its cells."""
    template: Any = make_html_environment().get_template("table.html").module
    text = str(template.write_table(table, True))
    return text if marks else split_marks(text)[0]


def render_html_document(table: Table, marks: bool = False) -> str:
    """Return a self-contained page with the table alone, with or without the marks of its cells."""
    text = make_html_environment().get_template("document.html").render(table=table, title=table.title)
    return text if marks else split_marks(text)[0]
