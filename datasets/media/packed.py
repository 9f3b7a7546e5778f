"""Small pictures of one size as H.264: a packet a picture, in short groups that are decoded on their own.

Coded as red, green and blue, so that colours keep their resolution, any size will do, and decoding, which H.264
defines to the bit, gives the same values everywhere.

Key: h w pixels.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from fractions import Fraction
from typing import Any

import av
import numpy as np

from bench.errors import MediaError, StoreError
from datasets.media.packets import FAULTS, reason

GROUP = 12  # pictures from one that stands alone to the next
QUALITY = 23  # x264's rate factor; docs/decisions/0009-store-form.md
WIDEST = 8192  # pixels of a side
_FORM = (  # without looking ahead: with it, x264 now and then packs the same pictures into other bytes
    f"keyint={GROUP}:min-keyint={GROUP}:scenecut=0:bframes=0:ref=1:threads=1:repeat-headers=1:annexb=1"
    ":mbtree=0:rc-lookahead=0:weightp=0"
)

Colours = tuple[np.ndarray, np.ndarray, np.ndarray]  # (h, w) uint8 each: red, green, blue


class Packer:
    """Pictures to packets, one after the other; the encoder lags behind, so that packets come at the end."""

    def __init__(self, height: int, width: int) -> None:
        self.size = height, width
        try:
            self._encoder: Any = av.CodecContext.create("libx264rgb", "w")
        except ValueError:
            raise StoreError(
                "PyAV was built without libx264; install its wheel: pip install --only-binary av av"
            ) from None
        self._encoder.width, self._encoder.height, self._encoder.pix_fmt = width, height, "rgb24"
        self._encoder.time_base, self._encoder.thread_count = Fraction(1, 30), 1
        options = {"preset": "veryfast", "tune": "fastdecode", "crf": str(QUALITY), "x264-params": _FORM}
        self._encoder.options = options
        self._packets: list[bytes] = []
        self._count = 0

    def __len__(self) -> int:
        """Pictures so far."""
        return self._count

    def add(self, picture: np.ndarray) -> None:
        """One more (h, w, 3) uint8."""
        frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(picture))
        frame.pts = self._count
        self._count += 1
        self._packets += map(bytes, self._encoder.encode(frame))

    def close(self) -> tuple[bytes, ...]:
        """A packet for each picture; no more can follow."""
        if self._count:
            self._packets += map(bytes, self._encoder.encode(None))
        assert len(self._packets) == self._count
        return tuple(self._packets)


class Unpacker:
    """Packets to pictures through one decoder that is kept."""

    def __init__(self) -> None:
        self._decoder: Any = None

    def pictures(self, packet: Callable[[int], bytes], wanted: Iterable[int]) -> Iterator[tuple[int, Colours]]:
        """Each wanted picture once, in order; what stands before it in its group is decoded with it.

        Raises MediaError for packets that are damaged.
        """
        last = -1
        for number in sorted(set(wanted)):
            for place in range(max(last + 1, number // GROUP * GROUP), number + 1):
                frame = self._decode(packet(place))
            last = number
            yield number, _colours(frame)

    def _decode(self, data: bytes) -> Any:
        if self._decoder is None:
            self._decoder = av.CodecContext.create("h264", "r")
            self._decoder.thread_count = 1  # with more it lags behind
            self._decoder.options = {"err_detect": "explode"}  # rather than mend what is damaged
        try:
            (frame,) = self._decoder.decode(av.Packet(data))
        except FAULTS as error:
            self._decoder = None
            raise MediaError(f"packed pictures cannot be decoded ({reason(error)})") from None
        return frame


def unpack(packets: tuple[bytes, ...], wanted: Iterable[int]) -> Iterator[tuple[int, np.ndarray]]:
    """(number, (h, w, 3) uint8) of each wanted picture, in order."""
    for number, colours in Unpacker().pictures(packets.__getitem__, wanted):
        yield number, np.stack(colours, axis=-1)


def _colours(frame: Any) -> Colours:
    green, blue, red = (
        np.frombuffer(plane, dtype=np.uint8).reshape(plane.height, plane.line_size)[:, : plane.width]
        for plane in frame.planes
    )
    return red, green, blue
