"""Compare parts of a file, frame by frame and sample by sample, with the slices of its whole decoding."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest

from bench.types import Clip, ClipSources
from datasets.decode import clip as decoding
from datasets.decode.container import find_places
from datasets.segments import FRAME_RATE
from datasets.streams import video
from datasets.streams.audio import SAMPLE_RATE, read_samples


class FrameRecorder:
    """Stand-in for the encoder that stores a digest of each frame as its packet."""

    def __init__(self, side: int) -> None:
        self.size, self.packets = (side, side), []

    @property
    def count(self) -> int:
        return len(self.packets)

    @property
    def last_number(self) -> int:
        return max(0, self.count - 1)

    def add(self, frame: Any) -> None:
        self.packets.append(hashlib.sha256(frame.to_ndarray(format="rgb24").tobytes()).digest())

    def close(self) -> tuple[bytes, ...]:
        return tuple(self.packets)


def make_parts(files: ClipSources, spans: Sequence[tuple[float | None, float | None]]) -> list[Clip]:
    return [Clip(f"joy/p{n}", 0, "train", "g", files, start, end) for n, (start, end) in enumerate(spans)]


def read_frame_digests(found: Any) -> list[bytes]:
    """Return the digest of the frame at each place."""
    return [found.packets[number] for number in found.index]


def read_media(clips: Sequence[Clip]) -> dict[int, Any]:
    """Return number -> media of each part, with digests in place of packets."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(video, "FrameEncoder", FrameRecorder)
        return dict(decoding._read_media(clips, 24))


Spans = Sequence[tuple[float | None, float | None]]


def check_slices(files: ClipSources, *spans: Spans) -> dict[int, Any]:
    """Assert that each part equals its slice of the whole file, for each list of spans that is read in one pass.

    Returns the media of the parts of the first list.
    """
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(video, "FrameEncoder", FrameRecorder)
        frames: list[bytes] = []
        if files.frames is not None:
            frames = read_frame_digests(video.read_frame_folder(files.frames, 24, "k")[0])
        elif files.video is not None:
            frames = read_frame_digests(video.read_video(files.video, 24, "k")[0])
    source = files.audio or files.video
    samples = read_samples(source, "k")[0] if source is not None else np.zeros(0)
    found = []
    for listed in spans:
        clips = make_parts(files, listed)
        media = read_media(clips)
        found.append(media)
        assert sorted(media) == list(range(len(clips)))
        for number, clip in enumerate(clips):
            check_slice(clip, media[number], frames, samples)
    return found[0]


def check_slice(clip: Clip, media: Any, frames: list[bytes], samples: np.ndarray) -> None:
    """Assert that a part has the frames and samples of the whole file from its start on."""
    (first, stop), (begin, end) = find_places(clip, FRAME_RATE), find_places(clip, SAMPLE_RATE)
    if first < len(frames):
        shown, expected = read_frame_digests(media.video), frames[first:stop]
        assert len(shown) == len(expected), clip
        assert not [n for n, (a, b) in enumerate(zip(shown, expected, strict=True)) if a != b], clip
    heard = media.samples if media.samples is not None else np.zeros(0)
    assert np.array_equal(heard, samples[begin:end]), clip


def write_numbered(
    path: Path,
    codec: str,
    sound: str | None = None,
    *,
    seconds: int = 8,
    times: Sequence[float] | None = None,
    first: float = 0.0,
    late: float = 0.0,
    key_frames: int = 40,
    between: int = 2,
    **options: str,
) -> Path:
    """Write a file whose frames and samples all differ: `key_frames` frames from one key frame to the next.

    `first` is the time stamp of its start, `late` the seconds by which the audio starts later, `between` the number of
    B-frames, `options` those of the codec.
    """
    ticks = Fraction(1, 25) if path.suffix in (".mpg", ".avi", ".flv") else Fraction(1, 1000)
    with av.open(str(path), "w") as container:
        shown: Any = container.add_stream(codec, rate=25)
        shown.width, shown.height, shown.pix_fmt = 64, 48, "yuv420p"
        shown.codec_context.gop_size, shown.codec_context.max_b_frames = key_frames, between
        shown.codec_context.time_base, shown.options = ticks, options
        heard: Any = container.add_stream(sound, rate=48000 if sound == "libopus" else 44100) if sound else None
        if heard is not None:
            heard.layout = "mono"
        pieces = _make_noise(heard, seconds, first + late) if heard is not None else []
        for number, second in enumerate(times if times is not None else np.arange(seconds * 25) / 25):
            while pieces and pieces[0].time <= second + first:
                container.mux(heard.encode(pieces.pop(0)))
            image = np.full((48, 64, 3), number % 256, np.uint8)
            image[10:20, number % 60 : number % 60 + 4] = 255 - number % 256
            frame = av.VideoFrame.from_ndarray(image)
            frame.pts, frame.time_base = round((second + first) / ticks), ticks
            container.mux(shown.encode(frame))
        for piece in pieces:
            container.mux(heard.encode(piece))
        for stream in filter(None, (shown, heard)):
            container.mux(stream.encode(None))
    return path


def _make_noise(stream: Any, seconds: int, first: float) -> list[Any]:
    """Return audio frames of the size that the encoder of a stream takes."""
    noise = np.random.default_rng(0).normal(size=(1, seconds * stream.rate)) * 8000
    wave = av.AudioFrame.from_ndarray(noise.astype(np.int16), format="s16", layout="mono")
    wave.sample_rate, wave.pts, wave.time_base = stream.rate, round(first * stream.rate), Fraction(1, stream.rate)
    size = stream.frame_size or 1152
    converter = av.AudioResampler(stream.codec_context.format.name, "mono", stream.rate, frame_size=size)
    return [*converter.resample(wave), *converter.resample(None)]
