"""Video of a clip: a video file or a folder of frames, scaled and encoded at 30 frames per second.

Frames are scaled and encoded one by one, so that a long clip is never decoded in memory as a whole. They are stored as
H.264, one packet per frame, in short groups that decode independently. RGB coding keeps the full colour resolution
and allows any size, and H.264 decoding is bit-exact, so values are equal on every machine.

Key: h w pixels of an encoded frame, H W pixels of an image.
"""

from __future__ import annotations

import hashlib
import os
import re
from bisect import bisect_left, bisect_right
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from io import BytesIO
from pathlib import Path
from typing import Any

import av
import numpy as np
from av.video.reformatter import VideoReformatter
from PIL import Image

from bench.errors import MediaError, StoreError
from bench.types import Clip, DataIssue
from datasets.decode.container import (
    DECODE_ERRORS,
    MARK_SECONDS,
    MAX_FRAME_GAP,
    PacketCounts,
    SkipFailed,
    StreamDecoder,
    TimestampRepair,
    check_length,
    describe_error,
    find_places,
    find_video_streams,
    open_media,
)
from datasets.paths import explain_unsafe_entry
from datasets.segments import FRAME_RATE

GOP_SIZE = 12  # frames of a group of pictures, from one keyframe to the next
RATE_FACTOR = 23  # x264's rate factor (crf); docs/decisions/0009-store-form.md
MIN_SKIP_SECONDS, MIN_SEEK_SECONDS = 1.0, 10.0  # between two parts, from where on frames are skipped or not read
MAX_ROUNDING = 1e-6  # seconds by which two computations of a time may differ
MAX_HELD_BYTES = 32_000_000  # of packets since the last key frame
MAX_SIDE = 8192  # pixels of the long side after scaling
_X264_PARAMS = (  # no lookahead: with it, x264 sometimes encodes the same frames to different bytes
    f"keyint={GOP_SIZE}:min-keyint={GOP_SIZE}:scenecut=0:bframes=0:ref=1:threads=1:repeat-headers=1:annexb=1"
    ":mbtree=0:rc-lookahead=0:weightp=0"
)

ColourPlanes = tuple[np.ndarray, np.ndarray, np.ndarray]  # (h, w) uint8 each: red, green, blue

IMAGE_SUFFIXES = (".jpg", ".jpeg")
MAX_NUMBER_GAP = 10  # seconds; a longer gap in the frame numbers is a jump in numbering, not missing frames


@dataclass(frozen=True)
class EncodedVideo:
    """Encoded frames, and the index of the frame shown at each 1/30 s."""

    packets: tuple[bytes, ...]
    size: tuple[int, int]  # pixels: height, width
    index: np.ndarray  # (n,) int32: place on the timeline of 1/30 s -> frame
    digest: str = ""  # sha256 of the decoded video, equal for the same stream in another container


NO_VIDEO = EncodedVideo((), (0, 0), np.zeros(0, dtype=np.int32))


def _decode_jpeg(data: bytes) -> Any:
    """Decode a JPEG to a PyAV frame; raises MediaError for unreadable bytes."""
    try:
        frames = av.CodecContext.create("mjpeg", "r").decode(av.Packet(data))
    except DECODE_ERRORS as error:
        raise MediaError(f"not a readable JPEG ({describe_error(error)})") from None
    if not frames:
        raise MediaError("not a readable JPEG (no image in it)")
    return frames[0]


def encode_jpeg(image: np.ndarray) -> bytes:
    """Encode (H, W, 3) uint8 as a JPEG of quality 90 without chroma subsampling."""
    return save_jpeg(Image.fromarray(image), quality=90, subsampling=0)


def save_jpeg(image: Image.Image, **options: int) -> bytes:
    """Return an image as a JPEG."""
    data = BytesIO()
    image.save(data, "JPEG", **options)
    return data.getvalue()


def read_frame_folder(
    folder: Path, side: int, key: str, root: Path | None = None
) -> tuple[EncodedVideo, list[DataIssue]]:
    """Encode a folder of numbered images at 30 per second; a missing or unreadable one repeats the frame before it.

    Raises MediaError if no image can be read.
    """
    encoder, faults = FrameEncoder(side), []
    index: list[int] = []
    images, problems = number_frames(folder, key, root)
    check_length(max(images, default=0) / FRAME_RATE, f"{folder.name}/")
    for place, path in images.items():
        index += [encoder.last_number] * (place - len(index))
        try:
            encoder.add(_decode_jpeg(path.read_bytes()))
        except MediaError as error:
            faults.append(f"{path.name}: {error}")
        index.append(encoder.last_number)
    if not encoder.count:
        raise MediaError(f"{folder.name}/: none of its {len(images)} frames can be read")
    if faults:
        why = f"{len(faults)} of {len(index)} frames cannot be read, first {faults[0]}; each repeats the frame before"
        problems.append(DataIssue("frames", key, why))
    packets = encoder.close()
    digest = hashlib.sha256(b"".join(packets)).hexdigest()
    return EncodedVideo(packets, encoder.size, np.asarray(index, dtype=np.int32), digest), problems


def read_frame_part(clip: Clip, images: Mapping[int, Path], side: int) -> tuple[EncodedVideo, list[DataIssue]]:
    """Encode a part of a folder of numbered images (`number_frames`) with the frames of `read_frame_folder`.

    It begins with the last image at or before its start that can be read, also after the last image. Raises MediaError
    if no image can be read, ClipTooLong for a part of an hour.
    """
    encoder, faults = FrameEncoder(side), []
    first, stop = find_places(clip, FRAME_RATE)
    order = [*images]
    stop = max(first + 1, min(stop, order[-1] + 1 if order else 0))
    check_length((stop - first) / FRAME_RATE, "the part of its frames")
    before = bisect_right(order, first)
    index: list[int] = []
    for place in [*reversed(order[:before]), *order[before : bisect_left(order, stop)]]:
        if place <= first and encoder.count:
            continue
        index += [encoder.last_number] * (place - first - len(index))
        try:
            encoder.add(_decode_jpeg(images[place].read_bytes()))
        except MediaError as error:
            faults.append(f"{images[place].name}: {error}")
    index += [encoder.last_number] * (stop - first - len(index))
    if not encoder.count:
        raise MediaError(f"none of the {len(images)} frames can be read")
    why = f"{len(faults)} frames cannot be read, first {', '.join(faults[:1])}; each repeats the frame before"
    packets = encoder.close()
    digest = hashlib.sha256(b"".join(packets)).hexdigest()
    video = EncodedVideo(packets, encoder.size, np.asarray(index, dtype=np.int32), digest)
    return video, [DataIssue("frames", clip.key, why)] if faults else []


def read_video(path: Path, side: int, key: str) -> tuple[EncodedVideo, list[DataIssue]]:
    """Encode the video of a media file at 30 frames per second by its time stamps; NO_VIDEO for a file without video.

    A frame is shown until the next one starts, the last one for its stated duration.
    """
    encoder = FrameEncoder(side)
    index: list[int] = []
    with open_media(path) as container:
        streams = find_video_streams(container)
        if not streams:
            return NO_VIDEO, []
        track = StreamDecoder(container, streams[0], path.name)
        timeline = _FrameTimeline(streams[0])
        for frame in track.iter_frames():
            for shown, first, stop in timeline.add(frame):
                encoder.add(shown)
                index += [encoder.last_number] * (stop - first)
                check_length(timeline.now, path.name)
        for shown, first, stop in timeline.close():
            encoder.add(shown)
            index += [encoder.last_number] * (stop - first)
    problems = [*track.list_issues(key), *timeline.timer.list_issues(key, path.name)]
    return EncodedVideo(encoder.close(), encoder.size, np.asarray(index, dtype=np.int32), track.digest), problems


class _FrameTimeline:
    """Places of 1/30 s at which the frames of a stream are shown, as (frame, first place, place after the last)."""

    def __init__(self, stream: Any) -> None:
        self.timer = TimestampRepair(min(MAX_FRAME_GAP, 1 / float(stream.average_rate or FRAME_RATE)))
        self.now = 0.0  # seconds of the last frame
        self.length = 0  # places of the frames before the last one
        self._pending: Any = None

    def add(self, frame: Any) -> Iterator[tuple[Any, int, int]]:
        """Yield the places of the frame before this one, unless both begin at one place."""
        self.now = self.timer.repair(frame.time)
        shown, self._pending = self._pending, frame
        due = round(self.now * FRAME_RATE)
        if shown is not None and due > self.length:
            first, self.length = self.length, due
            yield shown, first, due

    def resume(self, frame: Any) -> None:
        """Continue with the first frame after skipped ones."""
        self.now, self._pending = self.timer.resume(frame.time), frame
        self.length = round(self.now * FRAME_RATE)

    def close(self) -> Iterator[tuple[Any, int, int]]:
        """Yield the places of the last frame, which is shown for its duration."""
        if self._pending is not None:
            end = round((self.now + _get_duration(self._pending, self.timer.step)) * FRAME_RATE)
            first, self.length = self.length, max(self.length + 1, end)
            yield self._pending, first, self.length


class _PartEncoder:
    """Encoder of the frames of one part of a file."""

    def __init__(self, side: int, places: tuple[int, int], counts: PacketCounts, jumps: int) -> None:
        self.places, self.counts, self.jumps = places, counts, jumps
        self._encoder: FrameEncoder | None = FrameEncoder(side)
        self._index: list[int] = []
        self.fault: MediaError | None = None
        self.video = NO_VIDEO

    def add(self, frame: Any, first: int, stop: int) -> None:
        """Add a frame that is shown at these places of the file."""
        count = min(stop, self.places[1]) - max(first, self.places[0])
        if count <= 0 or self._encoder is None:
            return
        try:
            self._encoder.add(frame)
        except MediaError as error:
            self.fault, self._encoder = error, None
            return
        self._index += [self._encoder.last_number] * count

    def close(self) -> None:
        """Complete the video."""
        if self._encoder is not None and self._encoder.count:
            packets = self._encoder.close()
            digest = hashlib.sha256(b"".join(packets)).hexdigest()
            self.video = EncodedVideo(packets, self._encoder.size, np.asarray(self._index, dtype=np.int32), digest)
        self._encoder = None


class VideoParts:
    """Video stream of a file, read for the parts of the file: between them it is decoded from key frames only.

    A part shows at place i the frame that `read_video` shows at place round(start * FRAME_RATE) + i of the file. With
    `skipping` the frames between two parts are not decoded up to the last key frame before the later part; with
    `seeking` they are not even read. Both raise SkipFailed for a file that cannot be decoded from a key frame on.
    """

    def __init__(
        self, container: Any, clips: Sequence[Clip], side: int, name: str, skipping: bool = True, seeking: bool = False
    ) -> None:
        self.stream = find_video_streams(container)[0]
        self._container, self._side, self._clips = container, side, clips
        self._skipping, self._seeking = skipping, seeking
        self._decoder = StreamDecoder(container, self.stream, name, hashing=False)
        self._timeline = _FrameTimeline(self.stream)
        self._places = [find_places(clip, FRAME_RATE) for clip in clips]
        self._coming = sorted(range(len(clips)), key=self._places.__getitem__, reverse=True)
        self._parts: dict[int, _PartEncoder] = {}
        self._open: dict[int, _PartEncoder] = {}
        self._held: list[Any] | None = None  # packets from a key frame on that no part needs so far
        self._held_bytes, self._last_stamp = 0, -np.inf  # seconds of the last packet
        self._tick = float(self.stream.time_base)
        self._need = 0.0  # seconds from which on a part needs frames, while packets are held
        self._jumped = False  # the packets before the held ones were skipped
        self._resuming = self._resumed = self._closed = False
        self.end: float | None = None  # seconds of video in the file; None: not read to its end

    def add(self, packet: Any) -> None:
        """Decode a packet, or hold it back while no part needs it."""
        if self._held is not None:
            self._hold(packet)
            return
        if packet.dts is not None:
            self._last_stamp = packet.dts * self._tick
        self._open_parts(self._timeline.length + round(MARK_SECONDS * FRAME_RATE))
        for frame in self._decoder.decode(packet):
            self._add_frame(frame)

    def stop(self, error: Exception) -> None:
        """Record an error that ends the file early."""
        self._decoder.stop(error)

    def close(self) -> None:
        """Complete the remaining parts; those after the last frame, which only audio can reach, show that frame."""
        self._skipping = False
        if self._held is not None:
            self._release()
        for shown, first, stop in self._timeline.close():
            self._show(shown, first, stop)
            self._open_parts(self._places[self._coming[0]][0] + 1 if self._coming else 0)
            for part in self._open.values():
                if part.places[0] >= stop:
                    part.add(shown, part.places[0], part.places[0] + 1)
        for number in list(self._open):
            self._close_part(number)
        self._closed, self.end = True, self._timeline.length / FRAME_RATE

    def is_read(self, number: int) -> bool:
        """Return whether a part is complete."""
        return self._closed or self._timeline.length >= self._places[number][1]

    def take(self, number: int) -> tuple[EncodedVideo, list[DataIssue]]:
        """Return the video of a complete part and its issues, and forget them.

        Raises MediaError if no frame of it can be decoded or scaled, ClipTooLong for a part of an hour.
        """
        self._decoder.check_decoded()
        part, key = self._parts.pop(number, None), self._clips[number].key
        if part is None:
            return NO_VIDEO, []
        if part.fault is not None:
            raise part.fault
        check_length(len(part.video.index) / FRAME_RATE, f"the part of {self._decoder.name}")
        timer = self._timeline.timer
        jumps = timer.list_issues(key, self._decoder.name) if timer.jumps > part.jumps else []
        return part.video, [*self._decoder.list_issues(key, part.counts), *jumps]

    def _add_frame(self, frame: Any) -> None:
        if self._resuming:
            if frame.time is None or frame.time + self._timeline.timer.shift > self._need:
                raise SkipFailed
            self._timeline.resume(frame)
            self._resuming = False
            return
        for shown, first, stop in self._timeline.add(frame):
            self._show(shown, first, stop)
        timer = self._timeline.timer
        self._skipping = self._skipping and not timer.jumps
        if self._held is None and self._skipping and self._coming and not self._open:
            self._need = self._places[self._coming[-1]][0] / FRAME_RATE
            if self._need - self._timeline.now > MIN_SKIP_SECONDS:
                self._start_skipping()

    def _show(self, frame: Any, first: int, stop: int) -> None:
        self._open_parts(stop)
        for number, part in list(self._open.items()):
            part.add(frame, first, stop)
            if stop >= part.places[1]:
                self._close_part(number)

    def _open_parts(self, place: int) -> None:
        """Open the parts that begin before a place."""
        while self._coming and self._places[self._coming[-1]][0] < place:
            number = self._coming.pop()
            counts, jumps = self._decoder.counts, self._timeline.timer.jumps
            self._open[number] = _PartEncoder(self._side, self._places[number], counts, jumps)

    def _close_part(self, number: int) -> None:
        part = self._parts[number] = self._open.pop(number)
        part.close()
        now = self._decoder.counts
        if self._resumed and (now.lost, now.corrupt) != (part.counts.lost, part.counts.corrupt):
            raise SkipFailed  # perhaps only because frames before the key frame are missing

    def _start_skipping(self) -> None:
        self._held, self._held_bytes, self._jumped = [], 0, False
        if self._seeking and self._need - self._timeline.now > MIN_SEEK_SECONDS:
            stamp = (self._need - MAX_ROUNDING - self._timeline.timer.shift) / self._tick
            try:
                self._container.seek(int(stamp), stream=self.stream)
            except DECODE_ERRORS:
                raise SkipFailed from None
            self._jumped, self._last_stamp = True, -np.inf

    def _hold(self, packet: Any) -> None:
        """Hold a packet; drop those before a key frame that no part needs; decode all as soon as one is needed."""
        assert self._held is not None
        if packet.size == 0 or packet.pts is None or packet.dts is None:
            self._skipping = False  # the end, or time stamps that cannot be followed
            self._held.append(packet)
            self._release()
            return
        stamp, now = packet.dts * self._tick, packet.pts * self._tick
        if stamp < self._last_stamp or stamp > self._last_stamp + MAX_FRAME_GAP > -np.inf:
            self._skipping = False
        self._last_stamp = stamp
        now += self._timeline.timer.shift
        if self._skipping and packet.is_keyframe and now < self._need - MAX_ROUNDING:
            self._held, self._held_bytes, self._jumped = [], 0, True
        if self._jumped and not self._held and not packet.is_keyframe:
            raise SkipFailed
        self._held.append(packet)
        self._held_bytes += packet.size
        if not self._skipping or now >= self._need or self._held_bytes > MAX_HELD_BYTES:
            self._release()

    def _release(self) -> None:
        """Decode the held packets."""
        packets, self._held = self._held or [], None
        if self._jumped:
            self._decoder.flush()
            self._resuming = self._resumed = True
        self._jumped = False
        for packet in packets:
            self.add(packet)


def _get_duration(frame: Any, step: float) -> float:
    """Return the stated duration of a frame in seconds, or the mean step if it states none."""
    stated = float(frame.duration * frame.time_base) if frame.duration and frame.time_base else step
    return min(MAX_FRAME_GAP, stated if stated > 0 else step)


class FrameEncoder:
    """Encoder that scales and encodes frames one by one, all to the shape of the first."""

    def __init__(self, side: int) -> None:
        self._side, self._convert = side, VideoReformatter()
        self._encoder: Any = None
        self._packets: list[bytes] = []
        self.size, self.count = (0, 0), 0

    @property
    def last_number(self) -> int:
        """Return the index of the last frame, or 0 before the first."""
        return max(0, self.count - 1)

    def add(self, frame: Any) -> None:
        """Add a frame; raises MediaError for a pixel format or size that cannot be scaled."""
        try:
            image = _scale_frame(frame, self._side, self._convert)
        except (*DECODE_ERRORS, OSError) as error:
            shape = f"{frame.width} x {frame.height} {frame.format.name}"
            raise MediaError(f"a frame of {shape} cannot be scaled ({describe_error(error)})") from None
        if self._encoder is None:
            self.size = image.shape[0], image.shape[1]
            self._encoder = _create_encoder(*self.size)
        scaled = av.VideoFrame.from_ndarray(np.ascontiguousarray(_crop_or_pad(image, self.size)))
        scaled.pts = self.count
        self.count += 1
        self._packets += map(bytes, self._encoder.encode(scaled))

    def close(self) -> tuple[bytes, ...]:
        """Flush the encoder and return one packet per frame; no frame can be added afterwards."""
        if self._encoder is not None:
            self._packets += map(bytes, self._encoder.encode(None))
        assert len(self._packets) == self.count
        return tuple(self._packets)


def _create_encoder(height: int, width: int) -> Any:
    try:
        encoder: Any = av.CodecContext.create("libx264rgb", "w")
    except ValueError:
        raise StoreError("PyAV has no libx264; install its wheel: pip install --only-binary av av") from None
    encoder.width, encoder.height, encoder.pix_fmt = width, height, "rgb24"
    encoder.time_base, encoder.thread_count = Fraction(1, 30), 1
    encoder.options = {"preset": "veryfast", "tune": "fastdecode", "crf": str(RATE_FACTOR), "x264-params": _X264_PARAMS}
    return encoder


def _crop_or_pad(image: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Crop an image of another shape around its centre, or pad it with its border pixels."""
    if image.shape[:2] == size:
        return image
    rows, columns = (
        (np.arange(target) + int((actual - target) / 2)).clip(0, actual - 1)
        for actual, target in zip(image.shape, size, strict=False)
    )
    fitted: np.ndarray = image[np.ix_(rows, columns)]
    return fitted


def _scale_frame(frame: Any, side: int, convert: VideoReformatter) -> np.ndarray:
    """Return a frame as (H, W, 3) uint8, upright, its short side scaled to `side` pixels."""
    width, height = frame.width, frame.height
    scale = side / min(width, height)
    size = {"width": max(side, round(width * scale)), "height": max(side, round(height * scale))}
    if max(size.values()) > MAX_SIDE:
        raise ValueError(f"its long side would have over {MAX_SIDE} pixels")
    scaled = convert.reformat(frame, **size, format="rgb24", interpolation="AREA", threads=1)
    image: np.ndarray = scaled.to_ndarray()
    turns = round(getattr(frame, "rotation", 0) / 90) % 4
    return np.ascontiguousarray(np.rot90(image, turns)) if turns else image


class FrameDecoder:
    """Decoder of encoded frames; reuses one H.264 decoder."""

    def __init__(self) -> None:
        self._decoder: Any = None

    def decode(self, get_packet: Callable[[int], bytes], numbers: Iterable[int]) -> Iterator[tuple[int, ColourPlanes]]:
        """Yield (number, colour planes) of each requested frame once, in order.

        Raises MediaError for damaged packets.
        """
        last = -1
        for number in sorted(set(numbers)):
            for place in range(max(last + 1, number // GOP_SIZE * GOP_SIZE), number + 1):
                frame = self._decode_packet(get_packet(place))
            last = number
            yield number, _get_colour_planes(frame)

    def _decode_packet(self, data: bytes) -> Any:
        if self._decoder is None:
            self._decoder = av.CodecContext.create("h264", "r")
            self._decoder.thread_count = 1  # several threads delay the output by some frames
            self._decoder.options = {"err_detect": "explode"}  # fail on damage instead of concealing it
        try:
            (frame,) = self._decoder.decode(av.Packet(data))
        except DECODE_ERRORS as error:
            self._decoder = None
            raise MediaError(f"encoded frames cannot be decoded ({describe_error(error)})") from None
        return frame


def decode_frames(packets: tuple[bytes, ...], numbers: Iterable[int]) -> Iterator[tuple[int, np.ndarray]]:
    """Yield (number, (h, w, 3) uint8) of each requested frame, in order."""
    for number, colours in FrameDecoder().decode(packets.__getitem__, numbers):
        yield number, np.stack(colours, axis=-1)


def _get_colour_planes(frame: Any) -> ColourPlanes:
    green, blue, red = (
        np.frombuffer(plane, dtype=np.uint8).reshape(plane.height, plane.line_size)[:, : plane.width]
        for plane in frame.planes
    )
    return red, green, blue


def number_frames(folder: Path, key: str, root: Path | None = None) -> tuple[dict[int, Path], list[DataIssue]]:
    """Return place on the timeline of 1/30 s -> image, by the last number in the file names, from the lowest one on.

    An image outside the data folder `root`, or whose number is missing or used twice, is left out and reported.
    """
    root = root or folder
    numbered: dict[int, Path] = {}
    skipped: Counter[str] = Counter()
    for entry in list_images(folder):
        why = explain_unsafe_entry(entry, root)
        digits = re.findall(r"[0-9]+", Path(entry.name).stem)
        if why is not None or not entry.is_file():
            skipped[why or "not a file"] += 1
        elif not digits:
            skipped["no number in the name"] += 1
        elif int(digits[-1]) in numbered:
            skipped["number used twice"] += 1
        else:
            numbered[int(digits[-1])] = Path(entry.path)
    problems = [DataIssue("frames", key, f"images left out: {count} ({reason})") for reason, count in skipped.items()]
    order = sorted(numbered)
    places, found = _place_frames(order, key)
    return {place: numbered[number] for place, number in zip(places, order, strict=True)}, problems + found


def _place_frames(order: list[int], key: str) -> tuple[list[int], list[DataIssue]]:
    """Return the place of each frame number, counted from the first, and the issues of gaps between them."""
    steps = np.diff(order)
    jumps = int((steps > MAX_NUMBER_GAP * FRAME_RATE).sum())
    steps[steps > MAX_NUMBER_GAP * FRAME_RATE] = 1
    missing = int((steps - 1).sum())
    problems = []
    if missing:
        why = f"frame numbers missing: {missing}; each repeats the frame before"
        problems.append(DataIssue("frames", key, why))
    if jumps:
        why = f"jumps of over {MAX_NUMBER_GAP} s in the frame numbers: {jumps}; frames used as consecutive"
        problems.append(DataIssue("frames", key, why))
    return [0, *np.cumsum(steps).tolist()][: len(order)], problems


def list_images(folder: Path) -> list[os.DirEntry[str]]:
    """Return the JPEG entries of a folder sorted by name; raises OSError."""
    with os.scandir(folder) as entries:
        images = [entry for entry in entries if entry.name.lower().endswith(IMAGE_SUFFIXES)]
    return sorted(images, key=lambda entry: entry.name)


@dataclass(frozen=True)
class Crop:
    """Square crop of a frame, mirrored if `flipped`; pixels."""

    top: int
    left: int
    size: int
    flipped: bool

    @staticmethod
    def place(corner: np.ndarray, shape: Sequence[int], size: int, flipped: bool) -> Crop:
        """Return the crop at `corner`, (2,) shares of the free pixels of a frame of `shape` (h, w)."""
        top, left = (int(share * (side - size + 1) * (1 - 1e-9)) for share, side in zip(corner, shape, strict=True))
        return Crop(top, left, size, flipped)

    def apply(self, image: np.ndarray) -> np.ndarray:
        """Crop (..., h, w) to (..., H, W)."""
        part = image[..., self.top : self.top + self.size, self.left : self.left + self.size]
        return part[..., ::-1] if self.flipped else part
