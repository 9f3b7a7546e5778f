"""Registry entries of MART and of its released variant, with their tables in reports.

These are the columns of ablation tables, the shares of segments with a cue, the scores of verification, and the file of
published numbers.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from bench.method import ConfigParts, Deferred, Measure, Method, NoteTable
from methods.mart.config import MartConfig, ReleasedConfig
from methods.mbt.config import ENCODER_WEIGHTS, describe_modalities, make_sampling

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
