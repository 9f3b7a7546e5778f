"""Decoding of all streams of a clip into the tensors and facts of its prepared file."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any, TypeVar

import numpy as np

from bench.errors import MediaError
from bench.types import Clip, DataIssue, Word
from datasets.decode.audio import DecodedAudio, is_silent, read_log_mel
from datasets.decode.container import ClipTooLong, read_header
from datasets.decode.video import NO_VIDEO, EncodedVideo, decode_frames, read_frame_folder, read_video
from datasets.segments import AUDIO_FRAME_RATE, FRAME_RATE
from datasets.transcripts import read_transcript, spread_words

T = TypeVar("T")
MAX_LENGTH_DIFFERENCE = 0.5  # seconds by which video, audio and the stated duration may differ without an issue
BLACK_LEVEL = 32  # of 255; a frame without a brighter pixel is black


def decode_clip(clip: Clip, side: int, mels: int) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
    """Return the tensors and facts of a clip.

    Raises MediaError if neither video nor audio can be read or one is an hour long, OSError if a source cannot be
    accessed.
    """
    problems: list[DataIssue] = []
    stated = _read_stated_seconds(clip, problems)
    video = _decode_video(clip, side, problems)
    audio = _decode_audio(clip, mels, problems)
    energies = audio.mels
    if not video.packets and not len(energies):
        reasons = dict.fromkeys(problem.why for problem in problems)
        raise MediaError("; ".join(reasons) or "neither video nor audio can be read")
    _report_missing_end(clip, stated, max(len(video.index) / FRAME_RATE, len(energies) / AUDIO_FRAME_RATE), problems)
    looks = video.digest if _is_visible(video, clip.key, problems) else ""
    sounds = audio.digest if _is_audible(energies, clip.key, problems) else ""
    video = _hold_last_frame(video, len(energies), clip.key, problems)
    frames = len(video.index)
    words = _read_words(clip, frames / FRAME_RATE if frames else len(energies) / AUDIO_FRAME_RATE, problems)
    data: dict[str, np.ndarray] = {
        "packets": np.frombuffer(b"".join(video.packets) or b"\0", dtype=np.uint8),
        "offsets": np.cumsum([0, *map(len, video.packets)]).astype(np.int64),
        "index": video.index if frames else np.full(1, -1, dtype=np.int32),
        "sound": energies if len(energies) else np.zeros((1, 0), dtype=np.float16),
    }
    facts = {
        "words": [[word.text, word.start, word.end] for word in words],
        "problems": [[p.what, p.where, p.why] for p in problems],
        "frames": frames,
        "size": video.size,
        "sound": len(energies),
        "looks": looks,
        "sounds": sounds,
    }
    return data, facts


def _read_stated_seconds(clip: Clip, problems: list[DataIssue]) -> float | None:
    """Return the duration in the header of the clip's video, and report issues of the headers."""
    seconds = None
    for path in filter(None, (clip.sources.audio, clip.sources.video)):
        try:
            seconds_in_header, issues = read_header(path, clip.key)
        except ClipTooLong:
            raise
        except MediaError:  # reported when the file is decoded
            continue
        problems += issues
        seconds = seconds_in_header if path == clip.sources.video else None
    return seconds


def _report_missing_end(clip: Clip, stated: float | None, decoded: float, problems: list[DataIssue]) -> None:
    """Report a video that is shorter than its header states, unless its cause is already reported."""
    video, kinds = clip.sources.video, {problem.what for problem in problems}
    if video is None or clip.sources.frames is not None or kinds & {"truncated", "time stamps"}:
        return
    if stated is not None and stated - decoded > MAX_LENGTH_DIFFERENCE:
        why = f"{video.name} states {stated:.1f} s but only {decoded:.1f} s can be read; used up to there"
        problems.append(DataIssue("truncated", clip.key, why))


def _is_visible(video: EncodedVideo, key: str, problems: list[DataIssue]) -> bool:
    """Return whether the video is not black; report an absent or black one, and one of a single frame."""
    if not video.packets:
        problems.append(DataIssue("no picture", key, "no video; used without video"))
        return False
    if len(video.packets) == 1:
        problems.append(DataIssue("one frame", key, "the video is a single frame; shown throughout the clip"))
    frames = decode_frames(video.packets, range(len(video.packets)))
    if all(int(frame.max()) < BLACK_LEVEL for _, frame in frames):
        problems.append(DataIssue("black", key, "all frames are black; the clip is used anyway"))
        return False
    return True


def _is_audible(energies: np.ndarray, key: str, problems: list[DataIssue]) -> bool:
    """Return whether (F, M) log-mel energies are audible anywhere; report absent or silent audio."""
    if not len(energies):
        problems.append(DataIssue("no sound", key, "no audio; used without audio"))
        return False
    if is_silent(energies):
        problems.append(DataIssue("silent", key, "the audio is silent throughout; the clip is used anyway"))
        return False
    return True


def _decode_video(clip: Clip, side: int, problems: list[DataIssue]) -> EncodedVideo:
    """Encode the clip's folder of frames, or else its video file; NO_VIDEO, and an issue, if it cannot be read."""
    key, frames, video, root = clip.key, clip.sources.frames, clip.sources.video, clip.sources.root
    if frames is not None:
        return _read_part("picture", key, lambda: read_frame_folder(frames, side, key, root), NO_VIDEO, problems)
    if video is not None:
        return _read_part("picture", key, lambda: read_video(video, side, key), NO_VIDEO, problems)
    return NO_VIDEO


def _decode_audio(clip: Clip, mels: int, problems: list[DataIssue]) -> DecodedAudio:
    """Decode the clip's audio file, or else its video file; no rows, and an issue, if it cannot be read."""
    nothing, source = DecodedAudio(np.zeros((0, mels), dtype=np.float16)), clip.sources.audio or clip.sources.video
    if source is None:
        return nothing
    return _read_part("sound", clip.key, lambda: read_log_mel(source, mels, clip.key), nothing, problems)


def _read_part(
    what: str, key: str, read: Callable[[], tuple[T, list[DataIssue]]], nothing: T, problems: list[DataIssue]
) -> T:
    """Return what `read` returns; report a MediaError as an issue of kind `what` and return `nothing`.

    Raises ClipTooLong.
    """
    try:
        found, issues = read()
    except ClipTooLong:
        raise
    except MediaError as error:
        problems.append(DataIssue(what, key, str(error)))
        return nothing
    problems += issues
    return found


def _hold_last_frame(video: EncodedVideo, audio_frames: int, key: str, problems: list[DataIssue]) -> EncodedVideo:
    """Extend the last frame to the end of the audio; report lengths that differ by over MAX_LENGTH_DIFFERENCE.

    Smaller differences are left as they are.
    """
    frames = len(video.index)
    seconds, audio_seconds = frames / FRAME_RATE, audio_frames / AUDIO_FRAME_RATE
    if not frames or not audio_frames or abs(seconds - audio_seconds) <= MAX_LENGTH_DIFFERENCE:
        return video
    rest = "the last frame is held" if seconds < audio_seconds else "the rest is silent"
    problems.append(DataIssue("length", key, f"video {seconds:.1f} s, audio {audio_seconds:.1f} s; {rest}"))
    missing = max(0, round(audio_seconds * FRAME_RATE) - frames)
    return replace(video, index=np.pad(video.index, (0, missing), mode="edge"))


def _read_words(clip: Clip, seconds: float, problems: list[DataIssue]) -> list[Word]:
    """Return the words that begin within the clip, and report the others; text without times is spread over it."""
    if clip.sources.transcript is None:
        return spread_words(clip.sources.text, 0.0, seconds)
    words, found = read_transcript(clip.sources.transcript, clip.key)
    inside = [word for word in words if 0 <= word.start < seconds]
    if len(inside) < len(words):
        outside = f"{len(words) - len(inside)} of {len(words)} words begin after the end of the clip ({seconds:.1f} s)"
        found.append(DataIssue("outside", clip.key, f"{outside}; left out"))
    problems += found
    return inside
