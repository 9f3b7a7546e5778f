"""Transcripts: subtitle files as words with times."""

from __future__ import annotations

import re
from pathlib import Path

from bench.data import Problem, Word

_TIMES = re.compile(r"(\d+):(\d+):(\d+)[,.](\d+)\s*-->\s*(\d+):(\d+):(\d+)[,.](\d+)")
_WORD = re.compile(r"[^\W_]+(?:['’][^\W_]+)*")
_TAG = re.compile(r"<[^>]*>|\{\\[^}]*\}")
_FAILED = "conversion failed"  # what the recogniser writes when it gives up


def read_transcript(path: Path, key: str) -> tuple[list[Word], list[Problem]]:
    """The lower-cased words of a subtitle file, each caption's time spread evenly over its words, in order of time."""
    text, encoding = _decode(path.read_bytes())
    problems = []
    if encoding is not None:
        problems.append(Problem("encoding", key, f"{path.name} is not in UTF-8; read as {encoding}"))
    if _FAILED in text.lower():
        return [], [*problems, Problem("transcript", key, "the recogniser wrote 'Conversion failed'")]
    words: list[Word] = []
    for start, end, caption in _captions(text):
        words += spread(caption, start, end)
    if not words and text.strip():
        problems.append(Problem("transcript", key, f"no captions in {path.name}"))
    return sorted(words, key=lambda word: word.start), problems


def spread(text: str, start: float, end: float) -> list[Word]:
    """The lower-cased words of a text, the time from start to end spread evenly over them."""
    tokens = [token.replace("’", "'").lower() for token in _WORD.findall(_TAG.sub(" ", text))]
    step = max(0.0, end - start) / max(1, len(tokens))
    return [Word(token, start + i * step, start + (i + 1) * step) for i, token in enumerate(tokens)]


def _decode(raw: bytes) -> tuple[str, str | None]:
    """Text in UTF-8 or UTF-16 where the bytes say so; else Windows-1252 or at last Latin-1, which any bytes are, and
    the name of that guess."""
    for mark, encoding in ((b"\xef\xbb\xbf", "utf-8-sig"), (b"\xff\xfe", "utf-16"), (b"\xfe\xff", "utf-16")):
        if raw.startswith(mark):
            return raw.decode(encoding, errors="replace"), None
    for encoding in ("utf-8", "cp1252"):
        try:
            return raw.decode(encoding), None if encoding == "utf-8" else encoding
        except UnicodeDecodeError:
            continue
    return raw.decode("latin-1"), "latin-1"


def _captions(text: str) -> list[tuple[float, float, str]]:
    """(start, end, text) of every caption; a line of times opens one, a blank line or a number before it closes it."""
    lines = text.replace("\r\n", "\n").replace("\r", "\n").split("\n")
    found: list[tuple[float, float, str]] = []
    for place, line in enumerate(lines):
        match = _TIMES.search(line)
        if match:
            numbers = [int(part) for part in match.groups()]
            body = []
            for following in lines[place + 1 :]:
                if not following.strip() or _TIMES.search(following):
                    break
                body.append(following)
            if len(body) > 1 and body[-1].strip().isdigit() and place + len(body) + 1 < len(lines):
                nextline = lines[place + len(body) + 1]
                body = body[:-1] if _TIMES.search(nextline) else body
            found.append((_seconds(*numbers[:4]), _seconds(*numbers[4:]), " ".join(body)))
    return found


def _seconds(hours: int, minutes: int, seconds: int, thousandths: int) -> float:
    return hours * 3600 + minutes * 60 + seconds + thousandths / 1000
