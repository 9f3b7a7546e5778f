"""One clip's sources as the tensors of a prepared file and the facts beside them."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from bench.data import Clip, Problem, Word
from bench.errors import MediaError
from datasets.media.pictures import Picture, read_frames, read_video
from datasets.media.sound import read_sound
from datasets.media.transcript import read_transcript, spread
from datasets.segments import HOP, RATE

APART = 0.5  # seconds by which picture and sound may differ before it is told and mended


def decode_clip(clip: Clip, side: int, mels: int) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
    """The tensors and facts of a clip; raises MediaError where neither picture nor sound can be read, OSError where a
    source is out of reach."""
    problems: list[Problem] = []
    picture = _picture(clip, side, problems)
    sound = _sound(clip, mels, problems)
    if not picture.jpegs and not len(sound):
        reasons = dict.fromkeys(problem.why for problem in problems)
        raise MediaError("; ".join(reasons) or "neither picture nor sound can be read")
    if not len(sound):
        problems.append(Problem("no sound", clip.key, "the clip has no sound; it is used without"))
    if not picture.jpegs:
        problems.append(Problem("no picture", clip.key, "the clip has no picture; it is used without"))
    picture = _hold(picture, len(sound), clip.key, problems)
    frames = len(picture.index)
    words = _words(clip, frames / RATE if frames else len(sound) / HOP, problems)
    data: dict[str, np.ndarray] = {
        "jpegs": np.frombuffer(b"".join(picture.jpegs) or b"\0", dtype=np.uint8),
        "offsets": np.cumsum([0, *map(len, picture.jpegs)]).astype(np.int64),
        "index": picture.index if frames else np.full(1, -1, dtype=np.int32),
        "sound": sound if len(sound) else np.zeros((1, 0), dtype=np.float16),
    }
    facts = {
        "words": [[word.text, word.start, word.end] for word in words],
        "problems": [[p.what, p.where, p.why] for p in problems],
        "frames": frames,
        "sound": len(sound),
    }
    return data, facts


def _picture(clip: Clip, side: int, problems: list[Problem]) -> Picture:
    """Frames, or else the picture of the video; none where it cannot be read."""
    files, none = clip.files, Picture((), np.zeros(0, dtype=np.int32))
    try:
        if files.frames is not None:
            picture, found = read_frames(files.frames, side, clip.key)
        elif files.video is not None:
            picture, found = read_video(files.video, side, clip.key)
        else:
            return none
    except MediaError as error:
        problems.append(Problem("picture", clip.key, str(error)))
        return none
    problems += found
    return picture


def _sound(clip: Clip, mels: int, problems: list[Problem]) -> np.ndarray:
    """(F, mels) of the sound file, or else of the video; no rows where it cannot be read."""
    source = clip.files.audio or clip.files.video
    if source is not None:
        try:
            sound, found = read_sound(source, mels, clip.key)
            problems += found
            return sound
        except MediaError as error:
            problems.append(Problem("sound", clip.key, str(error)))
    return np.zeros((0, mels), dtype=np.float16)


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
