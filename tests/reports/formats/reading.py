"""Readers of the formats, by other means than those that write them."""

from __future__ import annotations

import csv
import io
import re
from html.parser import HTMLParser

from reports.formats import split_marks
from reports.types import Table


def cells_of(marked: str) -> list[tuple[str, str]]:
    """Name and source of every cell of a text with marks."""
    text, spans = split_marks(marked)
    return [(span.name, text[span.start : span.end]) for span in spans]


def read_latex(grid: Table) -> list[tuple[str, str]]:
    """Name and LaTeX source of every body cell, without the comment behind it."""
    from reports.formats.latex import render_latex

    found = cells_of(render_latex(grid, marks=True))
    return [(name, source[: re.search(r"(?<!\\)(?:\\\\)*%", source).end() - 1].strip(" &")) for name, source in found]


def read_csv(text: str) -> list[list[str]]:
    """The body's cells as text, line by line, without the heading, the column `note` and the apostrophes."""
    rows = list(csv.reader(io.StringIO(text, newline="")))
    guarded = re.compile(r"'(?='*[=+\-@＝＋－＠])")
    return [[guarded.sub("", cell, count=1) if cell[:1] == "'" else cell for cell in row[:-1]] for row in rows[1:]]


def read_markdown(text: str) -> list[list[str]]:
    """The body's cells as plain text, line by line, as a reader of GitHub's pages sees them, without letters."""
    found = []
    for row in [line for line in text.split("\n") if line.startswith("|")][2:]:
        cells = re.sub(r"(?<!\\)((?:\\\\)*)\|", "\\1\n", row.strip()).split("\n")[1:-1]
        bare = [re.sub(r"<sup>[^<]*</sup>$", "", cell.strip(" ")) for cell in cells]
        bare = [re.sub(r"^(\*\*|<u>)(.*)(\*\*|</u>)$", r"\2", cell) for cell in bare]
        found.append([re.sub(r"\\([!-/:-@\[-`{-~])", r"\1", cell) for cell in bare])
    return found


def read_html(content: str) -> dict[str, str]:
    """The plain text of every cell by its name, without letters of footnotes."""
    reader = _CellReader()
    reader.feed(content)
    reader.close()
    return {name: "".join(parts) for name, parts in reader.texts.items()}


class _CellReader(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.texts: dict[str, list[str]] = {}
        self.parts: list[str] | None = None
        self.in_letters = False

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        name = dict(attrs).get("data-cell")
        if name is not None:
            self.parts = self.texts.setdefault(name, [])
        self.in_letters = self.in_letters or tag == "sup"

    def handle_endtag(self, tag: str) -> None:
        if tag in ("td", "th", "tr"):
            self.parts = None
        self.in_letters = self.in_letters and tag != "sup"

    def handle_data(self, data: str) -> None:
        if self.parts is not None and not self.in_letters:
            self.parts.append(data)
