"""Loading of published weight files: mapped names, resized tensors, and errors."""

from __future__ import annotations

import argparse
import json
import os
import pickle
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from bench.errors import ConfigError
from bench.rng import RngTree
from methods.mbt.config import MbtConfig
from methods.mbt.model import Mbt
from methods.mbt.pretrained import (
    KEY_MAPPINGS,
    crop_positions,
    find_audio_grid,
    find_square_grid,
    interpolate_positions,
    load_into,
    load_pretrained,
    resize_patches,
)
from methods.weights import Checkpoint, load_tensors
from tests.methods.published import (
    ast,
    authors,
    deit,
    layer,
    made,
    pretrained_videomae,
    renamed,
    videomae,
    vit,
    write,
)
from tests.methods.toys import TINY, run_fit, toy_batch, toy_clips
from tests.toys import make_context

SMALL = TINY.override({"width": 32, "heads": 4, "size": 32, "frames": 4, "mels": 32, "audio_stride": 8})
GRID = (3, 11)  # audio grid of SMALL
RELEASED = Path(os.environ.get("MART_GOLDEN") or Path(__file__).parents[3] / "shared" / "golden") / "state_dict.json"


def mbt(config=SMALL, classes=3):
    return Mbt(config, classes, RngTree(5))


def taken(field, path, model=None):
    model = model or mbt()
    return load_into(model, field, KEY_MAPPINGS[field], path), model.state_dict()


@pytest.mark.parametrize("wrapper", ["model", "module", "state_dict", ""])
def test_a_fine_tuned_videomae_fills_the_video_encoder_except_the_class_token(wrapper, tmp_path):
    file = videomae()
    report, state = taken("weights_video", write(tmp_path / "ft.pth", file, wrapper))
    assert report.missing == ("video_tokens.class_token",) and report.unused == ("head.weight", "head.bias")
    for name, ours in (("patch_embed.proj", "video_tokens.stem.project"), ("fc_norm", "video_norm")):
        assert torch.equal(state[f"{ours}.weight"], file[f"{name}.weight"])
    assert torch.equal(state["video_blocks.1.mlp.fc2.bias"], file["blocks.1.mlp.fc2.bias"])
    q, k, v = state["video_blocks.1.attn.qkv.bias"].chunk(3)
    assert torch.equal(q, file["blocks.1.attn.q_bias"]) and torch.equal(v, file["blocks.1.attn.v_bias"])
    assert not k.any()


def test_a_pre_trained_videomae_leaves_its_decoder(tmp_path):
    report, _ = taken("weights_video", write(tmp_path / "pt.pth", pretrained_videomae()))
    assert report.missing == ("video_tokens.class_token",)
    assert report.unused == ("encoder_to_decoder.weight", "mask_token", "decoder.norm.weight")
    assert str(report) == (
        "weights_video: 28 of 29 parameters from pt.pth; missing: video_tokens.class_token; "
        "unused: encoder_to_decoder, mask_token, decoder.norm"
    )


def test_encoders_loaded_by_name_equal_those_filled_by_hand(tmp_path):
    file = videomae()
    by_name, by_hand = mbt(), mbt()
    load_into(by_name, "weights_video", KEY_MAPPINGS["weights_video"], write(tmp_path / "ft.pth", file))
    with torch.no_grad():
        by_hand.video_tokens.stem.project.weight.copy_(file["patch_embed.proj.weight"])
        by_hand.video_tokens.stem.project.bias.copy_(file["patch_embed.proj.bias"])
        by_hand.video_norm.weight.copy_(file["fc_norm.weight"])
        by_hand.video_norm.bias.copy_(file["fc_norm.bias"])
        for i, block in enumerate(by_hand.video_blocks):
            here = {name.removeprefix(f"blocks.{i}."): t for name, t in file.items() if name.startswith(f"blocks.{i}.")}
            zero = torch.zeros(32)
            here["attn.qkv.bias"] = torch.cat([here.pop("attn.q_bias"), zero, here.pop("attn.v_bias")])
            block.load_state_dict(here)
    inputs = toy_batch(SMALL).inputs
    with torch.inference_mode():
        one, other, plain = (model.encode(model.embed(inputs)) for model in (by_name, by_hand, mbt()))
    assert torch.equal(one.video_class, other.video_class) and torch.equal(one.audio, other.audio)
    assert not torch.allclose(one.video_class, plain.video_class)


def test_a_bias_of_the_keys_could_not_have_changed_attention():
    block = mbt().eval().video_blocks[0]
    tokens = torch.randn((2, 7, 32), generator=torch.Generator().manual_seed(0))
    before = block(tokens)
    with torch.no_grad():
        block.attn.qkv.bias[32:64] += 3
    torch.testing.assert_close(block(tokens), before)


def test_an_image_vit_is_spread_over_the_tubelet(tmp_path):
    file = vit((3, 8, 8)) | layer("norm", 32) | made(cls_token=(1, 1, 32), pos_embed=(1, 17, 32))
    report, state = taken("weights_video", write(tmp_path / "vit.pth", file, ""))
    assert report.missing == () and report.unused == ("pos_embed",)
    weight = state["video_tokens.stem.project.weight"]
    assert torch.equal(weight, weight[:, :, :1].expand(-1, -1, 2, -1, -1))
    torch.testing.assert_close(weight.sum(2), file["patch_embed.proj.weight"])


@pytest.mark.parametrize("patch", [(2, 16, 16), (4, 8, 8), (1, 4, 4), (16, 16)])
def test_resized_patches_respond_equally_to_a_uniform_image(patch):
    weight = made(weight=(5, 3, *patch))["weight"]
    resized = resize_patches(weight, (2, 8, 8))
    assert resized.shape == (5, 3, 2, 8, 8)
    torch.testing.assert_close(resized.flatten(2).sum(-1), weight.flatten(2).sum(-1))


def test_ast_s_positions_are_cropped_to_the_middle_time_steps():
    table = torch.arange(12 * 101.0).view(1, -1, 1)  # bin * 101 + time
    cut, grid = crop_positions(table, (12, 101), 9)
    assert grid == (12, 9)
    assert torch.equal(cut.view(12, 9), torch.arange(12.0)[:, None] * 101 + torch.arange(46.0, 55))
    assert crop_positions(table, (12, 101), 200) == (table, (12, 101))


def test_positions_in_between_are_interpolated():
    rows = torch.arange(4.0).view(4, 1).expand(4, 3)
    wider = interpolate_positions(rows.reshape(1, 12, 1), (4, 3), (4, 6)).view(4, 6)
    assert torch.equal(wider, torch.arange(4.0).view(4, 1).expand(4, 6))
    halved = interpolate_positions(rows.reshape(1, 12, 1), (4, 3), (2, 3)).view(2, 3)
    assert torch.equal(halved, torch.tensor([[0.5] * 3, [2.5] * 3]))


def test_the_grid_of_positions_follows_from_their_number():
    assert find_audio_grid(12 * 101, (12, 9)) == (12, 101) == find_audio_grid(12 * 101, (5, 9))
    assert find_audio_grid(9 * 73, (9, 6)) == (9, 73) and find_audio_grid(7, (12, 9)) is None
    assert find_square_grid(196) == (14, 14) and find_square_grid(195) is None


def test_ast_fills_the_audio_encoder(tmp_path):
    file = ast()
    report, state = taken("weights_audio", write(tmp_path / "ast.pth", file, ""))
    assert report.missing == ()
    assert {name.rpartition(".")[0] for name in report.unused} == {"v.head", "v.head_dist", "mlp_head.0", "mlp_head.1"}
    tokens = torch.cat([file["module.v.cls_token"], file["module.v.dist_token"]], 1)
    assert torch.equal(state["audio_tokens.class_tokens"], tokens)
    position = file["module.v.pos_embed"]
    assert torch.equal(state["audio_tokens.position"][:, :2], position[:, :2])
    middle = position[:, 2:].reshape(12, 101, 32)[:, 45:56].reshape(1, -1, 32)
    torch.testing.assert_close(state["audio_tokens.position"][:, 2:], interpolate_positions(middle, (12, 11), GRID))
    assert torch.equal(state["audio_tokens.project.weight"], file["module.v.patch_embed.proj.weight"])


def test_a_distilled_deit_fills_the_audio_encoder_with_its_colours_summed(tmp_path):
    file = deit()
    report, state = taken("weights_audio", write(tmp_path / "deit.pth", file))
    assert report.missing == () and report.unused == ("head.weight", "head_dist.weight")
    summed = file["patch_embed.proj.weight"].sum(1, keepdim=True)
    torch.testing.assert_close(state["audio_tokens.project.weight"], summed)
    torch.testing.assert_close(
        state["audio_tokens.position"][:, 2:], interpolate_positions(file["pos_embed"][:, 2:], (5, 5), GRID)
    )


def test_a_deit_that_is_not_distilled_lacks_the_second_audio_token(tmp_path):
    file = {name: tensor for name, tensor in deit().items() if name != "dist_token"}
    report, _ = taken("weights_audio", write(tmp_path / "deit.pth", file))
    assert report.missing == ("audio_tokens.class_tokens", "audio_tokens.position")
    assert report.unused[:2] == ("cls_token", "pos_embed")


@pytest.mark.parametrize("prefix", ["", "module."])
def test_the_authors_checkpoint_fills_the_whole_model(prefix, tmp_path):
    file = authors(GRID)
    report, state = taken("weights_all", write(tmp_path / "mart.pth", renamed(prefix, file)))
    assert report.missing == ()
    assert {"tacl.v_norm.weight", "decoder_pred.weight", "vit.vid_model.head.weight"} <= set(report.unused)
    for name, ours in (
        ("bottleneck", "bottleneck_token"),
        ("vid_model.cls_token", "video_tokens.class_token"),
        ("ast_model.v.pos_embed", "audio_tokens.position"),
        ("a_fc.bias", "audio_head.bias"),
    ):
        assert torch.equal(state[ours], file[f"vit.{name}"])


def test_heads_of_another_number_of_classes_are_not_loaded(tmp_path):
    report, _ = taken("weights_all", write(tmp_path / "mart.pth", authors(GRID, classes=8)))
    assert report.missing == ("video_head.weight", "video_head.bias", "audio_head.weight", "audio_head.bias")
    assert {"vit.v_fc.weight", "vit.a_fc.bias"} <= set(report.unused)


@pytest.mark.skipif(not RELEASED.exists(), reason=f"no {RELEASED}")
def test_the_released_names_are_all_known():
    shapes = json.loads(RELEASED.read_text())
    with torch.device("meta"):
        model = Mbt(MbtConfig(), 6, RngTree(0))
        source = Checkpoint("released", {name: torch.empty(shape) for name, shape in shapes.items()})
    state = KEY_MAPPINGS["weights_all"].read(source, model)
    assert set(state) == {name for name, _ in model.named_parameters()}
    heads = ("head.", "head_dist.", "mlp_head.", "a_s_fc.", "v_s_fc.")
    left = [name for name in source.list_unused() if name.startswith("vit.")]
    assert all(any(head in name for head in heads) for name in left)


def test_safetensors_and_data_parallel_names_are_read(tmp_path):
    save_file(renamed("module.", videomae()), tmp_path / "a.safetensors")
    assert set(load_tensors(tmp_path / "a.safetensors", "weights_video")) == set(videomae())


def test_half_precision_and_saved_training_options_are_accepted(tmp_path):
    halves = {name: tensor.half() for name, tensor in videomae().items()}
    torch.save({"module": halves, "args": argparse.Namespace(lr=0.1)}, tmp_path / "a.pth")
    _, state = taken("weights_video", tmp_path / "a.pth")
    assert state["video_norm.weight"].dtype == torch.float32


def test_the_format_of_older_torch_is_read(tmp_path):
    torch.save({"model": deit()}, tmp_path / "old.pth", _use_new_zipfile_serialization=False)
    assert taken("weights_audio", tmp_path / "old.pth")[0].missing == ()


def test_a_missing_tensor_is_reported(tmp_path):
    file = {name: tensor for name, tensor in videomae().items() if name != "blocks.1.mlp.fc1.weight"}
    report, _ = taken("weights_video", write(tmp_path / "a.pth", file))
    assert "video_blocks.1.mlp.fc1.weight" in report.missing


@pytest.mark.parametrize(
    ("field", "file", "name"),
    [
        ("weights_video", vit((3, 2, 8, 8), width=16), "blocks.0.norm1.weight is [16], this config expects [32]"),
        ("weights_video", videomae((3, 2, 2, 8, 8)), "patch_embed.proj.weight is [32, 3, 2, 2, 8, 8]"),
        (
            "weights_video",
            vit((1, 8, 8)),
            "patch_embed.proj.weight is [32, 1, 8, 8], this config expects [32, 3, any, any]",
        ),
        (
            "weights_audio",
            videomae(),
            "patch_embed.proj.weight is [32, 3, 2, 8, 8], this config expects [32, 1, 16, 16]",
        ),
        ("weights_audio", {**deit(), **made(pos_embed=(1, 2 + 7, 32))}, "pos_embed is [1, 9, 32], this config expects"),
        ("weights_audio", {**deit(), **made(dist_token=(1, 1, 8))}, "dist_token is [1, 1, 8]"),
        ("weights_all", {**authors(GRID), **made(vit__bottleneck=(1, 5, 32))}, "vit.bottleneck is [1, 5, 32]"),
    ],
)
def test_a_shape_that_does_not_fit_raises_a_one_line_error_with_both_shapes(field, file, name, tmp_path):
    with pytest.raises(ConfigError) as caught:
        taken(field, write(tmp_path / "file.pth", file))
    assert name in str(caught.value) and "file.pth" in str(caught.value) and "\n" not in str(caught.value)


@pytest.mark.parametrize("field", KEY_MAPPINGS)
def test_a_file_without_known_names_reports_the_expected_names(field, tmp_path):
    write(tmp_path / "a.pth", made(layer1__conv__weight=(3, 3)))
    with pytest.raises(ConfigError, match=f"{field}: a.pth: no tensor .*expected"):
        taken(field, tmp_path / "a.pth")


class Malicious:
    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return (Path.touch, (self.path,))


def broken(tmp_path):
    ran = tmp_path / "ran"
    torch.save({"model": videomae(), "extra": Malicious(ran)}, tmp_path / "malicious.pth")
    (tmp_path / "pickle.pth").write_bytes(pickle.dumps(Malicious(ran)))
    whole = write(tmp_path / "whole.pth", videomae()).read_bytes()
    (tmp_path / "truncated.pth").write_bytes(whole[: len(whole) // 2])
    save_file(videomae(), tmp_path / "whole.safetensors")
    (tmp_path / "truncated.safetensors").write_bytes((tmp_path / "whole.safetensors").read_bytes()[:5000])
    (tmp_path / "text.pth").write_text("<html>quota exceeded</html>")
    (tmp_path / "empty.pth").touch()
    torch.save({}, tmp_path / "nothing.pth")
    torch.save([torch.ones(2)], tmp_path / "list.pth")
    (tmp_path / "folder.pth").mkdir()


@pytest.mark.parametrize(
    "name",
    [
        "malicious.pth",
        "pickle.pth",
        "truncated.pth",
        "truncated.safetensors",
        "text.pth",
        "empty.pth",
        "nothing.pth",
        "list.pth",
        "folder.pth",
        "nowhere.pth",
        "nowhere.safetensors",
    ],
)
def test_an_invalid_checkpoint_raises_a_one_line_error_and_runs_no_code(name, tmp_path):
    broken(tmp_path)
    with pytest.raises(ConfigError, match=name) as caught:
        taken("weights_video", tmp_path / name)
    assert "\n" not in str(caught.value) and not (tmp_path / "ran").exists()


def test_weights_all_is_loaded_last_and_the_first_audio_blocks_are_frozen(tmp_path):
    video, whole = write(tmp_path / "video.pth", videomae()), write(tmp_path / "all.pth", authors(GRID))
    notices, model = [], mbt()
    config = SMALL.override({"weights_video": str(video), "weights_all": str(whole), "freeze_audio": 1})
    load_pretrained(model, config, notices.append)
    assert [line.split(":")[0] for line in notices] == ["weights_video", "weights_all"]
    frozen = {name for name, parameter in model.named_parameters() if not parameter.requires_grad}
    assert {name.split(".")[0] for name in frozen} == {"audio_tokens", "audio_blocks"}
    assert not any(name.startswith("audio_blocks.1") for name in frozen)


@pytest.mark.parametrize(
    "values", [{}, {"weights_video": "video.pth"}, {"weights_audio": "ast.pth", "freeze_audio": 0}]
)
def test_nothing_is_frozen_without_audio_weights_or_with_freeze_audio_0(values, tmp_path):
    for name, file in (("video.pth", videomae()), ("ast.pth", ast())):
        write(tmp_path / name, file)
    files = {n: str(tmp_path / value) if n.startswith("weights") else value for n, value in values.items()}
    model = mbt()
    load_pretrained(model, SMALL.override(files), lambda line: None)
    assert all(parameter.requires_grad for parameter in model.parameters())


def test_a_fit_starts_from_the_file_keeps_frozen_blocks_and_resumes_after_a_kill(tmp_path, quiet):
    from methods.mbt.config import MBT

    whole = write(tmp_path / "ast.pth", ast())
    config = SMALL.override({"weights_audio": str(whole), "freeze_audio": 1, "epochs": 2})
    expected, _ = run_fit(MBT, config, tmp_path / "expected")

    def stop(stage, epoch, values):
        raise KeyboardInterrupt

    quiet.log_epoch = stop
    sets = {"train": toy_clips("train", 3), "val": toy_clips("val", 2), "rng": RngTree(0)}
    ctx = make_context(quiet, tmp_path / "killed", config, **sets)
    ctx.folder.mkdir()
    with pytest.raises(KeyboardInterrupt):
        MBT.fit(ctx)
    assert (ctx.folder / "finetune.pt").exists()
    again, _ = run_fit(MBT, config, ctx.folder)
    assert torch.equal(again, expected)
    del quiet.log_epoch
    ctx = make_context(quiet, tmp_path / "done", config, **sets)
    ctx.folder.mkdir()
    state = MBT.fit(ctx).state_dict()
    loaded = taken("weights_audio", whole)[1]
    for name, value in loaded.items():
        if name.startswith(("audio_tokens.", "audio_blocks.0.")):
            assert torch.equal(state[f"mbt.{name}"], value), name
    assert not torch.equal(state["mbt.audio_blocks.1.norm1.weight"], loaded["audio_blocks.1.norm1.weight"])
