"""jinja2 environments for the HTML and LaTeX templates."""

from __future__ import annotations

from collections.abc import Callable
from itertools import groupby
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from reports.formats import assign_footnote_letters, format_footnote_marks, get_cell_name, mark_cell
from reports.types import Column, Table

TEMPLATE_FOLDER = Path(__file__).parents[1] / "templates"


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
