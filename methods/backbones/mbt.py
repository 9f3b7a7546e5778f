"""MBT: a picture and a sound encoder whose last blocks talk through bottleneck tokens (METHOD.md section 1).

Key: B clips, S segments, Nv Na patch tokens, Kv Ka visible ones, D width, C classes. One implementation serves every
size: the config says how wide and deep.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from einops import rearrange, repeat
from jaxtyping import Bool, Float, Int
from timm.models.vision_transformer import Block
from torch import Tensor, nn

from bench.data import Inputs
from bench.errors import ConfigError
from bench.streams import Streams
from methods.backbones.config import MbtConfig
from methods.backbones.tokens import (
    AudioTokens,
    VideoTokens,
    centred_mel,
    centred_pixels,
    mel,
    pixels,
    seeded,
    sequence,
)

SCALES = {"released": (pixels, mel), "segment": (centred_pixels, centred_mel)}


@dataclass(frozen=True)
class Embedded:
    """The patch tokens of every segment with their positions, and which modalities each clip has."""

    video: Float[Tensor, "B S Nv D"]
    audio: Float[Tensor, "B S Na D"]
    present: Bool[Tensor, "B 3"]


@dataclass(frozen=True)
class Visible:
    """Places of the patch tokens that pass; as many in every segment of a modality."""

    video: Int[Tensor, "B S Kv"]
    audio: Int[Tensor, "B S Ka"]


@dataclass(frozen=True)
class Encoded:
    """What the encoders say of every segment. The attention is that of the class tokens to the patches in the last
    block, mean over heads (sound: and over its two special tokens); None unless asked for."""

    video: Float[Tensor, "B S Nv D"]
    audio: Float[Tensor, "B S Na D"]
    video_class: Float[Tensor, "B S D"]
    audio_class: Float[Tensor, "B S D"]
    video_attention: Float[Tensor, "B S Nv"] | None = None
    audio_attention: Float[Tensor, "B S Na"] | None = None


class Mbt(nn.Module):
    """Both encoders, their fusion and the two heads; fc(z) is the sum of the heads' scores."""

    def __init__(self, config: MbtConfig, classes: int, streams: Streams) -> None:
        super().__init__()
        if config.width % config.heads:
            raise ConfigError(f"width {config.width} is no multiple of heads {config.heads}")
        if config.fusion_depth > config.depth:
            raise ConfigError(f"fusion_depth {config.fusion_depth} exceeds depth {config.depth}")
        width = config.width
        self.scale_video, self.scale_audio = SCALES[config.scale]
        self.fusion_from = config.depth - config.fusion_depth
        self.video_tokens = seeded(
            streams,
            "video.tokens",
            lambda: VideoTokens(config.frames, config.size, config.tubelet, config.patch, width, config.stem),
        )
        self.audio_tokens = seeded(
            streams,
            "audio.tokens",
            lambda: AudioTokens(config.mels, config.audio_patch, config.audio_stride, width),
        )
        self.video_blocks = seeded(streams, "video.blocks", lambda: _blocks(config))
        self.audio_blocks = seeded(streams, "audio.blocks", lambda: _blocks(config))
        self.video_norm, self.audio_norm = nn.LayerNorm(width), nn.LayerNorm(width)
        self.bottleneck_token = nn.Parameter(torch.empty(1, config.bottleneck, width))
        nn.init.trunc_normal_(self.bottleneck_token, std=0.02, generator=streams.torch("weights", "bottleneck"))
        self.video_head = seeded(streams, "video.head", lambda: nn.Linear(width, classes))
        self.audio_head = seeded(streams, "audio.head", lambda: nn.Linear(width, classes))

    @property
    def video_grid(self) -> tuple[int, int, int]:
        """Tokens along time, height and width."""
        return self.video_tokens.grid

    @property
    def audio_grid(self) -> tuple[int, int]:
        """Tokens along mel bins and time."""
        return self.audio_tokens.grid

    def embed(self, inputs: Inputs) -> Embedded:
        """Picture and sound as patch tokens: made once, whichever of them the passes that follow may see."""
        clips = len(inputs.present)
        video = self.video_tokens(self.scale_video(rearrange(inputs.video, "B S t h w c -> (B S) t h w c")))
        audio = self.audio_tokens(self.scale_audio(rearrange(inputs.audio, "B S f m -> (B S) f m")))
        video, audio = (rearrange(tokens, "(B S) n d -> B S n d", B=clips) for tokens in (video, audio))
        return Embedded(video, audio, inputs.present)

    def encode(self, tokens: Embedded, visible: Visible | None = None, attention: bool = False) -> Encoded:
        """Tokens and class features of every segment. What is absent is masked out of the exchange, and its class
        features are zeros, so that its parameters stay in the graph and its content has no effect."""
        clips, segments = tokens.video.shape[:2]
        places = (None, None) if visible is None else (visible.video.flatten(0, 1), visible.audio.flatten(0, 1))
        video = sequence(self.video_tokens.special_tokens(), tokens.video.flatten(0, 1), places[0])
        audio = sequence(self.audio_tokens.special_tokens(), tokens.audio.flatten(0, 1), places[1])
        present = repeat(tokens.present[:, :2].float(), "B m -> (B S) m 1 1", S=segments)
        for block in self.video_blocks[: self.fusion_from]:
            video = block(video)
        for block in self.audio_blocks[: self.fusion_from]:
            audio = block(audio)
        video_last, audio_last = video, audio
        between = self.bottleneck_token.expand(len(video), -1, -1)
        for video_block, audio_block in zip(
            self.video_blocks[self.fusion_from :], self.audio_blocks[self.fusion_from :], strict=True
        ):
            video_last, audio_last = torch.cat([video, between], 1), torch.cat([audio, between], 1)
            video, audio, between = _exchange(video_block(video_last), audio_block(audio_last), between, present)
        video_maps = audio_maps = None
        if attention:
            maps_v = _class_attention(self.video_blocks[-1], video_last, 1, video.shape[1])
            maps_a = _class_attention(self.audio_blocks[-1], audio_last, 2, audio.shape[1])
            video_maps, audio_maps = (rearrange(m, "(B S) n -> B S n", B=clips) for m in (maps_v, maps_a))
        video = rearrange(self.video_norm(video) * present[:, 0], "(B S) n d -> B S n d", B=clips)
        audio = rearrange(self.audio_norm(audio) * present[:, 1], "(B S) n d -> B S n d", B=clips)
        return Encoded(
            video[:, :, 1:], audio[:, :, 2:], video[:, :, 0], audio[:, :, :2].mean(2), video_maps, audio_maps
        )

    def class_scores(
        self, video_class: Float[Tensor, "B *S D"], audio_class: Float[Tensor, "B *S D"], present: Tensor
    ) -> tuple[Float[Tensor, "B *S C"], Float[Tensor, "B *S C"]]:
        """The two heads' scores, zero for an absent modality; fc(z) is their sum."""
        shape = (len(present),) + (1,) * (video_class.ndim - 1)
        here = present.to(video_class.dtype)
        video = self.video_head(video_class) * here[:, 0].view(shape)
        audio = self.audio_head(audio_class) * here[:, 1].view(shape)
        return video, audio


def _blocks(config: MbtConfig) -> nn.ModuleList:
    return nn.ModuleList(
        Block(config.width, config.heads, qkv_bias=True, proj_drop=config.dropout) for _ in range(config.depth)
    )


def _exchange(
    video: Float[Tensor, "b nv D"],
    audio: Float[Tensor, "b na D"],
    before: Float[Tensor, "b k D"],
    present: Float[Tensor, "b 2 1 1"],
) -> tuple[Tensor, Tensor, Tensor]:
    """Take the two bottleneck copies off the ends, and average those of the modalities that are there."""
    count = before.shape[1]
    copies = torch.stack([video[:, -count:], audio[:, -count:]], dim=1)
    between = (copies * present).sum(1) / present.sum(1).clamp(min=1)
    return video[:, :-count], audio[:, :-count], between


def _class_attention(block: Any, tokens: Float[Tensor, "b n D"], special: int, own: int) -> Float[Tensor, "b N"]:
    """Attention of the special tokens to the modality's patches in a block, mean over heads and special tokens."""
    attention = block.attn
    qkv = attention.qkv(block.norm1(tokens))
    q, k, _ = rearrange(qkv, "b n (three h d) -> three b h n d", three=3, h=attention.num_heads)
    maps = (q[:, :, :special] * attention.scale @ k.transpose(-2, -1)).softmax(-1)
    found: Tensor = maps[..., special:own].mean((1, 2))
    return found
