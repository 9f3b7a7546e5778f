"""MBT and its temporal emotion scores (Eq. 3).

A video and an audio encoder exchange information through bottleneck tokens in their last blocks. The temporal scores
measure how much of each emotion each segment contains. All sizes come from the config.

Key: B clips, S segments, T frames, Nv Na video and audio patch tokens, Kv Ka visible ones, D width, C classes;
b = B S segments of a batch.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import partial
from typing import Literal, NamedTuple

import torch
from einops import rearrange, repeat
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from bench.errors import ConfigError
from bench.rng import RngTree
from bench.types import Inputs
from methods.mbt.config import MODALITIES, MODALITY_CHOICES, MbtConfig
from methods.mbt.layers import (
    NORM_EPS,
    AudioTokens,
    VideoTokens,
    centre_mel,
    centre_pixels,
    compute_class_attention,
    make_blocks,
    make_seeded,
    prepend_special_tokens,
    return_freed_memory,
    run_block,
    scale_mel,
    scale_pixels,
)

INPUT_SCALES = {"released": (scale_pixels, scale_mel), "segment": (centre_pixels, centre_mel)}


@dataclass(frozen=True)
class PatchTokens:
    """Patch tokens of every segment, positions added; `present` marks the modalities of each clip."""

    video: Float[Tensor, "B S Nv D"]
    audio: Float[Tensor, "B S Na D"]
    present: Bool[Tensor, "B 2"]  # video, audio


@dataclass(frozen=True)
class VisibleTokens:
    """Indices of the visible patch tokens, equally many in every segment of a modality."""

    video: Int[Tensor, "B S Kv"]
    audio: Int[Tensor, "B S Ka"]


@dataclass(frozen=True)
class EncodedSegments:
    """Encoded patch tokens and class features of every segment.

    The attention is that of the class tokens to the patches in the last block, mean over heads (for audio also over the
    class and distillation token); None unless requested.
    """

    video: Float[Tensor, "B S Nv D"]
    audio: Float[Tensor, "B S Na D"]
    video_class: Float[Tensor, "B S D"]
    audio_class: Float[Tensor, "B S D"]
    video_attention: Float[Tensor, "B S Nv"] | None = None
    audio_attention: Float[Tensor, "B S Na"] | None = None


def stack_present(inputs: Inputs) -> Bool[Tensor, "B 2"]:
    """Return which clips have video, and which have audio."""
    return torch.stack([inputs.present[name] for name in MODALITIES], dim=1)


class Mbt(nn.Module):
    """Multimodal bottleneck transformer: two encoders, their fusion and two heads; fc(z) is the sum of the heads."""

    def __init__(self, config: MbtConfig, classes: int, rng: RngTree) -> None:
        super().__init__()
        if config.width % config.heads:
            raise ConfigError(f"width {config.width} is not a multiple of heads {config.heads}; change one of them")
        if config.fusion_depth > config.depth:
            raise ConfigError(f"fusion_depth {config.fusion_depth} exceeds depth {config.depth}; change one of them")
        self.width = width = config.width
        self.scale_video, self.scale_audio = INPUT_SCALES[config.scale]
        self.first_fusion_block = config.depth - config.fusion_depth
        video = partial(VideoTokens, config.frames, config.size, config.tubelet, config.patch, width, config.stem)
        audio = partial(AudioTokens, config.mels, config.audio_patch, config.audio_stride, width)
        blocks = partial(make_blocks, width, config.depth, config.heads, config.dropout, config.compile)
        head = partial(nn.Linear, width, classes)
        self.video_tokens = make_seeded(rng, "video.tokens", video)
        self.audio_tokens = make_seeded(rng, "audio.tokens", audio)
        self.video_grid = self.video_tokens.grid  # tokens along time, height and width
        self.audio_grid = self.audio_tokens.grid  # tokens along mel bins and time
        self.video_blocks, self.audio_blocks = (make_seeded(rng, f"{name}.blocks", blocks) for name in MODALITIES)
        self.video_norm, self.audio_norm = nn.LayerNorm(width, NORM_EPS), nn.LayerNorm(width, NORM_EPS)
        self.bottleneck_token = nn.Parameter(torch.empty(1, config.bottleneck, width))
        nn.init.trunc_normal_(self.bottleneck_token, std=0.02, generator=rng.torch("weights", "bottleneck"))
        self.video_head, self.audio_head = (make_seeded(rng, f"{name}.head", head) for name in MODALITIES)
        self.active_modalities, self.recompute = MODALITY_CHOICES[config.modalities], config.recompute
        if self.recompute:
            return_freed_memory()
        for name, parameter in self.named_parameters():
            if name.startswith(MODALITIES) and not name.startswith(self.active_modalities):
                parameter.requires_grad_(False)

    def embed(self, inputs: Inputs) -> PatchTokens:
        """Embed video and audio as patch tokens; several encoder passes can share them."""
        clips, segments = inputs.video.shape[:2]
        if "video" in self.active_modalities:
            video = self.video_tokens(self.scale_video(rearrange(inputs.video, "B S t h w c -> (B S) t h w c")))
        else:
            video = self.bottleneck_token.new_zeros(clips * segments, math.prod(self.video_grid), self.width)
        if "audio" in self.active_modalities:
            audio = self.audio_tokens(self.scale_audio(rearrange(inputs.audio, "B S f m -> (B S) f m")))
        else:
            audio = self.bottleneck_token.new_zeros(clips * segments, math.prod(self.audio_grid), self.width)
        video, audio = (rearrange(tokens, "(B S) n d -> B S n d", B=clips) for tokens in (video, audio))
        return PatchTokens(video, audio, stack_present(inputs))

    def encode(
        self,
        tokens: PatchTokens,
        visible: VisibleTokens | None = None,
        attention: bool = False,
        video_norm: bool = True,
    ) -> EncodedSegments:
        """Encode the (visible) tokens of every segment.

        A missing modality is left out of the fusion and its features are zeros: its content has no effect, and its
        parameters stay in the graph. The released code pre-trains without `video_norm`.
        """
        clips, segments = tokens.video.shape[:2]
        indices = (None, None) if visible is None else (visible.video.flatten(0, 1), visible.audio.flatten(0, 1))
        video = prepend_special_tokens(self.video_tokens.get_special_tokens(), tokens.video.flatten(0, 1), indices[0])
        audio = prepend_special_tokens(self.audio_tokens.get_special_tokens(), tokens.audio.flatten(0, 1), indices[1])
        present = repeat(tokens.present.to(video.dtype), "B m -> (B S) m 1 1", S=segments)
        blocks = list(zip(self.video_blocks, self.audio_blocks, strict=True))
        for video_block, audio_block in blocks[: self.first_fusion_block]:
            video, audio = self._run_block("video", video_block, video), self._run_block("audio", audio_block, audio)
        video_last, audio_last = video, audio
        between = self.bottleneck_token.expand(len(video), -1, -1)
        for video_block, audio_block in blocks[self.first_fusion_block :]:
            video_last, audio_last = torch.cat([video, between], 1), torch.cat([audio, between], 1)
            out = self._run_block("video", video_block, video_last), self._run_block("audio", audio_block, audio_last)
            video, audio, between = _fuse_bottlenecks(*out, between, present)
        maps: list[Tensor | None] = [None, None]
        if attention:
            passes = ((self.video_blocks, video_last, 1, video), (self.audio_blocks, audio_last, 2, audio))
            maps = [
                rearrange(compute_class_attention(blocks[-1], last, special, own.shape[1]), "(B S) n -> B S n", B=clips)
                for blocks, last, special, own in passes
            ]
        video = (self.video_norm(video) if video_norm else video) * present[:, 0]
        audio = self.audio_norm(audio) * present[:, 1]
        video, audio = (rearrange(x, "(B S) n d -> B S n d", B=clips) for x in (video, audio))
        classes = (video[:, :, 0], audio[:, :, :2].mean(2))
        return EncodedSegments(video[:, :, 1:], audio[:, :, 2:], *classes, *maps)

    def _run_block(self, modality: str, block: nn.Module, tokens: Float[Tensor, "b n D"]) -> Float[Tensor, "b n D"]:
        """Run a block on the tokens; return them unchanged if the config leaves the modality out."""
        return run_block(block, tokens, self.recompute) if modality in self.active_modalities else tokens

    def score_classes(
        self, video_class: Float[Tensor, "B *S D"], audio_class: Float[Tensor, "B *S D"], present: Tensor
    ) -> tuple[Float[Tensor, "B *S C"], Float[Tensor, "B *S C"]]:
        """Return the scores of the video and the audio head, zeros for a missing modality; fc(z) is their sum."""
        mask = present.to(video_class.dtype).view(len(present), -1, *(1,) * (video_class.ndim - 1))  # (B, 2, 1 ...)
        return self.video_head(video_class) * mask[:, 0], self.audio_head(audio_class) * mask[:, 1]


def _fuse_bottlenecks(
    video: Float[Tensor, "b nv D"],
    audio: Float[Tensor, "b na D"],
    before: Float[Tensor, "b k D"],
    present: Float[Tensor, "b 2 1 1"],
) -> tuple[Tensor, Tensor, Tensor]:
    """Split off the two bottleneck copies and average those of the present modalities."""
    count = before.shape[1]
    copies = torch.stack([video[:, -count:], audio[:, -count:]], dim=1)
    between = (copies * present).sum(1) / present.sum(1).clamp(min=1)
    return video[:, :-count], audio[:, :-count], between


class TemporalScores(NamedTuple):
    """Scores of each head on max-pooled features, and the curve D_tcam (Eq. 3)."""

    video: Float[Tensor, "B C"]
    audio: Float[Tensor, "B C"]
    curve: Float[Tensor, "B S C"]


def compute_temporal_scores(
    mbt: Mbt,
    video_class: Float[Tensor, "B S D"],
    audio_class: Float[Tensor, "B S D"],
    present: Tensor,
    tcam: Literal["centred", "raw"] = "centred",
) -> TemporalScores:
    """Compute Eq. 3: z_v = max over segments; z_e = softmax(fc(z_v)); D_tcam[s] = z_e * fc(z_s).

    By default fc(z_s) is centred over classes: cross-entropy ignores a constant added to all logits, the product does
    not.
    """
    video, audio = mbt.score_classes(video_class.amax(1), audio_class.amax(1), present)
    segments_v, segments_a = mbt.score_classes(video_class, audio_class, present)
    return TemporalScores(video, audio, weight_segment_scores(video + audio, segments_v + segments_a, tcam))


def weight_segment_scores(
    pooled: Float[Tensor, "B C"], segments: Float[Tensor, "B S C"], tcam: Literal["centred", "raw"]
) -> Float[Tensor, "B S C"]:
    """Multiply softmax(pooled) by the (centred) scores of each segment."""
    if tcam == "centred":
        segments = segments - segments.mean(-1, keepdim=True)
    return pooled.softmax(-1)[:, None] * segments
