"""Tasks: targets, losses, the primary metric with its direction, and the metrics of scores."""

import json
import os
import zlib
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.nn.functional import cross_entropy

from bench.metrics import Predictions, compute_concordance, score
from bench.tasks import (
    ACCURACY,
    Classification,
    Metric,
    Regression,
    TargetRange,
    get_class_index,
    get_values,
    list_metric_meanings,
)

MOSI, SIMS = Regression((TargetRange("sentiment", -3, 3),)), Regression((TargetRange("sentiment", -1, 1),))
AFFECT = Regression((TargetRange("valence", -1, 1), TargetRange("arousal", -1, 1)), select="ccc")
MOODS = Classification(("calm", "tense", "glad"), (0, -1, 1))


def numbers(truth, guess):
    truth, guess = (np.asarray(values, dtype=float).reshape(len(values), -1) for values in (truth, guess))
    return Predictions(tuple(map(str, range(len(truth)))), truth, guess)


def golden(shared: Path):
    given = Path(os.environ.get("RIVALS_GOLDEN", shared.parent / "golden")) / "supervised"
    folder = given if given.is_dir() else shared.parent / "golden" / "supervised"
    raw = json.loads((folder / "rivals_supervised.json").read_text())
    case = raw["cases"]["metrics"]

    def draw(name, shape):
        generator = torch.Generator().manual_seed(zlib.crc32(f"{raw['tag']}/{name}".encode()))
        return torch.randn(shape, generator=generator)

    truth = (1.6 * draw(*case["inputs"]["truth"])).clamp(-3, 3)
    truth[::7] = 0
    return case, truth.numpy(), (0.7 * truth + 0.8 * draw(*case["inputs"]["noise"])).numpy()


def test_sentiment_scores_are_those_that_the_field_prints(shared):
    case, truth, guess = golden(shared)
    found = score(numbers(truth, guess), MOSI)
    names = {"MAE": "mae", "Corr": "corr", "Mult_acc_7": "acc7", "Mult_acc_5": "acc5"}
    names |= {"Has0_acc_2": "acc2_has0", "Has0_F1_score": "f1_has0"}
    names |= {"Non0_acc_2": "acc2_non0", "Non0_F1_score": "f1_non0"}
    assert {name: round(found[ours], 4) for name, ours in names.items()} == case["mosi"]
    assert found["ccc"] == pytest.approx(case["ccc"], rel=1e-5)
    narrow = score(numbers(truth / 3, guess / 3), SIMS)
    names = {"MAE": "mae", "Corr": "corr", "F1_score": "f1"}
    names |= {f"Mult_acc_{levels}": f"acc{levels}" for levels in (2, 3, 5)}
    assert {name: round(narrow[ours], 4) for name, ours in names.items()} == case["sims"]


def test_levels_are_rounded_half_to_even_after_the_cut():
    found = score(numbers([0.0, 0.0, 2.0, 3.0, -3.0], [0.5, -0.5, 1.5, 9.0, -2.5]), MOSI)
    assert found["acc7"] == pytest.approx(4 / 5)  # -2.5 is level -2
    assert found["acc5"] == 1.0  # ±3 are cut to ±2, where -2.5 is -2


def test_zero_is_positive_or_left_out():
    found = score(numbers([0.0, 1.0, -1.0], [-0.1, 2.0, 0.0]), MOSI)
    assert found["acc2_has0"] == pytest.approx(1 / 3)
    assert found["acc2_non0"] == 1.0  # without the clip of score 0; a predicted 0 is not positive
    only = score(numbers([0.0, 0.0], [0.1, -0.2]), MOSI)
    assert only["acc2_non0"] is None and only["f1_non0"] is None


def test_several_targets_have_each_metric_and_its_mean():
    rng = np.random.default_rng(0)
    truth = rng.uniform(-1, 1, (40, 2))
    guess = truth * [0.5, -1.0] + [0.2, 0.0]
    found = score(numbers(truth, guess), AFFECT)
    x, y = truth[:, 0], guess[:, 0]
    by_hand = 2 * ((x - x.mean()) * (y - y.mean())).mean() / (x.var() + y.var() + (x.mean() - y.mean()) ** 2)
    assert found["ccc/valence"] == pytest.approx(by_hand)
    assert found["corr/valence"] == pytest.approx(1) and found["corr/arousal"] == pytest.approx(-1)
    assert found["mae/arousal"] == pytest.approx(np.abs(2 * truth[:, 1]).mean())
    for name in ("mae", "corr", "ccc"):
        assert found[name] == pytest.approx((found[f"{name}/valence"] + found[f"{name}/arousal"]) / 2)
    assert "acc7" not in found and found["n"] == 40


def test_a_constant_has_no_correlation_and_no_agreement():
    found = score(numbers([0.1, 0.2, 0.3], [0.2, 0.2, 0.2]), SIMS)
    assert found["corr"] is None and found["ccc"] == pytest.approx(0)
    assert compute_concordance(np.ones(3), np.ones(3)) is None
    assert score(numbers([1, 2, 3], [1, 2, 3]), Regression((TargetRange("x", 0, 9),)))["ccc"] == pytest.approx(1)


def test_without_polarity_no_sentiment_is_scored():
    predictions = Predictions(("a", "b"), np.array([0, 1]), np.eye(3, dtype=np.float32)[[0, 2]])
    assert {"acc_s", "f1_s", "acc_s2"} <= score(predictions, MOODS).keys()
    bare = Classification(MOODS.classes)
    assert not {"acc_s", "f1_s", "acc_s2"} & score(predictions, bare).keys()
    assert [metric.name for metric in bare.shown] == ["acc_e", "f1_e"] and bare.signs == (0, 0, 0)


def test_the_loss_is_one_number_a_clip():
    logits, labels = torch.randn(5, 3), torch.tensor([0, 2, 1, 1, 0])
    assert torch.allclose(MOODS.loss(logits, labels), cross_entropy(logits, labels, reduction="none"))
    output, target = torch.tensor([[0.0, 1.0], [1.0, 1.0]]), torch.tensor([[1.0, 1.0], [0.0, -1.0]])
    assert AFFECT.loss(output, target).tolist() == [0.5, 1.5]


def test_the_primary_metric_ranks_epochs_in_its_direction():
    error = MOSI.primary
    assert error.better == "min" and error.is_better(0.5, 0.7) and not error.is_better(0.7, 0.5)
    epochs = [{"val/mae": 0.8, "val/loss": 0.8}, {"val/mae": 0.6, "val/loss": 0.6}, {"val/mae": 0.7, "val/loss": 0.7}]
    assert max(range(3), key=lambda at: error.rank_epoch(epochs[at])) == 1
    ties = [{"val/acc_e": 0.5, "val/loss": 1.0}, {"val/acc_e": 0.5, "val/loss": 0.9}]
    assert ACCURACY.rank_epoch(ties[1]) > ACCURACY.rank_epoch(ties[0])
    assert ACCURACY.rank_epoch({"val/loss": 1.0}) is None
    assert AFFECT.primary.name == "ccc" and AFFECT.shown[0] == AFFECT.primary


def test_values_are_printed_in_their_unit():
    assert ACCURACY.format_named(0.612) == "Acc E 61.2 %" and MOSI.primary.format_named(0.7131) == "MAE 0.713"
    assert ACCURACY.difference_unit == "points" and MOSI.primary.difference_unit == ""


@pytest.mark.parametrize("task", [MOODS, MOSI, SIMS, AFFECT])
def test_every_shown_metric_is_computed_and_explained(task):
    if isinstance(task, Classification):
        found = score(Predictions(("a", "b"), np.array([0, 1]), np.eye(3)[[0, 2]]), task)
    else:
        found = score(
            numbers(np.linspace(-1, 1, 12).reshape(-1, task.outputs), np.ones((12 // task.outputs, task.outputs))), task
        )
    assert {metric.name for metric in (*task.shown, *task.extra)} <= found.keys()
    explained = " ".join(term for term, _ in list_metric_meanings(task.shown))
    for metric in task.shown:
        assert metric.title.partition(" ")[0].partition("-")[0] in explained


@pytest.mark.parametrize(
    "task",
    [
        Classification(()),
        Classification(("a", "a")),
        Classification(("a", "b"), (1,)),
        Classification(("a", "b"), (1, 7)),
        Regression(()),
        Regression((TargetRange("x", 1, 1),)),
        Regression((TargetRange("x", 0, float("inf")),)),
        Regression((TargetRange("x", 0, 1), TargetRange("x", 0, 2))),
    ],
)
def test_values_that_do_not_fit_together_are_refused(task):
    with pytest.raises(ValueError):
        task.check()


def test_a_target_of_the_other_kind_is_an_error():
    with pytest.raises(TypeError, match="classification only"):
        get_class_index((0.5,))
    with pytest.raises(TypeError, match="regression only"):
        get_values(3)
    assert Metric("x", "X", "min").rank(2.0) == -2.0
