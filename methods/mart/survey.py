"""What the default lexicon finds in a data set, as its page shows it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

from bench.data import Card, Clip, Word
from bench.facts import ClassFacts, FactsSection
from methods.mart.lexicon import load_lexicon

MEANING = (
    "Entries: of the lexicon, that speak for the class. Clips with a cue: share of the class's clips in which a cue "
    "speaks for that class. Cues a clip: mean over its clips, whatever they speak for."
)


def survey_cues(card: Card, said: Iterable[tuple[Clip, list[Word]]]) -> FactsSection:
    """Count, for each class of a card, entries of the lexicon and cues among the words of its clips."""
    lexicon = load_lexicon("nrc")
    entries = _count_entries(card)
    clips, hit, cues = Counter[int](), Counter[int](), Counter[int]()
    for clip, words in said:
        found = lexicon.cues(words, card)
        clips[clip.label] += 1
        cues[clip.label] += len(found)
        hit[clip.label] += any(clip.label in cue.classes for cue in found)
    rows = []
    for label, name in enumerate(card.classes):
        count = max(clips[label], 1)
        cells = (f"{entries[name]:,}", hit[label] / count, f"{cues[label] / count:.1f}")
        rows.append(ClassFacts(name, cells, _explain_emotions(card, name)))
    return FactsSection(
        id="lexicon",
        title="What the lexicon hears",
        headings=("entries", "clips with a cue", "cues a clip"),
        classes=tuple(rows),
        meaning=MEANING,
        lead="No cue can reach" if card.unreached else "",
        names=", ".join(card.unreached),
    )


def _explain_emotions(card: Card, name: str) -> str:
    """The emotions that speak for a class, and why these."""
    emotions = ", ".join(sorted(card.emotions.get(name, ())))
    return ": ".join(part for part in (emotions or "no emotion speaks for it", card.reasons.get(name)) if part)


def _count_entries(card: Card) -> Counter[str]:
    """Class -> entries of the lexicon that speak for it."""
    lexicon = load_lexicon("nrc")
    found = Counter[str]()
    for concept in lexicon.polarities:
        entry = lexicon.entry(concept)
        if entry is not None:
            found.update(name for name in card.classes if card.emotions.get(name, frozenset()) & entry.emotions)
    return found
