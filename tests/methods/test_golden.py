"""Golden numbers of the released model, reproduced from fixed weights.

MART_GOLDEN is the folder of these numbers; its README states how weights and inputs are generated.
"""

from __future__ import annotations

import json
import os
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from einops import rearrange
from torch import Tensor

from bench.rng import RngTree
from bench.types import Inputs
from datasets.registry import DATASETS
from methods.mart.config import ReleasedConfig
from methods.mart_released import (
    ReleasedObjective,
    compute_mask_score,
    compute_released_target,
    load_released_weights,
    recovery_loss,
)
from methods.mbt.model import Mbt
from methods.mbt.pretrained import load_pretrained
from methods.mbt.supervised import MbtPredictor

GOLDEN = Path(os.environ.get("MART_GOLDEN") or Path(__file__).parents[3] / "shared" / "golden")
NAMES = (
    list(json.loads((GOLDEN / "mart_released.json").read_text())["tensors"])
    if (GOLDEN / "mart_released.json").exists()
    else []
)
pytestmark = [pytest.mark.slow, pytest.mark.skipif(not NAMES, reason=f"no golden numbers under {GOLDEN}")]


@dataclass(frozen=True)
class Golden:
    """Computed tensors and stored parts of the golden ones, by name, with the notices of the loader."""

    ours: dict[str, Tensor]
    stored: dict[str, np.ndarray]
    facts: dict[str, Any]
    notices: list[str]


def drawn(name: str, shape: list[int] | tuple[int, ...]) -> Tensor:
    """Draw the weights of a parameter from a generator seeded by its name."""
    values = 0.02 * torch.randn(shape, generator=generator(name))
    return values + 1 if name.endswith("weight") and len(shape) == 1 else values


def generator(name: str) -> torch.Generator:
    return torch.Generator().manual_seed(zlib.crc32(name.encode()))


@pytest.fixture(scope="module")
def golden(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Golden]:
    """Load the released model from a checkpoint in the authors' format and compute all golden tensors."""
    facts = json.loads((GOLDEN / "mart_released.json").read_text())
    shapes = json.loads((GOLDEN / "state_dict.json").read_text())
    checkpoint = tmp_path_factory.mktemp("golden") / "mart.pth"
    torch.save({"model": {name: drawn(name, shape) for name, shape in shapes.items()}}, checkpoint)
    notices: list[str] = []
    config = ReleasedConfig(weights_all=str(checkpoint), freeze_audio=0)
    objective = ReleasedObjective(
        MbtPredictor(Mbt(config, 6, RngTree(0)), DATASETS["ekman6"].info.task),
        config,
        DATASETS["ekman6"].info,
        RngTree(0),
    ).eval()
    load_pretrained(objective.predictor.mbt, config, notices.append)
    load_released_weights(objective, checkpoint, notices.append)
    checkpoint.unlink()
    with torch.inference_mode(), np.load(GOLDEN / "mart_released.npz") as stored:
        yield Golden(compute(objective, facts["inputs"]), dict(stored), facts, notices)


def compute(objective: ReleasedObjective, given: dict[str, Any]) -> dict[str, Tensor]:
    """Compute every golden tensor with the model."""
    tag, segments, words = given["tag"], given["segments"], given["words"]
    visual = torch.randint(0, 256, (1, segments, 3, 16, 112, 112), generator=generator(f"{tag}/visual"))
    audio = torch.randn((1, 100 * segments, 128), generator=generator(f"{tag}/audio"))
    text = torch.randn((segments, words, 768), generator=generator(f"{tag}/text"))[None]
    mbt = objective.predictor.mbt
    mbt.scale_audio = lambda sound: sound  # the golden audio is already scaled
    inputs = Inputs(
        video=rearrange(visual, "b s c t h w -> b s t h w c").to(torch.uint8),
        audio=rearrange(audio, "b (s f) m -> b s f m", s=segments),
        words=(((),) * segments,),
        present=torch.ones(1, 3, dtype=torch.bool),
    )
    seen: dict[str, Tensor] = {}
    hooks = [
        blocks[7].register_forward_hook(lambda *args, name=name: seen.__setitem__(name, args[-1]))
        for name, blocks in (("video_block8", mbt.video_blocks), ("audio_block8", mbt.audio_blocks))
    ]
    audio_out = mbt.audio_norm.register_forward_hook(lambda *args: seen.__setitem__("audio_tokens", args[-1]))
    tokens = mbt.embed(inputs)
    encoded = mbt.encode(tokens, attention=True, video_norm=False)
    for hook in (*hooks, audio_out):
        hook.remove()
    tuned = mbt.encode(tokens)
    assert encoded.video_attention is not None
    present, here = inputs.present, torch.ones(1, segments, words, dtype=torch.bool)
    pretrain = mbt.score_classes(encoded.video_class.mean(1), encoded.audio_class.mean(1), present)
    finetune = mbt.score_classes(tuned.video_class.mean(1), tuned.audio_class.mean(1), present)
    of_segments = mbt.score_classes(tuned.video_class, tuned.audio_class, present)
    answers = objective.tacl.attend_to_words(text, encoded)
    own = objective.tacl.project_features(answers)
    cue_scores = objective.tacl.score_classes(own, here)
    score = compute_mask_score(encoded.video_attention, answers["video"].attention, here)
    hidden = torch.zeros(score.shape, dtype=torch.bool).scatter(2, score.topk(int(0.3 * 392), -1).indices, True)
    predicted, target = objective.decoder(encoded.video, hidden), compute_released_target(inputs.video, 2, 16)
    return {
        **seen,
        "video_patch_embed": tokens.video[0] - mbt.video_tokens.position[:, 1:],
        "video_tokens": torch.cat([encoded.video_class[0, :, None], encoded.video[0]], 1),
        "class_to_patch_attention": encoded.video_attention[0],
        "pretrain_video_logits": pretrain[0],
        "pretrain_audio_logits": pretrain[1],
        "finetune_video_logits": finetune[0],
        "finetune_audio_logits": finetune[1],
        "temporal_scores": sum(of_segments, torch.zeros(())),
        "text_to_video_attention": answers["video"].attention[0],
        "text_to_audio_attention": answers["audio"].attention[0],
        "tacl_video_logits": cue_scores["video"],
        "tacl_audio_logits": cue_scores["audio"],
        "released_complementary_loss": objective.tacl.compute_contrast(own, here),
        "released_mask_score": score[0],
        "mask": hidden[0].float(),
        "pixel_target": target[0],
        "decoder_prediction": predicted[0],
        "released_reconstruction_loss": recovery_loss(predicted, target, hidden),
    }


@pytest.mark.parametrize("name", NAMES)
def test_the_released_model_s_numbers_are_reproduced(name: str, golden: Golden) -> None:
    fact = golden.facts["tensors"][name]
    full = golden.ours[name]
    assert list(full.shape) == fact["shape"]
    ours = full[tuple(slice(None, None, stride) for stride in fact["strides"])].double()
    theirs = torch.from_numpy(golden.stored[name]).double()
    assert float((ours - theirs).norm() / theirs.norm()) < 1e-4
    assert float(full.double().norm()) == pytest.approx(fact["norm"], rel=1e-4)


def test_the_whole_checkpoint_is_taken(golden: Golden) -> None:
    mbt, pretraining = golden.notices
    assert "missing: none" in mbt
    assert "weights_all: " in pretraining and "unused" not in pretraining
