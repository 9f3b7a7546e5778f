"""Baselines: the majority class, and a linear probe on simple features."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

from pydantic import Field

from bench.config import Config
from bench.method import Deferred, Method
from bench.tasks import Classification, Regression
from bench.types import Sampling


class MajorityConfig(Config):
    """Input sizes of the preset's other methods, so that no clip is prepared for this baseline only."""

    presets: ClassVar[Mapping[str, Mapping[str, Any]]] = {"paper": {}, "quick": {"size": 24, "mels": 32}}

    size: int = Field(112, ge=8, le=448, description="frame height and width in pixels; does not affect the scores")
    mels: int = Field(128, ge=16, le=256, description="mel bins of the audio; does not affect the scores")


def make_majority_sampling(config: MajorityConfig, training: bool) -> Sampling:
    """Return a sampling without modalities: no stream is decoded."""
    return Sampling(1, 1, 1, config.size, config.mels, training, modalities=())


MAJORITY = Method(
    name="majority",
    version=1,
    title="most frequent class (or median score) of the training split",
    config=MajorityConfig,
    build=Deferred("methods.baseline_models:build_majority"),
    fit=Deferred("methods.baseline_models:fit_majority"),
    sampling=make_majority_sampling,
    tasks=(Classification, Regression),
)


class ProbeConfig(Config):
    """Temporal and spatial resolution of the probe's input."""

    segments: int = Field(6, ge=1, le=64, description="S, segments per clip")
    frames: int = Field(4, ge=2, le=64, description="T, frames per segment")
    stride: int = Field(5, ge=1, le=30, description="step between sampled video frames")
    size: int = Field(32, ge=8, le=448, description="frame height and width in pixels")
    mels: int = Field(64, ge=16, le=256, description="mel bins of the audio")


def make_probe_sampling(config: ProbeConfig, training: bool) -> Sampling:
    """Return the sampling of clips: fixed moments and no crops, in training too."""
    return Sampling(config.segments, config.frames, config.stride, config.size, config.mels, False)


PROBE = Method(
    name="probe",
    version=2,
    title="logistic (or ridge) regression on means of colour, motion and audio energy",
    config=ProbeConfig,
    build=Deferred("methods.baseline_models:build_probe"),
    fit=Deferred("methods.baseline_models:fit_probe"),
    sampling=make_probe_sampling,
    tasks=(Classification, Regression),
    shown_fields=("segments", "size"),
)
