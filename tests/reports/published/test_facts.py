"""Published numbers are those of the paper, and are next to ours without marks and ranks."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from datasets.registry import DATASETS
from methods import METHODS, VARIANTS
from reports.tables.published import SAMPLE_NOTE, make_published_comparison
from reports.tables.scores import make_components_table, make_scores_table
from studies.studies import STUDIES
from tests.conftest import ROOT
from tests.reports.tables.by_hand import TWO, by_hand, frame_of
from tests.reports.tables.cases import PAPER

COPIED = {
    "components": (
        "table3_components_ekman6",
        {
            "none": "mbt",
            "verification": "mart-no-masking",
            "masking": "mart-no-verification",
            "masking+verification": "mart",
        },
    ),
    "masking": (
        "table4_masking_ekman6",
        {
            "frame-40": "mart-mask-frame",
            "random-90": "mart-mask-random",
            "tube-95": "mart-mask-tube",
            "attention-10-50": "mart-mask-attention",
            "affective-10-50": "mart",
        },
    ),
    "target": (
        "table5_target_ekman6",
        {"pixel": "mart-target-pixel", "hog": "mart-target-hog", "clip": "mart-target-clip", "distribution": "mart"},
    ),
}
"""Our table -> the paper's table, and its rows by ours."""


@pytest.fixture(scope="module")
def copied() -> dict:
    path: Path = ROOT.parent / "shared" / "published.json"
    if not path.is_file():
        pytest.skip("no copy of the paper's tables (../shared/published.json) next to the checkout")
    return json.loads(path.read_text())


def test_tables_1_and_2_are_as_copied(copied):
    expected: dict[str, dict[str, float]] = {}
    for table in ("table1", "table2"):
        for method, of in copied[table].items():
            for dataset, row in of.items():
                expected.setdefault(method, {}).update({f"{dataset}/{name}": value for name, value in row.items()})
    assert PAPER.tables["scores"].rows == expected


@pytest.mark.parametrize("kind", COPIED)
def test_tables_3_to_5_are_as_copied(kind, copied):
    table, lines = COPIED[kind]
    expected = {
        lines[name]: {column if column == "acc_e" else f"recall/{column}": value for column, value in row.items()}
        for name, row in copied[table].items()
    }
    found = PAPER.tables[kind]
    assert found.rows == expected and found.dataset == "ekman6"


def test_every_contradiction_that_is_known_has_a_footnote(copied):
    told = {note for table in PAPER.tables.values() for notes in table.footnotes.values() for note in notes}
    assert len(told) == len(copied["known_inconsistencies"])
    for one in copied["known_inconsistencies"]:
        figures = {word.strip("(),:") for word in one.split() if word.strip("(),:").replace(".", "").isdigit()}
        assert any(all(figure in note for figure in figures if "." in figure and figure != "4.4") for note in told), one


def test_what_other_papers_print_is_as_copied(copied):
    text = " ".join(text for _, text in PAPER.other_papers)
    for values in copied["elsewhere"].values():
        if isinstance(values, dict):
            assert all(f"{value}" in text for value in values.values())


def test_lines_and_columns_are_ones_that_we_have():
    known = {*METHODS, *VARIANTS}
    for name, table in PAPER.tables.items():
        ours = known & table.rows.keys()
        assert {"mart"} <= ours and (name == "scores" or ours == table.rows.keys())
        assert name == "scores" or name in {study.table for study in STUDIES["paper"]}
        for columns in table.rows.values():
            for column in columns:
                dataset = table.dataset or column.partition("/")[0]
                assert column.rpartition("/")[2] in (*DATASETS[dataset].info.classes, "acc_e", "f1_e", "acc_s", "f1_s")


def test_footnotes_are_of_cells_that_are_printed():
    for table in PAPER.tables.values():
        for cell in table.footnotes:
            method, _, column = cell.partition("/")
            assert column in table.rows[method]


def test_a_footnote_with_numbers_is_at_the_cells_of_these_numbers():
    told = 0
    for table in PAPER.tables.values():
        for cell, notes in table.footnotes.items():
            method, _, column = cell.partition("/")
            for note in notes:
                numbers = re.findall(r"\d\d\.\d\d", note)
                assert not numbers or f"{table.rows[method][column]:.2f}" in numbers, cell
                told += bool(numbers)
    assert told == 10


@pytest.fixture(scope="module")
def frame(tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs")
    cards = [DATASETS[name].info for name in ("ekman6", "iemocap", "perr")]
    return frame_of(*(by_hand(folder, arm, card=card) for card in cards for arm in ("mbt", "mart", "mart-mask-random")))


def made(frame, kind):
    ours = (
        make_scores_table(frame, "s", "S")
        if kind == "scores"
        else make_components_table(frame, kind, "c", "C", "ekman6")
    )
    return ours, make_published_comparison(
        frame if kind == "scores" else frame.for_dataset("ekman6"), ours, kind, "published", PAPER
    )


@pytest.mark.parametrize("kind", PAPER.tables)
def test_published_numbers_and_footnotes_are_in_their_cells(kind, frame):
    _, grid = made(frame, kind)
    table, seen = PAPER.tables[kind], 0
    for name, cell in grid.iter_cells():
        _, whose, method, *column = name.split("/")
        column = "/".join(column)
        if whose == "published" and column != "whose":
            value = table.rows[method].get(column)
            assert (
                cell.text == ("–" if value is None else f"{value:.2f}") and cell.run_keys == () and cell.value == value
            )
            assert cell.footnotes == (table.footnotes.get(f"{method}/{column}", ()) if value is not None else ())
            seen += len(cell.footnotes)
    shown = {column.id for column in grid.columns}
    assert seen == sum(len(notes) for cell, notes in table.footnotes.items() if cell.partition("/")[2] in shown)
    assert {line.id for line in grid.rows if line.id.startswith("published/")} == {f"published/{m}" for m in table.rows}


@pytest.mark.parametrize("kind", PAPER.tables)
def test_neither_published_numbers_nor_ours_next_to_them_are_marked(kind, frame):
    ours, grid = made(frame, kind)
    assert any(cell.mark for _, cell in ours.iter_cells()) and not any(cell.mark for _, cell in grid.iter_cells())


@pytest.mark.parametrize("kind", PAPER.tables)
def test_ours_and_the_gap_are_below_each_row_that_we_have_in_the_order_of_the_paper(kind, frame):
    _, grid = made(frame, kind)
    mine = {label for label in frame.labels if label in PAPER.tables[kind].rows}
    expected = []
    for method in PAPER.tables[kind].rows:
        expected += [f"published/{method}", *([f"ours/{method}", f"gap/{method}"] if method in mine else [])]
    assert [line.id for line in grid.rows] == expected and "mart" in mine


def test_ours_are_the_cells_of_our_table(frame):
    ours, grid = made(frame, "scores")
    theirs = {name.partition("/")[2]: (cell.text, cell.run_keys) for name, cell in ours.iter_cells()}
    found = {
        name.partition("ours/")[2]: (cell.text, cell.run_keys) for name, cell in grid.iter_cells() if "/ours/" in name
    }
    assert {name: cell for name, cell in found.items() if not name.endswith("whose")} == {
        name: cell for name, cell in theirs.items() if name.partition("/")[0] in ("mbt", "mart")
    }


def test_there_is_no_gap_on_the_sample():
    frame = frame_of(by_hand(None, "mart", files=False, spec={"data": "sample"}))
    grid = make_published_comparison(frame, make_scores_table(frame, "s", "S"), "scores", "published", PAPER)
    gaps = [cell for name, cell in grid.iter_cells() if "/gap/" in name and not name.endswith(("whose", "tried"))]
    assert len(gaps) == 4 and all(
        cell.text == "–" and cell.footnotes == (SAMPLE_NOTE,) and cell.value is None for cell in gaps
    )
    assert any("BUILT-IN SAMPLE" in warning for warning in grid.warnings)


def test_lines_of_an_arm_that_are_several_are_all_there_each_named():
    flagged = {"spec": {"protocol": "best-on-test"}, "run": {"label_suffix": "EPOCH CHOSEN ON TEST"}}
    frame = frame_of(by_hand(None, "mart", files=False), by_hand(None, "mart", files=False, **flagged))
    grid = make_published_comparison(frame, make_scores_table(frame, "s", "S"), "scores", "published", PAPER)
    named = [line.cells[1].text for line in grid.rows if line.id.startswith("ours/")]
    assert named == ["ours", "ours (EPOCH CHOSEN ON TEST)"]


def test_failed_runs_have_no_gap():
    frame = frame_of(by_hand(None, "mart", files=False, error="stopped"), by_hand(None, "mbt", files=False))
    grid = make_published_comparison(frame, make_scores_table(frame, "s", "S"), "scores", "published", PAPER)
    cells = dict(grid.iter_cells())
    assert cells["published/ours/mart/ekman6/acc_e"].text == "failed (0/1 runs)"
    assert cells["published/gap/mart/ekman6/acc_e"].text == "–"


def test_other_papers_are_listed_for_the_data_sets_of_the_runs(frame):
    _, grid = made(frame, "scores")
    assert len(grid.notes) == 2 and grid.notes[1].startswith("Ekman-6, in other papers:") and "1:1" in grid.notes[1]


def test_nothing_is_printed_for_data_or_tables_that_the_paper_does_not_have(frame):
    own = frame_of(by_hand(None, "mart", files=False, card=TWO))
    assert make_published_comparison(own, make_scores_table(own, "s", "S"), "scores", "published", PAPER) is None
    grid = make_components_table(frame, "modalities", "c", "C", "ekman6")
    assert make_published_comparison(frame.for_dataset("ekman6"), grid, "modalities", "published", PAPER) is None
    iemocap = make_components_table(frame, "masking", "c", "C", "iemocap")
    assert make_published_comparison(frame.for_dataset("iemocap"), iemocap, "masking", "published", PAPER) is None
