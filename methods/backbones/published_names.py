"""Published namings as names of ours: VideoMAE's and timm's pictures, AST's and DeiT's sounds, the authors' whole.

Each function takes of a source what it knows, and gives it as a state for Mbt.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from methods.backbones.mbt import Mbt
from methods.backbones.published_files import Source
from methods.backbones.published_sizes import Grid, cut_times, place, resize_patches, sound_grid, square_grid

State = dict[str, Tensor]


def picture(source: Source, mbt: Mbt) -> State:
    """Of VideoMAE, pre-trained (`encoder.`) or fine-tuned, or of a picture ViT of timm."""
    return _picture(source, mbt, source.prefix(("encoder.", "backbone.", "")))


def sound(source: Source, mbt: Mbt) -> State:
    """Of AST (`v.`), or of a distilled DeiT for pictures."""
    prefix = source.prefix(("v.", ""))
    return _sound(source, mbt, prefix, of_sound=prefix == "v.")


def whole(source: Source, mbt: Mbt) -> State:
    """Of a checkpoint of the authors' code; its heads where they score as many classes as ours."""
    model = source.prefix(("vit.vid_model.", "vid_model.")).removesuffix("vid_model.")
    state = _picture(source, mbt, f"{model}vid_model.")
    state |= _sound(source, mbt, f"{model}ast_model.v.", of_sound=True)
    state |= _same(source, mbt, f"{model}bottleneck", "bottleneck_token")
    for published, ours in (("v_fc", "video_head"), ("a_fc", "audio_head")):
        names = [(f"{model}{published}.{part}", f"{ours}.{part}") for part in ("weight", "bias")]
        if all(n in source and source.shape(n) == tuple(mbt.get_parameter(own).shape) for n, own in names):
            state |= {own: source.take(name, *source.shape(name)) for name, own in names}
    return state


def _picture(source: Source, mbt: Mbt, prefix: str) -> State:
    state = _blocks(source, mbt.video_blocks, prefix, "video_blocks")
    state |= _patches(source, mbt, f"{prefix}patch_embed.proj", "video_tokens.stem.project")
    state |= _same(source, mbt, f"{prefix}cls_token", "video_tokens.class_token")
    norm = next((n for n in ("norm", "fc_norm") if f"{prefix}{n}.weight" in source), "norm")
    for part in ("weight", "bias"):
        state |= _same(source, mbt, f"{prefix}{norm}.{part}", f"video_norm.{part}")
    return state


def _sound(source: Source, mbt: Mbt, prefix: str, of_sound: bool) -> State:
    state = _blocks(source, mbt.audio_blocks, prefix, "audio_blocks")
    state |= _patches(source, mbt, f"{prefix}patch_embed.proj", "audio_tokens.project")
    tokens = [f"{prefix}cls_token", f"{prefix}dist_token"]
    if all(name in source for name in tokens):
        width = mbt.audio_tokens.class_tokens.shape[-1]
        state["audio_tokens.class_tokens"] = torch.cat([source.take(name, 1, 1, width) for name in tokens], 1)
        if f"{prefix}pos_embed" in source:
            state["audio_tokens.position"] = _positions(source, mbt, f"{prefix}pos_embed", of_sound)
    for part in ("weight", "bias"):
        state |= _same(source, mbt, f"{prefix}norm.{part}", f"audio_norm.{part}")
    return state


def _same(source: Source, mbt: Mbt, name: str, ours: str) -> State:
    return {ours: source.take(name, *mbt.get_parameter(ours).shape)} if name in source else {}


def _blocks(source: Source, blocks: nn.ModuleList, prefix: str, ours: str) -> State:
    state: State = {}
    for rest, own in blocks.named_parameters():
        name = f"{prefix}blocks.{rest}"
        attention = name.removesuffix("qkv.bias")
        if name in source:
            state[f"{ours}.{rest}"] = source.take(name, *own.shape)
        elif attention != name and f"{attention}q_bias" in source and f"{attention}v_bias" in source:
            state[f"{ours}.{rest}"] = _joined_bias(source, attention, len(own) // 3)
    return state


def _joined_bias(source: Source, attention: str, width: int) -> Tensor:
    """The bias of q, k and v from `q_bias` and `v_bias`: one of k would shift all scores of a query alike."""
    q, v = (source.take(f"{attention}{part}_bias", width) for part in "qv")
    return torch.cat([q, torch.zeros_like(q), v])


def _patches(source: Source, mbt: Mbt, name: str, ours: str) -> State:
    """The patch embedding for our patches; sound has one colour, the sum of a picture's."""
    state = _same(source, mbt, f"{name}.bias", f"{ours}.bias")
    if f"{name}.weight" not in source:
        return state
    wanted = mbt.get_parameter(f"{ours}.weight").shape
    has = source.shape(f"{name}.weight")
    if len(has) not in (4, len(wanted)) or len(wanted) < 4:  # no patch embedding, or ours is no linear one
        raise source.misfit(f"{name}.weight", wanted)
    width, colours, *size = wanted
    weight = source.take(f"{name}.weight", width, None if colours == 1 else colours, *[None] * (len(has) - 2))
    if colours == 1:
        weight = weight.sum(1, keepdim=True)
    return {**state, f"{ours}.weight": resize_patches(weight, tuple(size))}


def _positions(source: Source, mbt: Mbt, name: str, of_sound: bool) -> Tensor:
    """The two special tokens' positions as they are, those of the patches cut in time, or interpolated."""
    own: Grid = mbt.audio_grid
    table = source.take(name, 1, None, mbt.audio_tokens.position.shape[-1])
    special, patches = table[:, :2], table[:, 2:]
    old = sound_grid(patches.shape[1], own) if of_sound else square_grid(patches.shape[1])
    if old is None or not patches.shape[1]:
        raise source.misfit(name, mbt.audio_tokens.position.shape)
    if of_sound:
        patches, old = cut_times(patches, old, own[1])
    return torch.cat([special, place(patches, old, own)], 1)
