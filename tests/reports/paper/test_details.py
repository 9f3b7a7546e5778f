"""The paragraph of implementation details says what the runs were, and nothing that they were not."""

from __future__ import annotations

from dataclasses import replace

from reports.paper.details import details
from tests.reports.tables.by_hand import by_hand
from tests.reports.tables.cases import EIGHT, SEEDS, summaries


def bare(arm="mart", seed=0, fold=0, **told):
    return by_hand(None, arm, seed, fold, files=False, **told)


def text(runs, searches=(), full="mart"):
    return " ".join(details(runs, searches, full))


def test_nothing_is_said_of_runs_that_failed_alone():
    assert details([bare(error="stopped")], (), "mart") == ("No run is finished.",)


def test_clips_seeds_and_folds_are_those_of_the_runs():
    runs = [bare(seed=seed, notes={"clips/train": 1200.0 + seed}) for seed in SEEDS]
    runs += [bare(seed=seed, fold=fold, card=EIGHT, clips=66) for seed in SEEDS for fold in (1, 2)]
    first = details(runs, (), "mart")[0]
    assert first.startswith(
        "We used Ekman-6 (1,200 to 1,202 clips for training and 60 for test); VideoEmotion-8 (200 clips for training "
        "and 66 for test, 2 folds). Every method was run with 3 seeds (0, 1, 2). Epochs were chosen on a val"
    )


def test_one_seed_is_one_seed():
    assert "Every method was run with one seed (4)." in text([bare(seed=4)])


def test_methods_that_lack_a_seed_are_not_said_to_have_it():
    told = text([bare(seed=0), bare(seed=1), bare("mbt", 1)])
    assert "Methods were run with up to 2 seeds (0, 1)." in told and "Every method" not in told
    assert "up to" not in text([bare(seed=0), bare(seed=1), bare("mbt", 0), bare("mbt", 1)])


def test_the_sample_is_called_the_sample():
    told = "The data are the built-in sample, not the real data set."
    assert told in text([bare(spec={"data": "sample"})]) and told not in text([bare()])


def test_runs_whose_epoch_test_chose_are_not_said_to_be_clean():
    clean, flagged = bare(), bare(spec={"protocol": "best-on-test"})
    assert "chosen on the test list" not in text([clean]) and "chosen on a validation fold" in text([clean])
    assert "chosen on a validation fold" not in text([flagged]) and "chosen on the test list" in text([flagged])
    both = text([clean, flagged])
    assert "chosen on a validation fold" in both and "EPOCH CHOSEN ON TEST had it chosen on the test list" in both
    refit = text([bare(spec={"protocol": "refit"})])
    assert "trained on the validation fold too" in refit and "test list" not in refit


def test_values_are_those_of_the_full_method_in_the_order_of_the_field():
    config = {"lr": 0.0015, "epochs": 4, "batch": 8, "mask": "none", "width": 64}
    runs = [
        bare("mbt", config={"lr": 0.5, "batch": 1}),
        bare(config=config),
        bare(seed=1, config={**config, "lr": 0.1}),
    ]
    told = details(runs, (), "mart")[1]
    assert told == (
        "Preset quick; mart: batch 8, lr 0.0015 / 0.1, epochs 4, width 64. No published weights were loaded."
    )


def test_without_the_full_method_values_are_those_of_the_first_arm_that_has_any_and_of_no_other():
    runs = [bare("majority"), bare("mbt", config={"lr": 0.5}), bare("probe", config={"lr": 0.25})]
    assert details(runs, (), "mart")[1].startswith("Preset quick; mbt: lr 0.5.")
    assert details(runs[:1], (), "mart")[1].startswith("Preset quick; majority: no values to tell of.")


def test_weights_and_presets_are_told():
    weights = {"weights": {"weights_video": "abcdef0123456789"}}
    told = details([bare(record={"preset": "paper"}, spec=weights), bare(seed=1)], (), "mart")[1]
    assert told.startswith("Preset paper / quick; mart: ") and "Files (sha256): weights_video abcdef01." in told


def test_searches_are_counted():
    both = summaries()
    assert "No values were searched." in text([bare()])
    assert "(2 searches of 2 to 4 configurations, sampler tpe, pruner median)" in text([bare()], both)
    assert "(1 search of 4 configurations, sampler tpe, pruner median)" in text([bare()], both[:1])
    other = replace(both[1], sampler="random", tried=4)
    assert "(2 searches of 4 configurations, sampler tpe / random," in text([bare()], [both[0], other])


def test_hours_machines_and_commits_are_those_of_the_finished_runs():
    machine = {"device": "cuda", "processor": "a card"}
    runs = [bare(seed=seed, provenance=machine) for seed in range(10)]
    runs += [bare("mbt", error="stopped", provenance={"commit": "0" * 40, "torch": "1"})]
    hours = sum(3600 + 360 * seed + 36 for seed in range(10)) / 3600
    assert details(runs, (), "mart")[3] == (
        f"The 10 finished runs took {hours:.2f} hours in all on cuda (a card), with PyTorch 2.11.0, at commit "
        "1a2b3c4d. 1 run failed: counted, not averaged."
    )
    assert "2 runs failed" in text([*runs, bare("probe", error="stopped")])
    assert "failed" not in text(runs[:-1])
