"""Transformer blocks of the encoders and decoders: those of timm, with less memory, recomputed or compiled.

Key: b segments, n tokens, N patch tokens, D width, h heads.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from einops import rearrange
from jaxtyping import Float
from timm.models.vision_transformer import Block
from torch import Tensor, nn
from torch.nn.functional import linear, scaled_dot_product_attention
from torch.utils.checkpoint import checkpoint

NORM_EPS = 1e-6  # of every layer norm of VideoMAE and AST
M_MMAP_THRESHOLD, MMAP_THRESHOLD_BYTES = -3, 4_000_000  # of mallopt; bytes
MIN_RECOMPUTE_SIZE = 1_000_000  # values of a tensor from which on the memory saved is worth the bookkeeping


class LeanBlock(Block):  # type: ignore[misc]
    """timm's pre-norm block. Its norms and its GELU, cheap beside the products, are computed again in the backward pass
    rather than kept, which is a third of what a block would keep."""

    def forward(self, x: Float[Tensor, "b n D"]) -> Float[Tensor, "b n D"]:
        """Attention, then the MLP, each added to what came in."""
        attention, mlp = self.attn, self.mlp
        qkv = self._recompute_in_backward(lambda x: attention.qkv(self.norm1(x)), x)
        q, k, v = rearrange(qkv, "b n (three h d) -> three b h n d", three=3, h=attention.num_heads)
        mixed = rearrange(scaled_dot_product_attention(q, k, v), "b h n d -> b n (h d)")
        x = x + attention.proj_drop(attention.proj(mixed))
        hidden = self._recompute_in_backward(lambda x: mlp.fc1(self.norm2(x)), x)
        through: Tensor = x + mlp.drop2(
            self._recompute_in_backward(lambda hidden: mlp.fc2(mlp.drop1(mlp.act(hidden))), hidden)
        )
        return through

    def _recompute_in_backward(self, part: Callable[[Tensor], Tensor], x: Tensor) -> Tensor:
        """part(x), keeping x alone. The backward pass computes anew what comes before the part's product, and stops
        short of the product itself, whose result nothing there needs."""
        if x.numel() < MIN_RECOMPUTE_SIZE or not torch.is_grad_enabled() or torch.compiler.is_compiling():
            return part(x)
        drops = self.training and self.mlp.drop1.p > 0
        kept: Tensor = checkpoint(part, x, use_reentrant=False, preserve_rng_state=drops)
        return kept


def make_blocks(
    width: int, depth: int, heads: int, dropout: float = 0.0, compiled: bool = False, eps: float = NORM_EPS
) -> nn.ModuleList:
    """Pre-norm blocks with an MLP four times as wide."""
    norm = partial(nn.LayerNorm, eps=eps)
    made = nn.ModuleList(
        LeanBlock(width, heads, qkv_bias=True, proj_drop=dropout, norm_layer=norm) for _ in range(depth)
    )
    if compiled:
        for block in made:
            block.compile()
    return made


def run_block(block: nn.Module, tokens: Float[Tensor, "b n D"], recompute: bool) -> Float[Tensor, "b n D"]:
    """Tokens through a block; with `recompute` nothing of its inside is kept, and all is computed again."""
    if recompute and torch.is_grad_enabled():
        again: Tensor = checkpoint(block, tokens, use_reentrant=False)
        return again
    through: Tensor = block(tokens)
    return through


def return_freed_memory() -> None:
    """Have large tensors' memory given back to the system when they are freed, where the C library is glibc: it would
    keep half a gigabyte of it for later at the paper's size, which is 5 % faster."""
    libc = ctypes.CDLL(None)
    if hasattr(libc, "mallopt"):
        libc.mallopt(M_MMAP_THRESHOLD, MMAP_THRESHOLD_BYTES)


@torch.no_grad()
def compute_class_attention(block: Any, tokens: Float[Tensor, "b n D"], special: int, own: int) -> Float[Tensor, "b N"]:
    """Attention of the first `special` tokens to the patches (the tokens from there to `own`) in a block, mean over
    heads and special tokens, without gradient. Queries are made of the special tokens alone."""
    attention, width = block.attn, tokens.shape[-1]
    normed = block.norm1(tokens)
    weight, bias = attention.qkv.weight, attention.qkv.bias
    q = linear(normed[:, :special], weight[:width], bias[:width])
    k = linear(normed, weight[width : 2 * width], bias[width : 2 * width])
    q, k = (rearrange(x, "b n (h d) -> b h n d", h=attention.num_heads) for x in (q, k))
    maps = (q * attention.scale @ k.transpose(-2, -1)).softmax(-1)
    found: Tensor = maps[..., special:own].mean((1, 2))
    return found
