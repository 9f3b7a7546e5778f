"""All figures of whole reports: none is empty, none holds what is no number, each can be drawn."""

from __future__ import annotations

import math

import pytest

from bench.outputs import CARD, CONFIG, CURVES, PREDICTIONS
from bench.store import Store
from datasets.registry import DATASETS
from reports.audit.texts import grids_of, pictures_of
from reports.gather.pictures import ranks_of
from reports.results.part import Part
from studies.registry import STUDIES
from studies.report.build import build
from studies.report.select import Wish
from tests.reports.made import make_run, make_search
from tests.reports.tables.by_hand import TWO, by_hand, frame_of

MAY_LACK = {"low", "high", "value", "best", "percent", "flagged"}


def report_of(results, name="ablation"):
    studies = STUDIES[name] if name != "runs" else ()
    return build(results, name, studies, Wish(), Store(results), "http://127.0.0.1:5000").report


def names(report) -> set[str]:
    return {picture.name for picture in pictures_of(report)}


@pytest.fixture(scope="module")
def comparison(tmp_path_factory):
    results = tmp_path_factory.mktemp("comparison")
    for dataset in ("ekman6", "videoemotion8"):
        for arm in ("majority", "mbt", "mart"):
            for fold in DATASETS[dataset].card.folds[:2]:
                for seed in range(2):
                    winner = make_search(results, arm, dataset, fold=fold) if arm == "mart" else None
                    told = {"set": winner["winner"]["params"], "request": {"winner": winner}} if winner else {}
                    make_run(results, arm, dataset, seed=seed, fold=fold, clips=60, **told)
    return report_of(results, "comparison")


def test_every_figure_has_rows_of_numbers(comparison):
    kinds = ("results", "differences", "learning", "radar", "reliability", "confusion_ekman6")
    assert {"searches", *(f"comparison_{kind}" for kind in kinds)} < names(comparison)
    assert not any("_cost_" in name for name in names(comparison))  # of several data sets the tables tell it
    for picture in pictures_of(comparison):
        assert picture.rows and picture.caption and picture.title
        for row in picture.rows:
            for column, value in row.items():
                if value is None:
                    assert column in MAY_LACK or column.startswith(("run ", "pair ")), (picture.name, column)
                elif not isinstance(value, str):
                    assert math.isfinite(value), (picture.name, column)


def test_percents_are_percents(comparison):
    for picture in pictures_of(comparison):
        if picture.name.endswith("differences") or "_cost_" in picture.name:
            continue
        for row in picture.rows:
            for column in ("mean", "low", "high", "percent", "confidence", "accuracy", "calibration error", "best"):
                assert row.get(column) is None or 0 <= row[column] <= 100, (picture.name, column)


def test_the_points_of_the_figure_of_scores_are_the_cells_of_the_table(comparison):
    (grid,) = [grid for grid in grids_of(comparison) if grid.name == "comparison_scores"]
    (picture,) = [picture for picture in pictures_of(comparison) if picture.name == "comparison_results"]
    titles = {"Ekman-6": "ekman6", "VideoEmotion-8": "videoemotion8"}
    cells = {name: cell.value for name, cell in grid.cells()}
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
    assert not any("published" in grid.name for grid in grids_of(report))
    for picture in pictures_of(report):
        assert picture.rows
        picture.draw()


def test_records_that_came_without_their_files_still_make_a_report(tmp_path):
    for arm in ("mbt", "mart"):
        for seed in range(2):
            folder = tmp_path / "runs" / make_run(tmp_path, arm, seed=seed, clips=60).key
            for name in (PREDICTIONS, CURVES, CARD, CONFIG):
                (folder / name).unlink()
    report = report_of(tmp_path)
    assert names(report) == {f"ablation_{name}" for name in ("results", "differences", "cost_ekman6", "radar")}
    for picture in pictures_of(report):
        assert picture.rows
        picture.draw()
    (costs,) = [grid for grid in grids_of(report) if grid.name == "ablation_cost_ekman6"]
    assert {cell.text for name, cell in costs.cells() if name.endswith("/ece")} == {"–"}


def test_a_report_of_failed_runs_alone_has_tables_and_no_figures(tmp_path):
    for arm in ("mbt", "mart"):
        make_run(tmp_path, arm, error="out of luck")
    report = report_of(tmp_path)
    assert names(report) == set() and len(list(grids_of(report))) > 2


def test_a_data_set_on_which_all_failed_is_in_tables_and_in_no_figure(tmp_path):
    for arm in ("mbt", "mart"):
        make_run(tmp_path, arm, clips=60)
        make_run(tmp_path, arm, card=TWO, error="out of luck")
    report = report_of(tmp_path)
    assert any("clips" in grid.name for grid in grids_of(report))
    for picture in pictures_of(report):
        assert picture.rows and "clips" not in picture.name
        picture.draw()


def test_lines_of_one_arm_that_differ_in_what_was_set_are_all_in_a_report_of_any_runs(tmp_path):
    """The table of what parts are worth has one line an arm, and so cannot have them."""
    for epochs in (3, 5):
        for arm in ("mbt", "mart"):
            make_run(tmp_path, arm, clips=60, set={"epochs": epochs})
    report = report_of(tmp_path, "runs")
    grids = {grid.name: [line.id for line in grid.lines] for grid in grids_of(report)}
    lines = [f"{arm} (epochs={epochs})" for arm in ("mbt", "mart") for epochs in (3, 5)]
    assert sorted(grids["runs_scores"]) == sorted(lines)
    assert not any("worth" in name or "controls" in name for name in grids)
    assert sum(len(lines) for name, lines in grids.items() if "tests" in name) == 6
    for picture in pictures_of(report):
        picture.draw()


def ranked(*arms, datasets=tuple(DATASETS), **odd):
    runs = []
    for place, arm in enumerate(arms):
        for dataset in datasets:
            card = DATASETS[dataset].card
            told = {"files": False, "card": card, "skill": 0.2 + 0.2 * place, **(odd if place == 0 else {})}
            runs += [by_hand(None, arm, seed, **told) for seed in (0, 1)]
    return runs


def part(runs):
    return Part("comparison", "?", "scores", "mart", (), frame_of(*runs))


def test_methods_are_ranked_over_five_data_sets():
    (picture,), why = ranks_of(part(ranked("majority", "mbt", "probe", "mart")))
    assert why == "" and [row["method"] for row in picture.rows] == ["majority", "mbt", "probe", "mart"]
    assert picture.rows[3]["rank"] < picture.rows[1]["rank"] < picture.rows[0]["rank"]
    picture.draw()


def test_methods_are_not_ranked_where_there_are_too_few_data_sets_and_it_is_said():
    assert ranks_of(part(ranked("majority", "mbt", "mart", datasets=("ekman6",)))) == ([], "")
    pictures, why = ranks_of(part(ranked("majority", "mbt", "mart", datasets=("ekman6", "perr"))))
    assert pictures == [] and why.startswith("No critical-difference diagram: ") and "5 data sets, not 2" in why


def test_only_complete_lines_whose_epoch_val_chose_are_ranked():
    flagged = {"spec": {"protocol": "best-on-test"}, "run": {"apart": "EPOCH CHOSEN ON TEST"}}
    (picture,), _ = ranks_of(part(ranked("odd", "majority", "mbt", "probe", "mart", **flagged)))
    assert len(picture.rows) == 4
    lacking = ranked("odd", "majority", "mbt", "probe", "mart")[1:]
    (picture,), _ = ranks_of(part(lacking))
    assert [row["method"] for row in picture.rows] == ["majority", "mbt", "probe", "mart"]
