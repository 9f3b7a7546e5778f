"""Rows, groups and pairs of runs."""

from __future__ import annotations

import re
from dataclasses import replace

import numpy as np
import pandas
import pytest
from scipy import stats

import reports.runs as predicted
from bench.tasks import ACCURACY, Metric
from reports.comparisons import compare_family, compare_with_reference, mean_over_folds
from reports.runs import PredictionCache, StudyResults, count_expected_runs, pair_runs, slugify
from reports.tables.columns import describe_missing_runs
from tests.reports.tables import recompute
from tests.reports.tables.by_hand import TWO, accuracy, by_hand, frame_of, read, right
from tests.reports.tables.cases import EIGHT, SEEDS


def bare(arm="mart", seed=0, fold=0, **told):
    """Return a finished run without files."""
    return by_hand(None, arm, seed, fold, files=False, **told)


def cells(pairs):
    return [(one.record.spec.fold, one.record.spec.seed) for one, _ in pairs]


def test_a_group_has_its_finished_runs_by_fold_and_seed_and_counts_expected_ones():
    runs = [bare(seed=2), bare(seed=0), bare(seed=1, error="x"), bare(seed=0, fold=1), bare("mbt", 5)]
    (pool, other) = frame_of(*runs).group_by_label("ekman6")
    assert [(r.record.spec.fold, r.record.spec.seed) for r in pool.runs] == [(0, 0), (0, 2), (1, 0)]
    assert len(pool.failed) == 1 and pool.expected == 8 and not pool.is_complete
    assert [describe_missing_runs(None, one) for one in (pool, other)] == [" (3/8 runs)", " (1/8 runs)"]


def test_a_group_expects_at_least_the_runs_that_it_has():
    (pool,) = frame_of(bare(seed=0), bare(seed=1), wanted={}).group_by_label("ekman6")
    assert pool.is_complete and pool.expected == 2 and describe_missing_runs(None, pool) == ""


def test_expected_runs_are_every_seed_on_every_fold_that_any_arm_has_or_that_was_requested():
    runs = [bare(seed=0), bare("mbt", 1), bare("mbt", 1, error="x"), bare(card=TWO)]
    assert count_expected_runs(runs) == {"ekman6": 2, "clips": 1}
    assert count_expected_runs(runs, {"ekman6": {(0, 0), (0, 7)}, "perr": {(0, 0)}}) == {"ekman6": 3, "clips": 1}
    assert count_expected_runs([bare(seed=0, fold=1), bare("mbt", 1, 2)]) == {"ekman6": 4}


def test_a_number_is_of_the_runs_that_have_it():
    runs = [bare(seed=seed, notes={"x": 1.0 + seed} if seed else {}) for seed in range(4)]
    (pool,) = frame_of(*runs).group_by_label("ekman6")
    number = pool.compute_mean(lambda run: run.record.notes.get("x"))
    assert number.mean == 3 and number.std == 1 and number.values == (2, 3, 4)
    assert number.run_keys == tuple(run.record.key for run in runs[1:])
    assert pool.compute_mean(lambda run: None) is None


def test_pairs_have_one_fold_and_seed_and_failed_runs_have_none():
    ours = [bare(seed=0), bare(seed=1), bare(seed=2, error="x"), bare(seed=3), bare(seed=0, fold=1)]
    theirs = [bare("mbt", 3), bare("mbt", 2), bare("mbt", 1, error="x"), bare("mbt", 0), bare("mbt", 0, 2)]
    assert cells(pair_runs(frame_of(*ours, *theirs), "mart", "mbt", "ekman6")) == [(0, 0), (0, 3)]


def test_runs_on_different_splits_are_not_paired():
    other = bare("mbt", 1, spec={"split": "a" * 64})
    frame = frame_of(bare(seed=0), bare(seed=1), bare("mbt", 0), other)
    assert cells(pair_runs(frame, "mart", "mbt", "ekman6")) == [(0, 0)]


def test_runs_on_different_content_are_paired_only_where_they_open_clips_in_different_sizes():
    small, large, a = {"size": 32, "mels": 32}, {"size": 64, "mels": 32}, {"content": "a" * 64}
    mine = bare(config=small)
    for config, content, count in ((small, {}, 1), (small, a, 0), (large, a, 1)):
        frame = frame_of(mine, bare("mbt", config=config, spec=content))
        assert len(pair_runs(frame, "mart", "mbt", "ekman6")) == count
        assert len(compare_with_reference(frame, "mart", None)) == count


def test_several_folds_are_a_number_each_the_mean_of_their_seeds():
    assert mean_over_folds({(0, 0): 1.0, (0, 1): 3.0}) == [1.0, 3.0]
    assert mean_over_folds({(2, 0): 1.0, (1, 0): 5.0, (2, 1): 3.0}) == [5.0, 2.0]


def test_folds_that_test_other_clips_share_training_clips_and_are_corrected_and_have_mcnemars_test(tmp_path):
    folds = replace(TWO, folds=(1, 2, 3))
    runs = [
        by_hand(tmp_path, arm, seed, fold, card=folds, skill=skill)
        for arm, skill in {"mbt": 0.1, "mart": 0.9}.items()
        for fold in (1, 5, 9)
        for seed in (0, 1)
    ]
    frame = frame_of(*runs)
    (found,) = compare_with_reference(frame, "mart", PredictionCache())
    gains = recompute.gains(frame.runs_of("mbt"), frame.runs_of("mart"))
    assert (
        found.differences == pytest.approx(tuple(gains))
        and found.paired_test.n_pairs == 3
        and found.paired_test.is_corrected
    )
    mean, low, high, error = recompute.interval(gains, overlap=60 / 200)
    assert (found.paired_test.low, found.paired_test.high) == pytest.approx((low, high))
    assert found.paired_test.p == pytest.approx(2 * stats.t.sf(abs(mean) / error, 2))
    first, second = (
        np.array(
            [np.concatenate([right(r) for r in frame.runs_of(arm) if r.record.spec.seed == seed]) for seed in (0, 1)]
        )
        for arm in ("mbt", "mart")
    )
    each = [recompute.mcnemar(int((a & ~b).sum()), int((~a & b).sum())) for a, b in zip(first, second, strict=True)]
    assert found.mcnemar_p == pytest.approx(min(1.0, 2 * float(np.median(each))))


def test_a_family_is_adjusted_for_all_its_data_sets_and_only_for_those(tmp_path):
    runs = [
        by_hand(tmp_path, arm, seed, card=card, skill=skill)
        for card in (EIGHT, TWO)
        for arm, skill in {"mbt": 0.1, "probe": 0.2, "mart": 0.9}.items()
        for seed in range(6)
    ]
    frame = frame_of(*(replace(run) for run in runs))
    found = compare_with_reference(frame, "mart", PredictionCache())
    assert [(one.dataset, one.label) for one in found] == [
        ("videoemotion8", "mbt"),
        ("videoemotion8", "probe"),
        ("clips", "mbt"),
        ("clips", "probe"),
    ]
    assert [one.adjusted_p for one in found] == pytest.approx(recompute.holm([one.paired_test.p for one in found]))
    assert [one.adjusted_clip_p for one in found] == pytest.approx(
        recompute.holm([one.clip_interval.p for one in found])
    )
    (alone,) = compare_family(frame.for_dataset("clips"), [("mbt", "mart")], PredictionCache())
    assert alone.adjusted_p == alone.paired_test.p and alone.adjusted_clip_p == alone.clip_interval.p


def test_without_the_predictions_of_one_run_there_is_no_test_by_clips_and_that_is_remembered(tmp_path):
    runs = [by_hand(tmp_path, arm, seed) for arm in ("mbt", "mart") for seed in SEEDS]
    (runs[0].folder / "predictions.parquet").unlink()
    shelf = PredictionCache()
    (found,) = compare_with_reference(frame_of(*runs), "mart", shelf)
    assert found.clip_interval is None and found.mcnemar_p is None and found.paired_test.n_pairs == 3
    assert list(shelf.missing) == [runs[0].record.key] and "predictions.parquet" in shelf.missing[runs[0].record.key]


def test_a_broken_file_of_predictions_is_missing_and_not_the_end(tmp_path):
    run = by_hand(tmp_path, "mart")
    (run.folder / "predictions.parquet").write_bytes(b"PAR1 not")
    shelf = PredictionCache()
    assert shelf.load_test(run) is None and shelf.pair_predictions([run]) is None and run.record.key in shelf.missing


def test_seeds_that_were_tested_on_other_clips_have_no_test_by_clips(tmp_path):
    runs = [by_hand(tmp_path, arm, seed, clips=60 - 6 * seed) for arm in ("mbt", "mart") for seed in (0, 1)]
    (found,) = compare_with_reference(frame_of(*runs), "mart", PredictionCache())
    assert found.paired_test.n_pairs == 2 and found.clip_interval is None and found.mcnemar_p is None


def test_clips_of_several_folds_are_concatenated_in_a_row_for_each_seed(tmp_path):
    runs = [by_hand(tmp_path, "mart", seed, fold, card=EIGHT) for fold in (2, 1) for seed in (0, 1)]
    found = PredictionCache().pair_predictions(runs)
    assert found.correct.shape == (2, 120)
    mine = {(run.record.spec.fold, run.record.spec.seed): run for run in runs}
    for row, seed in enumerate((0, 1)):
        assert found.correct[row].tolist() == [*right(mine[1, seed]), *right(mine[2, seed])]
    assert list(found.groups) == [*read(mine[1, 0])["group"], *read(mine[2, 0])["group"]]
    assert PredictionCache().pair_predictions(runs[:3]) is None and PredictionCache().pair_predictions([]) is None


def test_predictions_without_groups_are_resampled_clip_by_clip(tmp_path):
    runs = [by_hand(tmp_path, arm) for arm in ("mbt", "mart")]
    for run in runs:
        path = run.folder / "predictions.parquet"
        pandas.read_parquet(path).drop(columns="group").to_parquet(path, index=False)
    (found,) = compare_with_reference(frame_of(*runs), "mart", PredictionCache())
    assert found.clip_interval.groups == 60


def test_each_file_is_read_once(tmp_path, monkeypatch):
    run, seen = by_hand(tmp_path, "mart"), []
    real = predicted.read_predictions
    monkeypatch.setattr(predicted, "read_predictions", lambda *args: seen.append(args) or real(*args))
    shelf = PredictionCache()
    assert (
        shelf.load_test(run) is not None
        and shelf.pair_predictions([run]) is not None
        and set(shelf.load_splits(run)) == {"val", "test"}
    )
    assert len(seen) == 1


def test_scores_in_percent_are_those_of_the_record(tmp_path):
    run = by_hand(tmp_path, "mart")
    assert run.get_score(ACCURACY) == pytest.approx(accuracy(run)) and run.get_score(Metric("nothing", "")) is None


def test_a_row_is_named_by_its_arm_and_a_distinguishing_suffix():
    assert bare().label == "mart" and bare(run={"label_suffix": "epochs=2"}).label == "mart (epochs=2)"
    runs = [bare(run={"label_suffix": "shared"}), bare(seed=1, run={"label_suffix": "per-arm"}), bare("mbt")]
    part = StudyResults("ablation", "?", "scores", "mart", (), frame_of(*runs))
    assert part.get_labels("mart") == ["mart (shared)", "mart (per-arm)"] and part.get_labels("probe") == []


@pytest.mark.parametrize(
    ("name", "start"),
    [
        ("ekman6", "ekman6"),
        ("my clips/a.csv", "my-clips-a-csv-"),
        ("データ", "data-"),
        ("-a-", "a-"),
        ("a" * 99, "a" * 60),
    ],
)
def test_a_name_of_data_becomes_a_name_of_a_file(name, start):
    assert re.fullmatch(r"[A-Za-z0-9-]{1,67}", slugify(name)) and slugify(name).startswith(start)
    assert (slugify(name) == name) == (name == "ekman6")


def test_names_of_data_that_differ_have_files_that_differ():
    names = ["a b", "a-b", "a_b", "データ", "映像", "a" * 80, "a" * 81, "ekman6", "ekman6-"]
    assert len({slugify(name) for name in names}) == len(names)


def test_data_sets_of_one_title_are_distinguished_by_their_names():
    other = replace(TWO, name="other")
    frame = frame_of(bare(card=TWO), bare(card=other), bare())
    assert frame.dataset_titles == {"clips": "Own clips (clips)", "other": "Own clips (other)", "ekman6": "Ekman-6"}
