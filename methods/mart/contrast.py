"""Cue attention and the contrastive loss of temporal affective complementary learning (Eqs. 4 and 5).

Cues are the queries of an attention to picture and to sound; the loss separates the features of one modality from those
of the other in other segments of the clip (METHOD.md section 4).

Key: B clips, S segments = windows, K cues of a segment, N tokens, D width, E width of the compared space.
"""

from __future__ import annotations

from typing import Literal, NamedTuple

import torch
from einops import rearrange, repeat
from jaxtyping import Bool, Float
from torch import Tensor, nn

from methods.mart.lexicon import PADDING_ROW, UNKNOWN_ROW
from methods.mart.verification import CueBatch


class WordTable(nn.Module):
    """A learned vector for each word of the lexicon; a cue is the mean over its words. Stands in where no BERT is
    given."""

    def __init__(self, words: int, width: int) -> None:
        super().__init__()
        self.table = nn.Embedding(UNKNOWN_ROW + 1 + words, width, padding_idx=PADDING_ROW)

    def forward(self, cues: CueBatch) -> Float[Tensor, "B S K D"]:
        """x_l of every cue; zeros on padding."""
        count = (cues.word_rows != PADDING_ROW).sum(-1, keepdim=True).clamp(min=1)
        found: Tensor = self.table(cues.word_rows).sum(-2) / count
        return found


class CueFeatures(NamedTuple):
    """What a modality answers to each cue."""

    content: Float[Tensor, "B S K D"]  # x_vl or x_al
    attention: Float[Tensor, "B S K N"]  # of the cue to the tokens, mean over heads


class CueAttention(nn.Module):
    """Multi-head attention with cues as queries and a segment's tokens as keys and values."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.attention = nn.MultiheadAttention(width, heads, batch_first=True)

    def forward(self, cues: Float[Tensor, "B S K D"], tokens: Float[Tensor, "B S N D"]) -> CueFeatures:
        """One answer and one map for each cue."""
        clips = len(cues)
        flat = rearrange(tokens, "B S n d -> (B S) n d")
        content, maps = self.attention(rearrange(cues, "B S k d -> (B S) k d"), flat, flat, need_weights=True)
        return CueFeatures(
            rearrange(content, "(B S) k d -> B S k d", B=clips), rearrange(maps, "(B S) k n -> B S k n", B=clips)
        )


def contrastive_loss(
    own: Float[Tensor, "B S K E"],
    other: Float[Tensor, "B S K E"],
    words: Float[Tensor, "B S K E"],
    kept: Bool[Tensor, "B S K"],
    tau: float,
    negatives: Literal["paper", "paper+words"] = "paper",
) -> Float[Tensor, " B"]:
    """L_v of Eq. 4 with own = x_vl, other = x_al (Eq. 5 with the two exchanged); all of unit length.

    Pulls own[t] to words[t] and pushes it from other[i] of the clip's cues i outside the window of t. Mean over the
    clip's cues; 0 for a clip whose cues all lie in one window, or that has none.
    """
    segments, cues = own.shape[1:3]
    own, other, words = (rearrange(x, "B s k e -> B (s k) e") for x in (own, other, words))
    here = rearrange(kept, "B s k -> B (s k)")
    window = repeat(torch.arange(segments, device=own.device), "s -> (s k)", k=cues)
    outside = (window[:, None] != window[None]) & here[:, None, :]  # (B, t, i)
    positive = (own * words).sum(-1, keepdim=True) / tau
    pushed = [own @ other.transpose(1, 2) / tau]
    if negatives == "paper+words":
        pushed.append(own @ words.transpose(1, 2) / tau)
    against = [x.masked_fill(~outside, -torch.inf) for x in pushed]
    loss = torch.cat([positive, *against], -1).logsumexp(-1) - positive.squeeze(-1)
    return (loss * here).sum(-1) / here.sum(-1).clamp(min=1)


def mean_over_cues(values: Float[Tensor, "B S K"], kept: Bool[Tensor, "B S K"]) -> Float[Tensor, " B"]:
    """Mean over the cues of a segment, then over the segments that have one; 0 for a clip without cues."""
    weight = kept.float()
    of_segment = (values * weight).sum(-1) / weight.sum(-1).clamp(min=1)
    has_cue = kept.any(-1).float()
    return (of_segment * has_cue).sum(-1) / has_cue.sum(-1).clamp(min=1)


def measure_cue_alignment(
    own: Float[Tensor, "B S K E"], words: Float[Tensor, "B S K E"], kept: Bool[Tensor, "B S K"], here: Tensor
) -> Float[Tensor, " B"]:
    """Mean cosine of what a modality answers and the word; NaN for a clip without cues or without the modality."""
    cosine = mean_over_cues((own * words).sum(-1), kept)
    return torch.where(kept.any(-1).any(-1) & (here > 0), cosine, torch.nan)


def measure_feature_spread(
    features: Float[Tensor, "B S K E"], kept: Bool[Tensor, "B S K"], here: Tensor
) -> Float[Tensor, " B"]:
    """1 - length of the mean of a clip's unit features: 0 where all are one vector; NaN with fewer than two cues or
    without the modality."""
    weight, count = kept.float()[..., None], kept.sum((1, 2))
    mean = (features * weight).sum((1, 2)) / count.clamp(min=1)[:, None]
    return torch.where((count > 1) & (here > 0), 1 - mean.norm(dim=-1), torch.nan)
