"""The built-in sample: drawn clips with a data set's classes, written once as jpg, mp3 and srt in the official layout.

It lets the first command work anywhere, on the road that real data take. Its numbers say nothing about real videos.
"""

from __future__ import annotations

import hashlib
import json
import shutil
import tempfile
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
from filelock import FileLock

from bench.data import Card, Planted, Truth, Word
from bench.errors import StoreError
from bench.files import write_whole
from datasets.sample.course import along, draw_course
from datasets.store.pool import run_all

FORM = 1  # frozen with its difficulty: docs/decisions/0002-sample.md
CLIPS, TRAINING = 40, 28  # a class; the first 28 are for training
SECONDS = (5.0, 7.0)


def ensure_sample(
    card: Card, cache: Path, report: Callable[[str, int, int], None], clips: int = CLIPS, training: int = TRAINING
) -> Path:
    """The folder of the sample for a card, made where it is not there yet; whole or not at all."""
    root = cache / "sample" / f"{card.name}-form{FORM}"
    if (root / "truth.json").exists():
        return root
    try:
        root.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(f"{root}.lock"):
            if not (root / "truth.json").exists():
                _write_sample(card, root, report, clips, training)
    except OSError as error:
        raise StoreError(
            f"cannot write the built-in sample to {root} ({error.strerror}); choose another --results"
        ) from None
    return root


def read_truth(root: Path) -> dict[str, Truth]:
    """Clip key -> what was drawn: for the runner's check of verification, never for a method."""
    raw = json.loads((root / "truth.json").read_text())
    return {
        key: Truth(tuple(tuple(row) for row in told["course"]), tuple(Planted(**word) for word in told["words"]))
        for key, told in raw.items()
    }


def write_clip(card: Card, root: Path, label: int, number: int) -> tuple[str, dict[str, Any]]:
    """Draw, sound and speak one clip into the tree; its key and its truth. The same on every machine but for the
    codecs' last bits."""
    from datasets.sample.picture import draw
    from datasets.sample.sound import RATE, voice
    from datasets.sample.words import speak

    name = f"{number:03d}"
    rng = np.random.default_rng(_number(card.name, card.classes[label], name))
    seconds = float(rng.uniform(*SECONDS))
    course = draw_course(label, len(card.classes), seconds, rng)
    words, planted = speak(course, seconds, card, rng)
    frames = draw(*along(course, round(seconds * 30), 30), len(card.classes), rng)
    sound = voice(*along(course, round(seconds * RATE), RATE), rng)
    folder = card.classes[label]
    _write_frames(root / "imgs" / folder / name, frames)
    _write_mp3(root / "mp3" / folder / f"{name}.mp3", sound, RATE)
    _write_srt(root / "srt" / folder / f"{name}.srt", words)
    truth = {
        "course": [(round(piece.start, 3), piece.label, round(piece.strength, 3)) for piece in course],
        "words": [asdict(word) for word in planted],
    }
    return f"{folder}/{name}", truth


def _write_sample(card: Card, root: Path, report: Callable[[str, int, int], None], clips: int, training: int) -> None:
    """All clips in parallel into a folder beside, which then takes its place."""
    for left in (root, *root.parent.glob(f".{root.name}.*")):  # the lock is held: nobody writes there
        shutil.rmtree(left, ignore_errors=True)
    place = Path(tempfile.mkdtemp(prefix=f".{root.name}.", dir=root.parent))
    work = [(card, place, label, number) for label in range(len(card.classes)) for number in range(clips)]
    try:
        for folder in card.classes:
            for part in ("mp3", "srt"):
                (place / part / folder).mkdir(parents=True)
        truth = dict(run_all(write_clip, work, "sample", report))
        for split, chosen in (("train", range(training)), ("test", range(training, clips))):
            lines = [f"{name}/{n:03d} {label + 1}" for label, name in enumerate(card.classes) for n in chosen]
            (place / f"{split}list01.txt").write_text("\n".join(lines) + "\n")
        write_whole(place / "truth.json", json.dumps(dict(sorted(truth.items()))).encode())
        place.chmod(0o755)
        place.replace(root)
    finally:
        shutil.rmtree(place, ignore_errors=True)


def _write_frames(folder: Path, frames: np.ndarray) -> None:
    from datasets.media.pictures import pack

    folder.mkdir(parents=True)
    for number, frame in enumerate(frames, 1):
        (folder / f"{number:06d}.jpg").write_bytes(pack(frame))


def _write_mp3(path: Path, sound: np.ndarray, rate: int) -> None:
    import av

    with av.open(str(path), "w") as container:
        stream: Any = container.add_stream("libmp3lame", rate=rate, layout="mono")
        stream.bit_rate = 64000
        frame = av.AudioFrame.from_ndarray((sound[None] * 32767).astype(np.int16), format="s16", layout="mono")
        frame.sample_rate = rate
        resampler = av.AudioResampler(format="s16p", layout="mono", rate=rate, frame_size=stream.frame_size or 576)
        for part in [*resampler.resample(frame), *resampler.resample(None)]:
            container.mux(stream.encode(part))
        container.mux(stream.encode(None))


def _write_srt(path: Path, words: list[Word]) -> None:
    blocks = [
        f"{number}\n{_time(word.start)} --> {_time(word.end)}\n{word.text}\n" for number, word in enumerate(words, 1)
    ]
    path.write_text("\n".join(blocks), encoding="utf-8")


def _time(seconds: float) -> str:
    thousandths = round(seconds * 1000)
    return f"00:{thousandths // 60000:02d}:{thousandths // 1000 % 60:02d},{thousandths % 1000:03d}"


def _number(*parts: str) -> int:
    return int.from_bytes(hashlib.sha256("\x1f".join(parts).encode()).digest()[:8], "big")
