"""The course of a sample clip: which emotion, how strong, at which time."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

STRONG_SHARE = (0.22, 0.38)  # of a clip's time
STRONG, MAIN_WEAK, OTHER = (0.8, 1.0), (0.15, 0.4), (0.2, 0.5)  # strengths


@dataclass(frozen=True)
class Piece:
    """A stretch of a clip with one emotion."""

    start: float  # seconds
    end: float
    label: int
    strength: float  # 0 to 1


def draw_course(label: int, classes: int, seconds: float, rng: np.random.Generator) -> tuple[Piece, ...]:
    """The clip's class is strong in one or two pieces, a fifth to two fifths of the time; elsewhere it is weak, or
    another class is."""
    share = rng.uniform(*STRONG_SHARE)
    strong = int(rng.integers(1, 3))
    weak = int(rng.integers(3, 5))
    lengths = [share * seconds * part for part in rng.dirichlet(np.full(strong, 8.0))]
    lengths += [(1 - share) * seconds * part for part in rng.dirichlet(np.full(weak, 8.0))]
    pieces, start = [], 0.0
    for number in rng.permutation(strong + weak):
        if number < strong:
            emotion, strength = label, rng.uniform(*STRONG)
        elif rng.random() < 0.4:
            emotion, strength = label, rng.uniform(*MAIN_WEAK)
        else:
            others = [other for other in range(classes) if other != label]
            emotion, strength = int(rng.choice(others)), rng.uniform(*OTHER)
        end = start + lengths[number]
        pieces.append(Piece(start, end, emotion, float(strength)))
        start = end
    return tuple(pieces)


def at(course: tuple[Piece, ...], second: float) -> Piece:
    """The piece that a moment lies in."""
    return next((piece for piece in course if second < piece.end), course[-1])


def along(course: tuple[Piece, ...], count: int, rate: float) -> tuple[np.ndarray, np.ndarray]:
    """(count,) classes and (count,) strengths at `rate` moments a second, from 0 on."""
    ends = np.asarray([piece.end for piece in course])
    place = np.minimum(np.searchsorted(ends, np.arange(count) / rate, side="right"), len(course) - 1)
    labels, strengths = (np.asarray([getattr(p, name) for p in course]) for name in ("label", "strength"))
    return labels[place], strengths[place]
