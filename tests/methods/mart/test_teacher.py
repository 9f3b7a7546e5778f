"""Image-text teacher: its sizes are read from the file, its features equal timm's."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import timm
import torch
from safetensors.torch import save_file

from bench.errors import ConfigError
from methods.mart.recovery import RECOVERY_TARGETS, load_teacher
from tests.methods.mart.toys import SMALL, objective, spoken_batch, tower_file


def picture(*shape: int) -> torch.Tensor:
    return torch.randint(0, 256, (*shape, 3), generator=torch.Generator().manual_seed(2), dtype=torch.uint8)


def test_features_are_those_of_the_tubelets_middle_frame_pooled_and_normalised(tmp_path: Path) -> None:
    file = tower_file(tmp_path / "tower.safetensors")
    tower = timm.create_model(
        "vit_base_patch16_clip_224", img_size=32, patch_size=8, embed_dim=64, depth=2, num_heads=1, num_classes=0
    ).eval()
    tower.load_state_dict(torch.load(file.with_suffix(".pt"), weights_only=True))
    video = picture(1, 2, 4, 32, 32)
    found = load_teacher(str(file))(video, tubelet=2, side=2)
    assert found.shape == (1, 2, 2 * 2 * 2, 64)
    mean = torch.tensor([0.48145466, 0.4578275, 0.40821073])
    deviation = torch.tensor([0.26862954, 0.26130258, 0.27577711])
    middle = ((video[0, 1, 3] / 255 - mean) / deviation).permute(2, 0, 1)  # second tubelet: frames 2 and 3
    with torch.no_grad():
        tokens = tower.forward_features(middle[None])[0, 1:].view(4, 4, 64)
    low_left = tokens[2:, :2].mean((0, 1))
    expected = (low_left - low_left.mean()) / low_left.std(unbiased=False)
    torch.testing.assert_close(found[0, 1, 4 + 2], expected, atol=1e-4, rtol=1e-4)


def test_a_smaller_frame_is_resized_to_the_tower_and_its_grid_to_the_models(tmp_path: Path) -> None:
    config = SMALL.override({"weights_teacher": str(tower_file(tmp_path / "tower.safetensors"))})
    patches = RECOVERY_TARGETS["clip"].make_video_target(config)
    assert patches.size == 64
    assert patches.compute(picture(1, 2, 4, 16, 16)).shape == (1, 2, 8, 64)


def test_openclips_names_are_read_as_timms(tmp_path: Path) -> None:
    file = tower_file(tmp_path / "tower.safetensors")
    theirs = openclip(torch.load(file.with_suffix(".pt"), weights_only=True))
    save_file(theirs, tmp_path / "open.safetensors")
    video = picture(1, 1, 2, 32, 32)
    ours, other = (
        load_teacher(str(tmp_path / name))(video, 2, 4) for name in ("tower.safetensors", "open.safetensors")
    )
    assert torch.equal(ours, other)


def openclip(tensors: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Return the same tower under OpenCLIP's names, together with a text tower."""
    swaps = {
        "patch_embed.proj": "conv1",
        "blocks.": "transformer.resblocks.",
        "norm_pre": "ln_pre",
        ".norm": ".ln_",
        "qkv.": "in_proj_",
        "attn.proj": "attn.out_proj",
        "fc1": "c_fc",
        "fc2": "c_proj",
    }
    renamed = {}
    for name, tensor in tensors.items():
        for ours, theirs in swaps.items():
            name = name.replace(ours, theirs)
        renamed[f"visual.{name}".replace("visual.norm.", "visual.ln_post.")] = tensor.contiguous()
    renamed["visual.class_embedding"] = renamed.pop("visual.cls_token").flatten().clone()
    renamed["visual.positional_embedding"] = renamed.pop("visual.pos_embed")[0].clone()
    return {
        **renamed,
        "positional_embedding": torch.zeros(77, 32),
        "transformer.resblocks.0.ln_1.weight": torch.ones(32),
    }


@pytest.mark.parametrize("kind", ["none", "missing", "noise", "plain", "odd"])
def test_a_file_without_a_tower_raises_a_one_line_error(kind: str, tmp_path: Path) -> None:
    file = tmp_path / "tower.safetensors"
    if kind == "noise":
        file.write_bytes(b"no tensors at all")
    if kind == "plain":  # an image classifier, which has no norm before its blocks
        tower: Any = timm.create_model("vit_tiny_patch16_224", img_size=32, depth=1, num_classes=0)
        save_file(tower.state_dict(), file)
    if kind == "odd":
        save_file({"norm1.weight": torch.zeros(3)}, file)
    expected = (
        "target=clip .*--set weights_teacher=FILE" if kind == "none" else "^weights_teacher: .*'.*tower.safetensors'"
    )
    with pytest.raises(ConfigError, match=expected) as caught:
        load_teacher("" if kind == "none" else str(file))
    assert "\n" not in str(caught.value)


def test_the_teacher_is_frozen_and_in_no_checkpoint(tmp_path: Path) -> None:
    file = str(tower_file(tmp_path / "tower.safetensors"))
    model = objective(SMALL.override({"target": "clip", "weights_teacher": file}))
    losses = model(spoken_batch())
    torch.stack([term.sum() for term in losses.terms.values()]).sum().backward()  # type: ignore[no-untyped-call]
    teacher = model.video_target.compute.func  # type: ignore[attr-defined]
    assert not any(p.requires_grad or p.grad is not None for p in teacher.tower.parameters())
    ours = {id(p) for p in model.parameters()}
    assert not any(id(p) in ours for p in teacher.tower.parameters())
    plain = objective(SMALL.override({"target": "hog"}))
    assert model.state_dict().keys() == plain.state_dict().keys()
