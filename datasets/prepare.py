"""Prepared store: one file per clip with encoded frames, log-mel energies and words, decoded once, read at random.

Files are written atomically and named by the content of their sources. So preparing can be killed and restarted, a clip
whose sources change is prepared again, and a clip that was only moved or touched is not.

The store's manifest has one row per clip, so that a run needs to open no prepared file. The last row of a clip is the
valid one; a row cut short by a killed process is ignored.
"""

from __future__ import annotations

import errno
import hashlib
import json
import os
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from functools import cache, partial
from heapq import heappop, heappush
from pathlib import Path
from stat import S_ISDIR
from typing import Any

import numpy as np
from filelock import FileLock, Timeout
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file

from bench.errors import MediaError, StoreError
from bench.files import atomic_path, atomic_write, sha256
from bench.processes import run_each
from bench.types import FEATURES, Clip, DataIssue
from datasets.decode.container import MAX_CLIP_SECONDS
from datasets.segments import AUDIO_FRAME_RATE, FRAME_RATE
from datasets.streams.video import list_images, number_frames

STORE_VERSION = 3  # increase it whenever the content of prepared files changes
LOCK_FILE = ".lock"
STORE_MANIFEST = "ledger.jsonl"
MAX_OPEN_PARTS, MAX_OPEN_SECONDS = 32, 7200.0  # of overlapping parts of one file that are in memory at the same time
MAX_LISTED = 5  # clips of the same content named in an issue

ProgressCallback = Callable[[str, int, int], None]  # (name of the work, number done, total)


@dataclass(frozen=True)
class PrepareSpec:
    """Settings that the prepared file of a clip depends on, in addition to its sources."""

    side: int  # pixels of the short side: 8/7 of the crop size
    mels: int

    @staticmethod
    def for_size(size: int, mels: int) -> PrepareSpec:
        """Return the settings for crops of `size` pixels."""
        return PrepareSpec(round(size * 8 / 7), mels)

    @property
    def folder_name(self) -> str:
        """Return the name of the store's folder."""
        return f"side{self.side}-mels{self.mels}-form{STORE_VERSION}"


@dataclass(frozen=True)
class PreparedClip:
    """Prepared clip, or a clip that could not be prepared, with its issues."""

    clip: Clip
    path: Path | None  # None: unreadable
    row: StoreRow | None  # None: a source could not be accessed
    issues: tuple[DataIssue, ...]

    @property
    def content(self) -> str:
        """Return the sha256 of the bytes of its sources, or "" if they could not be accessed."""
        return self.row.content if self.row is not None else ""


def prepare_clips(
    clips: Sequence[Clip], form: PrepareSpec, folder: Path, report: ProgressCallback, thorough: bool = True
) -> list[PreparedClip]:
    """Return the prepared clips in order; decode in parallel those that are missing or out of date.

    `thorough` checks every image of a folder of frames for changes, else only the folder, its first and its last image.
    A clip whose sources cannot be accessed (permission, faulty disk) is reported and retried the next time.
    """
    place = folder / form.folder_name
    rows = read_store_manifest(place)
    by_file = any(clip.is_part for clip in clips)
    missing = _find_unprepared(clips, rows, place, thorough)
    faults: dict[str, str] = {}
    if missing:
        with _store_lock(place, report):
            rows = read_store_manifest(place)
            missing = _find_unprepared(clips, rows, place, thorough)
            for path in place.glob(".*"):  # temporary files of killed processes, ours and those of safetensors
                if path.name != LOCK_FILE:
                    with suppress(OSError):
                        path.unlink()
            faults = _prepare_missing(missing, rows, place, form, report, by_file)
    return [_make_prepared_clip(clip, place, rows.get(clip.key), faults.get(clip.key)) for clip in clips]


def _find_unprepared(clips: Iterable[Clip], rows: Mapping[str, StoreRow], place: Path, thorough: bool) -> list[Clip]:
    """Return the clips that have no row in the manifest, or whose sources or prepared file have changed."""
    present: set[str] = set()
    with suppress(OSError):
        present = set(os.listdir(place))
    by_file, stamp_frames = any(clip.is_part for clip in clips), cache(_stamp_frames)
    return [
        clip
        for clip in clips
        if not _is_up_to_date(clip, rows.get(clip.key), place, present, thorough, stamp_frames)
        or (by_file and not rows[clip.key].files)
    ]


def _is_up_to_date(
    clip: Clip,
    row: StoreRow | None,
    place: Path,
    present: set[str],
    thorough: bool,
    stamp_frames: Callable[[Path | None], str],
) -> bool:
    if row is None or row.quick != compute_quick_stamp(clip, row.ends):
        return False
    if row.readable and row.file_name not in present:
        return False
    if not thorough:
        return True
    complete = not row.readable or (place / row.file_name).stat().st_size == row.bytes
    return complete and row.full == compute_full_stamp(clip, stamp_frames)


def _prepare_missing(
    missing: Sequence[Clip],
    rows: dict[str, StoreRow],
    place: Path,
    form: PrepareSpec,
    report: ProgressCallback,
    by_file: bool,
) -> dict[str, str]:
    """Prepare the missing clips and add each to the manifest when done; return clip key -> why it was inaccessible."""
    write_store_manifest(place, rows.values())  # drops superseded and half-written rows
    faults = {}
    batches = batch_clips(missing)
    done = 0

    def report_clips(what: str, pieces: int, total: int) -> None:
        report(what, len(missing) if pieces == total else done, len(missing))

    has_many_parts = len(missing) > MAX_OPEN_PARTS and len(batches) < len(missing)
    pool_from = 2 if has_many_parts else None  # a few batches of many parts are long work
    in_process = partial(report, "prepare") if len(batches) == 1 else None
    work = [(batch, place, form, by_file, in_process) for batch in batches]
    for batch in run_each(prepare_batch, work, "prepare", report_clips, _report_crash, pool_from):
        done += len(batch)
        for key, found in batch:
            if isinstance(found, str):
                faults[key] = found
            else:
                rows[key] = found
                _append_row(place / STORE_MANIFEST, found)
    return faults


def batch_clips(clips: Sequence[Clip]) -> list[tuple[Clip, ...]]:
    """Return the clips in batches for one process each: the parts of one file, or a single clip.

    At most MAX_OPEN_PARTS parts of a batch overlap, to bound the memory. Batches of parts come first, since they take
    longest.
    """
    parts: dict[tuple[Path | None, ...], list[Clip]] = defaultdict(list)
    for clip in clips:
        if clip.is_part:
            parts[clip.sources.frames, clip.sources.video, clip.sources.audio].append(clip)
    batches = [batch for found in parts.values() for batch in _limit_overlap(found)]
    return batches + [(clip,) for clip in clips if not clip.is_part]


def _limit_overlap(clips: Iterable[Clip]) -> list[tuple[Clip, ...]]:
    """Return parts of one file in order, in as many batches as bound the number and length of overlapping parts."""
    batches: list[tuple[list[Clip], list[tuple[float, float]]]] = []  # parts, and a heap of (end, seconds) of open ones
    for clip in sorted(clips, key=lambda clip: clip.start or 0.0):
        start, end = clip.start or 0.0, float("inf") if clip.end is None else clip.end
        seconds = min(MAX_CLIP_SECONDS, end - start)
        for batch in batches:
            opened = batch[1]
            while opened and opened[0][0] <= start:
                heappop(opened)
            fits = len(opened) < MAX_OPEN_PARTS and sum(row[1] for row in opened) + seconds <= MAX_OPEN_SECONDS
            if fits or not opened:
                break
        else:
            batch = [], []
            batches.append(batch)
        batch[0].append(clip)
        heappush(batch[1], (end, seconds))
    return [tuple(members) for members, _ in batches]


def prepare_batch(
    clips: Sequence[Clip],
    place: Path,
    form: PrepareSpec,
    by_file: bool,
    report: Callable[[int, int], None] | None = None,
) -> list[tuple[str, StoreRow | str]]:
    """Do the same as `prepare_clip` for a batch of `batch_clips`; the files of parts are hashed and decoded once.

    `report` is called with (parts done, parts) after each part.
    """
    if not clips[0].is_part:
        return [prepare_clip(clip, place, form, by_file) for clip in clips]
    from datasets.decode.clip import decode_parts

    found: dict[str, StoreRow | str] = {}
    waiting: dict[str, _IdentifiedClip] = {}
    identify = _Identifier(place, by_file)
    for clip in clips:
        try:
            work = identify.identify(clip)
        except OSError as error:
            found[clip.key] = _explain_fault(clip, error)
            continue
        if facts := _read_stored_facts(work.path):
            found[clip.key] = _make_row(work, facts)
        else:
            waiting[clip.key] = work
    missing = [work.clip for work in waiting.values()]
    try:
        for clip, decoded in decode_parts(missing, form.side, form.mels) if missing else ():
            work = waiting[clip.key]
            if isinstance(decoded, MediaError):
                found[clip.key] = _make_unreadable_row(work, decoded)
            else:
                found[clip.key] = _make_row(work, _store_clip(work, *decoded))
            if report is not None:
                report(len(found), len(clips))
    except OSError as error:
        found |= {key: _explain_fault(work.clip, error) for key, work in waiting.items() if key not in found}
    return list(found.items())


def prepare_clip(clip: Clip, place: Path, form: PrepareSpec, by_file: bool = False) -> tuple[str, StoreRow | str]:
    """Decode a clip into its prepared file unless one of the same content exists.

    Returns the clip's key, and its row or the reason why a source was inaccessible. With `by_file` the row has a hash
    of each media file. All bytes are hashed before they are decoded, so that a disk fault is not mistaken for a
    damaged file.
    """
    from datasets.decode.clip import decode_clip

    try:
        work = _Identifier(place, by_file).identify(clip)
        try:
            facts = _read_stored_facts(work.path) or _store_clip(work, *decode_clip(clip, form.side, form.mels))
        except MediaError as error:
            return clip.key, _make_unreadable_row(work, error)
    except OSError as error:
        return clip.key, _explain_fault(clip, error)
    return clip.key, _make_row(work, facts)


@dataclass(frozen=True)
class _IdentifiedClip:
    """Clip with the stamps and the content of its sources, and the path of its prepared file."""

    clip: Clip
    quick: str
    full: str
    ends: tuple[str, ...]
    content: str
    files: tuple[str, ...]
    path: Path


class _Identifier:
    """Reader of stamps and hashes that hashes each file and lists each folder once."""

    def __init__(self, place: Path, by_file: bool) -> None:
        self._place, self._by_file = place, by_file
        self._hash, self._stamp, self._find_ends = cache(_hash_source), cache(_stamp_frames), cache(find_first_last)

    def identify(self, clip: Clip) -> _IdentifiedClip:
        """Return the stamps, the content and the prepared file of a clip; raises OSError."""
        ends = self._find_ends(clip.sources.frames)
        quick, full = compute_quick_stamp(clip, ends), compute_full_stamp(clip, self._stamp)
        content, root = hash_sources(clip, self._hash), clip.sources.root
        media = [path for role, path in list_sources(clip) if role in ("frames", "video", "audio")]
        files = tuple(_hash_strings(self._hash(path, root)) for path in media) if self._by_file else ()
        path = self._place / f"{make_prepared_name(clip, content)}.safetensors"
        return _IdentifiedClip(clip, quick, full, ends, content, files, path)


def _read_stored_facts(path: Path) -> dict[str, Any] | None:
    """Return the facts of a prepared file, or None if it is missing or incomplete."""
    with suppress(StoreError):
        return read_clip_facts(path)
    return None


def _make_row(work: _IdentifiedClip, facts: Mapping[str, Any]) -> StoreRow:
    return StoreRow(
        work.clip.key,
        work.quick,
        work.full,
        work.ends,
        name=work.path.stem,
        content=work.content,
        readable=True,
        problems=tuple(map(tuple, facts["problems"])),
        frames=facts["frames"],
        sound=facts["sound"],
        words=len(facts["words"]),
        looks=facts["looks"],
        sounds=facts["sounds"],
        bytes=work.path.stat().st_size,
        files=work.files,
        features=tuple(facts.get("features", {}).items()),
    )


def _make_unreadable_row(work: _IdentifiedClip, error: MediaError) -> StoreRow:
    problems = (("unreadable", work.clip.key, str(error)),)
    marks = (work.clip.key, work.quick, work.full, work.ends)
    return StoreRow(*marks, name="", content=work.content, readable=False, problems=problems, files=work.files)


def _explain_fault(clip: Clip, error: OSError) -> str:
    return f"{Path(error.filename or clip.key).name}: {error.strerror or error}; retried the next time"


def _report_crash(clips: Sequence[Clip], *_: object) -> list[tuple[str, StoreRow | str]]:
    return [(clip.key, "the decoder crashed or ran out of memory; retried the next time") for clip in clips]


def _store_clip(work: _IdentifiedClip, data: dict[str, np.ndarray], facts: dict[str, Any]) -> dict[str, Any]:
    """Write the prepared file of a decoded clip and return its facts.

    Raises OSError if a source changed after its bytes were hashed, since the file's name would be wrong.
    """
    clip, path = work.clip, work.path
    if (compute_quick_stamp(clip, work.ends), compute_full_stamp(clip)) != (work.quick, work.full):
        raise OSError(errno.EBUSY, "changed while being read", clip.key)
    try:
        with atomic_path(path) as temporary:
            save_file(data, temporary, metadata={"facts": json.dumps({"content": work.content, **facts})})
    except SafetensorError as error:  # wraps the error of the disk
        raise StoreError(
            f"cannot write {path} ({error}); free disk space or choose another --results, then restart to resume"
        ) from None
    return facts


@contextmanager
def _store_lock(place: Path, report: ProgressCallback) -> Iterator[None]:
    """Hold the lock of a store, so that only one process prepares it at a time.

    Raises StoreError if the folder cannot be written.
    """
    try:
        place.mkdir(parents=True, exist_ok=True)
        lock = FileLock(place / LOCK_FILE)
        try:
            lock.acquire(timeout=0)
        except Timeout:
            report("waiting for another process that prepares these clips", 0, 1)
            lock.acquire()
            report("waiting for another process that prepares these clips", 1, 1)
    except OSError as error:
        raise StoreError(f"cannot write {place}: {error.strerror or error}; choose another --results") from None
    try:
        yield
    finally:
        lock.release()


def _make_prepared_clip(clip: Clip, place: Path, row: StoreRow | None, fault: str | None) -> PreparedClip:
    if fault is not None or row is None:
        issue = DataIssue("unreadable", clip.key, fault or "its sources changed while being prepared")
        return PreparedClip(clip, None, None, (issue,))
    path = place / row.file_name if row.readable else None
    return PreparedClip(clip, path, row, tuple(DataIssue(*problem) for problem in row.problems))


def open_prepared_file(path: Path) -> Any:
    """Open a prepared file; raises StoreError for a missing or damaged one."""
    try:
        return safe_open(path, "numpy")
    except OSError as error:
        raise StoreError(f"cannot read {path} ({error}); run `prepare` again") from None
    except SafetensorError:
        raise StoreError(f"{path} is damaged; remove the file to prepare it again") from None


def read_clip_facts(path: Path) -> dict[str, Any]:
    """Return the facts in the header of a prepared file; raises StoreError for a missing or damaged one."""
    with open_prepared_file(path) as file:
        facts: dict[str, Any] = json.loads(file.metadata()["facts"])
    return facts


def compute_quick_stamp(clip: Clip, ends: tuple[str, ...] = ()) -> str:
    """Hash the name, size and modification time of each source.

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
        return f"{'' if S_ISDIR(stat.st_mode) else stat.st_size}\x1f{stat.st_mtime_ns}"
    except OSError as error:
        return f"out of reach: {error.errno}"


@dataclass(frozen=True)
class StoreRow:
    """Row of a clip in the store's manifest: stamps of its sources and facts of its content."""

    key: str
    quick: str  # compute_quick_stamp
    full: str  # compute_full_stamp
    ends: tuple[str, ...]  # first and last image of a folder of frames
    name: str  # of the prepared file, without suffix
    content: str  # sha256 of the bytes of the sources
    readable: bool  # False: there is no prepared file, see `problems`
    problems: tuple[tuple[str, str, str], ...]  # (what, where, why)
    frames: int = 0  # video frames at 1/30 s
    sound: int = 0  # audio frames of 10 ms
    words: int = 0
    looks: str = ""  # digest of the video; "" if it is absent or black
    sounds: str = ""  # digest of the audio; "" if it is absent or silent
    bytes: int = 0  # of the prepared file
    files: tuple[str, ...] = ()  # hashes of video, audio and frames, if the data set has parts of files
    features: tuple[tuple[str, int], ...] = ()  # (name, D) of arrays made elsewhere

    @property
    def streams(self) -> tuple[str, ...]:
        """Return the streams that the clip has."""
        media = {"video": self.frames, "audio": self.sound, "text": self.words}
        return (*(name for name, count in media.items() if count), *(FEATURES + name for name, _ in self.features))

    @property
    def file_name(self) -> str:
        """Return the name of the prepared file."""
        return f"{self.name}.safetensors"

    @property
    def seconds(self) -> float:
        """Return the length of the clip in seconds."""
        return self.frames / FRAME_RATE if self.frames else self.sound / AUDIO_FRAME_RATE


def read_store_manifest(place: Path) -> dict[str, StoreRow]:
    """Return clip key -> its last complete row, or {} if there is no manifest.

    Raises StoreError if the file cannot be read.
    """
    try:
        text = (place / STORE_MANIFEST).read_bytes()
    except FileNotFoundError:
        return {}
    except OSError as error:
        raise StoreError(f"cannot read {place / STORE_MANIFEST} ({error.strerror}); choose another --results") from None
    rows = [row for line in text.split(b"\n") if (row := _parse_row(line)) is not None]
    return {row.key: row for row in rows}


def write_store_manifest(place: Path, rows: Iterable[StoreRow]) -> None:
    """Replace the manifest of a store; call it only while holding the store's lock. Raises StoreError."""
    atomic_write(place / STORE_MANIFEST, b"".join(map(_format_row, rows)))


def _append_row(path: Path, row: StoreRow) -> None:
    """Append a row; raises StoreError, for example if the disk is full.

    If a row is lost, the sources are hashed again but not decoded.
    """
    try:
        with path.open("ab") as file:
            file.write(_format_row(row))
    except OSError as error:
        raise StoreError(
            f"cannot write {path}: {error.strerror or error}; free disk space or choose another --results, then "
            "restart to resume"
        ) from error


def _format_row(row: StoreRow) -> bytes:
    fields = asdict(row)
    for name in ("files", "features"):
        if not fields[name]:
            del fields[name]
    return f"{json.dumps(fields, separators=(',', ':'))}\n".encode()


def _parse_row(line: bytes) -> StoreRow | None:
    try:
        raw: dict[str, Any] = json.loads(line)
        raw["problems"], raw["ends"] = tuple(map(tuple, raw["problems"])), tuple(raw["ends"])
        raw["files"], raw["features"] = tuple(raw.get("files", ())), tuple(map(tuple, raw.get("features", ())))
        return StoreRow(**raw)
    except (ValueError, TypeError, KeyError):
        return None


def find_duplicates(prepared: Iterable[PreparedClip]) -> list[DataIssue]:
    """Report, once for each set, clips whose video or audio is identical; of parts of one file the first."""
    same: dict[tuple[str, str], list[str]] = defaultdict(list)
    seen = set()
    for item in prepared:
        for mark in _get_content_hashes(item):
            if mark[0] != "file" or (mark, item.clip.group) not in seen:
                same[mark].append(item.clip.key)
            seen.add((mark, item.clip.group))
    shared: dict[tuple[str, ...], list[str]] = defaultdict(list)
    for (kind, _), keys in same.items():
        if len(keys) > 1:
            shared[tuple(sorted(keys))].append(kind)
    issues = []
    for group, kinds in sorted(shared.items()):
        more = f" and {len(group) - MAX_LISTED} more" if len(group) > MAX_LISTED else ""
        labels = {key.partition("/")[0] for key in group}
        classes = f" ({len(labels)} classes)" if len(labels) > 1 else ""
        why = f"same {' and '.join(sorted(kinds))} as {', '.join(group[1:MAX_LISTED])}{more}{classes}"
        issues.append(DataIssue("same content", group[0], why))
    return issues


def drop_leaking_duplicates(
    splits: Mapping[str, Sequence[PreparedClip]],
) -> tuple[dict[str, list[PreparedClip]], list[DataIssue]]:
    """Drop from val the clips whose content is in test, and from train those in val or test; report each."""
    remaining: dict[str, list[PreparedClip]] = {}
    problems = []
    later: dict[tuple[str, str], str] = {}  # content hash -> the first clip that has it, and its split
    for split in ("test", "val", "train"):
        remaining[split] = []
        for item in splits[split]:
            copy = next((later[mark] for mark in _get_content_hashes(item) if mark in later), None)
            if copy is None:
                remaining[split].append(item)
            else:
                why = f"same content as {copy}; left out of {split}"
                problems.append(DataIssue("leak", item.clip.key, why))
        for item in remaining[split]:
            for mark in _get_content_hashes(item):
                later.setdefault(mark, f"{item.clip.key} in {split}")
    return remaining, problems


def _get_content_hashes(item: PreparedClip) -> list[tuple[str, str]]:
    """Return (modality, digest) of the video and the audio of a clip, without black video and silent audio.

    In a data set with parts of files it includes ("file", digest) of each media file.
    """
    if item.row is None or item.path is None:
        return []
    streams = [(kind, digest) for kind, digest in (("video", item.row.looks), ("audio", item.row.sounds)) if digest]
    return [*streams, *(("file", digest) for digest in item.row.files)]
