"""Whole reports on data sets of numbers, alone and together with a data set of classes."""

from __future__ import annotations

import math

import numpy as np
import pandas
import pytest

from bench.artifacts import PREDICTIONS_FILE
from bench.mlflow import MlflowStore
from bench.record import RunFolder
from datasets.registry import DATASETS
from reports.build import compose_study
from reports.comparisons import compare_with_reference
from reports.figures.classes import ConfidenceBin, ReliabilityCurve, ReliabilityPanel, ReliabilityPlot, draw_reliability
from reports.figures.intervals import draw_differences
from reports.figures.study import collect_agreements, collect_differences, collect_results, make_rank_figure
from reports.page import render_page
from reports.paper import compile_paper, find_latex
from reports.runs import PredictionCache, StudyResults
from reports.types import RenderedFigure
from reports.write import list_figures, list_tables
from studies.build_report import build_report
from studies.select import ReportQuery
from studies.studies import STUDIES
from tests.chromium import chromium, needs_chromium
from tests.reports.audit.written import check, composed, find_messages, write
from tests.reports.made import MOOD, make_run, make_search, tamper
from tests.reports.tables.by_hand import AFFECT, by_hand, frame_of
from tests.reports.tables.test_captions import check_captions

EKMAN, AFFWILD = DATASETS["ekman6"].info, DATASETS["affwild2-va"].info
SHOWN = ("comparison_results", "comparison_differences", "comparison_agreement", "searches_2")


def made(results, *cards, seeds=3):
    """Write runs and a search of three arms on each data set."""
    for card in cards:
        for arm in ("majority", "mbt", "mart"):
            winner = make_search(results, arm, card=card) if arm == "mbt" else None
            told = {"set": winner["winner"]["params"], "request": {"winner": winner}} if winner else {"request": {}}
            for seed in range(seeds):
                make_run(results, arm, card=card, seed=seed, clips=40, **told)
    return results


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    return {
        "numbers": made(tmp_path_factory.mktemp("numbers"), MOOD, AFFWILD),
        "both": made(tmp_path_factory.mktemp("both"), EKMAN, MOOD),
    }


def built(results, name="comparison"):
    return build_report(results, name, STUDIES[name], ReportQuery(), MlflowStore(results), "http://127.0.0.1:5000")


@pytest.fixture(scope="module")
def browser():
    with chromium() as found:
        found.view(1200, 900)
        yield found


@pytest.fixture(scope="module")
def reports(folders):
    return {name: built(folder).report for name, folder in folders.items()}


@pytest.mark.parametrize("kind", ["numbers", "both"])
def test_figures_have_finite_rows_and_short_captions_and_each_legend_entry_is_there_once(kind, reports):
    report = reports[kind]
    names = {picture.name.removeprefix("comparison_") for picture in list_figures(report)}
    classes = {"confusion_ekman6", "radar", "reliability"}
    assert names == {"results", "differences", "learning", "agreement", "searches", "searches_2"} | (
        classes if kind == "both" else set()
    )
    check_captions([*list_tables(report), *list_figures(report)], report.legend)
    assert len({entry.term for entry in report.legend}) == len(report.legend)
    for picture in list_figures(report):
        numbers = [value for row in picture.rows for value in row.values() if isinstance(value, float)]
        assert picture.rows and all(map(math.isfinite, numbers)), picture.name


def test_a_report_of_numbers_alone_has_no_word_on_classes(reports):
    report = reports["numbers"]
    texts = [part.caption for part in (*list_tables(report), *list_figures(report))]
    texts += [f"{entry.term} {entry.text}" for entry in report.legend]
    for word in ("Acc E", "ECE", "recall", "Recall", "confusion", "in points", "points of"):
        assert not any(word in text for text in texts), word
    assert not any("published" in table.name or "overall" in table.name for table in list_tables(report))


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["numbers", "both"])
def test_a_written_report_is_recomputed_from_its_predictions(kind, folders, tmp_path):
    write(composed(folders[kind], figures=SHOWN), tmp_path)
    assert check(composed(folders[kind], figures=SHOWN), tmp_path) == []
    page = (tmp_path / "index.html").read_text()
    assert "Own scores" in page and "MAE" in page
    macros = (tmp_path / "macros.tex").read_text()
    assert "\\mbtPerArmOwnScoresMAE}" in macros and "\\martUntunedOwnScoresAccSeven}" in macros


def test_a_changed_error_is_found_by_its_name(folders, tmp_path):
    results = made(tmp_path / "results", MOOD, seeds=1)
    write(composed(results), tmp_path / "out")
    folder = next(path.parent for path in (results / "runs").glob("*/record.json"))
    tamper(folder, RunFolder(folder).read_record(), **{"test/mae": 0.1})
    (finding,) = find_messages(check(composed(results), tmp_path / "out"), "by its predictions")
    assert "test/mae is 0.1 in its record" in finding.message and finding.cells


def frame_on(*cards, folder=None):
    arms = {"majority": 0.0, "mbt": 0.5, "mart": 0.8}
    return frame_of(
        *(
            by_hand(folder, arm, seed, card=card, skill=skill, files=folder is not None)
            for card in cards
            for arm, skill in arms.items()
            for seed in range(3)
        )
    )


def compared(frame):
    return collect_differences(frame, compare_with_reference(frame, "mart", None), "mart")


def test_the_worse_side_of_a_difference_follows_the_metric():
    assert compared(frame_on(MOOD)).worse == "positive" and compared(frame_on(AFFECT)).worse == "negative"
    found = compared(frame_on(MOOD, AFFECT))
    assert found.worse == "" and [one.group for one in found.differences[::2]] == [
        *("Own scores: MAE (positive: worse)", "Affect: CCC (negative: worse)")
    ]
    assert all((one.mean > 0) == ("MAE" in one.group) for one in found.differences)


def test_differences_in_points_and_in_numbers_have_scales_of_their_own():
    figure = draw_differences(compared(frame_on(EKMAN, MOOD)))
    points, numbers = (axes.get_xlim() for axes in figure.axes)
    assert points[0] < -10 and numbers[1] < 3
    same = draw_differences(compared(frame_on(EKMAN)))
    assert "Acc E on test, points (negative: worse)" in " ".join(same.texts[0].get_text().split())


def test_scores_are_drawn_with_their_metric_and_interval(tmp_path):
    found = collect_results(frame_on(EKMAN, MOOD, folder=tmp_path), PredictionCache())
    assert found.axis_label == "score on test"
    assert list(dict.fromkeys(point.group for point in found.points)) == ["Ekman-6: Acc E, percent", "Own scores: MAE"]
    assert all(point.low < point.mean < point.high for point in found.points)
    alone = collect_results(frame_on(MOOD, folder=tmp_path / "alone"), PredictionCache())
    assert alone.axis_label == "MAE on test" and {point.group for point in alone.points} == {"Own scores"}


def test_the_concordance_of_several_folds_has_no_interval_that_could_leave_out_the_mean(tmp_path):
    def low(card):
        runs = [by_hand(tmp_path / card.name, "mbt", 0, fold, card=card, clips=48) for fold in (1, 2)]
        (point,) = collect_results(frame_of(*runs), PredictionCache()).points
        return point.low

    assert low(MOOD) is not None and low(AFFECT) is None


def test_predicted_numbers_are_binned_by_the_true_ones(tmp_path):
    frame = frame_on(AFFECT, folder=tmp_path)
    found = collect_agreements(frame, ["mbt", "mart"], PredictionCache())
    assert [panel.title for panel in found.panels] == ["Affect: valence", "Affect: arousal"]
    assert all(panel.limits == (-1, 1) for panel in found.panels)
    tables = [
        pandas.read_parquet(run.folder / PREDICTIONS_FILE).query("split == 'test'") for run in frame.runs_of("mart")
    ]
    table = pandas.concat(tables)
    bins = found.panels[1].curves[1].bins
    assert len(bins) == 10 and sum(one.clips for one in bins) == len(table) == 180
    assert np.average([one.accuracy for one in bins], weights=[one.clips for one in bins]) == pytest.approx(
        table["score/arousal"].mean()
    )
    assert [one.confidence for one in bins] == sorted(one.confidence for one in bins)
    rising = [one.accuracy for one in bins]
    assert np.corrcoef(rising, [one.confidence for one in bins])[0, 1] > 0.9


def test_a_prediction_beyond_the_range_stays_inside_its_panel():
    curve = ReliabilityCurve("mbt", (ConfidenceBin(-2.0, -5.0, 4), ConfidenceBin(2.0, 9.0, 4)))
    plot = ReliabilityPlot(
        (ReliabilityPanel("Own scores", (curve,), (-3.0, 3.0)),), False, "true score", "predicted score"
    )
    (axes,) = draw_reliability(plot).axes
    assert axes.get_ylim()[0] < -5 and axes.get_ylim()[1] > 9 and axes.get_xlim() == axes.get_ylim()
    assert axes.get_yticks().tolist() == [-3.0, -1.5, 0.0, 1.5, 3.0]


def test_methods_are_ranked_by_the_better_side_of_each_metric():
    cards = [MOOD, AFFECT, EKMAN, DATASETS["perr"].info, DATASETS["videoemotion8"].info]
    arms = {"majority": 0.0, "probe": 0.3, "mbt": 0.5, "mart": 0.8}
    runs = [
        by_hand(None, arm, seed, card=card, skill=skill, files=False)
        for card in cards
        for arm, skill in arms.items()
        for seed in (0, 1)
    ]
    (picture,), _ = make_rank_figure(StudyResults("comparison", "?", "scores", "mart", (), frame_of(*runs)))
    assert [row["method"] for row in picture.rows if row["rank"] == 1] == ["mart"]
    assert "MAE or CCC or Acc E" in picture.caption


def test_a_table_of_scores_holds_the_data_sets_that_fit_on_a_page():
    def tables(*cards):
        runs = [by_hand(None, arm, card=card, files=False) for card in cards for arm in ("mbt", "mart")]
        study = StudyResults("comparison", "?", "scores", "mart", (), frame_of(*runs))
        grids = [grid for grid in compose_study(study, PredictionCache()).tables if "_scores" in grid.name]
        return [list(dict.fromkeys(column.id.partition("/")[0] for column in grid.columns[1:])) for grid in grids]

    iemocap = DATASETS["iemocap"].info
    assert tables(EKMAN, iemocap, AFFECT) == [["ekman6", "iemocap"], ["affect"]]
    assert tables(EKMAN, AFFECT, MOOD, iemocap) == [["ekman6", "affect"], ["mood"], ["iemocap"]]


@pytest.mark.slow
@needs_chromium
def test_no_table_of_scores_scrolls_sideways(browser, reports, tmp_path):
    for kind, report in reports.items():
        path = tmp_path / f"{kind}.html"
        pictures = dict.fromkeys((picture.name for picture in list_figures(report)), RenderedFigure("image/png", b""))
        path.write_text(render_page(report, pictures))
        browser.open(path)
        wide = "[...document.querySelectorAll('.grid')].filter(g => g.scrollWidth > g.clientWidth).map(g => g.id)"
        assert browser.evaluate(wide) == []


@pytest.mark.slow
@pytest.mark.skipif(find_latex() is None, reason="no LaTeX on this machine")
@pytest.mark.parametrize("kind", ["numbers", "both"])
def test_the_document_compiles(kind, folders, tmp_path):
    report = composed(folders[kind], figures=SHOWN)
    write(report, tmp_path)
    compile_paper(tmp_path, find_latex())
    assert (tmp_path / "paper.pdf").stat().st_size > 10_000


@pytest.mark.slow
@needs_chromium
def test_the_page_opens_runs_of_both_kinds(browser, reports, tmp_path):
    report = reports["both"]
    path = tmp_path / "report.html"
    pictures = dict.fromkeys((picture.name for picture in list_figures(report)), RenderedFigure("image/png", b""))
    path.write_text(render_page(report, pictures))
    browser.open(path)
    browser.wait("document.querySelector('#list .count')")
    rows = "[...document.querySelectorAll('#list tr')].map((row) => [...row.cells].map((cell) => cell.textContent))"
    heads, *lines = browser.evaluate(rows)
    assert heads[-2:] == ["val Acc E or MAE", "test Acc E or MAE"]
    by_title = {title: [row for row in lines if row[1] == title] for title in ("Ekman-6", "Own scores")}
    assert max(float(row[-1]) for row in by_title["Ekman-6"]) > 20
    assert max(float(row[-1]) for row in by_title["Own scores"]) < 3
    for run in (next(run for run in report.runs if run.info.title == title and run.arm == "mbt") for title in by_title):
        browser.evaluate(f"location.hash = '#run={run.record.key}'")
        browser.wait("document.getElementById('drill').open")
        text = browser.evaluate("document.getElementById('drill-body').textContent")
        assert "undefined" not in text and "NaN" not in text
        clips = browser.evaluate(
            "[...document.querySelectorAll('.clips tr')].map((row) => [...row.cells].map((cell) => cell.textContent))"
        )
        assert len(clips) == 41
        if run.info.classes:
            assert clips[0] == ["clip", "true", "predicted", "prob., %"]
            continue
        table = pandas.read_parquet(run.folder / PREDICTIONS_FILE).query("split == 'test'").set_index("clip")
        errors = (table["score/sentiment"].astype(float) - table["target/sentiment"]).abs().sort_values()
        assert clips[0] == ["clip", "true sentiment", "predicted sentiment", "error"]
        assert float(clips[1][3]) == pytest.approx(errors.iloc[-1], rel=0.01)
        for name, true, guess, _ in clips[1:]:
            assert float(true) == table["target/sentiment"][name]
            assert float(guess) == pytest.approx(table["score/sentiment"][name], abs=0.01)
        assert f"MAE {errors.mean():.4g}".rstrip("0") in text
        assert "selected on val" in text and "val MAE" in text and "Acc-7, percent" in text
        readout = browser.evaluate("document.querySelector('.readout').textContent")
        first, last, least = (float(part.split()[-1]) for part in readout.replace(" → ", ", ").split(", "))
        assert first > last and least == last
    assert browser.exceptions == [] and browser.console == []
