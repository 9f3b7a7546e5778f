"""A media file of no data set, opened as clips of one are: what prediction reads.

Key: S segments, H W pixels.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from bench.data import Clip, Files, Problem, Sample, Sampling
from bench.errors import MediaError
from datasets.media.packed import unpack
from datasets.media.packets import open_media
from datasets.media.pictures import read_video
from datasets.segments import HOP, RATE, slots
from datasets.store.opening import open_clip
from datasets.store.prepared import Form, prepare, read_facts

LONGEST = 3600.0  # seconds; all small frames of a clip stand in memory once: about 0.5 GB for 10 minutes at 112 pixels
SHARP = 120.0  # seconds of a clip up to which it is read once more for stills that people can recognise
SIDE = 96  # pixels of the short side of such a still


@dataclass(frozen=True)
class Opened:
    """A file as a predictor sees it, and what a person wants to know of it."""

    sample: Sample
    seconds: float
    slots: tuple[tuple[float, float], ...]  # S x (start, end) in s; those after `seconds` are looped copies
    problems: tuple[Problem, ...]


def open_file(path: Path, transcript: Path | None, sampling: Sampling, folder: Path) -> Opened:
    """A video, or a file of sound or of pictures alone, prepared in `folder` and opened without randomness.

    Raises MediaError for what cannot be read, and for more than an hour.
    """
    check_file(path)
    clip = Clip(path.name, 0, "test", path.name, Files(video=path, transcript=transcript))
    (prepared,) = prepare([clip], Form.of(sampling.size, sampling.mels), folder, lambda what, done, total: None)
    if prepared.path is None:
        raise MediaError("; ".join(problem.why for problem in prepared.problems))
    facts = read_facts(prepared.path)
    seconds = facts["frames"] / RATE if facts["frames"] else facts["sound"] / HOP
    sample = open_clip(prepared.path, sampling, None)
    prepared.path.unlink()
    return Opened(sample, seconds, tuple(slots(seconds, sampling)), prepared.problems)


def check_file(path: Path) -> None:
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
    if seconds is not None and seconds > LONGEST:
        raise MediaError(
            f"{path.name} lasts {seconds / 60:.0f} minutes, over the {LONGEST / 60:.0f} that are read; cut it"
        )


def stills(path: Path, opened: Opened) -> list[np.ndarray]:
    """The picture in the middle of each slot, (H, W, 3) uint8; none where the file has no picture.

    Of a long clip they are what the predictor saw, small as it is.
    """
    if not opened.sample.present[0]:
        return []
    seen: np.ndarray = opened.sample.video.numpy()
    if opened.seconds > SHARP:
        return [*seen[:, seen.shape[1] // 2]]
    picture, _ = read_video(path, SIDE, path.name)
    count = len(picture.index)
    places = [round((start + end) / 2 * RATE) % count for start, end in opened.slots]
    shown = [int(picture.index[place]) for place in places]
    found = dict(unpack(picture.packets, shown))
    return [found[number] for number in shown]
