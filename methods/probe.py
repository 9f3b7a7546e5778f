"""A linear probe on simple features of picture and sound: what deep methods have to beat to have learnt anything."""

from __future__ import annotations

from pydantic import Field

from bench.config import Config
from bench.data import Card, ClipSet, Sampling
from bench.method import Context, Method, Predictor
from bench.streams import Streams


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


def build(config: ProbeConfig, card: Card) -> Predictor:
    """A predictor whose weights are to be loaded."""
    from methods.probe_model import LinearProbe

    return LinearProbe(len(card.classes))


def fit(config: ProbeConfig, card: Card, train: ClipSet, val: ClipSet, streams: Streams, ctx: Context) -> Predictor:
    """Multinomial logistic regression, its penalty chosen on val."""
    from methods.probe_model import fit_probe

    return fit_probe(sampling(config, False), card, train, val, streams, ctx)


PROBE = Method(
    "probe",
    2,
    "logistic regression on means of colour, change and sound",
    ProbeConfig,
    build,
    fit,
    sampling,
    shown_fields=("segments", "size"),
)
