"""The released MART as a registry entry."""

from __future__ import annotations

from bench.data import Card, ClipSet
from bench.method import Context, Method, Predictor
from bench.streams import Streams
from methods.backbones.config import ENCODER_WEIGHTS, describe_modalities, sampling
from methods.mart.describe import CUE_TABLE, FOUND_CUES, SHOWN_FIELDS
from methods.mbt import build
from methods.released.config import ReleasedConfig


def fit(config: ReleasedConfig, card: Card, train: ClipSet, val: ClipSet, streams: Streams, ctx: Context) -> Predictor:
    """Pre-train as the released code does, then fine-tune on labels."""
    from methods.released.fit import pretrain_and_fine_tune

    return pretrain_and_fine_tune(config, card, train, val, streams, ctx)


RELEASED = Method(
    name="mart-released",
    version=1,
    title="MART as its authors' code computes it, with its optimiser and batches repaired",
    config=ReleasedConfig,
    build=build,
    fit=fit,
    sampling=sampling,
    cite="github.com/nku-zhichengzhang/MART, commit 2413e65",
    describe=describe_modalities,
    measures=(FOUND_CUES,),
    note_tables=(CUE_TABLE,),
    shown_fields=SHOWN_FIELDS,
    encoder_weights=ENCODER_WEIGHTS,
)
