"""Losses and decoders of recovery against hand-computed numbers."""

from __future__ import annotations

import math

import pytest
import torch

from bench.errors import ConfigError
from methods.mart.recovery import RecoveryDecoder, distribution_loss, find_uncovered_audio, patch_loss
from tests.methods.mart.toys import SMALL


def test_audio_counts_only_where_no_visible_patch_overlaps() -> None:
    hidden = torch.tensor([[[True, True, False]]])  # patches over frames 01, 12, 23; the last is visible
    free = find_uncovered_audio(hidden, mels=2, frames=4, patch=2, stride=1)
    assert free[0, 0].tolist() == [[True] * 4, [True, False, True, False], [False] * 4]


def test_the_patch_loss_is_the_mean_error_over_counted_values_then_segments() -> None:
    predicted, target = torch.zeros(1, 2, 2, 2), torch.tensor([[[[1.0, 2.0], [3.0, 4.0]], [[5.0, 6.0], [7.0, 8.0]]]])
    counted = torch.tensor([[[[True, True], [True, False]], [[False, False], [False, False]]]])
    torch.testing.assert_close(patch_loss(predicted, target, counted), torch.tensor([(14 / 3 + 0) / 2]))


def test_the_distribution_loss_is_the_divergence_from_the_target_and_zero_where_equal() -> None:
    half, quarter = torch.zeros(1, 1, 2), torch.tensor([[[0.0, math.log(3)]]])  # (1/2, 1/2) and (1/4, 3/4)
    expected = 0.5 * math.log(0.5 / 0.25) + 0.5 * math.log(0.5 / 0.75)  # 0.143841
    assert expected == pytest.approx(0.143841, abs=1e-6)
    torch.testing.assert_close(distribution_loss(half, quarter, "class"), torch.tensor([expected]))
    torch.testing.assert_close(distribution_loss(quarter, quarter + 5, "class"), torch.zeros(1))


def test_over_time_the_distribution_is_that_of_each_class_over_segments() -> None:
    curve, scores = torch.zeros(1, 2, 1), torch.tensor([[[0.0], [math.log(3)]]])
    torch.testing.assert_close(distribution_loss(curve, scores, "time"), torch.tensor([0.143841]))
    assert float(distribution_loss(curve, scores, "class")) == 0.0  # one class: the distribution is constant


def test_the_target_gets_no_gradient() -> None:
    curve, scores = torch.randn(1, 2, 3, requires_grad=True), torch.randn(1, 2, 3, requires_grad=True)
    distribution_loss(curve, scores, "class").sum().backward()  # type: ignore[no-untyped-call]
    assert curve.grad is None and scores.grad is not None


def test_a_decoder_puts_visible_tokens_at_their_positions() -> None:
    torch.manual_seed(0)
    sizes = SMALL.override({"width": 8, "decoder_width": 16, "decoder_heads": 2})
    decoder = RecoveryDecoder(sizes, tokens=5, values=6, classes=3).eval()
    visible, places = torch.randn(1, 1, 3, 8), torch.tensor([[[0, 2, 4]]])
    patches, scores = decoder(visible, places)
    assert patches.shape == (1, 1, 5, 6) and scores.shape == (1, 1, 3)
    turned, _ = decoder(visible.flip(2), places.flip(2))
    torch.testing.assert_close(turned, patches)
    moved, _ = decoder(visible, torch.tensor([[[0, 3, 4]]]))
    assert not torch.allclose(moved, patches)


def test_a_decoder_whose_heads_do_not_fit_raises_an_error() -> None:
    with pytest.raises(ConfigError, match="decoder_width 10 is not a multiple of decoder_heads 4"):
        RecoveryDecoder(SMALL.override({"decoder_width": 10, "decoder_heads": 4}), tokens=5, values=6, classes=3)
