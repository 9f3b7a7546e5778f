"""A self-contained web page about a data set: its facts, charts of its clips, and its issues.

The page has no script and fetches nothing. Colours: Okabe and Ito (2008).
"""

from __future__ import annotations

import base64
from bisect import bisect_right
from collections.abc import Callable, Iterable, Sequence
from statistics import median

from bench.types import ClassFacts, ClipSummary, DataIssue, DatasetSummary, FactsSection
from reports.dataset import (
    MODALITIES,
    ClassCounts,
    count_all_classes,
    count_by_class,
    describe_remedy,
    find_blocking_issues,
    find_lost_keys,
    find_weaknesses,
    group_by_kind,
    has_val,
    list_splits,
)
from reports.formats import escape_html

STYLE = """
:root { color-scheme: light dark; --paper: #fdfcf9; --ink: #1d1d1b; --soft: #63625c; --line: #dcd9d0; --wash: #f3f1ea;
  --train: #0072b2; --val: #e69f00; --test: #009e73; --bar: #0072b2; --alarm: #d55e00; }
@media (prefers-color-scheme: dark) { :root { --paper: #16181b; --ink: #e9e7e1; --soft: #a3a29b; --line: #34373b;
  --wash: #1f2226; --train: #56b4e9; --val: #e69f00; --test: #00b584; --bar: #56b4e9; --alarm: #ff8a3d; } }
* { box-sizing: border-box; }
body { margin: 0; background: var(--paper); color: var(--ink); font: 16px/1.55 system-ui, "Segoe UI", Roboto,
  "Helvetica Neue", "Liberation Sans", sans-serif; -webkit-text-size-adjust: 100%; }
main, .banner { max-width: 60rem; margin: 0 auto; padding: 0 1.25rem; }
h1, h2, .figure b, .lead { font-family: Charter, "Bitstream Charter", Georgia, "Liberation Serif", serif; }
h1 { font-size: clamp(2.2rem, 7vw, 3.6rem); line-height: 1.08; margin: .1em 0 .2em; letter-spacing: -.015em; }
h2 { font-size: 1.55rem; margin: 0 0 .5rem; line-height: 1.2; }
h3 { font-size: 1rem; margin: 1.5rem 0 .4rem; }
h1, h2, h3, td, th, dd, p, li, figcaption, summary, .banner, .figure { overflow-wrap: anywhere; }
section { border-top: 1px solid var(--line); padding: 2rem 0 1.2rem; }
header { padding: 3rem 0 1.5rem; }
p { margin: .4rem 0 .9rem; max-width: 44rem; }
.kicker, .note, figcaption, .why { color: var(--soft); font-size: .875rem; }
.kicker { text-transform: uppercase; letter-spacing: .09em; font-size: .78rem; margin: 0; }
.lead { font-size: 1.22rem; line-height: 1.5; }
.banner { background: #e69f00; color: #1d1d1b; max-width: none; text-align: center; padding: .6rem 1.25rem;
  font-weight: 600; }
.tag { background: #e69f00; color: #1d1d1b; font: 600 .66rem/1 system-ui, sans-serif; padding: .3em .55em;
  border-radius: 2px; vertical-align: .35em; margin-left: .6em; white-space: nowrap; }
.figures { display: grid; grid-template-columns: repeat(auto-fit, minmax(6.7rem, 1fr)); gap: 1rem;
  margin: 1.6rem 0; }
.figure b { display: block; font-size: 1.75rem; font-weight: 500; line-height: 1.15;
  font-variant-numeric: lining-nums; }
.figure span { color: var(--soft); font-size: .84rem; }
.verdict { border-left: 4px solid var(--test); background: var(--wash); padding: .7rem 1rem; margin: 1rem 0 0; }
.verdict.doubt { border-color: var(--val); } .verdict.unfit { border-color: var(--alarm); }
.verdict ul { margin: .2rem 0 0; padding-left: 1.2rem; }
dl { display: grid; grid-template-columns: 10rem 1fr; gap: .35rem 1rem; margin: 0; }
dt { color: var(--soft); } dd { margin: 0; }
table { border-collapse: collapse; width: 100%; font-variant-numeric: tabular-nums lining-nums; }
th { text-align: left; font-weight: 600; } thead th { color: var(--soft); font-weight: 400; font-size: .84rem; }
th, td { padding: .42rem .5rem .3rem; vertical-align: top; } th:first-child { padding-left: 0; }
th:last-child, td:last-child { padding-right: 0; }
.even { table-layout: fixed; } .even th:first-child { width: 34%; }
.n { text-align: right; } td.n, th.n { overflow-wrap: normal; }
tbody tr, tfoot tr { border-top: 1px solid var(--line); } tr.strip { border: 0; }
tr.strip td { padding: 0 0 .55rem; } tfoot { font-weight: 600; }
.sign { color: var(--soft); font-weight: 400; }
.stack, .share { display: flex; height: .5rem; gap: 1px; }
.share { background: var(--line); height: .4rem; margin-top: .3rem; min-width: 2.5rem; }
.stack i, .share i, .key i { display: block; background: var(--bar); }
i.train { background: var(--train); } i.val { background: var(--val); } i.test { background: var(--test); }
i.lost { background: repeating-linear-gradient(45deg, var(--soft) 0 2px, transparent 2px 4px); }
.key { display: flex; flex-wrap: wrap; gap: .2rem 1.2rem; font-size: .84rem; color: var(--soft);
  margin: .2rem 0 .6rem; }
.key span { display: flex; align-items: center; gap: .45em; } .key i { width: .9em; height: .7em; }
.sheet { display: grid; grid-template-columns: repeat(auto-fill, minmax(8.4rem, 1fr)); gap: .8rem; }
.sheet figure { margin: 0; min-width: 0; } .sheet img { display: block; width: 100%; aspect-ratio: 4/3;
  object-fit: contain; background: #101113; border-radius: 2px; }
figcaption { font-size: .74rem; line-height: 1.3; margin-top: .3rem; }
svg { display: block; width: 100%; height: auto; margin: .6rem 0 .2rem; overflow: visible; }
svg rect { fill: var(--bar); } svg line { stroke: var(--line); } 
svg line.median { stroke: var(--alarm); stroke-width: 2; }
svg text { fill: var(--soft); font-size: 12px; } svg text.median { fill: var(--alarm); }
details { border-top: 1px solid var(--line); } details:last-of-type { border-bottom: 1px solid var(--line); }
summary { cursor: pointer; padding: .55rem 0; display: flex; gap: .2rem .9rem; align-items: baseline; }
summary::before { content: "+"; color: var(--soft); width: .8em; } details[open] > summary::before { content: "−"; }
summary::-webkit-details-marker { display: none; }
summary b { min-width: 8rem; } 
summary .many { min-width: 3.2rem; text-align: right; font-variant-numeric: tabular-nums; }
summary .why { flex: 1; } details ol { margin: 0 0 1rem; padding-left: 2.6rem; font-size: .86rem; }
li { padding: .1rem 0; } footer { border-top: 1px solid var(--line); padding: 1rem 0 3rem; }
@media (max-width: 36rem) { header { padding-top: 1.8rem; } dl { grid-template-columns: 1fr; gap: 0; }
  dd { margin-bottom: .6rem; } th, td { padding-left: .3rem; padding-right: .3rem; font-size: .86rem; }
  thead th { font-size: .76rem; } svg text { font-size: 21px; } svg .minor { display: none; }
  .sheet { grid-template-columns: repeat(3, 1fr); gap: .5rem; } summary { flex-wrap: wrap; }
  summary .why { flex-basis: 100%;
  padding-left: 1.7em; } }
@media print { :root { color-scheme: light; --paper: #fff; --ink: #000; --soft: #444; --line: #bbb; --wash: #fff;
  --train: #0072b2; --val: #e69f00; --test: #009e73; --bar: #0072b2; --alarm: #d55e00; }
  body { font-size: 10pt; } * { print-color-adjust: exact; -webkit-print-color-adjust: exact; }
  figure, tr, svg, dl, .figures { break-inside: avoid; } h2, h3 { break-after: avoid; }
  .sheet { grid-template-columns: repeat(6, 1fr); gap: .5rem; }
  header { padding-top: 0; } section { padding: 1rem 0; } }
"""

DECADE_EDGES = (1.0, 1.5, 2.0, 3.0, 4.0, 6.0, 8.0)  # edges of a decade
LONG_DURATION_EDGES = (
    10,
    15,
    20,
    30,
    45,
    60,
    90,
    120,
    180,
    300,
    450,
    600,
    900,
    1200,
    1800,
    2700,
    3600,
    5400,
    7200,
    10800,
    14400,
)
CHART_WIDTH, CHART_HEIGHT = 720, 240
CHART_TOP, CHART_BOTTOM = 26, 26  # of the height, for titles and labels
MAX_LINEAR_RATIO = 6  # values within this ratio are drawn on a linear axis
MAX_LINEAR_BINS = 24  # of a linear axis, at most

MAX_ISSUES_SHOWN = 100  # problems of a kind
MAX_NAME_LENGTH = 160  # signs of a name or a reason
THUMBNAILS_PER_CLASS = 12  # of a class

ISSUES_FILE = "problems.csv"  # the list beside the page that holds every problem
BYTE_UNITS = ("B", "kB", "MB", "GB", "TB")
SECURITY_POLICY = (
    "default-src 'none'; img-src data:; style-src 'unsafe-inline'"  # even a hostile name can fetch nothing
)


def make_bin_edges(low: float, high: float, steps: Sequence[float]) -> list[float]:
    """Edges of bins that hold all from `low` to `high`: equal ones for a narrow range, or else those of `steps`."""
    if high >= MAX_LINEAR_RATIO * low:
        below = [step for step in steps if step <= low][-1:]
        between = [step for step in steps if low < step <= high]
        above = [step for step in steps if step > high][:1] or [high * 1.001]
        return [*(below or [0.0]), *between, *above]
    widths = [unit * size for unit in (0.1, 1, 10, 100, 1000, 10000) for size in (1, 2, 5)]
    width = next(width for width in widths if (high - low) / width < MAX_LINEAR_BINS - 2)
    if all(step == int(step) for step in steps):
        width = max(width, 1)
    first = int(low / width)
    return [round(width * number, 6) for number in range(first, int(high / width) + 2)]


def list_duration_edges() -> list[float]:
    """Edges for lengths: tenths of a second to hours, where minutes are whole."""
    return [0.1 * step for step in DECADE_EDGES] + list(DECADE_EDGES) + [float(step) for step in LONG_DURATION_EDGES]


def list_word_edges() -> list[float]:
    """Edges for counts of words."""
    return [1, 2, 3, 4, 6, 8] + [step * size for size in (10, 100, 1000, 10000) for step in DECADE_EDGES]


def draw_histogram(values: Sequence[float], steps: Sequence[float], name: Callable[[float], str], what: str) -> str:
    """An SVG of how many values lie between each two edges, with the median; `name` writes an edge."""
    edges = make_bin_edges(min(values), max(values), steps)
    counts = [0] * (len(edges) - 1)
    for value in values:
        counts[min(bisect_right(edges, value) - 1, len(counts) - 1)] += 1
    wide, floor = CHART_WIDTH / len(counts), CHART_HEIGHT - CHART_BOTTOM
    tall = [(floor - CHART_TOP) * count / max(counts) for count in counts]
    bars = [
        f'<rect x="{at * wide + 1:.1f}" y="{floor - height:.1f}" width="{wide - 2:.1f}" height="{height:.1f}">'
        f"<title>{escape_html(name(edges[at]))} to {escape_html(name(edges[at + 1]))}: {counts[at]:,} clips</title>"
        "</rect>"
        for at, height in enumerate(tall)
    ]
    every = max(1, round(len(counts) / 9))
    labels = [
        f'<text x="{at * wide:.1f}" y="{CHART_HEIGHT - 6}" text-anchor="middle"'
        f"{_format_minor_class(at // every % 2 == 1)}>{escape_html(name(edge))}</text>"
        for at, edge in enumerate(edges)
        if at % every == 0
    ]
    return (
        f'<svg viewBox="-24 0 {CHART_WIDTH + 48} {CHART_HEIGHT}" role="img" aria-label="{escape_html(what)}">'
        f'<line x1="0" x2="{CHART_WIDTH}" y1="{floor}" y2="{floor}"/>{"".join(bars)}{"".join(labels)}'
        f"{_draw_median(median(values), edges, wide, name)}</svg>"
    )


def _format_minor_class(yes: bool) -> str:
    return ' class="minor"' if yes else ""


def _draw_median(middle: float, edges: Sequence[float], wide: float, name: Callable[[float], str]) -> str:
    """A line at the median, with its value above."""
    at = min(bisect_right(edges, middle) - 1, len(edges) - 2)
    x = wide * (at + (middle - edges[at]) / (edges[at + 1] - edges[at]))
    anchor = "start" if x < CHART_WIDTH / 2 else "end"
    return (
        f'<line class="median" x1="{x:.1f}" x2="{x:.1f}" y1="{CHART_TOP - 16}" y2="{CHART_HEIGHT - CHART_BOTTOM}"/>'
        f'<text class="median" x="{x + (6 if anchor == "start" else -6):.1f}" y="{CHART_TOP - 8}" '
        f'text-anchor="{anchor}">'
        f"median {escape_html(name(middle))}</text>"
    )


def draw_share_bar(part: float) -> str:
    """A thin bar filled up to a share, 0 to 1."""
    return f'<div class="share"><i style="width:{100 * part:.1f}%"></i></div>'


def draw_stacked_bar(parts: Iterable[tuple[str, int]], whole: int) -> str:
    """A bar of parts, each of the colour of its name; `whole` is the length of the full width."""
    pieces = [
        f'<i class="{name}" style="width:{100 * count / whole:.2f}%" title="{name} {count:,}"></i>'
        for name, count in parts
        if count
    ]
    return f'<div class="stack">{"".join(pieces)}</div>'


def format_duration(seconds: float) -> str:
    """A length as a person says it."""
    if seconds < 9.95:
        return f"{seconds:.1f}".removesuffix(".0") + " s"
    if seconds < 60:
        return f"{seconds:.0f} s"
    number, unit = (seconds / 60, "min") if seconds < 3600 else (seconds / 3600, "h")
    return f"{number:.1f}".removesuffix(".0") + f" {unit}"


def make_section(facts: DatasetSummary, title: str, content: str) -> str:
    """A section under its heading, which says where the sample stands in."""
    tag = '<span class="tag">BUILT-IN SAMPLE</span>' if facts.is_sample else ""
    return f"<section><h2>{escape_html(title)}{tag}</h2>{content}</section>"


def list_readable_clips(facts: DatasetSummary) -> list[ClipSummary]:
    """The clips that are prepared and readable."""
    return [clip for clip in facts.clips if clip.seconds is not None]


def make_contact_sheet(facts: DatasetSummary) -> str:
    """A few frames of each class."""
    parts = []
    for name in facts.info.classes:
        found = facts.thumbnails.get(name, ())[:THUMBNAILS_PER_CLASS]
        figures = [
            f'<figure title="{escape_html(_shorten(still.key))}"><img alt="{escape_html(_shorten(still.key))}" '
            'src="data:image/jpeg;base64,'
            f'{base64.b64encode(still.jpeg).decode()}"><figcaption>'
            f"{escape_html(_shorten(still.key.removeprefix(f'{name}/'), 60))}</figcaption></figure>"
            for still in found
        ]
        if figures:
            parts.append(f'<h3>{escape_html(name)}</h3><div class="sheet">{"".join(figures)}</div>')
    without = [name for name in facts.info.classes if not facts.thumbnails.get(name)]
    if not parts:
        return make_section(facts, "Contact sheet", '<p class="note">No picture of any clip is at hand.</p>')
    if without:
        parts.append(f'<p class="note">No picture of {escape_html(", ".join(without))}.</p>')
    return make_section(
        facts, "Contact sheet", '<p class="note">A frame from the middle of each clip.</p>' + "".join(parts)
    )


def make_lengths_section(facts: DatasetSummary) -> str:
    """How long the clips are."""
    known = [(clip.seconds, clip.key) for clip in list_readable_clips(facts) if clip.seconds is not None]
    if not known:
        return make_section(facts, "Length of clips", _make_unprepared_note())
    (short, shortest), (long, longest) = min(known), max(known)
    told = (
        f"<p>The longest is <b>{escape_html(_shorten(longest))}</b> with {format_duration(long)}, the shortest "
        f"<b>{escape_html(_shorten(shortest))}</b> with {format_duration(short)}.</p>"
    )
    chart = draw_histogram([seconds for seconds, _ in known], list_duration_edges(), format_duration, "clips by length")
    return make_section(facts, "Length of clips", told + chart + '<p class="note">Clips by length.</p>')


def make_words_section(facts: DatasetSummary) -> str:
    """How many words the clips have, and how many have none."""
    opened = list_readable_clips(facts)
    if not opened:
        return make_section(facts, "Words", _make_unprepared_note())
    spoken = [clip.words for clip in opened if clip.words]
    silent = len(opened) - len(spoken)
    told = (
        f"<p><b>{_format_percent(silent / len(opened))}</b> of the clips ({silent:,} of {len(opened):,}) have no words"
        + (f"; the others have {sum(spoken):,} in all.</p>" if spoken else ".</p>")
        + draw_share_bar(len(spoken) / len(opened))
    )
    if not spoken:
        return make_section(facts, "Words", told)
    chart = draw_histogram(spoken, list_word_edges(), lambda edge: f"{edge:,.0f}", "clips by number of words")
    return make_section(facts, "Words", told + chart + '<p class="note">Clips with words, by how many they have.</p>')


def make_modalities_section(facts: DatasetSummary) -> str:
    """Which share of each class's clips has picture, sound, words."""
    if not list_readable_clips(facts):
        return make_section(facts, "Picture, sound, words", _make_unprepared_note())
    heads = "".join(f'<th scope="col" class="n">{name}</th>' for name in MODALITIES)
    body = "".join(_make_modality_row(row, row.name) for row in count_by_class(facts))
    return make_section(
        facts,
        "Picture, sound, words",
        '<p class="note">Share of the readable clips of a class that have each.</p>'
        f'<table id="modalities" class="even"><thead><tr><th scope="col">class</th>{heads}</tr></thead>'
        f"<tbody>{body}</tbody><tfoot>{_make_modality_row(count_all_classes(facts), 'all')}</tfoot></table>",
    )


def _make_modality_row(row: ClassCounts, name: str) -> str:
    shares = [count / row.readable if row.readable else 0.0 for count in row.with_modality]
    cells = "".join(
        f'<td class="n">{_format_percent(part) if row.readable else "–"}'
        f"{draw_share_bar(part) if row.readable else ''}</td>"
        for part in shares
    )
    return f'<tr><th scope="row">{escape_html(name)}</th>{cells}</tr>'


def make_additional_section(facts: DatasetSummary, extra: FactsSection) -> str:
    """What a method finds in the data, class by class, and why."""
    lead = f"<p>{escape_html(extra.lead)} <b>{escape_html(extra.names)}</b>.</p>" if extra.lead else ""
    heads = "".join(f'<th scope="col" class="n">{escape_html(head)}</th>' for head in extra.headings)
    return make_section(
        facts,
        extra.title,
        f'{lead}<table id="{escape_html(extra.id)}" class="even"><thead><tr><th scope="col">class</th>{heads}</tr>'
        "</thead>"
        f"<tbody>{''.join(map(_make_section_row, extra.classes))}</tbody></table>"
        f'<p class="note">{escape_html(extra.meaning)}</p>',
    )


def _make_section_row(row: ClassFacts) -> str:
    cells = "".join(
        '<td class="n">'
        f"{escape_html(cell) if isinstance(cell, str) else f'{_format_percent(cell)}{draw_share_bar(cell)}'}</td>"
        for cell in row.cells
    )
    return (
        f'<tr><th scope="row">{escape_html(row.name)}</th>{cells}</tr>'
        f'<tr class="strip"><td colspan="{len(row.cells) + 1}" class="why">{escape_html(row.why)}</td></tr>'
    )


def make_issues_section(facts: DatasetSummary, file: str) -> str:
    """What is wrong, by kind; `file` is the name of the list that holds all of it."""
    if not facts.issues:
        return make_section(facts, "Problems", "<p>None found.</p>")
    lost = len(find_lost_keys(facts))
    told = (
        f"<p>{len(facts.issues):,} in all, {lost:,} of which cost a listed clip; every one is named in "
        f"<b>{escape_html(file)}</b> beside this page.</p>"
    )
    return make_section(
        facts, "Problems", told + "".join(_make_issue_list(*row, file) for row in group_by_kind(facts.issues))
    )


def _make_issue_list(kind: str, found: Sequence[DataIssue], file: str) -> str:
    items = "".join(
        f'<li><b>{escape_html(_shorten(problem.where))}</b> <span class="why">{escape_html(_shorten(problem.why))}'
        "</span></li>"
        for problem in found[:MAX_ISSUES_SHOWN]
    )
    rest = (
        f'<p class="note">and {len(found) - MAX_ISSUES_SHOWN:,} more in {escape_html(file)}</p>'
        if len(found) > MAX_ISSUES_SHOWN
        else ""
    )
    return (
        f'<details><summary><b>{escape_html(kind)}</b><span class="many">{len(found):,}</span>'
        f'<span class="why">{escape_html(describe_remedy(kind))}</span></summary><ol>{items}</ol>{rest}</details>'
    )


def _make_unprepared_note() -> str:
    return '<p class="note">Not known: no clip is prepared.</p>'


def _format_percent(part: float) -> str:
    return f"{100 * part:.0f} %" if part in (0, 1) or 0.01 <= part <= 0.99 else f"{100 * part:.1f} %"


def _shorten(name: str, long: int = MAX_NAME_LENGTH) -> str:
    return name if len(name) <= long else f"{name[: long - 1]}…"


def make_dataset_page(facts: DatasetSummary) -> str:
    """The page as HTML: no script, nothing fetched, every name escaped."""
    info = facts.info
    title = f"{info.title} (BUILT-IN SAMPLE)" if facts.is_sample else info.title
    banner = (
        f'<div class="banner">BUILT-IN SAMPLE: drawn, not the real {escape_html(info.title)}</div>'
        if facts.is_sample
        else ""
    )
    parts = (
        _make_header,
        _make_about_section,
        _make_classes_section,
        make_contact_sheet,
        make_lengths_section,
        make_words_section,
        make_modalities_section,
    )
    added = "".join(make_additional_section(facts, one) for one in facts.sections)
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        f'<meta http-equiv="Content-Security-Policy" content="{SECURITY_POLICY}">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{escape_html(title)}: facts of the data set</title><style>{STYLE}</style></head>"
        f"<body>{banner}<main>{''.join(part(facts) for part in parts)}{added}{make_issues_section(facts, ISSUES_FILE)}"
        f'<footer class="note">{escape_html(title)}. Facts of the clips on one machine; names of clips are those '
        "of its "
        "owners. Frames may not be passed on where its licence forbids it.</footer></main></body></html>\n"
    )


def _make_header(facts: DatasetSummary) -> str:
    info, everything, opened = facts.info, count_all_classes(facts), list_readable_clips(facts)
    seconds = [clip.seconds for clip in opened if clip.seconds is not None]
    figures = [(f"{everything.clips:,}", "usable clips"), (str(len(info.classes)), "classes")]
    figures.append((f"{everything.groups:,}", f"groups ({info.group})"))
    if everything.readable:
        figures += [(format_duration(everything.seconds), "in all"), (format_duration(median(seconds)), "median clip")]
        figures.append((f"{sum(clip.words for clip in opened) / len(opened):.1f}", "words a clip"))
    if facts.store_bytes:
        figures.append((_format_size(facts.store_bytes), _describe_density(facts.store_bytes, everything.seconds)))
    told = "".join(
        f'<div class="figure"><b>{escape_html(number)}</b><span>{escape_html(of)}</span></div>'
        for number, of in figures
    )
    said = f"{len(facts.clips):,} clips are listed"
    said += f", {everything.lost:,} of them missing or unreadable" if everything.lost else ""
    said += f"; {everything.readable:,} are prepared." if everything.readable else "; none is prepared yet."
    if info.clips is not None and info.clips != len(facts.clips) and not facts.is_sample:
        said += f" The data set is said to have {info.clips:,}."
    fold = f" · fold {facts.fold}" if len(info.folds) > 1 else ""
    return (
        f'<header><p class="kicker">Facts of a data set{fold}</p><h1>{escape_html(info.title)}</h1><p class="lead">'
        f"{said}</p>"
        f'<div class="figures">{told}</div>{_make_fitness_box(facts)}</header>'
    )


def _make_fitness_box(facts: DatasetSummary) -> str:
    wrong, weak = find_blocking_issues(facts), find_weaknesses(facts)
    kind, word = (
        ("unfit", "Not fit to run") if wrong else ("doubt", "Fit to run, with doubts") if weak else ("", "Fit to run")
    )
    lines = "".join(f"<li>{escape_html(line)}</li>" for line in (*wrong, *weak))
    return f'<div class="verdict {kind}"><b>{word}</b>{f"<ul>{lines}</ul>" if lines else ""}</div>'


def _make_about_section(facts: DatasetSummary) -> str:
    info = facts.info
    rows = {
        "language of words": info.language,
        "splits": info.splits if has_val(facts) else f"{info.splits}; val is cut from train by the seed of a run",
        "group": info.group,
        "fold": f"{facts.fold}, of {info.folds[0]} to {info.folds[-1]}: {info.fold}" if len(info.folds) > 1 else "",
        "licence": info.licence,
        "to obtain it": info.obtain,
        "to cite": info.cite,
    }
    told = "".join(f"<dt>{name}</dt><dd>{escape_html(value)}</dd>" for name, value in rows.items() if value)
    return make_section(facts, "What it is", f"<dl>{told}</dl>")


def _make_classes_section(facts: DatasetSummary) -> str:
    rows, splits = count_by_class(facts), list_splits(facts)
    lost = any(row.lost for row in rows)
    heads = [*splits, "groups", *(["lost"] if lost else []), "hours"]
    names = "".join(f'<th scope="col" class="n">{head}</th>' for head in heads)
    longest = max(1, *(row.clips + row.lost for row in rows))
    body = "".join(
        f'{_make_class_row(row, heads)}<tr class="strip"><td colspan="{len(heads) + 1}">'
        f"{draw_stacked_bar([*((split, row.splits[split]) for split in splits), ('lost', row.lost)], longest)}</td>"
        "</tr>"
        for row in rows
    )
    key = "".join(f'<span><i class="{name}"></i>{name}</span>' for name in (*splits, *(["lost"] if lost else [])))
    return make_section(
        facts,
        "Classes and splits",
        f'<div class="key">{key}</div><table id="classes"><thead><tr><th scope="col">class <span class="sign">'
        f"(sentiment)</span></th>{names}</tr></thead><tbody>{body}</tbody>"
        f"<tfoot>{_make_class_row(count_all_classes(facts), heads)}</tfoot></table>"
        + ('<p class="note">Lost: listed, but missing or unreadable.</p>' if lost else ""),
    )


def _make_class_row(row: ClassCounts, heads: list[str]) -> str:
    sign = f' <span class="sign">({row.sentiment_sign})</span>' if row.sentiment_sign else ""
    hours = f"{row.seconds / 3600:.2f}" if row.readable else "–"
    values: dict[str, str] = {split: f"{count:,}" for split, count in row.splits.items()}
    values |= {"groups": f"{row.groups:,}", "lost": f"{row.lost:,}", "hours": hours}
    cells = "".join(f'<td class="n">{values[head]}</td>' for head in heads)
    return f'<tr><th scope="row">{escape_html(row.name)}{sign}</th>{cells}</tr>'


def _format_size(count: float) -> str:
    unit = 0
    while count >= 1000 and unit < len(BYTE_UNITS) - 1:
        count, unit = count / 1000, unit + 1
    return f"{count:.3g} {BYTE_UNITS[unit]}"


def _describe_density(count: int, seconds: float) -> str:
    return f"prepared, {_format_size(3600 * count / seconds)} an hour" if seconds else "prepared"
