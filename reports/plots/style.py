"""How every figure of a report looks, for print at a paper's width in colour or in grey."""

from __future__ import annotations

import hashlib
import io
import re
import unicodedata
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar
from xml.dom import minidom

from bench.files import whole
from reports.foreign import printable

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from matplotlib.lines import Line2D

T = TypeVar("T")

COLUMN, PAGE = 3.3, 6.9  # inches: the width of one column of a paper, and of both
SMALL, LETTER, TITLE = 7.0, 7.5, 8.0  # points
LINE = 0.125  # inches that a line of small letters takes
LETTERS = 17.5  # small letters that fit on an inch
SAMPLE = "BUILT-IN SAMPLE, not the real data set"

BLACK, GREY, FAINT = "#000000", "#595959", "#DDDDDD"
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
RC: dict[str, Any] = {
    "text.parse_math": False,
    "text.hinting": "none",
    "pdf.fonttype": 42,
    "svg.fonttype": "none",
    "svg.hashsalt": "figure",
    "font.sans-serif": ["DejaVu Sans", "Verdana", "Arial"],  # a web page's reader may lack the first
    "font.size": SMALL,
    "axes.titlesize": TITLE,
    "axes.labelsize": LETTER,
    "xtick.labelsize": SMALL,
    "ytick.labelsize": SMALL,
    "legend.fontsize": SMALL,
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


@contextmanager
def styled() -> Iterator[None]:
    """Draw and write in the look of these figures, whatever matplotlib's settings are; also a decorator."""
    import matplotlib
    from matplotlib.font_manager import fontManager

    there = {font.name for font in fontManager.ttflist}
    with matplotlib.rc_context(), warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Glyph .* missing from font")
        matplotlib.rcdefaults()
        settings: Any = matplotlib.rcParams
        settings.update(RC)
        settings["font.family"] = [font for font in FONTS if font in there] + ["sans-serif"]
        yield


def new(width: float, height: float) -> Figure:
    """An empty figure of `width` x `height` inches, whose parts make room for each other."""
    from matplotlib.figure import Figure
    from matplotlib.layout_engine import ConstrainedLayoutEngine

    engine = ConstrainedLayoutEngine(w_pad=0.05, h_pad=0.05, wspace=0.02, hspace=0.03)
    return Figure(figsize=(width, height), layout=engine)


def look(index: int) -> dict[str, Any]:
    """Colour, marker and dashes of the `index`-th line: no two of the first 48 share a colour and dashes.

    The marker differs from that of the lines of the same colour, so that lines are told apart in grey.
    """
    lap, place = divmod(index, len(COLOURS))
    return {
        "color": COLOURS[place],
        "marker": MARKERS[(place + 3 * lap) % len(MARKERS)],
        "linestyle": DASHES[(place + lap) % len(DASHES)],
    }


def series(index: int) -> Line2D:
    """What stands in a legend for the `index`-th line."""
    from matplotlib.lines import Line2D

    return Line2D([], [], markersize=3.5, **look(index))


@cache
def _advance(letter: str) -> float:
    """How wide a letter is, in mean letters; Chinese, Japanese and Korean ones count two."""
    from matplotlib.font_manager import findfont, get_font
    from matplotlib.ft2font import LoadFlags

    if unicodedata.east_asian_width(letter) in "WF":
        return 2.0
    font = get_font(findfont(FONTS[0]))
    return font.load_char(ord(letter), flags=LoadFlags.NO_SCALE).horiAdvance / font.units_per_EM * LETTERS * SMALL / 72


def _drawable(text: str) -> str:
    """A text without what no font has: control characters and halves of others are spelt out."""
    return "".join(printable(sign) if unicodedata.category(sign) in ("Cc", "Cf", "Cs") else sign for sign in text)


def wide(text: str) -> float:
    """How much room a text takes, in mean letters."""
    return sum(map(_advance, _drawable(text)))


def wrap(text: str, letters: float) -> str:
    """The text in lines of at most so many mean letters, broken at spaces, or in long words behind `-`, `_` and `/`."""
    text, lines = _drawable(" ".join(re.split(r"[ \t\n]+", text.strip()))), [""]
    for word in text.split(" "):
        joint = f"{lines[-1]} {word}" if lines[-1] else word
        if wide(joint) <= letters:
            lines[-1] = joint
        elif wide(word) <= letters:
            lines.append(word)
        else:
            lines.extend(_pieces(word, letters))
    return "\n".join(line for line in lines if line) or text


def _pieces(word: str, letters: float) -> list[str]:
    """A word that is too long for a line, in pieces that are not."""
    pieces = [""]
    for part in re.findall(r"[^_/-]*[_/-]+|[^_/-]+", word):
        if wide(pieces[-1] + part) <= letters:
            pieces[-1] += part
            continue
        pieces.append("")
        for letter in part:
            if wide(pieces[-1] + letter) > letters:
                pieces.append("")
            pieces[-1] += letter
    return pieces


def chunks(items: Sequence[T], most: int) -> list[list[T]]:
    """The items in the order given, in as few parts of at most `most` as there can be, of about equal length."""
    parts = -(-len(items) // most)
    each = -(-len(items) // parts)
    return [list(items[start : start + each]) for start in range(0, len(items), each)]


def abreast(panels: int, parts: int, most: int) -> tuple[int, int]:
    """Rows and columns of so many panels, at most `most` in a row; the parts of one stand side by side if they can."""
    columns = parts * (most // parts) or most
    rows = -(-panels // columns)
    return rows, min(columns, panels) if parts > 1 else -(-panels // rows)


def part(title: str, place: int, parts: int) -> str:
    """The title of a panel whose lines are spread over several."""
    return f"{title} ({place + 1} of {parts})" if parts > 1 else title


def distinct(names: Sequence[str]) -> list[str]:
    """Each name once, in the order given."""
    return list(dict.fromkeys(names))


def save(figure: Figure, stem: Path) -> list[str]:
    """Write `stem`.pdf and `stem`.png, each whole or not at all; their names. The same figure gives the same bytes."""
    pdf, png = stem.with_name(f"{stem.name}.pdf"), stem.with_name(f"{stem.name}.png")
    undated: dict[str, Any] = {"CreationDate": None, "Producer": None, "Creator": None}
    with styled():
        with whole(pdf) as temporary:
            figure.savefig(temporary, format="pdf", metadata=undated)
        with whole(png) as temporary:
            figure.savefig(temporary, format="png", dpi=200, metadata={"Software": None})
    return [pdf.name, png.name]


def as_png(figure: Figure, dpi: float = 110) -> bytes:
    """The figure as a PNG; the same figure gives the same bytes."""
    target = io.BytesIO()
    with styled():
        figure.savefig(target, format="png", dpi=dpi, metadata={"Software": None})
    return target.getvalue()


def as_svg(figure: Figure) -> str:
    """The figure as one `<svg>` element to stand in a web page: text stays text, nothing is fetched.

    Names inside it are its own, so that several figures may stand in one page.
    """
    target = io.StringIO()
    with styled():
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
    _name_apart(root, mine)
    return str(root.toxml())


def _name_apart(root: minidom.Element, mine: str) -> None:
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
