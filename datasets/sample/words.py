"""The words of a sample clip: emotion words of the real lexica, one a second, a known share of them planted wrong."""

from __future__ import annotations

import json
from bisect import bisect_left, bisect_right
from dataclasses import dataclass
from functools import cache
from importlib import resources
from typing import Literal

import numpy as np

from bench.data import Card, Planted, Word
from datasets.sample.course import Piece, at

PLUTCHIK = frozenset({"anger", "anticipation", "disgust", "fear", "joy", "sadness", "surprise", "trust"})
WRONG = ("sentiment", "emotion", "degree")
SHARE = 0.1  # of the cues, for each way of being wrong
NEAR, FAR = 0.15, 0.55  # distance of a word's degree from the emotion's strength: true, and planted wrong
FILLERS = (
    *("the", "a", "and", "of", "to", "we", "you", "it", "is", "was", "that", "there", "then", "here", "this", "which"),
    *("what", "when", "one", "two", "with", "from", "for", "on", "at", "by", "so", "but", "or", "into", "over", "they"),
    *("he", "she", "us", "our", "their", "who", "how", "than"),
)
TOPICS = (
    ("kitchen", "table", "spoon", "plate", "bowl", "oven", "fork"),
    ("street", "wheel", "bus", "corner", "road", "bridge", "traffic"),
    ("garden", "leaf", "stone", "grass", "fence", "soil", "branch"),
    ("office", "desk", "paper", "printer", "keyboard", "folder", "lamp"),
    ("river", "boat", "sand", "shore", "wave", "rope", "sail"),
)


@dataclass(frozen=True)
class Known:
    """What the lexica say of a word: sign and percentile of its polarity, and its Plutchik emotions."""

    text: str
    sign: int
    degree: float
    emotions: frozenset[str]


@dataclass(frozen=True)
class Lexica:
    """The words of both lexica, and every concept that a row of words might form by accident."""

    known: tuple[Known, ...]
    cues: frozenset[str]  # their texts
    concepts: frozenset[str]


@cache
def lexica() -> Lexica:
    """Words that SenticNet gives a polarity and the NRC list an emotion."""
    from senticnet.senticnet6 import senticnet

    text = resources.files("nrclex.data").joinpath("nrc_en.json").read_text(encoding="utf-8")
    strengths = sorted(abs(float(values[7])) for values in senticnet.values())
    known = []
    for word, tags in sorted(json.loads(text).items()):
        emotions = frozenset(tags) & PLUTCHIK
        polarity = float(senticnet[word][7]) if word in senticnet else 0.0
        if emotions and polarity and word.isalpha() and word.isascii():
            rank = bisect_left(strengths, abs(polarity)) + bisect_right(strengths, abs(polarity))
            known.append(Known(word, 1 if polarity > 0 else -1, rank / 2 / len(strengths), emotions))
    return Lexica(tuple(known), frozenset(word.text for word in known), frozenset(senticnet))


def speak(
    course: tuple[Piece, ...], seconds: float, card: Card, rng: np.random.Generator
) -> tuple[list[Word], list[Planted]]:
    """Two words a second, the second of each pair a cue: (all words, the planted truth of the cues).

    Where no cue can ever be verified, in a piece of a neutral class or of one without emotions, it is a filler.
    """
    topic = TOPICS[int(rng.integers(len(TOPICS)))]
    said: list[str] = []
    words: list[Word] = []
    planted: list[Planted] = []
    for second in range(int(seconds - 0.6)):
        filler = _filler(said, topic, rng)
        said.append(filler)
        words.append(_word(filler, second + 0.05 + 0.1 * rng.random()))
        start = second + 0.45 + 0.2 * rng.random()
        piece = at(course, start)
        wrong = _way(rng)
        if not _can_speak(card, piece.label):
            said.append(_filler(said, topic, rng))
            words.append(_word(said[-1], start))
            continue
        cue = _cue(piece, wrong, card, said, rng)
        if cue is not None:
            said.append(cue.text)
            words.append(_word(cue.text, start))
            planted.append(Planted(cue.text, words[-1].start, wrong))
    return words, planted


def fits(known: Known, piece: Piece, wrong: str | None, card: Card) -> bool:
    """Whether a word is a true cue of a piece, or wrong in just the one way named."""
    name = card.classes[piece.label]
    sign = card.sentiment[piece.label] == known.sign
    emotion = bool(card.emotions[name] & known.emotions)
    distance = abs(known.degree - piece.strength)
    if wrong == "sentiment":
        return not sign and not emotion and distance < NEAR
    if wrong == "emotion":
        return sign and not emotion and distance < NEAR
    if wrong == "degree":
        return sign and emotion and distance > FAR
    return sign and emotion and distance < NEAR


def _can_speak(card: Card, label: int) -> bool:
    return bool(card.sentiment[label] and card.emotions.get(card.classes[label]))


def _way(rng: np.random.Generator) -> Literal["sentiment", "emotion", "degree"] | None:
    drawn = int(rng.random() / SHARE)
    return WRONG[drawn] if drawn < len(WRONG) else None  # type: ignore[return-value]


def _cue(piece: Piece, wrong: str | None, card: Card, said: list[str], rng: np.random.Generator) -> Known | None:
    known = lexica().known
    order = (known[number] for number in rng.permutation(len(known)).tolist())
    good = (word for word in order if fits(word, piece, wrong, card) and not _forms_concept(said, word.text))
    return next(good, None)


def _filler(said: list[str], topic: tuple[str, ...], rng: np.random.Generator) -> str:
    pool = topic if rng.random() < 0.4 else FILLERS
    order = [pool[number] for number in rng.permutation(len(pool)).tolist()]
    free = (word for word in order if word not in lexica().cues and not _forms_concept(said, word))
    return next(free, "the")


def _forms_concept(said: list[str], word: str) -> bool:
    """Whether a word would make a SenticNet concept with the words before it."""
    return any("_".join([*said[-count:], word]) in lexica().concepts for count in range(1, min(3, len(said)) + 1))


def _word(text: str, start: float) -> Word:
    start = round(start, 3)
    return Word(text, start, round(start + 0.3, 3))
