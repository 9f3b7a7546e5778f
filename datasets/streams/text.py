"""Transcripts: reading subtitle files, and writing them by speech recognition."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import replace
from functools import partial
from html import unescape
from importlib.util import find_spec
from itertools import accumulate
from pathlib import Path
from typing import Any

import numpy as np

from bench.errors import ConfigError, DataError, MediaError, StoreError
from bench.files import atomic_write
from bench.types import Clip, ClipSources, DataIssue, Word
from datasets.paths import explain_unsafe_link
from datasets.streams.audio import SAMPLE_RATE, read_part_samples, read_samples

_TIMESTAMP = r"([0-9]{1,3}):([0-9]{1,2}):([0-9]{1,2}[,.][0-9]{1,9})"
_TIME_SPAN = re.compile(rf"{_TIMESTAMP}\s*-->\s*{_TIMESTAMP}")
_WORD = re.compile(r"[^\W_]+(?:['’][^\W_]+)*")
_TAG = re.compile(r"<[^>]*>|\{\\[^}]*\}|\[[^\]]*\]")  # formatting, and descriptions of sounds such as [Music]
_FAILURE_TEXT = "conversion failed"  # written by the authors' recogniser instead of a transcript

TRANSCRIBE_ERRORS = (MediaError, OSError, RuntimeError, ValueError)
Recogniser = Callable[[np.ndarray], list[Word]]  # (n,) float32 mono audio at SAMPLE_RATE -> its words
MODEL_FILES = ("model.bin", "config.json", "tokenizer.json")
UNKNOWN_LANGUAGES = ("mul", "und")  # several or unknown (ISO 639): the model detects the language of each clip
SILENCE_CAPTION = "..."  # caption of a clip without speech; an empty file would look like a failed one


def read_transcript(path: Path, key: str) -> tuple[list[Word], list[DataIssue]]:
    """Return the lower-case words of a subtitle file in order of time, and the issues found.

    The time of each caption is divided evenly among its words.
    """
    text, encoding = _decode_text(path.read_bytes())
    problems = []
    if encoding is not None:
        problems.append(DataIssue("encoding", key, f"{path.name} is not UTF-8; read as {encoding}"))
    if _FAILURE_TEXT in text.lower():
        why = f"{path.name} holds the error 'Conversion failed' instead of a transcript; used without words"
        return [], [*problems, DataIssue("transcript", key, why)]
    captions = _parse_captions(text)
    words = [word for start, end, caption in captions for word in spread_words(caption, start, end)]
    if text.strip() and not captions:
        problems.append(DataIssue("transcript", key, f"no captions in {path.name}; used without words"))
    elif not words:
        why = "captions hold no words" if captions else "empty file"
        problems.append(DataIssue("no words", key, f"{path.name}: {why}"))
    problems += _find_overlaps(captions, path.name, key)
    return sorted(words, key=lambda word: word.start), problems


def _find_overlaps(captions: Iterable[tuple[float, float, str]], name: str, key: str) -> list[DataIssue]:
    """Report, as one issue, the captions that begin before an earlier one ends."""
    ordered = sorted((start, end) for start, end, _ in captions)
    latest = accumulate((end for _, end in ordered), max)
    count = sum(start < end for (start, _), end in zip(ordered[1:], latest, strict=False))
    why = f"{name}: {count} of {len(ordered)} captions begin before another one ends; words are sorted by time"
    return [DataIssue("overlap", key, why)] if count else []


def spread_words(text: str, start: float, end: float) -> list[Word]:
    """Return the lower-case words of a text, with the time from `start` to `end` divided evenly among them."""
    tokens = [token.replace("’", "'").lower() for token in _WORD.findall(_TAG.sub(" ", unescape(text)))]
    step = max(0.0, end - start) / max(1, len(tokens))
    return [Word(token, start + i * step, start + (i + 1) * step) for i, token in enumerate(tokens)]


def _decode_text(raw: bytes) -> tuple[str, str | None]:
    """Return the text and its encoding (None: UTF-8), found by byte-order mark, by zero bytes, or by trial."""
    if raw.startswith(b"\xef\xbb\xbf"):
        return raw.decode("utf-8-sig", errors="replace"), None
    if raw.startswith((b"\xff\xfe", b"\xfe\xff")):
        return raw.decode("utf-16", errors="replace"), "utf-16"
    for encoding, zeros in (("utf-16-le", raw[1::2].count(0)), ("utf-16-be", raw[::2].count(0))):
        if zeros > len(raw) / 8:  # ASCII digits and spaces are a quarter of the characters of any subtitle file
            return raw.decode(encoding, errors="replace"), encoding
    for encoding in ("utf-8", "cp1252"):
        with suppress(UnicodeDecodeError):
            return raw.decode(encoding), None if encoding == "utf-8" else encoding
    return raw.decode("latin-1"), "latin-1"


def _parse_captions(text: str) -> list[tuple[float, float, str]]:
    """Return (start, end, text) of every caption.

    A caption starts at a line with times and ends at a blank line or at the number before the next times.
    """
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


def load_recogniser(folder: Path, language: str) -> Recogniser:
    """Load a Whisper model in faster-whisper's format from a local folder; its output is deterministic.

    Raises ConfigError if faster-whisper is not installed, the folder holds no model, or the model does not support the
    language.
    """
    if find_spec("faster_whisper") is None:
        raise ConfigError(
            'transcribing needs the extra "asr" and a local model: run .venv/bin/pip install ".[asr]" in the checkout, '
            "and see docs/transcripts.md"
        )
    missing = [name for name in MODEL_FILES if not (folder / name).is_file()]
    if missing:
        raise ConfigError(
            f"{folder}: no faster-whisper model ({', '.join(missing)} missing); see docs/transcripts.md for where to "
            "obtain one"
        )
    from faster_whisper import WhisperModel

    try:
        model: Any = WhisperModel(str(folder), device="auto", local_files_only=True)
        known = list(model.supported_languages)
    except Exception as error:  # CTranslate2 and tokenizers raise no specific classes
        raise ConfigError(f"{folder}: cannot load the model: {' '.join(str(error).split())}") from None
    if language not in (*known, *UNKNOWN_LANGUAGES):
        listed = f"{', '.join(known[:8])}{' and others' if len(known) > 8 else ''}"
        raise ConfigError(f"{folder}: the model does not support language '{language}'; supported: {listed}")

    def transcribe(samples: np.ndarray) -> list[Word]:
        """Transcribe the parts with speech."""
        segments, _ = model.transcribe(
            samples,
            language=None if language in UNKNOWN_LANGUAGES else language,
            word_timestamps=True,
            vad_filter=True,
            temperature=0.0,
            condition_on_previous_text=False,
        )
        words = [word for segment in segments for word in segment.words or ()]
        return [Word(word.word, float(word.start), float(word.end)) for word in words]

    return transcribe


def transcribe_clips(
    clips: Sequence[Clip], root: Path, model: Path, language: str, report: Callable[[str, int, int], None]
) -> list[DataIssue]:
    """Write srt/<Class>/<clip>.srt for every clip with audio and without words; return the clips that failed.

    Raises ConfigError, before any work, if the model cannot be used.
    """
    return write_transcripts(clips, root, load_recogniser(model, language), report)


def write_transcripts(
    clips: Sequence[Clip], root: Path, recogniser: Recogniser, report: Callable[[str, int, int], None]
) -> list[DataIssue]:
    """Do the same as `transcribe_clips` with a given recogniser; existing files are skipped, so a rerun resumes.

    Times count from the start of the file, also for a part of it. Raises DataError if a file cannot be written or a
    link leads out of the data folder.
    """
    paths = {clip: root / "srt" / f"{clip.key}.srt" for clip in clips}
    pending = [clip for clip, path in paths.items() if _needs_transcript(clip, path)]
    problems = []
    for done, (clip, read) in enumerate(_iter_audio(pending)):
        report("transcribe", done, len(pending))
        path = paths[clip]
        try:
            text = _make_subtitles(clip, read()[0], recogniser)
        except TRANSCRIBE_ERRORS as error:
            why = f"not transcribed: {' '.join(str(error).split())}"
            problems.append(DataIssue("transcribe", clip.key, why))
            continue
        links = [folder for folder in (root / "srt", path.parent) if folder.is_symlink()]
        if any(explain_unsafe_link(folder, root) for folder in links):
            raise DataError(f"{path.parent}: a link that leaves the data folder or is broken; remove it")
        if _needs_transcript(clip, path):  # another process may have written it meanwhile
            _write_subtitles(path, text)
    report("transcribe", len(pending), len(pending))
    return problems


def _iter_audio(clips: Sequence[Clip]) -> Iterator[tuple[Clip, Callable[[], tuple[Any, ...]]]]:
    """Yield each clip with a function that returns its samples first, or raises MediaError.

    The parts of a file are read in one pass.
    """
    parts: dict[Path, list[Clip]] = defaultdict(list)
    for clip in clips:
        source = clip.sources.audio or clip.sources.video
        assert source is not None
        if clip.is_part:
            parts[source].append(clip)
        else:
            yield clip, partial(read_samples, source, clip.key)
    for source, found in parts.items():
        remaining = {clip.key: clip for clip in found}
        try:
            for clip, read in read_part_samples(source, found):
                del remaining[clip.key]
                yield clip, read
        except TRANSCRIBE_ERRORS as error:
            for clip in remaining.values():
                yield clip, partial(_raise, error)


def _raise(error: Exception) -> tuple[Any, ...]:
    raise error


def _needs_transcript(clip: Clip, path: Path) -> bool:
    files = clip.sources
    has_words = files.transcript is not None or files.text or path.exists()
    return not has_words and (files.audio is not None or files.video is not None)


def _make_subtitles(clip: Clip, samples: np.ndarray, recogniser: Recogniser) -> str:
    """Return subtitles with one caption per word, which preserves its time.

    Raises MediaError for a clip without readable audio.
    """
    source = clip.sources.audio or clip.sources.video
    assert source is not None
    if not len(samples):
        raise MediaError(f"{source.name} holds no audio{' in the part' if clip.is_part else ''}")
    words = [Word(" ".join(word.text.split()), word.start, word.end) for word in recogniser(samples)]
    words = [word for word in words if word.text] or [Word(SILENCE_CAPTION, 0.0, len(samples) / SAMPLE_RATE)]
    begin = clip.start or 0.0
    return format_subtitles([replace(word, start=word.start + begin, end=word.end + begin) for word in words])


def transcribe_file(path: Path, recogniser: Recogniser, folder: Path) -> Path | None:
    """Write the transcript of a media file into a folder and return its path; None for a file without audio."""
    clip = Clip(path.name, 0, "test", path.name, ClipSources(video=path))
    try:
        text = _make_subtitles(clip, read_samples(path, path.name)[0], recogniser)
    except TRANSCRIBE_ERRORS:
        return None
    found = folder / "transcript.srt"
    atomic_write(found, text.encode())
    return found


def format_subtitles(words: Sequence[Word]) -> str:
    """Format words as an SRT file with one caption per word."""
    return "\n".join(
        f"{number}\n{_format_timestamp(word.start)} --> {_format_timestamp(max(word.start, word.end))}\n{word.text}\n"
        for number, word in enumerate(words, 1)
    )


def _write_subtitles(path: Path, text: str) -> None:
    try:
        atomic_write(path, text.encode())
    except StoreError as error:
        reason = getattr(error.__cause__, "strerror", None) or error
        raise DataError(f"cannot write {path}: {reason}; free disk space or fix the permission, then rerun") from None


def _format_timestamp(seconds: float) -> str:
    """Format seconds as HH:MM:SS,mmm."""
    whole, thousandths = divmod(round(max(0.0, seconds) * 1000), 1000)
    return f"{whole // 3600:02d}:{whole // 60 % 60:02d}:{whole % 60:02d},{thousandths:03d}"
