"""Registry entry of MBT: the supervised baseline, and the model that MART pre-trains."""

from __future__ import annotations

from bench.method import Deferred, Method
from methods.mbt.config import ENCODER_WEIGHTS, SHOWN_FIELDS, MbtConfig, describe_modalities, make_sampling

MBT = Method(
    name="mbt",
    version=2,
    title="bottleneck transformer of video and audio, trained on labels only",
    config=MbtConfig,
    build=Deferred("methods.mbt.supervised:build_mbt"),
    fit=Deferred("methods.mbt.supervised:fit_mbt"),
    sampling=make_sampling,
    cite="Nagrani et al., Attention Bottlenecks for Multimodal Fusion, NeurIPS 2021",
    describe=describe_modalities,
    shown_fields=SHOWN_FIELDS,
    encoder_weights=ENCODER_WEIGHTS,
)
