"""Decoding with PyAV: any picture onto a 30 a second time line of small JPEGs, any sound to log-mel frames.

Frames are scaled and packed as they come, so that a long clip never stands decoded in memory.
"""

from __future__ import annotations

from collections.abc import Iterator
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
from datasets.segments import HOP, RATE

RATE_HZ = 16000  # of sound
FLOOR = -15.9424  # log mel energy of digital silence: log of the float32 epsilon, as the Kaldi filter bank has it
_WINDOW, _STEP = 400, 160  # samples of a filter bank frame and from one to the next

av.logging.set_level(av.logging.PANIC)  # FFmpeg's complaints come as exceptions, not on the screen


@dataclass(frozen=True)
class Picture:
    """Packed frames, and which of them stands at each 1/30 s."""

    jpegs: tuple[bytes, ...]
    index: np.ndarray  # (n,) int32: place on the 30 a second time line -> frame


class PictureDecoder:
    """Picture files to PyAV frames through one decoder that is kept."""

    def __init__(self) -> None:
        self._decoder = av.CodecContext.create("mjpeg", "r")

    def __call__(self, data: bytes) -> Any:
        """A PyAV frame; raises MediaError for bytes that are no JPEG."""
        try:
            frames = self._decoder.decode(av.Packet(data))
        except (av.FFmpegError, ValueError) as error:
            self._decoder = av.CodecContext.create("mjpeg", "r")
            raise MediaError(f"no readable JPEG ({_reason(error)})") from None
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
    """A folder of numbered pictures, 30 a second; one that cannot be read is left out, and told."""
    decode, scaler, jpegs, index, problems = PictureDecoder(), VideoReformatter(), [], [], []
    paths = sorted(path for path in folder.iterdir() if path.suffix.lower() in (".jpg", ".jpeg"))
    for path in paths:
        try:
            jpegs.append(pack(_scale(decode(path.read_bytes()), side, scaler)))
        except MediaError as error:
            problems.append(Problem("frame", key, f"{path.name}: {error}"))
            if not jpegs:
                continue
        index.append(len(jpegs) - 1)  # an unreadable frame shows the one before it
    if not jpegs:
        raise MediaError(f"no readable frame among {len(paths)} in {folder.name}/")
    return Picture(tuple(jpegs), np.asarray(index, dtype=np.int32)), problems


def read_video(path: Path, side: int, key: str) -> tuple[Picture, list[Problem]]:
    """The picture of a media file, put onto 30 frames a second by its time stamps; none where it has no picture."""
    scaler, jpegs, problems = VideoReformatter(), [], []
    index: list[int] = []
    pending: Any = None
    try:
        for seconds, frame in _timed_frames(path):
            due = max(0, round(seconds * RATE))
            if pending is not None and due > len(index):
                jpegs.append(pack(_scale(pending, side, scaler)))
                index += [len(jpegs) - 1] * (due - len(index))
            pending = frame
    except av.FFmpegError as error:
        problems.append(Problem("truncated", key, f"{path.name}: decoding stopped ({_reason(error)})"))
    if pending is not None:
        jpegs.append(pack(_scale(pending, side, scaler)))
        index.append(len(jpegs) - 1)
    if problems and not jpegs:
        raise MediaError(problems[0].why)
    return Picture(tuple(jpegs), np.asarray(index, dtype=np.int32)), problems


def read_sound(path: Path, mels: int, key: str) -> tuple[np.ndarray, list[Problem]]:
    """(F, mels) float16 log mel energies every 10 ms, from the picture's start on; no rows where there is no sound."""
    parts: list[np.ndarray] = []
    problems: list[Problem] = []
    try:
        with _open(path) as container:
            if not container.streams.audio:
                return np.zeros((0, mels), dtype=np.float16), []
            resampler = av.AudioResampler(format="flt", layout="mono", rate=RATE_HZ)
            late = _delay(container)
            for frame in container.decode(audio=0):
                frame.pts = None  # the resampler would fill or drop by time stamps
                parts += [out.to_ndarray()[0] for out in resampler.resample(frame)]
            parts += [out.to_ndarray()[0] for out in resampler.resample(None)]
    except av.FFmpegError as error:
        problems.append(Problem("truncated", key, f"{path.name}: sound stopped ({_reason(error)})"))
        late = 0.0
    samples = np.concatenate(parts) if parts else np.zeros(0, dtype=np.float32)
    if late > 0:
        samples = np.concatenate([np.zeros(round(late * RATE_HZ), dtype=np.float32), samples])
    return filter_bank(samples[max(0, round(-late * RATE_HZ)) :], mels), problems


def filter_bank(samples: np.ndarray, mels: int) -> np.ndarray:
    """Kaldi's log mel energies of 16 kHz sound, one frame for every 10 ms begun."""
    import torch
    from torchaudio.compliance.kaldi import fbank

    if not len(samples):
        return np.zeros((0, mels), dtype=np.float16)
    count = -(-len(samples) // _STEP)
    wave = torch.from_numpy(samples.astype(np.float32))
    wave = torch.nn.functional.pad(wave - wave.mean(), (0, (count - 1) * _STEP + _WINDOW - len(samples)))
    energies = fbank(
        wave[None],
        htk_compat=True,
        sample_frequency=RATE_HZ,
        use_energy=False,
        window_type="hanning",
        num_mel_bins=mels,
        dither=0.0,
        frame_shift=1000 / HOP,
    )
    found: np.ndarray = energies.numpy().astype(np.float16)
    return found


def _open(path: Path) -> Any:
    """A container; raises MediaError for a file that is none."""
    try:
        if path.stat().st_size == 0:
            raise MediaError(f"{path.name} is empty (0 bytes)")
        return av.open(str(path), mode="r")
    except (av.FFmpegError, OSError) as error:
        raise MediaError(f"{path.name} cannot be opened ({_reason(error)})") from None


def _timed_frames(path: Path) -> Iterator[tuple[float, Any]]:
    """(seconds from the first frame, frame); frames without a time stamp are taken to be evenly spaced."""
    with _open(path) as container:
        pictures = [s for s in container.streams.video if not s.disposition & av.stream.Disposition.attached_pic]
        if not pictures:
            return
        stream = pictures[0]
        step = 1 / float(stream.average_rate or RATE)
        first, last = None, -step
        for frame in container.decode(stream):
            seconds = float(frame.time) if frame.time is not None else last + step
            first = seconds if first is None else first
            last = max(seconds, last)
            yield last - first, frame


def _delay(container: Any) -> float:
    """Seconds by which the sound starts later (negative: earlier) than the picture, as the container states."""
    sound, pictures = container.streams.audio[0], container.streams.video
    if not pictures or sound.start_time is None or pictures[0].start_time is None:
        return 0.0
    return float(sound.start_time * sound.time_base - pictures[0].start_time * pictures[0].time_base)


def _scale(frame: Any, side: int, convert: VideoReformatter) -> np.ndarray:
    """(H, W, 3) uint8 upright with the short side of `side` pixels."""
    width, height = frame.width, frame.height
    scale = side / min(width, height)
    size = {"width": max(side, round(width * scale)), "height": max(side, round(height * scale))}
    small = convert.reformat(frame, **size, format="rgb24", interpolation="AREA")
    picture: np.ndarray = small.to_ndarray()
    turns = round(getattr(frame, "rotation", 0) / 90) % 4
    return np.ascontiguousarray(np.rot90(picture, turns)) if turns else picture


def _reason(error: Exception) -> str:
    text = getattr(error, "strerror", None) or str(error)
    return " ".join(text.split())
