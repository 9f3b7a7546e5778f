"""The predictor of the most frequent class."""

from __future__ import annotations

from collections import Counter

import torch
from torch import nn

from bench.config import Config
from bench.data import Card, ClipSet, Explanation, Inputs
from bench.method import Context, Scores
from bench.streams import Streams


class MajorityPredictor(nn.Module):
    """The logarithm of the classes' training shares, for every clip."""

    def __init__(self, shares: list[float]) -> None:
        super().__init__()
        self.register_buffer("share", torch.tensor(shares))
        self.share: torch.Tensor

    def forward(self, inputs: Inputs) -> Scores:
        """Score every clip alike."""
        return Scores(self.share.clamp(min=1e-6).log().expand(len(inputs.words), -1))

    def explain(self, inputs: Inputs) -> list[Explanation]:
        """Explain nothing."""
        return [Explanation(None, ())] * len(inputs.words)


def build_majority(config: Config, card: Card) -> MajorityPredictor:
    """Make a predictor whose shares are to be loaded."""
    return MajorityPredictor([0.0] * len(card.classes))


def fit_majority(
    config: Config, card: Card, train: ClipSet, val: ClipSet, streams: Streams, ctx: Context
) -> MajorityPredictor:
    """Count the classes; the first of the most frequent ones wins."""
    counts = Counter(clip.label for clip in train.clips)
    return MajorityPredictor([counts[label] / len(train.clips) for label in range(len(card.classes))])
