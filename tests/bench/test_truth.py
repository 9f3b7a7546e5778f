import pytest

from bench.data import Explanation, Planted, Truth, Verdict
from bench.truth import judge


def verdict(text, start, *kept):
    return Verdict(text, start, *kept)


TRUTH = {
    "joy/a": Truth(
        (),
        (
            Planted("good", 0.0, None),
            Planted("bad", 1.0, "sentiment"),
            Planted("calm", 2.0, "emotion"),
            Planted("great", 3.0, "degree"),
        ),
    )
}


def test_precision_and_recall_by_hand():
    told = {
        "joy/a": Explanation(
            None,
            (
                verdict("good", 0.0, True, True, False),  # a true cue, dropped by E3
                verdict("bad", 1.01, False, False, False),
                verdict("calm", 2.0, True, True, True),  # wrong in emotion, kept
                verdict("great", 3.0, True, True, False),
                verdict("filler", 4.0, False, False, False),  # nobody planted it
            ),
        )
    }
    found = judge(TRUTH, told, ["joy/a", "joy/absent"])
    assert found["sentiment/cues"] == 4
    assert (found["sentiment/precision"], found["sentiment/recall"]) == (1.0, 1.0)
    assert (found["emotion/precision"], found["emotion/recall"]) == (1.0, 0.5)
    assert found["degree/precision"] == pytest.approx(2 / 3)
    assert found["degree/recall"] == pytest.approx(2 / 3)
    assert found["degree/random_precision"] == 0.75  # three of four are wrong
    assert found["degree/random_recall"] == 0.75  # three of four were dropped


def test_a_word_said_twice_is_matched_by_its_time():
    truth = {"a": Truth((), (Planted("good", 0.0, None), Planted("good", 2.0, "sentiment")))}
    told = {"a": Explanation(None, (verdict("good", 2.0, False, False, False),))}
    assert judge(truth, told, ["a"])["sentiment/precision"] == 1.0


def test_without_cues_nothing_is_claimed():
    assert judge(TRUTH, {"joy/a": Explanation(None, ())}, ["joy/a"]) == {}
