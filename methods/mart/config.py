"""Config of MART: the values of its pre-training beyond those of MBT (METHOD.md sections 2 to 7)."""

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
RAMPED_MASKS = ("affective", "attention")  # masks whose share of hidden tokens is a choice: the others have the paper's


class MartConfig(PretrainConfig):
    """A pre-training's values, and those of MART; the defaults are the paper's."""

    presets: ClassVar[Mapping[str, Mapping[str, Any]]] = {
        "paper": {},
        "quick": {**PretrainConfig.presets["quick"], "contrast_width": 32},
    }
    file_fields: ClassVar[tuple[str, ...]] = (*PretrainConfig.file_fields, "weights_teacher")

    def get_files(self) -> dict[str, Path]:
        """The weights, the teacher, and the lexicon where it is neither of those that come with packages."""
        return super().get_files() | ({} if self.lexicon in BUILTIN_LEXICA else {"lexicon": Path(self.lexicon)})

    lexicon: str = Field("nrc", min_length=1, description="nrc | senticnet (its mood tags) | a JSON file")
    verify: LevelName = Field("degree", description="last stage of verification a cue has to pass: E1, E2, E3")
    tau_degree: Annotated[float, SearchRange(0.2, 0.8, condition=lambda c: c.verify == "degree")] = Field(
        0.5, gt=0, le=1, description="tau of E3"
    )
    verify_after: float = Field(0.1, ge=0, le=1, description="share of pre-training before verification sets in")
    tcam: Literal["centred", "raw"] = Field("centred", description="offset of the scores in D_tcam (Eq. 3)")
    mask: MaskName = Field("affective", description="what decides which tokens are hidden")
    mask_from: float = Field(0.1, gt=0, lt=1, description="share of hidden tokens at the start")
    mask_to: Annotated[float, SearchRange(0.3, 0.8, condition=lambda c: c.mask in RAMPED_MASKS)] = Field(
        0.5, gt=0, lt=1, description="share of hidden tokens at the end"
    )
    mask_ramp: float = Field(1.0, gt=0, le=1, description="share of pre-training until mask_to is reached")
    reveal: float = Field(0.05, ge=0, lt=1, description="share of tokens, highest first, that stay as hints")
    target: TargetName = Field("distribution", description="what is recovered of the hidden tokens")
    kl_axis: Literal["class", "time"] = Field("class", description="axis the emotion distribution is taken over")
    tau: Annotated[float, SearchRange(0.03, 0.3, log=True, condition=lambda c: c.w_tacl > 0)] = Field(
        0.07, gt=0, description="temperature of Eqs. 4 and 5"
    )
    negatives: Literal["paper", "paper+words"] = Field("paper", description="what Eqs. 4 and 5 push away")
    contrast_width: int = Field(256, ge=2, description="width of the space Eqs. 4 and 5 compare in")
    w_tacl: Annotated[float, SearchRange(0.1, 3.0, log=True)] = Field(1.0, ge=0, description="weight of L_tacl")
    w_cue: float = Field(1.0, ge=0, description="weight of the classification of x_vl and x_al")
    w_patch: Annotated[
        float, SearchRange(0.01, 1.0, log=True, condition=lambda c: c.mask != "none" and c.target == "distribution")
    ] = Field(0.05, ge=0, description="weight of patch recovery")
    w_kl: Annotated[
        float,
        SearchRange(0.1, 3.0, log=True, condition=lambda c: c.mask != "none" and c.target in ("distribution", "kl")),
    ] = Field(1.0, ge=0, description="weight of distribution recovery")
    w_target: float = Field(1.0, ge=0, description="weight of a target that replaces both (pixel, hog, clip)")
    weights_teacher: str = Field("", description="file of timm's image-text tower for target=clip")


class ReleasedConfig(PretrainConfig):
    """A pre-training's values, and those of the released one."""

    text_heads: int = Field(8, ge=1, description="attention heads of the words' question to picture and sound")
    w_patch: float = Field(0.05, ge=0, description="weight of pixel recovery")
