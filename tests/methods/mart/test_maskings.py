"""Explanations of finished pre-training: masks, hints and recovered distributions."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from bench.types import Explanation
from methods.mart.config import MartConfig
from methods.mart.masking import MASK_STRATEGIES, count_hidden_tokens, count_revealed_tokens
from tests.inputs import without
from tests.methods.mart.toys import SMALL, objective, spoken_batch


def explain_batch(config: MartConfig = SMALL) -> list[Explanation]:
    return objective(config).explain(spoken_batch(progress=1.0))


@pytest.mark.parametrize("mask", MASK_STRATEGIES)
def test_the_masks_that_are_explained_are_those_of_a_training_step(mask: str, monkeypatch: pytest.MonkeyPatch) -> None:
    config, seen = SMALL.override({"mask": mask}), []
    monkeypatch.setitem(
        MASK_STRATEGIES, mask, lambda *given, rule=MASK_STRATEGIES[mask]: seen.append(rule(*given)) or seen[-1]
    )
    model, batch = objective(config), spoken_batch(progress=1.0)
    model(batch)
    in_training = dict(zip(("video", "audio"), seen, strict=True))
    for b, one in enumerate(model.explain(batch)):
        for name, mask_of in one.masks.items():
            assert torch.equal(mask_of.hidden, in_training[name][b])
            assert not (mask_of.hidden & mask_of.hints).any()


@pytest.mark.parametrize("mask", ["affective", "attention"])
def test_hints_have_the_revealed_number_and_random_masks_have_none(mask: str) -> None:
    config = SMALL.override({"mask": mask, "reveal": 0.3})
    for name, one in explain_batch(config)[0].masks.items():
        tokens = one.hidden.shape[-1]
        assert (
            one.hints.sum(-1) == min(count_revealed_tokens(tokens, 0.3), tokens - count_hidden_tokens(tokens, 0.5))
        ).all(), name
    assert not any(one.hints.any() for one in explain_batch(SMALL.override({"mask": "random"}))[0].masks.values())


def test_the_stored_content_is_the_input_of_the_model() -> None:
    batch = spoken_batch(progress=1.0)
    masks = explain_batch()[0].masks
    assert torch.equal(masks["video"].content, batch.inputs.video[0, :, ::2])  # a tubelet has two frames
    assert torch.equal(masks["audio"].content, batch.inputs.audio[0])
    assert masks["video"].content.shape[1] == masks["video"].grid[0]


def test_a_missing_modality_has_no_mask() -> None:
    batch = spoken_batch(progress=1.0)
    one = objective().explain(replace(batch, inputs=without(batch.inputs, "video", clip=0)))[0]
    assert set(one.masks) == {"audio"} and one.recovered is not None


def test_a_distribution_over_classes_is_recovered_where_one_is_trained() -> None:
    recovered = explain_batch()[0].recovered
    assert recovered is not None and recovered.shape == (3, 3)
    torch.testing.assert_close(recovered.sum(-1), torch.ones(3))
    for change in ({"target": "pixel"}, {"kl_axis": "time"}, {"mask": "none"}):
        assert explain_batch(SMALL.override(change))[0].recovered is None
    assert not explain_batch(SMALL.override({"mask": "none"}))[0].masks
