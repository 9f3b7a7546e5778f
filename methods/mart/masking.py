"""Emotion-oriented masking: which tokens are hidden from the second pass of the encoder (Eqs. 6 and 7).

See METHOD.md section 5. In a mask True means hidden.

Key: B clips, S segments, K cues of a segment, N tokens.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from bench.errors import ConfigError
from bench.rng import RngTree
from bench.types import Batch, MaskSnapshot
from methods.mart.config import MartConfig
from methods.mbt.config import MODALITIES


class MaskInputs(NamedTuple):
    """What a masking strategy may look at, for one modality."""

    attention: Float[Tensor, "B S N"]  # class-token self-attention
    cue_attention: Float[Tensor, "B S K N"] | None  # of each cue to the tokens (Eq. 6), mean over heads
    verified: Bool[Tensor, "B S K"] | None  # verified cues
    uniform_scores: Float[Tensor, "B S N"]  # uniform numbers of the clip's mask stream
    grid: tuple[int, ...]  # tokens along (time, height, width), or (bins, time)
    time_axis: int  # of the grid


def compute_mask_ratio(config: MartConfig, progress: float) -> float:
    """The share of hidden tokens: grows linearly from mask_from to mask_to, reached at mask_ramp of the training."""
    return config.mask_from + (config.mask_to - config.mask_from) * min(1.0, progress / config.mask_ramp)


def count_hidden_tokens(tokens: int, ratio: float) -> int:
    """ceil(ratio N), but at least one token stays visible."""
    return min(math.ceil(ratio * tokens - 1e-9), tokens - 1)


def count_hidden_groups(groups: int, ratio: float) -> int:
    """The share of the groups, rounded half up, but at least one group stays visible."""
    return min(math.floor(ratio * groups + 0.5), groups - 1)


def count_visible_tokens(mask: str, ratio: float, grid: tuple[int, ...], time_axis: int) -> int:
    """Tokens that a strategy leaves in every segment: known beforehand, so that the device need not be asked."""
    tokens, groups = math.prod(grid), _count_groups(mask, grid, time_axis)
    if groups is None:
        return tokens - count_hidden_tokens(tokens, ratio)
    return tokens - count_hidden_groups(groups, ratio) * tokens // groups


def _count_groups(mask: str, grid: tuple[int, ...], time_axis: int) -> int | None:
    """Groups that `frame` or `tube` hides whole; None of another strategy."""
    return {"frame": grid[time_axis], "tube": math.prod(grid) // grid[time_axis]}.get(mask)


def count_revealed_tokens(tokens: int, reveal: float) -> int:
    """S_reveal = ceil(reveal N)."""
    return math.ceil(reveal * tokens - 1e-9)


def compute_affective_score(evidence: MaskInputs) -> Float[Tensor, "B S N"]:
    """Attention averaged over the segment's verified cues; class-token attention where it has none (Eq. 7)."""
    assert evidence.cue_attention is not None and evidence.verified is not None
    weight = evidence.verified.float()
    score = (evidence.cue_attention * weight[..., None]).sum(2) / weight.sum(2).clamp(min=1)[..., None]
    return torch.where(evidence.verified.any(-1)[..., None], score, evidence.attention)


class RankedTokens(NamedTuple):
    """The tokens that a ranking hides, and those it puts before them."""

    hidden: Bool[Tensor, "B S N"]
    revealed: Bool[Tensor, "B S N"]


def rank_tokens(score: Float[Tensor, "B S N"], ratio: float, reveal: float) -> RankedTokens:
    """Highest first: the first S_reveal stay visible as hints, the next ceil(ratio N) are hidden, the rest stay."""
    tokens = score.shape[-1]
    hidden = count_hidden_tokens(tokens, ratio)
    hints = min(count_revealed_tokens(tokens, reveal), tokens - hidden)
    rank = score.argsort(dim=-1, descending=True, stable=True).argsort(-1)
    return RankedTokens((rank >= hints) & (rank < hints + hidden), rank < hints)


def hide_ranked(score: Float[Tensor, "B S N"], ratio: float, reveal: float) -> Bool[Tensor, "B S N"]:
    """The hidden tokens of a ranking."""
    return rank_tokens(score, ratio, reveal).hidden


def hide_groups(evidence: MaskInputs, ratio: float, along_time: bool) -> Bool[Tensor, "B S N"]:
    """Whole groups by chance: temporal slots (`along_time`) or places through time; rounded half up."""
    clips, segments, _ = evidence.uniform_scores.shape
    grid = evidence.uniform_scores.reshape(clips, segments, *evidence.grid)
    axis = 2 + evidence.time_axis
    others = [a for a in range(2, grid.ndim) if (a == axis) != along_time]
    chance = grid.mean(others, keepdim=True)  # one number a group
    flat = chance.flatten(2)
    count = count_hidden_groups(flat.shape[-1], ratio)
    hidden: Tensor = (flat.argsort(dim=-1, stable=True).argsort(-1) < count).reshape(chance.shape)
    return hidden.expand(grid.shape).flatten(2)


def check_mask_groups(mask: str, grid: tuple[int, ...], time_axis: int) -> None:
    """Raise ConfigError where `tube` or `frame` has one group alone on a grid: nothing could ever be hidden."""
    if _count_groups(mask, grid, time_axis) == 1:
        what, how = {
            "frame": ("moment", "more frames, or a smaller tubelet or audio_stride"),
            "tube": ("place", "a smaller patch or audio_patch (quick: --set patch=12 --set audio_patch=16)"),
        }[mask]
        raise ConfigError(f"mask={mask} wants more than one {what}, the token grid {grid} has one: choose {how}")


MASK_STRATEGIES: dict[str, Callable[[MaskInputs, float, float], Bool[Tensor, "B S N"]]] = {
    "affective": lambda evidence, ratio, reveal: hide_ranked(compute_affective_score(evidence), ratio, reveal),
    "attention": lambda evidence, ratio, reveal: hide_ranked(evidence.attention, ratio, reveal),
    "random": lambda evidence, ratio, reveal: hide_ranked(evidence.uniform_scores, ratio, 0.0),
    "tube": lambda evidence, ratio, reveal: hide_groups(evidence, ratio, along_time=False),
    "frame": lambda evidence, ratio, reveal: hide_groups(evidence, ratio, along_time=True),
}


def find_revealed_tokens(mask: str, evidence: MaskInputs, ratio: float, reveal: float) -> Bool[Tensor, "B S N"]:
    """The tokens that a strategy leaves visible since they rank highest; none where chance decides."""
    if mask not in ("affective", "attention"):
        return torch.zeros_like(evidence.uniform_scores, dtype=torch.bool)
    score = compute_affective_score(evidence) if mask == "affective" else evidence.attention
    return rank_tokens(score, ratio, reveal).revealed


def find_visible_tokens(hidden: Bool[Tensor, "B S N"], count: int) -> Int[Tensor, "B S n"]:
    """Places of the visible tokens, `count` in every segment, in rising order."""
    return hidden.long().argsort(dim=-1, stable=True)[..., :count]


def draw_uniform_scores(
    rng: RngTree, modality: str, epoch: int, keys: Sequence[str], segments: int, tokens: int
) -> Float[Tensor, "B S N"]:
    """Uniform numbers that follow from seed, epoch and clip alone."""
    rows = [torch.rand((segments, tokens), generator=rng.torch("masks", modality, epoch, key)) for key in keys]
    return torch.stack(rows)


def make_mask_snapshots(
    config: MartConfig, batch: Batch, evidence: dict[str, MaskInputs], hidden: dict[str, Tensor]
) -> list[dict[str, MaskSnapshot]]:
    """For each clip modality -> mask, without the modalities that it lacks."""
    ratio = compute_mask_ratio(config, batch.progress)
    hints = {name: find_revealed_tokens(config.mask, of, ratio, config.reveal) for name, of in evidence.items()}
    content = {"video": batch.inputs.video[:, :, :: config.tubelet], "audio": batch.inputs.audio}
    tubelet = (config.tubelet, config.patch, config.patch)
    shapes = {"video": (tubelet, tubelet), "audio": ((config.audio_patch,) * 2, (config.audio_stride,) * 2)}

    def take_snapshot(name: str, b: int) -> MaskSnapshot:
        tensors = hidden[name][b].cpu(), hints[name][b].cpu()
        return MaskSnapshot(*tensors, evidence[name].grid, *shapes[name], content[name][b].cpu())

    return [
        {name: take_snapshot(name, b) for name, here in zip(MODALITIES, present, strict=False) if here}
        for b, present in enumerate(batch.inputs.present.tolist())
    ]
