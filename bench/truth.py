"""The sample's truth of the words that a method tells about.

Only the runner holds both sides: the sample's truth and a method's explanations.
"""

from __future__ import annotations

from bench.data import Explanation, Planted, Truth, WordOutcome

TOLERANCE = 0.05  # seconds between a planted word's start and the start a transcript gives it


def match_words(truth: Truth, told: Explanation) -> list[tuple[Planted, WordOutcome]]:
    """Each word that is told of with the planted word that it is; words that nobody planted are left out."""
    planted: dict[str, list[Planted]] = {}
    for word in truth.words:
        planted.setdefault(word.text, []).append(word)
    pairs = []
    for verdict in told.verdicts:
        for word in planted.get(verdict.text, []):
            if abs(word.start - verdict.start) <= TOLERANCE:
                pairs.append((word, verdict))
                break
    return pairs
