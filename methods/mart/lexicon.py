"""Affective cues: words and concepts of a transcript with polarity, degree and emotions (METHOD.md section 3).

Polarity and its strength come from SenticNet 6 (Cambria et al., CIKM 2020), emotions from the NRC EmoLex word list
(Mohammad and Turney, 2013; data for research use). The cues of a batch are padded tensors.

Key: B clips, S segments, K cues of a segment (padded), P words of a cue (padded), C classes.
"""

from __future__ import annotations

import json
import re
from bisect import bisect_left, bisect_right
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache, cached_property
from importlib import resources
from pathlib import Path
from typing import Any, NamedTuple

from bench.errors import ConfigError
from bench.types import ClassFacts, Clip, DatasetInfo, FactsSection, Word

MAX_CONCEPT_WORDS = 4  # words of a concept
PADDING_ROW, UNKNOWN_ROW = 0, 1  # rows of a word table that stand for no word, and for any word the lexicon lacks
PLUTCHIK_EMOTIONS = frozenset({"anger", "anticipation", "disgust", "fear", "joy", "sadness", "surprise", "trust"})
MOOD_EMOTIONS = {
    "#eagerness": "anticipation",
    **{f"#{name}": name for name in ("anger", "disgust", "fear", "joy", "sadness")},
}
_WORD_PATTERN = re.compile(r"[^\W_]+(?:'[^\W_]+)*")

MEANING = (
    "Entries: of the lexicon, that speak for the class. Clips with a cue: share of the class's clips in which a cue "
    "speaks for that class. Cues a clip: mean over its clips, whatever they speak for."
)


@dataclass(frozen=True)
class LexiconEntry:
    """What the lexicon says of a word or concept."""

    polarity: float  # -1 to 1
    degree: float  # percentile of |polarity| within the lexicon, 0 to 1, ties in the middle
    emotions: frozenset[str]  # of Plutchik's eight


@dataclass(frozen=True)
class Cue:
    """An entry met in a transcript."""

    text: str  # the words as said, with spaces between
    start: float  # seconds, of its first word
    polarity: int  # -1 or 1
    degree: float
    classes: frozenset[int]  # of the card
    word_spans: tuple[tuple[int, int], ...]  # of its words in the slot's transcript, in characters


class _WordToken(NamedTuple):
    """A word as it is looked up, and where it stands."""

    text: str
    start: float
    span: tuple[int, int]  # in the slot's transcript, in characters


def join_words(words: Sequence[Word]) -> str:
    """The words of a slot as one text."""
    return " ".join(word.text for word in words)


@dataclass
class Lexicon:
    """Look-up of cues: the longest concept of up to four words first, the stem of a word last."""

    polarities: Mapping[str, float]
    emotions: Mapping[str, frozenset[str]]
    _entry_cache: dict[str, LexiconEntry | None] = field(init=False, repr=False, default_factory=dict)

    @cached_property
    def _sorted_strengths(self) -> list[float]:
        return sorted(abs(value) for value in self.polarities.values())

    def find_entry(self, concept: str) -> LexiconEntry | None:
        """The entry of a word, or of words joined by "_"; None without polarity or emotions."""
        if concept not in self._entry_cache:
            self._entry_cache[concept] = self._make_entry(concept)
        return self._entry_cache[concept]

    @cached_property
    def word_rows(self) -> dict[str, int]:
        """Word -> its row of a word table, from 2 on: every word that an entry is made of, in their order."""
        concepts = (one for one, polarity in self.polarities.items() if polarity and self._find_emotions(one))
        words = {word for concept in concepts for word in concept.split("_")}
        return {word: row for row, word in enumerate(sorted(words), UNKNOWN_ROW + 1)}

    def find_row(self, word: str) -> int:
        """The row of a word as said: its own, or else that of its stem."""
        return self.word_rows.get(word) or self.word_rows.get(_stem_word(word), UNKNOWN_ROW)

    def compute_degree(self, polarity: float) -> float:
        """The percentile of |polarity|, ties in the middle."""
        below, upto = (bisect(self._sorted_strengths, abs(polarity)) for bisect in (bisect_left, bisect_right))
        return (below + upto) / 2 / len(self._sorted_strengths)

    def find_cues(self, words: Sequence[Word], info: DatasetInfo) -> tuple[Cue, ...]:
        """The cues of a slot's words, in their order; no word belongs to two."""
        tokens = _tokenise(words)
        found: list[Cue] = []
        place = 0
        while place < len(tokens):
            taken = 1
            for count in range(min(MAX_CONCEPT_WORDS, len(tokens) - place), 0, -1):
                span = tokens[place : place + count]
                entry = self.find_entry("_".join(token.text for token in span))
                if entry is None and count == 1:
                    entry = self.find_entry(_stem_word(span[0].text))
                if entry is not None:
                    found.append(_make_cue(span, entry, info))
                    taken = count
                    break
            place += taken
        return tuple(found)

    def make_plain_cues(self, words: Sequence[Word]) -> tuple[Cue, ...]:
        """Every word of a slot as a cue without meaning."""
        return tuple(Cue(token.text, token.start, 0, 0.0, frozenset(), (token.span,)) for token in _tokenise(words))

    def _make_entry(self, concept: str) -> LexiconEntry | None:
        polarity = self.polarities.get(concept)
        if not polarity:
            return None
        emotions = self._find_emotions(concept)
        return LexiconEntry(polarity, self.compute_degree(polarity), emotions) if emotions else None

    def _find_emotions(self, concept: str) -> frozenset[str]:
        """The emotions of a concept; where the emotion list lacks it, those of its words taken together."""
        if concept in self.emotions:
            return self.emotions[concept]
        return frozenset().union(*(self.emotions.get(word, frozenset()) for word in concept.split("_")))


@cache
def load_lexicon(name: str) -> Lexicon:
    """The lexicon `nrc`, `senticnet` (emotions from its displaced mood tags: an ablation), or a JSON file
    {word: {"polarity": -1..1, "emotions": [...]}}. Raises ConfigError for a file that is none."""
    if name in ("nrc", "senticnet"):
        from senticnet.senticnet6 import senticnet

        polarities = {concept: float(values[7]) for concept, values in senticnet.items()}
        if name == "nrc":
            text = resources.files("nrclex.data").joinpath("nrc_en.json").read_text(encoding="utf-8")
            return Lexicon(polarities, {w: frozenset(tags) & PLUTCHIK_EMOTIONS for w, tags in json.loads(text).items()})
        moods = {
            concept: frozenset(MOOD_EMOTIONS[tag] for tag in values[4:6] if tag in MOOD_EMOTIONS)
            for concept, values in senticnet.items()
        }
        return Lexicon(polarities, moods)
    try:
        raw = json.loads(Path(name).read_text(encoding="utf-8"))
        entries = {word.replace(" ", "_"): _parse_entry(word, value) for word, value in raw.items()}
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise ConfigError(
            f"lexicon '{name}' is neither nrc nor senticnet nor a file of "
            f'{{word: {{"polarity": .., "emotions": [..]}}}} ({type(error).__name__}: {error})'
        ) from None
    polarities = {word: polarity for word, (polarity, _) in entries.items()}
    return Lexicon(polarities, {word: emotions for word, (_, emotions) in entries.items()})


def _parse_entry(word: str, value: dict[str, Any]) -> tuple[float, frozenset[str]]:
    """Polarity and emotions of a file's entry; raises ValueError for what no look-up could ever meet."""
    polarity, emotions = float(value["polarity"]), frozenset(value["emotions"]) & PLUTCHIK_EMOTIONS
    if not -1 <= polarity <= 1:
        raise ValueError(f"polarity {polarity} of '{word}' is not between -1 and 1")
    if isinstance(value["emotions"], str) or not emotions:
        raise ValueError(f"emotions of '{word}' are no list with one of {', '.join(sorted(PLUTCHIK_EMOTIONS))}")
    if word != word.lower() or not 1 <= len(word.replace("_", " ").split()) <= MAX_CONCEPT_WORDS:
        raise ValueError(f"'{word}' is not one to {MAX_CONCEPT_WORDS} words in lower case")
    return polarity, emotions


def _tokenise(words: Sequence[Word]) -> list[_WordToken]:
    found: list[_WordToken] = []
    before = 0  # characters of the transcript
    for word in words:
        for match in _WORD_PATTERN.finditer(word.text):
            place = (before + match.start(), before + match.end())
            found.append(_WordToken(match.group().lower(), word.start, place))
        before += len(word.text) + 1
    return found


def _make_cue(span: Sequence[_WordToken], entry: LexiconEntry, info: DatasetInfo) -> Cue:
    classes = frozenset(map(info.classes.index, _find_classes(entry, info)))
    text, places = " ".join(token.text for token in span), tuple(token.span for token in span)
    return Cue(text, span[0].start, 1 if entry.polarity > 0 else -1, entry.degree, classes, places)


def _find_classes(entry: LexiconEntry, info: DatasetInfo) -> list[str]:
    """The classes that an entry speaks for."""
    return [name for name in info.classes if info.emotions.get(name, frozenset()) & entry.emotions]


@cache
def _stem_word(word: str) -> str:
    from nltk.stem.snowball import SnowballStemmer

    return str(SnowballStemmer("english").stem(word))


def survey_cues(info: DatasetInfo, said: Iterable[tuple[Clip, list[Word]]]) -> FactsSection:
    """Count, for each class of a card, entries of the lexicon and cues among the words of its clips."""
    lexicon = load_lexicon("nrc")
    known = filter(None, map(lexicon.find_entry, lexicon.polarities))
    entries = Counter(name for entry in known for name in _find_classes(entry, info))
    clips, hit, cues = Counter[int](), Counter[int](), Counter[int]()
    for clip, words in said:
        found = lexicon.find_cues(words, info)
        clips[clip.target] += 1
        cues[clip.target] += len(found)
        hit[clip.target] += any(clip.target in cue.classes for cue in found)
    rows = []
    for label, name in enumerate(info.classes):
        count = max(clips[label], 1)
        cells = (f"{entries[name]:,}", hit[label] / count, f"{cues[label] / count:.1f}")
        emotions = ", ".join(sorted(info.emotions.get(name, ()))) or "no emotion speaks for it"
        rows.append(ClassFacts(name, cells, ": ".join(filter(None, (emotions, info.reasons.get(name))))))
    return FactsSection(
        id="lexicon",
        title="What the lexicon hears",
        headings=("entries", "clips with a cue", "cues a clip"),
        classes=tuple(rows),
        meaning=MEANING,
        lead="No cue can reach" if info.unreached else "",
        names=", ".join(info.unreached),
    )
