"""Always the most frequent class of the training split: what any method has to beat."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import Any, ClassVar

from pydantic import Field

from bench.config import Config
from bench.data import Card, ClipSet, Sampling
from bench.method import Context, Method
from bench.streams import Streams


class MajorityConfig(Config):
    """Nothing to choose: clips are prepared as the preset's other methods want them, so none is decoded for it."""

    presets: ClassVar[Mapping[str, Mapping[str, Any]]] = {"paper": {}, "quick": {"size": 24, "mels": 32}}

    size: int = Field(112, ge=8, le=448, description="pixels of a side of a frame; changes no number")
    mels: int = Field(128, ge=16, le=256, description="mel bins of the sound; changes no number")


def sampling(config: MajorityConfig, training: bool) -> Sampling:
    """Nothing is read."""
    return Sampling(1, 1, 1, config.size, config.mels, training, modalities=())


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
