"""Transcripts by a Whisper model for clips without any, written as subtitles next to the data."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from bench.errors import ConfigError, DataError, MediaError, StoreError
from bench.files import atomic_write
from bench.types import Clip, DataIssue, Word
from datasets.decode.audio import SAMPLE_RATE, read_samples
from datasets.paths import explain_unsafe_link

MODEL_FILES = ("model.bin", "config.json", "tokenizer.json")
UNKNOWN_LANGUAGES = ("mul", "und")  # a language that is several or unknown: the model guesses it for each clip
SILENCE_CAPTION = (
    "..."  # the caption of a clip in which nothing was heard, so that its file is not taken for a broken one
)


class Transcriber(Protocol):
    """What hears words."""

    def transcribe(self, samples: np.ndarray) -> list[Word]:
        """The words of (n,) float32 mono sound at RATE_HZ; raises RuntimeError or ValueError where it cannot."""
        ...


class Whisper:
    """A Whisper model of a local folder, in the form that faster-whisper reads. It draws nothing at random."""

    def __init__(self, folder: Path, language: str) -> None:
        """Raises ConfigError without the extra, for a folder that holds no model, and for a language unknown to it."""
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
            self._model: Any = WhisperModel(str(folder), device="auto", local_files_only=True)
            known = list(self._model.supported_languages)
        except Exception as error:  # CTranslate2 and tokenizers have no exceptions of their own
            raise ConfigError(f"the model of {folder} cannot be loaded: {' '.join(str(error).split())}") from None
        if language not in (*known, *UNKNOWN_LANGUAGES):
            raise ConfigError(
                f"the model of {folder} does not know the language '{language}'; {_list_languages(known)}"
            )
        self._language = None if language in UNKNOWN_LANGUAGES else language

    def transcribe(self, samples: np.ndarray) -> list[Word]:
        """The words where someone speaks; stretches without speech are passed over."""
        segments, _ = self._model.transcribe(
            samples,
            language=self._language,
            word_timestamps=True,
            vad_filter=True,
            temperature=0.0,
            condition_on_previous_text=False,
        )
        said = [word for segment in segments for word in segment.words or ()]
        return [Word(word.word, float(word.start), float(word.end)) for word in said]


def transcribe_clips(
    clips: Sequence[Clip], root: Path, model: Path, language: str, report: Callable[[str, int, int], None]
) -> list[DataIssue]:
    """Write srt/<Class>/<clip>.srt below `root` for every clip with sound and without words; what failed is told.

    A clip that has its file is passed over, so that it goes on where it was stopped. Raises ConfigError before any work
    where the model cannot be used.
    """
    recogniser = Whisper(model, language)
    return write_transcripts(clips, root, recogniser, report)


def write_transcripts(
    clips: Sequence[Clip], root: Path, recogniser: Transcriber, report: Callable[[str, int, int], None]
) -> list[DataIssue]:
    """The same with any recogniser."""
    wanted = [clip for clip in clips if _needs_transcript(clip, root)]
    problems = []
    for done, clip in enumerate(wanted):
        report("transcribe", done, len(wanted))
        try:
            text = _make_subtitles(clip, recogniser)
        except (MediaError, OSError, RuntimeError, ValueError) as error:
            why = f"no transcript was made: {' '.join(str(error).split())}"
            problems.append(DataIssue("transcribe", clip.key, why))
            continue
        place = _make_transcript_path(clip, root)
        refused = [explain_unsafe_link(path, root) for path in (root / "srt", place.parent) if path.is_symlink()]
        if any(refused):
            raise DataError(f"{place.parent} is behind a link that leaves the data folder, or leads nowhere; remove it")
        if _needs_transcript(clip, root):  # another process may have been faster
            _write_subtitles(_make_transcript_path(clip, root), text)
    report("transcribe", len(wanted), len(wanted))
    return problems


def _needs_transcript(clip: Clip, root: Path) -> bool:
    files = clip.sources
    has_words = files.transcript is not None or files.text or _make_transcript_path(clip, root).exists()
    return not has_words and (files.audio is not None or files.video is not None)


def _make_transcript_path(clip: Clip, root: Path) -> Path:
    return root / "srt" / f"{clip.key}.srt"


def _make_subtitles(clip: Clip, recogniser: Transcriber) -> str:
    """A caption for each word, so that its time is kept; raises MediaError for a clip without readable sound."""
    source = clip.sources.audio or clip.sources.video
    assert source is not None
    samples, _, _ = read_samples(source, clip.key)
    if not len(samples):
        raise MediaError(f"{source.name} holds no sound")
    words = [Word(" ".join(word.text.split()), word.start, word.end) for word in recogniser.transcribe(samples)]
    words = [word for word in words if word.text] or [Word(SILENCE_CAPTION, 0.0, len(samples) / SAMPLE_RATE)]
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


def _list_languages(known: Sequence[str]) -> str:
    return f"it knows {', '.join(known[:8])}{' and others' if len(known) > 8 else ''}"
