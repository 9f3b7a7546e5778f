"""MART as a registry entry."""

from __future__ import annotations

from bench.method import Deferred, Method
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

MART = Method(
    name="mart",
    version=2,
    title="MBT pre-trained by masked affective representation learning",
    config=MartConfig,
    build=Deferred("methods.mart.fit:build_mart"),
    fit=Deferred("methods.mart.fit:fit_mart"),
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
