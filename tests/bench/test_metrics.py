import numpy as np
import pytest

from bench.metrics import Predictions, score
from tests.toys import CARD


def predictions(label, guess):
    scores = np.eye(3, dtype=np.float32)[guess] * 5
    return Predictions(tuple(f"low/{i}" for i in range(len(label))), np.array(label), scores)


def test_scores_by_hand():
    # classes low, mid, high have sentiment -1, 0, +1
    found = score(predictions([0, 0, 1, 2], [0, 2, 1, 2]), CARD.task)
    assert found["acc_e"] == 0.75
    assert found["bal_e"] == pytest.approx((0.5 + 1 + 1) / 3)
    assert found["f1_e"] == pytest.approx((2 * (2 / 3) + 1 + 2 / 3) / 4)
    assert found["f1_e_macro"] == pytest.approx((2 / 3 + 1 + 2 / 3) / 3)
    assert found["acc_s"] == 0.75
    assert found["acc_s2"] == pytest.approx(2 / 3)  # without the neutral clip
    assert (found["recall/low"], found["recall/mid"], found["recall/high"]) == (0.5, 1.0, 1.0)
    assert found["n"] == 4


def test_the_loss_is_the_cross_entropy_of_the_scores():
    found = score(predictions([0, 1], [0, 0]), CARD.task)
    right = -np.log(np.exp(5) / (np.exp(5) + 2))
    wrong = -np.log(1 / (np.exp(5) + 2))
    assert found["loss"] == pytest.approx((right + wrong) / 2)


def test_a_class_without_clips_has_no_recall():
    assert score(predictions([0, 0], [0, 0]), CARD.task)["recall/high"] is None
