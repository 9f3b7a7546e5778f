"""Figures, captions and legend of whole reports: no figure is empty, all values are finite, all can be drawn."""

from __future__ import annotations

import html
import math

import pytest

from bench.artifacts import CONFIG_FILE, CURVES_FILE, PREDICTIONS_FILE
from bench.mlflow import MlflowStore
from bench.record import DATASET_INFO_FILE
from datasets.registry import DATASETS
from reports.figures.study import make_rank_figure
from reports.formats.latex import escape_latex
from reports.formats.plain import escape_paragraph
from reports.page import render_page
from reports.paper import render_document
from reports.runs import StudyResults
from reports.types import RenderedFigure
from reports.write import list_figures, list_tables, render_texts
from studies.build_report import build_report
from studies.select import ReportQuery
from studies.studies import STUDIES
from tests.chromium import chromium, needs_chromium
from tests.reports.made import make_run, make_search
from tests.reports.tables.by_hand import TWO, by_hand, frame_of
from tests.reports.tables.test_captions import check_captions

TWELVE_ARMS = (
    *("majority", "probe", "mbt", "mbt-long", "mart-released", "mart-no-masking", "mart-no-verification"),
    *("mart-sentiment-only", "mart-emotion-only", "mart-mask-random", "mart-target-pixel", "mart"),
)
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
    assert not any("_cost_" in name for name in names(comparison))  # with several data sets the tables show the costs
    for picture in list_figures(comparison):
        assert picture.rows and picture.caption and picture.title
        for row in picture.rows:
            for column, value in row.items():
                if value is None:
                    assert column in MAY_LACK or column.startswith(("run ", "pair ")), (picture.name, column)
                elif not isinstance(value, str):
                    assert math.isfinite(value), (picture.name, column)


def test_captions_are_short_and_the_legend_holds_what_tables_and_figures_use_once(comparison):
    parts = [*list_tables(comparison), *list_figures(comparison)]
    check_captions(parts, comparison.legend)
    assert set(comparison.legend) == {entry for part in parts for entry in part.legend}
    assert len({entry.term for entry in comparison.legend}) == len(comparison.legend)
    terms = " ".join(entry.term for entry in comparison.legend)
    assert "ECE" in terms and "Searches" in terms and "per-arm" in terms and "Critical difference" not in terms


@pytest.mark.parametrize("name", STUDIES)
def test_captions_of_every_study_are_short_and_its_ranking_column_is_first(name, tmp_path):
    for arm in dict.fromkeys(arm for study in STUDIES[name] for arm in study.arms):
        for protocol in dict.fromkeys(protocol for study in STUDIES[name] for protocol in study.protocols):
            make_run(tmp_path, arm, clips=60, protocol=protocol)
    report = report_of(tmp_path, name)
    check_captions([*list_tables(report), *list_figures(report)], report.legend)
    for section in report.sections:
        if section.tables and section.id in STUDIES:
            main = section.tables[0]
            kind = "scores" if STUDIES[section.id][0].table in ("scores", "optimism") else "worth"
            assert main.name.startswith(f"{section.id}_{kind}")
            assert next(column.title for column in main.columns if column.numeric) == "Acc E"


def test_every_form_of_a_report_holds_the_legend_once(comparison):
    page = render_page(comparison, dict.fromkeys(names(comparison), RenderedFigure("image/png", b"")))
    assert page.count('id="legend"') == 1 and page.count('href="#legend"') > len(list_tables(comparison))
    markdown = render_texts(comparison, [], [])["report.md"]
    forms = [(html.unescape(page), str), (render_document(comparison), escape_latex), (markdown, escape_paragraph)]
    for text, escape in forms:
        assert all(text.count(escape(entry.text)) == 1 for entry in comparison.legend)


def test_the_figure_of_calibration_says_that_its_ece_is_a_mean_over_runs(comparison):
    (figure,) = (figure for figure in list_figures(comparison) if figure.name == "comparison_reliability")
    assert "clips of all runs" in figure.caption and "ECE is the mean over runs" in figure.caption


def test_a_file_of_one_table_says_how_its_runs_were_tuned_and_how_to_read_it(comparison):
    texts = render_texts(comparison, [], [])
    for table in list_tables(comparison):
        assert table.legend and table.context.startswith("Preset quick") is (table.name != "search_spaces")
        for kind, escape in (("md", escape_paragraph), ("html", html.escape), ("tex", str)):
            text = texts[f"tables/{table.name}.{kind}"]
            assert all(html.unescape(text).count(html.unescape(escape(said))) == 1 for said in table.explanations), kind
            assert kind != "tex" or all(f"\n% {said}\n" in text for said in table.explanations)


@pytest.mark.slow
@needs_chromium
@pytest.mark.parametrize(
    ("study", "datasets", "folds"), [("runs", ("videoemotion8",), 1), ("comparison", ("ekman6", "videoemotion8"), 2)]
)
def test_no_table_of_a_page_of_1200_pixels_scrolls_sideways(study, datasets, folds, tmp_path):
    arms = TWELVE_ARMS if len(datasets) == 1 else STUDIES[study][0].arms
    for dataset in datasets:
        for arm in arms:
            for fold in DATASETS[dataset].info.folds[:folds]:
                for seed in range(2):
                    make_run(tmp_path, arm, dataset, fold=fold, seed=seed, clips=60)
    for name in (study, "paper") if len(datasets) == 1 else (study, "ablation"):
        report = report_of(tmp_path, name)
        page = tmp_path / f"{name}.html"
        page.write_text(render_page(report, dict.fromkeys(names(report), RenderedFigure("image/png", b""))))
        with chromium() as browser:
            browser.view(1200, 900)
            browser.open(page)
            assert browser.evaluate("document.documentElement.scrollWidth") <= 1200
            wide = "[...document.querySelectorAll('.grid')].filter(g => g.scrollWidth > g.clientWidth).map(g => g.id)"
            assert browser.evaluate(wide) == []


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


def test_a_report_on_a_custom_data_set_of_two_classes_has_all_figures_but_the_radar(tmp_path):
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
    """Check that there is no ablation table, which has one row for each arm."""
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


CLASSIFIED = tuple(name for name, entry in DATASETS.items() if entry.info.classes)


def ranked(*arms, datasets=CLASSIFIED, **odd):
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


def test_methods_are_not_ranked_on_too_few_data_sets_and_the_report_says_why():
    assert make_rank_figure(part(ranked("majority", "mbt", "mart", datasets=("ekman6",)))) == ([], "")
    pictures, why = make_rank_figure(part(ranked("majority", "mbt", "mart", datasets=("ekman6", "perr"))))
    assert pictures == [] and why.startswith("No critical-difference diagram: ") and why.endswith("(here 3 and 2).")


def test_only_complete_lines_whose_epoch_val_chose_are_ranked():
    flagged = {"spec": {"protocol": "best-on-test"}, "run": {"label_suffix": "EPOCH CHOSEN ON TEST"}}
    (picture,), _ = make_rank_figure(part(ranked("odd", "majority", "mbt", "probe", "mart", **flagged)))
    assert len(picture.rows) == 4
    lacking = ranked("odd", "majority", "mbt", "probe", "mart")[1:]
    (picture,), _ = make_rank_figure(part(lacking))
    assert [row["method"] for row in picture.rows] == ["majority", "mbt", "probe", "mart"]
