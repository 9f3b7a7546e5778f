"""A media file outside any data set, opened for prediction in the same way as a clip.

Key: S segments, H W pixels.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from bench.errors import MediaError
from bench.types import Clip, ClipSources, DataIssue, OpenedClip, Sampling
from datasets.decode.container import open_media
from datasets.decode.video import decode_frames, read_video
from datasets.prepare import PrepareSpec, prepare_clips, read_clip_facts
from datasets.prepared_clips import open_clip
from datasets.segments import AUDIO_FRAME_RATE, FRAME_RATE, compute_slots

MAX_FILE_SECONDS = 3600.0  # all small frames are in memory at once: 0.5 GB for 10 minutes at 112 pixels
MAX_REREAD_SECONDS = 120.0  # seconds of a clip up to which it is read once more for stills that people can recognise
STILL_SIDE = 96  # pixels of the short side of such a still


@dataclass(frozen=True)
class OpenedFile:
    """A file as a predictor sees it, and what a person wants to know of it."""

    clip: OpenedClip
    seconds: float
    slots: tuple[tuple[float, float], ...]  # S x (start, end) in s; those after `seconds` are looped copies
    issues: tuple[DataIssue, ...]


def open_media_file(path: Path, transcript: Path | None, sampling: Sampling, folder: Path) -> OpenedFile:
    """Prepare a media file in `folder` and open it without randomness; raises MediaError."""
    check_media_file(path)
    clip = Clip(path.name, 0, "test", path.name, ClipSources(video=path, transcript=transcript))
    form = PrepareSpec.for_size(sampling.size, sampling.mels)
    (prepared,) = prepare_clips([clip], form, folder, lambda what, done, total: None)
    if prepared.path is None:
        raise MediaError("; ".join(problem.why for problem in prepared.issues))
    facts = read_clip_facts(prepared.path)
    seconds = facts["frames"] / FRAME_RATE if facts["frames"] else facts["sound"] / AUDIO_FRAME_RATE
    sample = open_clip(prepared.path, sampling, None)
    prepared.path.unlink()
    return OpenedFile(sample, seconds, tuple(compute_slots(seconds, sampling)), prepared.issues)


def check_media_file(path: Path) -> None:
    """Raise MediaError for what is no media file, and for one that says it is too long."""
    if not path.exists():
        raise MediaError(f"{path} is not there")
    if path.is_dir():
        raise MediaError(f"{path} is a folder; name the files in it, for example {path}/*")
    try:
        with open_media(path) as container:
            seconds = container.duration / 1e6 if container.duration else None
    except OSError as error:
        raise MediaError(f"{path.name} cannot be read ({error.strerror or error})") from None
    if seconds is not None and seconds > MAX_FILE_SECONDS:
        raise MediaError(
            f"{path.name} lasts {seconds / 60:.0f} minutes, over the {MAX_FILE_SECONDS / 60:.0f} that are read; cut it"
        )


def read_slot_frames(path: Path, opened: OpenedFile) -> list[np.ndarray]:
    """The picture in the middle of each slot, (H, W, 3) uint8; none where the file has no picture.

    Of a long clip they are what the predictor saw, small as it is.
    """
    if not opened.clip.present[0]:
        return []
    seen: np.ndarray = opened.clip.video.numpy()
    if opened.seconds > MAX_REREAD_SECONDS:
        return [*seen[:, seen.shape[1] // 2]]
    picture, _ = read_video(path, STILL_SIDE, path.name)
    count = len(picture.index)
    places = [round((start + end) / 2 * FRAME_RATE) % count for start, end in opened.slots]
    shown = [int(picture.index[place]) for place in places]
    found = dict(decode_frames(picture.packets, shown))
    return [found[number] for number in shown]
