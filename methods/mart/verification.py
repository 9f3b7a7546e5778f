"""Hierarchical verification: a cue is believed where picture and sound agree with it (stages E1, E2, E3; section 3.2).

Key: B clips, S segments, K cues of a segment, C classes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from bench.data import Explanation, Truth
from bench.truth import match_words
from methods.mart.config import Verify
from methods.mart.cues import Cues


class Stages(NamedTuple):
    """Whether a cue passes each stage and those before it."""

    sentiment: Bool[Tensor, "B S K"]
    emotion: Bool[Tensor, "B S K"]
    degree: Bool[Tensor, "B S K"]

    def kept(self, verify: Verify, cues: Cues) -> Bool[Tensor, "B S K"]:
        """The cues that remain when verification ends with the stage `verify`."""
        by_name: dict[str, Tensor] = {"none": cues.here, **self._asdict()}
        return by_name[verify]


@dataclass(frozen=True)
class CueVerdict:
    """A cue of a clip and whether it passes each stage and those before it."""

    text: str
    start: float  # seconds
    sentiment: bool
    emotion: bool
    degree: bool

    @property
    def dropped(self) -> str | None:
        """The first stage that drops it."""
        return next((stage for stage in Stages._fields if not getattr(self, stage)), None)


def verify_cues(curve: Float[Tensor, "B S C"], cues: Cues, sentiment: Int[Tensor, " C"], tau_degree: float) -> Stages:
    """E1: the segment's polarity is the cue's. E2: and its emotion is one of the cue's. E3: and the cue is as strong in
    the lexicon as the emotion is in this segment of the clip, within tau."""
    p = curve.softmax(-1)
    emotion = p.argmax(-1)
    e1 = cues.here & (cues.polarity == segment_polarity(p, sentiment)[..., None])
    named = cues.classes.gather(-1, emotion[..., None, None].expand(*cues.here.shape, 1)).squeeze(-1)
    e2 = e1 & named
    e3 = e2 & ((cues.degree - video_degree(p)[..., None]).abs() < tau_degree)
    return Stages(e1, e2, e3)


def segment_polarity(p: Float[Tensor, "B S C"], sentiment: Int[Tensor, " C"]) -> Int[Tensor, "B S"]:
    """The polarity (-1, 0, 1) whose classes have the largest mean p; a sum would favour the side with more classes."""
    polarities = torch.arange(-1, 2, device=p.device)
    of_class = (sentiment == polarities[:, None]).to(p.dtype)  # (3, C)
    count = of_class.sum(-1)
    means = (p @ of_class.T / count.clamp(min=1)).masked_fill(count == 0, -torch.inf)
    return means.argmax(-1) - 1


def video_degree(p: Float[Tensor, "B S C"]) -> Float[Tensor, "B S"]:
    """The percentile of p[arg max] of a segment among the clip's segments, ties in the middle."""
    emotion = p.argmax(-1)
    of_segment = p.gather(-1, emotion[..., None])  # (B, S, 1)
    of_others = p.transpose(1, 2).gather(1, emotion[..., None].expand(-1, -1, p.shape[1]))  # (B, S, S)
    below, ties = (of_others < of_segment).float(), (of_others == of_segment).float()
    return (below + ties / 2).mean(-1)


def score_verification(
    truth: Mapping[str, Truth], told: Mapping[str, Explanation], splits: Mapping[str, Sequence[str]]
) -> dict[str, int | float]:
    """How well verification finds the sample's planted wrong words, beside a random dropper of the same rate.

    `verify/<split>/<stage>/` and: cues, dropped share, precision and recall of the wrong words that the stage and those
    before it are there to find; random_precision and random_recall are what dropping as many words at random is
    expected to reach (the share of wrong words, and the share dropped). Nothing for a split without cues.
    """
    found: dict[str, int | float] = {}
    for split, keys in splits.items():
        pairs = [pair for key in keys if key in truth and key in told for pair in match_words(truth[key], told[key])]
        for number, stage in enumerate(Stages._fields, start=1):
            if not pairs:
                continue
            before = Stages._fields[:number]
            wrong = [planted.wrong in before for planted, _ in pairs]
            dropped = [verdict.dropped in before for _, verdict in pairs]
            hits = sum(w and d for w, d in zip(wrong, dropped, strict=True))
            place = f"verify/{split}/{stage}"
            found[f"{place}/cues"] = len(pairs)
            found[f"{place}/dropped"] = sum(dropped) / len(pairs)
            found[f"{place}/random_precision"] = sum(wrong) / len(pairs)
            found[f"{place}/random_recall"] = sum(dropped) / len(pairs)
            if any(dropped):
                found[f"{place}/precision"] = hits / sum(dropped)
            if any(wrong):
                found[f"{place}/recall"] = hits / sum(wrong)
    return found
