"""Style of all figures of a report, for print in colour or grey at the width of a paper, and what is around panels: the
words BUILT-IN SAMPLE, the axis label and the legend.
"""

from __future__ import annotations

import hashlib
import io
import multiprocessing
import os
import re
import unicodedata
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager, nullcontext
from functools import cache, partial
from pathlib import Path
from typing import Any, TypeVar
from xml.dom import minidom

import matplotlib
from matplotlib.artist import Artist
from matplotlib.figure import Figure
from matplotlib.font_manager import findfont, fontManager, get_font
from matplotlib.ft2font import LoadFlags
from matplotlib.layout_engine import ConstrainedLayoutEngine
from matplotlib.legend import Legend
from matplotlib.lines import Line2D

from bench.files import atomic_path, atomic_write
from bench.processes import init_pool_worker
from reports.formats import make_printable
from reports.types import RenderedFigure, ReportFigure

T = TypeVar("T")

COLUMN_WIDTH, PAGE_WIDTH = 3.3, 6.9  # inches: one column of a paper, and both
SMALL_SIZE, LABEL_SIZE, TITLE_SIZE = 7.0, 7.5, 8.0  # points
LINE_HEIGHT = 0.125  # inches, of a line of small type
CHARS_PER_INCH = 17.5  # of small type
SAMPLE_WARNING = "BUILT-IN SAMPLE, not the real data set"

BLACK, GREY, LIGHT_GREY = "#000000", "#595959", "#DDDDDD"
# Okabe and Ito, 2008, with wine instead of yellow, which is too pale on paper; neighbours differ in grey
COLOURS = ("#0072B2", "#D55E00", "#000000", "#56B4E9", "#009E73", "#E69F00", "#882255", "#CC79A7")
MARKERS = ("o", "s", "^", "D", "v", "P", "X", "*")
DOTTED = ((4, 1.5), (1, 1.2), (5, 1.2, 1, 1.2), (9, 2), (3, 1.2, 1, 1.2, 1, 1.2))
DASHES: tuple[Any, ...] = ("-", *((0, lengths) for lengths in DOTTED))

FONTS = (
    "DejaVu Sans",  # shipped with matplotlib, so always the same; the others are fallbacks for missing glyphs
    "Noto Sans CJK SC",
    "Noto Sans CJK JP",
    "Source Han Sans SC",
    "WenQuanYi Zen Hei",
    "WenQuanYi Micro Hei",
    "Droid Sans Fallback",
    "Noto Sans Arabic",
    "Noto Sans Devanagari",
)
RC_PARAMS: dict[str, Any] = {
    "text.parse_math": False,
    "text.hinting": "none",
    "pdf.fonttype": 42,
    "svg.fonttype": "none",
    "svg.hashsalt": "figure",
    "font.sans-serif": ["DejaVu Sans", "Verdana", "Arial"],  # readers of a web page may lack the first
    "font.size": SMALL_SIZE,
    "axes.titlesize": TITLE_SIZE,
    "axes.labelsize": LABEL_SIZE,
    "xtick.labelsize": SMALL_SIZE,
    "ytick.labelsize": SMALL_SIZE,
    "legend.fontsize": SMALL_SIZE,
    "axes.titlelocation": "left",
    "axes.titlepad": 3.5,
    "axes.labelpad": 2.5,
    "axes.linewidth": 0.6,
    "axes.edgecolor": GREY,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.axisbelow": True,
    "xtick.major.width": 0.6,
    "ytick.major.width": 0.6,
    "xtick.major.size": 2.5,
    "ytick.major.size": 2.5,
    "xtick.color": GREY,
    "ytick.color": GREY,
    "xtick.labelcolor": BLACK,
    "ytick.labelcolor": BLACK,
    "lines.linewidth": 1.2,
    "legend.frameon": False,
    "legend.handlelength": 2.4,
    "legend.columnspacing": 1.4,
    "legend.borderpad": 0.1,
    "legend.borderaxespad": 0.0,
}

MARGIN = 0.05  # inches
MIN_PARALLEL_FIGURES = 8  # fewer are drawn without worker processes
MAX_PROCESSES = 4
MAX_SVG_BYTES = 150_000  # larger figures are PNG on the page
FIGURE_FORMATS = ("pdf", "png")  # files that `save_figure` writes


@contextmanager
def report_style() -> Iterator[None]:
    """Apply the style of these figures, whatever the settings of matplotlib are; usable as a decorator."""
    installed = {font.name for font in fontManager.ttflist}
    with matplotlib.rc_context(), warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Glyph .* missing from font")
        matplotlib.rcdefaults()
        settings: Any = matplotlib.rcParams
        settings.update(RC_PARAMS)
        settings["font.family"] = [font for font in FONTS if font in installed] + ["sans-serif"]
        yield


def make_figure(width: float, height: float) -> Figure:
    """Return an empty figure of `width` x `height` inches with constrained layout."""
    engine = ConstrainedLayoutEngine(w_pad=0.05, h_pad=0.05, wspace=0.02, hspace=0.03)
    return Figure(figsize=(width, height), layout=engine)


def get_line_style(index: int) -> dict[str, Any]:
    """Return colour, marker and dashes of the `index`-th line; no two of the first 48 share both colour and dashes.

    Lines of one colour have different markers, so that they can be distinguished in grey.
    """
    lap, place = divmod(index, len(COLOURS))
    return {
        "color": COLOURS[place],
        "marker": MARKERS[(place + 3 * lap) % len(MARKERS)],
        "linestyle": DASHES[(place + lap) % len(DASHES)],
    }


def make_legend_handle(index: int) -> Line2D:
    """Return the legend handle of the `index`-th line."""
    return Line2D([], [], markersize=3.5, **get_line_style(index))


@cache
def _measure_char(letter: str) -> float:
    """Return the width of a character, in mean characters; Chinese, Japanese and Korean ones count two."""
    if unicodedata.east_asian_width(letter) in "WF":
        return 2.0
    font = get_font(findfont(FONTS[0]))
    advance = font.load_char(ord(letter), flags=LoadFlags.NO_SCALE).horiAdvance
    return advance / font.units_per_EM * CHARS_PER_INCH * SMALL_SIZE / 72


def _escape_undrawable(text: str) -> str:
    """Escape control, format and surrogate characters, which no font has."""
    return "".join(make_printable(sign) if unicodedata.category(sign) in ("Cc", "Cf", "Cs") else sign for sign in text)


def measure_text_width(text: str) -> float:
    """Return the width of a text, in mean characters."""
    return sum(map(_measure_char, _escape_undrawable(text)))


def wrap_text(text: str, letters: float) -> str:
    """Wrap a text to lines of at most `letters` mean characters, at spaces, or in long words after `-`, `_` and `/`."""
    text, lines = _escape_undrawable(" ".join(re.split(r"[ \t\n]+", text.strip()))), [""]
    for word in text.split(" "):
        joint = f"{lines[-1]} {word}" if lines[-1] else word
        if measure_text_width(joint) <= letters:
            lines[-1] = joint
        elif measure_text_width(word) <= letters:
            lines.append(word)
        else:
            lines.extend(_split_word(word, letters))
    return "\n".join(line for line in lines if line) or text


def _split_word(word: str, letters: float) -> list[str]:
    """Split a word that is too long for a line into pieces that fit."""
    pieces = [""]
    for part in re.findall(r"[^_/-]*[_/-]+|[^_/-]+", word):
        if measure_text_width(pieces[-1] + part) <= letters:
            pieces[-1] += part
            continue
        pieces.append("")
        for letter in part:
            if measure_text_width(pieces[-1] + letter) > letters:
                pieces.append("")
            pieces[-1] += letter
    return pieces


def split_evenly(items: Sequence[T], most: int) -> list[list[T]]:
    """Split items, in order, into as few parts of at most `most` as possible, of about equal length."""
    parts = -(-len(items) // most)
    each = -(-len(items) // parts)
    return [list(items[start : start + each]) for start in range(0, len(items), each)]


def add_panels(figure: Figure, rows: int, columns: int, count: int, **options: Any) -> list[Any]:
    """Add the first `count` axes of a grid, row by row."""
    table = list(figure.subplots(rows, columns, squeeze=False, **options).flat)
    for axes in table[count:]:
        axes.remove()
    return table[:count]


def make_line_panels(
    titles: Sequence[str],
    labels: Sequence[str],
    per_row: int,
    per_row_of_many: int,
    y_label: str = "",
    title_look: Mapping[str, Any] | None = None,
    **options: Any,
) -> tuple[Figure, list[tuple[Any, int, list[str]]]]:
    """Return a figure, and for each panel its axes, the index of its title, and the labels that it shows.

    More labels than colours are spread over several panels, side by side if possible. A row has at most `per_row`
    panels, or `per_row_of_many` for more than six panels. The first panel of a row has the `y_label`.
    """
    parts = split_evenly(labels, len(COLOURS))
    panels = [(place, number) for place in range(len(titles)) for number in range(len(parts))]
    most = per_row_of_many if len(panels) > 6 else per_row
    columns = len(parts) * (most // len(parts)) or most
    rows = -(-len(panels) // columns)
    columns = min(columns, len(panels)) if len(parts) > 1 else -(-len(panels) // rows)
    width = COLUMN_WIDTH if columns == 1 else PAGE_WIDTH
    figure = make_figure(width, rows * 2.6)
    found: list[tuple[Any, int, list[str]]] = []
    for axes, (place, number) in zip(add_panels(figure, rows, columns, len(panels), **options), panels, strict=True):
        title = f"{titles[place]} ({number + 1} of {len(parts)})" if len(parts) > 1 else titles[place]
        axes.set_title(wrap_text(title, int(0.7 * CHARS_PER_INCH * width / columns)), **(title_look or {}))
        if y_label and len(found) % columns == 0:
            axes.set_ylabel(wrap_text(y_label, int(CHARS_PER_INCH * 1.5)))
        found.append((axes, place, parts[number]))
    return figure, found


def make_limits(values: Sequence[float], edge: float) -> tuple[float, float]:
    """Return the ends of an axis that shows all values, with a margin of `edge` times their range."""
    least, most = min(values), max(values)
    margin = edge * (most - least) or max(0.05 * abs(most), 0.5)
    return least - margin, most + margin


def write_figures(
    pictures: Sequence[ReportFigure], folder: Path, progress: Callable[[int], None]
) -> dict[str, RenderedFigure]:
    """Write every figure as PDF and PNG into a folder; return name -> figure for the page.

    `progress` is called with the number of finished figures.
    """
    cores = min(MAX_PROCESSES, os.cpu_count() or 1) if len(pictures) >= MIN_PARALLEL_FIGURES else 1
    write, shown = partial(write_figure, folder=folder), dict[str, RenderedFigure]()
    context = multiprocessing.get_context("spawn")  # this process may have threads
    pool = ProcessPoolExecutor(cores, mp_context=context, initializer=init_pool_worker) if cores > 1 else nullcontext()
    with pool as group:
        drawn = group.map(write, pictures) if group is not None else map(write, pictures)
        for place, picture in enumerate(pictures):
            progress(place)
            shown[picture.name] = next(drawn)
    return shown


def write_figure(picture: ReportFigure, folder: Path) -> RenderedFigure:
    """Write a figure as PDF and PNG; return it for the page, as SVG, or as PNG if the SVG is large."""
    figure = picture.draw()
    save_figure(figure, folder / picture.name)
    drawn = render_svg(figure).encode()
    if len(drawn) > MAX_SVG_BYTES:
        return RenderedFigure("image/png", render_png(figure))
    return RenderedFigure("image/svg+xml", drawn)


def save_figure(figure: Figure, stem: Path) -> list[str]:
    """Write `stem`.pdf and `stem`.png atomically and return their names. Equal figures give equal bytes."""
    pdf, png = stem.with_name(f"{stem.name}.pdf"), stem.with_name(f"{stem.name}.png")
    undated: dict[str, Any] = {"CreationDate": None, "Producer": None, "Creator": None}
    with report_style(), atomic_path(pdf) as temporary:
        figure.savefig(temporary, format="pdf", metadata=undated)
    atomic_write(png, render_png(figure, dpi=200))
    return [pdf.name, png.name]


@report_style()
def render_png(figure: Figure, dpi: float = 110) -> bytes:
    """Return the figure as PNG; equal figures give equal bytes."""
    target = io.BytesIO()
    figure.savefig(target, format="png", dpi=dpi, metadata={"Software": None})
    return target.getvalue()


@report_style()
def render_svg(figure: Figure) -> str:
    """Return the figure as an `<svg>` element for a web page; text stays text, and nothing is loaded.

    Its ids are unique, so that a page can hold several figures.
    """
    target = io.StringIO()
    nothing: dict[str, Any] = dict.fromkeys(("Date", "Creator", "Format", "Type"))
    figure.savefig(target, format="svg", metadata=nothing)
    root = minidom.parseString(target.getvalue().encode()).documentElement
    assert root is not None
    for rule in root.getElementsByTagName("style"):
        assert rule.parentNode is not None
        rule.parentNode.removeChild(rule)  # it would apply to the whole page
    root.setAttribute("style", "stroke-linejoin: round; stroke-linecap: butt")
    _prefix_ids(root, hashlib.sha256(target.getvalue().encode()).hexdigest()[:8])
    return str(root.toxml())


def _prefix_ids(root: minidom.Element, mine: str) -> None:
    """Prefix every id that is referred to with `mine`; drop the others."""
    elements = [root, *root.getElementsByTagName("*")]
    refers = re.compile(r"(?<=^#)[\w-]+$|(?<=url\(#)[\w-]+(?=\))")
    used = set()
    for element in elements:
        for name, value in list(element.attributes.items()):
            if refers.search(value):
                used |= set(refers.findall(value))
                element.setAttribute(name, refers.sub(lambda found: f"f{mine}-{found[0]}", value))
    for element in elements:
        identity = element.getAttribute("id")
        if identity in used:
            element.setAttribute("id", f"f{mine}-{identity}")
        elif identity:
            element.removeAttribute("id")


def add_decor(
    figure: Figure,
    axis_label: str = "",
    labels: Sequence[str] = (),
    handles: Sequence[Artist] | None = None,
    sample: bool = False,
    square_panels: bool = False,
) -> Figure:
    """Add what surrounds the panels, make the figure taller by its height, and fix the layout.

    The `axis_label` is centred below the panels, followed by a legend of `labels` with `handles` (by default those of
    lines). `square_panels` are as high as they are wide.
    """
    width, body = figure.get_figwidth(), figure.get_figheight()
    axis = wrap_text(axis_label, int(CHARS_PER_INCH * (width - 1))) if axis_label else ""
    if handles is None:
        handles = [make_legend_handle(place) for place in range(len(labels))]
    legend = _add_legend(figure, handles, labels) if labels else None
    top = 0.19 if sample else 0.0
    legend_tall = legend.get_window_extent().height / figure.dpi + 2 * MARGIN if legend else 0.0
    bottom = legend_tall + ((axis.count("\n") + 1) * LINE_HEIGHT + MARGIN if axis else 0.0)
    engine = figure.get_layout_engine()
    assert isinstance(engine, ConstrainedLayoutEngine)
    for _ in range(3 if square_panels else 1):
        total = top + body + bottom
        figure.set_figheight(total)
        engine.set(rect=(0, bottom / total, 1, body / total))
        engine.execute(figure)
        if square_panels:
            box, table = figure.axes[0].get_position(original=True), figure.axes[0].get_subplotspec()
            assert table is not None
            body += (box.width * width - box.height * total) * table.get_gridspec().nrows
    figure.set_layout_engine("none")
    if legend:
        legend.set_bbox_to_anchor((0, MARGIN / total, 1, (legend_tall - 2 * MARGIN) / total), figure.transFigure)
    if axis:
        boxes = [axes.get_position() for axes in figure.axes]
        middle = (min(box.x0 for box in boxes) + max(box.x1 for box in boxes)) / 2
        half = max(map(measure_text_width, axis.split("\n"))) / CHARS_PER_INCH * LABEL_SIZE / SMALL_SIZE / 2 / width
        middle = max(half, min(middle, 1 - half - MARGIN / width))
        figure.text(middle, bottom / total, axis, ha="center", va="top", fontsize=LABEL_SIZE, gid="axis")
    if sample:
        loud: dict[str, Any] = {"va": "top", "fontweight": "bold", "fontsize": TITLE_SIZE, "gid": "sample"}
        figure.text(MARGIN / width, 1 - MARGIN / total, SAMPLE_WARNING, **loud)
    return figure


def _add_legend(figure: Figure, handles: Sequence[Artist], names: Sequence[str]) -> Legend:
    """Add a legend with as many columns as fit; its labels may start with `_`."""
    room = figure.get_figwidth() - 2 * MARGIN
    labels = [wrap_text(name, int(CHARS_PER_INCH * room) - 8) for name in names]
    for columns in range(min(len(labels), 6), 0, -1):
        legend = figure.legend(handles, [str(place) for place in range(len(labels))], ncols=columns, loc="center")
        legend.set_in_layout(False)
        for text, label in zip(legend.get_texts(), labels, strict=True):
            text.set_text(label)
        if columns == 1 or legend.get_window_extent().width / figure.dpi <= room:
            return legend
        legend.remove()
    raise AssertionError("unreachable: a legend has at least one column")
