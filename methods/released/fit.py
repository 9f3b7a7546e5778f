"""The released MART from start to end: its own pre-training, then MBT's fine-tuning."""

from __future__ import annotations

from pathlib import Path

from bench.data import Card, ClipSet
from bench.method import Context, Predictor
from bench.streams import Streams
from bench.training import train
from methods.backbones.config import sampling
from methods.backbones.mbt import Mbt
from methods.backbones.published import load_published
from methods.released.config import ReleasedConfig
from methods.released.model import Released
from methods.released.published import load_released
from methods.supervised import MbtPredictor, fine_tune, pretraining


def fit_released(
    config: ReleasedConfig, card: Card, clips: ClipSet, val: ClipSet, streams: Streams, ctx: Context
) -> Predictor:
    """The finished predictor; its encoders started from the weights that MBT starts from under the same seed."""
    predictor = MbtPredictor(Mbt(config, len(card.classes), streams))
    load_published(predictor.mbt, config, ctx.tracker.notice)
    objective = Released(predictor, config, card, streams)
    if config.weights_all:
        load_released(objective, Path(config.weights_all), ctx.tracker.notice)
    train(objective.to(ctx.device), clips, sampling(config, True), pretraining(config), streams, ctx)
    return fine_tune(predictor, config, card, clips, val, streams, ctx)
