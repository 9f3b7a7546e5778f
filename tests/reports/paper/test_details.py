"""The paragraph of implementation details says what the runs were, and nothing that they were not."""

from __future__ import annotations

import re
from dataclasses import replace

from reports.paper import describe_implementation
from tests.reports.tables.by_hand import by_hand
from tests.reports.tables.cases import EIGHT, SEEDS, summaries


def bare(arm="mart", seed=0, fold=0, **told):
    return by_hand(None, arm, seed, fold, files=False, **told)


def text(runs, searches=(), full="mart"):
    return " ".join(describe_implementation(runs, searches, full))


def numbers(found):
    """The numbers of a text, in their order; a sign that ends a sentence is none of theirs."""
    return re.findall(r"\d+(?:[.,]\d+)*", found)


def test_nothing_is_said_of_runs_that_failed_alone():
    (told,) = describe_implementation([bare(error="stopped")], (), "mart")
    assert "No run" in told and not numbers(told)


def test_clips_seeds_and_folds_are_those_of_the_runs():
    runs = [bare(seed=seed, notes={"clips/train": 1200.0 + seed}) for seed in SEEDS]
    runs += [bare(seed=seed, fold=fold, card=EIGHT, clips=66) for seed in SEEDS for fold in (1, 2)]
    first = describe_implementation(runs, (), "mart")[0]
    ekman, _, eight = first.partition("VideoEmotion-8")
    assert "Ekman-6" in ekman and numbers(ekman) == ["6", "1,200", "1,202", "60"]  # clips for training, and for test
    assert numbers(eight)[:3] == ["200", "66", "2"] and "2 folds" in eight
    assert numbers(eight)[3:] == ["3", "0", "1", "2"] and "Every method" in eight and "3 seeds (0, 1, 2)" in eight


def test_one_seed_is_one_seed():
    told = text([bare(seed=4)])
    assert "Every method" in told and "one seed (4)" in told


def test_methods_that_lack_a_seed_are_not_said_to_have_it():
    told = text([bare(seed=0), bare(seed=1), bare("mbt", 1)])
    assert "up to 2 seeds (0, 1)" in told and "Every method" not in told
    assert "up to" not in text([bare(seed=0), bare(seed=1), bare("mbt", 0), bare("mbt", 1)])


def test_the_sample_is_called_the_sample():
    assert "built-in sample" in text([bare(spec={"data": "sample"})]) and "sample" not in text([bare()])


def test_runs_whose_epoch_test_chose_are_not_said_to_be_clean():
    clean, flagged = bare(), bare(spec={"protocol": "best-on-test"})
    assert "chosen on the test list" not in text([clean]) and "chosen on a validation fold" in text([clean])
    assert "chosen on a validation fold" not in text([flagged]) and "chosen on the test list" in text([flagged])
    both = text([clean, flagged])
    assert "chosen on a validation fold" in both and "chosen on the test list" in both
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
    told = describe_implementation(runs, (), "mart")[1]
    assert "quick" in told and "mart: batch 8, lr 0.0015 / 0.1, epochs 4, width 64." in told and "mbt" not in told
    assert "No published weights" in told


def test_without_the_full_method_values_are_those_of_the_first_arm_that_has_any_and_of_no_other():
    runs = [bare("majority"), bare("mbt", config={"lr": 0.5}), bare("probe", config={"lr": 0.25})]
    told = describe_implementation(runs, (), "mart")[1]
    assert "mbt: lr 0.5." in told and "0.25" not in told and "probe" not in told
    alone = describe_implementation(runs[:1], (), "mart")[1]
    assert "majority: no values" in alone and not numbers(alone)


def test_weights_and_presets_are_told():
    weights = {"weights": {"weights_video": "abcdef0123456789"}}
    told = describe_implementation([bare(record={"preset": "paper"}, spec=weights), bare(seed=1)], (), "mart")[1]
    assert "paper / quick" in told and "mart: " in told and "weights_video abcdef01" in told
    assert "No published weights" not in told


def test_searches_are_counted():
    both = summaries()
    assert "No values were searched" in text([bare()])

    def told(searches):
        found = describe_implementation([bare()], searches, "mart")[2]
        return numbers(found), "tpe / random" in found, "tpe" in found and "median" in found

    assert told(both) == (["2", "2", "4"], False, True)  # searches, and configurations of each
    assert told(both[:1]) == (["1", "4"], False, True)
    assert told([both[0], replace(both[1], sampler="random", configurations_tried=4)]) == (["2", "4"], True, True)


def test_hours_machines_and_commits_are_those_of_the_finished_runs():
    machine = {"device": "cuda", "processor": "a card"}
    runs = [bare(seed=seed, provenance=machine) for seed in range(10)]
    runs += [bare("mbt", error="stopped", provenance={"commit": "0" * 40, "torch": "1"})]
    hours = sum(3600 + 360 * seed + 36 for seed in range(10)) / 3600
    told = describe_implementation(runs, (), "mart")[3]
    assert "10 finished runs" in told and f"{hours:.1f} hours" in told and "1 run failed" in told
    assert "cuda (a card)" in told and "PyTorch 2.11.0" in told and "1a2b3c4d" in told and "00000000" not in told
    assert numbers(told.replace("1a2b3c4d", "")) == ["10", f"{hours:.1f}", "2.11.0", "1"]
    assert "2 runs failed" in text([*runs, bare("probe", error="stopped")])
    assert "failed" not in text(runs[:-1])
