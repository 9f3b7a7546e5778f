"""Config of MBT and of any pre-training that precedes its fine-tuning."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field

from bench.config import Config, SearchRange
from bench.method import ConfigParts
from bench.types import Modality, Sampling

SHOWN_FIELDS = ("batch", "lr", "weight_decay", "epochs", "segments", "size", "width")
ENCODER_WEIGHTS = ("weights_video", "weights_audio", "weights_all")
MODALITIES = ("video", "audio")
MODALITY_CHOICES: dict[str, tuple[Modality, ...]] = {
    "both": ("video", "audio"),
    "video": ("video",),
    "audio": ("audio",),
}


class MbtConfig(Config):
    """Sizes, input and fine-tuning of MBT; the defaults are the paper's."""

    presets: ClassVar[Mapping[str, Mapping[str, Any]]] = {
        "paper": {},
        "quick": {
            "segments": 6,
            "test_segments": 6,
            "frames": 4,
            "stride": 5,
            "size": 24,
            "mels": 32,
            "patch": 24,
            "tubelet": 1,
            "stem": "local",
            "scale": "segment",
            "audio_patch": 32,
            "audio_stride": 16,
            "width": 64,
            "depth": 2,
            "heads": 4,
            "fusion_depth": 1,
            "bottleneck": 4,
            "lr": 2e-3,
            "epochs": 40,
            "batch": 8,
            "ema": 0.98,
            "ema_ramp": 30,
        },
    }
    file_fields: ClassVar[tuple[str, ...]] = ENCODER_WEIGHTS

    segments: int = Field(12, ge=1, le=64, description="S, slots a clip is cut into in training")
    test_segments: int = Field(16, ge=1, le=64, description="S at test")
    frames: int = Field(16, ge=1, le=64, description="T, frames a segment")
    stride: int = Field(1, ge=1, le=30, description="video frames from one to the next; 1 = consecutive")
    size: int = Field(112, ge=8, le=448, description="pixels of a side of a frame")
    mels: int = Field(128, ge=16, le=256, description="mel bins of the sound")
    patch: int = Field(16, ge=2, description="pixels of a side of a picture patch")
    tubelet: int = Field(2, ge=1, description="frames of a picture patch")
    stem: Literal["linear", "local"] = Field(
        "linear", description="from a picture patch to a token: a matrix, or convolutions within the patch"
    )
    scale: Literal["released", "segment"] = Field(
        "released", description="input scale: that of the released weights, or around each segment's own mean"
    )
    audio_patch: int = Field(16, ge=2, le=100, description="side of a sound patch, bins and frames of 10 ms")
    audio_stride: int = Field(10, ge=1, description="step from one sound patch to the next")
    width: int = Field(768, ge=8, description="D, width of all tokens")
    depth: int = Field(12, ge=1, description="blocks of each encoder")
    heads: int = Field(12, ge=1, description="attention heads of a block")
    fusion_depth: int = Field(4, ge=1, description="last blocks that talk through the bottleneck")
    bottleneck: int = Field(32, ge=1, description="bottleneck tokens")
    dropout: Annotated[float, SearchRange(0.0, 0.3)] = Field(
        0.0, ge=0, lt=1, description="dropout after attention and MLP"
    )
    polarity_weight: Annotated[float, SearchRange(0.0, 1.0)] = Field(
        0.5, ge=0, description="lambda of a wrong polarity"
    )
    epochs: int = Field(150, ge=1, description="fine-tuning epochs")
    batch: int = Field(36, ge=1, description="clips a step")
    lr: Annotated[float, SearchRange(1e-5, 3e-3, log=True)] = Field(
        2e-4, gt=0, description="peak step size of fine-tuning"
    )
    weight_decay: Annotated[float, SearchRange(1e-3, 0.3, log=True)] = Field(0.04, ge=0, description="decoupled decay")
    optimizer: Literal["adamw", "adam"] = Field("adamw", description="adam: decay added to the gradient")
    warmup: float = Field(0.05, ge=0, le=1, description="share of steps with a rising step size")
    clip_norm: float = Field(5.0, ge=0, description="largest norm of a gradient; 0 = none")
    ema: float = Field(0.999, ge=0, lt=1, description="decay of the averaged weights; 0 = none")
    ema_ramp: float = Field(2000.0, gt=0, description="steps t of the ramp 1 - exp(-step / t)")
    precision: Literal["32-true", "bf16-mixed"] = Field("32-true", description="of the training step")
    recompute: bool = Field(False, description="compute each block again in the backward pass: less memory, more time")
    compile: bool = Field(False, description="let torch.compile fuse the encoders' blocks")
    modalities: Literal["both", "video", "audio"] = Field("both", description="what the model may see and hear")
    weights_video: str = Field("", description="file of published picture weights (VideoMAE, DeiT); empty = none")
    weights_audio: str = Field("", description="file of published sound weights (AST, DeiT); empty = none")
    weights_all: str = Field("", description="file of a whole checkpoint of the authors' code; empty = none")
    freeze_audio: int = Field(8, ge=0, description="first sound blocks that stay as loaded, where weights are loaded")

    def get_files(self) -> dict[str, Path]:
        """The weights that training starts from."""
        return {name: Path(getattr(self, name)) for name in self.file_fields if getattr(self, name)}


def make_sampling(config: MbtConfig, training: bool) -> Sampling:
    """How clips are opened: with random moments and crops for training, fixed at test."""
    segments = config.segments if training else config.test_segments
    seen = (*MODALITY_CHOICES[config.modalities], "words")
    return Sampling(segments, config.frames, config.stride, config.size, config.mels, training, seen)


def describe_modalities(config: Mapping[str, Any]) -> dict[str, ConfigParts]:
    """Say which of picture and sound a config uses."""
    seen = MODALITY_CHOICES[config.get("modalities", "both")]
    return {"modalities": ConfigParts({"picture": "video" in seen, "sound": "audio" in seen})}


class PretrainConfig(MbtConfig):
    """MBT's values, which fine-tuning uses unchanged, and those of a pre-training with words and a decoder."""

    presets: ClassVar[Mapping[str, Mapping[str, Any]]] = {
        "paper": {},
        "quick": {
            **MbtConfig.presets["quick"],
            "pretrain_epochs": 15,
            "pretrain_lr": 1e-3,
            "decoder_depth": 1,
            "decoder_width": 48,
            "decoder_heads": 4,
        },
    }
    file_fields: ClassVar[tuple[str, ...]] = (*ENCODER_WEIGHTS, "weights_text")

    pretrain_epochs: int = Field(100, ge=1, description="pre-training epochs")
    pretrain_lr: Annotated[float, SearchRange(1e-5, 3e-3, log=True)] = Field(2e-4, gt=0, description="peak step size")
    decoder_depth: int = Field(8, ge=1, description="blocks of a decoder")
    decoder_width: int = Field(512, ge=8, description="width of a decoder")
    decoder_heads: int = Field(16, ge=1, description="attention heads of a decoder")
    weights_text: str = Field("", description="folder of a BERT in HuggingFace's format; empty = a learned word table")
