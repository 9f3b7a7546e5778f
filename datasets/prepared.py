"""The prepared store: one file a clip with packed frames, log mel energies and words, read at random.

A file is written whole or not at all under a name that follows from its sources, so that preparing can be killed
and started again, and a clip whose sources change is prepared anew.
"""

from __future__ import annotations

import hashlib
import json
import multiprocessing
import os
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bench.children import work_alone
from bench.data import Clip, Problem, Sample, Sampling, Word
from bench.errors import MediaError
from bench.files import whole, write_whole
from bench.streams import Streams

if TYPE_CHECKING:
    import numpy as np

FORM = 1  # of the files; a change of their content needs a new number
MASK_BINS, MASK_FRAMES = 8, 20  # SpecAugment: at most one eighth of the bins, at most 20 frames of 10 ms


@dataclass(frozen=True)
class Form:
    """What the prepared files of a clip depend on, beside its sources."""

    side: int  # pixels of the short side: a crop's size and a seventh more
    mels: int

    @staticmethod
    def of(size: int, mels: int) -> Form:
        """The form that serves crops of `size` pixels."""
        return Form(round(size * 8 / 7), mels)

    @property
    def folder(self) -> str:
        """Its folder's name."""
        return f"side{self.side}-mels{self.mels}-form{FORM}"


@dataclass(frozen=True)
class PreparedClips:
    """A ClipSet over prepared files; holds paths and labels only."""

    clips: tuple[Clip, ...]
    paths: tuple[Path, ...]

    def read(self, index: int, sampling: Sampling, streams: Streams, epoch: int) -> Sample:
        """Clip `index` opened; random moments, crop, flip and SpecAugment follow from (seed, epoch, clip key)."""
        from datasets.opening import open_clip

        key = self.clips[index].key
        rng = streams.numpy("augmentation", epoch, key) if sampling.training else None
        return open_clip(self.paths[index], sampling, rng)


@dataclass(frozen=True)
class Prepared:
    """A clip that was prepared, or a reason why not."""

    clip: Clip
    path: Path | None
    content: str  # sha256 of the bytes of its sources
    problems: tuple[Problem, ...]


def prepare(clips: Sequence[Clip], form: Form, folder: Path, report: Callable[[str, int, int], None]) -> list[Prepared]:
    """Every clip's prepared file, made where it is not there yet, in parallel over the cores."""
    place = folder / form.folder
    names = [_name(clip) for clip in clips]
    missing = [i for i, name in enumerate(names) if not _done(place, name)]
    if missing:
        place.mkdir(parents=True, exist_ok=True)
        _prepare_missing([(clips[i], place, names[i], form) for i in missing], report)
    return [_outcome(clip, place, name) for clip, name in zip(clips, names, strict=True)]


def prepare_clip(clip: Clip, place: Path, name: str, form: Form) -> None:
    """Decode one clip into its prepared file, or write down why it cannot be."""
    try:
        data, facts = _decode(clip, form)
    except MediaError as error:
        told = {"content": _content(clip), "problems": [["unreadable", clip.key, str(error)]]}
        write_whole(place / f"{name}.json", json.dumps(told).encode())
        return
    from safetensors.numpy import save_file

    with whole(place / f"{name}.safetensors") as temporary:
        save_file(data, temporary, metadata={"facts": json.dumps(facts)})


def _prepare_missing(work: list[tuple[Clip, Path, str, Form]], report: Callable[[str, int, int], None]) -> None:
    workers = min(len(work), os.cpu_count() or 1)
    report("prepare", 0, len(work))
    if len(work) < 4:
        for done, item in enumerate(work, 1):
            prepare_clip(*item)
            report("prepare", done, len(work))
        return
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(workers, mp_context=context, initializer=work_alone) as pool:
        futures = [pool.submit(prepare_clip, *item) for item in work]
        try:
            for done, future in enumerate(as_completed(futures), 1):
                future.result()
                report("prepare", done, len(work))
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise


def _decode(clip: Clip, form: Form) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
    """The tensors of a prepared file, and the facts beside them; raises MediaError where nothing can be read."""
    import numpy as np

    from datasets.media import Picture, read_frames, read_video
    from datasets.sound import read_sound
    from datasets.transcript import read_transcript

    files, problems = clip.files, []
    picture = Picture((), np.zeros(0, dtype=np.int32))
    if files.frames is not None:
        picture, found = read_frames(files.frames, form.side, clip.key)
        problems += found
    elif files.video is not None:
        picture, found = read_video(files.video, form.side, clip.key)
        problems += found
    source = files.audio or files.video
    sound = np.zeros((0, form.mels), dtype=np.float16)
    if source is not None:
        try:
            sound, found = read_sound(source, form.mels, clip.key)
            problems += found
        except MediaError as error:
            problems.append(Problem("sound", clip.key, str(error)))
    words: list[Word] = []
    if files.transcript is not None:
        words, found = read_transcript(files.transcript, clip.key)
        problems += found
    if not picture.jpegs and not len(sound):
        raise MediaError("neither picture nor sound can be read")
    if not len(sound):
        problems.append(Problem("no sound", clip.key, "the clip has no sound; it is used without"))
    if not picture.jpegs:
        problems.append(Problem("no picture", clip.key, "the clip has no picture; it is used without"))
    offsets = np.cumsum([0, *map(len, picture.jpegs)])
    data: dict[str, np.ndarray] = {
        "jpegs": np.frombuffer(b"".join(picture.jpegs) or b"\0", dtype=np.uint8),
        "offsets": offsets.astype(np.int64),
        "index": picture.index if len(picture.index) else np.full(1, -1, dtype=np.int32),
        "sound": sound if len(sound) else np.zeros((1, 0), dtype=np.float16),
    }
    facts = {
        "content": _content(clip),
        "words": [[word.text, word.start, word.end] for word in words],
        "problems": [[p.what, p.where, p.why] for p in problems],
        "frames": len(picture.index),
        "sound": len(sound),
    }
    return data, facts


def _outcome(clip: Clip, place: Path, name: str) -> Prepared:
    path = place / f"{name}.safetensors"
    if path.exists():
        facts = read_facts(path)
        return Prepared(clip, path, facts["content"], tuple(Problem(*row) for row in facts["problems"]))
    told = json.loads((place / f"{name}.json").read_text())
    return Prepared(clip, None, told["content"], tuple(Problem(*row) for row in told["problems"]))


def read_facts(path: Path) -> dict[str, Any]:
    """What a prepared file says of itself, from its header alone."""
    with path.open("rb") as file:
        header = json.loads(file.read(int.from_bytes(file.read(8), "little")))
    facts: dict[str, Any] = json.loads(header["__metadata__"]["facts"])
    return facts


def _done(place: Path, name: str) -> bool:
    return (place / f"{name}.safetensors").exists() or (place / f"{name}.json").exists()


def _sources(clip: Clip) -> list[Path]:
    files = clip.files
    return [path for path in (files.frames, files.video, files.audio, files.transcript) if path is not None]


def _name(clip: Clip) -> str:
    """A name that follows from the key and from each source's name, size and time of change (one stat a source)."""
    marks = [clip.key]
    for path in _sources(clip):
        stat = path.stat()
        marks.append(f"{path.name}\x1f{stat.st_size}\x1f{stat.st_mtime_ns}")
    return hashlib.sha256("\x1e".join(marks).encode()).hexdigest()[:32]


def _content(clip: Clip) -> str:
    """The sha256 of all bytes of the sources, frame by frame for a folder."""
    digest = hashlib.sha256()
    for path in _sources(clip):
        for file in sorted(path.iterdir()) if path.is_dir() else [path]:
            digest.update(hashlib.sha256(file.read_bytes()).digest())
    return digest.hexdigest()
