"""The prepared store: one file a clip with packed frames, log mel energies and words, read at random.

A file is written whole or not at all under a name that follows from its sources, so that preparing can be killed
and started again, and a clip whose sources change is prepared anew.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench.data import Clip, Problem
from bench.errors import MediaError
from bench.files import whole, write_whole
from datasets.store.pool import run_all
from datasets.store.sources import hash_sources, name_clip

FORM = 2  # of the files; a change of their content needs a new number
DAY = 24 * 3600  # seconds; a temporary file older than that is what a killed process left


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
class Prepared:
    """A clip that was prepared, or a reason why not."""

    clip: Clip
    path: Path | None
    content: str  # sha256 of the bytes of its sources; empty where they cannot be reached
    problems: tuple[Problem, ...]


def prepare(clips: Sequence[Clip], form: Form, folder: Path, report: Callable[[str, int, int], None]) -> list[Prepared]:
    """Every clip's prepared file, made where it is not there yet, in parallel over the cores.

    A clip whose sources are out of reach (a permission, a faulty disk) is told, and tried again the next time.
    """
    place = folder / form.folder
    _sweep(place)
    names = [name_clip(clip) for clip in clips]
    missing = [i for i, name in enumerate(names) if not _done(place, name)]
    faults: dict[str, str] = {}
    if missing:
        place.mkdir(parents=True, exist_ok=True)
        work = [(clips[i], place, names[i], form) for i in missing]
        faults = {name: why for name, why in run_all(prepare_clip, work, "prepare", report) if why is not None}
    return [_outcome(clip, place, name, faults.get(name)) for clip, name in zip(clips, names, strict=True)]


def prepare_clip(clip: Clip, place: Path, name: str, form: Form) -> tuple[str, str | None]:
    """Decode one clip into its prepared file, or write down why it cannot be; the name, and what was out of reach.

    What the bytes say stays; all bytes are read before they are decoded, so that a fault of the disk is not among it.
    """
    from datasets.media.decoding import decode_clip

    try:
        content = hash_sources(clip)
        data, facts = decode_clip(clip, form.side, form.mels)
    except MediaError as error:
        told = {"content": content, "problems": [["unreadable", clip.key, str(error)]]}
        write_whole(place / f"{name}.json", json.dumps(told).encode())
        return name, None
    except OSError as error:
        return name, f"{Path(error.filename or clip.key).name}: {error.strerror or error}; tried again the next time"
    from safetensors.numpy import save_file

    with whole(place / f"{name}.safetensors") as temporary:
        save_file(data, temporary, metadata={"facts": json.dumps({"content": content, **facts})})
    return name, None


def _sweep(place: Path) -> None:
    """Remove the hidden files of processes that were killed while they wrote."""
    for path in place.glob(".*"):
        with suppress(OSError):  # another run may have ended its file, or swept it
            if path.stat().st_mtime < time.time() - DAY:
                path.unlink()


def _outcome(clip: Clip, place: Path, name: str, fault: str | None) -> Prepared:
    if fault is not None:
        return Prepared(clip, None, "", (Problem("unreadable", clip.key, fault),))
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
