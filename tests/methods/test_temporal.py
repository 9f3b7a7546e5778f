"""Temporal emotion scores (Eq. 3) against hand-computed numbers."""

from __future__ import annotations

import math
from typing import Any

import torch

from methods.mbt.model import Mbt, compute_temporal_scores, weight_segment_scores

POOLED = torch.tensor([[0.0, math.log(3)]])  # softmax: 1/4, 3/4
SEGMENTS = torch.tensor([[[1.0, 3.0], [5.0, 1.0]]])


class Identity(Mbt):
    """Model whose heads return the video features as scores and zeros for audio."""

    def __init__(self) -> None:
        torch.nn.Module.__init__(self)

    def score_classes(self, video: torch.Tensor, audio: torch.Tensor, present: torch.Tensor) -> Any:
        return video, torch.zeros_like(video)


def test_the_curve_is_the_pooled_distribution_times_each_segments_centred_scores() -> None:
    expected = torch.tensor([[[-0.25, 0.75], [0.5, -1.5]]])
    torch.testing.assert_close(weight_segment_scores(POOLED, SEGMENTS, "centred"), expected)


def test_the_raw_curve_keeps_the_offset_of_the_scores() -> None:
    torch.testing.assert_close(
        weight_segment_scores(POOLED, SEGMENTS, "raw"), torch.tensor([[[0.25, 2.25], [1.25, 0.75]]])
    )


def test_an_offset_of_the_scores_changes_the_raw_curve_only() -> None:
    for kind, same in (("centred", True), ("raw", False)):
        moved = weight_segment_scores(POOLED, SEGMENTS + 7, kind)  # type: ignore[arg-type]
        assert torch.allclose(moved, weight_segment_scores(POOLED, SEGMENTS, kind), atol=1e-5) is same  # type: ignore[arg-type]


def test_the_clip_is_pooled_by_the_maximum_over_segments() -> None:
    found = compute_temporal_scores(Identity(), SEGMENTS, SEGMENTS, torch.ones(1, 3, dtype=torch.bool))
    torch.testing.assert_close(found.video, torch.tensor([[5.0, 3.0]]))
    share = math.exp(5) / (math.exp(5) + math.exp(3))  # of the first class in z_e
    torch.testing.assert_close(found.curve[0, :, 0], torch.tensor([-share, 2 * share]))
