"""Figures of learning and searches agree with stored curves and summaries."""

from __future__ import annotations

import json
import math

import pytest

from bench.artifacts import CURVES_FILE
from reports.figures import curves as learning
from reports.figures import curves as searching
from reports.figures.study import collect_learning_curves, collect_search_curves, load_val_curve
from tests.reports.tables.by_hand import TWO, by_hand, frame_of
from tests.reports.tables.cases import summaries


def test_curves_have_mean_least_and_most_of_the_runs_as_far_as_all_went(tmp_path):
    curves = [(0.2, 0.3, 0.5), (0.4, 0.3, 0.1, 0.9)]
    runs = [by_hand(tmp_path, "mart", seed, curve=curve) for seed, curve in enumerate(curves)]
    runs += [by_hand(tmp_path, "mbt", curve=(0.1, 0.2)), by_hand(tmp_path, "mart", card=TWO, curve=(0.5, 0.6))]
    found = collect_learning_curves(frame_of(*runs), ["mart", "mbt"])
    assert [(panel.title, [line.label for line in panel.curves]) for panel in found.panels] == [
        ("Ekman-6", ["mart", "mbt"]),
        ("Own clips", ["mart"]),
    ]
    line = found.panels[0].curves[0]
    assert line.epochs == (1, 2, 3) and line.runs == 2
    assert line.mean == pytest.approx((30, 30, 30))
    assert line.low == pytest.approx((20, 30, 10)) and line.high == pytest.approx((40, 30, 50))
    rows = learning.tabulate_learning(found)
    assert len(rows) == 3 + 2 + 2 and all(math.isfinite(row[name]) for row in rows for name in ("mean", "low", "high"))


def test_a_single_epoch_or_no_curve_is_no_curve(tmp_path):
    runs = [by_hand(tmp_path, "mart", curve=(0.2,)), by_hand(tmp_path, "mbt", files=False)]
    assert collect_learning_curves(frame_of(*runs), ["mart", "mbt"]).panels == ()
    more = by_hand(tmp_path, "mbt", 1, curve=(0.2, 0.4))
    (panel,) = collect_learning_curves(frame_of(*runs, more), ["mart", "mbt"]).panels
    assert [(line.label, line.runs) for line in panel.curves] == [("mbt", 1)]


@pytest.mark.parametrize(
    "text", ["", "{", "[1]", '[{"values": {"val/acc_e": null}}]', '[{"stage": "x"}]', "null", '{"a": 1}', "\xff"]
)
def test_curves_that_cannot_be_read_are_none(tmp_path, text):
    run = by_hand(tmp_path, "mart")
    assert load_val_curve(run) == pytest.approx([20, 30, 40])
    (run.folder / CURVES_FILE).write_bytes(text.encode("latin-1"))
    assert load_val_curve(run) == []


def test_epochs_without_scores_on_val_are_skipped(tmp_path):
    run = by_hand(tmp_path, "mart")
    points = [{"values": {"loss": 1}}, {"values": {"val/acc_e": 0.5}}, {"values": {"test/acc_e": 0.9}}]
    (run.folder / CURVES_FILE).write_text(json.dumps(points))
    assert load_val_curve(run) == [50.0]


def test_searches_show_each_trial_the_best_so_far_and_the_hours_of_all():
    found = collect_search_curves(summaries(), {"ekman6": "Ekman-6"})
    (search,) = found.searches
    assert search.label == "mart on Ekman-6 (aaaaaa)" and not found.sample
    assert search.hours == (0.5, 1.0, 1.5, 2.0)
    assert search.trial_values[0] is None and search.trial_values[1:] == pytest.approx((30, 25, 41.25))
    assert math.isnan(search.best[0]) and search.best[1:] == pytest.approx((30, 30, 41.25))
    rows = searching.tabulate_searches(found)
    assert [row["best"] for row in rows] == [None, *search.best[1:]] and len(rows) == 4
