"""Released variant of MART: independent of batch size, trains every parameter, masks by the released rule."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from bench.errors import ConfigError
from bench.rng import RngTree
from bench.types import Batch
from methods.mart.config import MART_RELEASED, ReleasedConfig
from methods.mart_released import (
    PARAMETER_NAMES,
    ReleasedObjective,
    WordPredictor,
    compute_mask_score,
    load_released_weights,
    mean_over_words,
    released_contrastive_loss,
)
from methods.mbt.config import MbtConfig
from methods.mbt.model import Mbt
from methods.mbt.supervised import MbtPredictor
from tests.inputs import with_streams, without
from tests.methods.mart.toys import CARD, SMALL, bert_folder, one_clip, spoken_batch, spoken_clips
from tests.methods.toys import run_fit

TINY = ReleasedConfig(
    **{name: getattr(SMALL, name) for name in ReleasedConfig.model_fields if name in type(SMALL).model_fields},
    text_heads=2,
)
OTHER: dict[str, Any] = {
    "pretrain_epochs": 3,
    "pretrain_lr": 1e-3,
    "pretrain_weight_decay": 0.5,
    "pretrain_dropout": 0.3,
    "pretrain_polarity_weight": 2.0,
    "text_heads": 4,
    "decoder_depth": 2,
    "decoder_width": 8,
    "decoder_heads": 4,
    "w_patch": 0.5,
    "weights_text": "",  # a folder, written by the test
}


def make(config: ReleasedConfig = TINY) -> ReleasedObjective:
    streams = RngTree(3)
    predictor = MbtPredictor(Mbt(config, len(CARD.classes), streams), CARD.task)
    return ReleasedObjective(predictor, config, CARD, streams).eval()


def varied() -> Batch:
    """Return a batch with a clip without words and one with many."""
    batch = spoken_batch()
    words = list(batch.inputs.words)
    words[1], words[2] = ((), (), ()), tuple(slot * 3 for slot in words[2])
    return replace(batch, inputs=with_streams(batch.inputs, text=tuple(words)))


def test_a_batch_is_its_clips_one_by_one() -> None:
    model, batch = make(), varied()
    whole = model(batch)
    for index in range(len(batch.keys)):
        alone = model(one_clip(batch, index))
        for kind in ("terms", "notes"):
            for name, value in getattr(alone, kind).items():
                torch.testing.assert_close(value, getattr(whole, kind)[name][index : index + 1], msg=name)


def test_what_is_absent_adds_nothing() -> None:
    batch = varied()
    terms = make()(replace(batch, inputs=without(batch.inputs, "video", clip=0))).terms
    for name in ("cls_video", "cue_video", "tacl", "patch_video"):
        assert terms[name][0] == 0, name
    for name in ("cue_video", "cue_audio", "tacl"):
        assert terms[name][1] == 0, name  # it has no words
    assert terms["cls_audio"][0] > 0 and terms["cls_video"][1] > 0


def test_every_parameter_learns_but_the_norm_that_its_pre_training_skips() -> None:
    model = make()
    losses = model(replace(spoken_batch(), epoch=1))  # at epoch 0 a tenth of eight tokens is none
    torch.stack([term.sum() for term in losses.terms.values()]).sum().backward()  # type: ignore[no-untyped-call]
    still = {name for name, p in model.named_parameters() if p.grad is None or not p.grad.abs().sum() > 0}
    assert still == {"predictor.mbt.video_norm.weight", "predictor.mbt.video_norm.bias"}


def test_masks_grow_until_half_of_the_epochs_and_leave_hints_among_the_highest() -> None:
    model = make(TINY.override({"pretrain_epochs": 10}))
    score = torch.rand(6, 40, 392, generator=torch.Generator().manual_seed(0))
    batch = spoken_batch()
    for epoch, ratio in ((0, 0.1), (2, 0.26), (5, 0.5), (9, 0.5)):
        hidden = model.hide_tokens(replace(batch, epoch=epoch), score)
        counts = hidden.sum(-1)
        assert set(counts.unique().tolist()) == {0, int(ratio * 392) - int(0.1 * ratio * 392)}
        assert 0.3 < float((counts == 0).float().mean()) < 0.7
        rank = score.argsort(-1, descending=True).argsort(-1)
        assert int(rank[hidden].max()) < int(ratio * 392)
        revealed = ~hidden & (rank < int(ratio * 392)) & (counts > 0)[..., None]
        assert int(rank[revealed].max()) < 39


def test_the_score_weights_the_class_token_most_and_averages_over_words() -> None:
    attention, text = torch.tensor([[[1.0, 0.0]]]), torch.tensor([[[[0.0, 1.0], [0.0, 0.5], [9.0, 9.0]]]])
    here = torch.tensor([[[True, True, False]]])
    assert compute_mask_score(attention, text, here)[0, 0].tolist() == pytest.approx([0.9, 0.075])
    assert compute_mask_score(attention, text, here & False)[0, 0].tolist() == pytest.approx([0.9, 0.0])


def test_the_contrast_is_minimised_with_its_sign_inverted() -> None:
    here = torch.ones(1, 2, 1, dtype=torch.bool)
    one, other = torch.tensor([[[[1.0, 0.0]], [[0.0, 1.0]]]]), torch.tensor([[[[0.0, 1.0]], [[1.0, 0.0]]]])
    right, wrong = released_contrastive_loss(one, one, here), released_contrastive_loss(one, other, here)
    assert float(right) == pytest.approx(1 - torch.tensor([1.0, 0.0]).logsumexp(0).item())
    assert float(wrong) < float(right)  # the released sign prefers the pairs that a contrastive loss would push apart


def test_padding_does_not_reach_a_prediction() -> None:
    predict = WordPredictor(4).eval()
    short = torch.randn(1, 1, 3, 4)
    padded = torch.cat([short, torch.full((1, 1, 2, 4), 7.0)], 2)
    here = torch.tensor([[[True, True, True, False, False]]])
    torch.testing.assert_close(predict(padded, here)[:, :, :3], predict(short, here[..., :3]))


def test_segments_without_words_are_left_out_of_the_mean() -> None:
    values = torch.tensor([[[[1.0], [3.0]], [[5.0], [9.0]], [[0.0], [0.0]]]])
    here = torch.tensor([[[True, True], [True, False], [False, False]]])
    assert mean_over_words(values, here).tolist() == [[3.5]]


def published(model: ReleasedObjective) -> dict[str, torch.Tensor]:
    """Return the objective's tensors under the authors' names, each increased by 1."""
    own, found = model.state_dict(), {}
    for theirs, ours in PARAMETER_NAMES.items():
        for name, tensor in own.items():
            if name.startswith(ours) and not name.endswith("qkv.bias"):
                found[theirs + name.removeprefix(ours)] = tensor + 1
            elif name.startswith(ours):
                q, _, v = (tensor + 1).chunk(3)
                stem = theirs + name.removeprefix(ours).removesuffix("qkv.bias")
                found |= {f"{stem}q_bias": q, f"{stem}v_bias": v}
    return found


def test_an_authors_checkpoint_fills_the_pre_training(tmp_path: Path) -> None:
    model = make()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    torch.save({"model": published(model)}, tmp_path / "mart.pth")
    notices: list[str] = []
    load_released_weights(model, tmp_path / "mart.pth", notices.append)
    for name, value in model.state_dict().items():
        if name.startswith(("tacl.", "decoder.")) and not name.endswith("qkv.bias"):
            torch.testing.assert_close(value, before[name] + 1, msg=name)
        elif not name.startswith("decoder."):
            torch.testing.assert_close(value, before[name], msg=name)
    assert len(notices) == 1 and "unused" not in notices[0]


def test_a_head_for_other_classes_is_unused_and_another_shape_is_an_error(tmp_path: Path) -> None:
    model = make()
    state, notices = published(model), list[str]()
    torch.save({**state, "tacl.v_fc.fc2.weight": torch.zeros(8, 16)}, tmp_path / "eight.pth")
    load_released_weights(model, tmp_path / "eight.pth", notices.append)
    assert "unused" in notices[0] and "tacl.head.video.2.weight" in notices[0]
    torch.save({**state, "decoder_embd.weight": torch.zeros(5, 7)}, tmp_path / "wrong.pth")
    with pytest.raises(ConfigError, match=r"wrong.pth: decoder.enter.weight is \[5, 7\], expected \[16, 16\]"):
        load_released_weights(model, tmp_path / "wrong.pth", notices.append)


def test_each_field_is_shown_to_matter() -> None:
    assert set(OTHER) == set(ReleasedConfig.model_fields) - set(MbtConfig.model_fields)


@pytest.fixture(scope="module")
def usual(tmp_path_factory: pytest.TempPathFactory) -> torch.Tensor:
    return scores(TINY, tmp_path_factory.mktemp("usual"))


def scores(config: ReleasedConfig, folder: Path) -> torch.Tensor:
    torch.set_num_threads(1)
    sets = {split: spoken_clips(split, count) for split, count in (("train", 2), ("val", 1), ("test", 1))}
    return run_fit(MART_RELEASED, config, folder, card=CARD, **sets)[0]


@pytest.mark.slow
@pytest.mark.parametrize("field", OTHER)
def test_a_field_changes_the_scores(field: str, usual: torch.Tensor, tmp_path: Path) -> None:
    value = str(bert_folder(tmp_path / "bert")) if field == "weights_text" else OTHER[field]
    assert not torch.equal(scores(TINY.override({field: value}), tmp_path / "run"), usual)
