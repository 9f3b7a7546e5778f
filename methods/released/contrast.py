"""What words ask picture and sound in the released code, and its contrastive term (METHOD.md section 9).

Key: B clips, S segments, K words of a segment, N tokens, D width.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from einops import rearrange
from jaxtyping import Bool, Float
from torch import Tensor, nn
from torch.nn.functional import normalize, relu

from bench.errors import ConfigError


class Answer(NamedTuple):
    """What a modality answers to each word."""

    content: Float[Tensor, "B S K D"]
    attention: Float[Tensor, "B S K N"]  # mean over heads


class ReluAttention(nn.Module):
    """Multi-head attention with a ReLU on queries, keys, values and output."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        if width % heads:
            raise ConfigError(f"width {width} is no multiple of text_heads {heads}")
        self.heads = heads
        self.query, self.key, self.value, self.out = (nn.Linear(width, width) for _ in range(4))

    def forward(self, words: Float[Tensor, "B S K D"], tokens: Float[Tensor, "B S N D"]) -> Answer:
        """Each word's answer from the tokens of its own segment."""
        q, k, v = (
            rearrange(relu(layer(x)), "B S n (h d) -> B S h n d", h=self.heads)
            for layer, x in ((self.query, words), (self.key, tokens), (self.value, tokens))
        )
        maps = (q @ k.transpose(-2, -1) * q.shape[-1] ** -0.5).softmax(-1)
        content = relu(self.out(rearrange(maps @ v, "B S h k d -> B S k (h d)")))
        return Answer(content, maps.mean(2))


class WordPredictor(nn.Module):
    """One modality's answers from the other's: four convolutions of three words, each with a ReLU."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.layers = nn.ModuleList(nn.Conv1d(width, width, 3, padding=1) for _ in range(4))

    def forward(self, answers: Float[Tensor, "B S K D"], here: Bool[Tensor, "B S K"]) -> Float[Tensor, "B S K D"]:
        """The prediction at each word; what lies past a segment's words stays zero, as the padding is."""
        clips = len(answers)
        kept = rearrange(here, "B S k -> (B S) 1 k")
        x = rearrange(answers, "B S k d -> (B S) d k")
        for layer in self.layers:
            x = relu(layer(x * kept))
        return rearrange(x, "(B S) d k -> B S k d", B=clips)


def released_contrast(
    content: Float[Tensor, "B S K D"], predicted: Float[Tensor, "B S K D"], here: Bool[Tensor, "B S K"]
) -> Float[Tensor, " B"]:
    """mean(pos - logsumexp) of cosines at temperature 1 over all words of a clip, which the released code minimises;
    0 for a clip without words."""
    content, predicted = (normalize(rearrange(x, "B s k d -> B (s k) d"), dim=-1) for x in (content, predicted))
    words = rearrange(here, "B s k -> B (s k)")
    cosines = (content @ predicted.transpose(1, 2)).masked_fill(~words[:, None], -torch.inf)
    own = (content * predicted).sum(-1)
    against = cosines.logsumexp(-1).where(words, 0.0)
    return ((own - against) * words).sum(-1) / words.sum(-1).clamp(min=1)


def mean_over_words(values: Float[Tensor, "B S K D"], here: Bool[Tensor, "B S K"]) -> Float[Tensor, "B D"]:
    """Mean over the words of a segment, then over the segments that have any; zeros for a clip without words."""
    weight = here.float()
    weight = weight / weight.sum(-1, keepdim=True).clamp(min=1)
    weight = weight / here.any(-1).sum(-1).clamp(min=1)[:, None, None]
    return torch.einsum("bskd,bsk->bd", values, weight)
