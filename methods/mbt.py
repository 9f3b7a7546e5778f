"""MBT on labels alone: the paper's supervised baseline, and the model that MART pre-trains."""

from __future__ import annotations

from bench.method import Deferred, Method
from methods.backbones.config import ENCODER_WEIGHTS, SHOWN_FIELDS, MbtConfig, describe_modalities, sampling

MBT = Method(
    name="mbt",
    version=2,
    title="picture and sound transformers fused through bottleneck tokens, on labels alone",
    config=MbtConfig,
    build=Deferred("methods.supervised:build_mbt"),
    fit=Deferred("methods.supervised:fit_mbt"),
    sampling=sampling,
    cite="Nagrani et al., Attention Bottlenecks for Multimodal Fusion, NeurIPS 2021",
    describe=describe_modalities,
    shown_fields=SHOWN_FIELDS,
    encoder_weights=ENCODER_WEIGHTS,
)
