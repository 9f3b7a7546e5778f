"""Emotion-oriented masking: select the tokens that the second encoder pass does not see (Eqs. 6 and 7).

True in a mask means masked.

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
    """Inputs of a masking strategy for one modality."""

    attention: Float[Tensor, "B S N"]  # class-token self-attention
    cue_attention: Float[Tensor, "B S K N"] | None  # of each cue to the tokens (Eq. 6), mean over heads
    verified: Bool[Tensor, "B S K"] | None  # verified cues
    uniform_scores: Float[Tensor, "B S N"]  # random numbers in [0, 1), a function of seed, epoch and clip
    grid: tuple[int, ...]  # tokens along (time, height, width), or (bins, time)
    time_axis: int  # of the grid


def compute_mask_ratio(config: MartConfig, progress: float) -> float:
    """Return alpha, the share of masked tokens: linear from mask_from to mask_to, reached at progress mask_ramp."""
    return config.mask_from + (config.mask_to - config.mask_from) * min(1.0, progress / config.mask_ramp)


def count_hidden_tokens(tokens: int, ratio: float) -> int:
    """Return ceil(ratio N), at most N - 1 so that one token stays visible."""
    return min(math.ceil(ratio * tokens - 1e-9), tokens - 1)


def count_hidden_groups(groups: int, ratio: float) -> int:
    """Return ratio x groups rounded half up, at most groups - 1 so that one group stays visible."""
    return min(math.floor(ratio * groups + 0.5), groups - 1)


def count_visible_tokens(mask: str, ratio: float, grid: tuple[int, ...], time_axis: int) -> int:
    """Return the number of visible tokens per segment, computed on the CPU to avoid a device synchronisation."""
    tokens, groups = math.prod(grid), _count_groups(mask, grid, time_axis)
    if groups is None:
        return tokens - count_hidden_tokens(tokens, ratio)
    return tokens - count_hidden_groups(groups, ratio) * tokens // groups


def _count_groups(mask: str, grid: tuple[int, ...], time_axis: int) -> int | None:
    """Return the number of groups of `frame` or `tube`; None for strategies that mask single tokens."""
    return {"frame": grid[time_axis], "tube": math.prod(grid) // grid[time_axis]}.get(mask)


def count_revealed_tokens(tokens: int, reveal: float) -> int:
    """Return S_reveal = ceil(reveal N)."""
    return math.ceil(reveal * tokens - 1e-9)


def compute_affective_score(inputs: MaskInputs) -> Float[Tensor, "B S N"]:
    """Average the attention of a segment's verified cues (Eq. 7); use class-token attention where it has none."""
    assert inputs.cue_attention is not None and inputs.verified is not None
    weight = inputs.verified.float()
    score = (inputs.cue_attention * weight[..., None]).sum(2) / weight.sum(2).clamp(min=1)[..., None]
    return torch.where(inputs.verified.any(-1)[..., None], score, inputs.attention)


class RankedTokens(NamedTuple):
    """Tokens that a ranking masks, and top-ranked tokens that it leaves visible as hints."""

    hidden: Bool[Tensor, "B S N"]
    revealed: Bool[Tensor, "B S N"]


def rank_tokens(score: Float[Tensor, "B S N"], ratio: float, reveal: float) -> RankedTokens:
    """Rank tokens: the top S_reveal stay visible as hints, the next ceil(ratio N) are masked, the rest stay visible."""
    tokens = score.shape[-1]
    hidden = count_hidden_tokens(tokens, ratio)
    hints = min(count_revealed_tokens(tokens, reveal), tokens - hidden)
    rank = score.argsort(dim=-1, descending=True, stable=True).argsort(-1)
    return RankedTokens((rank >= hints) & (rank < hints + hidden), rank < hints)


def hide_ranked(score: Float[Tensor, "B S N"], ratio: float, reveal: float) -> Bool[Tensor, "B S N"]:
    """Return the masked tokens of a ranking, (B, S, N)."""
    return rank_tokens(score, ratio, reveal).hidden


def hide_groups(inputs: MaskInputs, ratio: float, along_time: bool) -> Bool[Tensor, "B S N"]:
    """Mask random groups of tokens: time steps (`along_time`) or spatial positions through time; return (B, S, N)."""
    clips, segments, _ = inputs.uniform_scores.shape
    grid = inputs.uniform_scores.reshape(clips, segments, *inputs.grid)
    axis = 2 + inputs.time_axis
    others = [a for a in range(2, grid.ndim) if (a == axis) != along_time]
    chance = grid.mean(others, keepdim=True)  # one number per group
    flat = chance.flatten(2)
    count = count_hidden_groups(flat.shape[-1], ratio)
    hidden: Tensor = (flat.argsort(dim=-1, stable=True).argsort(-1) < count).reshape(chance.shape)
    return hidden.expand(grid.shape).flatten(2)


def check_mask_groups(mask: str, grid: tuple[int, ...], time_axis: int) -> None:
    """Raise ConfigError if `tube` or `frame` has a single group on the token grid, so that nothing can be masked."""
    if _count_groups(mask, grid, time_axis) == 1:
        group, advice = {
            "frame": ("time step", "more frames, or a smaller tubelet or audio_stride"),
            "tube": ("position", "a smaller patch or audio_patch (quick: --set patch=12 --set audio_patch=16)"),
        }[mask]
        raise ConfigError(f"mask={mask} needs more than one {group}, but the token grid {grid} has one; set {advice}")


MASK_STRATEGIES: dict[str, Callable[[MaskInputs, float, float], Bool[Tensor, "B S N"]]] = {
    "affective": lambda inputs, ratio, reveal: hide_ranked(compute_affective_score(inputs), ratio, reveal),
    "attention": lambda inputs, ratio, reveal: hide_ranked(inputs.attention, ratio, reveal),
    "random": lambda inputs, ratio, reveal: hide_ranked(inputs.uniform_scores, ratio, 0.0),
    "tube": lambda inputs, ratio, reveal: hide_groups(inputs, ratio, along_time=False),
    "frame": lambda inputs, ratio, reveal: hide_groups(inputs, ratio, along_time=True),
}


def find_revealed_tokens(mask: str, inputs: MaskInputs, ratio: float, reveal: float) -> Bool[Tensor, "B S N"]:
    """Return the tokens left visible as hints, (B, S, N); all False for random strategies."""
    if mask not in ("affective", "attention"):
        return torch.zeros_like(inputs.uniform_scores, dtype=torch.bool)
    score = compute_affective_score(inputs) if mask == "affective" else inputs.attention
    return rank_tokens(score, ratio, reveal).revealed


def find_visible_tokens(hidden: Bool[Tensor, "B S N"], count: int) -> Int[Tensor, "B S n"]:
    """Return the ascending indices of the visible tokens, `count` in every segment."""
    return hidden.long().argsort(dim=-1, stable=True)[..., :count]


def draw_uniform_scores(
    rng: RngTree, modality: str, epoch: int, keys: Sequence[str], segments: int, tokens: int
) -> Float[Tensor, "B S N"]:
    """Draw uniform numbers that depend only on seed, modality, epoch and clip, so not on the batch."""
    rows = [torch.rand((segments, tokens), generator=rng.torch("masks", modality, epoch, key)) for key in keys]
    return torch.stack(rows)


def make_mask_snapshots(
    config: MartConfig, batch: Batch, inputs: dict[str, MaskInputs], hidden: dict[str, Tensor]
) -> list[dict[str, MaskSnapshot]]:
    """Return for each clip modality -> mask snapshot, without the modalities that it lacks."""
    ratio = compute_mask_ratio(config, batch.progress)
    hints = {name: find_revealed_tokens(config.mask, x, ratio, config.reveal) for name, x in inputs.items()}
    content = {"video": batch.inputs.video[:, :, :: config.tubelet], "audio": batch.inputs.audio}
    tubelet = (config.tubelet, config.patch, config.patch)
    shapes = {"video": (tubelet, tubelet), "audio": ((config.audio_patch,) * 2, (config.audio_stride,) * 2)}

    def take_snapshot(name: str, b: int) -> MaskSnapshot:
        tensors = hidden[name][b].cpu(), hints[name][b].cpu()
        return MaskSnapshot(*tensors, inputs[name].grid, *shapes[name], content[name][b].cpu())

    return [
        {name: take_snapshot(name, b) for name in MODALITIES if batch.inputs.present[name][b]}
        for b in range(len(batch.inputs))
    ]
