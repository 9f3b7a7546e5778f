"""The methods that can be run by name, and the named variants that differ from one by config values alone."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from bench.method import Method
from methods.majority import MAJORITY
from methods.mart.entry import MART
from methods.mbt import MBT
from methods.probe import PROBE
from methods.released.entry import RELEASED

METHODS: dict[str, Method] = {method.name: method for method in (MAJORITY, PROBE, MBT, MART, RELEASED)}


@dataclass(frozen=True)
class Pinned:
    """A variant: a method's name and the config values that make it."""

    method: str
    overrides: Mapping[str, object]
    title: str


ARMS: dict[str, Pinned] = {
    "mbt-long": Pinned(
        "mart",
        {"mask": "none", "verify": "none", "w_tacl": 0.0, "w_cue": 0.0},
        "control: MART's schedule with the label loss alone, as many steps",
    ),
    "mbt-video": Pinned("mbt", {"modalities": "video"}, "MBT that sees and does not hear"),
    "mbt-audio": Pinned("mbt", {"modalities": "audio"}, "MBT that hears and does not see"),
    "mart-video": Pinned("mart", {"modalities": "video"}, "MART that sees and does not hear"),
    "mart-audio": Pinned("mart", {"modalities": "audio"}, "MART that hears and does not see"),
    "mart-no-masking": Pinned("mart", {"mask": "none"}, "MART without masking and recovery"),
    "mart-no-verification": Pinned("mart", {"verify": "none"}, "MART that believes every cue"),
    "mart-sentiment-only": Pinned("mart", {"verify": "sentiment"}, "MART whose verification stops at sentiment (E1)"),
    "mart-emotion-only": Pinned("mart", {"verify": "emotion"}, "MART whose verification stops at emotion (E2)"),
    "mart-mask-frame": Pinned(
        "mart", {"mask": "frame", "mask_from": 0.4, "mask_to": 0.4}, "MART that hides 40 % of the moments, by chance"
    ),
    "mart-mask-random": Pinned(
        "mart", {"mask": "random", "mask_from": 0.9, "mask_to": 0.9}, "MART that hides 90 % of the tokens, by chance"
    ),
    "mart-mask-tube": Pinned(
        "mart",
        {"mask": "tube", "mask_from": 0.95, "mask_to": 0.95},
        "MART that hides 95 % of the places, by chance (quick: --set patch=12 --set audio_patch=16)",
    ),
    "mart-mask-attention": Pinned("mart", {"mask": "attention"}, "MART that masks by class-token attention"),
    "mart-target-kl": Pinned("mart", {"target": "kl"}, "MART that recovers the emotion distribution alone"),
    "mart-target-pixel": Pinned("mart", {"target": "pixel"}, "MART that recovers pixels and sound alone"),
    "mart-target-hog": Pinned("mart", {"target": "hog"}, "MART that recovers oriented gradients of the picture alone"),
    "mart-target-clip": Pinned(
        "mart",
        {"target": "clip"},
        "MART that recovers features of an image-text teacher (--set weights_teacher=FILE)",
    ),
}
