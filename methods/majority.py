"""Always the most frequent class of the training split: what any method has to beat."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

from pydantic import Field

from bench.config import Config
from bench.data import Sampling
from bench.method import Deferred, Method


class MajorityConfig(Config):
    """Nothing to choose: clips are prepared as the preset's other methods want them, so none is decoded for it."""

    presets: ClassVar[Mapping[str, Mapping[str, Any]]] = {"paper": {}, "quick": {"size": 24, "mels": 32}}

    size: int = Field(112, ge=8, le=448, description="pixels of a side of a frame; changes no number")
    mels: int = Field(128, ge=16, le=256, description="mel bins of the sound; changes no number")


def sampling(config: MajorityConfig, training: bool) -> Sampling:
    """Nothing is read."""
    return Sampling(1, 1, 1, config.size, config.mels, training, modalities=())


MAJORITY = Method(
    name="majority",
    version=1,
    title="the most frequent training class",
    config=MajorityConfig,
    build=Deferred("methods.majority_model:build_majority"),
    fit=Deferred("methods.majority_model:fit_majority"),
    sampling=sampling,
)
