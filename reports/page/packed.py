"""Small numbers as text: digits of base 64, so many to a number."""

from __future__ import annotations

import numpy as np

DIGITS = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
_LETTERS = np.frombuffer(DIGITS.encode(), dtype=np.uint8)


def pack(values: np.ndarray, width: int) -> str:
    """(n,) whole numbers from 0 to 64^width - 1 as n * width letters, high digits first."""
    powers = 64 ** np.arange(width - 1, -1, -1, dtype=np.int64)
    places = values.astype(np.int64)[:, None] // powers % 64
    return bytes(_LETTERS[places].tobytes()).decode()


def width_of(count: int) -> int:
    """How many letters a number below `count` takes."""
    width = 1
    while 64**width < count:
        width += 1
    return width
