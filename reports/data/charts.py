"""The charts of a data set's page, as text that a browser draws: histograms, shares, stacked bars."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Iterable, Sequence
from statistics import median

from reports.foreign import text

NICE = (1.0, 1.5, 2.0, 3.0, 4.0, 6.0, 8.0)  # edges of a decade
TIMES = (10, 15, 20, 30, 45, 60, 90, 120, 180, 300, 450, 600, 900, 1200, 1800, 2700, 3600, 5400, 7200, 10800, 14400)
WIDE, HIGH, TOP, BOTTOM = 720, 240, 26, 26  # of the drawing, and what titles and labels take of its height
NARROW = 6  # values within this ratio are drawn on a linear axis
BINS = 24  # of a linear axis, at most


def ladder(low: float, high: float, steps: Sequence[float]) -> list[float]:
    """Edges of bins that hold all from `low` to `high`: equal ones for a narrow range, or else those of `steps`."""
    if high >= NARROW * low:
        below = [step for step in steps if step <= low][-1:]
        between = [step for step in steps if low < step <= high]
        above = [step for step in steps if step > high][:1] or [high * 1.001]
        return [*(below or [0.0]), *between, *above]
    widths = [unit * size for unit in (0.1, 1, 10, 100, 1000, 10000) for size in (1, 2, 5)]
    width = next(width for width in widths if (high - low) / width < BINS - 2)
    if all(step == int(step) for step in steps):
        width = max(width, 1)
    first = int(low / width)
    return [round(width * number, 6) for number in range(first, int(high / width) + 2)]


def second_steps() -> list[float]:
    """Edges for lengths: tenths of a second to hours, where minutes are whole."""
    return [0.1 * step for step in NICE] + list(NICE) + [float(step) for step in TIMES]


def word_steps() -> list[float]:
    """Edges for counts of words."""
    return [1, 2, 3, 4, 6, 8] + [step * size for size in (10, 100, 1000, 10000) for step in NICE]


def histogram(values: Sequence[float], steps: Sequence[float], name: Callable[[float], str], what: str) -> str:
    """An SVG of how many values lie between each two edges, with the median; `name` writes an edge."""
    edges = ladder(min(values), max(values), steps)
    counts = [0] * (len(edges) - 1)
    for value in values:
        counts[min(bisect_right(edges, value) - 1, len(counts) - 1)] += 1
    wide, floor = WIDE / len(counts), HIGH - BOTTOM
    tall = [(floor - TOP) * count / max(counts) for count in counts]
    bars = [
        f'<rect x="{at * wide + 1:.1f}" y="{floor - height:.1f}" width="{wide - 2:.1f}" height="{height:.1f}">'
        f"<title>{text(name(edges[at]))} to {text(name(edges[at + 1]))}: {counts[at]:,} clips</title></rect>"
        for at, height in enumerate(tall)
    ]
    every = max(1, round(len(counts) / 9))
    labels = [
        f'<text x="{at * wide:.1f}" y="{HIGH - 6}" text-anchor="middle"'
        f"{_minor(at // every % 2 == 1)}>{text(name(edge))}</text>"
        for at, edge in enumerate(edges)
        if at % every == 0
    ]
    return (
        f'<svg viewBox="-24 0 {WIDE + 48} {HIGH}" role="img" aria-label="{text(what)}">'
        f'<line x1="0" x2="{WIDE}" y1="{floor}" y2="{floor}"/>{"".join(bars)}{"".join(labels)}'
        f"{_mark(median(values), edges, wide, name)}</svg>"
    )


def _minor(yes: bool) -> str:
    return ' class="minor"' if yes else ""


def _mark(middle: float, edges: Sequence[float], wide: float, name: Callable[[float], str]) -> str:
    """A line at the median, with its value above."""
    at = min(bisect_right(edges, middle) - 1, len(edges) - 2)
    x = wide * (at + (middle - edges[at]) / (edges[at + 1] - edges[at]))
    anchor = "start" if x < WIDE / 2 else "end"
    return (
        f'<line class="median" x1="{x:.1f}" x2="{x:.1f}" y1="{TOP - 16}" y2="{HIGH - BOTTOM}"/>'
        f'<text class="median" x="{x + (6 if anchor == "start" else -6):.1f}" y="{TOP - 8}" text-anchor="{anchor}">'
        f"median {text(name(middle))}</text>"
    )


def share(part: float) -> str:
    """A thin bar filled up to a share, 0 to 1."""
    return f'<div class="share"><i style="width:{100 * part:.1f}%"></i></div>'


def stack(parts: Iterable[tuple[str, int]], whole: int) -> str:
    """A bar of parts, each of the colour of its name; `whole` is the length of the full width."""
    pieces = [
        f'<i class="{name}" style="width:{100 * count / whole:.2f}%" title="{name} {count:,}"></i>'
        for name, count in parts
        if count
    ]
    return f'<div class="stack">{"".join(pieces)}</div>'


def duration(seconds: float) -> str:
    """A length as a person says it."""
    if seconds < 9.95:
        return f"{seconds:.1f}".removesuffix(".0") + " s"
    if seconds < 60:
        return f"{seconds:.0f} s"
    number, unit = (seconds / 60, "min") if seconds < 3600 else (seconds / 3600, "h")
    return f"{number:.1f}".removesuffix(".0") + f" {unit}"
