"""Small media files and trees of them, written with the codecs of common real files."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np

from bench.types import DatasetInfo
from datasets.streams.video import EncodedVideo, decode_frames, encode_jpeg

CODECS = {
    ".mp4": ("mpeg4", "aac"),
    ".mov": ("mpeg4", "aac"),
    ".mkv": ("mpeg4", "libmp3lame"),
    ".avi": ("mpeg4", "libmp3lame"),
    ".flv": ("flv", "libmp3lame"),
    ".mpg": ("mpeg2video", "mp2"),
    ".webm": ("libvpx", "libopus"),
}


def brightness(second: float, shade: int = 0) -> int:
    """Return the grey level that encodes the time (100 levels per second, from 20 on) and the clip (by its shade)."""
    return min(255, int(20 + 2 * shade + 100 * second))


def write_media(
    path: Path,
    seconds: float = 1.0,
    *,
    fps: int = 25,
    times: Sequence[float] | None = None,
    size: tuple[int, int] = (64, 48),
    rate: int = 44100,
    channels: int = 1,
    sound_seconds: float | None = None,
    picture: bool = True,
    sound: bool = True,
    shade: int = 0,
) -> Path:
    """Write a file whose video gets brighter over time and whose audio is silent before its middle and loud after it.

    Files of different shades have different content.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    video_codec, audio_codec = CODECS[path.suffix]
    with av.open(str(path), "w") as container:
        shown: Any = container.add_stream(video_codec, rate=fps) if picture else None
        heard: Any = container.add_stream(audio_codec, rate=rate) if sound else None
        if heard is not None:
            heard.layout = "stereo" if channels == 2 else "mono"
        if shown is not None:
            shown.width, shown.height, shown.pix_fmt = *size, "yuv420p"
            shown.bit_rate = 2_000_000
            if times is not None:
                shown.codec_context.time_base = Fraction(1, 1000)
            for number, second in enumerate(times or np.arange(round(seconds * fps)) / fps):
                frame = av.VideoFrame.from_ndarray(np.full((*size[::-1], 3), brightness(second, shade), np.uint8))
                frame.pts = number if times is None else round(second * 1000)
                frame.time_base = Fraction(1, fps) if times is None else Fraction(1, 1000)
                container.mux(shown.encode(frame))
            container.mux(shown.encode(None))
        if heard is not None:
            _write_sound(container, heard, tone(sound_seconds or seconds, rate, shade), rate, channels)
    return path


def greys(video: EncodedVideo) -> np.ndarray:
    """Return the mean grey level at each 1/30 s."""
    means = [frame.mean() for _, frame in decode_frames(video.packets, range(len(video.packets)))]
    return np.array([means[place] for place in video.index])


def tone(seconds: float, rate: int, shade: int = 0) -> np.ndarray:
    """Return (n,) samples: silence, then from the middle on a tone of 1 kHz, 10 Hz higher for each shade."""
    time = np.arange(round(seconds * rate)) / rate
    wave: np.ndarray = 0.5 * np.sin(2 * np.pi * (1000 + 10 * shade) * time) * (time > seconds / 2)
    return wave


def write_frames(folder: Path, seconds: float = 1.0, size: tuple[int, int] = (64, 48), shade: int = 0) -> Path:
    """Write a folder of numbered frames, 30 per second, that get brighter over time."""
    folder.mkdir(parents=True, exist_ok=True)
    for number in range(round(seconds * 30)):
        picture = np.full((*size[::-1], 3), brightness(number / 30, shade), np.uint8)
        (folder / f"{number + 1:06d}.jpg").write_bytes(encode_jpeg(picture))
    return folder


def write_mp3(path: Path, seconds: float = 1.0, rate: int = 16000, shade: int = 0) -> Path:
    """Write an audio file that is silent, then loud."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with av.open(str(path), "w") as container:
        stream: Any = container.add_stream("libmp3lame", rate=rate, layout="mono")
        _write_sound(container, stream, tone(seconds, rate, shade), rate, 1)
    return path


def write_srt(path: Path, text: str = "what joy", start: float = 0.1, end: float = 0.9) -> Path:
    """Write a subtitle file of one caption."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"1\n{_time(start)} --> {_time(end)}\n{text}\n")
    return path


def write_tree(
    root: Path, card: DatasetInfo, training: int = 5, test: int = 1, layout: str = "imgs", seconds: float = 0.5
) -> Path:
    """Write a data set of tiny clips c0, c1, ... in each class, the first `training` for training.

    For a data set with sessions, the clips are named after them in turn.
    """
    for label, name in enumerate(card.classes):
        for number in range(training + test):
            shade, clip = 8 + label * (training + test) + number, clip_name(card, number)
            if layout == "imgs":
                write_frames(root / "imgs" / name / clip, seconds, (24, 24), shade)
                write_mp3(root / "mp3" / name / f"{clip}.mp3", seconds, shade=shade)
            else:
                write_media(root / "video" / name / f"{clip}.avi", seconds, rate=16000, size=(32, 24), shade=shade)
            write_srt(root / "srt" / name / f"{clip}.srt", start=0.1 * seconds, end=0.9 * seconds)
    write_lists(root, card, range(training), range(training, training + test))
    return root


def write_lists(root: Path, card: DatasetInfo, training: Sequence[int], test: Sequence[int]) -> None:
    """Write the two official lists; the test list has no class numbers, like the real ones."""
    root.mkdir(parents=True, exist_ok=True)
    rows = [f"{name}/{clip_name(card, n)} {label + 1}" for label, name in enumerate(card.classes) for n in training]
    (root / "trainlist01.txt").write_text("\n".join(rows) + "\n")
    (root / "testlist01.txt").write_text(
        "\n".join(f"{name}/{clip_name(card, n)}" for name in card.classes for n in test) + "\n"
    )


def clip_name(card: DatasetInfo, number: int) -> str:
    """Return c0, c1, ..., or for a data set with sessions an id of session 1 to 5 in turn."""
    return f"Ses0{number % 5 + 1}F_impro01_F{number:03d}" if card.group == "session" else f"c{number}"


def _write_sound(container: Any, stream: Any, wave: np.ndarray, rate: int, channels: int) -> None:
    layout = "stereo" if channels == 2 else "mono"
    samples = np.repeat((wave * 32767).astype(np.int16), channels)[None]
    frame = av.AudioFrame.from_ndarray(samples, format="s16", layout=layout)
    frame.sample_rate = rate
    context = stream.codec_context
    resampler = av.AudioResampler(
        format=context.format.name, layout=layout, rate=rate, frame_size=stream.frame_size or 1152
    )
    for part in [*resampler.resample(frame), *resampler.resample(None)]:
        container.mux(stream.encode(part))
    container.mux(stream.encode(None))


def _time(seconds: float) -> str:
    return f"00:00:{int(seconds):02d},{round(seconds % 1 * 1000):03d}"


def write_affect(root: Path) -> None:
    """Write va/<Class>/<clip>.txt for every clip with frames: valence and arousal of two frames."""
    for place, folder in enumerate(sorted(path for path in (root / "imgs").glob("*/*") if path.is_dir())):
        path = root / "va" / folder.parent.name / f"{folder.name}.txt"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"valence,arousal\n{place % 7 / 10},0.5\n{place % 5 / 10},-0.5\n")
