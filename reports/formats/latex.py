"""Tables as LaTeX for a paper, rendered by templates, in source that compiles with every engine."""

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

COLUMN_CHARS = 50  # characters of \small type in one of two columns, 3.25 inches
COLUMN_GAP = 3  # characters between two columns
OPTION_START = re.compile(r"^ *[\[*]")  # at the start, `\\` and `\midrule` would read it as their option
HYPHEN_AS_MINUS = re.compile(r"(?<![\w.)-])-(?=\d)")  # a hyphen that means minus

LATIN_CHARS = (  # set by pdflatex without packages (utf8, OT1), and by all other engines
    "ÀÁÂÃÄÅÆÇÈÉÊËÌÍÎÏÑÒÓÔÕÖØÙÚÛÜÝßàáâãäåæçèéêëìíîïñòóôõöøùúûüýÿ"
    "ĀāĂăĆćĈĉĊċČčĎďĒēĔĕĖėĚěĜĝĞğĠġĢģĤĥĨĩĪīĬĭİıĴĵĶķĹĺĻļĽľŁłŃńŅņŇňŌōŎŏŐőŒœŔŕŖŗŘřŚśŜŝŞşŠšŢţŤťŨũŪūŬŭŮůŰűŴŵŶŷŸŹźŻżŽž"
    "ȘșȚț"
)
SYMBOLS = "‘’“”…¡¿±−∙≤≥≈≠∼↔⇒∞∈∅∑Δ∆⁰⁴⁵⁶⁷⁸⁹⁺⁻₀₁₂₃₄₅₆₇₈₉"  # pylatexenc writes them by commands that all fonts have
OWN_COMMANDS = {  # what pylatexenc keeps, or writes by commands that some fonts lack
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
LONE_GREEK = (
    rf"(?<![{GREEK_RANGE}])[αβγδεηκλμπρστφχω](?![{GREEK_RANGE}])"  # a symbol of statistics, not a letter of a word
)
FOREIGN_CHARS = rf"(?:(?!{LONE_GREEK})[^ -~{LATIN_CHARS}{SYMBOLS}{''.join(OWN_COMMANDS)}])+"


def render_latex(table: Table, marks: bool = False) -> str:
    r"""Return a table environment for `\input`, with or without the marks of its cells.

    A table of more than `COLUMN_CHARS` characters spans both columns of a paper (`table*`).
    """
    template = make_latex_environment().get_template("table.tex")
    kind = "table*" if _count_chars(table) > COLUMN_CHARS else "table"
    text = template.render(table=table, kind=kind, title=table.title.rstrip(" ."))
    return text if marks else split_marks(text)[0]


@cache
def make_latex_environment() -> Environment:
    r"""Return the jinja2 environment for LaTeX: `\VAR{}`, `\BLOCK{}`, `\COMMENT{}`. Every text is escaped.

    Text after a `%` needs the filter `comment`, which keeps it on one line.
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
    r"""Escape a text of any origin to LaTeX on one line, without commands, comments or options of `\\`.

    Letters beyond accented Latin ones are kept for XeTeX and LuaTeX, whose fonts may have them, and are `[U+4E2D]`
    under pdflatex; unprintable characters (line ends, direction marks) are `[U+...]` everywhere. ✓ needs amssymb.
    """
    return OPTION_START.sub(r"{\g<0>}", _make_encoder().unicode_to_latex(text), count=1)


@cache
def _make_encoder() -> UnicodeToLatexEncoder:
    """Return the encoder. Latin letters are kept: the source stays readable, and pylatexenc would write Ű as Ú."""
    expressions = [
        (rf"[A-Za-z0-9 .:;()=+/{LATIN_CHARS}]+", r"\g<0>"),
        (r'(?<![^\s(\[])"(?=[^\s"])', r"\\textquotedblleft{}"),
        ('"', r"\\textquotedblright{}"),
        (r"-(?=[-–—])|,(?=,)|'(?=['’])|[`?!](?=[`‘])", r"\g<0>{}"),  # would form a ligature
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
    r"""Return a command of pylatexenc in a form that any letter can follow; `\ensuremath{x}` becomes `$x$`."""
    mathematics = re.fullmatch(r"\\ensuremath\{(.*)\}", command)
    if mathematics:
        return f"${mathematics[1]}$"
    return f"{command}{{}}" if re.search(r"\\[A-Za-z]+$", command) else command


def _escape_foreign_chars(found: re.Match[str]) -> str:
    r"""Return characters that not every engine can print; only XeTeX and LuaTeX define `\Umathcode`."""
    parts = []
    for shown, run in groupby(found[0], key=str.isprintable):
        chars = "".join(run)
        codes = r"\hspace{0pt}".join(f"[U+{ord(char):04X}]" for char in chars)
        parts.append(rf"\ifdefined\Umathcode {chars}\else{codes}\fi{{}}" if shown else codes)
    return "".join(parts)


def _count_chars(table: Table) -> int:
    """Return the number of characters of the longest cells of all columns, with the gaps between them."""
    texts = [[column.title, *(row.cells[at].text for row in table.rows)] for at, column in enumerate(table.columns)]
    return sum(max(len(text) for text in column) + COLUMN_GAP for column in texts)


def _is_right_aligned(table: Table, at: int) -> bool:
    return at > 0 and table.columns[at].numeric


def _get_cell_text(cell: Cell, right: bool) -> str:
    return (HYPHEN_AS_MINUS.sub("−", cell.text) if right else cell.text).strip(" ")


def _make_column_spec(table: Table, letters: dict[str, str]) -> Markup:
    """Return the column spec. Numeric columns whose cells have several footnote letters get space for them."""
    parts = []
    for at in range(len(table.columns)):
        longest = max((len(format_footnote_marks(row.cells[at], letters)) for row in table.rows), default=0)
        right = _is_right_aligned(table, at)
        gaps = "" if at + 1 == len(table.columns) else "2"
        room = rf"@{{\hspace{{{gaps}\tabcolsep}}\hspace{{{0.35 * longest:.2f}em}}}}" if right and longest > 1 else ""
        parts.append(("r" if right else "l") + room)
    return Markup("".join(parts))
