"""Any media file, opened for prediction like a clip of a data set.

Key: S segments, H W pixels.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from bench.errors import MediaError
from bench.types import Clip, ClipSources, DataIssue, OpenedClip, Sampling
from datasets.decode.container import open_media
from datasets.prepare import PrepareSpec, prepare_clips, read_clip_facts
from datasets.prepared_clips import open_clip
from datasets.segments import AUDIO_FRAME_RATE, FRAME_RATE, compute_slots
from datasets.streams.video import decode_frames, read_video

MAX_FILE_SECONDS = 3600.0  # all scaled frames are in memory at once: 0.5 GB for 10 minutes at 112 pixels
MAX_REREAD_SECONDS = 120.0  # files up to this length are decoded again for sharper thumbnails
STILL_SIDE = 96  # pixels of the short side of such a thumbnail


@dataclass(frozen=True)
class OpenedFile:
    """Opened media file: the input of a predictor, and facts to show to the user."""

    clip: OpenedClip
    seconds: float
    slots: tuple[tuple[float, float], ...]  # S x (start, end) in seconds; those after `seconds` are looped copies
    issues: tuple[DataIssue, ...]


def open_media_file(path: Path, transcript: Path | None, sampling: Sampling, folder: Path) -> OpenedFile:
    """Prepare a media file in `folder` and open it without augmentation; raises MediaError if it cannot be read.

    The prepared file is removed afterwards.
    """
    check_media_file(path)
    clip = Clip(path.name, 0, "test", path.name, ClipSources(video=path, transcript=transcript))
    form = PrepareSpec.for_size(sampling.video.size, sampling.audio.mels)
    (prepared,) = prepare_clips([clip], form, folder, lambda what, done, total: None)
    if prepared.path is None:
        raise MediaError("; ".join(problem.why for problem in prepared.issues))
    facts = read_clip_facts(prepared.path)
    seconds = facts["frames"] / FRAME_RATE if facts["frames"] else facts["sound"] / AUDIO_FRAME_RATE
    sample = open_clip(prepared.path, sampling, None)
    prepared.path.unlink()
    return OpenedFile(sample, seconds, tuple(compute_slots(seconds, sampling)), prepared.issues)


def check_media_file(path: Path) -> None:
    """Raise MediaError for a missing file, a folder, a file of another kind, or one of more than MAX_FILE_SECONDS."""
    if not path.exists():
        raise MediaError(f"no such file: {path}")
    if path.is_dir():
        raise MediaError(f"{path} is a folder; give the files in it, for example {path}/*")
    try:
        with open_media(path) as container:
            seconds = container.duration / 1e6 if container.duration else None
    except OSError as error:
        raise MediaError(f"cannot read {path.name} ({error.strerror or error})") from None
    if seconds is not None and seconds > MAX_FILE_SECONDS:
        raise MediaError(
            f"{path.name} lasts {seconds / 60:.0f} minutes, the limit is {MAX_FILE_SECONDS / 60:.0f}; cut the file"
        )


def read_slot_frames(path: Path, opened: OpenedFile) -> list[np.ndarray]:
    """Return the (H, W, 3) uint8 frame in the middle of each slot; [] for a file without video.

    Files longer than MAX_REREAD_SECONDS return the smaller frames that the predictor gets.
    """
    if not opened.clip.present["video"]:
        return []
    frames: np.ndarray = opened.clip.video.numpy()
    if opened.seconds > MAX_REREAD_SECONDS:
        return [*frames[:, frames.shape[1] // 2]]
    video, _ = read_video(path, STILL_SIDE, path.name)
    count = len(video.index)
    places = [round((start + end) / 2 * FRAME_RATE) % count for start, end in opened.slots]
    numbers = [int(video.index[place]) for place in places]
    decoded = dict(decode_frames(video.packets, numbers))
    return [decoded[number] for number in numbers]
