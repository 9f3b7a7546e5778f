"""The cues of a batch as padded tensors.

Key: B clips, S segments, K cues of a segment (padded), P words of a cue (padded), C classes.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from bench.data import Card, Inputs, Word
from methods.mart.lexicon import LONGEST, Cue, Lexicon, transcript


@dataclass(frozen=True)
class Cues:
    """What the lexicon finds in every segment; `here` is False on padding."""

    found: tuple[tuple[tuple[Cue, ...], ...], ...]  # B x S x cues
    here: Bool[Tensor, "B S K"]
    polarity: Int[Tensor, "B S K"]
    degree: Float[Tensor, "B S K"]
    classes: Bool[Tensor, "B S K C"]
    rows: Int[Tensor, "B S K P"]  # of the word table; 0 = padding
    said: tuple[tuple[str, ...], ...]  # B x S transcripts that the cues stand in


class CueFinder:
    """Looks the cues of batches up, each slot's words once; `every_word` takes all words, whatever they mean."""

    def __init__(self, lexicon: Lexicon, card: Card, every_word: bool = False) -> None:
        self.lexicon, self.card, self.every_word = lexicon, card, every_word
        self._slots: dict[tuple[Word, ...], tuple[Cue, ...]] = {}

    def __call__(self, inputs: Inputs) -> Cues:
        """The cues of every segment of a batch."""
        found = tuple(tuple(self._slot(words) for words in clip) for clip in inputs.words)
        most = max((len(slot) for clip in found for slot in clip), default=0) or 1
        shape = (len(found), inputs.video.shape[1], most)
        here = torch.zeros(shape, dtype=torch.bool)
        polarity = torch.zeros(shape, dtype=torch.long)
        degree = torch.zeros(shape)
        classes = torch.zeros((*shape, len(self.card.classes)), dtype=torch.bool)
        rows = torch.zeros((*shape, LONGEST), dtype=torch.long)
        for b, clip in enumerate(found):
            for s, slot in enumerate(clip):
                for k, cue in enumerate(slot):
                    here[b, s, k], polarity[b, s, k], degree[b, s, k] = True, cue.polarity, cue.degree
                    classes[b, s, k, list(cue.classes)] = True
                    words = cue.text.split()
                    rows[b, s, k, : len(words)] = torch.tensor([self.lexicon.row(word) for word in words])
        said = tuple(tuple(transcript(words) for words in clip) for clip in inputs.words)
        device = inputs.video.device
        here, polarity, degree, classes, rows = (
            tensor.to(device, non_blocking=True) for tensor in (here, polarity, degree, classes, rows)
        )
        return Cues(found, here, polarity, degree, classes, rows, said)

    def _slot(self, words: tuple[Word, ...]) -> tuple[Cue, ...]:
        if words not in self._slots:
            lexicon = self.lexicon
            self._slots[words] = lexicon.words(words) if self.every_word else lexicon.cues(words, self.card)
        return self._slots[words]
