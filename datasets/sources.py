"""Content of clips: the sha256 of the bytes of their source files, computed once and then looked up.

A hash is stored with the size, modification time and inode of the files, so that run keys are known in seconds, and
without decoding, for data that were hashed before.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, field
from functools import cache
from pathlib import Path
from stat import S_ISDIR

from filelock import FileLock, Timeout

from bench.errors import StoreError
from bench.files import atomic_write, sha256
from bench.types import FEATURES, Clip
from datasets.streams.video import list_images, number_frames

HASHES_FILE = "sources.jsonl"  # in the folder of a data set's prepared stores
LOCK_FILE = ".lock"
WAITING = "waiting for another process that prepares these clips"

ProgressCallback = Callable[[str, int, int], None]  # (name of the work, number done, total)


@dataclass(frozen=True)
class HashedSources:
    """Sources of a clip: stamps of the files, and the sha256 of their bytes."""

    key: str
    quick: str  # compute_quick_stamp
    full: str  # compute_full_stamp
    ends: tuple[str, ...]  # first and last image of a folder of frames
    content: str  # sha256 of the role and the bytes of each source, and of the times of a part
    files: tuple[str, ...]  # sha256 of frames, video and audio

    def is_current(self, clip: Clip, thorough: bool, stamp_frames: Callable[[Path | None], str] | None = None) -> bool:
        """Return whether the stamps are still those of the files; `thorough` checks every image of a folder."""
        if self.quick != compute_quick_stamp(clip, self.ends):
            return False
        return not thorough or self.full == compute_full_stamp(clip, stamp_frames)


@dataclass(frozen=True)
class SourceHashes:
    """Hashes of the sources of clips, and why those of other clips are not known."""

    clips: dict[str, HashedSources]  # by clip key
    faults: dict[str, str] = field(default_factory=dict)  # clip key -> why a source cannot be read
    unknown: tuple[str, ...] = ()  # keys of clips that were never hashed, or have changed since


def hash_clips(
    clips: Sequence[Clip], folder: Path, report: ProgressCallback, thorough: bool = False, only_known: bool = False
) -> SourceHashes:
    """Return the hashes of the sources of clips; read in parallel the files that are new or have changed.

    Hashes are stored in `folder`. `thorough` checks every image of a folder of frames for changes, else only the
    folder, its first and its last image. With `only_known` no file is read or written. Raises StoreError if the folder
    cannot be written.
    """
    known, stamp_frames = _read_hashes(folder), cache(_stamp_frames)
    missing = _find_unhashed(clips, known, thorough, stamp_frames)
    if only_known or not missing:
        unknown = {clip.key for clip in missing}
        return SourceHashes(_select(known, clips, unknown), unknown=tuple(sorted(unknown)))
    with lock_store(folder, report):
        known = _read_hashes(folder)
        missing = _find_unhashed(clips, known, thorough, cache(_stamp_frames))
        atomic_write(folder / HASHES_FILE, b"".join(map(_format_hashes, known.values())))  # drops superseded rows
        found, faults = _hash_missing(missing, folder, report)
    return SourceHashes(_select(known | found, clips, faults), faults)


def _select(
    hashes: Mapping[str, HashedSources], clips: Iterable[Clip], omit: Iterable[str]
) -> dict[str, HashedSources]:
    left_out = set(omit)
    return {clip.key: hashes[clip.key] for clip in clips if clip.key in hashes and clip.key not in left_out}


def _find_unhashed(
    clips: Iterable[Clip],
    known: Mapping[str, HashedSources],
    thorough: bool,
    stamp_frames: Callable[[Path | None], str],
) -> list[Clip]:
    return [
        clip
        for clip in clips
        if (row := known.get(clip.key)) is None or not row.is_current(clip, thorough, stamp_frames)
    ]


def _hash_missing(
    missing: Sequence[Clip], folder: Path, report: ProgressCallback
) -> tuple[dict[str, HashedSources], dict[str, str]]:
    """Hash the sources of clips, those that share a file in one thread, and store each result when it is known."""
    found: dict[str, HashedSources] = {}
    faults: dict[str, str] = {}
    shared: dict[tuple[Path | None, ...], list[Clip]] = defaultdict(list)
    for clip in missing:
        shared[clip.sources.frames, clip.sources.video, clip.sources.audio].append(clip)
    done = 0
    report("hash", 0, len(missing))
    with ThreadPoolExecutor(os.cpu_count() or 1) as pool:
        try:
            for batch in pool.map(_hash_batch, shared.values()):
                rows = [row for row in batch.values() if isinstance(row, HashedSources)]
                _append_hashes(folder, rows)
                found |= {row.key: row for row in rows}
                faults |= {key: row for key, row in batch.items() if isinstance(row, str)}
                done += len(batch)
                report("hash", done, len(missing))
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise
    return found, faults


def _hash_batch(clips: Sequence[Clip]) -> dict[str, HashedSources | str]:
    """Return clip key -> hashes, or why a source cannot be read; each file is read and each folder listed once."""
    hash_source, stamp, find_ends = cache(_hash_source), cache(_stamp_frames), cache(find_first_last)
    found: dict[str, HashedSources | str] = {}
    for clip in clips:
        try:
            ends = find_ends(clip.sources.frames)
            quick, full = compute_quick_stamp(clip, ends), compute_full_stamp(clip, stamp)
            content, root = hash_sources(clip, hash_source), clip.sources.root
            media = [path for role, path in list_sources(clip) if role in ("frames", "video", "audio")]
            files = tuple(_hash_strings(hash_source(path, root)) for path in media)
            found[clip.key] = HashedSources(clip.key, quick, full, ends, content, files)
        except OSError as error:
            found[clip.key] = explain_fault(clip, error)
    return found


def explain_fault(clip: Clip, error: OSError) -> str:
    """Return why a source of a clip could not be read."""
    return f"{Path(error.filename or clip.key).name}: {error.strerror or error}; retried the next time"


def _read_hashes(folder: Path) -> dict[str, HashedSources]:
    """Return clip key -> its last complete row. Raises StoreError if the file cannot be read."""
    path = folder / HASHES_FILE
    try:
        text = path.read_bytes()
    except FileNotFoundError:
        return {}
    except OSError as error:
        raise StoreError(f"cannot read {path} ({error.strerror}); choose another --results") from None
    rows = [row for line in text.split(b"\n") if (row := _parse_hashes(line)) is not None]
    return {row.key: row for row in rows}


def _format_hashes(row: HashedSources) -> bytes:
    return f"{json.dumps(asdict(row), separators=(',', ':'))}\n".encode()


def _parse_hashes(line: bytes) -> HashedSources | None:
    try:
        raw = json.loads(line)
        row = HashedSources(**{**raw, "ends": tuple(raw["ends"]), "files": tuple(raw["files"])})
    except (ValueError, TypeError, KeyError):  # cut short by a killed process
        return None
    texts = (row.key, row.quick, row.full, row.content, *row.ends, *row.files)
    return row if all(isinstance(text, str) for text in texts) else None


def _append_hashes(folder: Path, rows: Sequence[HashedSources]) -> None:
    """Append rows to the file of hashes; a lost row is computed again."""
    path = folder / HASHES_FILE
    try:
        with path.open("ab") as file:
            file.write(b"".join(map(_format_hashes, rows)))
    except OSError as error:
        raise StoreError(
            f"cannot write {path}: {error.strerror or error}; free disk space or choose another --results, then "
            "restart to resume"
        ) from error


@contextmanager
def lock_store(place: Path, report: ProgressCallback) -> Iterator[None]:
    """Hold the lock of a store, so that only one process prepares it at a time.

    Raises StoreError if the folder cannot be written.
    """
    try:
        place.mkdir(parents=True, exist_ok=True)
        lock = FileLock(place / LOCK_FILE)
        try:
            lock.acquire(timeout=0)
        except Timeout:
            report(WAITING, 0, 1)
            lock.acquire()
            report(WAITING, 1, 1)
    except OSError as error:
        raise StoreError(f"cannot write {place}: {error.strerror or error}; choose another --results") from None
    try:
        yield
    finally:
        lock.release()


def compute_quick_stamp(clip: Clip, ends: tuple[str, ...] = ()) -> str:
    """Hash the name, size, modification time and inode of each source.

    Of a folder of frames it takes the folder's own time and the images named in `ends`, so it misses an image that was
    rewritten between them; `compute_full_stamp` does not.
    """
    marks = _list_marks(clip)
    for role, path in list_sources(clip):
        marks += [role, path.name, _stamp_file(path), *(_stamp_file(path / name) for name in ends if role == "frames")]
    return _hash_strings(marks)[:24]


def compute_full_stamp(clip: Clip, stamp_frames: Callable[[Path | None], str] | None = None) -> str:
    """Hash the same as `compute_quick_stamp`, and every image of a folder of frames.

    `stamp_frames` may be a cached `_stamp_frames`, for many parts of one folder.
    """
    stamp = (stamp_frames or _stamp_frames)(clip.sources.frames)
    return _hash_strings([compute_quick_stamp(clip), stamp])[:24]


def find_first_last(folder: Path | None) -> tuple[str, ...]:
    """Return the names of the first and the last image of a folder of frames; () without one."""
    names: list[str] = []
    with suppress(OSError):
        names = [entry.name for entry in list_images(folder)] if folder is not None else []
    return tuple(dict.fromkeys(names[:1] + names[-1:]))


def hash_sources(clip: Clip, hash_source: Callable[[Path, Path | None], Sequence[str]]) -> str:
    """Return the sha256 of the role and all bytes of each source, and of the times of a part."""
    marks = _list_marks(clip)
    for role, path in list_sources(clip):
        marks += [role, *hash_source(path, clip.sources.root)]
    return _hash_strings(marks)


def _hash_source(path: Path, root: Path | None) -> tuple[str, ...]:
    """Return the sha256 of a file; of a folder of frames, the name and the sha256 of each image."""
    files = sorted(number_frames(path, "", root)[0].values()) if path.is_dir() else [path]
    return tuple(f"{file.name if path.is_dir() else ''}\x1f{sha256(file)}" for file in files)


def _list_marks(clip: Clip) -> list[str]:
    """Return what a clip contains in addition to its files: its text, and the times of a part."""
    return [clip.sources.text, *([f"part\x1f{clip.start}\x1f{clip.end}"] if clip.is_part else [])]


def make_prepared_name(clip: Clip, content: str) -> str:
    """Return the name of a prepared file: a hash of the clip's key, the names of its sources and their content."""
    return _hash_strings([clip.key, *(path.name for _, path in list_sources(clip)), content])[:32]


def list_sources(clip: Clip) -> list[tuple[str, Path]]:
    """Return (role, path) of each source of a clip.

    Roles are "frames", "video", "audio", "transcript" and "features/<name>".
    """
    parts = [(role, getattr(clip.sources, role)) for role in ("frames", "video", "audio", "transcript")]
    features = [(f"{FEATURES}{name}", path) for name, path in clip.sources.features]
    return [(role, path) for role, path in parts if path is not None] + features


def _hash_strings(marks: Iterable[str]) -> str:
    return hashlib.sha256("\x1e".join(marks).encode("utf-8", "surrogateescape")).hexdigest()


def _stamp_frames(folder: Path | None) -> str:
    """Return the number, total size and latest modification time of the images in a folder; "" without a folder."""
    if folder is None:
        return ""
    stats = []
    try:
        for entry in list_images(folder):
            broken = entry.is_symlink() and not os.path.exists(entry.path)
            stats.append(entry.stat(follow_symlinks=not broken))
    except OSError as error:
        return f"out of reach: {error.errno}"
    latest = max((stat.st_mtime_ns for stat in stats), default=0)
    return f"{len(stats)}\x1f{sum(stat.st_size for stat in stats)}\x1f{latest}"


def _stamp_file(path: Path) -> str:
    try:
        stat = os.stat(path)
        return f"{'' if S_ISDIR(stat.st_mode) else stat.st_size}\x1f{stat.st_mtime_ns}\x1f{stat.st_ino}"
    except OSError as error:
        return f"out of reach: {error.errno}"
