from __future__ import annotations

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from reports.check import find_edited_cells
from reports.formats import make_printable, split_marks
from reports.types import Cell, Column, Row, Table
from tests.reports.formats.grids import FORMS, GRIDS, empty, paper

EVERY = pytest.mark.parametrize("form", FORMS)
CELL = "comparison/mart/ekman6/acc_e"
TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=8)
CELLS = st.builds(
    Cell,
    TEXT,
    st.sampled_from(["", "best", "second"]),
    st.none() | st.floats(),
    st.lists(st.from_regex(r"[0-9a-f]{4}", fullmatch=True) | TEXT, max_size=2).map(tuple),
    st.lists(TEXT, max_size=2).map(tuple),
)


@st.composite
def grids(draw):
    columns = [
        Column(f"c{at} {draw(TEXT)}", draw(TEXT), draw(TEXT), draw(st.booleans()))
        for at in range(draw(st.integers(1, 4)))
    ]
    lines = [
        Row(f"l{at} {draw(TEXT)}", tuple(draw(CELLS) for _ in columns), draw(st.booleans()))
        for at in range(draw(st.integers(0, 4)))
    ]
    more = st.lists(TEXT, max_size=2).map(tuple)
    return Table(draw(TEXT), draw(TEXT), draw(TEXT), tuple(columns), tuple(lines), draw(more), draw(more))


@EVERY
@pytest.mark.parametrize("grid", GRIDS.values(), ids=GRIDS)
def test_what_a_format_writes_is_not_edited(form, grid):
    assert find_edited_cells(FORMS[form].write(grid, marks=True), FORMS[form].write(grid)) == []


@EVERY
@settings(deadline=None, max_examples=50)
@given(grids())
def test_what_a_format_writes_of_any_text_is_not_edited(form, grid):
    assert find_edited_cells(FORMS[form].write(grid, marks=True), FORMS[form].write(grid)) == []


@EVERY
@settings(deadline=None, max_examples=60)
@given(st.data())
def test_a_change_of_any_one_cell_is_named_and_nothing_else_is(form, data):
    grid = data.draw(grids().filter(lambda grid: grid.rows))
    row = data.draw(st.integers(0, len(grid.rows) - 1))
    at = data.draw(st.integers(0, len(grid.columns) - 1))
    line = grid.rows[row]
    name = f"{grid.name}/{line.id}/{grid.columns[at].id}" if at else f"{grid.name}/{line.id}"
    old = line.cells[at]
    new = Cell(data.draw(TEXT), old.mark, old.value, old.run_keys, old.footnotes)
    cells = (*line.cells[:at], new, *line.cells[at + 1 :])
    lines = (*grid.rows[:row], Row(line.id, cells, line.rule_above), *grid.rows[row + 1 :])
    changed = Table(grid.name, grid.title, grid.caption, grid.columns, lines, grid.notes, grid.warnings)
    written, spans = split_marks(FORMS[form].write(grid, marks=True))
    after, others = split_marks(FORMS[form].write(changed, marks=True))
    (where,) = (span for span in spans if span.name == make_printable(name))
    (there,) = (span for span in others if span.name == make_printable(name))
    source = after[there.start : there.end].strip() if form == "md" else after[there.start : there.end]
    if form == "md":
        source = source.ljust(where.end - where.start)
    assume(written[where.start : where.end].strip() != source.strip())
    text = written[: where.start] + source + written[where.end :]
    assert find_edited_cells(FORMS[form].write(grid, marks=True), text) == [make_printable(name)]


@EVERY
@pytest.mark.parametrize("grid", GRIDS.values(), ids=GRIDS)
@settings(deadline=None, max_examples=30)
@given(st.text(max_size=40))
def test_garbage_is_found_and_breaks_nothing(form, grid, text):
    assert find_edited_cells(FORMS[form].write(grid, marks=True), text)


@EVERY
@settings(deadline=None, max_examples=60)
@given(st.data())
def test_lines_taken_away_doubled_or_put_elsewhere_are_found(form, data):
    written = FORMS[form].write(paper())
    lines = written.split("\n")
    first, last, to = (data.draw(st.integers(0, len(lines))) for _ in range(3))
    text = "\n".join(lines[:first] + data.draw(st.sampled_from([[], lines[to : to + 3], ["x | y"]])) + lines[last:])
    assert bool(find_edited_cells(FORMS[form].write(paper(), marks=True), text)) == (text != written)


@EVERY
@pytest.mark.parametrize("text", ["", "\n", "\x00", "| |", '"', "<td data-cell", "<!doctype html>"])
def test_of_a_file_without_its_table_every_cell_is_named(form, text):
    found = find_edited_cells(FORMS[form].write(paper(), marks=True), text)
    assert {name for name, _ in paper().iter_cells()} <= set(found)
    assert {f"comparison/{line.id}" for line in paper().rows} <= set(found)
    assert find_edited_cells(FORMS[form].write(empty(), marks=True), text)


@EVERY
def test_a_number_that_was_changed_is_named(form):
    text = FORMS[form].write(paper())
    changed = text.replace("52.7 ", "57.2 ").replace("52.7 ", "57.2 ")
    assert find_edited_cells(FORMS[form].write(paper(), marks=True), changed) == [CELL]


@pytest.mark.parametrize(
    ("form", "old", "new"),
    [
        ("md", "**52.7 ± 1.2**", "52.7 ± 1.2"),
        ("md", "**52.7 ± 1.2**", "**52.7 ± 1.2**<sup>b</sup>"),
        ("tex", r"\textbf{52.7 $\pm$ 1.2}", r"52.7 $\pm$ 1.2"),
        ("tex", f"{CELL}: ", f"{CELL}: 00000000000000000000 "),
        ("html", "<b>52.7 ± 1.2</b>", "52.7 ± 1.2"),
        ("html", 'data-value="52.7"', 'data-value="57.2"'),
    ],
)
def test_a_mark_a_value_or_a_run_that_was_changed_is_named(form, old, new):
    text = FORMS[form].write(paper())
    assert old in text and find_edited_cells(FORMS[form].write(paper(), marks=True), text.replace(old, new)) == [CELL]


@EVERY
def test_a_line_that_is_gone_is_named_with_all_its_cells(form):
    written, spans = split_marks(FORMS[form].write(paper(), marks=True))
    gone = {written[: span.start].count("\n") for span in spans if span.name.startswith("comparison/mbt")}
    kept = "\n".join(line for at, line in enumerate(written.split("\n")) if at not in gone)
    found = find_edited_cells(FORMS[form].write(paper(), marks=True), kept)
    assert [name for name in found if not name.startswith("line")] == [
        "comparison/mbt",
        *(name for name, _ in paper().iter_cells() if "/mbt/" in name),
    ]


@EVERY
def test_of_two_changes_around_a_line_that_is_gone_each_is_named(form):
    written, spans = split_marks(FORMS[form].write(paper(), marks=True))
    gone = {written[: span.start].count("\n") for span in spans if span.name.startswith("comparison/mbt")}
    kept = "\n".join(line for at, line in enumerate(written.split("\n")) if at not in gone)
    text = kept.replace("12.5", "15.2").replace("52.7 ", "57.2 ")
    found = find_edited_cells(FORMS[form].write(paper(), marks=True), text)
    assert {name for name in found if not name.startswith("line") and "/mbt" not in name} == {
        "comparison/majority/videoemotion8/acc_e",
        CELL,
    }


def test_a_line_that_becomes_equal_to_another_is_distinguished_from_it():
    columns = (Column("m", "m"), Column("c", "c"))
    grid = Table("t", "t", "", columns, (Row("b", (Cell("x"), Cell("2"))), Row("a", (Cell("x"), Cell("1")))))
    for form in ("md", "csv"):
        assert find_edited_cells(FORMS[form].write(grid, marks=True), FORMS[form].write(grid).replace("2", "1")) == [
            "t/b/c"
        ]


@EVERY
def test_a_line_that_was_added_is_named_by_its_number(form):
    lines = FORMS[form].write(paper()).split("\n")
    assert find_edited_cells(
        FORMS[form].write(paper(), marks=True), "\n".join([*lines[:3], "one more", *lines[3:]])
    ) == ["line 4"]


@EVERY
@pytest.mark.parametrize("old", ["Acc E", "1 of 5 runs"])
def test_a_change_outside_the_cells_is_named_by_its_line(form, old):
    text = FORMS[form].write(paper())
    at = next(number for number, line in enumerate(text.split("\n"), 1) if old in line)
    assert find_edited_cells(FORMS[form].write(paper(), marks=True), text.replace(old, "x", 1)) == [f"line {at}"]


@EVERY
@pytest.mark.parametrize("change", [lambda text: text[:-1], lambda text: text + "\n", lambda text: text + " "])
def test_a_last_line_end_too_few_or_too_many_is_found(form, change):
    text = change(FORMS[form].write(paper()))
    assert len(find_edited_cells(FORMS[form].write(paper(), marks=True), text)) == 1


@EVERY
def test_other_line_ends_are_found_but_no_cell_is_called_edited(form):
    found = find_edited_cells(FORMS[form].write(paper(), marks=True), FORMS[form].write(paper()).replace("\n", "\r\n"))
    assert found and all(name.startswith("line ") for name in found)
