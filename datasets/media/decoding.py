"""One clip's sources as the tensors of a prepared file and the facts beside them."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from bench.data import Clip, Problem, Word
from bench.errors import MediaError
from datasets.media.container import read_claims
from datasets.media.packed import unpack
from datasets.media.packets import TooLong
from datasets.media.pictures import NONE, Picture, read_frames, read_video
from datasets.media.sound import Sound, is_silent, read_sound
from datasets.media.transcript import read_transcript, spread
from datasets.segments import HOP, RATE

APART = 0.5  # seconds by which picture, sound and what a file states may differ before it is told
DARK = 32  # of 255; a picture without a brighter spot is black


def decode_clip(clip: Clip, side: int, mels: int) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
    """The tensors and facts of a clip; raises MediaError where neither picture nor sound can be read or one of them is
    an hour long, OSError where a source is out of reach."""
    problems: list[Problem] = []
    stated = _stated(clip, problems)
    picture = _picture(clip, side, problems)
    heard = _sound(clip, mels, problems)
    sound = heard.mels
    if not picture.packets and not len(sound):
        reasons = dict.fromkeys(problem.why for problem in problems)
        raise MediaError("; ".join(reasons) or "neither picture nor sound can be read")
    _tell_lost(clip, stated, max(len(picture.index) / RATE, len(sound) / HOP), problems)
    looks = picture.digest if _is_seen(picture, clip.key, problems) else ""
    sounds = heard.digest if _is_heard(sound, clip.key, problems) else ""
    picture = _hold(picture, len(sound), clip.key, problems)
    frames = len(picture.index)
    words = _words(clip, frames / RATE if frames else len(sound) / HOP, problems)
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


def _stated(clip: Clip, problems: list[Problem]) -> float | None:
    """Seconds that the clip's video states; what is odd about a media file is told."""
    seconds = None
    for path in filter(None, (clip.files.audio, clip.files.video)):
        try:
            claims = read_claims(path, clip.key)
        except TooLong:
            raise
        except MediaError:  # told where it is decoded
            continue
        problems += claims.problems
        seconds = claims.seconds if path == clip.files.video else None
    return seconds


def _tell_lost(clip: Clip, stated: float | None, held: float, problems: list[Problem]) -> None:
    """Tell a video that holds less than it states, unless what is wrong with it is told already."""
    video, told = clip.files.video, {problem.what for problem in problems}
    if video is None or clip.files.frames is not None or told & {"truncated", "time stamps"}:
        return
    if stated is not None and stated - held > APART:
        why = f"{video.name} states {stated:.1f} s, but only {held:.1f} s of it can be read; the rest is missing"
        problems.append(Problem("truncated", clip.key, why))


def _is_seen(picture: Picture, key: str, problems: list[Problem]) -> bool:
    """Whether there is anything to be seen; else, or where it never moves, it is told."""
    if not picture.packets:
        problems.append(Problem("no picture", key, "the clip has no picture; it is used without"))
        return False
    if len(picture.packets) == 1:
        problems.append(Problem("one frame", key, "the picture is a single frame, shown throughout"))
    black = all(int(seen.max()) < DARK for _, seen in unpack(picture.packets, range(len(picture.packets))))
    if black:
        problems.append(Problem("black", key, "all frames are black; the clip is used all the same"))
    return not black


def _is_heard(sound: np.ndarray, key: str, problems: list[Problem]) -> bool:
    """Whether there is anything to be heard in (F, M); else it is told."""
    if not len(sound):
        problems.append(Problem("no sound", key, "the clip has no sound; it is used without"))
        return False
    silent = is_silent(sound)
    if silent:
        problems.append(
            Problem("silent", key, "nothing is to be heard from start to end; the clip is used all the same")
        )
    return not silent


def _picture(clip: Clip, side: int, problems: list[Problem]) -> Picture:
    """Frames, or else the picture of the video; none where it cannot be read."""
    files = clip.files
    try:
        if files.frames is not None:
            picture, found = read_frames(files.frames, side, clip.key, files.root)
        elif files.video is not None:
            picture, found = read_video(files.video, side, clip.key)
        else:
            return NONE
    except TooLong:
        raise
    except MediaError as error:
        problems.append(Problem("picture", clip.key, str(error)))
        return NONE
    problems += found
    return picture


def _sound(clip: Clip, mels: int, problems: list[Problem]) -> Sound:
    """The sound file's, or else the video's; no rows where it cannot be read."""
    source = clip.files.audio or clip.files.video
    if source is not None:
        try:
            sound, found = read_sound(source, mels, clip.key)
            problems += found
            return sound
        except TooLong:
            raise
        except MediaError as error:
            problems.append(Problem("sound", clip.key, str(error)))
    return Sound(np.zeros((0, mels), dtype=np.float16))


def _hold(picture: Picture, sound: int, key: str, problems: list[Problem]) -> Picture:
    """The picture, its last frame held to the end of a sound longer by more than 0.5 s; a difference is told."""
    frames = len(picture.index)
    shown, heard = frames / RATE, sound / HOP
    if not frames or not sound or abs(shown - heard) <= APART:
        return picture
    rest = "the last frame is held" if shown < heard else "the rest is silent"
    problems.append(Problem("length", key, f"picture {shown:.1f} s, sound {heard:.1f} s; {rest}"))
    return replace(picture, index=np.pad(picture.index, (0, max(0, round(heard * RATE) - frames)), mode="edge"))


def _words(clip: Clip, seconds: float, problems: list[Problem]) -> list[Word]:
    """The words that begin within the clip; the others are told. Text without times is spread over all of it."""
    if clip.files.transcript is None:
        return spread(clip.files.text, 0.0, seconds)
    words, found = read_transcript(clip.files.transcript, clip.key)
    inside = [word for word in words if 0 <= word.start < seconds]
    if len(inside) < len(words):
        outside = f"{len(words) - len(inside)} of {len(words)} words begin after the clip's {seconds:.1f} s"
        found.append(Problem("outside", clip.key, f"{outside}; left out"))
    problems += found
    return inside
