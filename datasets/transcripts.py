"""Transcripts: read from subtitle files, and written by speech recognition."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from html import unescape
from importlib.util import find_spec
from itertools import accumulate
from pathlib import Path
from typing import Any

import numpy as np

from bench.errors import ConfigError, DataError, MediaError, StoreError
from bench.files import atomic_write
from bench.types import Clip, DataIssue, Word
from datasets.decode.audio import SAMPLE_RATE, read_samples
from datasets.paths import explain_unsafe_link

_TIMESTAMP = r"([0-9]{1,3}):([0-9]{1,2}):([0-9]{1,2}[,.][0-9]{1,9})"
_TIME_SPAN = re.compile(rf"{_TIMESTAMP}\s*-->\s*{_TIMESTAMP}")
_WORD = re.compile(r"[^\W_]+(?:['’][^\W_]+)*")
_TAG = re.compile(r"<[^>]*>|\{\\[^}]*\}|\[[^\]]*\]")  # of form, and what is told of a sound, as in [Music]
_FAILURE_TEXT = "conversion failed"  # what the recogniser writes when it gives up

Recogniser = Callable[[np.ndarray], list[Word]]  # (n,) float32 mono sound at SAMPLE_RATE -> its words
MODEL_FILES = ("model.bin", "config.json", "tokenizer.json")
UNKNOWN_LANGUAGES = ("mul", "und")  # a language that is several or unknown: the model guesses it for each clip
SILENCE_CAPTION = "..."  # of a clip in which nothing was heard, so that its file is not taken for a broken one


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
    """Return the text and its encoding, None for UTF-8; by mark, by zero bytes, or guessed."""
    if raw.startswith(b"\xef\xbb\xbf"):
        return raw.decode("utf-8-sig", errors="replace"), None
    if raw.startswith((b"\xff\xfe", b"\xfe\xff")):
        return raw.decode("utf-16", errors="replace"), "utf-16"
    for encoding, zeros in (("utf-16-le", raw[1::2].count(0)), ("utf-16-be", raw[::2].count(0))):
        if zeros > len(raw) / 8:  # digits and spaces make a quarter of the letters of any subtitle file
            return raw.decode(encoding, errors="replace"), encoding
    for encoding in ("utf-8", "cp1252"):
        with suppress(UnicodeDecodeError):
            return raw.decode(encoding), None if encoding == "utf-8" else encoding
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


def load_recogniser(folder: Path, language: str) -> Recogniser:
    """Load a Whisper model of a local folder, in the form that faster-whisper reads. It draws nothing at random.

    Raises ConfigError without the extra, for a folder that holds no model, and for a language unknown to it.
    """
    if find_spec("faster_whisper") is None:
        raise ConfigError(
            'transcribing needs the extra "asr": .venv/bin/pip install ".[asr]" in the checkout, and a model in a '
            "local folder; docs/transcripts.md says where it comes from"
        )
    missing = [name for name in MODEL_FILES if not (folder / name).is_file()]
    if missing:
        raise ConfigError(
            f"{folder} holds no model of faster-whisper: {', '.join(missing)} not found; docs/transcripts.md says "
            "where one comes from"
        )
    from faster_whisper import WhisperModel

    try:
        model: Any = WhisperModel(str(folder), device="auto", local_files_only=True)
        known = list(model.supported_languages)
    except Exception as error:  # CTranslate2 and tokenizers have no exceptions of their own
        raise ConfigError(f"the model of {folder} cannot be loaded: {' '.join(str(error).split())}") from None
    if language not in (*known, *UNKNOWN_LANGUAGES):
        listed = f"{', '.join(known[:8])}{' and others' if len(known) > 8 else ''}"
        raise ConfigError(f"the model of {folder} does not know the language '{language}'; it knows {listed}")

    def transcribe(samples: np.ndarray) -> list[Word]:
        """Hear the words where someone speaks; stretches without speech are passed over."""
        segments, _ = model.transcribe(
            samples,
            language=None if language in UNKNOWN_LANGUAGES else language,
            word_timestamps=True,
            vad_filter=True,
            temperature=0.0,
            condition_on_previous_text=False,
        )
        said = [word for segment in segments for word in segment.words or ()]
        return [Word(word.word, float(word.start), float(word.end)) for word in said]

    return transcribe


def transcribe_clips(
    clips: Sequence[Clip], root: Path, model: Path, language: str, report: Callable[[str, int, int], None]
) -> list[DataIssue]:
    """Write srt/<Class>/<clip>.srt for every clip with sound and without words; report what failed.

    Raises ConfigError before any work where the model cannot be used.
    """
    return write_transcripts(clips, root, load_recogniser(model, language), report)


def write_transcripts(
    clips: Sequence[Clip], root: Path, recogniser: Recogniser, report: Callable[[str, int, int], None]
) -> list[DataIssue]:
    """The same with any recogniser."""
    paths = {clip: root / "srt" / f"{clip.key}.srt" for clip in clips}
    wanted = [(clip, path) for clip, path in paths.items() if _needs_transcript(clip, path)]
    problems = []
    for done, (clip, path) in enumerate(wanted):
        report("transcribe", done, len(wanted))
        try:
            text = _make_subtitles(clip, recogniser)
        except (MediaError, OSError, RuntimeError, ValueError) as error:
            why = f"no transcript was made: {' '.join(str(error).split())}"
            problems.append(DataIssue("transcribe", clip.key, why))
            continue
        links = [folder for folder in (root / "srt", path.parent) if folder.is_symlink()]
        if any(explain_unsafe_link(folder, root) for folder in links):
            raise DataError(f"{path.parent} is behind a link that leaves the data folder, or leads nowhere; remove it")
        if _needs_transcript(clip, path):  # another process may have been faster
            _write_subtitles(path, text)
    report("transcribe", len(wanted), len(wanted))
    return problems


def _needs_transcript(clip: Clip, path: Path) -> bool:
    files = clip.sources
    has_words = files.transcript is not None or files.text or path.exists()
    return not has_words and (files.audio is not None or files.video is not None)


def _make_subtitles(clip: Clip, recogniser: Recogniser) -> str:
    """A caption for each word, so that its time is kept; raises MediaError for a clip without readable sound."""
    source = clip.sources.audio or clip.sources.video
    assert source is not None
    samples, _, _ = read_samples(source, clip.key)
    if not len(samples):
        raise MediaError(f"{source.name} holds no sound")
    words = [Word(" ".join(word.text.split()), word.start, word.end) for word in recogniser(samples)]
    words = [word for word in words if word.text] or [Word(SILENCE_CAPTION, 0.0, len(samples) / SAMPLE_RATE)]
    return format_subtitles(words)


def format_subtitles(words: Sequence[Word]) -> str:
    """Format words as an srt file, a caption each."""
    return "\n".join(
        f"{number}\n{_format_timestamp(word.start)} --> {_format_timestamp(max(word.start, word.end))}\n{word.text}\n"
        for number, word in enumerate(words, 1)
    )


def _write_subtitles(path: Path, text: str) -> None:
    try:
        atomic_write(path, text.encode())
    except StoreError as error:
        reason = getattr(error.__cause__, "strerror", None) or error
        raise DataError(f"cannot write {path}: {reason}; free space or allow writing there, then start again") from None


def _format_timestamp(seconds: float) -> str:
    """Hours, minutes, seconds and thousandths."""
    whole, thousandths = divmod(round(max(0.0, seconds) * 1000), 1000)
    return f"{whole // 3600:02d}:{whole // 60 % 60:02d}:{whole % 60:02d},{thousandths:03d}"
