"""Hierarchical verification: a cue counts only where picture and sound agree with it (levels E1, E2, E3; section 3.2).

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
    """What the lexicon finds in every segment; `here` is False on padding."""

    by_segment: tuple[tuple[tuple[Cue, ...], ...], ...]  # B x S x cues
    mask: Bool[Tensor, "B S K"]
    polarity: Int[Tensor, "B S K"]
    degree: Float[Tensor, "B S K"]
    classes: Bool[Tensor, "B S K C"]
    word_rows: Int[Tensor, "B S K P"]  # of the word table; 0 = padding
    transcripts: tuple[tuple[str, ...], ...]  # B x S transcripts that the cues stand in


class CueFinder:
    """Looks the cues of batches up, each slot's words once; `match_all_words` takes all words, whatever they mean."""

    def __init__(self, lexicon: Lexicon, info: DatasetInfo, match_all_words: bool = False) -> None:
        self.lexicon, self.info, self.match_all_words = lexicon, info, match_all_words
        self._cue_cache: dict[tuple[Word, ...], tuple[Cue, ...]] = {}  # a model with it can be pickled

    def __call__(self, inputs: Inputs) -> CueBatch:
        """The cues of every segment of a batch."""
        found = tuple(tuple(self._find_slot_cues(words) for words in clip) for clip in inputs.words)
        most = max((len(slot) for clip in found for slot in clip), default=0) or 1
        shape = (len(found), inputs.video.shape[1], most)
        here = torch.zeros(shape, dtype=torch.bool)
        polarity = torch.zeros(shape, dtype=torch.long)
        degree = torch.zeros(shape)
        classes = torch.zeros((*shape, len(self.info.classes)), dtype=torch.bool)
        rows = torch.zeros((*shape, MAX_CONCEPT_WORDS), dtype=torch.long)
        for b, clip in enumerate(found):
            for s, slot in enumerate(clip):
                for k, cue in enumerate(slot):
                    here[b, s, k], polarity[b, s, k], degree[b, s, k] = True, cue.polarity, cue.degree
                    classes[b, s, k, list(cue.classes)] = True
                    words = cue.text.split()
                    rows[b, s, k, : len(words)] = torch.tensor([self.lexicon.find_row(word) for word in words])
        said = tuple(tuple(join_words(words) for words in clip) for clip in inputs.words)
        device = inputs.video.device
        here, polarity, degree, classes, rows = (
            tensor.to(device, non_blocking=True) for tensor in (here, polarity, degree, classes, rows)
        )
        return CueBatch(found, here, polarity, degree, classes, rows, said)

    def _find_slot_cues(self, words: tuple[Word, ...]) -> tuple[Cue, ...]:
        if words not in self._cue_cache:
            lexicon, info = self.lexicon, self.info
            found = lexicon.make_plain_cues(words) if self.match_all_words else lexicon.find_cues(words, info)
            self._cue_cache[words] = found
        return self._cue_cache[words]


class VerificationLevels(NamedTuple):
    """Whether a cue passes each stage and those before it."""

    sentiment: Bool[Tensor, "B S K"]
    emotion: Bool[Tensor, "B S K"]
    degree: Bool[Tensor, "B S K"]

    def select_passing(self, verify: LevelName, cues: CueBatch) -> Bool[Tensor, "B S K"]:
        """The cues that remain when verification ends with the stage `verify`."""
        by_name: dict[str, Tensor] = {"none": cues.mask, **self._asdict()}
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
        return next((stage for stage in VerificationLevels._fields if not getattr(self, stage)), None)


def verify_cues(
    curve: Float[Tensor, "B S C"], cues: CueBatch, sentiment: Int[Tensor, " C"], tau_degree: float
) -> VerificationLevels:
    """E1: the segment's polarity is the cue's. E2: and its emotion is one of the cue's. E3: and the cue is as strong in
    the lexicon as the emotion is in this segment of the clip, within tau."""
    p = curve.softmax(-1)
    emotion = p.argmax(-1)
    e1 = cues.mask & (cues.polarity == compute_segment_polarity(p, sentiment)[..., None])
    named = cues.classes.gather(-1, emotion[..., None, None].expand(*cues.mask.shape, 1)).squeeze(-1)
    e2 = e1 & named
    e3 = e2 & ((cues.degree - compute_video_degree(p)[..., None]).abs() < tau_degree)
    return VerificationLevels(e1, e2, e3)


def compute_segment_polarity(p: Float[Tensor, "B S C"], sentiment: Int[Tensor, " C"]) -> Int[Tensor, "B S"]:
    """The polarity (-1, 0, 1) whose classes have the largest mean p; a sum would favour the side with more classes."""
    polarities = torch.arange(-1, 2, device=p.device)
    of_class = (sentiment == polarities[:, None]).to(p.dtype)  # (3, C)
    count = of_class.sum(-1)
    means = (p @ of_class.T / count.clamp(min=1)).masked_fill(count == 0, -torch.inf)
    return means.argmax(-1) - 1


def compute_video_degree(p: Float[Tensor, "B S C"]) -> Float[Tensor, "B S"]:
    """The percentile of p[arg max] of a segment among the clip's segments, ties in the middle."""
    emotion = p.argmax(-1)
    of_segment = p.gather(-1, emotion[..., None])  # (B, S, 1)
    of_others = p.transpose(1, 2).gather(1, emotion[..., None].expand(-1, -1, p.shape[1]))  # (B, S, S)
    below, ties = (of_others < of_segment).float(), (of_others == of_segment).float()
    return (below + ties / 2).mean(-1)


def score_verification(
    truth: Mapping[str, SampleTruth], told: Mapping[str, Explanation], splits: Mapping[str, Sequence[str]]
) -> dict[str, int | float]:
    """How well verification finds the sample's planted wrong words, beside a random dropper of the same rate.

    `verify/<split>/<stage>/` and: cues, dropped share, precision and recall of the wrong words that the stage and those
    before it are there to find; random_precision and random_recall are what dropping as many words at random is
    expected to reach (the share of wrong words, and the share dropped). Nothing for a split without cues.
    """
    found: dict[str, int | float] = {}
    for split, keys in splits.items():
        known = [key for key in keys if key in truth and key in told]
        pairs = [pair for key in known for pair in match_planted_words(truth[key], told[key])]
        for number, stage in enumerate(VerificationLevels._fields if pairs else (), start=1):
            before = VerificationLevels._fields[:number]
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
