"""jinja2 environments for the HTML and LaTeX templates, which escape all text, and tables as HTML."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from itertools import groupby
from math import isfinite
from pathlib import Path
from typing import Any

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
COLUMN_GAP = 2  # characters between two columns


def make_environment(escape: Callable[[str], str], **options: Any) -> Environment:
    """Return an environment that applies `escape` to every text that a template prints, and raises on unknown names.

    `Markup` and the output of macros are not escaped. Text that `escape` returns is then escaped as HTML, unless it is
    `Markup`.
    """

    def print_value(value: Any) -> Any:
        if isinstance(value, Markup | int | float):
            return value
        if not isinstance(value, str):
            raise TypeError(f"template: cannot print a {type(value).__name__}, only text and numbers")
        return escape(value)

    made = Environment(
        loader=FileSystemLoader(TEMPLATE_FOLDER),
        autoescape=True,
        undefined=StrictUndefined,
        finalize=print_value,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
        **options,
    )
    functions = (assign_footnote_letters, format_footnote_marks, get_cell_name, group_columns)
    made.globals |= {function.__name__: function for function in functions}
    made.globals["mark"] = lambda name, content: Markup(mark_cell(name, content))
    return made


def group_columns(table: Table) -> list[tuple[str, list[tuple[int, Column]]]]:
    """Return neighbouring columns by group, with their indices."""
    places = groupby(enumerate(table.columns), key=lambda place: place[1].group)
    return [(group, list(members)) for group, members in places]


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
