"""Real clips next to the checkout, arranged for tests as an Ekman-6 tree in either layout.

Six acted clips have their real emotion as class; the talking heads have arbitrary classes.
"""

from __future__ import annotations

import csv
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import av

from datasets.catalog.ekman6 import INFO
from datasets.streams.video import decode_frames, encode_jpeg, read_video

EMOTIONS = {"ANG": "anger", "DIS": "disgust", "FEA": "fear", "HAP": "joy", "SAD": "sadness", "NEU": "surprise"}


@dataclass(frozen=True)
class RealClip:
    """Media file with its class, transcript and split."""

    path: Path
    label: str
    words: str
    split: str


def real_clips(shared: Path) -> list[RealClip]:
    """Return all clips: 17 with video and audio, 6 with audio only; one talking head of each class is for test."""
    acted = []
    for row in _rows(shared / "cremad_clips" / "labels.csv"):
        path = shared / "cremad_clips" / "media" / row["file"]
        acted.append(RealClip(path, EMOTIONS[path.stem.split("_")[2]], row["transcript"], "train"))
    heads = []
    for number, row in enumerate(_rows(shared / "grid_clips" / "transcripts.csv")):
        split = "test" if number < len(INFO.classes) else "train"
        label = INFO.classes[number % len(INFO.classes)]
        heads.append(RealClip(shared / "grid_clips" / row["file"], label, row["transcript"], split))
    return acted + heads


def arrange(clips: list[RealClip], root: Path, layout: str) -> Path:
    """Write a tree of frames, mp3 and srt ("imgs"), or of the original files with a subtitle next to each ("video")."""
    for clip in clips:
        sound_only = clip.path.suffix == ".mp3"
        if sound_only:
            _copy(clip.path, root / "mp3" / clip.label / clip.path.name)
        elif layout == "video":
            _copy(clip.path, root / "video" / clip.label / clip.path.name)
        else:
            _split_media(clip, root)
        srt = root / ("srt" if sound_only or layout == "imgs" else "video") / clip.label / f"{clip.path.stem}.srt"
        srt.parent.mkdir(parents=True, exist_ok=True)
        srt.write_text(f"1\n00:00:00,300 --> 00:00:02,500\n{clip.words}\n")
    for split in ("train", "test"):
        rows = [f"{clip.label}/{clip.path.stem}" for clip in clips if clip.split == split]
        (root / f"{split}list01.txt").write_text("\n".join(rows) + "\n")
    return root


def _split_media(clip: RealClip, root: Path) -> None:
    """Write frames at 30 per second and an mp3, like the authors' tools."""
    video, _ = read_video(clip.path, 128, clip.path.stem)
    folder = root / "imgs" / clip.label / clip.path.stem
    folder.mkdir(parents=True)
    jpegs = [encode_jpeg(frame) for _, frame in decode_frames(video.packets, range(len(video.packets)))]
    for number, index in enumerate(video.index, 1):
        (folder / f"{number:06d}.jpg").write_bytes(jpegs[index])
    target = root / "mp3" / clip.label / f"{clip.path.stem}.mp3"
    target.parent.mkdir(parents=True, exist_ok=True)
    with av.open(str(clip.path)) as source, av.open(str(target), "w") as written:
        stream: Any = written.add_stream("libmp3lame", rate=44100, layout="mono")
        resampler = av.AudioResampler("s16p", "mono", 44100, frame_size=1152)
        for frame in source.decode(audio=0):
            frame.pts = None
            for part in resampler.resample(frame):
                written.mux(stream.encode(part))
        for part in resampler.resample(None):
            written.mux(stream.encode(part))
        written.mux(stream.encode(None))


def _copy(source: Path, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    shutil.copy(source, target)


def _rows(path: Path) -> list[dict[str, str]]:
    with path.open() as file:
        return list(csv.DictReader(file))
