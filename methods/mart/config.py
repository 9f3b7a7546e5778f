"""Config of MART: the fields of its pre-training beyond those of MBT (docs/methods.md)."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field

from bench.config import SearchRange
from methods.mbt.config import PretrainConfig

LevelName = Literal["none", "sentiment", "emotion", "degree"]
MaskName = Literal["affective", "attention", "random", "tube", "frame", "none"]
BUILTIN_LEXICA = ("nrc", "senticnet")
TargetName = Literal["distribution", "kl", "pixel", "hog", "clip"]
RAMPED_MASKS = ("affective", "attention")  # only their ratio is searched: the others use the paper's fixed ratio


class MartConfig(PretrainConfig):
    """Config of MART; the defaults are the paper's."""

    presets: ClassVar[Mapping[str, Mapping[str, Any]]] = {
        "paper": {},
        "quick": {**PretrainConfig.presets["quick"], "contrast_width": 32},
    }
    file_fields: ClassVar[tuple[str, ...]] = (*PretrainConfig.file_fields, "weights_teacher")

    def get_files(self) -> dict[str, Path]:
        """Return the files that a run reads: weights, teacher, and a custom lexicon."""
        return super().get_files() | ({} if self.lexicon in BUILTIN_LEXICA else {"lexicon": Path(self.lexicon)})

    lexicon: str = Field(
        "nrc", min_length=1, description="nrc | senticnet (emotions from its mood tags) | path of a JSON file"
    )
    verify: LevelName = Field(
        "degree", description="last verification level a cue must pass: sentiment (E1), emotion (E2), degree (E3)"
    )
    tau_degree: Annotated[float, SearchRange(0.2, 0.8, condition=lambda c: c.verify == "degree")] = Field(
        0.5, gt=0, le=1, description="tau of E3: largest difference of the degrees of text and video"
    )
    verify_after: float = Field(0.1, ge=0, le=1, description="share of pre-training during which all cues are kept")
    tcam: Literal["centred", "raw"] = Field(
        "centred", description="segment scores in D_tcam (Eq. 3): centred over classes, or raw"
    )
    mask: MaskName = Field("affective", description="masking strategy: what ranks or groups the tokens to mask")
    mask_from: float = Field(0.1, gt=0, lt=1, description="share of masked tokens at the start")
    mask_to: Annotated[float, SearchRange(0.3, 0.8, condition=lambda c: c.mask in RAMPED_MASKS)] = Field(
        0.5, gt=0, lt=1, description="share of masked tokens at the end"
    )
    mask_ramp: float = Field(1.0, gt=0, le=1, description="share of pre-training after which mask_to is reached")
    reveal: float = Field(0.05, ge=0, lt=1, description="share of top-ranked tokens left visible as hints")
    target: TargetName = Field("distribution", description="recovery target at the masked tokens")
    kl_axis: Literal["class", "time"] = Field("class", description="axis of the softmax of the emotion distribution")
    tau: Annotated[float, SearchRange(0.03, 0.3, log=True, condition=lambda c: c.w_tacl > 0)] = Field(
        0.07, gt=0, description="temperature of Eqs. 4 and 5"
    )
    negatives: Literal["paper", "paper+words"] = Field(
        "paper", description="negatives of Eqs. 4 and 5: features of the other modality, or also cues"
    )
    contrast_width: int = Field(256, ge=2, description="width of the projection space of Eqs. 4 and 5")
    w_tacl: Annotated[float, SearchRange(0.1, 3.0, log=True)] = Field(1.0, ge=0, description="weight of L_tacl")
    w_cue: float = Field(1.0, ge=0, description="weight of the classification loss on x_vl and x_al")
    w_patch: Annotated[
        float, SearchRange(0.01, 1.0, log=True, condition=lambda c: c.mask != "none" and c.target == "distribution")
    ] = Field(0.05, ge=0, description="weight of the patch recovery loss")
    w_kl: Annotated[
        float,
        SearchRange(0.1, 3.0, log=True, condition=lambda c: c.mask != "none" and c.target in ("distribution", "kl")),
    ] = Field(1.0, ge=0, description="weight of the distribution recovery loss")
    w_target: float = Field(1.0, ge=0, description="weight of the recovery loss if the target is pixel, hog or clip")
    weights_teacher: str = Field("", description="file of a CLIP image tower (timm or OpenCLIP) for target=clip")


class ReleasedConfig(PretrainConfig):
    """Config of MART as its authors released it."""

    text_heads: int = Field(8, ge=1, description="attention heads of the words' attention to video and audio")
    w_patch: float = Field(0.05, ge=0, description="weight of the pixel recovery loss")
