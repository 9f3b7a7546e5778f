"""Benchmark of data loading: the prepared store against reading as in the authors' tools, and preparation itself.

Clips are 60 seconds long and 240 pixels high, joined from real clips if available, else from the sample. Every
figure is a ratio or is printed next to its reference, measured in turns in one process.
"""

from __future__ import annotations

import os
import tempfile
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import av
import numpy as np
import torch
from PIL import Image
from torchaudio.compliance.kaldi import fbank

from bench.loader import Loader
from bench.rng import RngTree
from bench.types import AudioSpec, Clip, ClipSources, OpenedClip, Sampling, VideoSpec
from datasets import prepared_clips as opening
from datasets.catalog.ekman6 import INFO
from datasets.prepare import PrepareSpec, prepare_clips
from datasets.prepared_clips import NO_CACHE, PreparedClipSet
from datasets.sample import ensure_sample
from datasets.segments import cut_segments
from datasets.streams.text import read_transcript
from tests.conftest import Quiet
from tests.datasets.trees import write_srt
from tests.toys import make_context

SHARED = Path(os.environ.get("BENCH_SHARED", Path(__file__).resolve().parents[3] / "shared" / "data"))
SECONDS, LINES, CLIPS = 60, 240, 4
PAPER = Sampling(12, VideoSpec(16, 1, 112), AudioSpec(128), training=True)
QUICK = replace(PAPER, size=24, mels=64)
TURNS, READS, WARM, BATCH = 12, 240, 80, 4  # samples per way; per loader, for its warm-up, and per batch


def footage(folder: Path) -> tuple[str, list[Path]]:
    """Return a description of the source clips, and their files."""
    acted = sorted((SHARED / "cremad_clips" / "media").glob("*.flv"))
    heads = sorted((SHARED / "grid_clips").glob("*.mpg"))
    if acted and heads:
        return "real clips, joined and looped", [*acted, *heads]
    root = ensure_sample(INFO, folder, lambda *_: None, clips=2, training=1)
    return "generated sample clips, enlarged and looped", sorted((root / "imgs").glob("*/*"))


def write_clip(sources: list[Path], root: Path, number: int) -> tuple[ClipSources, ClipSources]:
    """Write a clip as JPEGs with mp3 and srt, as the authors' tools do, and as a video; return the files of both."""
    frames: list[np.ndarray] = []
    sound = np.zeros(0, dtype=np.float32)
    for source in sources[number:] + sources[:number]:
        new_frames, wave = _read_dir(source) if source.is_dir() else _read_media(source)
        if frames and new_frames[0].shape != frames[0].shape:
            continue
        frames += new_frames
        sound = np.concatenate([sound, np.resize(wave, len(new_frames) * 44100 // 30)])
    frames = [frames[index % len(frames)] for index in range(SECONDS * 30)]
    sound = np.resize(sound, SECONDS * 44100)
    tree = root / "imgs" / f"c{number}"
    tree.mkdir(parents=True)
    for place, frame in enumerate(frames, 1):
        Image.fromarray(frame).save(tree / f"{place:06d}.jpg")  # Pillow's defaults: quality 75, 4:2:0
    words = write_srt(root / f"c{number}.srt", "lay blue at c two now so very happy " * 20, 0.1, SECONDS - 0.1)
    audio, video = root / f"c{number}.mp3", root / f"c{number}.mp4"
    with av.open(str(audio), "w") as written:
        _write_sound(written, "libmp3lame", sound)
    with av.open(str(video), "w") as written:
        stream: Any = written.add_stream("libx264", rate=30, options={"crf": "23", "preset": "veryfast"})
        stream.height, stream.width, stream.pix_fmt = *frames[0].shape[:2], "yuv420p"
        for frame in frames:
            written.mux(stream.encode(av.VideoFrame.from_ndarray(frame)))
        written.mux(stream.encode(None))
    return ClipSources(frames=tree, audio=audio, transcript=words), ClipSources(
        video=video, audio=audio, transcript=words
    )


def read_as_authors(files: ClipSources, sampling: Sampling, rng: np.random.Generator) -> tuple[Any, ...]:
    """Read the same sample from the tree: resize and crop 192 JPEGs, filter the whole audio, parse the subtitles."""
    assert files.frames is not None and files.audio is not None and files.transcript is not None
    words, _ = read_transcript(files.transcript, "")
    with av.open(str(files.audio)) as container:
        resampler = av.AudioResampler("flt", "mono", 16000)
        parts = [out.to_ndarray()[0] for frame in container.decode(audio=0) for out in resampler.resample(frame)]
    wave = torch.from_numpy(np.concatenate(parts))[None]
    energies = fbank(
        wave - wave.mean(), htk_compat=True, window_type="hanning", num_mel_bins=sampling.audio.mels, dither=0.0
    )
    segments = cut_segments(SECONDS * 30, len(energies), words, sampling, rng)
    size, short, corner = sampling.video.size, round(sampling.video.size * 8 / 7), rng.random(2)
    video = np.zeros((sampling.segments, sampling.video.frames, size, size, 3), dtype=np.uint8)
    for s, segment in enumerate(segments):
        for t, place in enumerate(segment.frames):
            with Image.open(files.frames / f"{place + 1:06d}.jpg") as picture:
                scale = short / min(picture.size)
                width, height = (max(short, round(side * scale)) for side in picture.size)
                small = picture.convert("RGB").resize((width, height), Image.Resampling.BILINEAR)
            left, top = int(corner[0] * (width - size)), int(corner[1] * (height - size))
            video[s, t] = np.asarray(small.crop((left, top, left + size, top + size)))
    audio = torch.stack([energies[np.maximum(segment.sound, 0)] for segment in segments])
    return torch.from_numpy(video), audio, tuple(segment.words for segment in segments)


def measure_reading(clips: PreparedClipSet, trees: list[ClipSources], sampling: Sampling, name: str) -> None:
    """Print the speed-up of the store over the authors' tools, by the best time of each clip, on one thread."""
    opening.CACHE = NO_CACHE
    ours, theirs, rng = [9.0] * len(trees), [9.0] * len(trees), np.random.default_rng(0)
    for turn in range(TURNS):
        for number, tree in enumerate(trees):
            ours[number] = min(ours[number], _timed(lambda: clips.read(number, sampling, RngTree(0), turn)))  # noqa: B023
            if turn % 3 == 0:
                theirs[number] = min(theirs[number], _timed(lambda: read_as_authors(tree, sampling, rng)))  # noqa: B023
    ratio = sum(theirs) / sum(ours)
    mine, other = (1e3 * sum(spent) / len(trees) for spent in (ours, theirs))
    print(f"{name}, sample from the store    {ratio:6.1f} times as fast  ({mine:.1f} and {other:.1f} ms; target: 8)")


def measure_loaders(clips: PreparedClipSet) -> None:
    """Print the speed-up of two loader processes over one, in turns."""
    best = {1: 0.0, 2: 0.0}
    times = (READS + WARM) // len(clips.paths)
    many = PreparedClipSet(clips.clips * times, clips.paths * times)
    for _ in range(3):
        for count in best:
            ctx = make_context(Quiet(), Path(), loaders=count)
            batches = Loader(_Cold(many), PAPER, BATCH, ctx, shuffle=False).iterate_epoch(0)
            for _ in range(WARM // BATCH):
                next(batches)
            best[count] = max(best[count], READS / _timed(lambda: deque(batches, maxlen=0)))  # noqa: B023
    rates = f"{best[1]:.0f} and {best[2]:.0f} samples/s; target: 1.8"
    print(f"two loader processes against one  {best[2] / best[1]:6.2f} times as fast  ({rates})", flush=True)


def measure_size(prepared: list[Path], trees: list[ClipSources]) -> None:
    """Print the megabytes per hour of video in the store and in the tree."""
    hours = len(trees) * SECONDS / 3600
    store = sum(path.stat().st_size for path in prepared) / hours / 1e6
    frames, sound = (sum(sizes) / hours / 1e6 for sizes in zip(*map(_sizes, trees), strict=True))
    print(
        f"store, MB per hour of video        {store:6.0f}           (JPEG tree {frames:.0f}, mp3 {sound:.0f}: "
        f"{(frames + sound) / store:.1f} times as much)"
    )


def main() -> None:
    """Print each figure on a line."""
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        description, sources = footage(folder)
        written = [write_clip(sources, folder, 3 * number) for number in range(CLIPS)]
        print(f"{CLIPS} clips of {SECONDS} s and {LINES} lines: {description}")
        trees, videos = [list(files) for files in zip(*written, strict=True)]
        for kind, files in (("JPEG tree and mp3", trees), ("H.264 and mp3", videos)):
            clips = tuple(Clip(f"joy/c{n}", 0, "train", f"c{n}", file) for n, file in enumerate(files))
            spent = _timed(lambda: prepare_clips(clips, PrepareSpec.for_size(112, 128), folder / kind, lambda *_: None))  # noqa: B023
            rate = SECONDS * CLIPS / spent
            print(f"preparing, {kind:<22}{rate:6.0f} times real time (including start-up; target: 20)", flush=True)
        clips = tuple(Clip(f"joy/c{n}", 0, "train", f"c{n}", file) for n, file in enumerate(trees))
        for label, sampling in (("paper", PAPER), ("quick", QUICK)):
            done = prepare_clips(
                clips,
                PrepareSpec.for_size(sampling.video.size, sampling.audio.mels),
                folder / "JPEG tree and mp3",
                lambda *_: None,
            )
            paths = tuple(item.path for item in done if item.path is not None)
            measure_reading(PreparedClipSet(clips, paths), trees, sampling, label)
            measure_size(list(paths), trees)
            if label == "paper":
                measure_loaders(PreparedClipSet(clips, paths))


@dataclass(frozen=True)
class _Cold:
    """Clips that are never cached in memory."""

    inner: PreparedClipSet

    @property
    def clips(self) -> tuple[Clip, ...]:
        return self.inner.clips

    def read(self, index: int, sampling: Sampling, streams: RngTree, epoch: int) -> OpenedClip:
        opening.CACHE = NO_CACHE
        return self.inner.read(index, sampling, streams, index)


def _timed(work: Callable[[], object]) -> float:
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def _sizes(files: ClipSources) -> tuple[int, int]:
    assert files.frames is not None and files.audio is not None
    return sum(path.stat().st_size for path in files.frames.iterdir()), files.audio.stat().st_size


def _read_dir(folder: Path) -> tuple[list[np.ndarray], np.ndarray]:
    pictures = [Image.open(path).convert("RGB") for path in sorted(folder.glob("*.jpg"))]
    size = round(pictures[0].width * LINES / pictures[0].height) // 2 * 2, LINES
    sound = folder.parents[2] / "mp3" / folder.parent.name / f"{folder.name}.mp3"
    return [np.asarray(picture.resize(size, Image.Resampling.BILINEAR)) for picture in pictures], _read_sound(sound)


def _read_media(path: Path) -> tuple[list[np.ndarray], np.ndarray]:
    with av.open(str(path)) as container:
        rate = float(container.streams.video[0].average_rate or 30)
        shown = list(container.decode(video=0))
    size = {"width": round(shown[0].width * LINES / shown[0].height) // 2 * 2, "height": LINES}
    frames = [frame.reformat(**size, format="rgb24", interpolation="AREA").to_ndarray() for frame in shown]
    return [frames[int(place * rate / 30)] for place in range(int(len(frames) * 30 / rate))], _read_sound(path)


def _read_sound(path: Path) -> np.ndarray:
    resampler = av.AudioResampler("flt", "mono", 44100)
    with av.open(str(path)) as container:
        return np.concatenate([o.to_ndarray()[0] for f in container.decode(audio=0) for o in resampler.resample(f)])


def _write_sound(container: Any, codec: str, wave: np.ndarray) -> None:
    stream = container.add_stream(codec, rate=44100, layout="mono")
    stream.bit_rate = 128_000
    frame = av.AudioFrame.from_ndarray(wave[None].astype(np.float32), format="flt", layout="mono")
    frame.sample_rate = 44100
    resampler = av.AudioResampler("fltp", "mono", 44100, frame_size=stream.frame_size or 1152)
    for part in [*resampler.resample(frame), *resampler.resample(None)]:
        container.mux(stream.encode(part))
    container.mux(stream.encode(None))
