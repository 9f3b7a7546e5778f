"""A value has the same digits on the screen and in every form of a table."""

from __future__ import annotations

import re

from hypothesis import given, settings
from hypothesis import strategies as st
from rich.table import Table as ScreenTable

from reports.comparisons import compare_with_reference
from reports.formats.html import render_html_table
from reports.formats.plain import render_csv, render_markdown
from reports.runs import PredictionCache
from reports.tables.costs import make_costs_table
from reports.tables.differences import make_significance_table as against
from reports.tables.scores import make_scores_table
from reports.terminal import group_by_dataset, make_gap_table, make_optimism_table, render_records
from reports.types import Table
from tests.reports.formats.reading import read_csv, read_html, read_latex, read_markdown
from tests.reports.tables.by_hand import by_hand, frame_of

SOME = settings(deadline=None, max_examples=40)
SHARES = st.one_of(st.floats(0, 1), st.floats(0.49, 0.51), st.sampled_from([0.0, 0.5, 1.0]))
TITLES = {"acc_e": "Acc E", "f1_e": "F1 E", "acc_s": "Acc S", "f1_s": "F1 S"}
NAMES = [*(f"test/{name}" for name in TITLES), "val/acc_e"]


@st.composite
def studied(draw):
    """Draw runs of one to three arms, equally many of each, with any scores."""
    seeds, clips = draw(st.integers(1, 4)), draw(st.sampled_from([10, 400, 5000]))
    return [
        by_hand(None, arm, seed, scores={name: draw(SHARES) for name in NAMES} | {"test/n": clips, "val/n": clips})
        for arm in ("mbt", "mart", "probe")[: draw(st.integers(1, 3))]
        for seed in range(seeds)
    ]


def column(table: ScreenTable, heading: str) -> list[str]:
    """Return the cells of a terminal table under a heading."""
    return next([str(cell) for cell in one.cells] for one in table.columns if str(one.header) == heading)


def forms(grid: Table, name: str) -> list[list[str]]:
    """Return the cells of a column, read back from each form of a table, with the minus sign of the terminal."""
    place = [one.id for one in grid.columns].index(name)
    names = [f"{grid.name}/{line.id}/{name}" for line in grid.rows]
    source, page = dict(read_latex(grid)), read_html(render_html_table(grid))
    written = [
        [row[place] for row in read_markdown(render_markdown(grid))],
        [row[place] for row in read_csv(render_csv(grid))],
        [page[one] for one in names],
        [re.sub(r"\\textbf|\\underline|[{}$]", "", source[one]).replace(r"\pm", "±") for one in names],
    ]
    return [[cell.replace("-", "−") for cell in cells] for cells in written]


@SOME
@given(studied())
def test_scores_have_the_same_digits_on_the_screen_and_in_every_form(runs):
    grid, table = make_scores_table(frame_of(*runs), "scores", "Scores"), render_records(runs).renderables[0]
    for metric, heading in TITLES.items():
        for cells in forms(grid, f"ekman6/{metric}"):
            assert cells == column(table, heading)


@SOME
@given(studied())
def test_gaps_and_test_scores_beside_them_have_the_digits_of_the_tables(runs):
    frame, table = frame_of(*runs), make_gap_table(runs)
    for cells in forms(make_costs_table(frame, PredictionCache(), "ekman6", "costs"), "gap"):
        assert cells == column(table, "gap")
    assert column(table, "test") == column(render_records(runs).renderables[0], "Acc E")


@SOME
@given(st.lists(st.tuples(SHARES, SHARES), min_size=1, max_size=5))
def test_differences_have_the_same_digits_on_the_screen_and_in_every_form(pairs):
    def run(seed, share, protocol):
        return by_hand(None, "mbt", seed, scores={"test/acc_e": share}, spec={"protocol": protocol})

    runs = [run(seed, high, "best-on-test") for seed, (high, _) in enumerate(pairs)]
    runs += [run(seed, low, "clean") for seed, (_, low) in enumerate(pairs)]
    (frame,) = group_by_dataset(runs)
    grid = against(frame, compare_with_reference(frame, "mbt", PredictionCache()), "mbt", "tests")
    for cells in forms(grid, "runs/difference"):
        assert cells == column(make_optimism_table(runs), "gain and 95 % interval")


@SOME
@given(st.floats(0, 1), st.floats(0, 1))
def test_shares_of_segments_with_a_cue_have_the_digits_of_the_table_of_costs(first, second):
    noted = {"scores": {"test/acc_e": 0.5}}
    runs = [by_hand(None, "mart", s, notes={"pretrain/coverage": v}, **noted) for s, v in enumerate((first, second))]
    found = next(table for table in render_records(runs).renderables if "cue" in str(table.title))
    for cells in forms(make_costs_table(frame_of(*runs), PredictionCache(), "ekman6", "costs"), "coverage"):
        assert cells == column(found, "with cue")
