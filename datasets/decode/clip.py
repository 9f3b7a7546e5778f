"""All streams of a clip decoded into the tensors and facts of its prepared file."""

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
MAX_LENGTH_DIFFERENCE = 0.5  # seconds by which picture, sound and what a file states may differ before it is told
BLACK_LEVEL = 32  # of 255; a picture without a brighter spot is black


def decode_clip(clip: Clip, side: int, mels: int) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
    """The tensors and facts of a clip; raises MediaError where neither picture nor sound can be read or one of them is
    an hour long, OSError where a source is out of reach."""
    problems: list[DataIssue] = []
    stated = _read_stated_seconds(clip, problems)
    picture = _decode_picture(clip, side, problems)
    heard = _decode_sound(clip, mels, problems)
    sound = heard.mels
    if not picture.packets and not len(sound):
        reasons = dict.fromkeys(problem.why for problem in problems)
        raise MediaError("; ".join(reasons) or "neither picture nor sound can be read")
    _report_missing_end(clip, stated, max(len(picture.index) / FRAME_RATE, len(sound) / AUDIO_FRAME_RATE), problems)
    looks = picture.digest if _has_visible_picture(picture, clip.key, problems) else ""
    sounds = heard.digest if _has_audible_sound(sound, clip.key, problems) else ""
    picture = _hold_last_frame(picture, len(sound), clip.key, problems)
    frames = len(picture.index)
    words = _read_words(clip, frames / FRAME_RATE if frames else len(sound) / AUDIO_FRAME_RATE, problems)
    data: dict[str, np.ndarray] = {
        "packets": np.frombuffer(b"".join(picture.packets) or b"\0", dtype=np.uint8),
        "offsets": np.cumsum([0, *map(len, picture.packets)]).astype(np.int64),
        "index": picture.index if frames else np.full(1, -1, dtype=np.int32),
        "sound": sound if len(sound) else np.zeros((1, 0), dtype=np.float16),
    }
    facts = {
        "words": [[word.text, word.start, word.end] for word in words],
        "problems": [[p.what, p.where, p.why] for p in problems],
        "frames": frames,
        "size": picture.size,
        "sound": len(sound),
        "looks": looks,
        "sounds": sounds,
    }
    return data, facts


def _read_stated_seconds(clip: Clip, problems: list[DataIssue]) -> float | None:
    """Seconds that the clip's video states; what is odd about a media file is told."""
    seconds = None
    for path in filter(None, (clip.sources.audio, clip.sources.video)):
        try:
            claimed, issues = read_header(path, clip.key)
        except ClipTooLong:
            raise
        except MediaError:  # told where it is decoded
            continue
        problems += issues
        seconds = claimed if path == clip.sources.video else None
    return seconds


def _report_missing_end(clip: Clip, stated: float | None, held: float, problems: list[DataIssue]) -> None:
    """Tell a video that holds less than it states, unless what is wrong with it is told already."""
    video, told = clip.sources.video, {problem.what for problem in problems}
    if video is None or clip.sources.frames is not None or told & {"truncated", "time stamps"}:
        return
    if stated is not None and stated - held > MAX_LENGTH_DIFFERENCE:
        why = f"{video.name} states {stated:.1f} s, but only {held:.1f} s of it can be read; the rest is missing"
        problems.append(DataIssue("truncated", clip.key, why))


def _has_visible_picture(picture: EncodedVideo, key: str, problems: list[DataIssue]) -> bool:
    """Whether there is anything to be seen; else, or where it never moves, it is told."""
    if not picture.packets:
        problems.append(DataIssue("no picture", key, "the clip has no picture; it is used without"))
        return False
    if len(picture.packets) == 1:
        problems.append(DataIssue("one frame", key, "the picture is a single frame, shown throughout"))
    seen = decode_frames(picture.packets, range(len(picture.packets)))
    if all(int(frame.max()) < BLACK_LEVEL for _, frame in seen):
        problems.append(DataIssue("black", key, "all frames are black; the clip is used all the same"))
        return False
    return True


def _has_audible_sound(sound: np.ndarray, key: str, problems: list[DataIssue]) -> bool:
    """Whether there is anything to be heard in (F, M); else it is told."""
    if not len(sound):
        problems.append(DataIssue("no sound", key, "the clip has no sound; it is used without"))
        return False
    if is_silent(sound):
        why = "nothing is to be heard from start to end; the clip is used all the same"
        problems.append(DataIssue("silent", key, why))
        return False
    return True


def _decode_picture(clip: Clip, side: int, problems: list[DataIssue]) -> EncodedVideo:
    """Decode frames, or else the picture of the video; none where it cannot be read."""
    key, frames, video, root = clip.key, clip.sources.frames, clip.sources.video, clip.sources.root
    if frames is not None:
        return _read_part("picture", key, lambda: read_frame_folder(frames, side, key, root), NO_VIDEO, problems)
    if video is not None:
        return _read_part("picture", key, lambda: read_video(video, side, key), NO_VIDEO, problems)
    return NO_VIDEO


def _decode_sound(clip: Clip, mels: int, problems: list[DataIssue]) -> DecodedAudio:
    """Decode the sound file's, or else the video's; no rows where it cannot be read."""
    nothing, source = DecodedAudio(np.zeros((0, mels), dtype=np.float16)), clip.sources.audio or clip.sources.video
    if source is None:
        return nothing
    return _read_part("sound", clip.key, lambda: read_log_mel(source, mels, clip.key), nothing, problems)


def _read_part(
    what: str, key: str, read: Callable[[], tuple[T, list[DataIssue]]], nothing: T, problems: list[DataIssue]
) -> T:
    """Return what is read, `nothing` where it cannot be; raises ClipTooLong."""
    try:
        found, issues = read()
    except ClipTooLong:
        raise
    except MediaError as error:
        problems.append(DataIssue(what, key, str(error)))
        return nothing
    problems += issues
    return found


def _hold_last_frame(picture: EncodedVideo, sound: int, key: str, problems: list[DataIssue]) -> EncodedVideo:
    """The picture, its last frame held to the end of a sound longer by more than 0.5 s; a difference is told."""
    frames = len(picture.index)
    shown, heard = frames / FRAME_RATE, sound / AUDIO_FRAME_RATE
    if not frames or not sound or abs(shown - heard) <= MAX_LENGTH_DIFFERENCE:
        return picture
    rest = "the last frame is held" if shown < heard else "the rest is silent"
    problems.append(DataIssue("length", key, f"picture {shown:.1f} s, sound {heard:.1f} s; {rest}"))
    return replace(picture, index=np.pad(picture.index, (0, max(0, round(heard * FRAME_RATE) - frames)), mode="edge"))


def _read_words(clip: Clip, seconds: float, problems: list[DataIssue]) -> list[Word]:
    """The words that begin within the clip; the others are told. Text without times is spread over all of it."""
    if clip.sources.transcript is None:
        return spread_words(clip.sources.text, 0.0, seconds)
    words, found = read_transcript(clip.sources.transcript, clip.key)
    inside = [word for word in words if 0 <= word.start < seconds]
    if len(inside) < len(words):
        outside = f"{len(words) - len(inside)} of {len(words)} words begin after the clip's {seconds:.1f} s"
        found.append(DataIssue("outside", clip.key, f"{outside}; left out"))
    problems += found
    return inside
