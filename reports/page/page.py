"""A report as one web page that needs nothing but itself: tables that sort, and every number's runs behind it."""

from __future__ import annotations

import hashlib
from base64 import b64encode
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

from reports.foreign import text
from reports.formats.html import html_table
from reports.page.block import block
from reports.report import Picture, Report, Section
from reports.tables.grid import Grid

FOLDER = Path(__file__).parent
SCRIPTS = ("elements", "data", "tables", "curves", "clips", "run", "list", "places")  # in the order of reading

GAP = 2  # letters between two columns
BROAD = 160  # letters; a wider table is printed on a page of its own, turned


class Drawn(NamedTuple):
    """A figure as bytes."""

    media: str  # "image/svg+xml" | "image/png"
    content: bytes


def page(report: Report, pictures: Mapping[str, Drawn]) -> str:
    """The page as HTML. Nothing is fetched, every name is escaped, one script runs, known by its hash.

    `pictures` are the drawn figures by name. Curves and predictions are read from the runs' folders.
    """
    code = script()
    title = f"{report.title} (BUILT-IN SAMPLE)" if report.sample else report.title
    style = (FOLDER / "page.css").read_text()
    sections = "".join(_section(section, report.sample, pictures) for section in report.sections)
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        f'<meta http-equiv="Content-Security-Policy" content="{rules(code)}">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f'<meta name="referrer" content="no-referrer"><title>{text(title)}</title><style>{style}</style></head>'
        f'<body><a class="skip" href="#main">To the results</a>{_banner(report)}{_header(report)}{_contents(report)}'
        f'<main id="main" tabindex="-1">{sections}{_all_runs(report)}</main>{_footer(report)}{DIALOGS}'
        f'<script type="application/json" id="data">{block(report)}</script><script>{code}</script></body></html>\n'
    )


def script() -> str:
    """The script of every page, the same for all reports."""
    parts = "\n".join((FOLDER / f"{name}.js").read_text() for name in SCRIPTS)
    return f'"use strict";\n(() => {{\n{parts}}})();\n'


def rules(code: str) -> str:
    """What the browser lets the page do: run this script, show pictures that it holds, and nothing else."""
    digest = b64encode(hashlib.sha256(code.encode()).digest()).decode()
    return (
        "default-src 'none'; img-src data:; style-src 'unsafe-inline'; "
        f"script-src 'sha256-{digest}'; base-uri 'none'; form-action 'none'"
    )


def _banner(report: Report) -> str:
    said = "BUILT-IN SAMPLE: drawn clips, not real data. Its numbers say that the program works, and nothing else."
    return f'<div class="banner" role="note">{said}</div>' if report.sample else ""


def _header(report: Report) -> str:
    runs = report.runs
    failed = sum(run.failed for run in runs)
    counted = [
        (len({run.label for run in runs}), "methods"),
        (len({run.card.name for run in runs}), "data sets"),
        (len({run.record.spec.seed for run in runs}), "seeds"),
        (len(runs) - failed, "finished runs"),
        *([(failed, "failed runs")] if failed else []),
    ]
    figures = "".join(
        f'<div class="figure"><b>{many:,}</b><span>{text(what if many != 1 else what[:-1])}</span></div>'
        for many, what in counted
    )
    return (
        f'<header><p class="kicker">Report</p><h1>{text(report.title)}</h1><p class="lead">{text(report.lead)}</p>'
        f'<div class="figures">{figures}</div>{_warnings(report.warnings)}{_left_out(report.left_out)}'
        '<p class="hint">Press a heading of a table to sort it, a number to see the runs that it is made of, '
        "a figure to enlarge it.</p></header>"
    )


def _warnings(warnings: tuple[str, ...]) -> str:
    return "".join(f'<p class="warning">{text(warning)}</p>' for warning in warnings)


def _left_out(lines: tuple[str, ...]) -> str:
    return f'<p class="hint">{text(" ".join(lines))}</p>' if lines else ""


def _contents(report: Report) -> str:
    links = [(f"section-{section.id}", section.title) for section in report.sections] + [("runs", "All runs")]
    items = "".join(f'<li><a href="#{text(place)}">{text(title)}</a></li>' for place, title in links)
    return f'<nav aria-label="Contents"><ul>{items}</ul></nav>'


def _section(section: Section, sample: bool, pictures: Mapping[str, Drawn]) -> str:
    tag = ' <span class="tag">BUILT-IN SAMPLE</span>' if sample else ""
    paragraphs = "".join(f"<p>{text(paragraph)}</p>" for paragraph in section.text)
    tables = "".join(_table(grid) for grid in section.grids)
    drawn = "".join(_figure(picture, pictures[picture.name]) for picture in section.pictures)
    return (
        f'<section id="section-{text(section.id)}"><h2>{text(section.title)}{tag}</h2>'
        f"{paragraphs}{tables}{drawn}</section>"
    )


def _table(grid: Grid) -> str:
    """With its width in letters, by which paper chooses the size of its print."""
    columns = zip(*(line.cells for line in grid.lines), strict=True) if grid.lines else [()] * len(grid.columns)
    longest = [
        max(len(column.title), *(len(cell.text) + len(cell.notes) for cell in cells), 0)
        for column, cells in zip(grid.columns, columns, strict=True)
    ]
    letters = sum(longest) + GAP * len(longest)
    kind = ' class="broad"' if letters > BROAD else ""
    return f'<div{kind} style="--letters:{letters}">{html_table(grid)}</div>'


def _figure(picture: Picture, drawn: Drawn) -> str:
    source = f"data:{drawn.media};base64,{b64encode(drawn.content).decode()}"
    return (
        f'<figure class="picture" id="picture-{text(picture.name)}">'
        '<button type="button" class="enlarge" aria-haspopup="dialog" title="Enlarge">'
        f'<img alt="{text(picture.caption)}" src="{text(source)}"></button>'
        f"<figcaption><b>{text(picture.title)}.</b> {text(picture.caption)}</figcaption></figure>"
    )


def _all_runs(report: Report) -> str:
    tag = ' <span class="tag">BUILT-IN SAMPLE</span>' if report.sample else ""
    return (
        f'<section id="runs"><h2>All runs{tag}</h2>'
        "<p>Every number above is made of these. Each opens with what it was, its scores, its config, "
        'its curves and what it said of every test clip.</p><div id="list"></div>'
        "<noscript><p>The list needs the page's script; tables and figures are whole without it.</p></noscript>"
        f'<p class="paper">{len(report.runs):,} runs are listed in the web page.</p></section>'
    )


def _footer(report: Report) -> str:
    return (
        f'<footer><p class="note">{text(report.title)}. One file: it fetches nothing and sends nothing. '
        "Names of clips are those of the data sets' owners.</p></footer>"
    )


DIALOGS = (
    '<dialog id="drill" aria-labelledby="drill-title"><div class="bar">'
    '<button type="button" id="drill-back">‹ Back</button><span></span>'
    '<button type="button" id="drill-close">Close</button></div><div id="drill-body"></div></dialog>'
    '<dialog id="large" aria-label="Figure"><div class="bar"><span></span>'
    '<button type="button" id="large-close">Close</button></div><div id="large-body"></div></dialog>'
    '<div id="said" class="unseen" role="status" aria-live="polite"></div>'
)
