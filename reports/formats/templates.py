"""The jinja2 environments of our HTML and LaTeX templates."""

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
    """Return an environment in which `escape` is applied to every text that a template prints; unknown names raise.

    What is `Markup` is source already, as is what a macro returns. `escape` may return `Markup` itself; any other text
    is escaped as HTML then.
    """

    def print_value(value: Any) -> Any:
        if isinstance(value, Markup | int | float):
            return value
        if not isinstance(value, str):
            raise TypeError(f"a template prints {type(value).__name__}, which is neither a text nor a number")
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
    """Return neighbours of one group together, with their places."""
    places = groupby(enumerate(table.columns), key=lambda place: place[1].group)
    return [(group, list(members)) for group, members in places]
