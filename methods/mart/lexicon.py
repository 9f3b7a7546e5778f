"""Lexicon of affective cues: words and concepts with polarity, degree and emotions.

Polarity and its strength come from SenticNet 6 (Cambria et al., CIKM 2020), emotions from the NRC EmoLex word list
(Mohammad and Turney, 2013; data for research use).
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
from bench.tasks import get_class_index
from bench.types import ClassFacts, Clip, DatasetInfo, FactsSection, Word

MAX_CONCEPT_WORDS = 4  # words of a concept
PADDING_ROW, UNKNOWN_ROW = 0, 1  # word table rows of padding and of words not in the lexicon
PLUTCHIK_EMOTIONS = frozenset({"anger", "anticipation", "disgust", "fear", "joy", "sadness", "surprise", "trust"})
MOOD_EMOTIONS = {
    "#eagerness": "anticipation",
    **{f"#{name}": name for name in ("anger", "disgust", "fear", "joy", "sadness")},
}
_WORD_PATTERN = re.compile(r"[^\W_]+(?:'[^\W_]+)*")

MEANING = (
    "Entries: lexicon entries with an emotion of the class. Clips with a cue: share of its clips with a cue for "
    "this class. Cues per clip: mean number of cues of any class."
)


@dataclass(frozen=True)
class LexiconEntry:
    """Lexicon entry of a word or concept."""

    polarity: float  # -1 to 1
    degree: float  # percentile of |polarity| within the lexicon, 0 to 1, ties in the middle
    emotions: frozenset[str]  # of Plutchik's eight


@dataclass(frozen=True)
class Cue:
    """Lexicon entry found in a transcript."""

    text: str  # words of the transcript, lower case, joined by spaces
    start: float  # seconds, of its first word
    polarity: int  # -1 or 1
    degree: float
    classes: frozenset[int]  # class indices of the data set
    word_spans: tuple[tuple[int, int], ...]  # of its words in the slot's transcript, in characters


class _WordToken(NamedTuple):
    """Lower-case word with its start time and position."""

    text: str
    start: float
    span: tuple[int, int]  # in the slot's transcript, in characters


def join_words(words: Sequence[Word]) -> str:
    """Join the words of a slot into one transcript."""
    return " ".join(word.text for word in words)


@dataclass
class Lexicon:
    """Look-up of cues: longest concept of up to four words first, the stem of a single word last."""

    polarities: Mapping[str, float]
    emotions: Mapping[str, frozenset[str]]
    _entry_cache: dict[str, LexiconEntry | None] = field(init=False, repr=False, default_factory=dict)

    @cached_property
    def _sorted_strengths(self) -> list[float]:
        return sorted(abs(value) for value in self.polarities.values())

    def find_entry(self, concept: str) -> LexiconEntry | None:
        """Return the entry of a word, or of words joined by "_"; None if it lacks polarity or emotions."""
        if concept not in self._entry_cache:
            self._entry_cache[concept] = self._make_entry(concept)
        return self._entry_cache[concept]

    @cached_property
    def entry_emotions(self) -> dict[str, frozenset[str]]:
        """Return concept -> emotions of every entry; a concept that the emotion list lacks has those of its words."""
        known, none = self.emotions, frozenset[str]()
        found = {}
        for concept, polarity in self.polarities.items():
            if polarity:
                words = (concept,) if concept in known else concept.split("_")
                if emotions := none.union(*[known.get(word, none) for word in words]):
                    found[concept] = emotions
        return found

    @cached_property
    def word_rows(self) -> dict[str, int]:
        """Return word -> row of the word table, from 2 on, for every word of an entry in alphabetical order."""
        words = {word for concept in self.entry_emotions for word in concept.split("_")}
        return {word: row for row, word in enumerate(sorted(words), UNKNOWN_ROW + 1)}

    def find_row(self, word: str) -> int:
        """Return the word table row of a word, else of its stem, else UNKNOWN_ROW."""
        return self.word_rows.get(word) or self.word_rows.get(_stem_word(word), UNKNOWN_ROW)

    def compute_degree(self, polarity: float) -> float:
        """Return i_text: the percentile of |polarity| in the lexicon, with mid-ranks for ties."""
        below, upto = (bisect(self._sorted_strengths, abs(polarity)) for bisect in (bisect_left, bisect_right))
        return (below + upto) / 2 / len(self._sorted_strengths)

    def find_cues(self, words: Sequence[Word], info: DatasetInfo) -> tuple[Cue, ...]:
        """Return the cues of a slot in word order; no word belongs to two cues."""
        tokens = _tokenise(words)
        found: list[Cue] = []
        index = 0
        while index < len(tokens):
            taken = 1
            for count in range(min(MAX_CONCEPT_WORDS, len(tokens) - index), 0, -1):
                span = tokens[index : index + count]
                entry = self.find_entry("_".join(token.text for token in span))
                if entry is None and count == 1:
                    entry = self.find_entry(_stem_word(span[0].text))
                if entry is not None:
                    found.append(_make_cue(span, entry, info))
                    taken = count
                    break
            index += taken
        return tuple(found)

    def make_plain_cues(self, words: Sequence[Word]) -> tuple[Cue, ...]:
        """Return every word of a slot as a cue without polarity, degree and classes."""
        return tuple(Cue(token.text, token.start, 0, 0.0, frozenset(), (token.span,)) for token in _tokenise(words))

    def _make_entry(self, concept: str) -> LexiconEntry | None:
        emotions = self.entry_emotions.get(concept)
        if emotions is None:
            return None
        polarity = self.polarities[concept]
        return LexiconEntry(polarity, self.compute_degree(polarity), emotions)


@cache
def load_lexicon(name: str) -> Lexicon:
    """Load the lexicon `nrc`, `senticnet` or a JSON file {word: {"polarity": -1..1, "emotions": [...]}}.

    `senticnet` takes emotions from SenticNet's mood tags, which are shifted in the package: for ablations only.
    Raises ConfigError for any other name, and for a file that is not in this format.
    """
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
            f"lexicon: '{name}' is neither nrc, senticnet nor a JSON file of "
            f'{{word: {{"polarity": .., "emotions": [..]}}}} ({type(error).__name__}: {error})'
        ) from None
    polarities = {word: polarity for word, (polarity, _) in entries.items()}
    return Lexicon(polarities, {word: emotions for word, (_, emotions) in entries.items()})


def _parse_entry(word: str, value: dict[str, Any]) -> tuple[float, frozenset[str]]:
    """Return polarity and emotions of a file's entry; raise ValueError for values that no look-up could match."""
    polarity, emotions = float(value["polarity"]), frozenset(value["emotions"]) & PLUTCHIK_EMOTIONS
    if not -1 <= polarity <= 1:
        raise ValueError(f"polarity {polarity} of '{word}' is not between -1 and 1")
    if isinstance(value["emotions"], str) or not emotions:
        raise ValueError(
            f"emotions of '{word}' must be a list with at least one of {', '.join(sorted(PLUTCHIK_EMOTIONS))}"
        )
    if word != word.lower() or not 1 <= len(word.replace("_", " ").split()) <= MAX_CONCEPT_WORDS:
        raise ValueError(f"'{word}' must have one to {MAX_CONCEPT_WORDS} lower-case words")
    return polarity, emotions


def _tokenise(words: Sequence[Word]) -> list[_WordToken]:
    tokens: list[_WordToken] = []
    offset = 0  # characters of the transcript
    for word in words:
        for match in _WORD_PATTERN.finditer(word.text):
            span = (offset + match.start(), offset + match.end())
            tokens.append(_WordToken(match.group().lower(), word.start, span))
        offset += len(word.text) + 1
    return tokens


def _make_cue(span: Sequence[_WordToken], entry: LexiconEntry, info: DatasetInfo) -> Cue:
    classes = frozenset(map(info.classes.index, _find_classes(entry.emotions, info)))
    text, word_spans = " ".join(token.text for token in span), tuple(token.span for token in span)
    return Cue(text, span[0].start, 1 if entry.polarity > 0 else -1, entry.degree, classes, word_spans)


def _find_classes(emotions: frozenset[str], info: DatasetInfo) -> list[str]:
    """Return the classes that have one of the emotions, in class order."""
    return [name for name in info.classes if info.emotions.get(name, frozenset()) & emotions]


@cache
def _stem_word(word: str) -> str:
    from nltk.stem.snowball import SnowballStemmer

    return str(SnowballStemmer("english").stem(word))


def survey_cues(info: DatasetInfo, transcripts: Iterable[tuple[Clip, list[Word]]]) -> FactsSection:
    """Count lexicon entries and cues per class of a data set, for its page in reports."""
    lexicon = load_lexicon("nrc")
    entries = Counter[str]()
    for known, count in Counter(lexicon.entry_emotions.values()).items():
        entries.update(dict.fromkeys(_find_classes(known, info), count))
    clips, hit, cues = Counter[int](), Counter[int](), Counter[int]()
    for clip, words in transcripts:
        found = lexicon.find_cues(words, info)
        label = get_class_index(clip.target)
        clips[label] += 1
        cues[label] += len(found)
        hit[label] += any(label in cue.classes for cue in found)
    rows = []
    for label, name in enumerate(info.classes):
        count = max(clips[label], 1)
        cells = (f"{entries[name]:,}", hit[label] / count, f"{cues[label] / count:.1f}")
        emotions = ", ".join(sorted(info.emotions.get(name, ()))) or "no emotion of the lexicon"
        rows.append(ClassFacts(name, cells, ": ".join(filter(None, (emotions, info.reasons.get(name))))))
    return FactsSection(
        id="lexicon",
        title="Lexicon coverage",
        headings=("entries", "clips with a cue", "cues per clip"),
        classes=tuple(rows),
        meaning=MEANING,
        lead="No emotion of the lexicon indicates" if info.unreached else "",
        names=", ".join(info.unreached),
    )
