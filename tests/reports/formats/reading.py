"""Readers of the formats, independent of the code that writes them."""

from __future__ import annotations

import csv
import io
import re
from html.parser import HTMLParser

from reports.formats import split_marks
from reports.types import Table


def cells_of(marked: str) -> list[tuple[str, str]]:
    """Return name and source of every cell of a text with marks."""
    text, spans = split_marks(marked)
    return [(span.name, text[span.start : span.end]) for span in spans]


def read_latex(grid: Table) -> list[tuple[str, str]]:
    """Return name and LaTeX source of every body cell, without its comment."""
    from reports.formats.latex import render_latex

    found = cells_of(render_latex(grid, marks=True))
    return [(name, source[: re.search(r"(?<!\\)(?:\\\\)*%", source).end() - 1].strip(" &")) for name, source in found]


def read_csv(text: str) -> list[list[str]]:
    """Return the cells of each row of the body as text, without header, the column `note` and apostrophes."""
    rows = list(csv.reader(io.StringIO(text, newline="")))
    guarded = re.compile(r"'(?='*[=+\-@＝＋－＠])")
    return [[guarded.sub("", cell, count=1) if cell[:1] == "'" else cell for cell in row[:-1]] for row in rows[1:]]


def read_markdown(text: str) -> list[list[str]]:
    """Return the cells of each row of the body as GitHub shows them, without footnote letters."""
    found = []
    for row in [line for line in text.split("\n") if line.startswith("|")][2:]:
        cells = re.sub(r"(?<!\\)((?:\\\\)*)\|", "\\1\n", row.strip()).split("\n")[1:-1]
        bare = [re.sub(r"<sup>[^<]*</sup>$", "", cell.strip(" ")) for cell in cells]
        bare = [re.sub(r"^(\*\*|<u>)(.*)(\*\*|</u>)$", r"\2", cell) for cell in bare]
        found.append([re.sub(r"\\([!-/:-@\[-`{-~])", r"\1", cell) for cell in bare])
    return found


def read_html(content: str) -> dict[str, str]:
    """Return cell name -> plain text, without footnote letters."""
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
