"""All figures of whole reports: none is empty, none holds what is no number, each can be drawn."""

from __future__ import annotations

import math

import pytest

from bench.artifacts import CONFIG_FILE, CURVES_FILE, DATASET_INFO_FILE, PREDICTIONS_FILE
from bench.mlflow import MlflowStore
from datasets.registry import DATASETS
from reports.figures.study import make_rank_figure
from reports.runs import StudyResults
from reports.write import list_figures, list_tables
from studies.build_report import build_report
from studies.select import ReportQuery
from studies.studies import STUDIES
from tests.reports.made import make_run, make_search
from tests.reports.tables.by_hand import TWO, by_hand, frame_of

MAY_LACK = {"low", "high", "value", "best", "percent", "flagged"}


def report_of(results, name="ablation"):
    studies = STUDIES[name] if name != "runs" else ()
    return build_report(results, name, studies, ReportQuery(), MlflowStore(results), "http://127.0.0.1:5000").report


def names(report) -> set[str]:
    return {picture.name for picture in list_figures(report)}


@pytest.fixture(scope="module")
def comparison(tmp_path_factory):
    results = tmp_path_factory.mktemp("comparison")
    for dataset in ("ekman6", "videoemotion8"):
        for arm in ("majority", "mbt", "mart"):
            for fold in DATASETS[dataset].info.folds[:2]:
                for seed in range(2):
                    winner = make_search(results, arm, dataset, fold=fold) if arm == "mart" else None
                    told = {"set": winner["winner"]["params"], "request": {"winner": winner}} if winner else {}
                    make_run(results, arm, dataset, seed=seed, fold=fold, clips=60, **told)
    return report_of(results, "comparison")


def test_every_figure_has_rows_of_numbers(comparison):
    kinds = ("results", "differences", "learning", "radar", "reliability", "confusion_ekman6")
    assert {"searches", *(f"comparison_{kind}" for kind in kinds)} < names(comparison)
    assert not any("_cost_" in name for name in names(comparison))  # of several data sets the tables tell it
    for picture in list_figures(comparison):
        assert picture.rows and picture.caption and picture.title
        for row in picture.rows:
            for column, value in row.items():
                if value is None:
                    assert column in MAY_LACK or column.startswith(("run ", "pair ")), (picture.name, column)
                elif not isinstance(value, str):
                    assert math.isfinite(value), (picture.name, column)


def test_percents_are_percents(comparison):
    for picture in list_figures(comparison):
        if picture.name.endswith("differences") or "_cost_" in picture.name:
            continue
        for row in picture.rows:
            for column in ("mean", "low", "high", "percent", "confidence", "accuracy", "calibration error", "best"):
                assert row.get(column) is None or 0 <= row[column] <= 100, (picture.name, column)


def test_the_points_of_the_figure_of_scores_are_the_cells_of_the_table(comparison):
    (grid,) = [grid for grid in list_tables(comparison) if grid.name == "comparison_scores"]
    (picture,) = [picture for picture in list_figures(comparison) if picture.name == "comparison_results"]
    titles = {"Ekman-6": "ekman6", "VideoEmotion-8": "videoemotion8"}
    cells = {name: cell.value for name, cell in grid.iter_cells()}
    assert len(picture.rows) == 6
    for row in picture.rows:
        assert cells[f"comparison_scores/{row['label']}/{titles[row['group']]}/acc_e"] == row["mean"]


def test_a_report_on_two_classes_of_ones_own_has_all_but_the_radar_and_can_be_drawn(tmp_path):
    for arm in ("mbt", "mart"):
        for seed in range(2):
            make_run(tmp_path, arm, card=TWO, seed=seed, clips=60)
    report = report_of(tmp_path)
    assert names(report) == {
        f"ablation_{name}"
        for name in ("results", "differences", "learning", "cost_clips", "confusion_clips", "reliability")
    }
    assert not any("published" in grid.name for grid in list_tables(report))
    for picture in list_figures(report):
        assert picture.rows
        picture.draw()


def test_records_that_came_without_their_files_still_make_a_report(tmp_path):
    for arm in ("mbt", "mart"):
        for seed in range(2):
            folder = tmp_path / "runs" / make_run(tmp_path, arm, seed=seed, clips=60).key
            for name in (PREDICTIONS_FILE, CURVES_FILE, DATASET_INFO_FILE, CONFIG_FILE):
                (folder / name).unlink()
    report = report_of(tmp_path)
    assert names(report) == {f"ablation_{name}" for name in ("results", "differences", "cost_ekman6", "radar")}
    for picture in list_figures(report):
        assert picture.rows
        picture.draw()
    (costs,) = [grid for grid in list_tables(report) if grid.name == "ablation_cost_ekman6"]
    assert {cell.text for name, cell in costs.iter_cells() if name.endswith("/ece")} == {"–"}


def test_a_report_of_failed_runs_alone_has_tables_and_no_figures(tmp_path):
    for arm in ("mbt", "mart"):
        make_run(tmp_path, arm, error="out of luck")
    report = report_of(tmp_path)
    assert names(report) == set() and len(list(list_tables(report))) > 2


def test_a_data_set_on_which_all_failed_is_in_tables_and_in_no_figure(tmp_path):
    for arm in ("mbt", "mart"):
        make_run(tmp_path, arm, clips=60)
        make_run(tmp_path, arm, card=TWO, error="out of luck")
    report = report_of(tmp_path)
    assert any("clips" in grid.name for grid in list_tables(report))
    for picture in list_figures(report):
        assert picture.rows and "clips" not in picture.name
        picture.draw()


def test_lines_of_one_arm_that_differ_in_what_was_set_are_all_in_a_report_of_any_runs(tmp_path):
    """The table of what parts are worth has one line an arm, and so cannot have them."""
    for epochs in (3, 5):
        for arm in ("mbt", "mart"):
            make_run(tmp_path, arm, clips=60, set={"epochs": epochs})
    report = report_of(tmp_path, "runs")
    grids = {grid.name: [line.id for line in grid.rows] for grid in list_tables(report)}
    lines = [f"{arm} (epochs={epochs})" for arm in ("mbt", "mart") for epochs in (3, 5)]
    assert sorted(grids["runs_scores"]) == sorted(lines)
    assert not any("worth" in name or "controls" in name for name in grids)
    assert sum(len(lines) for name, lines in grids.items() if "tests" in name) == 6
    for picture in list_figures(report):
        picture.draw()


def ranked(*arms, datasets=tuple(DATASETS), **odd):
    runs = []
    for place, arm in enumerate(arms):
        for dataset in datasets:
            card = DATASETS[dataset].info
            told = {"files": False, "card": card, "skill": 0.2 + 0.2 * place, **(odd if place == 0 else {})}
            runs += [by_hand(None, arm, seed, **told) for seed in (0, 1)]
    return runs


def part(runs):
    return StudyResults("comparison", "?", "scores", "mart", (), frame_of(*runs))


def test_methods_are_ranked_over_five_data_sets():
    (picture,), why = make_rank_figure(part(ranked("majority", "mbt", "probe", "mart")))
    assert why == "" and [row["method"] for row in picture.rows] == ["majority", "mbt", "probe", "mart"]
    assert picture.rows[3]["rank"] < picture.rows[1]["rank"] < picture.rows[0]["rank"]
    picture.draw()


def test_methods_are_not_ranked_where_there_are_too_few_data_sets_and_it_is_said():
    assert make_rank_figure(part(ranked("majority", "mbt", "mart", datasets=("ekman6",)))) == ([], "")
    pictures, why = make_rank_figure(part(ranked("majority", "mbt", "mart", datasets=("ekman6", "perr"))))
    assert pictures == [] and why.startswith("No critical-difference diagram: ") and "5 data sets, not 2" in why


def test_only_complete_lines_whose_epoch_val_chose_are_ranked():
    flagged = {"spec": {"protocol": "best-on-test"}, "run": {"label_suffix": "EPOCH CHOSEN ON TEST"}}
    (picture,), _ = make_rank_figure(part(ranked("odd", "majority", "mbt", "probe", "mart", **flagged)))
    assert len(picture.rows) == 4
    lacking = ranked("odd", "majority", "mbt", "probe", "mart")[1:]
    (picture,), _ = make_rank_figure(part(lacking))
    assert [row["method"] for row in picture.rows] == ["majority", "mbt", "probe", "mart"]
