"""Always the most frequent class of the training split: what any method has to beat."""

from __future__ import annotations

from collections import Counter
from typing import Any

from bench.config import Config
from bench.data import Card, ClipSet, Sampling
from bench.method import Context, Method
from bench.streams import Streams


class MajorityConfig(Config):
    """Nothing to choose."""


def sampling(config: MajorityConfig, training: bool) -> Sampling:
    """The least that can be read."""
    return Sampling(segments=1, frames=1, stride=1, size=32, mels=64, training=training)


def build(config: MajorityConfig, card: Card) -> Any:
    """A predictor that waits for its shares."""
    return _predictor([0.0] * len(card.classes))


def fit(config: MajorityConfig, card: Card, train: ClipSet, val: ClipSet, streams: Streams, ctx: Context) -> Any:
    """Count the classes; the first of the most frequent ones wins."""
    counts = Counter(clip.label for clip in train.clips)
    return _predictor([counts[label] / len(train.clips) for label in range(len(card.classes))])


def _predictor(shares: list[float]) -> Any:
    import torch

    from bench.data import Explanation, Inputs
    from bench.method import Scores

    class Shares(torch.nn.Module):
        """The logarithm of the classes' training shares, for every clip."""

        def __init__(self) -> None:
            super().__init__()
            self.register_buffer("share", torch.tensor(shares))
            self.share: torch.Tensor

        def forward(self, inputs: Inputs) -> Scores:
            return Scores(self.share.clamp(min=1e-6).log().expand(len(inputs.words), -1))

        def explain(self, inputs: Inputs) -> list[Explanation]:
            return [Explanation(None, ())] * len(inputs.words)

    return Shares()


MAJORITY = Method("majority", 1, "the most frequent training class", MajorityConfig, build, fit, sampling)
