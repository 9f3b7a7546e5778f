"""Signs of any script as LaTeX source that compiles with every engine."""

from __future__ import annotations

import re
from itertools import groupby
from unicodedata import normalize

COMMANDS = {
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
MATHEMATICS = {
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
GREEK = {
    **{"α": r"\alpha", "β": r"\beta", "γ": r"\gamma", "δ": r"\delta", "ε": r"\varepsilon", "η": r"\eta"},
    **{"κ": r"\kappa", "λ": r"\lambda", "μ": r"\mu", "µ": r"\mu", "π": r"\pi", "ρ": r"\rho", "σ": r"\sigma"},
    **{"τ": r"\tau", "φ": r"\varphi", "χ": r"\chi", "ω": r"\omega"},
}
LATIN = (  # what pdflatex sets without any package (utf8, OT1), and every other engine as it is
    "ÀÁÂÃÄÅÆÇÈÉÊËÌÍÎÏÑÒÓÔÕÖØÙÚÛÜÝßàáâãäåæçèéêëìíîïñòóôõöøùúûüýÿ"
    "ĀāĂăĆćĈĉĊċČčĎďĒēĔĕĖėĚěĜĝĞğĠġĢģĤĥĨĩĪīĬĭİıĴĵĶķĹĺĻļĽľŁłŃńŅņŇňŌōŎŏŐőŒœŔŕŖŗŘřŚśŜŝŞşŠšŢţŤťŨũŪūŬŭŮůŰűŴŵŶŷŸŹźŻżŽž"
    "ȘșȚț"
)
KNOWN = LATIN + "".join(sign for sign in (*COMMANDS, *MATHEMATICS) if not sign.isascii())
WORD = r"\u0370-\u03ff"  # a Greek letter beside another is a word's, and no sign of statistics
SPECIAL = re.compile(
    r'(?P<open>(?<![^\s(\[])"(?=[^\s"]))'
    r"|(?P<pair>([-,'])(?=\3)|[?!](?=[`‘“]))"  # two that would run together to another sign
    rf"|(?P<greek>(?<![{WORD}])[{''.join(GREEK)}](?![{WORD}]))"
    rf"|(?P<command>[{re.escape(''.join(COMMANDS))}])"
    rf"|(?P<mathematics>[{''.join(MATHEMATICS)}])"
    rf"|(?P<foreign>[^ -~{KNOWN}]+)"
)
NEEDLESS = re.compile(r"(?<=[-'`])\{\}(?![-'`])")


def spelt(text: str) -> str:
    """The text as LaTeX source on one line, in which nothing is a command, a comment or a ligature."""
    return NEEDLESS.sub("", SPECIAL.sub(_source, normalize("NFC", text)))


def _source(found: re.Match[str]) -> str:
    sign = found[0]
    if found["open"]:
        return "``"
    if found["pair"]:
        return f"{sign}{{}}"
    if found["greek"]:
        return f"${GREEK[sign]}$"
    if found["command"]:
        return COMMANDS[sign]
    if found["mathematics"]:
        return f"${MATHEMATICS[sign]}$"
    return "".join(_foreign("".join(run), shown) for shown, run in groupby(sign, key=str.isprintable))


def _foreign(signs: str, shown: bool) -> str:
    r"""`\Umathcode` is known to XeTeX and LuaTeX alone."""
    codes = r"\hspace{0pt}".join(f"[U+{ord(sign):04X}]" for sign in signs)
    return rf"\ifdefined\Umathcode {signs}\else{codes}\fi{{}}" if shown else codes
