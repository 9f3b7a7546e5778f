"""Measure when a white flash and a 1 kHz beep occur in a decoded clip.

The clips of ../shared/data/odd_media, and the one written by `write_frames_at_25`, are white and beep for 0.4 s and
are dark and silent otherwise. The two times show whether video and audio are synchronised.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from itertools import pairwise
from pathlib import Path
from typing import Any

import av
import numpy as np

from bench.types import Clip, ClipSources, DataIssue
from datasets.decode.clip import decode_clip
from datasets.segments import AUDIO_FRAME_RATE, FRAME_RATE
from datasets.streams.audio import is_silent
from datasets.streams.video import decode_frames, encode_jpeg

SIDE, MELS = 112, 64  # pixels of the short side, mel bins
WHITE = 150  # of 255; frames of the flash have a higher mean grey level
LOUD = 8.0  # log-mel energy by which the beep may fall below its loudest moment

Span = tuple[float, float]  # seconds from the clip's start: first and last moment


@dataclass(frozen=True)
class Decoded:
    """Measurements of a decoded clip; times are seconds from its start."""

    picture: float  # seconds of video
    sound: float  # seconds of audio
    size: tuple[int, int]  # pixels: height, width
    flash: Span | None  # None: no frame is white
    beep: Span | None  # None: the audio is silent
    words: int
    problems: tuple[DataIssue, ...]


@cache
def decode(files: ClipSources) -> Decoded:
    """Decode a clip like `prepare`, once for all tests; raises the errors of decode_clip."""
    data, facts = decode_clip(Clip("joy/a", 0, "train", "a", files), SIDE, MELS)
    return Decoded(
        picture=facts["frames"] / FRAME_RATE,
        sound=facts["sound"] / AUDIO_FRAME_RATE,
        size=facts["size"],
        flash=_flash(data) if facts["frames"] else None,
        beep=_beep(data["sound"]),
        words=len(facts["words"]),
        problems=tuple(DataIssue(*problem) for problem in facts["problems"]),
    )


def decode_video(path: Path) -> Decoded:
    """Decode a clip that is one file with video and audio."""
    return decode(ClipSources(video=path, root=path.parent))


def write_frames_at_25(root: Path) -> ClipSources:
    """Write 6 s as 25 numbered frames per second and an mp3, flash and beep both at 4.0 s.

    Equal to the output of ../shared/data/odd_media/15-frames-at-25/make.sh, which needs ffmpeg.
    """
    frames, audio = root / "imgs/joy/a", root / "mp3/joy/a.mp3"
    frames.mkdir(parents=True)
    audio.parent.mkdir(parents=True)
    dark, white = (encode_jpeg(np.full((120, 160, 3), colour, np.uint8)) for colour in ((32, 32, 64), (255, 255, 255)))
    for number in range(150):
        (frames / f"{number + 1:06d}.jpg").write_bytes(white if 4.0 <= number / 25 <= 4.4 else dark)
    time = np.arange(6 * 48000) / 48000
    wave = np.sin(2 * np.pi * 1000 * time) / 8 * ((time >= 4.0) & (time <= 4.4))
    with av.open(str(audio), "w") as container:
        stream: Any = container.add_stream("libmp3lame", rate=48000, layout="mono")
        frame = av.AudioFrame.from_ndarray(wave[None].astype(np.float32), format="fltp", layout="mono")
        frame.sample_rate = 48000
        for part in (frame, None):
            container.mux(stream.encode(part))
    return ClipSources(frames=frames, audio=audio, root=root)


def _flash(data: dict[str, np.ndarray]) -> Span | None:
    """Return the seconds of the first and the last white frame."""
    packets = tuple(bytes(data["packets"][start:end]) for start, end in pairwise(data["offsets"]))
    grey = {place: picture.mean() for place, picture in decode_frames(packets, range(len(packets)))}
    white = np.flatnonzero([grey[int(place)] > WHITE for place in data["index"]])
    return (float(white[0]) / FRAME_RATE, float(white[-1]) / FRAME_RATE) if len(white) else None


def _beep(sound: np.ndarray) -> Span | None:
    """Return the seconds of the first and the last loud moment of (F, M) log-mel energies."""
    if not sound.shape[1] or is_silent(sound):
        return None
    level = sound.astype(np.float32).max(1)
    loud = np.flatnonzero(level > level.max() - LOUD)
    return float(loud[0]) / AUDIO_FRAME_RATE, float(loud[-1]) / AUDIO_FRAME_RATE
