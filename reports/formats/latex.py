"""Tables as LaTeX for a paper, written by templates, in source that compiles with every engine."""

from __future__ import annotations

import re
from functools import cache
from itertools import groupby

from jinja2 import Environment
from markupsafe import Markup
from pylatexenc.latexencode import RULE_DICT, RULE_REGEX, UnicodeToLatexConversionRule, UnicodeToLatexEncoder

from reports.formats import format_footnote_marks, make_printable, split_marks
from reports.formats.templates import make_environment
from reports.types import Cell, Table

COLUMN_CHARS = 50  # letters of \small type that one of two columns, 3.25 inches, holds
COLUMN_GAP = 3  # letters that the space between two columns takes
OPTION_START = re.compile(r"^ *[\[*]")  # in front: what `\\` and `\midrule` would take for theirs
HYPHEN_AS_MINUS = re.compile(r"(?<![\w.)-])-(?=\d)")  # a hyphen that is one

LATIN_CHARS = (  # what pdflatex sets without any package (utf8, OT1), and every other engine as it is
    "ÀÁÂÃÄÅÆÇÈÉÊËÌÍÎÏÑÒÓÔÕÖØÙÚÛÜÝßàáâãäåæçèéêëìíîïñòóôõöøùúûüýÿ"
    "ĀāĂăĆćĈĉĊċČčĎďĒēĔĕĖėĚěĜĝĞğĠġĢģĤĥĨĩĪīĬĭİıĴĵĶķĹĺĻļĽľŁłŃńŅņŇňŌōŎŏŐőŒœŔŕŖŗŘřŚśŜŝŞşŠšŢţŤťŨũŪūŬŭŮůŰűŴŵŶŷŸŹźŻżŽž"
    "ȘșȚț"
)
SYMBOLS = "‘’“”…¡¿±−∙≤≥≈≠∼↔⇒∞∈∅∑Δ∆⁰⁴⁵⁶⁷⁸⁹⁺⁻₀₁₂₃₄₅₆₇₈₉"  # that pylatexenc writes by commands of any font
OWN_COMMANDS = {  # for what it leaves as it is, or writes by commands that some fonts lack
    "|": r"\textbar",
    **{"\u00a0": "~", "–": "--", "—": "---"},
    **dict.fromkeys("\u2009\u202f", r"\,"),
    **dict.fromkeys("✓✔", r"\checkmark"),
    **dict.fromkeys("×✗✘", r"$\times$"),
    **{"÷": r"$\div$", "·": r"$\cdot$", "•": r"$\bullet$", "†": r"$\dagger$", "‡": r"$\ddagger$", "§": r"\S"},
    **{"→": r"$\rightarrow$", "←": r"$\leftarrow$", "↑": r"$\uparrow$", "↓": r"$\downarrow$"},
    **{"°": r"$^\circ$", "′": "$'$", "µ": r"$\mu$", "¹": "$^1$", "²": "$^2$", "³": "$^3$"},
}
GREEK_RANGE = r"\u0370-\u03ff"
LONE_GREEK = rf"(?<![{GREEK_RANGE}])[αβγδεηκλμπρστφχω](?![{GREEK_RANGE}])"  # a sign of statistics, no letter of a word
FOREIGN_CHARS = rf"(?:(?!{LONE_GREEK})[^ -~{LATIN_CHARS}{SYMBOLS}{''.join(OWN_COMMANDS)}])+"


def render_latex(table: Table, marks: bool = False) -> str:
    r"""Return a table environment for `\input`, with the marks of its cells or without.

    One of more than `COLUMN_CHARS` letters goes over both columns of a paper (`table*`).
    """
    template = make_latex_environment().get_template("table.tex")
    kind = "table*" if _count_chars(table) > COLUMN_CHARS else "table"
    text = template.render(table=table, kind=kind, title=table.title.rstrip(" ."))
    return text if marks else split_marks(text)[0]


@cache
def make_latex_environment() -> Environment:
    r"""Return the environment of our LaTeX: `\VAR{}`, `\BLOCK{}`, `\COMMENT{}`. Every text is escaped.

    What stands behind a `%` is no text but a comment: `| comment` keeps it on its line.
    """
    made = make_environment(
        lambda text: Markup(escape_latex(text)),
        variable_start_string=r"\VAR{",
        variable_end_string="}",
        block_start_string=r"\BLOCK{",
        block_end_string="}",
        comment_start_string=r"\COMMENT{",
        comment_end_string="}",
    )
    made.globals |= {"get_cell_text": _get_cell_text, "is_right_aligned": _is_right_aligned}
    made.globals |= {"make_column_spec": _make_column_spec, "between_cells": Markup(" & ")}
    made.filters["comment"] = lambda text: Markup(make_printable(text))
    made.filters["identifier"] = lambda text: Markup(re.sub(r"[^A-Za-z0-9_.-]", "-", text))
    return made


def escape_latex(text: str) -> str:
    r"""Return a text of any origin as LaTeX on one line, in which nothing is a command, a comment or an option of `\\`.

    Letters beyond Latin ones with accents are themselves under XeTeX and LuaTeX, whose fonts may have them, and
    `[U+4E2D]` under pdflatex; what cannot be printed (line ends, changes of direction) is so everywhere. ✓ needs
    amssymb.
    """
    return OPTION_START.sub(r"{\g<0>}", _make_encoder().unicode_to_latex(text), count=1)


@cache
def _make_encoder() -> UnicodeToLatexEncoder:
    """Return the encoder. Latin letters stay readable, and right: it would write Ű as Ú."""
    expressions = [
        (rf"[A-Za-z0-9 .:;()=+/{LATIN_CHARS}]+", r"\g<0>"),
        (r'(?<![^\s(\[])"(?=[^\s"])', r"\\textquotedblleft{}"),
        ('"', r"\\textquotedblright{}"),
        (r"-(?=[-–—])|,(?=,)|'(?=['’])|[`?!](?=[`‘])", r"\g<0>{}"),  # would run together to another sign
        ("–(?=[-–—])", "--{}"),
        ("—(?=[-–—])", "---{}"),
        (FOREIGN_CHARS, _escape_foreign_chars),
    ]
    found = [(re.compile(expression), change) for expression, change in expressions]
    own = {ord(sign): command for sign, command in OWN_COMMANDS.items()}
    return UnicodeToLatexEncoder(
        conversion_rules=[
            UnicodeToLatexConversionRule(RULE_REGEX, found, replacement_latex_protection="none"),
            UnicodeToLatexConversionRule(RULE_DICT, own),
            "defaults",
        ],
        replacement_latex_protection=_end_command,
    )


def _end_command(command: str) -> str:
    r"""Return what pylatexenc writes for a sign as what can be followed by any letter; `\ensuremath{x}` as `$x$`."""
    mathematics = re.fullmatch(r"\\ensuremath\{(.*)\}", command)
    if mathematics:
        return f"${mathematics[1]}$"
    return f"{command}{{}}" if re.search(r"\\[A-Za-z]+$", command) else command


def _escape_foreign_chars(found: re.Match[str]) -> str:
    r"""Return signs that not every engine can print; `\Umathcode` is known to XeTeX and LuaTeX alone."""
    parts = []
    for shown, run in groupby(found[0], key=str.isprintable):
        signs = "".join(run)
        codes = r"\hspace{0pt}".join(f"[U+{ord(sign):04X}]" for sign in signs)
        parts.append(rf"\ifdefined\Umathcode {signs}\else{codes}\fi{{}}" if shown else codes)
    return "".join(parts)


def _count_chars(table: Table) -> int:
    """Return the letters of the longest cell of each column, and of the gaps between."""
    texts = [[column.title, *(line.cells[at].text for line in table.rows)] for at, column in enumerate(table.columns)]
    return sum(max(len(text) for text in column) + COLUMN_GAP for column in texts)


def _is_right_aligned(table: Table, at: int) -> bool:
    return at > 0 and table.columns[at].numeric


def _get_cell_text(cell: Cell, right: bool) -> str:
    return (HYPHEN_AS_MINUS.sub("−", cell.text) if right else cell.text).strip(" ")


def _make_column_spec(table: Table, letters: dict[str, str]) -> Markup:
    """Return how columns are set. More than one letter of footnotes at a number would run into the column behind."""
    parts = []
    for at in range(len(table.columns)):
        longest = max((len(format_footnote_marks(line.cells[at], letters)) for line in table.rows), default=0)
        right = _is_right_aligned(table, at)
        gaps = "" if at + 1 == len(table.columns) else "2"
        room = rf"@{{\hspace{{{gaps}\tabcolsep}}\hspace{{{0.35 * longest:.2f}em}}}}" if right and longest > 1 else ""
        parts.append(("r" if right else "l") + room)
    return Markup("".join(parts))
