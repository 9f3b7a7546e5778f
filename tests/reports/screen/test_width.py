"""Tables on narrow terminals: columns are left out or follow below, and no name or number is ever broken."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import replace

import pytest
from rich.cells import cell_len
from rich.console import Console

from bench.tasks import Classification
from bench.types import DatasetInfo
from reports.dataset import LocalDataset, make_dataset_list
from reports.formats import plural
from reports.formats.plain import FittedTable
from reports.runs import Run
from reports.terminal import (
    ArmProgress,
    _add_row,
    _make_table,
    make_gap_table,
    make_optimism_table,
    make_plan_table,
    render_records,
)
from tests.reports.screen.records import run

ARMS = ("mart", "mart-no-complementary-contrast", "mart-no-verification-[a]")
WIDTHS = (60, 80, 120)
HEADINGS = ("Acc E", "val Acc E", "F1 E", "Acc S", "F1 S", "bal. Acc E", "clips", "runs", "tried", "s/run")


def render(table: object, width: int) -> str:
    console = Console(width=width, record=True)
    console.print(table, crop=False)
    return console.export_text()


def cells(text: str) -> list[list[str]]:
    """Return the cells of every line that holds a row of a table."""
    return [
        [cell.strip() for cell in line.strip("│┃").split("│" if "│" in line else "┃")]
        for line in text.splitlines()
        if line.startswith(("│", "┃"))
    ]


def words(texts: Iterable[str]) -> set[str]:
    """Return the words of texts: a label may wrap between them, but not within them."""
    return {word for text in texts for word in text.split()}


def study(classes: int) -> list[Run]:
    """Return three runs of each arm and protocol on a data set of many classes, with all scores."""
    names = tuple(f"Class-of-emotion-{number}"[: 8 + number % 12] + f"{number}" for number in range(classes))
    info = DatasetInfo(
        "toy", "Toy clips", Classification(names, (1,) * classes), {}, "en", "toy", "none", "here", "by hand", 40
    )
    runs = []
    for arm in ARMS:
        for protocol in ("clean", "best-on-test"):
            for seed in range(3):
                made = run(seed=seed, protocol=protocol, val=0.5 + 0.03 * seed)
                scores = {f"test/{name}": 0.4 + 0.061 * seed for name in ("f1_e", "acc_s", "f1_s", "bal_e", "acc_e")}
                scores |= {f"test/recall/{name}": 0.3 + 0.04 * seed for name in names} | {"test/n": 400.0}
                spec = replace(made.record.spec, method=arm)
                record = replace(made.record, arm=arm, spec=spec, scores=made.record.scores | scores)
                record.scores.pop("test/recall/low")
                runs.append(replace(made, record=record, arm=arm, info=info))
    return runs


@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize("classes", [8, 10, 26])
def test_every_name_and_number_of_the_results_is_shown_whole(classes, width):
    runs = study(classes)
    text = render(render_records(runs), width)
    assert max(map(len, text.splitlines())) <= width
    rows = cells(text)
    wide = cells(render(render_records(runs), 2000))
    assert {cell for row in rows for cell in row[1:]} <= {"", *(cell for row in wide for cell in row[1:])}
    assert words(row[0] for row in rows) == words(row[0] for row in wide)
    assert set(runs[0].info.classes) <= {cell for row in rows for cell in row}


@pytest.mark.parametrize("width", WIDTHS)
def test_scores_that_are_left_out_are_named_and_the_main_one_is_shown(width):
    runs = [one for one in study(8) if one.record.spec.protocol == "clean"]
    text = render(render_records(runs), width)
    heading = next(row for row in cells(text) if row[0] == "method")
    assert heading[1] == "Acc E" and heading[1:] == [name for name in HEADINGS if name in heading]
    absent = [name for name in HEADINGS if name not in heading]
    caption = re.search(r"not shown at (\d+) columns: ([^;]*); see\s+the record.json", " ".join(text.split()))
    assert caption is not None and caption[1] == str(width) and caption[2].split(", ") == absent


def test_at_80_columns_the_least_important_scores_are_left_out_first():
    runs = [one for one in study(8) if one.record.spec.protocol == "clean" and one.arm == "mart"]
    text = " ".join(render(render_records(runs), 80).split())
    assert "not shown at 80 columns: F1 S, bal. Acc E, clips, s/run" in text
    text = " ".join(render(render_records(runs), 60).split())
    assert "not shown at 60 columns: Acc S, F1 S, bal. Acc E, clips, runs, s/run" in text


@pytest.mark.parametrize("width", WIDTHS)
def test_the_score_on_val_and_the_number_tried_are_kept_next_to_the_score_on_test(width):
    clean = [one for one in study(8) if one.record.spec.protocol == "clean" and one.arm == "mart"]
    text = render(render_records([replace(one, configurations_tried=1234) for one in clean]), width)
    row = dict(zip(*cells(text.partition("recall by class")[0]), strict=True))
    assert (row["Acc E"], row["val Acc E"], row["tried"]) == ("46.1 ± 6.1", "53.0 ± 3.0", "1234")


@pytest.mark.parametrize("width", WIDTHS)
def test_plans_gaps_and_gains_keep_their_names_whole(width):
    runs = study(2)
    plan = make_plan_table([ArmProgress("videoemotion8", ARMS[1], "per-arm", 3, 2, 1)])
    for table in (plan, make_gap_table(runs), make_optimism_table(runs)):
        rows = cells(render(table, width))
        wide = cells(render(table, 2000))
        assert any(cell.startswith(ARMS[1]) for row in rows for cell in row)
        assert words(cell for row in rows for cell in row) <= words(cell for row in wide for cell in row)
        assert {cell for row in rows for cell in row[2:]} <= {"", *(cell for row in wide for cell in row[2:])}


@pytest.mark.parametrize("width", WIDTHS)
def test_a_list_of_data_sets_wraps_its_sentences_between_words(width):
    where = "not usable: the list trainlist01.txt names a class that the data set does not have"
    text = render(make_dataset_list([LocalDataset("own-my-own-clips-of-2024", where, 1234, 1200, 3.25, 17, 0)]), width)
    assert "own-my-own-clips-of-2024" in text and "trainlist01.txt" in text and "1,234" in text
    assert max(map(len, text.splitlines())) <= width
    assert set(where.split()) <= set(text.split())


def test_a_name_longer_than_the_line_is_shown_whole_on_a_longer_line():
    table = FittedTable()
    table.add_column("method", no_wrap=True)
    table.add_column("Acc E", no_wrap=True)
    table.add_row("m" * 50, "50.0 ± 7.1")
    assert cells(render(table, 40))[1] == ["m" * 50, "50.0 ± 7.1"]


LONG = "recording-of-the-second-session-" * 4 + ".mp4"
CJK = "映像と音声の感情を認識するための新しいデータセットの試験用の長い説明文です" * 2


@pytest.mark.parametrize("width", WIDTHS[1:])
@pytest.mark.parametrize("text", [LONG, CJK], ids=["path", "cjk"])
def test_a_path_folds_before_a_column_is_left_out(text, width):
    table = make_dataset_list([LocalDataset("ekman6", text, 1234, 1200, 3.25, 17, 0)])
    shown = render(table, width)
    assert "not shown" not in shown and "1,234" in shown and "prepared" in shown
    assert max(map(cell_len, shown.splitlines())) <= width
    assert "".join(line[9 : line.index("1,234")] for line in shown.splitlines() if "1,234" in line).strip() in text


@pytest.mark.parametrize("width", WIDTHS)
def test_a_sentence_without_spaces_stays_within_the_line(width):
    table = FittedTable()
    table.add_column("name", no_wrap=True)
    table.add_column("why")
    table.add_row("ekman6", CJK)
    assert max(map(cell_len, render(table, width).splitlines())) <= width


@pytest.mark.parametrize("name", ["[a]", "[/b]", "a\\", "[red]x[/red]"])
def test_names_that_look_like_markup_are_printed_as_they_are(name):
    table = _make_table(f"plan {name}", [name], ["left", "right" * 4, f"{name}2"])
    table.caption = f"of {name}"
    _add_row(table, f"{name}1", "1", "2", "3")
    wide, narrow = render(table, 200), render(table, 40)
    assert all(f"{text} " in wide for text in (f"plan {name}", f"of {name}", f"│ {name}1", f"┃ {name}", f"{name}2"))
    assert f"of {name} " in narrow and f"{name}2; see the record.json" in " ".join(narrow.split())


def test_counts_have_their_noun_in_the_right_number():
    assert [plural(1, "run"), plural(2, "run"), plural(0, "clip")] == ["1 run", "2 runs", "0 clips"]
    assert [plural(2, "search"), plural(3, "class"), plural(1200, "file")] == ["2 searches", "3 classes", "1,200 files"]
