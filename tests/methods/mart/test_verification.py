"""E1, E2 and E3 on a clip of three segments, and scores on planted words, against hand-computed results.

Classes 0 sad (-), 1 afraid (-), 2 glad (+). The means of p over negative and positive classes, and the arg max:
segment 0: .30 and .40, so positive though .6 of p is negative, yet the arg max is sad;
segment 1: .35 and .30, negative, afraid; segment 2: .35 and .30, negative, afraid.
"""

from __future__ import annotations

import pytest
import torch

from bench.types import Explanation, PlantedWord, SampleTruth
from methods.mart.verification import (
    CueVerdict,
    compute_segment_polarity,
    compute_video_degree,
    score_verification,
    verify_cues,
)
from tests.methods.mart.toys import hand_made_cues

P = torch.tensor([[[0.5, 0.1, 0.4], [0.2, 0.5, 0.3], [0.1, 0.6, 0.3]]])
SENTIMENT = torch.tensor([-1, -1, 1])
CUES = hand_made_cues(
    [
        [(1, {2}, 0.9), (1, {0, 2}, 0.9), (-1, {0}, 0.9)],
        [(-1, {1}, 0.9), (-1, {1}, 0.0), (-1, {0}, 0.5)],
        [(-1, {0, 1}, 0.4), (-1, {1}, 0.3)],
    ]
)


def found() -> tuple[list[list[bool]], ...]:
    stages = verify_cues(P.log(), CUES, SENTIMENT, 0.5)
    return tuple(stage[0].tolist() for stage in stages)


def test_e1_compares_the_means_of_polarities_not_their_sums() -> None:
    assert compute_segment_polarity(P, SENTIMENT).tolist() == [[1, -1, -1]]
    assert found()[0] == [[True, True, False], [True, True, True], [True, True, False]]


def test_e2_requires_the_segments_emotion_among_the_cues() -> None:
    assert found()[1] == [[False, True, False], [True, True, False], [True, True, False]]


def test_the_degree_of_a_segment_is_its_percentile_with_ties_in_the_middle() -> None:
    # p[sad] .5 .2 .1: (2 + 1/2) / 3; p[afraid] .1 .5 .6: (1 + 1/2) / 3 and (2 + 1/2) / 3
    torch.testing.assert_close(compute_video_degree(P), torch.tensor([[2.5, 1.5, 2.5]]) / 3)
    torch.testing.assert_close(compute_video_degree(torch.full((1, 4, 3), 1 / 3)), torch.full((1, 4), 0.5))


def test_e3_requires_degrees_closer_than_tau() -> None:
    # |.9 - .83|, |.9 - .5| pass; |0 - .5| = tau does not; |.4 - .83| passes, |.3 - .83| does not
    assert found()[2] == [[False, True, False], [True, False, False], [True, False, False]]


def test_a_segment_judged_neutral_agrees_with_no_cue() -> None:
    assert compute_segment_polarity(P, torch.tensor([0, -1, 1])).tolist() == [[0, -1, -1]]
    assert not verify_cues(P.log(), CUES, torch.tensor([0, -1, 1]), 0.5).sentiment[0, 0].any()


@pytest.mark.parametrize(("verify", "count"), [("none", 8), ("sentiment", 7), ("emotion", 5), ("degree", 3)])
def test_each_level_keeps_a_subset_of_the_previous_one(verify: str, count: int) -> None:
    stages = verify_cues(P.log(), CUES, SENTIMENT, 0.5)
    assert int(stages.select_passing(verify, CUES).sum()) == count  # type: ignore[arg-type]
    assert (stages.degree <= stages.emotion).all() and (stages.emotion <= stages.sentiment).all()


@pytest.mark.parametrize(
    ("kept", "dropped"),
    [((0, 0, 0), "sentiment"), ((1, 0, 0), "emotion"), ((1, 1, 0), "degree"), ((1, 1, 1), None)],
)
def test_a_cue_is_dropped_by_the_first_stage_that_it_does_not_pass(kept: tuple[int, ...], dropped: str | None) -> None:
    assert CueVerdict("grief", 0.5, *map(bool, kept)).dropped == dropped


TRUTH = {
    "joy/a": SampleTruth(
        (),
        (
            PlantedWord("good", 0.0, None),
            PlantedWord("bad", 1.0, "sentiment"),
            PlantedWord("calm", 2.0, "emotion"),
            PlantedWord("great", 3.0, "degree"),
        ),
    )
}


def test_precision_and_recall_by_hand() -> None:
    explanations = {
        "joy/a": Explanation(
            None,
            (
                CueVerdict("good", 0.0, True, True, False),  # a true cue, dropped by E3
                CueVerdict("bad", 1.01, False, False, False),
                CueVerdict("calm", 2.0, True, True, True),  # wrong in emotion, kept
                CueVerdict("great", 3.0, True, True, False),
                CueVerdict("filler", 4.0, False, False, False),  # not planted
            ),
        )
    }
    notes = score_verification(TRUTH, explanations, {"train": [], "val": ["joy/a", "joy/absent"]})
    found = {name.removeprefix("verify/val/"): value for name, value in notes.items()}
    assert found["sentiment/cues"] == 4
    assert (found["sentiment/precision"], found["sentiment/recall"]) == (1.0, 1.0)
    assert (found["emotion/precision"], found["emotion/recall"]) == (1.0, 0.5)
    assert found["degree/precision"] == pytest.approx(2 / 3)
    assert found["degree/recall"] == pytest.approx(2 / 3)
    assert found["degree/random_precision"] == 0.75  # three of four are wrong
    assert found["degree/random_recall"] == 0.75  # three of four were dropped
    assert len(found) == 18  # nothing of train


def test_each_split_is_scored_by_itself() -> None:
    explanations = {key: Explanation(None, (CueVerdict("bad", 1.0, key == "b", True, True),)) for key in "ab"}
    found = score_verification(dict.fromkeys("ab", TRUTH["joy/a"]), explanations, {"train": ["a"], "val": ["b"]})
    assert (found["verify/train/sentiment/recall"], found["verify/val/sentiment/recall"]) == (1.0, 0.0)


def test_without_cues_there_are_no_scores() -> None:
    assert score_verification(TRUTH, {"joy/a": Explanation(None, ())}, {"val": ["joy/a"]}) == {}
