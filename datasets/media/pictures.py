"""Decoding pictures with PyAV: frames or a video onto a 30 a second time line of small JPEGs.

Frames are scaled and packed as they come, so that a long clip never stands decoded in memory.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Any

import av
import numpy as np
from av.video.reformatter import VideoReformatter
from PIL import Image

from bench.data import Problem
from bench.errors import MediaError
from datasets.media.frames import number_frames
from datasets.media.packets import FAULTS, LONGEST, Clock, Track, check_length, open_media, pictures, reason
from datasets.segments import RATE


@dataclass(frozen=True)
class Picture:
    """Packed frames, and which of them stands at each 1/30 s."""

    jpegs: tuple[bytes, ...]
    index: np.ndarray  # (n,) int32: place on the 30 a second time line -> frame
    digest: str = ""  # sha256 of what was decoded, the same for the same picture in another container


class PictureDecoder:
    """Picture files to PyAV frames through one decoder that is kept."""

    def __init__(self) -> None:
        self._decoder = av.CodecContext.create("mjpeg", "r")

    def __call__(self, data: bytes) -> Any:
        """A PyAV frame; raises MediaError for bytes that are no JPEG."""
        try:
            frames = self._decoder.decode(av.Packet(data))
        except FAULTS as error:
            self._decoder = av.CodecContext.create("mjpeg", "r")
            raise MediaError(f"no readable JPEG ({reason(error)})") from None
        if not frames:
            raise MediaError("no readable JPEG (no picture in it)")
        return frames[0]


def pack(picture: np.ndarray) -> bytes:
    """(H, W, 3) uint8 as a JPEG of high quality, colours at full resolution."""
    data = BytesIO()
    Image.fromarray(picture).save(data, "JPEG", quality=90, subsampling=0)
    return data.getvalue()


def unpack(data: bytes) -> np.ndarray:
    """(H, W, 3) uint8 of a packed picture."""
    return np.asarray(Image.open(BytesIO(data)))


def read_frames(folder: Path, side: int, key: str) -> tuple[Picture, list[Problem]]:
    """A folder of numbered pictures, 30 a second; one that is missing or cannot be read shows the one before it."""
    decode, scaler, faults = PictureDecoder(), VideoReformatter(), []
    jpegs: list[bytes] = []
    index: list[int] = []
    numbered = number_frames(folder, key)
    check_length(max(numbered.places, default=0) / RATE, f"{folder.name}/")
    for place, path in zip(numbered.places, numbered.paths, strict=True):
        index += [max(0, len(jpegs) - 1)] * (place - len(index))
        try:
            jpegs.append(_small(decode(path.read_bytes()), side, scaler))
        except MediaError as error:
            faults.append(f"{path.name}: {error}")
        index.append(max(0, len(jpegs) - 1))
    if not jpegs:
        raise MediaError(f"no readable frame among {len(numbered.paths)} in {folder.name}/")
    problems = list(numbered.problems)
    if faults:
        problems.append(Problem("frames", key, f"unreadable, {len(faults)} of {len(index)}: first {faults[0]}"))
    digest = hashlib.sha256(b"".join(jpegs)).hexdigest()
    return Picture(tuple(jpegs), np.asarray(index, dtype=np.int32), digest), problems


def read_video(path: Path, side: int, key: str) -> tuple[Picture, list[Problem]]:
    """The picture of a media file, put onto 30 frames a second by its time stamps; none where it has no picture.

    A frame is shown until the next is due, the last for its own duration.
    """
    scaler, jpegs = VideoReformatter(), []
    index: list[int] = []
    pending: Any = None
    now = 0.0
    with open_media(path) as container:
        streams = pictures(container)
        if not streams:
            return Picture((), np.zeros(0, dtype=np.int32)), []
        track = Track(container, streams[0], path.name)
        clock = Clock(min(LONGEST, 1 / float(streams[0].average_rate or RATE)))
        for frame in track.frames():
            now = clock.seconds(frame.time)
            due = round(now * RATE)
            if pending is not None and due > len(index):
                jpegs.append(_small(pending, side, scaler))
                index += [len(jpegs) - 1] * (due - len(index))
                check_length(now, path.name)
            pending = frame
        if pending is not None:
            jpegs.append(_small(pending, side, scaler))
            end = round((now + _duration(pending, clock.step)) * RATE)
            index += [len(jpegs) - 1] * max(1, end - len(index))
    problems = [*track.problems(key), *clock.problems(key, path.name)]
    return Picture(tuple(jpegs), np.asarray(index, dtype=np.int32), track.digest), problems


def _duration(frame: Any, step: float) -> float:
    """Seconds that a frame is shown, as it says itself, or else the mean step."""
    stated = float(frame.duration * frame.time_base) if frame.duration and frame.time_base else step
    return min(LONGEST, stated if stated > 0 else step)


def _small(frame: Any, side: int, convert: VideoReformatter) -> bytes:
    """The frame scaled and packed; raises MediaError for one of a form or size that cannot be."""
    try:
        return pack(_scale(frame, side, convert))
    except (*FAULTS, OSError) as error:
        shape = f"{frame.width} x {frame.height} {frame.format.name}"
        raise MediaError(f"a picture of {shape} cannot be scaled ({reason(error)})") from None


def _scale(frame: Any, side: int, convert: VideoReformatter) -> np.ndarray:
    """(H, W, 3) uint8 upright with the short side of `side` pixels."""
    width, height = frame.width, frame.height
    scale = side / min(width, height)
    size = {"width": max(side, round(width * scale)), "height": max(side, round(height * scale))}
    small = convert.reformat(frame, **size, format="rgb24", interpolation="AREA")
    picture: np.ndarray = small.to_ndarray()
    turns = round(getattr(frame, "rotation", 0) / 90) % 4
    return np.ascontiguousarray(np.rot90(picture, turns)) if turns else picture
