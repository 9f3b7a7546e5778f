"""Recovery of what was hidden: decoders, and the losses of patches and of the emotion distribution (METHOD.md
section 6).

Key: B clips, S segments, N tokens, n visible ones, D width, W width of a decoder, Q values of a patch, C classes.
"""

from __future__ import annotations

import math
from typing import Literal

import torch
from einops import rearrange
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn
from torch.nn.functional import fold, kl_div, log_softmax, softmax, unfold

from bench.errors import ConfigError
from bench.streams import Streams
from methods.backbones.blocks import EPS, blocks, run
from methods.backbones.mbt import Mbt
from methods.backbones.tokens import seeded, sinusoids
from methods.mart.config import MartConfig


class Decoder(nn.Module):
    """Visible tokens, and mask tokens at the hidden places, to patches and to a mean feature."""

    def __init__(self, config: MartConfig, tokens: int, values: int, classes: int) -> None:
        super().__init__()
        own, heads = config.decoder_width, config.decoder_heads
        if own % heads:
            raise ConfigError(f"decoder_width {own} is no multiple of decoder_heads {heads}")
        self.recompute = config.recompute
        self.enter = nn.Linear(config.width, own)
        self.mask_token = nn.Parameter(torch.zeros(own))
        self.register_buffer("position", sinusoids(tokens, own), persistent=False)
        self.position: Tensor
        self.blocks = blocks(own, config.decoder_depth, heads, compiled=config.compile)
        self.norm = nn.LayerNorm(own, EPS)
        self.patches = nn.Linear(own, values)
        self.classes = nn.Linear(own, classes)

    def forward(
        self, visible: Float[Tensor, "B S n D"], places: Int[Tensor, "B S n"]
    ) -> tuple[Float[Tensor, "B S N Q"], Float[Tensor, "B S C"]]:
        """Predicted patches, and the modality's share of the emotion scores."""
        clips, segments, _, _ = visible.shape
        entered = self.enter(visible)
        full = self.mask_token.to(entered.dtype).expand(clips, segments, self.position.shape[1], -1)
        full = full.scatter(2, places[..., None].expand_as(entered), entered)
        tokens = rearrange(full, "B S n w -> (B S) n w") + self.position
        for block in self.blocks:
            tokens = run(block, tokens, self.recompute)
        tokens = rearrange(self.norm(tokens), "(B S) n w -> B S n w", B=clips)
        return self.patches(tokens), self.classes(tokens.mean(2))


def make_decoders(
    config: MartConfig, mbt: Mbt, classes: int, picture: int, sound: bool, streams: Streams
) -> nn.ModuleDict:
    """A decoder of picture patches of `picture` values, and one of sound patches where the target has them."""
    sizes = {"video": (math.prod(mbt.video_grid), config.tubelet * config.patch**2 * 3)}
    if sound:
        sizes["audio"] = (math.prod(mbt.audio_grid), config.audio_patch**2)
    made = {
        name: seeded(
            streams,
            f"mart.decoder.{name}",
            lambda tokens=tokens, values=values: Decoder(config, tokens, values, classes),  # type: ignore[misc]
        )
        for name, (tokens, values) in sizes.items()
    }
    if picture != sizes["video"][1]:  # a last layer of its own: the others start as they do under every target
        last = seeded(streams, "mart.decoder.video.target", lambda: nn.Linear(config.decoder_width, picture))
        made["video"].patches = last
    return nn.ModuleDict(made)


def audio_free(
    hidden: Bool[Tensor, "B S N"], mels: int, frames: int, patch: int, stride: int
) -> Bool[Tensor, "B S N Q"]:
    """Values of hidden patches that no visible patch overlaps: the others can be copied rather than recovered."""
    clips = len(hidden)
    seen = rearrange((~hidden).float(), "B S n -> (B S) 1 n").expand(-1, patch * patch, -1)
    covered = fold(seen, (mels, frames), patch, stride=stride) > 0
    of_patch = rearrange(unfold(covered.float(), patch, stride=stride), "(B S) q n -> B S n q", B=clips)
    return (of_patch == 0) & hidden[..., None]


def patch_loss(
    predicted: Float[Tensor, "B S N Q"], target: Float[Tensor, "B S N Q"], counted: Bool[Tensor, "B S N Q"]
) -> Float[Tensor, " B"]:
    """Squared error over the counted values of a segment, mean over segments; 0 where nothing is counted."""
    weight = counted.float()
    error = ((predicted - target).square() * weight).sum((2, 3)) / weight.sum((2, 3)).clamp(min=1)
    return error.mean(1)


def distribution_loss(
    curve: Float[Tensor, "B S C"], scores: Float[Tensor, "B S C"], axis: Literal["class", "time"]
) -> Float[Tensor, " B"]:
    """KL(softmax(D_tcam) || softmax(scores)), mean over segments (axis class) or over classes (axis time)."""
    dim = -1 if axis == "class" else 1
    divergence = kl_div(log_softmax(scores, dim), softmax(curve.detach(), dim), reduction="none").sum(dim)
    return divergence.mean(-1)
