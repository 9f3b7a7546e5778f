"""MART from start to end: pre-train, tell what was verified, fine-tune exactly as MBT is."""

from __future__ import annotations

from dataclasses import replace

import torch

from bench.chosen import chosen
from bench.data import Batch, Card, ClipSet, Explanation
from bench.loading import collate
from bench.method import Context, Predictor
from bench.predict import explain
from bench.streams import Streams
from bench.training import train
from methods.backbones.config import sampling
from methods.backbones.mbt import Mbt
from methods.backbones.published import load_published
from methods.mart.config import LEXICA, MartConfig
from methods.mart.model import MartPredictor, Pretrain
from methods.supervised import fine_tune, pretraining


def build_mart(config: MartConfig, card: Card) -> MartPredictor:
    """Make a predictor whose weights are to be loaded."""
    return MartPredictor(Mbt(config, len(card.classes), Streams(0)), config, card)


def fit_mart(config: MartConfig, card: Card, clips: ClipSet, val: ClipSet, streams: Streams, ctx: Context) -> Predictor:
    """The finished predictor; its encoders started from the weights that MBT starts from under the same seed."""
    mbt = Mbt(config, len(card.classes), streams)
    load_published(mbt, config, ctx.tracker.notice)
    predictor = MartPredictor(mbt, config, card)
    objective = Pretrain(predictor, config, card, streams).to(ctx.device)
    if objective.reads:
        _warn_about_words(config, card, clips, streams, ctx)
    train(objective, clips, sampling(config, True), pretraining(config), streams, ctx)
    ctx.tracker.explain("pretrain", _tell(objective, config, clips, val, streams, ctx))
    return fine_tune(predictor, config, card, clips, val, streams, ctx)


def _tell(
    objective: Pretrain, config: MartConfig, clips: ClipSet, val: ClipSet, streams: Streams, ctx: Context
) -> dict[str, Explanation]:
    """What became of the words of every clip, and of a few clips of val what is hidden and recovered in the end."""
    fixed = sampling(config.override({"test_segments": config.segments}), False)
    told: dict[str, Explanation] = {}
    if objective.reads:
        for split in (clips, val):
            told |= explain(objective.predictor, split, fixed, streams, ctx)
    if objective.recovers:
        few = chosen(val.clips)
        with torch.inference_mode(), ctx.clock("explain"):
            inputs = collate([val.read(index, fixed, streams, 0) for index in few]).to(torch.device(ctx.device))
            label = torch.tensor([val.clips[index].label for index in few], device=ctx.device)
            keys = tuple(val.clips[index].key for index in few)
            batch = Batch(inputs, label, keys, config.pretrain_epochs - 1, progress=1.0)
            told |= zip(keys, objective.explain(batch), strict=True)
    return told


def _warn_about_words(config: MartConfig, card: Card, clips: ClipSet, streams: Streams, ctx: Context) -> None:
    """Say before training what would silently make MART something else. Clips are opened until one has words."""
    fixed = replace(sampling(config, False), modalities=("words",))
    if not any(bool(clips.read(index, fixed, streams, 0).present[2]) for index in range(len(clips.clips))):
        ctx.tracker.notice("no training clip has words: MART has no cues, and masks by class-token attention alone")
    if card.language != "en" and config.lexicon in LEXICA:
        ctx.tracker.notice(f"the lexicon is English, the words of {card.title} are '{card.language}'")
    if not config.weights_text and config.width == MartConfig.preset("paper").width:
        ctx.tracker.notice("words are a learned table, no BERT was given (--set weights_text=FOLDER)")
