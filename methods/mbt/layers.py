"""Layers of MBT: patch embeddings with positions and special tokens, and transformer blocks.

The blocks are those of timm, with less memory, recomputed or compiled.

Key: B clips, S segments, T frames, H W pixels, F sound frames, M mel bins, N patch tokens, K visible ones, D width,
h heads; b = B S segments of a batch, n = N plus the special tokens.
"""

from __future__ import annotations

import ctypes
import math
from collections.abc import Callable
from functools import partial
from typing import Any, Literal, TypeVar

import torch
from einops import rearrange
from jaxtyping import Float, Int, UInt8
from timm.models.vision_transformer import Block
from torch import Tensor, nn
from torch.nn.functional import linear, scaled_dot_product_attention
from torch.utils.checkpoint import checkpoint

from bench.errors import ConfigError
from bench.rng import RngTree

Module = TypeVar("Module", bound=nn.Module)

PIXEL_MEAN = 100 / 255  # input scale of the released weights: x / 255 - 100 / 255, no deviation
MEL_MEAN, MEL_SCALE = -6.6268, 2 * 5.3585

NORM_EPS = 1e-6  # of every layer norm of VideoMAE and AST
M_MMAP_THRESHOLD, MMAP_THRESHOLD_BYTES = -3, 4_000_000  # of mallopt; bytes
MIN_RECOMPUTE_SIZE = 1_000_000  # values of a tensor from which on the memory saved is worth the bookkeeping


def make_seeded(rng: RngTree, name: str, make: Callable[[], Module]) -> Module:
    """`make()` initialised under a seed of its own name, so that no other module can shift its weights."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(rng.derive_seed("weights", name))
        module = make()
        module.apply(_init_weights)
    return module


def centre_pixels(video: UInt8[Tensor, "b T H W 3"]) -> Float[Tensor, "b T H W 3"]:
    """Pixels around the segment's own mean colour, a deviation of 64 as one."""
    scaled = video.float() / 64
    return scaled - scaled.mean((1, 2, 3), keepdim=True)


def centre_mel(audio: Float[Tensor, "b F M"]) -> Float[Tensor, "b F M"]:
    """Log mel energies around the segment's own mean, over its own deviation: loudness is gone."""
    return (audio - audio.mean((1, 2), keepdim=True)) / (audio.std((1, 2), keepdim=True) + 0.1)


def scale_pixels(video: UInt8[Tensor, "*axes 3"]) -> Float[Tensor, "*axes 3"]:
    """Pixels on the scale of the released weights."""
    return video.float() / 255 - PIXEL_MEAN


def scale_mel(audio: Float[Tensor, "*axes M"]) -> Float[Tensor, "*axes M"]:
    """Log mel energies on the scale of the released weights."""
    return (audio - MEL_MEAN) / MEL_SCALE


class LinearStem(nn.Module):
    """A tubelet's pixels times a matrix, as ViT has it."""

    def __init__(self, tubelet: int, patch: int, width: int) -> None:
        super().__init__()
        self.project = nn.Conv3d(3, width, (tubelet, patch, patch), (tubelet, patch, patch))

    def forward(self, video: Float[Tensor, "b T H W 3"]) -> Float[Tensor, "b N D"]:
        """One token a tubelet, along time, then height, then width."""
        projected = self.project(rearrange(video, "b t h w c -> b c t h w"))
        tokens: Tensor = rearrange(projected, "b d t h w -> b (t h w) d")
        return tokens


class LocalStem(nn.Module):
    """Two convolutions within a tubelet, then the mean and the largest value of each channel.

    Learns forms wherever they stand in the patch from a hundred clips, where a matrix wants thousands; and sees nothing
    beyond its tubelet, so that a hidden one stays hidden.
    """

    channels = 24

    def __init__(self, tubelet: int, patch: int, width: int) -> None:
        super().__init__()
        self.tubelet, self.patch = tubelet, patch
        self.edges = nn.Conv2d(3 * tubelet, self.channels, 3, 2, 1)
        self.forms = nn.Conv2d(self.channels, self.channels, 3, 2, 1)
        self.norms = nn.ModuleList(nn.GroupNorm(4, self.channels) for _ in range(2))
        self.project = nn.Linear(2 * self.channels, width)

    def forward(self, video: Float[Tensor, "b T H W 3"]) -> Float[Tensor, "b N D"]:
        """One token a tubelet, along time, then height, then width."""
        sizes = {"a": self.tubelet, "x": self.patch, "y": self.patch}
        pieces = rearrange(video, "b (t a) (h x) (w y) c -> (b t h w) (a c) x y", **sizes)
        for convolve, norm in zip((self.edges, self.forms), self.norms, strict=True):
            pieces = nn.functional.gelu(norm(convolve(pieces)))
        pooled = self.project(torch.cat([pieces.mean((2, 3)), pieces.amax((2, 3))], 1))
        tokens: Tensor = rearrange(pooled, "(b n) d -> b n d", b=len(video))
        return tokens


STEMS: dict[str, type[LinearStem] | type[LocalStem]] = {"linear": LinearStem, "local": LocalStem}


class VideoTokens(nn.Module):
    """Tubelets of `tubelet` frames by patch x patch pixels, one class token in front, sinusoidal positions for all."""

    def __init__(
        self, frames: int, size: int, tubelet: int, patch: int, width: int, stem: Literal["linear", "local"] = "linear"
    ) -> None:
        super().__init__()
        if frames % tubelet or size % patch:
            raise ConfigError(
                f"frames {frames} and size {size} must be multiples of tubelet {tubelet} and patch {patch}"
            )
        self.grid = (frames // tubelet, size // patch, size // patch)
        self.stem = STEMS[stem](tubelet, patch, width)
        self.class_token = nn.Parameter(torch.zeros(1, 1, width))
        self.register_buffer("position", sinusoidal_positions(1 + math.prod(self.grid), width), persistent=False)
        self.position: Tensor

    def forward(self, video: Float[Tensor, "b T H W 3"]) -> Float[Tensor, "b N D"]:
        """The patch tokens with their positions."""
        tokens: Tensor = self.stem(video) + self.position[:, 1:]
        return tokens

    def get_special_tokens(self) -> Float[Tensor, "1 1 D"]:
        """The class token with its position, the first one."""
        return self.class_token + self.position[:, :1]


class AudioTokens(nn.Module):
    """Overlapping patches of a log-mel segment, learnt positions, a class and a distillation token in front."""

    def __init__(self, mels: int, patch: int, stride: int, width: int, frames: int = 100) -> None:
        super().__init__()
        if mels < patch:
            raise ConfigError(f"audio_patch {patch} is larger than the {mels} mel bins")
        self.grid = ((mels - patch) // stride + 1, (frames - patch) // stride + 1)  # bins, then time, as AST has them
        self.project = nn.Conv2d(1, width, patch, stride)
        self.class_tokens = nn.Parameter(torch.zeros(1, 2, width))
        self.position = nn.Parameter(torch.zeros(1, 2 + self.grid[0] * self.grid[1], width))

    def forward(self, audio: Float[Tensor, "b F M"]) -> Float[Tensor, "b N D"]:
        """The patch tokens with their positions."""
        tokens = rearrange(self.project(rearrange(audio, "b f m -> b 1 m f")), "b d m f -> b (m f) d")
        placed: Tensor = tokens + self.position[:, 2:]
        return placed

    def get_special_tokens(self) -> Float[Tensor, "1 2 D"]:
        """The class and the distillation token with their positions."""
        return self.class_tokens + self.position[:, :2]


def prepend_special_tokens(
    special: Float[Tensor, "1 k D"], tokens: Float[Tensor, "b N D"], visible: Int[Tensor, "b K"] | None
) -> Float[Tensor, "b n D"]:
    """The special tokens, and the patch tokens at the visible places in the order of those places."""
    if visible is not None:
        tokens = tokens.gather(1, visible[..., None].expand(-1, -1, tokens.shape[-1]))
    return torch.cat([special.expand(len(tokens), -1, -1), tokens], dim=1)


def sinusoidal_positions(count: int, width: int) -> Float[Tensor, "1 N D"]:
    """Fixed positions: sines and cosines of falling frequency in turn (Vaswani et al., 2017)."""
    place = torch.arange(count, dtype=torch.float64)[:, None]
    angle = place / 10000 ** (2 * (torch.arange(width) // 2) / width)
    table = torch.where(torch.arange(width) % 2 == 0, angle.sin(), angle.cos())
    return table.float()[None]


def _init_weights(module: nn.Module) -> None:
    if isinstance(module, nn.Linear | nn.Conv2d | nn.Conv3d):
        nn.init.xavier_uniform_(module.weight.flatten(1) if module.weight.ndim > 2 else module.weight)
        if module.bias is not None:
            nn.init.zeros_(module.bias)
    for name, parameter in module.named_parameters(recurse=False):
        if "token" in name or name == "position":
            nn.init.trunc_normal_(parameter, std=0.02)


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
        out = self._recompute_in_backward(lambda hidden: mlp.fc2(mlp.drop1(mlp.act(hidden))), hidden)
        through: Tensor = x + mlp.drop2(out)
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
    blocks = [LeanBlock(width, heads, qkv_bias=True, proj_drop=dropout, norm_layer=norm) for _ in range(depth)]
    if compiled:
        for block in blocks:
            block.compile()
    return nn.ModuleList(blocks)


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
