from __future__ import annotations

import csv
import re
from dataclasses import replace
from html.parser import HTMLParser

import pytest

from reports.formats import assign_footnote_letters, make_printable
from reports.formats.latex import escape_latex, render_latex
from reports.formats.plain import render_csv, render_markdown
from reports.formats.templates import render_html_document, render_html_table
from reports.types import Cell, Column, Row, Table
from tests.reports.formats.grids import FAILED, FORMS, GRIDS, empty, nasty, paper, plain, single
from tests.reports.formats.reading import read_csv, read_html, read_latex, read_markdown

EVERY = pytest.mark.parametrize("grid", GRIDS.values(), ids=GRIDS)


def told(grid: Table, form: str) -> str:
    return FORMS[form].write(grid)


def texts(grid: Table) -> list[list[str]]:
    return [[make_printable(cell.text) for cell in line.cells] for line in grid.rows]


def one(*cells: Cell, words: bool = False) -> Table:
    """Return a line for each cell: its name, then its text."""
    columns = (Column("m", "Method", numeric=False), Column("c", "C", numeric=not words))
    return Table("t", "T", "", columns, tuple(Row(f"l{at}", (Cell(f"l{at}"), cell)) for at, cell in enumerate(cells)))


@EVERY
def test_markdown_reads_back_as_the_cells_that_were_written(grid):
    assert read_markdown(render_markdown(grid)) == [[text.strip(" ") for text in line] for line in texts(grid)]


@EVERY
def test_csv_reads_back_as_the_cells_that_were_written(grid):
    assert read_csv(render_csv(grid)) == texts(grid)


@EVERY
@pytest.mark.parametrize("write", [render_html_table, render_html_document])
def test_html_reads_back_as_the_cells_that_were_written(grid, write):
    read = read_html(write(grid))
    assert list(read.values()) == [text for line in texts(grid) for text in line]
    assert {make_printable(name): make_printable(cell.text) for name, cell in grid.iter_cells()}.items() <= read.items()


@EVERY
def test_latex_names_every_cell_once_and_on_a_line_of_its_own(grid):
    names = [
        name
        for line in grid.rows
        for name in (f"{grid.name}/{line.id}", *(f"{grid.name}/{line.id}/{column.id}" for column in grid.columns[1:]))
    ]
    assert [name for name, _ in read_latex(grid)] == [make_printable(name) for name in names]


def test_latex_cells_are_read_as_they_are_set():
    cells = dict(read_latex(paper()))
    assert cells["comparison/mart/ekman6/acc_e"] == r"\textbf{52.7 $\pm$ 1.2}"
    assert cells["comparison/mbt/ekman6/acc_e"] == r"\underline{49.8 $\pm$ 1.4}"
    assert cells["comparison/mart"] == r"mart (epochs=2, mask\_to=0.6)"


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("grid", [paper(), empty()], ids=["lines", "none"])
def test_every_warning_is_in_every_form_before_the_numbers_or_next_to_each(grid, form):
    for warning in grid.warnings:
        if form == "csv":
            assert all(warning in row[-1] for row in rows(grid))
        else:
            assert told(grid, form).index(warning) < told(grid, form).index("Acc E")


def rows(grid: Table) -> list[list[str]]:
    return list(csv.reader(render_csv(grid).splitlines()))[1:]


def test_warnings_are_bold_where_a_form_has_bold():
    grid = paper()
    assert f"> **{grid.warnings[0]}**" in render_markdown(grid)
    assert rf"\caption{{\textbf{{{grid.warnings[0]}}}" in render_latex(grid)
    assert f'<p class="warning">{grid.warnings[0]}</p>' in render_html_table(grid)


def test_a_latex_caption_is_short_and_explanations_are_below_the_table():
    grid = paper()
    above, table, below = render_latex(grid).partition(r"\bottomrule")
    assert rf"{escape_latex(grid.title)}.}}" in above and escape_latex(grid.caption) not in above
    assert table and escape_latex(grid.caption) in below


def test_several_best_are_all_marked_and_unmarked_cells_are_not():
    grid = one(Cell("1.0", "best"), Cell("1.0", "best"), Cell("0.5"))
    assert render_markdown(grid).count("**1.0**") == 2 and "**0.5" not in render_markdown(grid)
    assert render_latex(grid).count(r"\textbf{1.0}") == 2 and r"\textbf{0.5" not in render_latex(grid)
    assert render_html_table(grid).count("<b>1.0</b>") == 2 and "<b>0.5" not in render_html_table(grid)


def test_a_mark_on_no_text_leaves_no_trace_in_markdown_and_latex():
    grid = one(Cell("", "best"), Cell(" ", "second"))
    assert "**" not in render_markdown(grid) and "<u>" not in render_markdown(grid)
    assert r"\textbf" not in render_latex(grid) and r"\underline" not in render_latex(grid)


def test_a_table_without_marks_has_none():
    grid = plain()
    assert (
        "**" not in render_markdown(grid)
        and r"\textbf" not in render_latex(grid)
        and "<u>" not in render_html_table(grid)
    )


def test_cells_with_the_same_footnote_share_its_letter_and_it_is_printed_once():
    grid = paper()
    assert assign_footnote_letters(grid)[FAILED] == "b"
    assert render_markdown(grid).count("<sup>b") == 5 and render_markdown(grid).count(FAILED) == 1
    assert render_latex(grid).count(r"\textsuperscript{b") == 5 and render_latex(grid).count(FAILED) == 1
    assert render_html_table(grid).count("<sup>b") == 5 and render_html_table(grid).count(FAILED) == 1


def test_more_than_26_footnotes_continue_with_aa():
    grid = one(*(Cell("1", footnotes=(f"note {at}",)) for at in range(28)))
    assert list(assign_footnote_letters(grid).values())[-3:] == ["z", "aa", "ab"]
    assert "<sup>ab</sup> note 27" in render_markdown(grid)


def test_a_footnote_in_csv_says_which_columns_it_is_of():
    notes = [row[-1] for row in rows(paper())]
    assert notes[0].endswith("As printed in the paper, on its own split; not run here.")
    assert notes[2].endswith(f"VideoEmotion-8 Acc E, VideoEmotion-8 F1 E: {FAILED}")
    assert FAILED not in notes[0] and FAILED not in notes[4]


def test_groups_are_above_their_columns():
    assert r"& \multicolumn{2}{c}{Ekman-6} & \multicolumn{2}{c}{VideoEmotion-8} &  &  \\" in render_latex(paper())
    assert r"\cmidrule(lr){2-3}" "\n" r"\cmidrule(lr){4-5}" in render_latex(paper())
    assert '<th scope="colgroup" colspan="2">Ekman-6</th>' in render_html_table(paper())
    assert "Ekman-6 Acc E |" in render_markdown(paper()) and ",Ekman-6 Acc E," in render_csv(paper())


def test_columns_of_one_group_that_are_no_neighbours_get_two_headings():
    columns = (Column("m", "m"), Column("a", "A", "X"), Column("b", "B"), Column("c", "C", "X"))
    grid = Table("t", "T", "", columns, ())
    assert r"\cmidrule(lr){2-2}" "\n" r"\cmidrule(lr){4-4}" in render_latex(grid)
    assert render_html_table(grid).count('colspan="1">X</th>') == 2


class Columns(HTMLParser):
    """Return the number of columns that each row of a table covers, with headings that span from the row above."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.rows: list[int] = []
        self.down = 0
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        if tag == "tr":
            self.rows.append(self.down)
            self.down = 0
        if tag in ("td", "th"):
            self.rows[-1] += int(dict(attrs).get("colspan", 1))
            self.down += int(dict(attrs).get("rowspan", 1)) - 1


@EVERY
@pytest.mark.parametrize("write", [render_html_table, render_html_document])
def test_every_row_of_html_covers_every_column(grid, write):
    assert set(Columns(write(grid)).rows) == {len(grid.columns)}


def test_rules_part_the_lines_but_not_the_first_from_the_head():
    grid = replace(paper(), rows=(replace(paper().rows[0], rule_above=True), *paper().rows[1:]))
    assert render_latex(grid).count(r"\midrule") == 3
    assert render_html_table(grid).count('<tr class="rule">') == 3


def test_numbers_are_aligned_right_and_text_left():
    assert re.search(r"\| -+ \| -+: \| -+: \| -+: \| -+: \| -+ \| -+: \|", render_markdown(paper()))
    assert r"\begin{tabular}{lrr" in render_latex(paper())
    assert '<td class="n" data-cell="comparison/mbt/p"' in render_html_table(paper())
    assert '<td data-cell="comparison/mbt/masked"' in render_html_table(paper())


def test_a_minus_is_set_as_one_in_columns_of_numbers_and_a_hyphen_among_words():
    assert "$-$1.2 [$-$2.0, 0.4]" in render_latex(one(Cell("-1.2 [-2.0, 0.4]")))
    assert "& 2020-21 %" in render_latex(one(Cell("2020-21"))) and "& -1 %" in render_latex(one(Cell("-1"), words=True))


def test_two_footnote_letters_at_a_number_get_space_and_one_does_not():
    assert r"{lrrr@{\hspace{2\tabcolsep}\hspace{1.05em}}rlr}" in render_latex(paper())


def test_a_wide_table_goes_over_both_columns_of_a_paper_and_a_narrow_one_does_not():
    assert r"\begin{table*}" in render_latex(paper()) and r"\end{table*}" in render_latex(paper())
    assert r"\begin{table}" in render_latex(plain()) and r"\end{table}" in render_latex(plain())


def test_a_latex_cell_lists_its_runs():
    cell = replace(paper().rows[2].cells[1], run_keys=("0123abcd", "4567ef89"))
    assert " % t/l0/c: 0123abcd 4567ef89\n" in render_latex(one(cell))


def test_an_html_cell_has_its_value_and_its_runs():
    text = render_html_table(one(Cell("52.7 ± 1.2", "best", 52.71, ("k1", "k2"))))
    assert '<td class="n" data-cell="t/l0/c" data-value="52.71" data-runs="k1 k2"><b>52.7 ± 1.2</b></td>' in text
    assert "data-value" not in render_html_table(one(Cell("–", value=float("nan")), Cell("–")))


def test_columns_that_sort_have_a_button_in_our_pages_and_none_where_no_script_is():
    assert render_html_table(paper()).count('<button type="button">') == 6
    assert "<button" not in render_html_document(paper())


def test_a_page_of_a_table_may_load_and_run_nothing():
    text = render_html_document(paper())
    assert "default-src 'none'; style-src 'unsafe-inline'" in text
    assert not re.search(r"<script|<link|<img|src=|href=|@import|url\(", text)
    assert "<style" not in render_html_table(paper()) and "style=" not in render_html_table(paper())


@pytest.mark.parametrize("form", FORMS)
def test_a_table_of_one_column_and_one_of_no_lines_are_whole(form):
    for grid in (single(), empty(), nasty()):
        assert told(grid, form).endswith("\n") and grid.columns[0].title.split()[0] in told(grid, form)


def test_a_table_of_no_lines_has_a_head_and_no_body():
    assert render_markdown(empty()).splitlines()[-3:] == ["| ------ | ----: |", "", "Come back later."]
    assert r"\midrule" not in render_latex(empty()) and render_csv(empty()) == "Method,Acc E,note\n"
    assert read_markdown(render_markdown(empty())) == [] == read_latex(empty())
