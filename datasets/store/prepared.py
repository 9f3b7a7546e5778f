"""The prepared store: one file a clip with packed frames, log mel energies and words, read at random.

A file is written whole or not at all under a name that follows from its sources' content, so that preparing can be
killed and started again, a clip whose sources change is prepared anew, and one that was only moved or touched is not.
"""

from __future__ import annotations

import errno
import json
import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from bench.data import Clip, Problem
from bench.errors import MediaError, StoreError
from bench.files import whole
from datasets.store.ledger import Ledger, Row, read_ledger
from datasets.store.pool import run_each
from datasets.store.sources import ends_of, full_mark, hash_sources, name_prepared, quick_mark

FORM = 3  # of the files; a change of their content needs a new number
LOCK = ".lock"  # of a store


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
    row: Row | None  # None: a source was out of reach
    problems: tuple[Problem, ...]

    @property
    def content(self) -> str:
        """The sha256 of the bytes of its sources; empty where they could not be reached."""
        return self.row.content if self.row is not None else ""


def prepare(
    clips: Sequence[Clip],
    form: Form,
    folder: Path,
    report: Callable[[str, int, int], None],
    thorough: bool = True,
) -> list[Prepared]:
    """Every clip's prepared file, made where it is not there yet, in parallel over the cores.

    Thorough looks at each picture of a folder of frames for changes, else at the folder, its first and last one. A clip
    whose sources are out of reach (a permission, a faulty disk) is told, and tried again the next time.
    """
    place = folder / form.folder
    rows = read_ledger(place)
    missing = _missing(clips, rows, place, thorough)
    faults: dict[str, str] = {}
    if missing:
        with _held(place, report):
            rows = read_ledger(place)
            missing = _missing(clips, rows, place, thorough)
            _sweep(place)
            faults = _fill(missing, rows, place, form, report)
    return [_outcome(clip, place, rows.get(clip.key), faults.get(clip.key)) for clip in clips]


def _missing(clips: Iterable[Clip], rows: Mapping[str, Row], place: Path, thorough: bool) -> list[Clip]:
    """The clips of which the ledger knows nothing, or whose sources or prepared file are not what they were."""
    try:
        there = set(os.listdir(place))
    except OSError:
        there = set()
    return [clip for clip in clips if not _is_known(clip, rows.get(clip.key), place, there, thorough)]


def _is_known(clip: Clip, row: Row | None, place: Path, there: set[str], thorough: bool) -> bool:
    if row is None or (row.readable and f"{row.name}.safetensors" not in there):
        return False
    if row.quick != quick_mark(clip, row.ends):
        return False
    return not thorough or (row.full == full_mark(clip) and _is_whole(row, place))


def _is_whole(row: Row, place: Path) -> bool:
    return not row.readable or (place / f"{row.name}.safetensors").stat().st_size == row.bytes


def _fill(
    missing: Sequence[Clip],
    rows: dict[str, Row],
    place: Path,
    form: Form,
    report: Callable[[str, int, int], None],
) -> dict[str, str]:
    """Prepare what is missing, and write down each clip as it is done; key -> what was out of reach."""
    ledger, faults = Ledger(place, rows), {}
    work = [(clip, place, form) for clip in missing]
    for key, found in run_each(prepare_clip, work, "prepare", report, _give_up):
        if isinstance(found, str):
            faults[key] = found
        else:
            rows[key] = found
            ledger.add([found])
    return faults


def prepare_clip(clip: Clip, place: Path, form: Form) -> tuple[str, Row | str]:
    """Decode one clip into its prepared file, unless one of the same content is there; its key, and its row or what
    was out of reach. All bytes are read before they are decoded, so that a fault of the disk is not among theirs."""
    try:
        ends = ends_of(clip)
        quick, full = quick_mark(clip, ends), full_mark(clip)
        row = partial(Row, clip.key, quick, full, ends)
        content = hash_sources(clip)
        path = place / f"{name_prepared(clip, content)}.safetensors"
        facts = _read_whole(path) or _decode(clip, path, content, form, (quick, ends, full))
    except MediaError as error:
        told = (("unreadable", clip.key, str(error)),)
        return clip.key, row(name="", content=content, readable=False, problems=told)
    except OSError as error:
        return (
            clip.key,
            f"{Path(error.filename or clip.key).name}: {error.strerror or error}; tried again the next time",
        )
    return clip.key, row(
        name=path.stem,
        content=content,
        readable=True,
        problems=tuple((what, where, why) for what, where, why in facts["problems"]),
        frames=facts["frames"],
        sound=facts["sound"],
        words=len(facts["words"]),
        looks=facts["looks"],
        sounds=facts["sounds"],
        bytes=path.stat().st_size,
    )


def _give_up(clip: Clip, place: Path, form: Form) -> tuple[str, Row | str]:
    return clip.key, "decoding it ended the process, by a fault or for want of memory; tried again the next time"


def _read_whole(path: Path) -> dict[str, Any] | None:
    """The facts of a prepared file; None where there is none, or it was cut short."""
    try:
        return read_facts(path)
    except (OSError, StoreError):
        return None


def _decode(
    clip: Clip, path: Path, content: str, form: Form, marks: tuple[str, tuple[str, ...], str]
) -> dict[str, Any]:
    """Raises OSError where a source changed since its bytes were hashed: the file would bear another's name."""
    from safetensors import SafetensorError
    from safetensors.numpy import save_file

    from datasets.media.decoding import decode_clip

    data, facts = decode_clip(clip, form.side, form.mels)
    quick, ends, full = marks
    if (quick_mark(clip, ends), full_mark(clip)) != (quick, full):
        raise OSError(errno.EBUSY, "changed while it was read", clip.key)
    try:
        with whole(path) as temporary:
            save_file(data, temporary, metadata={"facts": json.dumps({"content": content, **facts})})
    except SafetensorError as error:  # it wraps what the disk said
        raise StoreError(
            f"cannot write {path} ({error}); free space or choose another --results, then start again: it goes on"
        ) from None
    return facts


@contextmanager
def _held(place: Path, report: Callable[[str, int, int], None]) -> Iterator[None]:
    """One process prepares a store at a time; another one waits, and then finds the work done."""
    try:
        place.mkdir(parents=True, exist_ok=True)
        lock = FileLock(place / LOCK)
        try:
            lock.acquire(timeout=0)
        except Timeout:
            report("wait: another process prepares these clips", 0, 1)
            lock.acquire()
            report("wait: another process prepares these clips", 1, 1)
    except OSError as error:
        raise StoreError(f"cannot write {place}: {error.strerror or error}; choose another --results") from None
    try:
        yield
    finally:
        lock.release()


def _sweep(place: Path) -> None:
    """Remove the hidden files of processes that were killed while they wrote, ours and those of safetensors."""
    for path in place.glob(".*"):
        if path.name != LOCK:
            with suppress(OSError):
                path.unlink()


def _outcome(clip: Clip, place: Path, row: Row | None, fault: str | None) -> Prepared:
    if fault is not None or row is None:
        return Prepared(clip, None, None, (Problem("unreadable", clip.key, fault or "its sources changed meanwhile"),))
    path = place / f"{row.name}.safetensors" if row.readable else None
    return Prepared(clip, path, row, tuple(Problem(*told) for told in row.problems))


def read_facts(path: Path) -> dict[str, Any]:
    """What a prepared file says of itself, from its header alone; raises StoreError for one that was cut short."""
    with path.open("rb") as file:
        size = int.from_bytes(file.read(8), "little")
        try:
            header = json.loads(file.read(size) if size < path.stat().st_size else b"")
            end = max(told["data_offsets"][1] for name, told in header.items() if name != "__metadata__")
            facts: dict[str, Any] = json.loads(header["__metadata__"]["facts"])
        except (ValueError, KeyError, TypeError):
            end, facts = -1, {}
    if path.stat().st_size != 8 + size + end:
        raise StoreError(f"{path} is damaged; remove it, and it is prepared again")
    return facts
