"""Configs and registry entries of MART and of its released variant, with their tables in reports (docs/methods.md).

The tables are the columns of ablation tables, the shares of segments with a cue, the scores of verification, and the
file of published numbers.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field

from bench.config import SearchRange
from bench.method import ConfigParts, Deferred, Measure, Method, NoteTable, Stage
from methods.mbt.config import (
    ENCODER_WEIGHTS,
    FINE_TUNING_FIELDS,
    PretrainConfig,
    describe_modalities,
    make_sampling,
)

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


PAPER = Path(__file__).with_name("paper.json")
SHOWN_FIELDS = ("batch", "lr", "weight_decay", "epochs", "pretrain_epochs", "pretrain_lr", "segments", "size", "width")

FEW_CUES = 10.0  # percent of segments; with fewer, MART's masking and contrastive loss are nearly inactive
CUE_SHARES = "Cues: training segments with an affective cue, and with a cue that passed verification, in percent."
FOUND_CUES = Measure("coverage", "pretrain/coverage", "with cue", unit=100.0, meaning=CUE_SHARES)
KEPT_CUES = Measure(
    "kept",
    "pretrain/coverage_kept",
    "kept",
    "segments with a kept cue, percent",
    unit=100.0,
    meaning=CUE_SHARES,
    least=FEW_CUES,
    warning=f"fewer than {FEW_CUES:.0f} % of the segments keep a cue, so cue-based training is nearly inactive",
)
CUE_NOTES = {
    "pretrain/coverage": "with cue",
    "pretrain/coverage_sentiment": "after E1",
    "pretrain/coverage_emotion": "after E2",
    "pretrain/coverage_degree": "after E3",
    "pretrain/coverage_kept": "kept",
    "pretrain/fallback": "masked by fallback",
}
CUE_TABLE = NoteTable(
    "segments with an affective cue, last epoch of pre-training, percent",
    labels=(),
    headings=tuple(CUE_NOTES.values()),
    rows=(((), tuple(CUE_NOTES)),),
    flag=KEPT_CUES,
)

LEVELS = {"sentiment": "E1", "emotion": "E2", "degree": "E3"}
VERIFIED_BY = "Cues are verified by sentiment (E1), emotion (E2) and degree (E3)."
FOUND_ERRORS = ("dropped", "precision", "random_precision", "recall", "random_recall")
VERIFICATION_TABLE = NoteTable(
    "verification on the sample: detection of planted wrong words, percent\n"
    "E1 sentiment, E2 emotion, E3 degree; random = as many words dropped by chance",
    labels=("split", "level"),
    headings=tuple(name.partition("_")[0] for name in FOUND_ERRORS),
    rows=tuple(
        ((split, level), tuple(f"pretrain/verify/{split}/{stage}/{name}" for name in FOUND_ERRORS))
        for split in ("train", "val")
        for stage, level in LEVELS.items()
    ),
)

MART_RELEASED = Method(
    name="mart-released",
    version=1,
    title="MART as in its authors' code, with optimiser and batching repaired",
    config=ReleasedConfig,
    build=Deferred("methods.mbt.supervised:build_mbt"),
    fit=Deferred("methods.mart_released:fit_released"),
    stages=(Stage("pretrain", Deferred("methods.mart_released:pretrain_released"), FINE_TUNING_FIELDS),),
    sampling=make_sampling,
    cite="github.com/nku-zhichengzhang/MART, commit 2413e65",
    describe=describe_modalities,
    measures=(FOUND_CUES,),
    note_tables=(CUE_TABLE,),
    shown_fields=SHOWN_FIELDS,
    encoder_weights=ENCODER_WEIGHTS,
)


def describe_ablation(config: Mapping[str, Any]) -> dict[str, ConfigParts]:
    """Return the columns of a config in the tables of masking, recovery, verification and modalities."""
    masking, levels = _describe_masking(config), _list_levels(config)
    return {
        "components": ConfigParts({"masking": masking is not False, "verification": levels}, VERIFIED_BY),
        "masking": ConfigParts({"hidden tokens": masking}),
        "target": ConfigParts({"recovered": masking is not False and str(config["target"])}),
        "verification": ConfigParts({"verified by": levels}, VERIFIED_BY),
        **describe_modalities(config),
    }


def _describe_masking(config: Mapping[str, Any]) -> str | bool:
    """Return strategy and share of masked tokens, e.g. "affective 10-50 %"; False without masking."""
    if config.get("mask", "none") == "none":
        return False
    low, high = (f"{100 * config[name]:.0f}" for name in ("mask_from", "mask_to"))
    return f"{config['mask']} {high if low == high else f'{low}-{high}'} %"


def _list_levels(config: Mapping[str, Any]) -> str | bool:
    """Return the levels of verification that a cue must pass, e.g. "E1, E2"; False without verification."""
    stages, last = list(LEVELS), config.get("verify", "none")
    return ", ".join(LEVELS[stage] for stage in stages[: stages.index(last) + 1]) if last in LEVELS else False


MART = Method(
    name="mart",
    version=2,
    title="MBT pre-trained by masked affective representation learning",
    config=MartConfig,
    build=Deferred("methods.mart.pretraining:build_mart"),
    fit=Deferred("methods.mart.pretraining:fit_mart"),
    stages=(Stage("pretrain", Deferred("methods.mart.pretraining:pretrain_mart"), FINE_TUNING_FIELDS),),
    sampling=make_sampling,
    cite="Zhang et al., MART: Masked Affective RepresenTation Learning via Masked Temporal Distribution Distillation, "
    "CVPR 2024",
    describe=describe_ablation,
    measures=(FOUND_CUES, KEPT_CUES),
    note_tables=(CUE_TABLE, VERIFICATION_TABLE),
    paper=PAPER,
    shown_fields=SHOWN_FIELDS,
    encoder_weights=ENCODER_WEIGHTS,
    review="methods.mart.verification:score_verification",
    figures="methods.mart.figures:FIGURES",
)
