"""Layers of MBT: patch embeddings with positions and special tokens, and transformer blocks.

The blocks are timm's, changed to use less memory; they can be recomputed in the backward pass or compiled.

Key: B clips, S segments, T frames, H W pixels, F audio frames, M mel bins, N patch tokens, K visible ones, D width,
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

PIXEL_MEAN = 100 / 255  # input scale of the released weights: x / 255 - 100 / 255, no division by a deviation
MEL_MEAN, MEL_SCALE = -6.6268, 2 * 5.3585

NORM_EPS = 1e-6  # of all layer norms in VideoMAE and AST
M_MMAP_THRESHOLD, MMAP_THRESHOLD_BYTES = -3, 4_000_000  # mallopt option and its value
MIN_RECOMPUTE_SIZE = 1_000_000  # values per tensor; recomputing smaller ones saves too little memory


def make_seeded(rng: RngTree, name: str, make: Callable[[], Module]) -> Module:
    """Return `make()` initialised under a seed derived from `name`, so that its weights depend on no other module."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(rng.derive_seed("weights", name))
        module = make()
        module.apply(_init_weights)
    return module


def centre_pixels(video: UInt8[Tensor, "b T H W 3"]) -> Float[Tensor, "b T H W 3"]:
    """Subtract the segment's mean colour from its pixels and divide by 64."""
    scaled = video.float() / 64
    return scaled - scaled.mean((1, 2, 3), keepdim=True)


def centre_mel(audio: Float[Tensor, "b F M"]) -> Float[Tensor, "b F M"]:
    """Standardise the log-mel energies of each segment, which removes its loudness."""
    return (audio - audio.mean((1, 2), keepdim=True)) / (audio.std((1, 2), keepdim=True) + 0.1)


def scale_pixels(video: UInt8[Tensor, "*axes 3"]) -> Float[Tensor, "*axes 3"]:
    """Scale pixels as the released weights expect."""
    return video.float() / 255 - PIXEL_MEAN


def scale_mel(audio: Float[Tensor, "*axes M"]) -> Float[Tensor, "*axes M"]:
    """Scale log-mel energies as the released weights expect."""
    return (audio - MEL_MEAN) / MEL_SCALE


class LinearStem(nn.Module):
    """Linear projection of each tubelet, as in ViT."""

    def __init__(self, tubelet: int, patch: int, width: int) -> None:
        super().__init__()
        self.project = nn.Conv3d(3, width, (tubelet, patch, patch), (tubelet, patch, patch))

    def forward(self, video: Float[Tensor, "b T H W 3"]) -> Float[Tensor, "b N D"]:
        """Return one token per tubelet, ordered by time, height and width."""
        projected = self.project(rearrange(video, "b t h w c -> b c t h w"))
        tokens: Tensor = rearrange(projected, "b d t h w -> b (t h w) d")
        return tokens


class LocalStem(nn.Module):
    """Two convolutions within each tubelet, then the mean and maximum of each channel.

    Learns position-independent shapes from about a hundred clips, where a linear projection needs thousands. Its
    receptive field ends at the tubelet, so that visible tokens contain nothing of masked ones.
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
        """Return one token per tubelet, ordered by time, height and width."""
        sizes = {"a": self.tubelet, "x": self.patch, "y": self.patch}
        pieces = rearrange(video, "b (t a) (h x) (w y) c -> (b t h w) (a c) x y", **sizes)
        for convolve, norm in zip((self.edges, self.forms), self.norms, strict=True):
            pieces = nn.functional.gelu(norm(convolve(pieces)))
        pooled = self.project(torch.cat([pieces.mean((2, 3)), pieces.amax((2, 3))], 1))
        tokens: Tensor = rearrange(pooled, "(b n) d -> b n d", b=len(video))
        return tokens


STEMS: dict[str, type[LinearStem] | type[LocalStem]] = {"linear": LinearStem, "local": LocalStem}


class VideoTokens(nn.Module):
    """Tokens of tubelets (`tubelet` frames, patch x patch pixels) and a class token, with sinusoidal positions."""

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
        """Return the patch tokens with positions added."""
        tokens: Tensor = self.stem(video) + self.position[:, 1:]
        return tokens

    def get_special_tokens(self) -> Float[Tensor, "1 1 D"]:
        """Return the class token with its position added."""
        return self.class_token + self.position[:, :1]


class AudioTokens(nn.Module):
    """Tokens of overlapping log-mel patches, a class and a distillation token, with learnt positions."""

    def __init__(self, mels: int, patch: int, stride: int, width: int, frames: int = 100) -> None:
        super().__init__()
        if mels < patch:
            raise ConfigError(f"audio_patch {patch} is larger than the {mels} mel bins; change one of them")
        self.grid = ((mels - patch) // stride + 1, (frames - patch) // stride + 1)  # bins, then time, as in AST
        self.project = nn.Conv2d(1, width, patch, stride)
        self.class_tokens = nn.Parameter(torch.zeros(1, 2, width))
        self.position = nn.Parameter(torch.zeros(1, 2 + self.grid[0] * self.grid[1], width))

    def forward(self, audio: Float[Tensor, "b F M"]) -> Float[Tensor, "b N D"]:
        """Return the patch tokens with positions added."""
        tokens = rearrange(self.project(rearrange(audio, "b f m -> b 1 m f")), "b d m f -> b (m f) d")
        placed: Tensor = tokens + self.position[:, 2:]
        return placed

    def get_special_tokens(self) -> Float[Tensor, "1 2 D"]:
        """Return the class and the distillation token with positions added."""
        return self.class_tokens + self.position[:, :2]


def prepend_special_tokens(
    special: Float[Tensor, "1 k D"], tokens: Float[Tensor, "b N D"], visible: Int[Tensor, "b K"] | None
) -> Float[Tensor, "b n D"]:
    """Concatenate the special tokens and the patch tokens at the `visible` indices (all if None)."""
    if visible is not None:
        tokens = tokens.gather(1, visible[..., None].expand(-1, -1, tokens.shape[-1]))
    return torch.cat([special.expand(len(tokens), -1, -1), tokens], dim=1)


def sinusoidal_positions(count: int, width: int) -> Float[Tensor, "1 N D"]:
    """Return fixed positions: alternating sines and cosines of falling frequency (Vaswani et al., 2017)."""
    position = torch.arange(count, dtype=torch.float64)[:, None]
    angle = position / 10000 ** (2 * (torch.arange(width) // 2) / width)
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
    """Pre-norm block of timm that recomputes its norms and its GELU in the backward pass.

    They are cheap next to the matrix products and make up a third of the block's stored activations.
    """

    def forward(self, x: Float[Tensor, "b n D"]) -> Float[Tensor, "b n D"]:
        """Apply attention and the MLP, each with a residual connection."""
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
        """Return part(x) and store only x for the backward pass.

        The backward pass recomputes `part` up to its matrix product, whose result it does not need.
        """
        if x.numel() < MIN_RECOMPUTE_SIZE or not torch.is_grad_enabled() or torch.compiler.is_compiling():
            return part(x)
        drops = self.training and self.mlp.drop1.p > 0
        kept: Tensor = checkpoint(part, x, use_reentrant=False, preserve_rng_state=drops)
        return kept


def make_blocks(
    width: int, depth: int, heads: int, dropout: float = 0.0, compiled: bool = False, eps: float = NORM_EPS
) -> nn.ModuleList:
    """Make pre-norm blocks whose MLP is four times as wide as the tokens."""
    norm = partial(nn.LayerNorm, eps=eps)
    blocks = [LeanBlock(width, heads, qkv_bias=True, proj_drop=dropout, norm_layer=norm) for _ in range(depth)]
    if compiled:
        for block in blocks:
            block.compile()
    return nn.ModuleList(blocks)


def run_block(block: nn.Module, tokens: Float[Tensor, "b n D"], recompute: bool) -> Float[Tensor, "b n D"]:
    """Run a block; with `recompute` its activations are not stored but recomputed in the backward pass."""
    if recompute and torch.is_grad_enabled():
        again: Tensor = checkpoint(block, tokens, use_reentrant=False)
        return again
    through: Tensor = block(tokens)
    return through


def return_freed_memory() -> None:
    """Make glibc return the memory of freed large tensors to the system; do nothing with other C libraries.

    At the paper's size this saves half a gigabyte and costs 5 % of the speed.
    """
    libc = ctypes.CDLL(None)
    if hasattr(libc, "mallopt"):
        libc.mallopt(M_MMAP_THRESHOLD, MMAP_THRESHOLD_BYTES)


@torch.no_grad()
def compute_class_attention(block: Any, tokens: Float[Tensor, "b n D"], special: int, end: int) -> Float[Tensor, "b N"]:
    """Compute the attention of the first `special` tokens to the patches (tokens `special` to `end`) in a block.

    Mean over heads and special tokens, without gradient. Queries are computed for the special tokens only.
    """
    attention, width = block.attn, tokens.shape[-1]
    normed = block.norm1(tokens)
    weight, bias = attention.qkv.weight, attention.qkv.bias
    q = linear(normed[:, :special], weight[:width], bias[:width])
    k = linear(normed, weight[width : 2 * width], bias[width : 2 * width])
    q, k = (rearrange(x, "b n (h d) -> b h n d", h=attention.num_heads) for x in (q, k))
    maps = (q * attention.scale @ k.transpose(-2, -1)).softmax(-1)
    attention_map: Tensor = maps[..., special:end].mean((1, 2))
    return attention_map
