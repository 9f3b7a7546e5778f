"""Methods by name, and named variants that differ from a method by config values alone.

A value names its training code, which is imported when it is called, so that naming a method loads none of it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from bench.method import Method
from methods.baselines import MAJORITY, PROBE
from methods.mart.method import MART, MART_RELEASED
from methods.mbt.method import MBT

METHODS: dict[str, Method] = {method.name: method for method in (MAJORITY, PROBE, MBT, MART, MART_RELEASED)}


@dataclass(frozen=True)
class Variant:
    """A variant: a method's name and the config values that make it."""

    method: str
    overrides: Mapping[str, object]
    title: str


VARIANTS: dict[str, Variant] = {
    "mbt-long": Variant(
        "mart",
        {"mask": "none", "verify": "none", "w_tacl": 0.0, "w_cue": 0.0},
        "control: MART's schedule with the label loss alone, as many steps",
    ),
    "mbt-video": Variant("mbt", {"modalities": "video"}, "MBT that sees and does not hear"),
    "mbt-audio": Variant("mbt", {"modalities": "audio"}, "MBT that hears and does not see"),
    "mart-video": Variant("mart", {"modalities": "video"}, "MART that sees and does not hear"),
    "mart-audio": Variant("mart", {"modalities": "audio"}, "MART that hears and does not see"),
    "mart-no-masking": Variant("mart", {"mask": "none"}, "MART without masking and recovery"),
    "mart-no-verification": Variant("mart", {"verify": "none"}, "MART that believes every cue"),
    "mart-sentiment-only": Variant("mart", {"verify": "sentiment"}, "MART whose verification stops at sentiment (E1)"),
    "mart-emotion-only": Variant("mart", {"verify": "emotion"}, "MART whose verification stops at emotion (E2)"),
    "mart-mask-frame": Variant(
        "mart", {"mask": "frame", "mask_from": 0.4, "mask_to": 0.4}, "MART that hides 40 % of the moments, by chance"
    ),
    "mart-mask-random": Variant(
        "mart", {"mask": "random", "mask_from": 0.9, "mask_to": 0.9}, "MART that hides 90 % of the tokens, by chance"
    ),
    "mart-mask-tube": Variant(
        "mart",
        {"mask": "tube", "mask_from": 0.95, "mask_to": 0.95},
        "MART that hides 95 % of the places, by chance (quick: --set patch=12 --set audio_patch=16)",
    ),
    "mart-mask-attention": Variant("mart", {"mask": "attention"}, "MART that masks by class-token attention"),
    "mart-target-kl": Variant("mart", {"target": "kl"}, "MART that recovers the emotion distribution alone"),
    "mart-target-pixel": Variant("mart", {"target": "pixel"}, "MART that recovers pixels and sound alone"),
    "mart-target-hog": Variant("mart", {"target": "hog"}, "MART that recovers oriented gradients of the picture alone"),
    "mart-target-clip": Variant(
        "mart",
        {"target": "clip"},
        "MART that recovers features of an image-text teacher (--set weights_teacher=FILE)",
    ),
}
