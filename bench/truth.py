"""How well verification finds the sample's planted wrong words, beside a random dropper of the same rate.

Only the runner holds both sides: the sample's truth and a method's explanations.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from bench.data import Explanation, Planted, Truth, Verdict

STAGES = ("sentiment", "emotion", "degree")  # E1, E2, E3; each also drops what the ones before it drop
TOLERANCE = 0.05  # seconds between a planted word's start and the start a transcript gives it


def judge(truth: Mapping[str, Truth], told: Mapping[str, Explanation], keys: Iterable[str]) -> dict[str, float]:
    """Per stage over the clips `keys`: cues, dropped share, precision and recall of the wrong words that stage and
    the ones before it are there to find; random_precision and random_recall are what dropping as many words at
    random is expected to reach (the share of wrong words, and the share dropped). Without cues: nothing."""
    pairs = [pair for key in keys if key in truth and key in told for pair in match_words(truth[key], told[key])]
    found: dict[str, float] = {}
    for number, stage in enumerate(STAGES):
        kinds = STAGES[: number + 1]
        wrong = [planted.wrong in kinds for planted, _ in pairs]
        dropped = [not getattr(verdict, stage) for _, verdict in pairs]
        if not pairs:
            continue
        hits = sum(w and d for w, d in zip(wrong, dropped, strict=True))
        found[f"{stage}/cues"] = len(pairs)
        found[f"{stage}/dropped"] = sum(dropped) / len(pairs)
        found[f"{stage}/random_precision"] = sum(wrong) / len(pairs)
        found[f"{stage}/random_recall"] = sum(dropped) / len(pairs)
        if any(dropped):
            found[f"{stage}/precision"] = hits / sum(dropped)
        if any(wrong):
            found[f"{stage}/recall"] = hits / sum(wrong)
    return found


def match_words(truth: Truth, told: Explanation) -> list[tuple[Planted, Verdict]]:
    """Each verdict with the planted word it speaks of."""
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
