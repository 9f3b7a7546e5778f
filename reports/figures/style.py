"""The look of every figure of a report, for print at a paper's width in colour or in grey.

Also the surroundings of the panels: the words BUILT-IN SAMPLE, the axis label, the legend and a note.
"""

from __future__ import annotations

import hashlib
import io
import re
import unicodedata
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
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

from bench.files import atomic_path
from reports.formats import make_printable

T = TypeVar("T")

COLUMN_WIDTH, PAGE_WIDTH = 3.3, 6.9  # inches: the width of one column of a paper, and of both
SMALL_SIZE, LABEL_SIZE, TITLE_SIZE = 7.0, 7.5, 8.0  # points
LINE_HEIGHT = 0.125  # inches that a line of small letters takes
CHARS_PER_INCH = 17.5  # small letters that fit on an inch
SAMPLE_WARNING = "BUILT-IN SAMPLE, not the real data set"

BLACK, GREY, LIGHT_GREY = "#000000", "#595959", "#DDDDDD"
COLOURS = (
    "#0072B2",
    "#D55E00",
    "#000000",
    "#56B4E9",
    "#009E73",
    "#E69F00",
    "#882255",
    "#CC79A7",
)  # Okabe and Ito, 2008, with wine in the place of their yellow, which paper swallows; neighbours differ in grey
MARKERS = ("o", "s", "^", "D", "v", "P", "X", "*")
DASHES: tuple[Any, ...] = (
    "-",
    (0, (4, 1.5)),
    (0, (1, 1.2)),
    (0, (5, 1.2, 1, 1.2)),
    (0, (9, 2)),
    (0, (3, 1.2, 1, 1.2, 1, 1.2)),
)

FONTS = (
    "DejaVu Sans",  # comes with matplotlib, so it is the same everywhere; the others lend it the letters it lacks
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
    "font.sans-serif": ["DejaVu Sans", "Verdana", "Arial"],  # a web page's reader may lack the first
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


@contextmanager
def report_style() -> Iterator[None]:
    """Draw and write in the look of these figures, whatever matplotlib's settings are; also a decorator."""
    there = {font.name for font in fontManager.ttflist}
    with matplotlib.rc_context(), warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Glyph .* missing from font")
        matplotlib.rcdefaults()
        settings: Any = matplotlib.rcParams
        settings.update(RC_PARAMS)
        settings["font.family"] = [font for font in FONTS if font in there] + ["sans-serif"]
        yield


def make_figure(width: float, height: float) -> Figure:
    """An empty figure of `width` x `height` inches, whose parts make room for each other."""
    engine = ConstrainedLayoutEngine(w_pad=0.05, h_pad=0.05, wspace=0.02, hspace=0.03)
    return Figure(figsize=(width, height), layout=engine)


def get_line_style(index: int) -> dict[str, Any]:
    """Colour, marker and dashes of the `index`-th line: no two of the first 48 share a colour and dashes.

    The marker differs from that of the lines of the same colour, so that lines are told apart in grey.
    """
    lap, place = divmod(index, len(COLOURS))
    return {
        "color": COLOURS[place],
        "marker": MARKERS[(place + 3 * lap) % len(MARKERS)],
        "linestyle": DASHES[(place + lap) % len(DASHES)],
    }


def make_legend_handle(index: int) -> Line2D:
    """What stands in a legend for the `index`-th line."""
    return Line2D([], [], markersize=3.5, **get_line_style(index))


@cache
def _measure_char(letter: str) -> float:
    """How wide a letter is, in mean letters; Chinese, Japanese and Korean ones count two."""
    if unicodedata.east_asian_width(letter) in "WF":
        return 2.0
    font = get_font(findfont(FONTS[0]))
    return (
        font.load_char(ord(letter), flags=LoadFlags.NO_SCALE).horiAdvance
        / font.units_per_EM
        * CHARS_PER_INCH
        * SMALL_SIZE
        / 72
    )


def _escape_undrawable(text: str) -> str:
    """A text without what no font has: control characters and halves of others are spelt out."""
    return "".join(make_printable(sign) if unicodedata.category(sign) in ("Cc", "Cf", "Cs") else sign for sign in text)


def measure_text_width(text: str) -> float:
    """How much room a text takes, in mean letters."""
    return sum(map(_measure_char, _escape_undrawable(text)))


def wrap_text(text: str, letters: float) -> str:
    """The text in lines of at most so many mean letters, broken at spaces, or in long words behind `-`, `_` and `/`."""
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
    """A word that is too long for a line, in pieces that are not."""
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
    """The items in the order given, in as few parts of at most `most` as there can be, of about equal length."""
    parts = -(-len(items) // most)
    each = -(-len(items) // parts)
    return [list(items[start : start + each]) for start in range(0, len(items), each)]


def make_panel_grid(panels: int, parts: int, most: int) -> tuple[int, int]:
    """Rows and columns of so many panels, at most `most` in a row; the parts of one stand side by side if they can."""
    columns = parts * (most // parts) or most
    rows = -(-panels // columns)
    return rows, min(columns, panels) if parts > 1 else -(-panels // rows)


def format_panel_title(title: str, place: int, parts: int) -> str:
    """The title of a panel whose lines are spread over several."""
    return f"{title} ({place + 1} of {parts})" if parts > 1 else title


def drop_repeats(names: Sequence[str]) -> list[str]:
    """Each name once, in the order given."""
    return list(dict.fromkeys(names))


def save_figure(figure: Figure, stem: Path) -> list[str]:
    """Write `stem`.pdf and `stem`.png, each whole or not at all; their names. The same figure gives the same bytes."""
    pdf, png = stem.with_name(f"{stem.name}.pdf"), stem.with_name(f"{stem.name}.png")
    undated: dict[str, Any] = {"CreationDate": None, "Producer": None, "Creator": None}
    with report_style():
        with atomic_path(pdf) as temporary:
            figure.savefig(temporary, format="pdf", metadata=undated)
        with atomic_path(png) as temporary:
            figure.savefig(temporary, format="png", dpi=200, metadata={"Software": None})
    return [pdf.name, png.name]


def render_png(figure: Figure, dpi: float = 110) -> bytes:
    """The figure as a PNG; the same figure gives the same bytes."""
    target = io.BytesIO()
    with report_style():
        figure.savefig(target, format="png", dpi=dpi, metadata={"Software": None})
    return target.getvalue()


def render_svg(figure: Figure) -> str:
    """The figure as one `<svg>` element to stand in a web page: text stays text, nothing is fetched.

    Names inside it are its own, so that several figures may stand in one page.
    """
    target = io.StringIO()
    with report_style():
        nothing: dict[str, Any] = dict.fromkeys(("Date", "Creator", "Format", "Type"))
        figure.savefig(target, format="svg", metadata=nothing)
    document = minidom.parseString(target.getvalue().encode())
    root = document.documentElement
    assert root is not None
    for rule in root.getElementsByTagName("style"):
        assert rule.parentNode is not None
        rule.parentNode.removeChild(rule)  # it would hold for the whole page
    root.setAttribute("style", "stroke-linejoin: round; stroke-linecap: butt")
    mine = hashlib.sha256(target.getvalue().encode()).hexdigest()[:8]
    _prefix_ids(root, mine)
    return str(root.toxml())


def _prefix_ids(root: minidom.Element, mine: str) -> None:
    """Put `mine` before every id that is referred to; drop the others."""
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


@dataclass(frozen=True)
class FigureDecor:
    """What is to stand around the panels; what is empty takes no room."""

    axis_label: str = ""  # below the panels, in the middle
    legend_handles: Sequence[Artist] = ()
    legend_labels: Sequence[str] = ()  # one for each handle
    note: str = ""
    sample: bool = False
    square_panels: bool = False  # the panels are to be as tall as they are wide


def add_decor(figure: Figure, run_table: FigureDecor) -> Figure:
    """Make the figure as much taller as its frame needs, lay it out once and for all, and put the frame in."""
    width, body = figure.get_figwidth(), figure.get_figheight()
    note = wrap_text(run_table.note, int(CHARS_PER_INCH * width)) if run_table.note else ""
    axis = wrap_text(run_table.axis_label, int(CHARS_PER_INCH * (width - 1))) if run_table.axis_label else ""
    legend = _add_legend(figure, run_table) if run_table.legend_handles else None
    top = 0.19 if run_table.sample else 0.0
    note_tall = _compute_text_height(note)
    legend_tall = _measure_legend(figure, legend)[1] + 2 * MARGIN if legend else 0.0
    bottom = note_tall + legend_tall + _compute_text_height(axis)
    for _ in range(3 if run_table.square_panels else 1):
        total = _lay_out_panels(figure, top, body, bottom)
        if run_table.square_panels:
            box, table = figure.axes[0].get_position(original=True), figure.axes[0].get_subplotspec()
            assert table is not None
            body += (box.width * width - box.height * total) * table.get_gridspec().nrows
    figure.set_layout_engine("none")
    boxes = [axes.get_position() for axes in figure.axes]
    middle = (min(box.x0 for box in boxes) + max(box.x1 for box in boxes)) / 2
    if note:
        figure.text(
            MARGIN / width, (note_tall - 0.02) / total, note, va="top", color=GREY, fontsize=SMALL_SIZE, gid="note"
        )
    if legend:
        legend.set_bbox_to_anchor(
            (0, (note_tall + MARGIN) / total, 1, (legend_tall - 2 * MARGIN) / total), figure.transFigure
        )
    if axis:
        half = max(map(measure_text_width, axis.split("\n"))) / CHARS_PER_INCH * LABEL_SIZE / SMALL_SIZE / 2 / width
        middle = max(half, min(middle, 1 - half - MARGIN / width))
        figure.text(middle, bottom / total, axis, ha="center", va="top", fontsize=LABEL_SIZE, gid="axis")
    if run_table.sample:
        figure.text(
            MARGIN / width,
            1 - MARGIN / total,
            SAMPLE_WARNING,
            va="top",
            fontweight="bold",
            fontsize=TITLE_SIZE,
            gid="sample",
        )
    return figure


def _lay_out_panels(figure: Figure, top: float, body: float, bottom: float) -> float:
    """Lay the panels out in the middle of three strips, given in inches; how tall the figure is."""
    total = top + body + bottom
    figure.set_figheight(total)
    engine = figure.get_layout_engine()
    assert isinstance(engine, ConstrainedLayoutEngine)
    engine.set(rect=(0, bottom / total, 1, body / total))
    engine.execute(figure)
    return total


def _compute_text_height(text: str) -> float:
    """Inches that wrapped text takes."""
    return (text.count("\n") + 1) * LINE_HEIGHT + MARGIN if text else 0.0


def _measure_legend(figure: Figure, legend: Legend) -> tuple[float, float]:
    """Width and height of a legend in inches."""
    box = legend.get_window_extent()
    return box.width / figure.dpi, box.height / figure.dpi


def _add_legend(figure: Figure, run_table: FigureDecor) -> Legend:
    """A legend with as many columns as the width bears. Its labels may start with `_`."""
    room = figure.get_figwidth() - 2 * MARGIN
    labels = [wrap_text(label, int(CHARS_PER_INCH * room) - 8) for label in run_table.legend_labels]
    for columns in range(min(len(labels), 6), 0, -1):
        legend = figure.legend(
            run_table.legend_handles, [str(place) for place in range(len(labels))], ncols=columns, loc="center"
        )
        legend.set_in_layout(False)
        for text, label in zip(legend.get_texts(), labels, strict=True):
            text.set_text(label)
        if columns == 1 or _measure_legend(figure, legend)[0] <= room:
            return legend
        legend.remove()
    raise AssertionError("a legend has one column or more")
