"""Subtitle files as words with times."""

from __future__ import annotations

import re
from collections.abc import Iterable
from html import unescape
from itertools import accumulate
from pathlib import Path

from bench.types import DataIssue, Word

_TIMESTAMP = r"([0-9]{1,3}):([0-9]{1,2}):([0-9]{1,2}[,.][0-9]{1,9})"
_TIME_SPAN = re.compile(rf"{_TIMESTAMP}\s*-->\s*{_TIMESTAMP}")
_WORD = re.compile(r"[^\W_]+(?:['’][^\W_]+)*")
_TAG = re.compile(r"<[^>]*>|\{\\[^}]*\}|\[[^\]]*\]")  # of form, and what is told of a sound, as in [Music]
_FAILURE_TEXT = "conversion failed"  # what the recogniser writes when it gives up


def read_transcript(path: Path, key: str) -> tuple[list[Word], list[DataIssue]]:
    """The lower-cased words of a subtitle file, each caption's time spread evenly over its words, in order of time."""
    text, encoding = _decode_text(path.read_bytes())
    problems = []
    if encoding is not None:
        problems.append(DataIssue("encoding", key, f"{path.name} is not in UTF-8; read as {encoding}"))
    if _FAILURE_TEXT in text.lower():
        return [], [*problems, DataIssue("transcript", key, "the recogniser wrote 'Conversion failed'")]
    captions = _parse_captions(text)
    words = [word for start, end, caption in captions for word in spread_words(caption, start, end)]
    if text.strip() and not captions:
        problems.append(DataIssue("transcript", key, f"no captions in {path.name}"))
    elif not words:
        why = "its captions hold no words" if captions else "it is empty"
        problems.append(DataIssue("no words", key, f"{path.name}: {why}"))
    problems += _find_overlaps(captions, path.name, key)
    return sorted(words, key=lambda word: word.start), problems


def _find_overlaps(captions: Iterable[tuple[float, float, str]], name: str, key: str) -> list[DataIssue]:
    """Captions that begin while another one stands, told once."""
    ordered = sorted((start, end) for start, end, _ in captions)
    latest = accumulate((end for _, end in ordered), max)
    count = sum(start < end for (start, _), end in zip(ordered[1:], latest, strict=False))
    why = f"{name}: {count} of {len(ordered)} captions begin before another one ends; words stand in order of time"
    return [DataIssue("overlap", key, why)] if count else []


def spread_words(text: str, start: float, end: float) -> list[Word]:
    """The lower-cased words of a text, the time from start to end spread evenly over them."""
    tokens = [token.replace("’", "'").lower() for token in _WORD.findall(_TAG.sub(" ", unescape(text)))]
    step = max(0.0, end - start) / max(1, len(tokens))
    return [Word(token, start + i * step, start + (i + 1) * step) for i, token in enumerate(tokens)]


def _decode_text(raw: bytes) -> tuple[str, str | None]:
    """The text, and the encoding where it is not UTF-8: told by its mark, by zero bytes at every other place, or else
    guessed as Windows-1252 or at last Latin-1, which any bytes are."""
    if raw.startswith(b"\xef\xbb\xbf"):
        return raw.decode("utf-8-sig", errors="replace"), None
    if raw.startswith((b"\xff\xfe", b"\xfe\xff")):
        return raw.decode("utf-16", errors="replace"), "utf-16"
    for encoding, zeros in (("utf-16-le", raw[1::2].count(0)), ("utf-16-be", raw[::2].count(0))):
        if zeros > len(raw) / 8:  # digits and spaces make a quarter of the letters of any subtitle file
            return raw.decode(encoding, errors="replace"), encoding
    for encoding in ("utf-8", "cp1252"):
        try:
            return raw.decode(encoding), None if encoding == "utf-8" else encoding
        except UnicodeDecodeError:
            continue
    return raw.decode("latin-1"), "latin-1"


def _parse_captions(text: str) -> list[tuple[float, float, str]]:
    """(start, end, text) of every caption; a line of times opens one, a blank line or a number before it closes it."""
    found: list[tuple[float, float, list[str]]] = []
    body: list[str] | None = None
    for line in text.replace("\r\n", "\n").replace("\r", "\n").split("\n"):
        match = _TIME_SPAN.search(line)
        if match:
            if body is not None and len(body) > 1 and body[-1].strip().isdigit():
                body.pop()
            body = []
            found.append((_parse_seconds(*match.groups()[:3]), _parse_seconds(*match.groups()[3:]), body))
        elif not line.strip():
            body = None
        elif body is not None:
            body.append(line)
    return [(start, end, " ".join(lines)) for start, end, lines in found]


def _parse_seconds(hours: str, minutes: str, seconds: str) -> float:
    return int(hours) * 3600 + int(minutes) * 60 + float(seconds.replace(",", "."))
