"""What reports print of MART: the parts of its ablation tables, what became of its cues, the numbers of its paper."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from bench.method import ConfigParts, Measure, NoteTable
from methods.backbones.config import describe_modalities

PAPER = Path(__file__).with_name("paper.json")
SHOWN_FIELDS = ("batch", "lr", "weight_decay", "epochs", "pretrain_epochs", "pretrain_lr", "segments", "size", "width")

FEW_CUES = 10.0  # percent of segments; below it a method that lives on words is hardly itself
CUE_SHARES = "Cues: share of training segments with an affective cue, and with one that passed verification, percent."
FOUND_CUES = Measure("coverage", "pretrain/coverage", "a cue", unit=100.0, meaning=CUE_SHARES)
KEPT_CUES = Measure(
    "kept",
    "pretrain/coverage_kept",
    "kept",
    "cues kept, percent",
    unit=100.0,
    meaning=CUE_SHARES,
    least=FEW_CUES,
    warning=f"fewer than {FEW_CUES:.0f} % of the segments keep a cue: a method that lives on words is hardly itself "
    "here",
)
CUE_NOTES = {
    "pretrain/coverage": "a cue",
    "pretrain/coverage_sentiment": "after E1",
    "pretrain/coverage_emotion": "after E2",
    "pretrain/coverage_degree": "after E3",
    "pretrain/coverage_kept": "kept",
    "pretrain/fallback": "masked without",
}
CUE_TABLE = NoteTable(
    "segments with an affective cue in the last epoch of pre-training, percent",
    labels=(),
    headings=tuple(CUE_NOTES.values()),
    rows=(((), tuple(CUE_NOTES)),),
    flag=KEPT_CUES,
)

LEVELS = {"sentiment": "E1", "emotion": "E2", "degree": "E3"}
VERIFIED_BY = "Cues are verified by sentiment (E1), emotion (E2) and degree (E3)."
FOUND_ERRORS = {
    "dropped": "dropped",
    "precision": "precision",
    "random_precision": "random",
    "recall": "recall",
    "random_recall": "random",
}
VERIFICATION_TABLE = NoteTable(
    "verification on the sample: finding planted wrong words, percent\n"
    "E1 sentiment, E2 emotion, E3 degree; random = as many dropped by chance",
    labels=("clips", "stage"),
    headings=tuple(FOUND_ERRORS.values()),
    rows=tuple(
        ((split, level), tuple(f"pretrain/verify/{split}/{stage}/{name}" for name in FOUND_ERRORS))
        for split in ("train", "val")
        for stage, level in LEVELS.items()
    ),
)


def describe_ablation(config: Mapping[str, Any]) -> dict[str, ConfigParts]:
    """Say which parts a config has, in the tables of masking, recovery, verification and modalities."""
    masking, levels = _describe_masking(config), _list_levels(config)
    return {
        "components": ConfigParts({"masking": masking is not False, "verification": levels}, VERIFIED_BY),
        "masking": ConfigParts({"hidden tokens": masking}),
        "target": ConfigParts({"recovered": masking is not False and str(config["target"])}),
        "verification": ConfigParts({"verified by": levels}, VERIFIED_BY),
        **describe_modalities(config),
    }


def _describe_masking(config: Mapping[str, Any]) -> str | bool:
    """What decides which tokens are hidden, and how many: "affective 10-50 %"; False where none is."""
    if config.get("mask", "none") == "none":
        return False
    low, high = (f"{100 * config[name]:.0f}" for name in ("mask_from", "mask_to"))
    return f"{config['mask']} {high if low == high else f'{low}-{high}'} %"


def _list_levels(config: Mapping[str, Any]) -> str | bool:
    """The levels of verification that a cue has to pass; False where it has to pass none."""
    stages, last = list(LEVELS), config.get("verify", "none")
    return ", ".join(LEVELS[stage] for stage in stages[: stages.index(last) + 1]) if last in LEVELS else False
