"""Small weight files with the parameter names of each published model."""

from __future__ import annotations

import zlib
from pathlib import Path

import torch
from torch import Tensor

Tensors = dict[str, Tensor]


def made(**shapes: tuple[int, ...]) -> Tensors:
    """Make tensors whose values depend on their names; `__` in a name becomes a dot."""
    named = {name.replace("__", "."): shape for name, shape in shapes.items()}
    seeds = {name: torch.Generator().manual_seed(zlib.crc32(name.encode())) for name in named}
    return {name: torch.randn(shape, generator=seeds[name]) / 10 for name, shape in named.items()}


def layer(name: str, *shape: int) -> Tensors:
    """Make a weight and its bias."""
    return made(**{f"{name}.weight": shape, f"{name}.bias": shape[:1]})


def vit(patch: tuple[int, ...], width: int = 32, split_bias: bool = False) -> Tensors:
    """Make the tensors that all published transformers share; `patch` is (colours, ...)."""
    found = layer("patch_embed.proj", width, *patch)
    for block in ("blocks.0", "blocks.1"):
        found |= {**layer(f"{block}.norm1", width), **layer(f"{block}.norm2", width)}
        found |= {**layer(f"{block}.mlp.fc1", 4 * width, width), **layer(f"{block}.mlp.fc2", width, 4 * width)}
        found |= {**layer(f"{block}.attn.proj", width, width), **layer(f"{block}.attn.qkv", 3 * width, width)}
        if split_bias:
            del found[f"{block}.attn.qkv.bias"]
            found |= made(**{f"{block}.attn.q_bias": (width,), f"{block}.attn.v_bias": (width,)})
    return found


def videomae(patch: tuple[int, ...] = (3, 2, 8, 8), width: int = 32) -> Tensors:
    """Make a fine-tuned VideoMAE."""
    return {**vit(patch, width, split_bias=True), **layer("fc_norm", width), **layer("head", 400, width)}


def pretrained_videomae() -> Tensors:
    """Make a pre-trained VideoMAE with its decoder."""
    encoder = {**vit((3, 2, 8, 8), split_bias=True), **layer("norm", 32)}
    rest = made(encoder_to_decoder__weight=(16, 32), mask_token=(1, 1, 16), decoder__norm__weight=(16,))
    return {**renamed("encoder.", encoder), **rest}


def deit(side: int = 5, patch: tuple[int, ...] = (3, 16, 16), width: int = 32) -> Tensors:
    """Make a distilled DeiT for images of side x side patches."""
    special = made(cls_token=(1, 1, width), dist_token=(1, 1, width), pos_embed=(1, 2 + side * side, width))
    heads = made(head__weight=(9, width), head_dist__weight=(9, width))
    return {**vit(patch, width), **layer("norm", width), **special, **heads}


def ast(grid: tuple[int, int] = (12, 101), width: int = 32) -> Tensors:
    """Make an AST as its data-parallel training saved it."""
    tower = {**deit(patch=(1, 16, 16), width=width), **made(pos_embed=(1, 2 + grid[0] * grid[1], width))}
    return renamed("module.", {**renamed("v.", tower), **layer("mlp_head.0", width), **layer("mlp_head.1", 9, width)})


def authors(grid: tuple[int, int], classes: int = 3, width: int = 32) -> Tensors:
    """Make a full checkpoint of the authors' code."""
    audio = {name.replace("module.", "ast_model."): tensor for name, tensor in ast(grid, width).items()}
    video = renamed("vid_model.", {**videomae(width=width), **made(cls_token=(1, 1, width))})
    heads = {**layer("v_fc", classes, width), **layer("a_fc", classes, width)}
    model = {**video, **audio, **made(bottleneck=(1, 2, width)), **heads}
    return {**renamed("vit.", model), **layer("tacl.v_norm", width), **layer("decoder_pred", 8, 16)}


def renamed(prefix: str, tensors: Tensors) -> Tensors:
    """Return the same tensors with a prefix."""
    return {f"{prefix}{name}": tensor for name, tensor in tensors.items()}


def write(path: Path, tensors: Tensors, wrapper: str = "model") -> Path:
    """Save tensors with torch.save, with a wrapper dict and another value; return the path."""
    torch.save({wrapper: tensors, "epoch": 3} if wrapper else tensors, path)
    return path
