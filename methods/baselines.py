"""The baselines: the majority class and a linear probe on simple features."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

from pydantic import Field

from bench.config import Config
from bench.method import Deferred, Method
from bench.types import Sampling


class MajorityConfig(Config):
    """Nothing to choose: clips are prepared as the preset's other methods want them, so none is decoded for it."""

    presets: ClassVar[Mapping[str, Mapping[str, Any]]] = {"paper": {}, "quick": {"size": 24, "mels": 32}}

    size: int = Field(112, ge=8, le=448, description="pixels of a side of a frame; changes no number")
    mels: int = Field(128, ge=16, le=256, description="mel bins of the sound; changes no number")


def make_majority_sampling(config: MajorityConfig, training: bool) -> Sampling:
    """Nothing is read."""
    return Sampling(1, 1, 1, config.size, config.mels, training, modalities=())


MAJORITY = Method(
    name="majority",
    version=1,
    title="the most frequent training class",
    config=MajorityConfig,
    build=Deferred("methods.baseline_models:build_majority"),
    fit=Deferred("methods.baseline_models:fit_majority"),
    sampling=make_majority_sampling,
)


class ProbeConfig(Config):
    """How finely the probe looks."""

    segments: int = Field(6, ge=1, le=64, description="S, slots a clip is cut into")
    frames: int = Field(4, ge=2, le=64, description="T, frames a segment")
    stride: int = Field(5, ge=1, le=30, description="video frames from one to the next")
    size: int = Field(32, ge=8, le=448, description="pixels of a side of a frame")
    mels: int = Field(64, ge=16, le=256, description="mel bins of the sound")


def make_probe_sampling(config: ProbeConfig, training: bool) -> Sampling:
    """Always without randomness."""
    return Sampling(config.segments, config.frames, config.stride, config.size, config.mels, False)


PROBE = Method(
    name="probe",
    version=2,
    title="logistic regression on means of colour, change and sound",
    config=ProbeConfig,
    build=Deferred("methods.baseline_models:build_probe"),
    fit=Deferred("methods.baseline_models:fit_logistic_regression"),
    sampling=make_probe_sampling,
    shown_fields=("segments", "size"),
)
