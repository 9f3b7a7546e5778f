"""The released MART as a registry entry."""

from __future__ import annotations

from bench.method import Deferred, Method
from methods.backbones.config import ENCODER_WEIGHTS, describe_modalities, sampling
from methods.mart.describe import CUE_TABLE, FOUND_CUES, SHOWN_FIELDS
from methods.released.config import ReleasedConfig

RELEASED = Method(
    name="mart-released",
    version=1,
    title="MART as its authors' code computes it, with its optimiser and batches repaired",
    config=ReleasedConfig,
    build=Deferred("methods.supervised:build_mbt"),
    fit=Deferred("methods.released.fit:fit_released"),
    sampling=sampling,
    cite="github.com/nku-zhichengzhang/MART, commit 2413e65",
    describe=describe_modalities,
    measures=(FOUND_CUES,),
    note_tables=(CUE_TABLE,),
    shown_fields=SHOWN_FIELDS,
    encoder_weights=ENCODER_WEIGHTS,
)
