"""Affective cues: words and concepts of a transcript with their polarity, degree and emotions (METHOD.md section 3).

Polarity and its strength come from SenticNet 6 (Cambria et al., CIKM 2020), emotions from the NRC EmoLex word list
(Mohammad and Turney, 2013; data for research use).
"""

from __future__ import annotations

import json
import re
from bisect import bisect_left, bisect_right
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache, cached_property
from pathlib import Path
from typing import Any, NamedTuple

from bench.data import Card, Word
from bench.errors import ConfigError

LONGEST = 4  # words of a concept
PADDING, OTHER = 0, 1  # rows of a word table that stand for no word, and for any word the lexicon lacks
PLUTCHIK = frozenset({"anger", "anticipation", "disgust", "fear", "joy", "sadness", "surprise", "trust"})
MOODS = {"#eagerness": "anticipation", **{f"#{name}": name for name in ("anger", "disgust", "fear", "joy", "sadness")}}
_WORD = re.compile(r"[^\W_]+(?:'[^\W_]+)*")


@dataclass(frozen=True)
class Entry:
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
    places: tuple[tuple[int, int], ...]  # of its words in the slot's transcript, in characters


class _Token(NamedTuple):
    """A word as it is looked up, and where it stands."""

    text: str
    start: float
    place: tuple[int, int]  # in the slot's transcript, in characters


def transcript(words: Sequence[Word]) -> str:
    """The words of a slot as one text."""
    return " ".join(word.text for word in words)


@dataclass
class Lexicon:
    """Look-up of cues: the longest concept of up to four words first, the stem of a word last."""

    polarities: Mapping[str, float]
    emotions: Mapping[str, frozenset[str]]
    _strengths: list[float] = field(init=False, repr=False)
    _found: dict[str, Entry | None] = field(init=False, repr=False, default_factory=dict)

    def __post_init__(self) -> None:
        self._strengths = sorted(abs(value) for value in self.polarities.values())

    def entry(self, concept: str) -> Entry | None:
        """The entry of a word, or of words joined by "_"; None without polarity or emotions."""
        if concept not in self._found:
            self._found[concept] = self._look_up(concept)
        return self._found[concept]

    @cached_property
    def rows(self) -> dict[str, int]:
        """Word -> its row of a word table, from 2 on: every word that an entry is made of, in their order."""
        concepts = (concept for concept, polarity in self.polarities.items() if polarity and self._named(concept))
        words = {word for concept in concepts for word in concept.split("_")}
        return {word: row for row, word in enumerate(sorted(words), OTHER + 1)}

    def row(self, word: str) -> int:
        """The row of a word as said: its own, or else that of its stem."""
        return self.rows.get(word) or self.rows.get(_stem(word), OTHER)

    def degree(self, polarity: float) -> float:
        """The percentile of |polarity|, ties in the middle."""
        below, upto = bisect_left(self._strengths, abs(polarity)), bisect_right(self._strengths, abs(polarity))
        return (below + upto) / 2 / len(self._strengths)

    def cues(self, words: Sequence[Word], card: Card) -> tuple[Cue, ...]:
        """The cues of a slot's words, in their order; no word belongs to two."""
        tokens = _tokens(words)
        found: list[Cue] = []
        place = 0
        while place < len(tokens):
            taken = 1
            for count in range(min(LONGEST, len(tokens) - place), 0, -1):
                span = tokens[place : place + count]
                entry = self._entry_or_stem([token.text for token in span])
                if entry is not None:
                    found.append(_cue(span, entry, card))
                    taken = count
                    break
            place += taken
        return tuple(found)

    def words(self, words: Sequence[Word]) -> tuple[Cue, ...]:
        """Every word of a slot as a cue without meaning."""
        return tuple(Cue(token.text, token.start, 0, 0.0, frozenset(), (token.place,)) for token in _tokens(words))

    def _entry_or_stem(self, tokens: list[str]) -> Entry | None:
        entry = self.entry("_".join(tokens))
        if entry is None and len(tokens) == 1:
            entry = self.entry(_stem(tokens[0]))
        return entry

    def _look_up(self, concept: str) -> Entry | None:
        polarity = self.polarities.get(concept)
        if not polarity:
            return None
        emotions = self._named(concept)
        return Entry(polarity, self.degree(polarity), emotions) if emotions else None

    def _named(self, concept: str) -> frozenset[str]:
        """The emotions of a concept; where the emotion list lacks it, those of its words taken together."""
        emotions = self.emotions.get(concept)
        if emotions is None:
            emotions = frozenset().union(*(self.emotions.get(word, frozenset()) for word in concept.split("_")))
        return emotions


@cache
def load_lexicon(name: str) -> Lexicon:
    """The lexicon `nrc`, `senticnet` (emotions from its displaced mood tags: an ablation), or a JSON file
    {word: {"polarity": -1..1, "emotions": [...]}}. Raises ConfigError for a file that is none."""
    if name in ("nrc", "senticnet"):
        from senticnet.senticnet6 import senticnet

        polarities = {concept: float(values[7]) for concept, values in senticnet.items()}
        if name == "nrc":
            return Lexicon(polarities, _nrc())
        moods = {
            concept: frozenset(MOODS[tag] for tag in values[4:6] if tag in MOODS)
            for concept, values in senticnet.items()
        }
        return Lexicon(polarities, moods)
    try:
        raw = json.loads(Path(name).read_text(encoding="utf-8"))
        entries = {word.replace(" ", "_"): _checked(word, value) for word, value in raw.items()}
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise ConfigError(
            f"lexicon '{name}' is neither nrc nor senticnet nor a file of "
            f'{{word: {{"polarity": .., "emotions": [..]}}}} ({type(error).__name__}: {error})'
        ) from None
    return Lexicon(
        {word: polarity for word, (polarity, _) in entries.items()},
        {word: emotions for word, (_, emotions) in entries.items()},
    )


def _checked(word: str, value: dict[str, Any]) -> tuple[float, frozenset[str]]:
    """Polarity and emotions of a file's entry; raises ValueError for what no look-up could ever meet."""
    polarity, emotions = float(value["polarity"]), frozenset(value["emotions"]) & PLUTCHIK
    if not -1 <= polarity <= 1:
        raise ValueError(f"polarity {polarity} of '{word}' is not between -1 and 1")
    if isinstance(value["emotions"], str) or not emotions:
        raise ValueError(f"emotions of '{word}' are no list with one of {', '.join(sorted(PLUTCHIK))}")
    if word != word.lower() or not 1 <= len(word.replace("_", " ").split()) <= LONGEST:
        raise ValueError(f"'{word}' is not one to {LONGEST} words in lower case")
    return polarity, emotions


def _nrc() -> dict[str, frozenset[str]]:
    from importlib import resources

    text = resources.files("nrclex.data").joinpath("nrc_en.json").read_text(encoding="utf-8")
    return {word: frozenset(tags) & PLUTCHIK for word, tags in json.loads(text).items()}


def _tokens(words: Sequence[Word]) -> list[_Token]:
    found: list[_Token] = []
    before = 0  # characters of the transcript
    for word in words:
        for match in _WORD.finditer(word.text):
            place = (before + match.start(), before + match.end())
            found.append(_Token(match.group().lower(), word.start, place))
        before += len(word.text) + 1
    return found


def _cue(span: Sequence[_Token], entry: Entry, card: Card) -> Cue:
    classes = frozenset(
        index for index, name in enumerate(card.classes) if card.emotions.get(name, frozenset()) & entry.emotions
    )
    text, places = " ".join(token.text for token in span), tuple(token.place for token in span)
    return Cue(text, span[0].start, 1 if entry.polarity > 0 else -1, entry.degree, classes, places)


@cache
def _stem(word: str) -> str:
    from nltk.stem.snowball import SnowballStemmer

    return str(SnowballStemmer("english").stem(word))
