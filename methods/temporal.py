"""Temporal emotion scores: how much of each emotion each segment carries (Eq. 3, METHOD.md section 2).

Key: B clips, S segments, D width, C classes.
"""

from __future__ import annotations

from typing import Literal, NamedTuple

from jaxtyping import Float
from torch import Tensor

from methods.backbones.mbt import Mbt


class Temporal(NamedTuple):
    """Scores of the max-pooled clip by each head, and the curve D_tcam."""

    video: Float[Tensor, "B C"]
    audio: Float[Tensor, "B C"]
    curve: Float[Tensor, "B S C"]


def temporal_scores(
    mbt: Mbt,
    video_class: Float[Tensor, "B S D"],
    audio_class: Float[Tensor, "B S D"],
    present: Tensor,
    tcam: Literal["centred", "raw"] = "centred",
) -> Temporal:
    """z_v = max over segments; z_e = softmax(fc(z_v)); D_tcam[s] = z_e * fc(z_s).

    Cross-entropy leaves an offset of the scores free and the product does not, so fc(z_s) is centred over classes.
    """
    video, audio = mbt.class_scores(video_class.amax(1), audio_class.amax(1), present)
    segments_v, segments_a = mbt.class_scores(video_class, audio_class, present)
    return Temporal(video, audio, weigh(video + audio, segments_v + segments_a, tcam))


def weigh(
    pooled: Float[Tensor, "B C"], segments: Float[Tensor, "B S C"], tcam: Literal["centred", "raw"]
) -> Float[Tensor, "B S C"]:
    """softmax(pooled) times the (centred) scores of each segment."""
    if tcam == "centred":
        segments = segments - segments.mean(-1, keepdim=True)
    return pooled.softmax(-1)[:, None] * segments
