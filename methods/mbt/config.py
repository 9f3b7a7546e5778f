"""Config and registry entry of MBT, the supervised baseline, and config of a pre-training stage in front of it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field

from bench.config import Config, SearchRange
from bench.method import ConfigParts, Deferred, Method
from bench.tasks import Classification, Regression
from bench.types import AudioSpec, Sampling, VideoSpec

SHOWN_FIELDS = ("batch", "lr", "weight_decay", "epochs", "segments", "size", "width")
ENCODER_WEIGHTS = ("weights_video", "weights_audio", "weights_all")
MODALITIES = ("video", "audio")
MODALITY_CHOICES: dict[str, tuple[str, ...]] = {
    "both": ("video", "audio"),
    "video": ("video",),
    "audio": ("audio",),
}


class MbtConfig(Config):
    """Architecture, input and fine-tuning of MBT; the defaults are the paper's."""

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

    segments: int = Field(12, ge=1, le=64, description="S, segments per clip in training")
    test_segments: int = Field(16, ge=1, le=64, description="S, segments per clip at validation and test")
    frames: int = Field(16, ge=1, le=64, description="T, frames per segment")
    stride: int = Field(1, ge=1, le=30, description="step between sampled video frames; 1 = consecutive")
    size: int = Field(112, ge=8, le=448, description="frame height and width in pixels")
    mels: int = Field(128, ge=16, le=256, description="mel bins of the audio")
    patch: int = Field(16, ge=2, description="side of a video patch in pixels")
    tubelet: int = Field(2, ge=1, description="frames of a video patch")
    stem: Literal["linear", "local"] = Field(
        "linear", description="video patch embedding: linear projection, or convolutions within the patch"
    )
    scale: Literal["released", "segment"] = Field(
        "released", description="input scale: that of the released weights, or centred on each segment's mean"
    )
    audio_patch: int = Field(16, ge=2, le=100, description="side of an audio patch in mel bins and 10 ms frames")
    audio_stride: int = Field(10, ge=1, description="stride of the audio patches")
    width: int = Field(768, ge=8, description="D, token width")
    depth: int = Field(12, ge=1, description="blocks of each encoder")
    heads: int = Field(12, ge=1, description="attention heads per block")
    fusion_depth: int = Field(
        4, ge=1, description="number of last blocks that exchange information through the bottleneck"
    )
    bottleneck: int = Field(32, ge=1, description="bottleneck tokens")
    dropout: Annotated[float, SearchRange(0.0, 0.3)] = Field(
        0.0, ge=0, lt=1, description="dropout after attention and MLP"
    )
    polarity_weight: Annotated[float, SearchRange(0.0, 1.0)] = Field(
        0.5, ge=0, description="lambda: extra loss weight of a clip predicted with the wrong polarity"
    )
    epochs: int = Field(150, ge=1, description="fine-tuning epochs")
    batch: int = Field(36, ge=1, description="clips per optimiser step")
    lr: Annotated[float, SearchRange(1e-5, 3e-3, log=True)] = Field(
        2e-4, gt=0, description="peak learning rate of fine-tuning"
    )
    weight_decay: Annotated[float, SearchRange(1e-3, 0.3, log=True)] = Field(0.04, ge=0, description="weight decay")
    optimizer: Literal["adamw", "adam"] = Field(
        "adamw", description="adamw: decoupled weight decay; adam: decay added to the gradient"
    )
    warmup: float = Field(0.05, ge=0, le=1, description="share of steps with linear learning-rate warm-up")
    clip_norm: float = Field(5.0, ge=0, description="largest gradient norm; 0 = no clipping")
    ema: float = Field(0.999, ge=0, lt=1, description="decay of the moving average of weights; 0 = no averaging")
    ema_ramp: float = Field(2000.0, gt=0, description="t in the ramp of the decay, 1 - exp(-step / t), in steps")
    precision: Literal["32-true", "bf16-mixed"] = Field("32-true", description="numeric precision of training steps")
    recompute: bool = Field(False, description="recompute each block in the backward pass: less memory, more time")
    compile: bool = Field(False, description="compile the encoder blocks with torch.compile")
    modalities: Literal["both", "video", "audio"] = Field("both", description="input modalities of the model")
    weights_video: str = Field("", description="file of published video weights (VideoMAE, DeiT); empty = none")
    weights_audio: str = Field("", description="file of published audio weights (AST, DeiT); empty = none")
    weights_all: str = Field("", description="file of a whole checkpoint of the authors' code; empty = none")
    freeze_audio: int = Field(8, ge=0, description="number of first audio blocks to freeze if weights are loaded")

    def get_files(self) -> dict[str, Path]:
        """Return field -> path of the initial weights that are set."""
        return {name: Path(getattr(self, name)) for name in self.file_fields if getattr(self, name)}


def make_sampling(config: MbtConfig, training: bool) -> Sampling:
    """Return how clips are sampled: random moments and crops in training, fixed ones at test."""
    segments = config.segments if training else config.test_segments
    video = VideoSpec(config.frames, config.stride, config.size)
    reads = (*MODALITY_CHOICES[config.modalities], "text")
    return Sampling(segments, video, AudioSpec(config.mels), training, reads)


def describe_modalities(config: Mapping[str, Any]) -> dict[str, ConfigParts]:
    """Return which of video and audio a config uses, for the table of modalities."""
    modalities = MODALITY_CHOICES[config.get("modalities", "both")]
    return {"modalities": ConfigParts({"video": "video" in modalities, "audio": "audio" in modalities})}


class PretrainConfig(MbtConfig):
    """Config of MBT, which fine-tuning uses unchanged, and of a pre-training stage with a transcript and decoders."""

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
    pretrain_lr: Annotated[float, SearchRange(1e-5, 3e-3, log=True)] = Field(
        2e-4, gt=0, description="peak learning rate of pre-training"
    )
    decoder_depth: int = Field(8, ge=1, description="blocks per decoder")
    decoder_width: int = Field(512, ge=8, description="decoder width")
    decoder_heads: int = Field(16, ge=1, description="attention heads per decoder block")
    pretrain_weight_decay: float = Field(0.04, ge=0, description="weight decay of pre-training")
    pretrain_dropout: float = Field(0.0, ge=0, lt=1, description="dropout of pre-training")
    pretrain_polarity_weight: float = Field(0.5, ge=0, description="lambda of pre-training, see polarity_weight")
    weights_text: str = Field(
        "", description="folder of a BERT model in HuggingFace format; empty = a learned word table"
    )

    def for_pretraining(self) -> PretrainConfig:
        """Return the config of the model during pre-training."""
        return self.override(
            {name: getattr(self, f"pretrain_{name}") for name in ("weight_decay", "dropout", "polarity_weight")}
        )


FINE_TUNING_FIELDS = tuple(
    ["epochs", "lr", "weight_decay", "dropout", "polarity_weight", "ema", "ema_ramp", "test_segments"]
)
"""Fields of a PretrainConfig that pre-training does not depend on."""

MBT = Method(
    name="mbt",
    version=2,
    title="bottleneck transformer of video and audio, trained on labels only",
    config=MbtConfig,
    build=Deferred("methods.mbt.supervised:build_mbt"),
    fit=Deferred("methods.mbt.supervised:fit_mbt"),
    sampling=make_sampling,
    tasks=(Classification, Regression),
    cite="Nagrani et al., Attention Bottlenecks for Multimodal Fusion, NeurIPS 2021",
    describe=describe_modalities,
    shown_fields=SHOWN_FIELDS,
    encoder_weights=ENCODER_WEIGHTS,
)
