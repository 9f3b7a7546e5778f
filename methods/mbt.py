"""MBT on labels alone: the paper's supervised baseline, and the model that MART pre-trains."""

from __future__ import annotations

from bench.data import Card, ClipSet
from bench.method import Context, Method, Predictor
from bench.streams import Streams
from methods.backbones.config import ENCODER_WEIGHTS, SHOWN_FIELDS, MbtConfig, describe_modalities, sampling


def build(config: MbtConfig, card: Card) -> Predictor:
    """A predictor whose weights are to be loaded."""
    from methods.backbones.mbt import Mbt
    from methods.supervised import MbtPredictor

    return MbtPredictor(Mbt(config, len(card.classes), Streams(0)))


def fit(config: MbtConfig, card: Card, train: ClipSet, val: ClipSet, streams: Streams, ctx: Context) -> Predictor:
    """Train on labels; the best epoch on val."""
    from methods.backbones.mbt import Mbt
    from methods.backbones.published import load_published
    from methods.supervised import MbtPredictor, fine_tune

    mbt = Mbt(config, len(card.classes), streams)
    load_published(mbt, config, ctx.tracker.notice)
    return fine_tune(MbtPredictor(mbt), config, card, train, val, streams, ctx)


MBT = Method(
    name="mbt",
    version=2,
    title="picture and sound transformers fused through bottleneck tokens, on labels alone",
    config=MbtConfig,
    build=build,
    fit=fit,
    sampling=sampling,
    cite="Nagrani et al., Attention Bottlenecks for Multimodal Fusion, NeurIPS 2021",
    describe=describe_modalities,
    shown_fields=SHOWN_FIELDS,
    encoder_weights=ENCODER_WEIGHTS,
)
