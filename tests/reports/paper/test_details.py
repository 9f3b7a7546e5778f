"""Tests that the implementation details describe the runs and nothing else."""

from __future__ import annotations

import re
from dataclasses import replace

from reports.paper import describe_implementation
from tests.reports.tables.by_hand import by_hand
from tests.reports.tables.cases import EIGHT, SEEDS, summaries


def bare(arm="mart", seed=0, fold=0, **fields):
    return by_hand(None, arm, seed, fold, files=False, **fields)


def text(runs, searches=(), full="mart"):
    return " ".join(describe_implementation(runs, searches, full))


def numbers(found):
    """Return the numbers of a text in their order, without the full stop of a sentence."""
    return re.findall(r"\d+(?:[.,]\d+)*", found)


def test_failed_runs_alone_give_no_details():
    (details,) = describe_implementation([bare(error="stopped")], (), "mart")
    assert "No run" in details and not numbers(details)


def test_clips_seeds_and_folds_are_those_of_the_runs():
    runs = [bare(seed=seed, notes={"clips/train": 1200.0 + seed}) for seed in SEEDS]
    runs += [bare(seed=seed, fold=fold, card=EIGHT, clips=66) for seed in SEEDS for fold in (1, 2)]
    first = describe_implementation(runs, (), "mart")[0]
    ekman, _, eight = first.partition("VideoEmotion-8")
    assert "Ekman-6" in ekman and numbers(ekman) == ["6", "1,200", "1,202", "60"]  # clips for training, and for test
    assert numbers(eight)[:3] == ["200", "66", "2"] and "2 folds" in eight
    assert numbers(eight)[3:] == ["3", "0", "1", "2"] and "Every method" in eight and "3 seeds (0, 1, 2)" in eight


def test_one_seed_is_one_seed():
    details = text([bare(seed=4)])
    assert "Every method" in details and "one seed (4)" in details


def test_a_missing_seed_of_a_method_is_reported():
    details = text([bare(seed=0), bare(seed=1), bare("mbt", 1)])
    assert "up to 2 seeds (0, 1)" in details and "Every method" not in details
    assert "up to" not in text([bare(seed=0), bare(seed=1), bare("mbt", 0), bare("mbt", 1)])


def test_the_sample_is_named():
    assert "built-in sample" in text([bare(spec={"data": "sample"})]) and "sample" not in text([bare()])


def test_runs_with_the_epoch_of_test_are_not_described_as_clean():
    clean, flagged = bare(), bare(spec={"protocol": "best-on-test"})
    assert "epoch on the test list" not in text([clean]) and "selected on a validation fold" in text([clean])
    assert "selected on a validation fold" not in text([flagged]) and "epoch on the test list" in text([flagged])
    both = text([clean, flagged])
    assert "selected on a validation fold" in both and "epoch on the test list" in both
    assert "EPOCH CHOSEN ON TEST" in both
    refit = text([bare(spec={"protocol": "refit"})])
    assert "refit" in refit and "validation fold" in refit and "test list" not in refit


def test_values_are_those_of_the_full_method_in_the_order_of_the_field():
    config = {"lr": 0.0015, "epochs": 4, "batch": 8, "mask": "none", "width": 64}
    runs = [
        bare("mbt", config={"lr": 0.5, "batch": 1}),
        bare(config=config),
        bare(seed=1, config={**config, "lr": 0.1}),
    ]
    details = describe_implementation(runs, (), "mart")[1]
    assert (
        "quick" in details and "mart: batch 8, lr 0.0015 / 0.1, epochs 4, width 64." in details and "mbt" not in details
    )
    assert "No published weights" in details


def test_without_the_full_method_values_are_those_of_the_first_arm_that_has_any_and_of_no_other():
    runs = [bare("majority"), bare("mbt", config={"lr": 0.5}), bare("probe", config={"lr": 0.25})]
    details = describe_implementation(runs, (), "mart")[1]
    assert "mbt: lr 0.5." in details and "0.25" not in details and "probe" not in details
    alone = describe_implementation(runs[:1], (), "mart")[1]
    assert "majority: no hyper-parameters" in alone and not numbers(alone)


def test_weights_and_presets_are_listed():
    weights = {"weights": {"weights_video": "abcdef0123456789"}}
    details = describe_implementation([bare(record={"preset": "paper"}, spec=weights), bare(seed=1)], (), "mart")[1]
    assert "paper / quick" in details and "mart: " in details and "weights_video abcdef01" in details
    assert "No published weights" not in details


def test_searches_are_counted():
    both = summaries()
    assert "No hyper-parameters were searched" in text([bare()])

    def read(searches):
        found = describe_implementation([bare()], searches, "mart")[2]
        return numbers(found), "tpe / random" in found, "tpe" in found and "median" in found

    assert read(both) == (["2", "2", "4"], False, True)  # searches, and configurations of each
    assert read(both[:1]) == (["1", "4"], False, True)
    assert read([both[0], replace(both[1], sampler="random", configurations_tried=4)]) == (["2", "4"], True, True)


def test_hours_machines_and_commits_are_those_of_the_finished_runs():
    machine = {"device": "cuda", "processor": "a card"}
    runs = [bare(seed=seed, provenance=machine) for seed in range(10)]
    runs += [bare("mbt", error="stopped", provenance={"commit": "0" * 40, "torch": "1"})]
    hours = sum(3600 + 360 * seed + 36 for seed in range(10)) / 3600
    details = describe_implementation(runs, (), "mart")[3]
    assert "10 finished runs" in details and f"{hours:.1f} hours" in details and "1 run failed" in details
    assert (
        "cuda (a card)" in details
        and "PyTorch 2.11.0" in details
        and "1a2b3c4d" in details
        and "00000000" not in details
    )
    assert numbers(details.replace("1a2b3c4d", "")) == ["10", f"{hours:.1f}", "2.11.0", "3.00", "1"]
    assert "2 runs failed" in text([*runs, bare("probe", error="stopped")])
    assert "failed" not in text(runs[:-1])
