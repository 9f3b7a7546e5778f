"""The web page of a data set: facts, charts and problems in one self-contained file without scripts."""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Callable, Sequence
from functools import partial
from statistics import median
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from bench.types import ClassFacts, DatasetSummary, FactsSection
from reports.dataset import (
    ClassCounts,
    count_all_classes,
    count_by_class,
    describe_remedy,
    describe_rows,
    find_blocking_issues,
    find_lost_keys,
    find_weaknesses,
    group_by_kind,
    has_val,
    list_splits,
    list_streams,
)
from reports.figures.style import COLOURS, GREY, PAGE_WIDTH, make_figure, render_svg, report_style, wrap_text
from reports.formats import plural, split_marks
from reports.formats.templates import make_html_environment, read_style
from reports.types import Cell, Column, RenderedFigure, ReportFigure, Row, Section, Table

# seconds
DURATION_TICKS = (0.1, 0.2, 0.5, 1, 2, 5, 10, 20, 30, 60, 120, 300, 600, 1200, 1800, 3600, 7200, 14400, 36000)
WORD_TICKS = tuple(step * 10**power for power in range(6) for step in (1, 2, 5))
MAX_BINS = 24
SPLIT_COLOURS = {"train": COLOURS[0], "val": COLOURS[5], "test": COLOURS[4], "lost": GREY}

MAX_ISSUES_SHOWN = 100  # per kind
MAX_NAME_LENGTH, MAX_CAPTION_LENGTH = 160, 60  # characters of a name or reason, and of the caption of a frame
THUMBNAILS_PER_CLASS = 12

ISSUES_FILE = "problems.csv"  # next to the page; lists all problems
BYTE_UNITS = ("B", "kB", "MB", "GB", "TB")
UNPREPARED = ("Not known yet: run `python bench.py prepare` first.",)


def make_dataset_page(facts: DatasetSummary) -> str:
    """Return the page as HTML. It has no script, loads nothing, and escapes every name."""
    title = f"{facts.info.title} (BUILT-IN SAMPLE)" if facts.is_sample else facts.info.title
    added = [_make_added_section(section) for section in facts.sections]
    sections = [_make_classes(facts), _make_lengths(facts), _make_words(facts), _make_streams(facts), *added]
    drawn = {figure.name: render_svg(figure.draw()).encode() for section in sections for figure in section.figures}
    marked = (
        make_html_environment()
        .get_template("dataset.html")
        .render(
            facts=facts,
            title=title,
            style=read_style(),
            lead=_summarise(facts),
            numbers=_list_numbers(facts),
            blocking=find_blocking_issues(facts),
            weaknesses=find_weaknesses(facts),
            about=_describe(facts),
            sections=sections,
            shown={name: RenderedFigure("image/svg+xml", content) for name, content in drawn.items()},
            stills=_list_stills(facts),
            problems_lead=_summarise_problems(facts),
            problems=_list_problems(facts),
            issues_file=ISSUES_FILE,
        )
    )
    return split_marks(marked)[0]


def _summarise(facts: DatasetSummary) -> str:
    everything, listed = count_all_classes(facts), len(facts.clips)
    lost = f", {everything.lost:,} of them missing, unreadable or duplicates" if everything.lost else ""
    prepared = f"{everything.readable:,} are prepared" if everything.readable else "none is prepared yet"
    expected = facts.info.clips
    differs = expected is not None and expected != listed and not facts.is_sample
    official = f" The official number is {expected:,}." if differs else ""
    return f"{listed:,} clips are listed{lost}; {prepared}.{official}"


def _list_numbers(facts: DatasetSummary) -> list[tuple[str, str]]:
    everything, opened = count_all_classes(facts), [clip for clip in facts.clips if clip.seconds is not None]
    kind = "class" if facts.info.classes else "target"
    numbers = [
        (f"{everything.clips:,}", "usable clips"),
        (str(facts.info.task.outputs), plural(facts.info.task.outputs, kind).partition(" ")[2]),
        (f"{everything.groups:,}", f"groups ({facts.info.group})"),
    ]
    if everything.readable:
        numbers += [
            (format_duration(everything.seconds), "in total"),
            (format_duration(median(clip.seconds or 0.0 for clip in opened)), "median clip"),
            (f"{sum(clip.words for clip in opened) / len(opened):.1f}", "words per clip"),
        ]
    if facts.store_bytes:
        hours = everything.seconds / 3600
        density = f", {_format_size(facts.store_bytes / hours)} per hour" if hours else ""
        numbers.append((_format_size(facts.store_bytes), f"prepared{density}"))
    return numbers


def _describe(facts: DatasetSummary) -> dict[str, str]:
    info = facts.info
    return {
        "language": info.language,
        "splits": info.splits if has_val(facts) else f"{info.splits}; val is split from train by the seed of a run",
        "group": info.group,
        "fold": f"{facts.fold}, of {info.folds[0]} to {info.folds[-1]}: {info.fold}" if len(info.folds) > 1 else "",
        "licence": info.licence,
        "access": info.obtain,
        "citation": info.cite,
    }


def _make_classes(facts: DatasetSummary) -> Section:
    rows, everything, splits = count_by_class(facts), count_all_classes(facts), list_splits(facts)
    lost = ["lost"] if everything.lost else []
    heads = [*splits, "groups", *lost, "hours"]
    caption = "Number of usable clips." + (" Lost: missing, unreadable or duplicates of a later split." if lost else "")
    signed = {row.name: f"{row.name} ({row.sentiment_sign})" if row.sentiment_sign else row.name for row in rows}
    lines = [_make_row(signed[row.name], _format_counts(row, heads)) for row in rows]
    total = _make_row("all", _format_counts(everything, heads), rule=True)
    head = "class (sentiment)" if facts.info.classes else describe_rows(facts)
    table = _make_table("classes", caption, [head, *heads], [*lines, total])
    draw = partial(draw_classes, rows, [*splits, *lost])
    by, each = ("class", "class") if facts.info.classes else ("score", "range of scores")
    figure = ReportFigure("classes", f"Clips by {by}", f"Clips of each {each} by split.", draw, ())
    title = "Classes and splits" if facts.info.classes else "Scores and splits"
    return Section("classes", title, (), (table,), (figure,))


def _format_counts(row: ClassCounts, heads: Sequence[str]) -> list[str]:
    numbers: dict[str, int] = {**row.counts, "groups": row.groups}
    hours = f"{row.seconds / 3600:.2f}" if row.readable else "–"
    return [hours if head == "hours" else f"{numbers[head]:,}" for head in heads]


def _make_lengths(facts: DatasetSummary) -> Section:
    known = [(clip.seconds, clip.key) for clip in facts.clips if clip.seconds is not None]
    if not known:
        return Section("lengths", "Length of clips", UNPREPARED)
    (short, shortest), (long, longest) = min(known), max(known)
    extremes = (
        f"The longest is {_shorten(longest)} ({format_duration(long)}), "
        f"the shortest {_shorten(shortest)} ({format_duration(short)})."
    )
    seconds = [value for value, _ in known]
    caption = f"Clips by length; median {format_duration(median(seconds))}."
    draw = partial(draw_histogram, seconds, DURATION_TICKS, format_duration)
    return Section(
        "lengths", "Length of clips", (extremes,), (), (ReportFigure("lengths", "Lengths", caption, draw, ()),)
    )


def _make_words(facts: DatasetSummary) -> Section:
    opened = [clip for clip in facts.clips if clip.seconds is not None]
    if not opened:
        return Section("words", "Words", UNPREPARED)
    spoken = [clip.words for clip in opened if clip.words]
    silent = len(opened) - len(spoken)
    rest = f"; the others have {sum(spoken):,} in total" if spoken else ""
    summary = (
        f"{_format_percent(silent / len(opened))} of the clips ({silent:,} of {len(opened):,}) have no words{rest}."
    )
    if not spoken:
        return Section("words", "Words", (summary,))
    caption = f"Clips with words by number of words; median {median(spoken):,.0f}."
    draw = partial(draw_histogram, spoken, WORD_TICKS, "{:,.0f}".format)
    return Section("words", "Words", (summary,), (), (ReportFigure("words", "Words", caption, draw, ()),))


def _make_streams(facts: DatasetSummary) -> Section:
    everything = count_all_classes(facts)
    if not everything.readable:
        return Section("streams", "Streams", UNPREPARED)
    streams = list_streams(facts)
    lines = [_make_row(row.name, _format_shares(row, streams)) for row in count_by_class(facts)]
    lines.append(_make_row("all", _format_shares(everything, streams), rule=True))
    caption = "Share of the readable clips that have each stream."
    table = _make_table("streams", caption, [describe_rows(facts), *streams], lines)
    return Section("streams", "Streams", (), (table,))


def _format_shares(row: ClassCounts, streams: Sequence[str]) -> list[str]:
    counts = [row.with_stream.get(name, 0) for name in streams]
    return [_format_percent(count / row.readable) if row.readable else "–" for count in counts]


def _make_added_section(extra: FactsSection) -> Section:
    """Return a section that a method adds: a table with a row per class and a column of reasons."""

    def make_row(row: ClassFacts) -> Row:
        cells = [cell if isinstance(cell, str) else _format_percent(cell) for cell in row.cells]
        return _make_row(row.name, [*cells, row.why])

    lead = (f"{extra.lead} {extra.names}.",) if extra.lead else ()
    heads, lines = ["class", *extra.headings, "why"], [make_row(row) for row in extra.classes]
    table = _make_table(extra.id, "", heads, lines, words=("why",), notes=(extra.meaning,))
    return Section(extra.id, extra.title, lead, (table,))


def _make_row(name: str, texts: Sequence[str], rule: bool = False) -> Row:
    return Row(name, (Cell(name), *map(Cell, texts)), rule)


def _make_table(
    name: str,
    caption: str,
    heads: Sequence[str],
    rows: Sequence[Row],
    words: Sequence[str] = (),
    notes: tuple[str, ...] = (),
) -> Table:
    """Return a table whose columns are numeric, except for the first and those in `words`."""
    columns = [Column(str(at), head, numeric=at > 0 and head not in words) for at, head in enumerate(heads)]
    return Table(name, "", caption, tuple(columns), tuple(rows), notes)


def _list_stills(facts: DatasetSummary) -> dict[str, list[dict[str, str]]]:
    """Return name, caption and frame of a few clips of each class, or of all; empty if no clip has any."""
    found = {
        name: [
            {
                "name": _shorten(still.key),
                "caption": _shorten(still.key.removeprefix(f"{name}/"), MAX_CAPTION_LENGTH),
                "url": f"data:image/jpeg;base64,{b64encode(still.jpeg).decode()}",
            }
            for still in facts.thumbnails.get(name, ())[:THUMBNAILS_PER_CLASS]
        ]
        for name in facts.info.classes or facts.thumbnails
    }
    return found if any(found.values()) else {}


def _summarise_problems(facts: DatasetSummary) -> str:
    if not facts.issues:
        return "None found."
    lost = len(find_lost_keys(facts))
    return (
        f"{len(facts.issues):,} in total; {lost:,} listed clips are lost. "
        f"All are listed in {ISSUES_FILE} next to this page."
    )


def _list_problems(facts: DatasetSummary) -> list[dict[str, Any]]:
    return [
        {
            "name": kind,
            "count": len(found),
            "remedy": describe_remedy(kind),
            "examples": [(_shorten(problem.where), _shorten(problem.why)) for problem in found[:MAX_ISSUES_SHOWN]],
        }
        for kind, found in group_by_kind(facts.issues)
    ]


@report_style()
def draw_classes(rows: Sequence[ClassCounts], parts: Sequence[str]) -> Figure:
    """Draw a stacked bar per class: its clips by split, and its lost clips."""
    figure = make_figure(PAGE_WIDTH, 0.7 + 0.2 * len(rows))
    axes: Any = figure.subplots()
    left = np.zeros(len(rows))
    for part in parts:
        counts = [row.counts[part] for row in rows]
        axes.barh(range(len(rows)), counts, left=left, color=SPLIT_COLOURS[part], height=0.7, label=part)
        left += counts
    axes.set_yticks(range(len(rows)), [wrap_text(row.name, 30) for row in rows])
    axes.invert_yaxis()
    axes.set_xlabel("clips")
    figure.legend(loc="outside upper right", ncols=len(parts))
    return figure


@report_style()
def draw_histogram(values: Sequence[float], ticks: Sequence[float], name: Callable[[float], str]) -> Figure:
    """Draw a histogram with a logarithmic axis and the median; `name` formats a value."""
    shown = np.maximum(np.array(values, dtype=np.float64), ticks[0])
    low, high = float(shown.min()), float(shown.max()) * 1.001
    edges = np.geomspace(low, high, MAX_BINS + 1)
    if all(float(value).is_integer() for value in values) and min(values) >= 1:
        edges = np.unique(np.geomspace(low, round(high) + 1, MAX_BINS + 1).round())
    figure = make_figure(PAGE_WIDTH, 2.2)
    axes: Any = figure.subplots()
    axes.hist(shown, edges, color=COLOURS[0], edgecolor="white", linewidth=0.5)
    axes.set_xscale("log")
    axes.minorticks_off()
    places = [tick for tick in ticks if edges[0] <= tick <= edges[-1]] or [low]
    axes.set_xticks(places, [name(place) for place in places])
    axes.set_ylabel("clips")
    middle = median(shown.tolist())
    axes.axvline(middle, color=COLOURS[1])
    axes.set_title(f"median {name(middle)}", loc="right", color=COLOURS[1])
    return figure


def format_duration(seconds: float) -> str:
    """Return a duration in seconds, minutes or hours."""
    if seconds < 9.95:
        return f"{seconds:.1f}".removesuffix(".0") + " s"
    if seconds < 60:
        return f"{seconds:.0f} s"
    number, unit = (seconds / 60, "min") if seconds < 3600 else (seconds / 3600, "h")
    return f"{number:.1f}".removesuffix(".0") + f" {unit}"


def _format_percent(share: float) -> str:
    return f"{100 * share:.0f} %" if share in (0, 1) or 0.01 <= share <= 0.99 else f"{100 * share:.1f} %"


def _format_size(count: float) -> str:
    unit = 0
    while count >= 1000 and unit < len(BYTE_UNITS) - 1:
        count, unit = count / 1000, unit + 1
    return f"{count:.3g} {BYTE_UNITS[unit]}"


def _shorten(name: str, long: int = MAX_NAME_LENGTH) -> str:
    return name if len(name) <= long else f"{name[: long - 1]}…"
