"""Media files decoded to their end, whatever is wrong in between, and their time stamps on one steady line."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import av
import numpy as np

from bench.data import Problem
from bench.errors import MediaError

LONGEST = 60.0  # seconds; what a time stamp says beyond is no still but a fault of the file
LIMIT = 3600.0  # seconds; a clip of this length is none: it is left out before it fills the memory
JITTER = 0.25  # seconds; a frame out of order by less is shown where it comes, and the time line goes on
FAULTS = (av.FFmpegError, ValueError)  # what PyAV says of bytes that it cannot read

av.logging.set_level(av.logging.PANIC)  # FFmpeg's complaints come as exceptions, not on the screen


class TooLong(MediaError):
    """Media of an hour and more."""


def check_length(seconds: float, name: str) -> None:
    """Raise TooLong for media of an hour and more."""
    if seconds >= LIMIT:
        raise TooLong(f"{name} is {LIMIT / 60:.0f} minutes long or longer, which is no clip; cut it into clips")


def open_media(path: Path) -> Any:
    """A container; raises MediaError for a file that is none, OSError for one that is out of reach."""
    if path.stat().st_size == 0:
        raise MediaError(f"{path.name} is empty (0 bytes)")
    try:
        return av.open(str(path), mode="r", metadata_errors="replace")
    except FAULTS as error:
        raise MediaError(f"{path.name} cannot be opened ({reason(error)})") from None


def pictures(container: Any) -> list[Any]:
    """The streams of moving pictures: the cover of a record is none."""
    return [s for s in container.streams.video if not s.disposition & av.stream.Disposition.attached_pic]


def reason(error: Exception) -> str:
    """What went wrong, on one line."""
    text = getattr(error, "strerror", None) or str(error)
    return " ".join(text.split())


class Track:
    """A stream decoded packet by packet; packets that cannot be are skipped and counted."""

    def __init__(self, container: Any, stream: Any, name: str) -> None:
        if stream.codec_context is None:
            raise MediaError(f"{name} holds {stream.type} that no decoder knows")
        self._container, self._stream, self._name = container, stream, name
        self._kind = stream.type  # a stream must not be asked once its container is closed
        self._packets = self._lost = self._decoded = self._corrupt = 0
        self._reason = self._stopped = ""
        self._turn = 0  # degrees by which the picture is to be turned to stand upright
        self._content = hashlib.sha256()
        self.silence = 0.0  # seconds of the packets skipped since it was last set to 0

    def frames(self) -> Iterator[Any]:
        """Every frame that can be decoded, to the end of the file; raises MediaError where there is none but ought to
        be."""
        try:
            for packet in self._container.demux(self._stream):
                self._packets += packet.size > 0
                if packet.is_corrupt:
                    self._stopped = "a packet is cut short"
                try:
                    frames = packet.decode()
                except FAULTS as error:
                    self._lost, self._reason = self._lost + 1, reason(error)
                    self.silence += min(LONGEST, float((packet.duration or 0) * (packet.time_base or 0)))
                    continue
                for frame in frames:
                    self._note(frame)
                    yield frame
        except FAULTS as error:
            self._stopped = self._reason = reason(error)
        if self._reason and not self._decoded:
            raise MediaError(f"{self._name} holds no {self._kind} that can be decoded ({self._reason})")

    @property
    def digest(self) -> str:
        """The sha256 of what was decoded so far, whatever the time stamps and container; empty for nothing."""
        return self._content.hexdigest() if self._decoded else ""

    def _note(self, frame: Any) -> None:
        self._decoded += 1
        self._corrupt += bool(getattr(frame, "is_corrupt", False))
        self._turn = self._turn or round(getattr(frame, "rotation", 0))
        if self._kind == "audio":
            self._content.update(frame.to_ndarray().tobytes())
        else:
            for plane, width in zip(frame.planes, _widths(frame), strict=True):
                lines = np.frombuffer(plane, dtype=np.uint8).reshape(-1, plane.line_size)
                self._content.update(lines[:, :width].tobytes())

    def problems(self, key: str) -> list[Problem]:
        """What could not be decoded, or had to be turned, told once."""
        problems = []
        if self._turn:
            problems.append(
                Problem("rotated", key, f"{self._name}: turned by {self._turn % 360} degrees; shown upright")
            )
        if self._lost:
            why = f"{self._lost} of {self._packets} {self._kind} packets cannot be decoded ({self._reason}); skipped"
            problems.append(Problem("damaged", key, f"{self._name}: {why}"))
        if self._corrupt:
            why = f"{self._corrupt} of {self._decoded} frames of {self._kind} are damaged; used as they come out"
            problems.append(Problem("damaged", key, f"{self._name}: {why}"))
        if self._stopped:
            problems.append(Problem("truncated", key, f"{self._name}: {self._kind} stopped ({self._stopped})"))
        return problems


def _widths(frame: Any) -> list[int]:
    """Bytes of a line of each plane, without what only fills it up."""
    form = frame.format
    if len(frame.planes) == 1:
        return [min(frame.planes[0].line_size, -(-frame.planes[0].width * form.padded_bits_per_pixel // 8))]
    pixels = [sum(-(-part.bits // 8) for part in form.components if part.plane == n) for n in range(len(frame.planes))]
    return [min(plane.line_size, plane.width * pixel) for plane, pixel in zip(frame.planes, pixels, strict=True)]


@dataclass
class Clock:
    """Time stamps as seconds from the first frame, never backwards.

    A step back, or one forwards of more than a minute, counts as the mean step, and the time line goes on from there;
    unless the next stamp is back on the old line, so that one wrong stamp displaces no others.
    """

    step: float  # mean seconds from frame to frame
    jumps: int = 0
    _last: float | None = None
    _shift: float = 0.0
    _before: float = 0.0  # the shift of the old line

    def seconds(self, stamp: float | None) -> float:
        """When the next frame is shown; without a time stamp, one step after the last."""
        if self._last is None:
            self._last, self._shift = 0.0, -(stamp or 0.0)
            self._before = self._shift
            return self._last
        due = self._last + self.step
        now = due if stamp is None else stamp + self._shift
        if stamp is not None and abs(stamp + self._before - due) < JITTER:
            now, self._shift = stamp + self._before, self._before
        if not self._last - JITTER <= now <= self._last + LONGEST:
            self._before, self._shift = self._shift, self._shift + due - now
            self.jumps, now = self.jumps + 1, due
        elif now < self._last:
            self.jumps, now = self.jumps + 1, self._last
        self._last = now
        return now

    def problems(self, key: str, name: str) -> list[Problem]:
        """The jumps, told once."""
        why = f"{name}: time stamps step back or jump by over {LONGEST:.0f} s, times: {self.jumps}; taken as adjacent"
        return [Problem("time stamps", key, why)] if self.jumps else []
