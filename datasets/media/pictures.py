"""Decoding pictures with PyAV: frames or a video onto a 30 a second time line of small pictures.

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
from datasets.media.packed import WIDEST, Packer
from datasets.media.packets import FAULTS, LONGEST, Clock, Track, check_length, open_media, pictures, reason
from datasets.segments import RATE


@dataclass(frozen=True)
class Picture:
    """Packed frames, and which of them stands at each 1/30 s."""

    packets: tuple[bytes, ...]
    size: tuple[int, int]  # pixels: height, width
    index: np.ndarray  # (n,) int32: place on the 30 a second time line -> frame
    digest: str = ""  # sha256 of what was decoded, the same for the same picture in another container


NONE = Picture((), (0, 0), np.zeros(0, dtype=np.int32))


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


def read_frames(folder: Path, side: int, key: str, root: Path | None = None) -> tuple[Picture, list[Problem]]:
    """A folder of numbered pictures, 30 a second; one that is missing or cannot be read shows the one before it."""
    decode, small, faults = PictureDecoder(), _Small(side), []
    index: list[int] = []
    numbered = number_frames(folder, key, root)
    check_length(max(numbered.places, default=0) / RATE, f"{folder.name}/")
    for place, path in zip(numbered.places, numbered.paths, strict=True):
        index += [small.last] * (place - len(index))
        try:
            small.add(decode(path.read_bytes()))
        except MediaError as error:
            faults.append(f"{path.name}: {error}")
        index.append(small.last)
    if not small.count:
        raise MediaError(f"no readable frame among {len(numbered.paths)} in {folder.name}/")
    problems = list(numbered.problems)
    if faults:
        problems.append(Problem("frames", key, f"unreadable, {len(faults)} of {len(index)}: first {faults[0]}"))
    packets = small.close()
    digest = hashlib.sha256(b"".join(packets)).hexdigest()
    return Picture(packets, small.size, np.asarray(index, dtype=np.int32), digest), problems


def read_video(path: Path, side: int, key: str) -> tuple[Picture, list[Problem]]:
    """The picture of a media file, put onto 30 frames a second by its time stamps; none where it has no picture.

    A frame is shown until the next is due, the last for its own duration.
    """
    small = _Small(side)
    index: list[int] = []
    pending: Any = None
    now = 0.0
    with open_media(path) as container:
        streams = pictures(container)
        if not streams:
            return NONE, []
        track = Track(container, streams[0], path.name)
        clock = Clock(min(LONGEST, 1 / float(streams[0].average_rate or RATE)))
        for frame in track.frames():
            now = clock.seconds(frame.time)
            due = round(now * RATE)
            if pending is not None and due > len(index):
                small.add(pending)
                index += [small.last] * (due - len(index))
                check_length(now, path.name)
            pending = frame
        if pending is not None:
            small.add(pending)
            end = round((now + _duration(pending, clock.step)) * RATE)
            index += [small.last] * max(1, end - len(index))
    problems = [*track.problems(key), *clock.problems(key, path.name)]
    return Picture(small.close(), small.size, np.asarray(index, dtype=np.int32), track.digest), problems


def _duration(frame: Any, step: float) -> float:
    """Seconds that a frame is shown, as it says itself, or else the mean step."""
    stated = float(frame.duration * frame.time_base) if frame.duration and frame.time_base else step
    return min(LONGEST, stated if stated > 0 else step)


class _Small:
    """Frames scaled and packed as they come, all in the shape of the first."""

    def __init__(self, side: int) -> None:
        self._side, self._convert = side, VideoReformatter()
        self._packer: Packer | None = None
        self.size, self.count = (0, 0), 0

    @property
    def last(self) -> int:
        """Number of the frame added last; 0 before there is one."""
        return max(0, self.count - 1)

    def add(self, frame: Any) -> None:
        """One more; raises MediaError for one of a form or size that cannot be."""
        try:
            picture = _scale(frame, self._side, self._convert)
        except (*FAULTS, OSError) as error:
            shape = f"{frame.width} x {frame.height} {frame.format.name}"
            raise MediaError(f"a picture of {shape} cannot be scaled ({reason(error)})") from None
        if self._packer is None:
            self.size = picture.shape[0], picture.shape[1]
            self._packer = Packer(*self.size)
        self._packer.add(_fit(picture, self.size))
        self.count += 1

    def close(self) -> tuple[bytes, ...]:
        """All of them packed; none can follow."""
        return self._packer.close() if self._packer is not None else ()


def _fit(picture: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """The middle of a picture of another shape, its border continued where it is too small."""
    if picture.shape[:2] == size:
        return picture
    spare = [have - want for have, want in zip(picture.shape, size, strict=False)]
    top, left = (max(0, rest) // 2 for rest in spare)
    cut = picture[top : top + size[0], left : left + size[1]]
    before = [max(0, -rest) // 2 for rest in spare]
    rest = [(first, want - have - first) for first, want, have in zip(before, size, cut.shape, strict=False)]
    return np.pad(cut, (*rest, (0, 0)), mode="edge")


def _scale(frame: Any, side: int, convert: VideoReformatter) -> np.ndarray:
    """(H, W, 3) uint8 upright with the short side of `side` pixels."""
    width, height = frame.width, frame.height
    scale = side / min(width, height)
    size = {"width": max(side, round(width * scale)), "height": max(side, round(height * scale))}
    if max(size.values()) > WIDEST:
        raise ValueError(f"a side would have over {WIDEST} pixels")
    small = convert.reformat(frame, **size, format="rgb24", interpolation="AREA", threads=1)
    picture: np.ndarray = small.to_ndarray()
    turns = round(getattr(frame, "rotation", 0) / 90) % 4
    return np.ascontiguousarray(np.rot90(picture, turns)) if turns else picture
