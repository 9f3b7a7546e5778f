"""What a media file says of itself before anything of it is decoded: its container, and how long it is."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import av

from bench.data import Problem
from datasets.media.packets import check_length, open_media, pictures

FORMATS = {  # suffix -> names of the containers that it may stand for
    ".mp4": {"mp4"},
    ".mov": {"mov"},
    ".m4a": {"m4a"},
    ".mkv": {"matroska"},
    ".webm": {"webm"},
    ".avi": {"avi"},
    ".flv": {"flv"},
    ".mpg": {"mpeg", "mpegvideo", "mpegts"},
    ".mp3": {"mp3"},
    ".wav": {"wav"},
    ".flac": {"flac"},
    ".ogg": {"ogg"},
}
# the duration of formats whose time stamps may jump, or that have no index, is a guess
_GUESSED = (av.format.Flags.ts_discont | av.format.Flags.generic_index).value


@dataclass(frozen=True)
class Claims:
    """Seconds that a file's header states (None: it states none, or guesses), and what is odd about the file."""

    seconds: float | None
    problems: tuple[Problem, ...]


def read_claims(path: Path, key: str) -> Claims:
    """What a file states; raises TooLong for an hour and more, MediaError for a file that cannot be opened."""
    with open_media(path) as container:
        names = container.format.name
        seconds = 0.0 if container.format.flags & _GUESSED else (container.duration or 0) / av.time_base
        counted = max((s.frames / s.average_rate for s in pictures(container) if s.average_rate), default=0)
    check_length(seconds, path.name)
    stated = max(seconds, float(counted)) or None
    wanted = FORMATS.get(path.suffix.lower(), set())
    if not wanted or wanted & set(names.split(",")):
        return Claims(stated, ())
    return Claims(stated, (Problem("container", key, f"{path.name} is {names} inside; read as that"),))
