"""Emotion-oriented masking: which tokens are hidden from the encoder's second pass (Eqs. 6 and 7, METHOD.md section 5).

Key: B clips, S segments, K cues of a segment, N tokens. In a mask True means hidden.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from bench.errors import ConfigError
from bench.streams import Streams
from methods.mart.config import MartConfig


class Evidence(NamedTuple):
    """What a masking strategy may look at, for one modality."""

    attention: Float[Tensor, "B S N"]  # class-token self-attention
    cue_attention: Float[Tensor, "B S K N"] | None  # of each cue to the tokens (Eq. 6), mean over heads
    kept: Bool[Tensor, "B S K"] | None  # verified cues
    chance: Float[Tensor, "B S N"]  # uniform numbers of the clip's mask stream
    grid: tuple[int, ...]  # tokens along (time, height, width), or (bins, time)
    time_axis: int  # of the grid


def mask_ratio(config: MartConfig, progress: float) -> float:
    """The share of hidden tokens: grows linearly from mask_from to mask_to, reached at mask_ramp of the training."""
    return config.mask_from + (config.mask_to - config.mask_from) * min(1.0, progress / config.mask_ramp)


def hidden_count(tokens: int, ratio: float) -> int:
    """ceil(ratio N), but at least one token stays visible."""
    return min(math.ceil(ratio * tokens - 1e-9), tokens - 1)


def group_count(groups: int, ratio: float) -> int:
    """The share of the groups, rounded half up, but at least one group stays visible."""
    return min(math.floor(ratio * groups + 0.5), groups - 1)


def visible_count(mask: str, ratio: float, grid: tuple[int, ...], time_axis: int) -> int:
    """Tokens that a strategy leaves in every segment: known beforehand, so that the device need not be asked."""
    tokens, times = math.prod(grid), grid[time_axis]
    groups = {"frame": times, "tube": tokens // times}.get(mask)
    return tokens - (hidden_count(tokens, ratio) if groups is None else group_count(groups, ratio) * tokens // groups)


def hint_count(tokens: int, reveal: float) -> int:
    """S_reveal = ceil(reveal N)."""
    return math.ceil(reveal * tokens - 1e-9)


def affective_score(evidence: Evidence) -> Float[Tensor, "B S N"]:
    """Attention averaged over the segment's verified cues; class-token attention where it has none (Eq. 7)."""
    assert evidence.cue_attention is not None and evidence.kept is not None
    weight = evidence.kept.float()
    score = (evidence.cue_attention * weight[..., None]).sum(2) / weight.sum(2).clamp(min=1)[..., None]
    return torch.where(evidence.kept.any(-1)[..., None], score, evidence.attention)


class Ranked(NamedTuple):
    """The tokens that a ranking hides, and those it puts before them."""

    hidden: Bool[Tensor, "B S N"]
    hints: Bool[Tensor, "B S N"]


def rank_tokens(score: Float[Tensor, "B S N"], ratio: float, reveal: float) -> Ranked:
    """Highest first: the first S_reveal stay visible as hints, the next ceil(ratio N) are hidden, the rest stay."""
    tokens = score.shape[-1]
    hidden = hidden_count(tokens, ratio)
    hints = min(hint_count(tokens, reveal), tokens - hidden)
    rank = score.argsort(dim=-1, descending=True, stable=True).argsort(-1)
    return Ranked((rank >= hints) & (rank < hints + hidden), rank < hints)


def hide_ranked(score: Float[Tensor, "B S N"], ratio: float, reveal: float) -> Bool[Tensor, "B S N"]:
    """The hidden tokens of a ranking."""
    return rank_tokens(score, ratio, reveal).hidden


def hide_groups(evidence: Evidence, ratio: float, along_time: bool) -> Bool[Tensor, "B S N"]:
    """Whole groups by chance: temporal slots (`along_time`) or places through time; rounded half up."""
    clips, segments, _ = evidence.chance.shape
    grid = evidence.chance.reshape(clips, segments, *evidence.grid)
    axis = 2 + evidence.time_axis
    others = [a for a in range(2, grid.ndim) if (a == axis) != along_time]
    chance = grid.mean(others, keepdim=True)  # one number a group
    flat = chance.flatten(2)
    count = group_count(flat.shape[-1], ratio)
    hidden: Tensor = (flat.argsort(dim=-1, stable=True).argsort(-1) < count).reshape(chance.shape)
    return hidden.expand(grid.shape).flatten(2)


def check_groups(mask: str, grid: tuple[int, ...], time_axis: int) -> None:
    """Raise ConfigError where `tube` or `frame` has one group alone on a grid: nothing could ever be hidden."""
    times = grid[time_axis]
    groups = {"frame": times, "tube": math.prod(grid) // times}.get(mask, 2)
    if groups < 2:
        what, how = {
            "frame": ("moment", "more frames, or a smaller tubelet or audio_stride"),
            "tube": ("place", "a smaller patch or audio_patch (quick: --set patch=12 --set audio_patch=16)"),
        }[mask]
        raise ConfigError(f"mask={mask} wants more than one {what}, the token grid {grid} has one: choose {how}")


STRATEGIES: dict[str, Callable[[Evidence, float, float], Bool[Tensor, "B S N"]]] = {
    "affective": lambda evidence, ratio, reveal: hide_ranked(affective_score(evidence), ratio, reveal),
    "attention": lambda evidence, ratio, reveal: hide_ranked(evidence.attention, ratio, reveal),
    "random": lambda evidence, ratio, reveal: hide_ranked(evidence.chance, ratio, 0.0),
    "tube": lambda evidence, ratio, reveal: hide_groups(evidence, ratio, along_time=False),
    "frame": lambda evidence, ratio, reveal: hide_groups(evidence, ratio, along_time=True),
}


def hint_places(mask: str, evidence: Evidence, ratio: float, reveal: float) -> Bool[Tensor, "B S N"]:
    """The tokens that a strategy leaves visible since they rank highest; none where chance decides."""
    if mask not in ("affective", "attention"):
        return torch.zeros_like(evidence.chance, dtype=torch.bool)
    score = affective_score(evidence) if mask == "affective" else evidence.attention
    return rank_tokens(score, ratio, reveal).hints


def visible_places(hidden: Bool[Tensor, "B S N"], count: int) -> Int[Tensor, "B S n"]:
    """Places of the visible tokens, `count` in every segment, in rising order."""
    return hidden.long().argsort(dim=-1, stable=True)[..., :count]


def chances(
    streams: Streams, modality: str, epoch: int, keys: Sequence[str], segments: int, tokens: int
) -> Float[Tensor, "B S N"]:
    """Uniform numbers that follow from seed, epoch and clip alone."""
    rows = [torch.rand((segments, tokens), generator=streams.torch("masks", modality, epoch, key)) for key in keys]
    return torch.stack(rows)
