from __future__ import annotations

import csv
import re
from html.parser import HTMLParser

import markupsafe
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from markdown_it import MarkdownIt

from reports.formats import make_printable, split_marks
from reports.formats.latex import escape_latex, render_latex
from reports.formats.plain import render_csv, render_markdown
from reports.formats.templates import render_html_document, render_html_table
from reports.types import Cell, Column, Row, Table
from tests.reports.formats.grids import FORMS, NASTY, nasty
from tests.reports.formats.reading import cells_of, read_csv, read_html, read_markdown


def table(text: str, numeric: bool = False) -> Table:
    columns = (Column("m", "m"), Column("c", "c", numeric=numeric))
    return Table("t", text, text, columns, (Row(text, (Cell(text, footnotes=(text,)), Cell(text, "best"))),), (text,))


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("text", NASTY)
def test_no_name_adds_a_line_to_a_file_or_a_sign_that_cannot_be_printed(form, text):
    written, usual = FORMS[form].write(table(text)), FORMS[form].write(table("usual"))
    assert written.count("\n") - usual.count("\n") in (0, -1, -2)  # an empty caption has no line
    assert all(line.isprintable() for line in written.split("\n"))


@pytest.mark.parametrize("text", [text for text in NASTY if text.strip()])
def test_no_name_becomes_html(text):
    written = render_html_table(table(text))
    assert re.findall(r"<(\w+)", written) == re.findall(r"<(\w+)", render_html_table(table("usual")))
    assert "<script" not in render_html_table(nasty())


def test_no_name_ends_an_attribute():
    text = '" onclick="x" y=\''
    assert f"t/{text}" in read_html(render_html_table(table(text))) and " onclick" not in render_html_table(
        table(text)
    ).replace("&#34; onclick", "")


@pytest.mark.parametrize("text", ["=1+1", "+1", "-1", "@SUM(A1)", '\'=HYPERLINK("x")', "＝1", "''=1"])
def test_a_text_that_a_spreadsheet_would_run_gets_an_apostrophe_and_loses_it_when_read(text):
    heading, line = csv.reader(render_csv(table(text)).splitlines())
    assert line == [f"'{text}", f"'{text}", f"'{text}"] and heading == ["m", "c", "note"]
    assert read_csv(render_csv(table(text))) == [[text, text]]


@pytest.mark.parametrize("text", ["-1.2", "+0.5 ± 0.1", "-1.2 [-2.0, -0.4]", "-", "-3 %", "-1,637"])
def test_signed_numbers_in_columns_of_numbers_stay_as_they_are(text):
    assert next(iter(csv.reader(render_csv(table(text, numeric=True)).splitlines()[1:])))[1] == text


@pytest.mark.parametrize("text", ["-1+cmd|' /C calc'!A0", "=1", "-1 [=1]", "@x", "-x"])
def test_a_formula_in_a_column_of_numbers_gets_its_apostrophe(text):
    assert next(iter(csv.reader(render_csv(table(text, numeric=True)).splitlines()[1:])))[1] == f"'{text}"


@pytest.mark.parametrize(
    ("text", "source"),
    [
        ("_ & % $ #", r"\_ \& \% \$ \#"),
        ("<>{}~^\\|", r"$<$$>$\{\}\textasciitilde{}\textasciicircum{}\textbackslash{}\textbar{}"),
        ('"a" (“b”)', r"\textquotedblleft{}a\textquotedblright{} (\textquotedblleft{}b\textquotedblright{})"),
        ("--lr", r"-{}-lr"),
        ("1 ± 2", r"1 $\pm$ 2"),
        ("1–2 − 3×4", r"1--2 $-$ 3$\times$4"),
        ("≤ ≥ ✓ ✗ · →", r"$\leq$ $\geq$ \checkmark{} $\times$ $\cdot$ $\rightarrow$"),
        ("é ü ø ñ ł", "é ü ø ñ ł"),
        ("e\u0301", "é"),
        ("中", r"\ifdefined\Umathcode 中\else[U+4E2D]\fi{}"),
        ("a\nb", "a[U+000A]b"),
        ("\u202e", "{[}U+202E]"),
        ("χ²", r"$\chi$$^2$"),
        ("λα", r"\ifdefined\Umathcode λα\else[U+03BB]\hspace{0pt}[U+03B1]\fi{}"),
        ("[0pt]", "{[}0pt]"),
        ("* x", "{*} x"),
        (" \n", "{ [}U+000A]"),
        ("?`", "?{}`"),
        ("–-—–", "--{}-{}---{}--"),
        ("\\write18{x} ^^5c %", r"\textbackslash{}write18\{x\} \textasciicircum{}\textasciicircum{}5c \%"),
        (r"\VAR{table} \BLOCK{x}", r"\textbackslash{}VAR\{table\} \textbackslash{}BLOCK\{x\}"),
    ],
)
def test_a_text_becomes_this_latex(text, source):
    assert escape_latex(text) == source


TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=12) | st.sampled_from(NASTY)
OWN = re.compile(
    r"\\ifdefined\\Umathcode [^ -~]+\\else(?:\[U\+[0-9A-F]{4,6}\](?:\\hspace\{0pt\})?)+\\fi\{\}|\\hspace\{0pt\}"
    r"|\\text(?:backslash|ascii(?:tilde|circum)|bar|(?:quote(?:dbl)?)(?:left|right)|ellipsis"
    r"|(?:exclam|question)down)\{\}|\\(?:checkmark|S)\{\}|\\[{}$&%#_,]"
    r"|\$\^?\\[a-zA-Z]+\$|\$[-'<>]\$|\$[\^_][-+0-9]\$|\{ *[\[*]\}|\{\}"
)


@settings(deadline=None)
@given(TEXT)
def test_nothing_in_any_text_is_a_command(text):
    assert not re.search(r"[\\{}$&%#_^]", OWN.sub("", escape_latex(text)).replace("~", ""))


@settings(deadline=None)
@given(TEXT, TEXT)
def test_texts_stay_harmless_side_by_side(first, second):
    assert "\n" not in escape_latex(first) + escape_latex(second)
    assert not escape_latex(second).strip().startswith(("[", "*"))


def everywhere(text: str) -> Table:
    columns = (Column(text, text, "group"), Column(f"{text}2", text))
    line = Row(text, (Cell(text), Cell(text, "best", None, (text,), (text,))))
    return Table(text, text, text, columns, (line, line), (text,), (text,))


@settings(deadline=None)
@given(TEXT)
def test_any_text_in_any_place_of_latex_leaves_the_lines_as_they_are(text):
    written, usual = render_latex(everywhere(text)), render_latex(everywhere("usual"))
    assert (
        usual.count("\n") - written.count("\n") == (text == "")
        and len(cells_of(render_latex(everywhere(text), marks=True))) == 4
    )
    assert all(re.search(r" % [^\n]*:( [\w.-]*)?$", line) for line in written.split("\n") if line.startswith("  & "))


@settings(deadline=None)
@given(TEXT)
def test_any_text_in_a_cell_of_markdown_csv_and_html_reads_back(text):
    grid, plainly = table(text), make_printable(text)
    assert read_markdown(render_markdown(grid)) == [[plainly.strip(" ")] * 2]
    assert read_csv(render_csv(grid)) == [[plainly] * 2]
    assert list(read_html(render_html_table(grid)).values()) == [plainly] * 2


class Shown(HTMLParser):
    """Return the text of each cell of a table's body in rendered Markdown."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.cells: list[str] = []
        self.inside = False
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.inside = tag == "td" or (self.inside and tag != "sup")
        if tag == "td":
            self.cells.append("")

    def handle_endtag(self, tag):
        self.inside = self.inside and tag != "td"

    def handle_data(self, data):
        if self.inside:
            self.cells[-1] += data


@settings(deadline=None)
@given(TEXT)
def test_rendered_markdown_shows_any_text_as_it_is(text):
    shown = MarkdownIt().enable(["table", "strikethrough"]).render(render_markdown(table(text)))
    assert Shown(shown).cells == [make_printable(text).strip(" ")] * 2


@pytest.mark.parametrize("text", [*NASTY, "- x", "+ x", "1. x", "2) x", "===", "~~x~~"])
def test_rendered_markdown_has_the_same_elements_whatever_the_names(text):
    render = MarkdownIt().enable(["table", "strikethrough"]).render
    usual, told = (re.findall(r"<(/?\w+)", render(render_markdown(table(name)))) for name in ("usual", text))
    assert not make_printable(text).strip(" ") or told == usual


HOSTILE = (
    "</script><script>x</script>",
    "{{ 7*7 }}",
    "{% raw %}",
    "{# x #}",
    "javascript:alert(1)",
    '" onload="x',
    "'",
)


@pytest.mark.parametrize("text", [*HOSTILE, *NASTY])
def test_a_template_writes_any_text_as_it_is_and_marks_each_cell_by_its_name(text):
    for write in (render_html_table, render_html_document):
        written, spans = split_marks(write(everywhere(text), marks=True))
        plainly = make_printable(text)
        name = f"{plainly}/{plainly}"
        assert [span.name for span in spans] == [name, f"{name}/{plainly}2"] * 2
        for span in spans:
            assert list(read_html(written[span.start : span.end])) == [span.name]
        assert str(markupsafe.escape(plainly)) in written and not set("\x02\x03\x1f\u202e") & set(written)
        assert re.findall(r"<(\w+)", written) == re.findall(r"<(\w+)", write(everywhere("usual"))) or (not text.strip())
