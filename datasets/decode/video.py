"""Video of a clip: a video file or a folder of frames, scaled and encoded at 30 frames a second.

Frames are scaled and encoded one by one, so that a long clip is never decoded in memory as a whole. They are stored
as H.264, one packet a frame, in short groups that are decoded on their own: coded as red, green and blue, so that
colours keep their resolution, any size will do, and decoding, which H.264 defines to the bit, gives the same values
everywhere.

Key: h w pixels of an encoded frame, H W pixels of a picture.
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

GOP_SIZE = 12  # pictures from one that stands alone to the next
RATE_FACTOR = 23  # x264's rate factor; docs/decisions/0009-store-form.md
MAX_SIDE = 8192  # pixels of a side
_X264_PARAMS = (  # without looking ahead: with it, x264 now and then packs the same pictures into other bytes
    f"keyint={GOP_SIZE}:min-keyint={GOP_SIZE}:scenecut=0:bframes=0:ref=1:threads=1:repeat-headers=1:annexb=1"
    ":mbtree=0:rc-lookahead=0:weightp=0"
)

ColourPlanes = tuple[np.ndarray, np.ndarray, np.ndarray]  # (h, w) uint8 each: red, green, blue

IMAGE_SUFFIXES = (".jpg", ".jpeg")
MAX_NUMBER_GAP = 10  # seconds; a longer gap in the numbers is no still but a jump, and is closed


@dataclass(frozen=True)
class EncodedVideo:
    """Packed frames, and which of them stands at each 1/30 s."""

    packets: tuple[bytes, ...]
    size: tuple[int, int]  # pixels: height, width
    index: np.ndarray  # (n,) int32: place on the 30 a second time line -> frame
    digest: str = ""  # sha256 of what was decoded, the same for the same picture in another container


NO_VIDEO = EncodedVideo((), (0, 0), np.zeros(0, dtype=np.int32))


def _decode_jpeg(data: bytes) -> Any:
    """Decode a picture file to a PyAV frame; raises MediaError for bytes that are no JPEG."""
    try:
        frames = av.CodecContext.create("mjpeg", "r").decode(av.Packet(data))
    except DECODE_ERRORS as error:
        raise MediaError(f"no readable JPEG ({describe_error(error)})") from None
    if not frames:
        raise MediaError("no readable JPEG (no picture in it)")
    return frames[0]


def encode_jpeg(picture: np.ndarray) -> bytes:
    """(H, W, 3) uint8 as a JPEG of high quality, colours at full resolution."""
    return _save_jpeg(Image.fromarray(picture), quality=90, subsampling=0)


def _save_jpeg(picture: Image.Image, **options: int) -> bytes:
    data = BytesIO()
    picture.save(data, "JPEG", **options)
    return data.getvalue()


def read_frame_folder(
    folder: Path, side: int, key: str, root: Path | None = None
) -> tuple[EncodedVideo, list[DataIssue]]:
    """A folder of numbered pictures, 30 a second; one that is missing or cannot be read shows the one before it."""
    small, faults = FrameEncoder(side), []
    index: list[int] = []
    pictures, problems = number_frames(folder, key, root)
    check_length(max(pictures, default=0) / FRAME_RATE, f"{folder.name}/")
    for place, path in pictures.items():
        index += [small.last_number] * (place - len(index))
        try:
            small.add(_decode_jpeg(path.read_bytes()))
        except MediaError as error:
            faults.append(f"{path.name}: {error}")
        index.append(small.last_number)
    if not small.count:
        raise MediaError(f"no readable frame among {len(pictures)} in {folder.name}/")
    if faults:
        problems.append(DataIssue("frames", key, f"unreadable, {len(faults)} of {len(index)}: first {faults[0]}"))
    packets = small.close()
    digest = hashlib.sha256(b"".join(packets)).hexdigest()
    return EncodedVideo(packets, small.size, np.asarray(index, dtype=np.int32), digest), problems


def read_video(path: Path, side: int, key: str) -> tuple[EncodedVideo, list[DataIssue]]:
    """The picture of a media file, put onto 30 frames a second by its time stamps; none where it has no picture.

    A frame is shown until the next is due, the last for its own duration.
    """
    small = FrameEncoder(side)
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
                small.add(pending)
                index += [small.last_number] * (due - len(index))
                check_length(now, path.name)
            pending = frame
        if pending is not None:
            small.add(pending)
            end = round((now + _get_duration(pending, timer.step)) * FRAME_RATE)
            index += [small.last_number] * max(1, end - len(index))
    problems = [*track.list_issues(key), *timer.list_issues(key, path.name)]
    return EncodedVideo(small.close(), small.size, np.asarray(index, dtype=np.int32), track.digest), problems


def _get_duration(frame: Any, step: float) -> float:
    """Seconds that a frame is shown, as it says itself, or else the mean step."""
    stated = float(frame.duration * frame.time_base) if frame.duration and frame.time_base else step
    return min(MAX_FRAME_GAP, stated if stated > 0 else step)


class FrameEncoder:
    """Frames scaled and packed as they come, all in the shape of the first; packets come at the end."""

    def __init__(self, side: int) -> None:
        self._side, self._convert = side, VideoReformatter()
        self._encoder: Any = None
        self._packets: list[bytes] = []
        self.size, self.count = (0, 0), 0

    @property
    def last_number(self) -> int:
        """Number of the frame added last; 0 before there is one."""
        return max(0, self.count - 1)

    def add(self, frame: Any) -> None:
        """Add a frame; raises MediaError for one of a form or size that cannot be."""
        try:
            picture = _scale_frame(frame, self._side, self._convert)
        except (*DECODE_ERRORS, OSError) as error:
            shape = f"{frame.width} x {frame.height} {frame.format.name}"
            raise MediaError(f"a picture of {shape} cannot be scaled ({describe_error(error)})") from None
        if self._encoder is None:
            self.size = picture.shape[0], picture.shape[1]
            self._encoder = _create_encoder(*self.size)
        small = av.VideoFrame.from_ndarray(np.ascontiguousarray(_crop_or_pad(picture, self.size)))
        small.pts = self.count
        self.count += 1
        self._packets += map(bytes, self._encoder.encode(small))

    def close(self) -> tuple[bytes, ...]:
        """Return a packet for each frame; none can follow."""
        if self._encoder is not None:
            self._packets += map(bytes, self._encoder.encode(None))
        assert len(self._packets) == self.count
        return tuple(self._packets)


def _create_encoder(height: int, width: int) -> Any:
    try:
        encoder: Any = av.CodecContext.create("libx264rgb", "w")
    except ValueError:
        raise StoreError("PyAV was built without libx264; install its wheel: pip install --only-binary av av") from None
    encoder.width, encoder.height, encoder.pix_fmt = width, height, "rgb24"
    encoder.time_base, encoder.thread_count = Fraction(1, 30), 1
    encoder.options = {"preset": "veryfast", "tune": "fastdecode", "crf": str(RATE_FACTOR), "x264-params": _X264_PARAMS}
    return encoder


def _crop_or_pad(picture: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Return the middle of a picture of another shape, its border continued where it is too small."""
    if picture.shape[:2] == size:
        return picture
    rows, columns = (
        (np.arange(want) + int((have - want) / 2)).clip(0, have - 1)
        for have, want in zip(picture.shape, size, strict=False)
    )
    fitted: np.ndarray = picture[np.ix_(rows, columns)]
    return fitted


def _scale_frame(frame: Any, side: int, convert: VideoReformatter) -> np.ndarray:
    """(H, W, 3) uint8 upright with the short side of `side` pixels."""
    width, height = frame.width, frame.height
    scale = side / min(width, height)
    size = {"width": max(side, round(width * scale)), "height": max(side, round(height * scale))}
    if max(size.values()) > MAX_SIDE:
        raise ValueError(f"a side would have over {MAX_SIDE} pixels")
    small = convert.reformat(frame, **size, format="rgb24", interpolation="AREA", threads=1)
    picture: np.ndarray = small.to_ndarray()
    turns = round(getattr(frame, "rotation", 0) / 90) % 4
    return np.ascontiguousarray(np.rot90(picture, turns)) if turns else picture


class FrameDecoder:
    """Packets to pictures through one decoder that is kept."""

    def __init__(self) -> None:
        self._decoder: Any = None

    def decode(self, packet: Callable[[int], bytes], wanted: Iterable[int]) -> Iterator[tuple[int, ColourPlanes]]:
        """Yield each wanted picture once, in order; raises MediaError for packets that are damaged."""
        last = -1
        for number in sorted(set(wanted)):
            for place in range(max(last + 1, number // GOP_SIZE * GOP_SIZE), number + 1):
                frame = self._decode_packet(packet(place))
            last = number
            yield number, _get_colour_planes(frame)

    def _decode_packet(self, data: bytes) -> Any:
        if self._decoder is None:
            self._decoder = av.CodecContext.create("h264", "r")
            self._decoder.thread_count = 1  # with more it lags behind
            self._decoder.options = {"err_detect": "explode"}  # rather than mend what is damaged
        try:
            (frame,) = self._decoder.decode(av.Packet(data))
        except DECODE_ERRORS as error:
            self._decoder = None
            raise MediaError(f"packed pictures cannot be decoded ({describe_error(error)})") from None
        return frame


def decode_frames(packets: tuple[bytes, ...], wanted: Iterable[int]) -> Iterator[tuple[int, np.ndarray]]:
    """(number, (h, w, 3) uint8) of each wanted picture, in order."""
    for number, colours in FrameDecoder().decode(packets.__getitem__, wanted):
        yield number, np.stack(colours, axis=-1)


def _get_colour_planes(frame: Any) -> ColourPlanes:
    green, blue, red = (
        np.frombuffer(plane, dtype=np.uint8).reshape(plane.height, plane.line_size)[:, : plane.width]
        for plane in frame.planes
    )
    return red, green, blue


def number_frames(folder: Path, key: str, root: Path | None = None) -> tuple[dict[int, Path], list[DataIssue]]:
    """Place of 1/30 s -> picture of imgs/<Class>/<clip>/, by the last number in their names, the lowest first.

    Only pictures count. One that lies outside the data folder, or has no number of its own, is left out and told.
    """
    root = root or folder
    numbered: dict[int, Path] = {}
    told: Counter[str] = Counter()
    for entry in list_images(folder):
        why = explain_unsafe_entry(entry, root)
        digits = re.findall(r"[0-9]+", Path(entry.name).stem)
        if why is not None or not entry.is_file():
            told[why or "no file"] += 1
        elif not digits:
            told["without a number"] += 1
        elif int(digits[-1]) in numbered:
            told["of a number that another has"] += 1
        else:
            numbered[int(digits[-1])] = Path(entry.path)
    problems = [DataIssue("frames", key, f"left out, {count} of the pictures: {what}") for what, count in told.items()]
    order = sorted(numbered)
    places, found = _place_frames(order, key)
    return {place: numbered[number] for place, number in zip(places, order, strict=True)}, problems + found


def _place_frames(order: list[int], key: str) -> tuple[list[int], list[DataIssue]]:
    """The place of each number, counted from the first; what lies between them is told."""
    steps = np.diff(order)
    jumps = int((steps > MAX_NUMBER_GAP * FRAME_RATE).sum())
    steps[steps > MAX_NUMBER_GAP * FRAME_RATE] = 1
    missing = int((steps - 1).sum())
    problems = []
    if missing:
        problems.append(DataIssue("frames", key, f"numbers missing: {missing}; each shows the frame before it"))
    if jumps:
        problems.append(DataIssue("frames", key, f"jumps of over {MAX_NUMBER_GAP} s in the numbers: {jumps}; closed"))
    return [0, *np.cumsum(steps).tolist()][: len(order)], problems


def list_images(folder: Path) -> list[os.DirEntry[str]]:
    """List the pictures of a folder by their names."""
    with os.scandir(folder) as entries:
        images = [entry for entry in entries if entry.name.lower().endswith(IMAGE_SUFFIXES)]
    return sorted(images, key=lambda entry: entry.name)


def read_thumbnail(clip: Clip, side: int) -> bytes | None:
    """Read a JPEG whose short side has `side` pixels; None where there is no picture to be had."""
    try:
        picture = _open_middle_frame(clip)
        if picture is None:
            return None
        small = ImageOps.cover(picture.convert("RGB"), (side, side), Image.Resampling.LANCZOS)
    except (MediaError, OSError, *DECODE_ERRORS):
        return None
    return _save_jpeg(small, quality=80)


def _open_middle_frame(clip: Clip) -> Image.Image | None:
    """Open the picture in the middle of a folder, or the first that can be decoded from the middle of a video on."""
    if clip.sources.frames is not None:
        paths = [*number_frames(clip.sources.frames, clip.key, clip.sources.root)[0].values()]
        return Image.open(paths[len(paths) // 2]) if paths else None
    if clip.sources.video is None:
        return None
    try:
        return _decode_first_frame(clip.sources.video, from_middle=True)
    except DECODE_ERRORS:  # some files cannot be sought in
        return _decode_first_frame(clip.sources.video, from_middle=False)


def _decode_first_frame(path: Path, from_middle: bool) -> Image.Image | None:
    with open_media(path) as container:
        if from_middle and container.duration:
            container.seek(container.duration // 2)
        for stream in find_video_streams(container)[:1]:
            for frame in container.decode(stream):
                picture: Image.Image = frame.to_image()
                return picture.rotate(round(getattr(frame, "rotation", 0) / 90) % 4 * 90, expand=True)
    return None
