"""MART as a registry entry."""

from __future__ import annotations

from bench.data import Card, ClipSet
from bench.method import Context, Method, Predictor
from bench.streams import Streams
from methods.backbones.config import ENCODER_WEIGHTS, sampling
from methods.mart.config import MartConfig
from methods.mart.describe import (
    CUE_TABLE,
    FOUND_CUES,
    KEPT_CUES,
    PAPER,
    SHOWN_FIELDS,
    VERIFICATION_TABLE,
    describe_ablation,
)


def build(config: MartConfig, card: Card) -> Predictor:
    """A predictor whose weights are to be loaded."""
    from methods.backbones.mbt import Mbt
    from methods.mart.model import MartPredictor

    return MartPredictor(Mbt(config, len(card.classes), Streams(0)), config, card)


def fit(config: MartConfig, card: Card, train: ClipSet, val: ClipSet, streams: Streams, ctx: Context) -> Predictor:
    """Pre-train on words, picture and sound, then fine-tune on labels."""
    from methods.mart.fit import pretrain_and_fine_tune

    return pretrain_and_fine_tune(config, card, train, val, streams, ctx)


MART = Method(
    name="mart",
    version=2,
    title="MBT pre-trained by masked affective representation learning",
    config=MartConfig,
    build=build,
    fit=fit,
    sampling=sampling,
    cite="Zhang et al., MART: Masked Affective RepresenTation Learning via Masked Temporal Distribution Distillation, "
    "CVPR 2024",
    describe=describe_ablation,
    measures=(FOUND_CUES, KEPT_CUES),
    note_tables=(CUE_TABLE, VERIFICATION_TABLE),
    paper=PAPER,
    shown_fields=SHOWN_FIELDS,
    encoder_weights=ENCODER_WEIGHTS,
    review="methods.mart.verification:score_verification",
    figures="methods.mart.figures:FIGURES",
)
