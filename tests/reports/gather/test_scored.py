"""Figures of scores, differences, classes and confidence agree with the stored predictions."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.special import softmax

from reports.comparisons import compare_with_reference
from reports.figures import intervals as differences
from reports.figures.study import (
    collect_confusions,
    collect_differences,
    collect_radars,
    collect_reliabilities,
    collect_results,
)
from reports.runs import PredictionCache
from reports.tables.costs import make_costs_table
from tests.reports.tables import recompute
from tests.reports.tables.by_hand import TWO, accuracy, by_hand, frame_of, logits, read, right
from tests.reports.tables.cases import EIGHT, SEEDS, mixed, tuned

ARMS = {"mbt": 0.35, "mart": 0.55}


@pytest.fixture(scope="module")
def frame(tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs")
    runs = [by_hand(folder, arm, seed, skill=skill) for arm, skill in ARMS.items() for seed in SEEDS]
    runs += [
        by_hand(folder, arm, seed, fold, card=EIGHT, skill=skill)
        for arm, skill in ARMS.items()
        for fold in (1, 2)
        for seed in (0, 1)
    ]
    return frame_of(*runs)


def on(frame, label, dataset):
    return [run for run in frame.runs_of(label) if run.info.name == dataset and not run.failed]


def test_scores_are_the_means_and_the_single_runs(frame):
    found = collect_results(frame, PredictionCache())
    assert [(point.group, point.label) for point in found.points] == [
        *(("Ekman-6", "mbt"), ("Ekman-6", "mart"), ("VideoEmotion-8", "mbt"), ("VideoEmotion-8", "mart"))
    ]
    for point, dataset in zip(found.points, ["ekman6", "ekman6", "videoemotion8", "videoemotion8"], strict=True):
        each = [accuracy(run) for run in on(frame, point.label, dataset)]
        assert point.runs == pytest.approx(each) and point.mean == pytest.approx(np.mean(each))
        assert not point.flagged and not found.sample


def test_intervals_of_scores_are_a_bootstrap_of_videos_within_classes(frame):
    """Pair clips of different classes into videos; the class of a video is that of most clips, the first of ties."""
    for point in collect_results(frame, PredictionCache()).points[:2]:
        runs = on(frame, point.label, "ekman6")
        table, hits = read(runs[0]), np.array([right(run) for run in runs]).mean(axis=0)
        per = {}
        for clip, video in enumerate(table["group"]):
            per.setdefault(video, []).append(clip)
        label = [runs[0].info.classes.index(name) for name in table["label"]]
        strata: dict[int, list[list[int]]] = {}
        for clips in per.values():
            strata.setdefault(min(label[clip] for clip in clips), []).append(clips)
        rng, draws = np.random.default_rng(3), []
        for _ in range(2000):
            taken = [of[one] for of in strata.values() for one in rng.integers(len(of), size=len(of))]
            draws.append(100 * hits[np.concatenate(taken)].mean())
        low, high = np.percentile(draws, [2.5, 97.5])
        assert [point.low, point.high] == pytest.approx([low, high], abs=0.12 * (high - low))
        assert point.low < point.mean < point.high


def test_rows_that_are_not_ranked_are_hollow(tmp_path):
    found = collect_results(mixed(tmp_path), PredictionCache())
    flagged = {(point.group, point.label): point.flagged for point in found.points}
    assert flagged == {
        ("Ekman-6", "mbt"): True,
        ("Ekman-6", "mart-released"): True,
        ("Ekman-6", "mart"): False,
        ("Ekman-6", "mart (EPOCH CHOSEN ON TEST)"): True,
        ("Ekman-6", "mart (paper)"): False,
        ("VideoEmotion-8", "mbt"): False,
        ("VideoEmotion-8", "mart"): False,
    }


def test_differences_are_those_of_the_pairs(frame):
    compared = compare_with_reference(frame, "mart", PredictionCache())
    found = collect_differences(frame, compared, "mart")
    assert found.reference == "mart" and [one.group for one in found.differences] == ["Ekman-6", "VideoEmotion-8"]
    for one, dataset, overlap in zip(found.differences, ("ekman6", "videoemotion8"), (0.0, 60 / 200), strict=True):
        gains = recompute.gains(on(frame, "mbt", dataset), on(frame, "mart", dataset))
        mean, low, high, _ = recompute.interval(gains, overlap)
        assert one.pairs == pytest.approx(tuple(gains))
        assert (one.mean, one.low, one.high) == pytest.approx((mean, low, high))
    shown = differences.tabulate_differences(found)
    assert [row["pair 1"] for row in shown] == [one.pairs[0] for one in found.differences]


def test_ways_of_tuning_are_in_the_row_of_their_arm(tmp_path):
    frame = tuned(tmp_path)
    found = collect_differences(frame, compare_with_reference(frame, "mart", None), "mart")
    assert [(one.label, one.tuning) for one in found.differences] == [
        *(("mbt", "shared"), ("mbt", "per-arm"), ("mart-no-masking", "shared"), ("mart-no-masking", "per-arm"))
    ]


def test_rows_with_equal_arm_and_tuning_keep_their_names():
    def line(values, apart, n):
        told = {"tuning": values, "label_suffix": apart}
        return by_hand(None, "mbt", files=False, run=told, config={"lr": n})

    lines = [line("none", "epochs=2", 1), line("none", "epochs=4", 2), line("per-arm", "per-arm", 3)]
    frame = frame_of(*lines, by_hand(None, "mart", files=False))
    found = collect_differences(frame, compare_with_reference(frame, "mart", None), "mart")
    assert [one.label for one in found.differences] == ["mbt (epochs=2)", "mbt (epochs=4)", "mbt (per-arm)"]
    differences.draw_differences(found)


def test_confusions_are_counted_over_all_runs(frame):
    found = collect_confusions(frame, ["mart", "mbt"], "ekman6", PredictionCache())
    assert [(panel.title, panel.runs) for panel in found.panels] == [("mart", 3), ("mbt", 3)]
    for panel in found.panels:
        counts = sum(recompute.confusion(run) for run in on(frame, panel.title, "ekman6"))
        assert panel.classes == frame.runs[0].info.classes and np.array_equal(panel.counts, counts)


def test_radars_have_the_mean_recall_of_each_class(frame):
    found = collect_radars(frame, ["mart"])
    assert [panel.title for panel in found.panels] == ["Ekman-6", "VideoEmotion-8"]
    for panel, dataset in zip(found.panels, ("ekman6", "videoemotion8"), strict=True):
        (ring,) = panel.polygons
        runs = on(frame, "mart", dataset)
        for name, value in zip(panel.classes, ring.values, strict=True):
            assert value == pytest.approx(np.mean([recompute.score(run, f"recall/{name}") for run in runs]))


def test_a_data_set_of_two_classes_has_no_radar():
    two = [by_hand(None, "mart", files=False, card=TWO)]
    assert collect_radars(frame_of(*two), ["mart"]).panels == ()
    both = collect_radars(frame_of(*two, by_hand(None, "mart", files=False)), ["mart"])
    assert [panel.title for panel in both.panels] == ["Ekman-6"]


def test_a_class_without_test_clips_leaves_a_gap():
    (panel,) = collect_radars(frame_of(by_hand(None, "mart", files=False, clips=5)), ["mart"]).panels
    assert panel.polygons[0].values[5] is None and None not in panel.polygons[0].values[:5]


def test_bins_of_confidence_hold_equally_many_clips_of_all_runs_and_the_error_is_the_runs_mean(frame):
    found = collect_reliabilities(frame, ["mbt", "mart"], PredictionCache())
    assert [panel.title for panel in found.panels] == ["Ekman-6", "VideoEmotion-8"]
    for curve in found.panels[0].curves:
        runs = on(frame, curve.label, "ekman6")
        sure = np.concatenate([softmax(logits(run), axis=1).max(axis=1) for run in runs])
        hit = np.concatenate([right(run) for run in runs])
        assert [one.clips for one in curve.bins] == [12] * 15
        order = np.argsort(sure)
        for each, share in (
            (sure, [one.confidence for one in curve.bins]),
            (hit, [one.accuracy for one in curve.bins]),
        ):
            assert share == pytest.approx(100 * each[order].reshape(15, 12).mean(axis=1))
        assert curve.calibration_error == pytest.approx(np.mean([recompute.calibration(run) for run in runs]))


def test_the_bins_of_one_run_give_the_calibration_error_that_its_table_prints(tmp_path):
    frame = frame_of(*(by_hand(tmp_path, arm, skill=skill) for arm, skill in ARMS.items()))
    (panel,) = collect_reliabilities(frame, list(ARMS), PredictionCache()).panels
    printed = {
        name: cell.text for name, cell in make_costs_table(frame, PredictionCache(), "ekman6", "costs").iter_cells()
    }
    for curve in panel.curves:
        clips = sum(one.clips for one in curve.bins)
        error = sum(one.clips * abs(one.accuracy - one.confidence) for one in curve.bins) / clips
        assert error == pytest.approx(curve.calibration_error)
        assert f"{error:.{curve.decimals}f}" == printed[f"costs/{curve.label}/ece"]


def test_runs_without_predictions_have_scores_and_no_intervals_matrices_or_bins(tmp_path):
    frame = frame_of(*(by_hand(tmp_path, arm, seed, files=False) for arm in ARMS for seed in SEEDS))
    shelf = PredictionCache()
    for point in collect_results(frame, shelf).points:
        assert point.low is None and point.high is None and len(point.runs) == 3
    assert collect_confusions(frame, list(ARMS), "ekman6", shelf) is None
    assert collect_reliabilities(frame, list(ARMS), shelf).panels == ()
    assert len(collect_radars(frame, list(ARMS)).panels[0].polygons) == 2
    found = collect_differences(frame, compare_with_reference(frame, "mart", shelf), "mart")
    assert len(found.differences[0].pairs) == 3 and len(shelf.missing) == 6


def test_one_run_without_predictions_is_left_out_of_matrices_and_bins(tmp_path):
    runs = [by_hand(tmp_path, "mart", seed, files=seed != 1) for seed in SEEDS]
    (panel,) = collect_confusions(frame_of(*runs), ["mart"], "ekman6", PredictionCache()).panels
    assert panel.runs == 2 and np.sum(panel.counts) == 120
    (curves,) = collect_reliabilities(frame_of(*runs), ["mart"], PredictionCache()).panels
    assert sum(one.clips for one in curves.curves[0].bins) == 120


def test_lines_that_failed_are_in_no_figure(tmp_path):
    frame = frame_of(by_hand(tmp_path, "mart"), by_hand(tmp_path, "mbt", error="stopped"))
    lines = ["mart", "mbt"]
    assert [point.label for point in collect_results(frame, PredictionCache()).points] == ["mart"]
    assert [panel.title for panel in collect_confusions(frame, lines, "ekman6", PredictionCache()).panels] == ["mart"]
    assert [ring.label for ring in collect_radars(frame, lines).panels[0].polygons] == ["mart"]
    assert [curve.label for curve in collect_reliabilities(frame, lines, PredictionCache()).panels[0].curves] == [
        "mart"
    ]


def test_figures_of_the_sample_say_so():
    frame = frame_of(*(by_hand(None, arm, files=False, spec={"data": "sample"}) for arm in ARMS))
    assert collect_results(frame, PredictionCache()).sample and collect_radars(frame, list(ARMS)).sample
    assert collect_differences(frame, compare_with_reference(frame, "mart", None), "mart").sample


def test_over_folds_of_unequal_size_there_is_no_interval_that_could_leave_out_the_mean(tmp_path):
    def made(sizes):
        runs = [
            by_hand(tmp_path / str(clips), "mbt", 0, fold, card=EIGHT, clips=clips) for fold, clips in sizes.items()
        ]
        (point,) = collect_results(frame_of(*runs), PredictionCache()).points
        return point.low

    assert made({1: 40, 2: 80}) is None and made({1: 48, 2: 48}) is not None
