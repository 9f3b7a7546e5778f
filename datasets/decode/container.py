"""Media files opened and decoded packet by packet, with their time stamps repaired.

A file is decoded to its end: packets that cannot be decoded are skipped and reported. Its header (container, length)
is read before anything is decoded.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import av
import numpy as np

from bench.errors import MediaError
from bench.types import DataIssue

MAX_FRAME_GAP = 60.0  # seconds; what a time stamp says beyond is no still but a fault of the file
MAX_CLIP_SECONDS = 3600.0  # seconds; a clip of this length is none: it is left out before it fills the memory
MAX_JITTER = 0.25  # seconds; a frame out of order by less is shown where it comes, and the time line goes on
DECODE_ERRORS = (av.FFmpegError, ValueError)  # what PyAV says of bytes that it cannot read

av.logging.set_level(av.logging.PANIC)  # FFmpeg's complaints come as exceptions, not on the screen

CONTAINERS_BY_SUFFIX = {  # suffix -> names of the containers that it may stand for
    **{f".{name}": {name} for name in ("mp4", "mov", "m4a", "webm", "avi", "flv", "mp3", "wav", "flac", "ogg")},
    ".mkv": {"matroska"},
    ".mpg": {"mpeg", "mpegvideo", "mpegts"},
}
# the duration of formats whose time stamps may jump, or that have no index, is a guess
_GUESSED_DURATION = (av.format.Flags.ts_discont | av.format.Flags.generic_index).value


class ClipTooLong(MediaError):
    """Media of an hour and more."""


def check_length(seconds: float, name: str) -> None:
    """Raise ClipTooLong for media of an hour and more."""
    if seconds >= MAX_CLIP_SECONDS:
        raise ClipTooLong(
            f"{name} is {MAX_CLIP_SECONDS / 60:.0f} minutes long or longer, which is no clip; cut it into clips"
        )


def open_media(path: Path) -> Any:
    """A container; raises MediaError for a file that is none, OSError for one that is out of reach."""
    if path.stat().st_size == 0:
        raise MediaError(f"{path.name} is empty (0 bytes)")
    try:
        return av.open(str(path), mode="r", metadata_errors="replace")
    except DECODE_ERRORS as error:
        raise MediaError(f"{path.name} cannot be opened ({describe_error(error)})") from None


def find_video_streams(container: Any) -> list[Any]:
    """The streams of moving pictures: the cover of a record is none."""
    return [s for s in container.streams.video if not s.disposition & av.stream.Disposition.attached_pic]


def describe_error(error: Exception) -> str:
    """What went wrong, on one line."""
    text = getattr(error, "strerror", None) or str(error)
    return " ".join(text.split())


class StreamDecoder:
    """A stream decoded packet by packet; packets that cannot be are skipped and counted."""

    def __init__(self, container: Any, stream: Any, name: str) -> None:
        if stream.codec_context is None:
            raise MediaError(f"{name} holds {stream.type} that no decoder knows")
        self._container, self._stream, self._name = container, stream, name
        self._kind = stream.type  # a stream must not be asked once its container is closed
        self._packets = self._lost = self._decoded = self._corrupt = 0
        self._reason = self._stopped = ""
        self._rotation = 0  # degrees by which the picture is to be turned to stand upright
        self._content = hashlib.sha256()
        self.lost_seconds = 0.0  # seconds of the packets skipped since it was last set to 0

    def iter_frames(self) -> Iterator[Any]:
        """Yield every frame that can be decoded; raises MediaError where there is none but ought to be."""
        try:
            for packet in self._container.demux(self._stream):
                self._packets += packet.size > 0
                if packet.is_corrupt:
                    self._stopped = "a packet is cut short"
                try:
                    frames = packet.decode()
                except DECODE_ERRORS as error:
                    self._lost, self._reason = self._lost + 1, describe_error(error)
                    self.lost_seconds += min(MAX_FRAME_GAP, float((packet.duration or 0) * (packet.time_base or 0)))
                    continue
                for frame in frames:
                    self._record_frame(frame)
                    yield frame
        except DECODE_ERRORS as error:
            self._stopped = self._reason = describe_error(error)
        if self._reason and not self._decoded:
            raise MediaError(f"{self._name} holds no {self._kind} that can be decoded ({self._reason})")

    @property
    def digest(self) -> str:
        """The sha256 of what was decoded so far, whatever the time stamps and container; empty for nothing."""
        return self._content.hexdigest() if self._decoded else ""

    def _record_frame(self, frame: Any) -> None:
        self._decoded += 1
        self._corrupt += bool(getattr(frame, "is_corrupt", False))
        self._rotation = self._rotation or round(getattr(frame, "rotation", 0))
        if self._kind == "audio":
            self._content.update(frame.to_ndarray().tobytes())
        else:
            for plane, width in zip(frame.planes, _get_plane_widths(frame), strict=True):
                lines = np.frombuffer(plane, dtype=np.uint8).reshape(-1, plane.line_size)
                self._content.update(lines[:, :width].tobytes())

    def list_issues(self, key: str) -> list[DataIssue]:
        """List what could not be decoded, or had to be turned, each kind once."""
        lost = f"{self._lost} of {self._packets} {self._kind} packets cannot be decoded ({self._reason}); skipped"
        corrupt = f"{self._corrupt} of {self._decoded} frames of {self._kind} are damaged; used as they come out"
        found = (
            (self._rotation, "rotated", f"turned by {self._rotation % 360} degrees; shown upright"),
            (self._lost, "damaged", lost),
            (self._corrupt, "damaged", corrupt),
            (self._stopped, "truncated", f"{self._kind} stopped ({self._stopped})"),
        )
        return [DataIssue(what, key, f"{self._name}: {why}") for there, what, why in found if there]


def _get_plane_widths(frame: Any) -> list[int]:
    """Bytes of a line of each plane, without what only fills it up."""
    form = frame.format
    if len(frame.planes) == 1:
        return [min(frame.planes[0].line_size, -(-frame.planes[0].width * form.padded_bits_per_pixel // 8))]
    pixels = [sum(-(-part.bits // 8) for part in form.components if part.plane == n) for n in range(len(frame.planes))]
    return [min(plane.line_size, plane.width * pixel) for plane, pixel in zip(frame.planes, pixels, strict=True)]


@dataclass
class TimestampRepair:
    """Time stamps as seconds from the first frame, never backwards.

    A step back, or one forwards of more than a minute, counts as the mean step, and the time line goes on from there;
    unless the next stamp is back on the old line, so that one wrong stamp displaces no others.
    """

    step: float  # mean seconds from frame to frame
    jumps: int = 0
    _last: float | None = None
    _shift: float = 0.0
    _previous_shift: float = 0.0  # the shift of the old line

    def repair(self, stamp: float | None) -> float:
        """When the next frame is shown; without a time stamp, one step after the last."""
        if self._last is None:
            self._last, self._shift = 0.0, -(stamp or 0.0)
            self._previous_shift = self._shift
            return self._last
        due = self._last + self.step
        now = due if stamp is None else stamp + self._shift
        if stamp is not None and abs(stamp + self._previous_shift - due) < MAX_JITTER:
            now, self._shift = stamp + self._previous_shift, self._previous_shift
        if not self._last - MAX_JITTER <= now <= self._last + MAX_FRAME_GAP:
            self._previous_shift, self._shift = self._shift, self._shift + due - now
            self.jumps, now = self.jumps + 1, due
        elif now < self._last:
            self.jumps, now = self.jumps + 1, self._last
        self._last = now
        return now

    def list_issues(self, key: str, name: str) -> list[DataIssue]:
        """List the jumps, as one issue."""
        jumps = f"time stamps step back or jump by over {MAX_FRAME_GAP:.0f} s, times: {self.jumps}"
        return [DataIssue("time stamps", key, f"{name}: {jumps}; taken as adjacent")] if self.jumps else []


def read_header(path: Path, key: str) -> tuple[float | None, list[DataIssue]]:
    """Seconds that a file's header states (None: it states none, or guesses), and what is odd about the file.

    Raises ClipTooLong for an hour and more, MediaError for a file that cannot be opened.
    """
    with open_media(path) as container:
        names = container.format.name
        seconds = 0.0 if container.format.flags & _GUESSED_DURATION else (container.duration or 0) / av.time_base
        counted = max((s.frames / s.average_rate for s in find_video_streams(container) if s.average_rate), default=0)
    check_length(seconds, path.name)
    wanted = CONTAINERS_BY_SUFFIX.get(path.suffix.lower(), set())
    odd = wanted and not wanted & set(names.split(","))
    issue = DataIssue("container", key, f"{path.name} is {names} inside; read as that")
    return max(seconds, float(counted)) or None, [issue] if odd else []
