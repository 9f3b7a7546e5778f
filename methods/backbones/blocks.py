"""Transformer blocks as both encoders and the decoders use them: timm's, run plainly, recomputed, or compiled.

Key: b segments, n tokens, N patch tokens, D width.
"""

from __future__ import annotations

from functools import partial
from typing import Any

import torch
from einops import rearrange
from jaxtyping import Float
from timm.models.vision_transformer import Block
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

EPS = 1e-6  # of every layer norm of VideoMAE and AST


def blocks(
    width: int, depth: int, heads: int, dropout: float = 0.0, compiled: bool = False, eps: float = EPS
) -> nn.ModuleList:
    """Pre-norm blocks with an MLP four times as wide."""
    norm = partial(nn.LayerNorm, eps=eps)
    made = nn.ModuleList(Block(width, heads, qkv_bias=True, proj_drop=dropout, norm_layer=norm) for _ in range(depth))
    if compiled:
        for block in made:
            block.compile()
    return made


def run(block: nn.Module, tokens: Float[Tensor, "b n D"], recompute: bool) -> Float[Tensor, "b n D"]:
    """Tokens through a block; with `recompute` its inside is not kept for the backward pass but computed again."""
    if recompute and torch.is_grad_enabled():
        again: Tensor = checkpoint(block, tokens, use_reentrant=False)
        return again
    through: Tensor = block(tokens)
    return through


def class_attention(block: Any, tokens: Float[Tensor, "b n D"], special: int, own: int) -> Float[Tensor, "b N"]:
    """Attention of the first `special` tokens to the patches (the tokens from there to `own`) in a block, mean over
    heads and special tokens. Queries are made of the special tokens alone."""
    attention, width = block.attn, tokens.shape[-1]
    normed = block.norm1(tokens)
    weight, bias = attention.qkv.weight, attention.qkv.bias
    q = nn.functional.linear(normed[:, :special], weight[:width], bias[:width])
    k = nn.functional.linear(normed, weight[width : 2 * width], bias[width : 2 * width])
    q, k = (rearrange(x, "b n (h d) -> b h n d", h=attention.num_heads) for x in (q, k))
    maps = (q * attention.scale @ k.transpose(-2, -1)).softmax(-1)
    found: Tensor = maps[..., special:own].mean((1, 2))
    return found
