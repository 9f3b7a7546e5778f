"""The files of a report that are text, as its records decide them: what is written, and what a check holds it to."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence

from reports.formats.csvtext import csv_text, safe
from reports.formats.html import html_document
from reports.formats.latex import escape, latex
from reports.formats.markdown import markdown, paragraph
from reports.paper.details import details
from reports.paper.document import document
from reports.paper.macros import macros
from reports.report import Picture, Report, Value
from reports.results.part import Part
from reports.results.searched import Summary
from reports.tables.grid import Grid

FORMATS = {"md": markdown, "tex": latex, "csv": csv_text, "html": html_document}
TABLES, FIGURES = "tables", "figures"


def texts(report: Report, parts: Sequence[Part], searches: Sequence[Summary]) -> dict[str, str]:
    """Path in the report's folder -> text."""
    found = {path_of(grid, kind): form(grid) for grid in grids_of(report) for kind, form in FORMATS.items()}
    found |= {
        f"{FIGURES}/{picture.name}.csv": _rows(picture, report.warnings)
        for picture in pictures_of(report)
        if picture.rows
    }
    paragraphs = details(report.runs, searches, parts[0].full if parts else "")
    found["macros.tex"] = macros(parts, report.warnings)
    found["details.tex"] = "\n\n".join(escape(text) for text in paragraphs) + "\n"
    found["paper.tex"] = document(report)
    found["report.md"] = _markdown(report, paragraphs)
    return found


def path_of(grid: Grid, kind: str) -> str:
    """Where a table stands in one of its formats."""
    return f"{TABLES}/{grid.name}.{kind}"


def grids_of(report: Report) -> list[Grid]:
    """All tables."""
    return [grid for section in report.sections for grid in section.grids]


def pictures_of(report: Report) -> list[Picture]:
    """All figures."""
    return [picture for section in report.sections for picture in section.pictures]


def _rows(picture: Picture, warnings: Sequence[str]) -> str:
    """A figure's numbers as CSV, with ten digits: more would differ from one processor to another."""
    text = io.StringIO()
    names = list(dict.fromkeys(name for row in picture.rows for name in row))
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow([*map(safe, names), *(["note"] if warnings else [])])
    for row in picture.rows:
        values = (row.get(name) for name in names)
        writer.writerow([*map(_value, values), *([safe(" ".join(warnings))] if warnings else [])])
    return text.getvalue()


def _value(value: Value) -> str:
    if value is None:
        return ""
    return f"{value:.10g}" if isinstance(value, int | float) else safe(value)


def _markdown(report: Report, paragraphs: Sequence[str]) -> str:
    """The whole report as one page of Markdown."""
    lines = [f"# {paragraph(report.title)}", "", *(f"> **{paragraph(warning)}**\n>" for warning in report.warnings), ""]
    lines.append(paragraph(report.lead))
    for section in report.sections:
        lines += ["", f"## {paragraph(section.title)}", "", *(f"{paragraph(text)}\n" for text in section.text)]
        for grid in section.grids:
            lines += [markdown(grid), ""]
        for picture in section.pictures:
            lines += [f"![{paragraph(picture.title)}]({FIGURES}/{picture.name}.png)", ""]
            lines += [f"*{paragraph(picture.caption)}*", ""]
    return "\n".join([*lines, "## Implementation details", "", *(f"{paragraph(text)}\n" for text in paragraphs)])
