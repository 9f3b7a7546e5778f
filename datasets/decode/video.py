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
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from fractions import Fraction
from io import BytesIO
from pathlib import Path
from typing import Any

import av
import numpy as np
from av.video.reformatter import VideoReformatter
from PIL import Image, ImageOps

from bench.errors import MediaError, StoreError
from bench.types import Clip, DataIssue
from datasets.decode.container import (
    DECODE_ERRORS,
    MAX_FRAME_GAP,
    StreamDecoder,
    TimestampRepair,
    check_length,
    describe_error,
    find_video_streams,
    open_media,
)
from datasets.paths import explain_unsafe_entry
from datasets.segments import FRAME_RATE

GOP_SIZE = 12  # frames of a group of pictures, from one keyframe to the next
RATE_FACTOR = 23  # x264's rate factor (crf); docs/decisions/0009-store-form.md
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
    return _save_jpeg(Image.fromarray(image), quality=90, subsampling=0)


def _save_jpeg(image: Image.Image, **options: int) -> bytes:
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


def read_video(path: Path, side: int, key: str) -> tuple[EncodedVideo, list[DataIssue]]:
    """Encode the video of a media file at 30 frames per second by its time stamps; NO_VIDEO for a file without video.

    A frame is shown until the next one starts, the last one for its stated duration.
    """
    encoder = FrameEncoder(side)
    index: list[int] = []
    pending: Any = None
    now = 0.0
    with open_media(path) as container:
        streams = find_video_streams(container)
        if not streams:
            return NO_VIDEO, []
        track = StreamDecoder(container, streams[0], path.name)
        timer = TimestampRepair(min(MAX_FRAME_GAP, 1 / float(streams[0].average_rate or FRAME_RATE)))
        for frame in track.iter_frames():
            now = timer.repair(frame.time)
            due = round(now * FRAME_RATE)
            if pending is not None and due > len(index):
                encoder.add(pending)
                index += [encoder.last_number] * (due - len(index))
                check_length(now, path.name)
            pending = frame
        if pending is not None:
            encoder.add(pending)
            end = round((now + _get_duration(pending, timer.step)) * FRAME_RATE)
            index += [encoder.last_number] * max(1, end - len(index))
    problems = [*track.list_issues(key), *timer.list_issues(key, path.name)]
    return EncodedVideo(encoder.close(), encoder.size, np.asarray(index, dtype=np.int32), track.digest), problems


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


def read_thumbnail(clip: Clip, side: int) -> bytes | None:
    """Return a frame of a clip as a JPEG with a short side of `side` pixels, or None if no frame can be read."""
    try:
        image = _open_middle_frame(clip)
        if image is None:
            return None
        scaled = ImageOps.cover(image.convert("RGB"), (side, side), Image.Resampling.LANCZOS)
    except (MediaError, OSError, *DECODE_ERRORS):
        return None
    return _save_jpeg(scaled, quality=80)


def _open_middle_frame(clip: Clip) -> Image.Image | None:
    """Return the middle image of a folder, or the first frame that can be decoded from the middle of a video on."""
    if clip.sources.frames is not None:
        paths = [*number_frames(clip.sources.frames, clip.key, clip.sources.root)[0].values()]
        return Image.open(paths[len(paths) // 2]) if paths else None
    if clip.sources.video is None:
        return None
    try:
        return _decode_first_frame(clip.sources.video, from_middle=True)
    except DECODE_ERRORS:  # some files are not seekable
        return _decode_first_frame(clip.sources.video, from_middle=False)


def _decode_first_frame(path: Path, from_middle: bool) -> Image.Image | None:
    with open_media(path) as container:
        if from_middle and container.duration:
            container.seek(container.duration // 2)
        for stream in find_video_streams(container)[:1]:
            for frame in container.decode(stream):
                image: Image.Image = frame.to_image()
                return image.rotate(round(getattr(frame, "rotation", 0) / 90) % 4 * 90, expand=True)
    return None
