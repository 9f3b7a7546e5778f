import ast
import csv
import io
import re
from dataclasses import replace

import pytest
from rich.console import Console

from bench.errors import StoreError
from bench.types import DataIssue
from reports.dataset import (
    REMEDIES,
    LocalDataset,
    explain_unfitness,
    find_weaknesses,
    make_counts_table,
    make_dataset_list,
    render_issues,
    write_issues,
)
from tests.conftest import ROOT
from tests.reports.data.facts import clip, clips, facts, missing


def shown(renderable: object, width: int = 160) -> str:
    console = Console(width=width, record=True, file=io.StringIO())
    console.print(renderable)
    return console.export_text()


def rows(text: str) -> list[list[str]]:
    return [
        [cell.strip() for cell in line.replace("┃", "│").split("│")[1:-1]]
        for line in text.splitlines()
        if line.startswith(("┃", "│"))
    ]


def test_clips_are_counted_by_class_and_split_and_in_all():
    table = rows(shown(make_counts_table(facts())))
    assert ["anger", "-", "6", "2", "8", "-", "0.01"] in table
    assert ["calm", "0", "6", "2", "8", "-", "0.01"] in table
    assert table[-1] == ["all", "", "18", "6", "24", "-", "0.03"]


def test_val_is_a_column_only_if_the_lists_define_it():
    assert "val is split from train" in shown(make_counts_table(facts()))
    stated = shown(make_counts_table(facts(clips=(*clips(), clip(0, 99, "val")))))
    assert "val is split" not in stated and ["anger", "-", "6", "1", "2", "9", "-", "0.01"] in rows(stated)


def test_a_missing_clip_counts_as_lost_and_not_as_usable():
    table = rows(shown(make_counts_table(missing(facts(), "anger/0", "anger/7"))))
    assert ["anger", "-", "5", "1", "6", "2", "0.01"] in table


def test_nothing_prepared_has_no_hours():
    text = shown(make_counts_table(facts(clips=clips(seconds=None))))
    assert "`prepare`" in text and ["all", "", "18", "6", "24", "-", "-"] in rows(text)


def test_the_sample_is_marked_as_the_sample():
    found = facts(is_sample=True, issues=(DataIssue("black", "joy/1", "black"),))
    assert "BUILT-IN SAMPLE" in shown(make_counts_table(found)) and "BUILT-IN SAMPLE" in shown(
        render_issues(found, None)
    )


def test_problems_are_listed_by_kind_the_most_frequent_first(tmp_path):
    problems = [DataIssue("silent", f"joy/{n}", "no sound above -60 dB") for n in range(3)]
    text = shown(
        render_issues(facts(issues=(DataIssue("black", "joy/9", "black"), *problems)), tmp_path / "problems.csv"), 300
    )
    kinds = [row[:2] for row in rows(text) if row[0]]
    assert kinds == [["kind", "count"], ["silent", "3"], ["black", "1"]]
    assert "joy/1" in text and "joy/2" not in text and REMEDIES["silent"] in text and "problems.csv" in text


def test_a_data_set_without_problems_is_reported():
    assert shown(render_issues(facts(), None)).strip() == "no problems found"


def test_names_with_markup_and_control_characters_are_shown_as_they_are():
    problem = DataIssue("link", "[red]joy[/red]/\x1b[2J\udcff", "it leaves")
    assert "[red]joy[/red]/\\x1b[2J\\udcff" in shown(render_issues(facts(issues=(problem,)), None))


def test_every_kind_of_problem_in_the_code_has_a_remedy():
    calls = [
        node.args[0]
        for path in (ROOT / "datasets").rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "DataIssue" and node.args
    ]
    assert {kind.value for kind in calls if isinstance(kind, ast.Constant)} <= set(REMEDIES)


def test_a_whole_data_set_is_fit():
    assert explain_unfitness(facts()) == [] and find_weaknesses(facts()) == []


def test_a_class_without_training_clips_and_an_empty_split_are_not_fit():
    without = facts(clips=tuple(row for row in clips() if (row.target, row.split) != (1, "train")))
    assert explain_unfitness(without) == ["not fit to run: class 'joy' has no training clip; check lists and media"]
    untested = facts(clips=tuple(row for row in clips() if row.split == "train"))
    assert explain_unfitness(untested) == ["not fit to run: the test split has no usable clip; check lists and media"]
    assert len(explain_unfitness(facts(clips=()))) == 2
    lost = missing(facts(), *[f"joy/{number}" for number in range(6)])
    assert explain_unfitness(lost) == ["not fit to run: class 'joy' has no training clip; check lists and media"]


def test_few_groups_many_losses_and_absent_modalities_are_doubts():
    assert find_weaknesses(facts(clips=clips(each=4)))[0].startswith("class 'anger' has 4 training groups")
    one = tuple(replace(row, group="one") if row.split == "train" else row for row in clips())
    assert "has 1 training group:" in find_weaknesses(facts(clips=one))[0]
    assert find_weaknesses(facts(clips=(*clips(each=4), *(clip(at, 99, "val") for at in range(3))))) == []
    assert (
        find_weaknesses(missing(facts(), "joy/0", "joy/1", "anger/0"))[-1]
        == "3 of 24 listed clips are missing, unreadable or duplicates"
    )
    assert find_weaknesses(facts(clips=clips(streams=("video",)))) == [
        "no clip has audio",
        "no clip has text",
    ]
    untested = facts(clips=tuple(row for row in clips() if (row.target, row.split) != (1, "test")))
    assert explain_unfitness(untested) == [] and find_weaknesses(untested) == ["class 'joy' has no test clip"]


def test_the_list_of_problems_reads_back_whatever_the_names(tmp_path):
    problems = [DataIssue("link", 'a,"b"\nc', "=1+1; ünï"), DataIssue("missing", "d\udcff", "")]
    write_issues(problems, tmp_path / "new" / "problems.csv")
    with (tmp_path / "new" / "problems.csv").open(encoding="utf-8", newline="") as file:
        assert list(csv.reader(file)) == [
            ["what", "where", "why"],
            ["link", 'a,"b"\nc', "=1+1; ünï"],
            ["missing", "d\\udcff", ""],
        ]


def test_a_list_that_cannot_be_written_is_an_error_of_one_line(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(StoreError):
        write_issues([], tmp_path / "file" / "problems.csv")


def test_present_and_missing_data_sets_are_listed():
    here = LocalDataset("ekman6", "data/ekman6", 1637, 1620, 12.5, 31, 1620)
    table = [
        re.split(r"\s{2,}", line.strip())
        for line in shown(make_dataset_list([here, LocalDataset("perr", "")])).splitlines()
    ]
    assert ["ekman6", "data/ekman6", "1,637", "1,620", "12.50", "31", "1,620"] in table
    assert ["perr", "not found", "-", "-", "-", "-", "-"] in table
