"""MART from start to end: pre-train, tell what was verified, fine-tune exactly as MBT is."""

from __future__ import annotations

from bench.data import Card, ClipSet
from bench.method import Context, Predictor
from bench.predict import explain
from bench.streams import Streams
from bench.training import Stage, train
from methods.backbones.config import sampling
from methods.backbones.mbt import Mbt
from methods.mart.config import LEXICA, MartConfig
from methods.mart.model import MartPredictor, Pretrain
from methods.supervised import fine_tune


def pretrain_and_fine_tune(
    config: MartConfig, card: Card, clips: ClipSet, val: ClipSet, streams: Streams, ctx: Context
) -> Predictor:
    """The finished predictor; its encoders started from the weights that MBT starts from under the same seed."""
    predictor = MartPredictor(Mbt(config, len(card.classes), streams), config, card)
    objective = Pretrain(predictor, config, card, streams).to(ctx.device)
    if objective.reads:
        _warn_about_words(config, card, clips, streams, ctx)
    stage = Stage(
        name="pretrain",
        epochs=config.pretrain_epochs,
        batch=config.batch,
        lr=config.pretrain_lr,
        weight_decay=config.weight_decay,
        warmup=config.warmup,
        optimizer=config.optimizer,
        clip_norm=config.clip_norm,
        precision=config.precision,
    )
    train(objective, clips, sampling(config, True), stage, streams, ctx)
    if objective.reads:
        fixed = sampling(config.override({"test_segments": config.segments}), False)
        told = {
            **explain(predictor, clips, fixed, streams, ctx),
            **explain(predictor, val, fixed, streams, ctx),
        }
        ctx.tracker.explain("pretrain", told)
    return fine_tune(predictor, config, card, clips, val, streams, ctx)


def _warn_about_words(config: MartConfig, card: Card, clips: ClipSet, streams: Streams, ctx: Context) -> None:
    """Say before training what would silently make MART something else. Clips are opened until one has words."""
    fixed = sampling(config, False)
    if not any(bool(clips.read(index, fixed, streams, 0).present[2]) for index in range(len(clips.clips))):
        ctx.tracker.notice("no training clip has words: MART has no cues, and masks by class-token attention alone")
    if card.language != "en" and config.lexicon in LEXICA:
        ctx.tracker.notice(f"the lexicon is English, the words of {card.title} are '{card.language}'")
