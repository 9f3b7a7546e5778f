"""A linear probe on simple features of picture and sound: what deep methods have to beat to have learnt anything."""

from __future__ import annotations

from pydantic import Field

from bench.config import Config
from bench.data import Sampling
from bench.method import Deferred, Method


class ProbeConfig(Config):
    """How finely the probe looks."""

    segments: int = Field(6, ge=1, le=64, description="S, slots a clip is cut into")
    frames: int = Field(4, ge=2, le=64, description="T, frames a segment")
    stride: int = Field(5, ge=1, le=30, description="video frames from one to the next")
    size: int = Field(32, ge=8, le=448, description="pixels of a side of a frame")
    mels: int = Field(64, ge=16, le=256, description="mel bins of the sound")


def sampling(config: ProbeConfig, training: bool) -> Sampling:
    """Always without randomness."""
    return Sampling(config.segments, config.frames, config.stride, config.size, config.mels, False)


PROBE = Method(
    name="probe",
    version=2,
    title="logistic regression on means of colour, change and sound",
    config=ProbeConfig,
    build=Deferred("methods.probe_model:build_probe"),
    fit=Deferred("methods.probe_model:fit_probe"),
    sampling=sampling,
    shown_fields=("segments", "size"),
)
