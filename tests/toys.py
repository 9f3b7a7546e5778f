"""Toy doubles for tests: clips of random numbers, and a one-layer method that can be slow or fail on request."""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from pydantic import Field

from bench.config import Config, SearchRange
from bench.errors import MediaError
from bench.method import FitContext, Method, Scores
from bench.tasks import Classification
from bench.types import (
    AudioSpec,
    Clip,
    Dataset,
    DatasetInfo,
    DatasetSplits,
    Explanation,
    Inputs,
    OpenedClip,
    Sampling,
    SplitRequest,
    VideoSpec,
)
from tests.inputs import make_opened

if TYPE_CHECKING:
    from bench.rng import RngTree

CARD = DatasetInfo(
    name="toy",
    title="Toy clips",
    task=Classification(("low", "mid", "high"), (-1, 0, 1)),
    emotions={"low": frozenset({"sadness"}), "mid": frozenset(), "high": frozenset({"joy"})},
    language="en",
    licence="none",
    cite="",
    obtain="",
)


@dataclass(frozen=True)
class NumberClips:
    """Clips whose audio is the class index plus noise."""

    clips: tuple[Clip, ...]
    pause: float = 0.0  # seconds per read

    @property
    def contents(self) -> tuple[str, ...]:
        return tuple(clip.key for clip in self.clips)

    def read(self, index: int, sampling: Sampling, streams: RngTree, epoch: int) -> OpenedClip:
        import torch

        time.sleep(self.pause)
        clip = self.clips[index]
        purpose = ("augmentation", epoch, clip.key) if sampling.training else ("fixed", clip.key)
        noise = torch.randn((sampling.segments, 100, sampling.audio.mels), generator=streams.torch(*purpose))
        return make_opened(
            video=torch.zeros((sampling.segments, 1, 2, 2, 3), dtype=torch.uint8),
            audio=clip.target + noise,
            words=((),) * sampling.segments,
            present=(False, True, False),
        )


def number_clips(split: str, per_class: int, card: DatasetInfo = CARD) -> NumberClips:
    """Return `per_class` clips of each class, named after their split."""
    return NumberClips(
        tuple(
            Clip(f"{name}/{split}{i}", label, "test" if split == "test" else "train", f"{split}{i}")
            for label, name in enumerate(card.classes)
            for i in range(per_class)
        )
    )


def _load(request: SplitRequest) -> DatasetSplits:
    splits = {split: number_clips(split, per_class) for split, per_class in (("train", 8), ("val", 3), ("test", 4))}
    return DatasetSplits(CARD, splits["train"], splits["val"], splits["test"], "f" * 64, "c" * 64)


TOY_DATA = Dataset(CARD, _load)


class ToyConfig(Config):
    """Config of the toy method."""

    epochs: int = Field(6, ge=1, le=100)
    batch: int = Field(4, ge=1)
    lr: Annotated[float, SearchRange(0.001, 1.0, log=True)] = Field(0.05, gt=0)
    ema: float = Field(0.5, ge=0, lt=1)
    drop: float = Field(0.2, ge=0, lt=1)
    pause: float = Field(0.0, ge=0, description="seconds a forward pass takes")
    fail: str = Field("", description="simulated failure: '', 'error', 'nan', 'memory', ...")


def sampling(config: ToyConfig, training: bool) -> Sampling:
    return Sampling(2, VideoSpec(1, 1, 2), AudioSpec(3), training)


def build(config: ToyConfig, card: DatasetInfo) -> Any:
    import torch
    from torch import nn

    class Linear(nn.Module):
        """A linear layer on the mean audio of a clip, with dropout, which uses the global generator."""

        def __init__(self) -> None:
            super().__init__()
            self.dropout = nn.Dropout(config.drop)
            self.layer = nn.Linear(3, len(card.classes))

        def forward(self, inputs: Inputs) -> Scores:
            return Scores(self.layer(self.dropout(inputs.audio.mean((1, 2)))))

        def explain(self, inputs: Inputs) -> list[Explanation]:
            return [Explanation(None, ())] * len(inputs)

    torch.manual_seed(0)
    return Linear()


def make_context(tracker: Any, folder: Path, config: Any = None, **given: Any) -> FitContext:
    """Return the context of a fit on toy clips, with one thread; `given` overrides any field."""
    from bench.rng import RngTree

    fields = {"info": CARD, "train": number_clips("train", 5), "val": number_clips("val", 2), "rng": RngTree(1)}
    return FitContext(**{"config": config, "tracker": tracker, "folder": folder, "threads": 1, **fields, **given})


def fit(ctx: FitContext) -> Any:
    import torch
    from torch import nn

    from bench.evaluate import Validation
    from bench.training import Losses, TrainConfig
    from bench.training import train_stage as run_stage

    config: ToyConfig = ctx.config
    predictor = build(config, ctx.info)
    torch.manual_seed(ctx.rng.derive_seed("weights", "layer"))
    nn.init.normal_(predictor.layer.weight)

    class Objective(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.predictor = predictor

        def forward(self, batch: Any) -> Losses:
            time.sleep(config.pause)
            if config.fail == "error":
                raise RuntimeError("the toy failed as configured")
            if config.fail == "memory" and len(batch.keys) > 2:
                raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate what is not there")
            if config.fail == "data":
                raise MediaError("a clip cannot be read any more")
            label = self.predictor(batch.inputs).output
            loss = nn.functional.cross_entropy(label, batch.target, reduction="none")
            odd = {"odd": loss.detach() * float("inf")} if config.fail == "note" else {}
            return Losses({"label": loss * (float("nan") if config.fail == "nan" else 1)}, odd)

    for name, scored in (("warm", False), ("finetune", True)):
        stage = TrainConfig(name, config.epochs, config.batch, config.lr, ema=config.ema, clip_norm=1.0, warmup=0.1)
        select = Validation(predictor, sampling(config, False), ctx) if scored else None
        run_stage(Objective(), sampling(config, True), stage, ctx, select)
    if config.fail == "scores":
        nn.init.constant_(predictor.layer.weight, float("nan"))
    return predictor


TOY = Method("toy", 1, "A toy of one layer", ToyConfig, build, fit, sampling)
