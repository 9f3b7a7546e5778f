"""Registry of methods, and of named variants: a method with some config values fixed.

An entry refers to its training code by name; the code is imported on first call, so that listing methods loads no
PyTorch.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from bench.method import Method
from methods.baselines import MAJORITY, PROBE
from methods.mart.method import MART, MART_RELEASED
from methods.mbt.config import MBT

METHODS: dict[str, Method] = {method.name: method for method in (MAJORITY, PROBE, MBT, MART, MART_RELEASED)}


@dataclass(frozen=True)
class Variant:
    """Named variant of a method: the config values that it fixes, and its one-line title."""

    method: str
    overrides: Mapping[str, object]
    title: str


VARIANTS: dict[str, Variant] = {
    "mbt-long": Variant(
        "mart",
        {"mask": "none", "verify": "none", "w_tacl": 0.0, "w_cue": 0.0},
        "MBT trained as long as MART, with the label loss only (control)",
    ),
    "mbt-video": Variant("mbt", {"modalities": "video"}, "MBT on video only"),
    "mbt-audio": Variant("mbt", {"modalities": "audio"}, "MBT on audio only"),
    "mart-video": Variant("mart", {"modalities": "video"}, "MART on video only"),
    "mart-audio": Variant("mart", {"modalities": "audio"}, "MART on audio only"),
    "mart-no-masking": Variant("mart", {"mask": "none"}, "MART, no masking and no recovery"),
    "mart-no-verification": Variant("mart", {"verify": "none"}, "MART without verification of cues"),
    "mart-sentiment-only": Variant("mart", {"verify": "sentiment"}, "MART, cues verified by sentiment only (E1)"),
    "mart-emotion-only": Variant("mart", {"verify": "emotion"}, "MART, cues verified up to emotion (E1, E2)"),
    "mart-mask-frame": Variant(
        "mart", {"mask": "frame", "mask_from": 0.4, "mask_to": 0.4}, "MART, frame masking: 40 % of the time steps"
    ),
    "mart-mask-random": Variant(
        "mart", {"mask": "random", "mask_from": 0.9, "mask_to": 0.9}, "MART, random masking: 90 % of the tokens"
    ),
    "mart-mask-tube": Variant(
        "mart",
        {"mask": "tube", "mask_from": 0.95, "mask_to": 0.95},
        "MART, tube masking: 95 % of the positions (quick: --set patch=12 --set audio_patch=16)",
    ),
    "mart-mask-attention": Variant("mart", {"mask": "attention"}, "MART, masking by class-token attention"),
    "mart-target-kl": Variant("mart", {"target": "kl"}, "MART, recovery of the emotion distribution only"),
    "mart-target-pixel": Variant("mart", {"target": "pixel"}, "MART, recovery of pixels and log-mel patches only"),
    "mart-target-hog": Variant("mart", {"target": "hog"}, "MART, recovery of HOG features of the frames only"),
    "mart-target-clip": Variant(
        "mart",
        {"target": "clip"},
        "MART, recovery of features of an image-text teacher (--set weights_teacher=FILE)",
    ),
}
