"""Media containers: decoding packet by packet, repair of time stamps, and header facts.

A damaged file is decoded to its end: packets that cannot be decoded are skipped and reported.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import av
import numpy as np

from bench.errors import MediaError
from bench.types import Clip, DataIssue

MAX_FRAME_GAP = 60.0  # seconds; a larger gap between time stamps is an error of the file, not a still image
MAX_CLIP_SECONDS = 3600.0  # a clip of this length is refused before it fills the memory
MARK_SECONDS = 1.0  # before a part, from where on damage is reported as its own
MAX_JITTER = 0.25  # seconds; a frame that is early by less counts as jitter, not as a jump
DECODE_ERRORS = (av.FFmpegError, ValueError)  # raised by PyAV for unreadable bytes

av.logging.set_level(av.logging.PANIC)  # FFmpeg's errors arrive as exceptions; keep them off the screen

CONTAINERS_BY_SUFFIX = {  # suffix -> names of the containers it is used for
    **{f".{name}": {name} for name in ("mp4", "mov", "m4a", "webm", "avi", "flv", "mp3", "wav", "flac", "ogg")},
    ".mkv": {"matroska"},
    ".mpg": {"mpeg", "mpegvideo", "mpegts"},
}
# FFmpeg only estimates the duration of formats whose time stamps may jump or that have no index
_GUESSED_DURATION = (av.format.Flags.ts_discont | av.format.Flags.generic_index).value


class ClipTooLong(MediaError):
    """Error for media of MAX_CLIP_SECONDS (one hour) or more."""


def check_length(seconds: float, name: str) -> None:
    """Raise ClipTooLong for media of one hour or more."""
    if seconds >= MAX_CLIP_SECONDS:
        raise ClipTooLong(
            f"{name} is {MAX_CLIP_SECONDS / 60:.0f} minutes long or longer, too long for a clip; cut it into clips"
        )


def open_media(path: Path) -> Any:
    """Open a media file as a PyAV container.

    Raises MediaError for a file that is not a media file, OSError for one that cannot be accessed.
    """
    if path.stat().st_size == 0:
        raise MediaError(f"{path.name} is empty (0 bytes)")
    try:
        return av.open(str(path), mode="r", metadata_errors="replace")
    except DECODE_ERRORS as error:
        raise MediaError(f"{path.name} cannot be opened ({describe_error(error)})") from None


def find_video_streams(container: Any) -> list[Any]:
    """Return the video streams, without cover art."""
    return [s for s in container.streams.video if not s.disposition & av.stream.Disposition.attached_pic]


def describe_error(error: Exception) -> str:
    """Return the message of an error on one line."""
    text = getattr(error, "strerror", None) or str(error)
    return " ".join(text.split())


@dataclass(frozen=True)
class PacketCounts:
    """Numbers of packets and frames of a stream up to some moment."""

    packets: int = 0
    lost: int = 0  # packets that could not be decoded
    decoded: int = 0  # frames
    corrupt: int = 0  # frames that the decoder marks as damaged


class StreamDecoder:
    """Decoder of one stream, packet by packet; packets that cannot be decoded are skipped and counted.

    Without `hashing` its digest stays "".
    """

    def __init__(self, container: Any, stream: Any, name: str, hashing: bool = True) -> None:
        if stream.codec_context is None:
            raise MediaError(f"{name}: no decoder for its {stream.type}; convert the file")
        self._container, self._stream, self.name = container, stream, name
        self._kind = stream.type  # a stream must not be read after its container is closed
        self._packets = self._lost = self._decoded = self._corrupt = 0
        self._reason = self._stopped = ""
        self._rotation = 0  # degrees, from the metadata, that make the frame upright
        self._content = hashlib.sha256() if hashing else None
        self.lost_seconds = 0.0  # seconds of the packets skipped since it was last set to 0

    def iter_frames(self) -> Iterator[Any]:
        """Yield every frame that can be decoded; raises MediaError if packets failed and none was decoded."""
        try:
            for packet in self._container.demux(self._stream):
                yield from self.decode(packet)
        except DECODE_ERRORS as error:
            self.stop(error)
        self.check_decoded()

    def decode(self, packet: Any) -> list[Any]:
        """Return the frames of a packet; [] if it cannot be decoded."""
        self._packets += packet.size > 0
        if packet.is_corrupt:
            self._stopped = "a packet is cut short"
        try:
            frames: list[Any] = packet.decode()
        except DECODE_ERRORS as error:
            self._lost, self._reason = self._lost + 1, describe_error(error)
            self.lost_seconds += min(MAX_FRAME_GAP, float((packet.duration or 0) * (packet.time_base or 0)))
            return []
        for frame in frames:
            self._record_frame(frame)
        return frames

    def flush(self) -> None:
        """Forget the state of the decoder, so that it continues at a key frame."""
        self._stream.codec_context.flush_buffers()

    def stop(self, error: Exception) -> None:
        """Record an error that ends the file early."""
        self._stopped = self._reason = describe_error(error)

    def check_decoded(self) -> None:
        """Raise MediaError if packets failed and no frame was decoded."""
        if self._reason and not self._decoded:
            raise MediaError(f"{self.name}: its {self._kind} cannot be decoded ({self._reason})")

    @property
    def counts(self) -> PacketCounts:
        """Return the numbers of packets and frames so far."""
        return PacketCounts(self._packets, self._lost, self._decoded, self._corrupt)

    @property
    def digest(self) -> str:
        """Return the sha256 of the frames decoded so far, without time stamps and container; "" if none."""
        return self._content.hexdigest() if self._decoded and self._content is not None else ""

    def _record_frame(self, frame: Any) -> None:
        self._decoded += 1
        self._corrupt += bool(getattr(frame, "is_corrupt", False))
        self._rotation = self._rotation or round(getattr(frame, "rotation", 0))
        if self._content is None:
            return
        if self._kind == "audio":
            self._content.update(frame.to_ndarray().tobytes())
        else:
            for plane, width in zip(frame.planes, _get_plane_widths(frame), strict=True):
                lines = np.frombuffer(plane, dtype=np.uint8).reshape(-1, plane.line_size)
                self._content.update(lines[:, :width].tobytes())

    def list_issues(self, key: str, since: PacketCounts = PacketCounts()) -> list[DataIssue]:
        """Return an issue for each kind of problem: rotated, damaged (counted `since` a moment) or truncated."""
        losses, faults = self._lost - since.lost, self._corrupt - since.corrupt
        packets, frames = self._packets - since.packets, self._decoded - since.decoded
        lost = f"{losses} of {packets} {self._kind} packets cannot be decoded ({self._reason}); skipped"
        corrupt = f"{faults} of {frames} {self._kind} frames are damaged; used as decoded"
        found = (
            (self._rotation, "rotated", f"rotated by {self._rotation % 360} degrees in the file; used upright"),
            (losses, "damaged", lost),
            (faults, "damaged", corrupt),
            (self._stopped, "truncated", f"{self._kind} ends early ({self._stopped}); used up to there"),
        )
        return [DataIssue(what, key, f"{self.name}: {why}") for applies, what, why in found if applies]


class SkipFailed(Exception):
    """Error of a stream that cannot be decoded from a key frame on, but only from its start."""


class PartTrack(Protocol):
    """One stream of a file that is read for those parts of the file that are clips."""

    @property
    def stream(self) -> Any:
        """Return the stream of the container."""

    def add(self, packet: Any) -> None:
        """Decode a packet, or skip it if no part needs it; raises SkipFailed."""

    def stop(self, error: Exception) -> None:
        """Record an error that ends the file early."""

    def close(self) -> None:
        """Complete the remaining parts at the end of the file; raises SkipFailed."""

    def is_read(self, number: int) -> bool:
        """Return whether a part is complete."""


def read_parts(container: Any, tracks: Sequence[PartTrack], clips: Sequence[Clip]) -> Iterator[int]:
    """Read a file once, up to the end of its last part, and yield the number of each part when it is complete.

    Raises SkipFailed.
    """
    waiting = sorted(range(len(clips)), key=lambda number: find_places(clips[number], 1_000_000)[1], reverse=True)
    by_stream = {track.stream.index: track for track in tracks}
    packets = container.demux([track.stream for track in tracks])
    while waiting:
        try:
            packet = next(packets, None)
        except DECODE_ERRORS as error:
            packet = None
            for track in tracks:
                track.stop(error)
        if packet is None:
            break
        by_stream[packet.stream.index].add(packet)
        while waiting and all(track.is_read(waiting[-1]) for track in tracks):
            yield waiting.pop()
    if waiting:
        for track in tracks:
            track.close()
        yield from reversed(waiting)


def find_places(clip: Clip, rate: int) -> tuple[int, int]:
    """Return the first place of a part in its files at `rate` places per second, and the one after its last.

    A part has at least one place. A part without an end has more than MAX_CLIP_SECONDS, with which it is refused.
    """
    first = round((clip.start or 0.0) * rate)
    last = first + round((MAX_CLIP_SECONDS + 1) * rate) if clip.end is None else round(clip.end * rate)
    return first, max(first + 1, last)


def _get_plane_widths(frame: Any) -> list[int]:
    """Return the bytes per row of each plane, without padding."""
    form = frame.format
    if len(frame.planes) == 1:
        return [min(frame.planes[0].line_size, -(-frame.planes[0].width * form.padded_bits_per_pixel // 8))]
    pixels = [sum(-(-part.bits // 8) for part in form.components if part.plane == n) for n in range(len(frame.planes))]
    return [min(plane.line_size, plane.width * pixel) for plane, pixel in zip(frame.planes, pixels, strict=True)]


@dataclass
class TimestampRepair:
    """Time stamps as seconds from the first frame that never go backwards.

    A jump (backwards, or forwards by more than MAX_FRAME_GAP) is replaced by one mean step, and later stamps are
    shifted accordingly. If the next stamp fits the old shift, that one is restored, so that a single wrong stamp does
    not displace the others.
    """

    step: float  # mean seconds from frame to frame
    jumps: int = 0
    _last: float | None = None
    _shift: float = 0.0
    _previous_shift: float = 0.0  # the shift before the last jump

    def repair(self, stamp: float | None) -> float:
        """Return the time of the next frame; without a stamp (None), one step after the last."""
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

    def resume(self, stamp: float) -> float:
        """Return the time of the first frame after skipped ones, whose time stamps did not jump."""
        self._last = stamp + self._shift
        return self._last

    @property
    def shift(self) -> float:
        """Return the seconds from a time stamp to the time of its frame; valid after the first frame."""
        return self._shift

    def list_issues(self, key: str, name: str) -> list[DataIssue]:
        """Return one issue that counts the jumps; [] if there are none."""
        jumps = f"time stamps go back or jump by over {MAX_FRAME_GAP:.0f} s (times: {self.jumps})"
        return [DataIssue("time stamps", key, f"{name}: {jumps}; frames used as consecutive")] if self.jumps else []


def read_header(path: Path, key: str, limited: bool = True) -> tuple[float | None, list[DataIssue]]:
    """Return the duration in a file's header in seconds (None: not stated or only estimated), and the issues found.

    Raises ClipTooLong for one hour or more if `limited`, MediaError for a file that cannot be opened.
    """
    with open_media(path) as container:
        names = container.format.name
        seconds = 0.0 if container.format.flags & _GUESSED_DURATION else (container.duration or 0) / av.time_base
        counted = max((s.frames / s.average_rate for s in find_video_streams(container) if s.average_rate), default=0)
    if limited:
        check_length(seconds, path.name)
    expected = CONTAINERS_BY_SUFFIX.get(path.suffix.lower(), set())
    mismatch = expected and not expected & set(names.split(","))
    issue = DataIssue("container", key, f"{path.name} is a {names} file despite its suffix; read as such")
    return max(seconds, float(counted)) or None, [issue] if mismatch else []
