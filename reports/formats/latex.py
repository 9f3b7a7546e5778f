"""A table as LaTeX for a paper, in source that compiles with every engine."""

from __future__ import annotations

import re
from collections.abc import Mapping
from itertools import groupby
from unicodedata import normalize

from reports.formats import (
    assign_footnote_letters,
    format_footnote_marks,
    get_cell_name,
    join_lines,
    make_printable,
    mark_cell,
)
from reports.types import Cell, Column, Row, Table

PACKAGES = ("booktabs", "graphicx", "amssymb")
COLUMN_CHARS = 50  # letters of \small type that one of two columns, 3.25 inches, holds
COLUMN_GAP = 3  # letters that the space between two columns takes
OPTION_START = re.compile(r"^ *[\[*]")  # in front: what `\\` and `\midrule` would take for theirs
HYPHEN_AS_MINUS = re.compile(r"(?<![\w.)-])-(?=\d)")  # a hyphen that is one
TABLE_WIDTH = r"\ifdim\wd8>\linewidth\linewidth\else\wd8\fi"  # never wider than it is: type would grow
NOTES_WIDTH = (
    rf"\ifdim\wd8<.75\linewidth.75\linewidth\else{TABLE_WIDTH}\fi"  # as wide as the table, but no narrow tower of text
)

CHAR_COMMANDS = {
    "\\": r"\textbackslash{}",
    "{": r"\{",
    "}": r"\}",
    "$": r"\$",
    "&": r"\&",
    "%": r"\%",
    "#": r"\#",
    "_": r"\_",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "|": r"\textbar{}",
    "`": "`{}",
    '"': "''{}",
    "\u00a0": "~",
    "\u2009": r"\,",
    "\u202f": r"\,",
    "‘": "`{}",
    "’": "'{}",
    "“": "``{}",
    "”": "''{}",
    "–": "--{}",
    "—": "---{}",
    "…": r"\ldots{}",
    "¡": "!`{}",
    "¿": "?`{}",
    "✓": r"\checkmark{}",
    "✔": r"\checkmark{}",
    "✗": r"$\times$",
    "✘": r"$\times$",
}
MATH_COMMANDS = {
    "±": r"\pm",
    "−": "-",
    "×": r"\times",
    "÷": r"\div",
    "·": r"\cdot",
    "•": r"\bullet",
    "∙": r"\bullet",
    "≤": r"\leq",
    "≥": r"\geq",
    "≈": r"\approx",
    "≠": r"\neq",
    "∼": r"\sim",
    "→": r"\rightarrow",
    "←": r"\leftarrow",
    "↔": r"\leftrightarrow",
    "↑": r"\uparrow",
    "↓": r"\downarrow",
    "⇒": r"\Rightarrow",
    "†": r"\dagger",
    "‡": r"\ddagger",
    "§": r"\mathsection",
    "∞": r"\infty",
    "∈": r"\in",
    "∅": r"\emptyset",
    "∑": r"\sum",
    "Δ": r"\Delta",
    "∆": r"\Delta",
    "°": r"^\circ",
    "′": "'",
    **{sign: f"^{{{digit}}}" for sign, digit in zip("⁰¹²³⁴⁵⁶⁷⁸⁹⁺⁻", "0123456789+-", strict=True)},
    **{sign: f"_{{{digit}}}" for sign, digit in zip("₀₁₂₃₄₅₆₇₈₉", "0123456789", strict=True)},
}
GREEK_COMMANDS = {
    **{"α": r"\alpha", "β": r"\beta", "γ": r"\gamma", "δ": r"\delta", "ε": r"\varepsilon", "η": r"\eta"},
    **{"κ": r"\kappa", "λ": r"\lambda", "μ": r"\mu", "µ": r"\mu", "π": r"\pi", "ρ": r"\rho", "σ": r"\sigma"},
    **{"τ": r"\tau", "φ": r"\varphi", "χ": r"\chi", "ω": r"\omega"},
}
LATIN_CHARS = (  # what pdflatex sets without any package (utf8, OT1), and every other engine as it is
    "ÀÁÂÃÄÅÆÇÈÉÊËÌÍÎÏÑÒÓÔÕÖØÙÚÛÜÝßàáâãäåæçèéêëìíîïñòóôõöøùúûüýÿ"
    "ĀāĂăĆćĈĉĊċČčĎďĒēĔĕĖėĚěĜĝĞğĠġĢģĤĥĨĩĪīĬĭİıĴĵĶķĹĺĻļĽľŁłŃńŅņŇňŌōŎŏŐőŒœŔŕŖŗŘřŚśŜŝŞşŠšŢţŤťŨũŪūŬŭŮůŰűŴŵŶŷŸŹźŻżŽž"
    "ȘșȚț"
)
PRINTABLE_CHARS = LATIN_CHARS + "".join(sign for sign in (*CHAR_COMMANDS, *MATH_COMMANDS) if not sign.isascii())
GREEK_RANGE = r"\u0370-\u03ff"  # a Greek letter beside another is a word's, and no sign of statistics
SPECIAL_CHARS = re.compile(
    r'(?P<open>(?<![^\s(\[])"(?=[^\s"]))'
    r"|(?P<pair>([-,'])(?=\3)|[?!](?=[`‘“]))"  # two that would run together to another sign
    rf"|(?P<greek>(?<![{GREEK_RANGE}])[{''.join(GREEK_COMMANDS)}](?![{GREEK_RANGE}]))"
    rf"|(?P<command>[{re.escape(''.join(CHAR_COMMANDS))}])"
    rf"|(?P<mathematics>[{''.join(MATH_COMMANDS)}])"
    rf"|(?P<foreign>[^ -~{PRINTABLE_CHARS}]+)"
)
NEEDLESS_BRACES = re.compile(r"(?<=[-'`])\{\}(?![-'`])")


def render_latex(table: Table, marks: bool = False) -> str:
    r"""A whole table environment for `\input`; it needs the packages that its first line names, and any engine.

    Its caption is the title, after the warnings; how the table is to be read stands below it, with the footnotes. One
    of more than `COLUMN_CHARS` letters goes over both columns (`table*`; the same as `table` in a one-column paper),
    and one that is still too wide is shrunk. Each cell stands on a line of its own, with its name and the keys of its
    runs in a comment.
    """
    known = assign_footnote_letters(table)
    kind = "table*" if _count_chars(table) > COLUMN_CHARS else "table"
    wanted = ", ".join(rf"\usepackage{{{package}}}" for package in PACKAGES)
    opening = [
        f"% Needs {wanted}.",
        rf"\begin{{{kind}}}[t]",
        r"\centering",
        r"\setlength{\abovecaptionskip}{0pt}\setlength{\belowcaptionskip}{6pt}",
        rf"\caption{{{_make_caption(table)}}}",
        rf"\label{{tab:{re.sub(r'[^A-Za-z0-9_.-]', '-', table.name)}}}",
        r"\small\renewcommand{\arraystretch}{1.1}",
        r"\sbox8{%",
        rf"\begin{{tabular}}{{{_make_column_spec(table, known)}}}",
        r"\toprule",
        *_make_head(table),
        *([r"\midrule"] if table.rows else []),
    ]
    lines = [
        *opening,
        *(part for at, line in enumerate(table.rows) for part in _render_row(table, line, at, known)),
        *[r"\bottomrule", r"\end{tabular}}", rf"\resizebox{{{TABLE_WIDTH}}}{{!}}{{\usebox8}}"],
        *_make_foot(table, known, kind),
        rf"\end{{{kind}}}",
    ]
    return join_lines(lines, marks)


def escape_latex(text: str) -> str:
    r"""Text of any origin as LaTeX source on one line: nothing in it is a command, a comment or an option of `\\`.

    Letters beyond Latin ones with accents are themselves under XeTeX and LuaTeX, whose fonts may have them, and
    `[U+4E2D]` under pdflatex; what cannot be printed (line ends, changes of direction) is so everywhere. ✓ needs
    amssymb.
    """
    return OPTION_START.sub(r"{\g<0>}", escape_latex_chars(text), count=1)


def _count_chars(table: Table) -> int:
    """Letters of the longest cell of each column, and the gaps between."""
    texts = [[column.title, *(line.cells[at].text for line in table.rows)] for at, column in enumerate(table.columns)]
    return sum(max(len(text) for text in column) + COLUMN_GAP for column in texts)


def _is_right_aligned(table: Table, at: int) -> bool:
    return at > 0 and table.columns[at].numeric


def _make_column_spec(table: Table, known: Mapping[str, str]) -> str:
    """How columns are set. More than one letter of footnotes at a number would run into the column behind."""
    told = []
    for at in range(len(table.columns)):
        longest = max((len(format_footnote_marks(line.cells[at], known)) for line in table.rows), default=0)
        last = at + 1 == len(table.columns)
        room = rf"@{{\hspace{{{'' if last else '2'}\tabcolsep}}\hspace{{{0.35 * longest:.2f}em}}}}"
        told.append(
            ("r" if _is_right_aligned(table, at) else "l")
            + (room if _is_right_aligned(table, at) and longest > 1 else "")
        )
    return "".join(told)


def _make_caption(table: Table) -> str:
    title = escape_latex(table.title.rstrip(" ."))
    told = [*(rf"\textbf{{{escape_latex(warning)}}}" for warning in table.warnings), f"{title}." if title else ""]
    return " ".join(part for part in told if part)


def _make_head(table: Table) -> list[str]:
    """Headings of groups with a rule under each, then those of columns."""
    titles = [_make_column_title(table, at, column) for at, column in enumerate(table.columns)]
    lower = " & ".join(titles) + r" \\"
    if not any(column.group for column in table.columns):
        return [lower]
    upper, rules, at = [], [], 0
    for group, members in groupby(table.columns, key=lambda column: column.group):
        many = len(list(members))
        if group:
            upper.append(rf"\multicolumn{{{many}}}{{c}}{{{escape_latex(group)}}}")
            rules.append(rf"\cmidrule(lr){{{at + 1}-{at + many}}}")
        else:
            upper.extend([""] * many)
        at += many
    return [" & ".join(upper).lstrip() + r" \\", " ".join(rules), lower]


def _make_column_title(table: Table, at: int, column: Column) -> str:
    said = escape_latex(column.title.strip(" "))
    return rf"\multicolumn{{1}}{{c}}{{{said}}}" if _is_right_aligned(table, at) else said


def _render_row(table: Table, line: Row, at: int, known: Mapping[str, str]) -> list[str]:
    """A line of the table; a rule above the first would double that of the head."""
    cells = []
    for place, cell in enumerate(line.cells):
        name = get_cell_name(table, line, place)
        said = (
            f"  & {_render_cell(cell, known, _is_right_aligned(table, place))}"
            if place
            else f"  {_render_cell(cell, known, False)}"
        )
        keys = "".join(f" {re.sub(r'[^A-Za-z0-9_.-]', '-', key)}" for key in cell.run_keys)
        cells.append(mark_cell(name, f"{said.rstrip()} % {make_printable(name)}:{keys}"))
    return [*([r"\midrule"] if line.rule_above and at else []), *cells, r"  \\"]


def _render_cell(cell: Cell, known: Mapping[str, str], right: bool) -> str:
    """Letters of footnotes take no width in columns of numbers, whose digits stay below each other."""
    text = HYPHEN_AS_MINUS.sub("−", cell.text) if right else cell.text
    said, letter = escape_latex(text.strip(" ")), format_footnote_marks(cell, known)
    if said and cell.mark:
        said = rf"\textbf{{{said}}}" if cell.mark == "best" else rf"\underline{{{said}}}"
    if not letter:
        return said
    return rf"{said}\rlap{{\textsuperscript{{{letter}}}}}" if right else rf"{said}\textsuperscript{{{letter}}}"


def _make_foot(table: Table, known: Mapping[str, str], kind: str) -> list[str]:
    """How the table is to be read, footnotes and notes: as wide as the column of text, or as a wide table and no less
    than three quarters of the page."""
    told = [rf"{escape_latex(table.caption)}\par"] if table.caption else []
    told += [rf"\textsuperscript{{{known[note]}}}\,{escape_latex(note)}\par" for note in table.footnotes]
    told += [rf"{escape_latex(note)}\par" for note in table.notes]
    if not told:
        return []
    width = NOTES_WIDTH if kind == "table*" else r"\linewidth"
    return [r"\par\vspace{4pt}", rf"\begin{{minipage}}{{{width}}}\footnotesize\raggedright", *told, r"\end{minipage}"]


def escape_latex_chars(text: str) -> str:
    """The text as LaTeX source on one line, in which nothing is a command, a comment or a ligature."""
    return NEEDLESS_BRACES.sub("", SPECIAL_CHARS.sub(_escape_match, normalize("NFC", text)))


def _escape_match(found: re.Match[str]) -> str:
    sign = found[0]
    if found["open"]:
        return "``"
    if found["pair"]:
        return f"{sign}{{}}"
    if found["greek"]:
        return f"${GREEK_COMMANDS[sign]}$"
    if found["command"]:
        return CHAR_COMMANDS[sign]
    if found["mathematics"]:
        return f"${MATH_COMMANDS[sign]}$"
    return "".join(_escape_foreign_chars("".join(run), shown) for shown, run in groupby(sign, key=str.isprintable))


def _escape_foreign_chars(signs: str, shown: bool) -> str:
    r"""`\Umathcode` is known to XeTeX and LuaTeX alone."""
    codes = r"\hspace{0pt}".join(f"[U+{ord(sign):04X}]" for sign in signs)
    return rf"\ifdefined\Umathcode {signs}\else{codes}\fi{{}}" if shown else codes
