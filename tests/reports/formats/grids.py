"""Example tables: one as in a paper, one full of hostile names, and small edge cases."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from reports.formats.latex import render_latex
from reports.formats.plain import render_csv, render_markdown
from reports.formats.templates import render_html_document, render_html_table
from reports.types import Cell, Column, Mark, Row, Table

FAILED = "1 of 5 runs failed; the mean is over the other 4."
PUBLISHED = "As printed in the paper, on its own split; not run here."
NASTY = (
    "a_b & 50 % of $x$ # <i> {y} ~ ^ \\ | end",
    "中文 Ελληνικά Привет 😀 ąđŋ",
    "line\none\r\n\\input{secret} % two\u2028three\u0085",
    "</table><script>alert(1)</script>",
    "=1+1",
    '\'=HYPERLINK("x")',
    "@SUM(A1)",
    "[0pt] in front",
    "* in front",
    "x\u202egpj.exe\x00\x1b[2J\ufeff",
    "``quotes'' \"and\" 'more' ?` !` -- --- ,, <<",
    "**bold** __under__ `code` [link](http://x.y) &lt; <!-- no",
    "\\",
    "%",
    "é ü ø ñ ł Łódź Çelik Åse Œuvre ő ş ț e\u0301",
    "± – — − × ≤ ≥ ✓ ✗ · → α β Δ ° ² ₁ … “q” ‘q’ †",
    "\ud800 half",
    "",
    " ",
)


class Form(NamedTuple):
    """A format and the function that writes it."""

    kind: str
    write: Callable[..., str]


FORMS = {
    "md": Form("md", render_markdown),
    "tex": Form("tex", render_latex),
    "csv": Form("csv", render_csv),
    "html": Form("html", render_html_document),
    "table": Form("html", render_html_table),
}


def key(number: int) -> str:
    return f"{number * 0x9E3779B97F4A7C15F39C:020x}"[-20:]


def score(value: float, spread: float | None, mark: Mark = "", runs: range = range(0), *notes: str) -> Cell:
    text = f"{value:.1f}" if spread is None else f"{value:.1f} ± {spread:.1f}"
    return Cell(text, mark, value, tuple(key(number) for number in runs), notes)


def paper() -> Table:
    """Return a table with groups, rules, ties, shared footnotes, a warning and a published row."""
    columns = (
        Column("method", "Method", numeric=False),
        Column("ekman6/acc_e", "Acc E", "Ekman-6"),
        Column("ekman6/f1_e", "F1 E", "Ekman-6"),
        Column("videoemotion8/acc_e", "Acc E", "VideoEmotion-8"),
        Column("videoemotion8/f1_e", "F1 E", "VideoEmotion-8"),
        Column("masked", "Masked", numeric=False),
        Column("p", "p"),
    )
    none = Cell("–")
    lines = (
        Row(
            "published/mart",
            (
                Cell("MART (CVPR 2024)", footnotes=(PUBLISHED,)),
                score(53.4, None),
                none,
                score(55.4, None),
                none,
                Cell("✓"),
                none,
            ),
        ),
        Row(
            "majority",
            (
                Cell("majority"),
                score(16.7, None, "", range(1, 2)),
                score(4.8, None, "", range(1, 2)),
                score(12.5, None, "", range(2, 3)),
                score(2.8, None, "", range(2, 3)),
                Cell("✗"),
                Cell("≤ 0.001", value=0.001),
            ),
            rule_above=True,
        ),
        Row(
            "mbt",
            (
                Cell("mbt"),
                score(49.8, 1.4, "second", range(3, 8)),
                score(48.9, 1.5, "second", range(3, 8)),
                score(50.1, 0.9, "best", range(8, 12), FAILED),
                score(49.0, 1.0, "second", range(8, 12), FAILED),
                Cell("✗"),
                Cell("0.031", value=0.031),
            ),
        ),
        Row(
            "mart",
            (
                Cell("mart (epochs=2, mask_to=0.6)"),
                score(52.7, 1.2, "best", range(12, 17)),
                score(52.1, 1.3, "best", range(12, 17)),
                score(50.1, 1.1, "best", range(17, 21), FAILED, "Chosen among 20 configurations."),
                score(49.9, 1.2, "best", range(17, 21), FAILED),
                Cell("✓"),
                none,
            ),
        ),
        Row(
            "difference",
            (
                Cell("mart − mbt"),
                score(2.9, None),
                score(3.2, None),
                score(0.0, None),
                Cell("-1.2", value=-1.2),
                Cell("→"),
                none,
            ),
            rule_above=True,
        ),
    )
    return Table(
        "comparison",
        "Comparison",
        "Mean ± standard deviation over 5 seeds on the test split, in percent; best in bold, second underlined. "
        "p is of a paired test over 1,637 clips (α = 0.05).",
        columns,
        lines,
        ("Acc E: accuracy; F1 E: weighted mean of the classes' F1.", "Intervals are 95 % & not corrected."),
        ("BUILT-IN SAMPLE: synthetic clips, not the real data set.", "Runs of 2 commits are in one table."),
    )


def nasty() -> Table:
    """Return a table with every text that could break a format, in every place for text."""
    columns = (
        Column("name", "=1+1 | <b>", numeric=False),
        *(Column(f"c%{at}\n\\end{{x}}", text, text) for at, text in enumerate(NASTY[:3])),
        Column("words", "words", numeric=False),
    )
    lines = tuple(
        Row(
            f"{at} % \n\\input{{x}} {text}",
            (
                Cell(text, footnotes=(text,) if at % 2 else ()),
                Cell(text, "best", float("nan"), ("0\n\\x %", key(at))),
                Cell(f"{at}.5", "second", at + 0.5, footnotes=(NASTY[at - 1], text)),
                Cell(text),
                Cell(text, "second", footnotes=NASTY if at == 3 else ()),
            ),
            rule_above=at == 0 or at % 4 == 0,
        )
        for at, text in enumerate(NASTY)
    )
    return Table('nasty" <x>_%', NASTY[0], NASTY[2], columns, lines, NASTY, NASTY[:4])


def single() -> Table:
    """Return a table with one column and no numbers, marks or groups."""
    lines = (Row("a", (Cell("mart"),)), Row("b", (Cell("mbt"),)))
    return Table("single", "Methods", "", (Column("method", "Method", numeric=False),), lines)


def empty() -> Table:
    """Return a table without rows."""
    columns = (Column("method", "Method", numeric=False), Column("acc_e", "Acc E"))
    return Table("empty", "Nothing", "No run is finished.", columns, (), ("Come back later.",), ("BUILT-IN SAMPLE",))


def plain() -> Table:
    """Return a table of numbers without groups, marks or warnings."""
    columns = (Column("m", "", numeric=False), Column("acc_e", "Acc E"), Column("s", "s/run"))
    lines = tuple(Row(f"m{at}", (Cell(f"m{at}"), Cell(f"{at}.0", value=at), Cell("60"))) for at in range(3))
    return Table("plain", "Plain", "Percent.", columns, lines)


GRIDS = {"paper": paper(), "nasty": nasty(), "single": single(), "empty": empty(), "plain": plain()}
