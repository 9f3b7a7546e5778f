"""Hierarchical verification: keep a cue only where video and audio agree with it (E1, E2, E3; the paper's sec. 3.2).

Key: B clips, S segments, K cues of a segment, C classes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from bench.explanations import match_planted_words
from bench.types import DatasetInfo, Explanation, Inputs, SampleTruth, Word
from methods.mart.config import LevelName
from methods.mart.lexicon import MAX_CONCEPT_WORDS, Cue, Lexicon, join_words


@dataclass(frozen=True)
class CueBatch:
    """Cues of every segment of a batch as padded tensors; `mask` is False on padding."""

    by_segment: tuple[tuple[tuple[Cue, ...], ...], ...]  # B x S x cues
    mask: Bool[Tensor, "B S K"]
    polarity: Int[Tensor, "B S K"]
    degree: Float[Tensor, "B S K"]
    classes: Bool[Tensor, "B S K C"]
    word_rows: Int[Tensor, "B S K P"]  # of the word table; 0 = padding
    transcripts: tuple[tuple[str, ...], ...]  # B x S transcripts in which the cues were found


class CueFinder:
    """Lexicon look-up of cues, cached per slot; with `match_all_words` every word is a cue without classes."""

    def __init__(self, lexicon: Lexicon, info: DatasetInfo, match_all_words: bool = False) -> None:
        self.lexicon, self.info, self.match_all_words = lexicon, info, match_all_words
        self._cue_cache: dict[tuple[Word, ...], tuple[Cue, ...]] = {}  # a dict, so that the model can be pickled

    def __call__(self, inputs: Inputs) -> CueBatch:
        """Find the cues of every segment of a batch."""
        found = tuple(tuple(self._find_slot_cues(words) for words in clip) for clip in inputs.words)
        most = max((len(slot) for clip in found for slot in clip), default=0) or 1
        shape = (len(found), inputs.video.shape[1], most)
        mask = torch.zeros(shape, dtype=torch.bool)
        polarity = torch.zeros(shape, dtype=torch.long)
        degree = torch.zeros(shape)
        classes = torch.zeros((*shape, len(self.info.classes)), dtype=torch.bool)
        rows = torch.zeros((*shape, MAX_CONCEPT_WORDS), dtype=torch.long)
        for b, clip in enumerate(found):
            for s, slot in enumerate(clip):
                for k, cue in enumerate(slot):
                    mask[b, s, k], polarity[b, s, k], degree[b, s, k] = True, cue.polarity, cue.degree
                    classes[b, s, k, list(cue.classes)] = True
                    words = cue.text.split()
                    rows[b, s, k, : len(words)] = torch.tensor([self.lexicon.find_row(word) for word in words])
        transcripts = tuple(tuple(join_words(words) for words in clip) for clip in inputs.words)
        device = inputs.video.device
        mask, polarity, degree, classes, rows = (
            tensor.to(device, non_blocking=True) for tensor in (mask, polarity, degree, classes, rows)
        )
        return CueBatch(found, mask, polarity, degree, classes, rows, transcripts)

    def _find_slot_cues(self, words: tuple[Word, ...]) -> tuple[Cue, ...]:
        if words not in self._cue_cache:
            lexicon, info = self.lexicon, self.info
            found = lexicon.make_plain_cues(words) if self.match_all_words else lexicon.find_cues(words, info)
            self._cue_cache[words] = found
        return self._cue_cache[words]


class VerificationLevels(NamedTuple):
    """For each cue, True if it passes this level and all before it."""

    sentiment: Bool[Tensor, "B S K"]
    emotion: Bool[Tensor, "B S K"]
    degree: Bool[Tensor, "B S K"]

    def select_passing(self, verify: LevelName, cues: CueBatch) -> Bool[Tensor, "B S K"]:
        """Return the cues that remain if `verify` is the last level, (B, S, K)."""
        by_name: dict[str, Tensor] = {"none": cues.mask, **self._asdict()}
        return by_name[verify]


@dataclass(frozen=True)
class CueVerdict:
    """Cue of a clip; each level is True if the cue passes it and all before it."""

    text: str
    start: float  # seconds
    sentiment: bool
    emotion: bool
    degree: bool

    @property
    def dropped(self) -> str | None:
        """Return the first level that drops the cue; None if it passes all."""
        return next((stage for stage in VerificationLevels._fields if not getattr(self, stage)), None)


def verify_cues(
    curve: Float[Tensor, "B S C"], cues: CueBatch, sentiment: Int[Tensor, " C"], tau_degree: float
) -> VerificationLevels:
    """Verify every cue against the temporal scores D_tcam of its segment.

    E1: the segment has the cue's polarity. E2: E1, and the segment's emotion is one of the cue's. E3: E2, and
    |i_text - i_video| < tau_degree, where both degrees are percentiles from 0 to 1.
    """
    p = curve.softmax(-1)
    emotion = p.argmax(-1)
    e1 = cues.mask & (cues.polarity == compute_segment_polarity(p, sentiment)[..., None])
    named = cues.classes.gather(-1, emotion[..., None, None].expand(*cues.mask.shape, 1)).squeeze(-1)
    e2 = e1 & named
    e3 = e2 & ((cues.degree - compute_video_degree(p)[..., None]).abs() < tau_degree)
    return VerificationLevels(e1, e2, e3)


def compute_segment_polarity(p: Float[Tensor, "B S C"], sentiment: Int[Tensor, " C"]) -> Int[Tensor, "B S"]:
    """Return the polarity (-1, 0, 1) whose classes have the largest mean p; a sum would favour the larger group."""
    polarities = torch.arange(-1, 2, device=p.device)
    members = (sentiment == polarities[:, None]).to(p.dtype)  # (3, C)
    count = members.sum(-1)
    means = (p @ members.T / count.clamp(min=1)).masked_fill(count == 0, -torch.inf)
    return means.argmax(-1) - 1


def compute_video_degree(p: Float[Tensor, "B S C"]) -> Float[Tensor, "B S"]:
    """Return i_video: the percentile of a segment's p[arg max] among the clip's segments, with mid-ranks for ties."""
    emotion = p.argmax(-1)
    top = p.gather(-1, emotion[..., None])  # (B, S, 1)
    others = p.transpose(1, 2).gather(1, emotion[..., None].expand(-1, -1, p.shape[1]))  # (B, S, S)
    below, ties = (others < top).float(), (others == top).float()
    return (below + ties / 2).mean(-1)


def score_verification(
    truth: Mapping[str, SampleTruth], explanations: Mapping[str, Explanation], splits: Mapping[str, Sequence[str]]
) -> dict[str, int | float]:
    """Score how well verification drops the sample's planted wrong words, next to dropping as many words at random.

    Keys are `verify/<split>/<level>/` plus: cues (count), dropped (share), precision and recall for the wrong words
    planted for this level and those before it; random_precision and random_recall are the expected values of random
    dropping (the share of wrong words, and the share dropped). A split without cues has no keys.
    """
    scores: dict[str, int | float] = {}
    for split, keys in splits.items():
        known = [key for key in keys if key in truth and key in explanations]
        pairs = [pair for key in known for pair in match_planted_words(truth[key], explanations[key])]
        for number, stage in enumerate(VerificationLevels._fields if pairs else (), start=1):
            before = VerificationLevels._fields[:number]
            wrong = [planted.wrong in before for planted, _ in pairs]
            dropped = [verdict.dropped in before for _, verdict in pairs]
            hits = sum(w and d for w, d in zip(wrong, dropped, strict=True))
            prefix = f"verify/{split}/{stage}"
            scores[f"{prefix}/cues"] = len(pairs)
            scores[f"{prefix}/dropped"] = sum(dropped) / len(pairs)
            scores[f"{prefix}/random_precision"] = sum(wrong) / len(pairs)
            scores[f"{prefix}/random_recall"] = sum(dropped) / len(pairs)
            if any(dropped):
                scores[f"{prefix}/precision"] = hits / sum(dropped)
            if any(wrong):
                scores[f"{prefix}/recall"] = hits / sum(wrong)
    return scores
