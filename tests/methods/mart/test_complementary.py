"""Eqs. 4 and 5 against hand-computed numbers and against plain loops."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch
from torch.nn.functional import normalize

from methods.mart.contrast import CueAttention, WordTable, contrastive_loss, mean_over_cues
from tests.methods.mart.toys import hand_made_cues

# one clip, two windows of one cue each
OWN = torch.tensor([[[[1.0, 0.0]], [[0.0, 1.0]]]])
OTHER = torch.tensor([[[[0.6, 0.8]], [[0.8, 0.6]]]])
WORDS = torch.tensor([[[[1.0, 0.0]], [[0.6, 0.8]]]])
KEPT = torch.ones((1, 2, 1), dtype=torch.bool)


def test_a_cue_is_pulled_to_its_word_and_pushed_from_the_other_modality_elsewhere() -> None:
    # tau 1. Cue 0: own.word 1, own.other[1] .8; cue 1: own.word .8, own.other[0] .8
    first = -math.log(math.exp(1) / (math.exp(1) + math.exp(0.8)))  # 0.598139
    second = -math.log(0.5)
    assert first == pytest.approx(0.598139, abs=1e-6)
    torch.testing.assert_close(contrastive_loss(OWN, OTHER, WORDS, KEPT, 1.0), torch.tensor([(first + second) / 2]))


def test_words_elsewhere_join_the_negatives_on_request() -> None:
    # cue 0 meets word 1 at .6, cue 1 meets word 0 at 0
    first = -math.log(math.exp(1) / (math.exp(1) + math.exp(0.8) + math.exp(0.6)))
    second = -math.log(math.exp(0.8) / (2 * math.exp(0.8) + 1))
    found = contrastive_loss(OWN, OTHER, WORDS, KEPT, 1.0, "paper+words")
    torch.testing.assert_close(found, torch.tensor([(first + second) / 2]))


def test_constant_opposite_vectors_nearly_meet_the_papers_negatives_but_not_those_with_words() -> None:
    """Show why alignment and spread are logged: constant vectors minimise the paper's loss."""
    flat = torch.tensor([1.0, 0.0]).expand(1, 4, 1, 2)
    kept = torch.ones((1, 4, 1), dtype=torch.bool)
    assert float(contrastive_loss(flat, -flat, flat, kept, 0.07)) < 1e-6
    assert float(contrastive_loss(flat, -flat, flat, kept, 0.07, "paper+words")) == pytest.approx(math.log(4))


@pytest.mark.parametrize("kept", [[[True, True], [False, False]], [[False, False], [False, False]]])
def test_a_clip_whose_cues_lie_in_one_window_or_nowhere_adds_nothing(kept: list[list[bool]]) -> None:
    own, other, words = (normalize(torch.randn(1, 2, 2, 3), dim=-1).requires_grad_() for _ in range(3))
    loss = contrastive_loss(own, other, words, torch.tensor([kept]), 0.07)
    loss.sum().backward()  # type: ignore[no-untyped-call]
    assert loss.tolist() == [0.0]
    assert own.grad is not None and own.grad.isfinite().all()


def test_the_vectorised_loss_equals_plain_loops() -> None:
    generator = torch.Generator().manual_seed(0)
    own, other, words = (normalize(torch.randn((3, 4, 3, 5), generator=generator), dim=-1) for _ in range(3))
    kept = torch.rand((3, 4, 3), generator=generator) < 0.6
    tau, expected = 0.2, []
    for b in range(3):
        cues = [(s, k) for s in range(4) for k in range(3) if kept[b, s, k]]
        losses = []
        for s, k in cues:
            near = math.exp(float(own[b, s, k] @ words[b, s, k]) / tau)
            far = [math.exp(float(own[b, s, k] @ other[b, i, j]) / tau) for i, j in cues if i != s]
            losses.append(-math.log(near / (near + sum(far))))
        expected.append(sum(losses) / len(losses))
    torch.testing.assert_close(contrastive_loss(own, other, words, kept, tau), torch.tensor(expected))


def test_a_mean_over_cues_counts_segments_equally_and_skips_those_without() -> None:
    values = torch.tensor([[[1.0, 3.0], [9.0, 8.0], [6.0, 5.0]], [[1.0, 1.0], [1.0, 1.0], [1.0, 1.0]]])
    kept = torch.tensor([[[True, True], [False, False], [True, False]], [[False, False]] * 3])
    assert mean_over_cues(values, kept).tolist() == [4.0, 0.0]  # (2 + 6) / 2


def test_a_cue_is_the_mean_of_its_words_and_padding_is_nothing() -> None:
    table = WordTable(2, 2)  # plus the rows of padding and of unknown words
    with torch.no_grad():
        table.table.weight.copy_(torch.tensor([[0.0, 0.0], [1.0, 2.0], [3.0, 6.0], [9.0, 9.0]]))
    rows = torch.tensor([[[[1, 2, 0, 0], [3, 0, 0, 0], [0, 0, 0, 0]]]])
    found = table(replace(hand_made_cues([[(1, {0}, 0.5)] * 3]), word_rows=rows))
    assert found.tolist() == [[[[2.0, 4.0], [9.0, 9.0], [0.0, 0.0]]]]


def test_a_cue_attends_to_its_own_segment_only() -> None:
    torch.manual_seed(0)
    attend, cues, tokens = CueAttention(8, 2), torch.randn(2, 3, 2, 8), torch.randn(2, 3, 5, 8)
    before = attend(cues, tokens)
    torch.testing.assert_close(before.attention.sum(-1), torch.ones(2, 3, 2))
    tokens[1, 2] += 1.0
    changed = (attend(cues, tokens).content != before.content).flatten(2).any(-1)
    assert changed.tolist() == [[False, False, False], [False, False, True]]
