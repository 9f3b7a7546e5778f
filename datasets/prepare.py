"""The prepared store: one file a clip with encoded frames, log-mel energies and words, decoded once and read at random.

A file is written whole or not at all under a name that follows from the content of its sources, so that preparing can
be killed and started again, a clip whose sources change is prepared anew, and one that was only moved or touched is
not.

The store's manifest has one line a clip, so that a run knows the store without opening any file. The last line of a
clip counts, and a line that a killed process left half written is ignored.
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
from functools import partial
from pathlib import Path
from stat import S_ISDIR
from typing import Any

from filelock import FileLock, Timeout
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file

from bench.errors import MediaError, StoreError
from bench.files import atomic_path, atomic_write, sha256
from bench.processes import run_each
from bench.types import Clip, DataIssue
from datasets.decode.video import list_images, number_frames
from datasets.segments import AUDIO_FRAME_RATE, FRAME_RATE

STORE_VERSION = 3  # of the files; a change of their content needs a new number
LOCK_FILE = ".lock"  # of a store
STORE_MANIFEST = "ledger.jsonl"
MAX_LISTED = 5  # clips of one content that an issue names

ProgressCallback = Callable[[str, int, int], None]  # of what, how many are done, of how many


@dataclass(frozen=True)
class PrepareSpec:
    """What the prepared files of a clip depend on, beside its sources."""

    side: int  # pixels of the short side: a crop's size and a seventh more
    mels: int

    @staticmethod
    def for_size(size: int, mels: int) -> PrepareSpec:
        """The form that serves crops of `size` pixels."""
        return PrepareSpec(round(size * 8 / 7), mels)

    @property
    def folder_name(self) -> str:
        """Its folder's name."""
        return f"side{self.side}-mels{self.mels}-form{STORE_VERSION}"


@dataclass(frozen=True)
class PreparedClip:
    """A clip that was prepared, or a reason why not."""

    clip: Clip
    path: Path | None
    row: StoreRow | None  # None: a source was out of reach
    issues: tuple[DataIssue, ...]

    @property
    def content(self) -> str:
        """The sha256 of the bytes of its sources; empty where they could not be reached."""
        return self.row.content if self.row is not None else ""


def prepare_clips(
    clips: Sequence[Clip], form: PrepareSpec, folder: Path, report: ProgressCallback, thorough: bool = True
) -> list[PreparedClip]:
    """Every clip's prepared file, made where it is not there yet, in parallel over the cores.

    Thorough looks at each picture of a folder of frames for changes, else at the folder, its first and last one. A clip
    whose sources are out of reach (a permission, a faulty disk) is told, and tried again the next time.
    """
    place = folder / form.folder_name
    rows = read_store_manifest(place)
    missing = _find_unprepared(clips, rows, place, thorough)
    faults: dict[str, str] = {}
    if missing:
        with _store_lock(place, report):
            rows = read_store_manifest(place)
            missing = _find_unprepared(clips, rows, place, thorough)
            for path in place.glob(".*"):  # of processes that were killed while they wrote, ours and safetensors' own
                if path.name != LOCK_FILE:
                    with suppress(OSError):
                        path.unlink()
            faults = _prepare_missing(missing, rows, place, form, report)
    return [_make_prepared_clip(clip, place, rows.get(clip.key), faults.get(clip.key)) for clip in clips]


def _find_unprepared(clips: Iterable[Clip], rows: Mapping[str, StoreRow], place: Path, thorough: bool) -> list[Clip]:
    """Return the clips that the manifest lacks, or whose sources or prepared file are not what they were."""
    there: set[str] = set()
    with suppress(OSError):
        there = set(os.listdir(place))
    return [clip for clip in clips if not _is_up_to_date(clip, rows.get(clip.key), place, there, thorough)]


def _is_up_to_date(clip: Clip, row: StoreRow | None, place: Path, there: set[str], thorough: bool) -> bool:
    if row is None or (row.readable and row.file_name not in there) or row.quick != compute_quick_stamp(clip, row.ends):
        return False
    if not thorough:
        return True
    whole = not row.readable or (place / row.file_name).stat().st_size == row.bytes
    return whole and row.full == compute_full_stamp(clip)


def _prepare_missing(
    missing: Sequence[Clip], rows: dict[str, StoreRow], place: Path, form: PrepareSpec, report: ProgressCallback
) -> dict[str, str]:
    """Prepare what is missing, and write down each clip as it is done; key -> what was out of reach."""
    write_store_manifest(place, rows.values())  # without superseded or half-written lines
    faults = {}
    work = [(clip, place, form) for clip in missing]
    for key, found in run_each(prepare_clip, work, "prepare", report, _report_crash):
        if isinstance(found, str):
            faults[key] = found
        else:
            rows[key] = found
            _append_row(place / STORE_MANIFEST, found)
    return faults


def prepare_clip(clip: Clip, place: Path, form: PrepareSpec) -> tuple[str, StoreRow | str]:
    """Decode one clip into its prepared file, unless one of the same content is there; its key, and its row or what
    was out of reach. All bytes are read before they are decoded, so that a fault of the disk is not among theirs."""
    try:
        ends = find_first_last(clip)
        quick, full = compute_quick_stamp(clip, ends), compute_full_stamp(clip)
        row = partial(StoreRow, clip.key, quick, full, ends)
        content = hash_sources(clip)
        path = place / f"{make_prepared_name(clip, content)}.safetensors"
        facts = None
        with suppress(StoreError):  # there is none, or it was cut short
            facts = read_clip_facts(path)
        if not facts:
            facts = _decode_to_file(clip, path, content, form, (quick, ends, full))
    except MediaError as error:
        told = (("unreadable", clip.key, str(error)),)
        return clip.key, row(name="", content=content, readable=False, problems=told)
    except OSError as error:
        where = Path(error.filename or clip.key).name
        return clip.key, f"{where}: {error.strerror or error}; tried again the next time"
    return clip.key, row(
        name=path.stem,
        content=content,
        readable=True,
        problems=tuple(map(tuple, facts["problems"])),
        frames=facts["frames"],
        sound=facts["sound"],
        words=len(facts["words"]),
        looks=facts["looks"],
        sounds=facts["sounds"],
        bytes=path.stat().st_size,
    )


def _report_crash(clip: Clip, *_: object) -> tuple[str, StoreRow | str]:
    return clip.key, "decoding it ended the process, by a fault or for want of memory; tried again the next time"


def _decode_to_file(
    clip: Clip, path: Path, content: str, form: PrepareSpec, marks: tuple[str, tuple[str, ...], str]
) -> dict[str, Any]:
    """Raises OSError where a source changed since its bytes were hashed: the file would bear another's name."""
    from datasets.decode.clip import decode_clip

    data, facts = decode_clip(clip, form.side, form.mels)
    quick, ends, full = marks
    if (compute_quick_stamp(clip, ends), compute_full_stamp(clip)) != (quick, full):
        raise OSError(errno.EBUSY, "changed while it was read", clip.key)
    try:
        with atomic_path(path) as temporary:
            save_file(data, temporary, metadata={"facts": json.dumps({"content": content, **facts})})
    except SafetensorError as error:  # it wraps what the disk said
        raise StoreError(
            f"cannot write {path} ({error}); free space or choose another --results, then start again: it goes on"
        ) from None
    return facts


@contextmanager
def _store_lock(place: Path, report: ProgressCallback) -> Iterator[None]:
    """One process prepares a store at a time; another one waits, and then finds the work done."""
    try:
        place.mkdir(parents=True, exist_ok=True)
        lock = FileLock(place / LOCK_FILE)
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


def _make_prepared_clip(clip: Clip, place: Path, row: StoreRow | None, fault: str | None) -> PreparedClip:
    if fault is not None or row is None:
        issue = DataIssue("unreadable", clip.key, fault or "its sources changed meanwhile")
        return PreparedClip(clip, None, None, (issue,))
    path = place / row.file_name if row.readable else None
    return PreparedClip(clip, path, row, tuple(DataIssue(*told) for told in row.problems))


def open_prepared_file(path: Path) -> Any:
    """Open a prepared file; raises StoreError for one that was cut short, or is gone."""
    try:
        return safe_open(path, "numpy")
    except OSError as error:
        raise StoreError(f"{path} cannot be read ({error}); run `prepare` again") from None
    except SafetensorError:
        raise StoreError(f"{path} is damaged; remove it, and it is prepared again") from None


def read_clip_facts(path: Path) -> dict[str, Any]:
    """Read what a prepared file says of itself, from its header alone; raises StoreError."""
    with open_prepared_file(path) as file:
        facts: dict[str, Any] = json.loads(file.metadata()["facts"])
    return facts


def compute_quick_stamp(clip: Clip, ends: tuple[str, ...] = ()) -> str:
    """Name, size and time of change of each source; of a folder of frames its own time, and those of the pictures
    named in `ends`. A picture rewritten between them goes unseen: `compute_full_stamp` sees it."""
    marks = [clip.sources.text]
    for role, path in list_sources(clip):
        marks += [role, path.name, _stamp_file(path), *(_stamp_file(path / name) for name in ends if role == "frames")]
    return _hash_strings(marks)[:24]


def compute_full_stamp(clip: Clip) -> str:
    """Return the same with every picture of a folder of frames."""
    return _hash_strings([compute_quick_stamp(clip), _stamp_frames(clip.sources.frames)])[:24]


def find_first_last(clip: Clip) -> tuple[str, ...]:
    """The names of the first and the last picture of a folder of frames."""
    names: list[str] = []
    with suppress(OSError):
        names = [entry.name for entry in list_images(clip.sources.frames)] if clip.sources.frames is not None else []
    return tuple(dict.fromkeys(names[:1] + names[-1:]))


def hash_sources(clip: Clip) -> str:
    """The sha256 of all bytes of the sources and of what each is for; of a folder frame by frame, with their names."""
    marks = [clip.sources.text]
    for role, path in list_sources(clip):
        files = sorted(number_frames(path, clip.key, clip.sources.root)[0].values()) if path.is_dir() else [path]
        marks += [role, *(f"{file.name if path.is_dir() else ''}\x1f{sha256(file)}" for file in files)]
    return _hash_strings(marks)


def make_prepared_name(clip: Clip, content: str) -> str:
    """The name of a prepared file: it follows from the clip's key, its sources' names and their content."""
    return _hash_strings([clip.key, *(path.name for _, path in list_sources(clip)), content])[:32]


def list_sources(clip: Clip) -> list[tuple[str, Path]]:
    """List what each file or folder of a clip is for, and where it is."""
    parts = [(role, getattr(clip.sources, role)) for role in ("frames", "video", "audio", "transcript")]
    return [(role, path) for role, path in parts if path is not None]


def _hash_strings(marks: Iterable[str]) -> str:
    return hashlib.sha256("\x1e".join(marks).encode("utf-8", "surrogateescape")).hexdigest()


def _stamp_frames(folder: Path | None) -> str:
    """Return number, total size and latest time of change of the pictures of a folder."""
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
    """What is known of one clip: how its sources looked when they were read, and what was in them."""

    key: str
    quick: str  # marks of the sources (datasets/prepare.py)
    full: str
    ends: tuple[str, ...]  # first and last picture of a folder of frames
    name: str  # of the prepared file
    content: str  # sha256 of the bytes of the sources
    readable: bool  # False: there is no prepared file, and `problems` say why
    problems: tuple[tuple[str, str, str], ...]
    frames: int = 0  # of 1/30 s
    sound: int = 0  # frames of 10 ms
    words: int = 0
    looks: str = ""  # digest of what is seen; empty where there is nothing
    sounds: str = ""  # digest of what is heard
    bytes: int = 0  # of the prepared file

    @property
    def file_name(self) -> str:
        """Name of the prepared file."""
        return f"{self.name}.safetensors"

    @property
    def seconds(self) -> float:
        """Length of the clip."""
        return self.frames / FRAME_RATE if self.frames else self.sound / AUDIO_FRAME_RATE


def read_store_manifest(place: Path) -> dict[str, StoreRow]:
    """Clip key -> its last whole line; nothing where there is no ledger."""
    try:
        text = (place / STORE_MANIFEST).read_bytes()
    except FileNotFoundError:
        return {}
    except OSError as error:
        raise StoreError(f"cannot read {place / STORE_MANIFEST} ({error.strerror}); choose another --results") from None
    rows = [row for line in text.split(b"\n") if (row := _parse_row(line)) is not None]
    return {row.key: row for row in rows}


def write_store_manifest(place: Path, rows: Iterable[StoreRow]) -> None:
    """Write a manifest anew; raises StoreError. Only the holder of the store's lock writes one."""
    atomic_write(place / STORE_MANIFEST, b"".join(map(_format_row, rows)))


def _append_row(path: Path, row: StoreRow) -> None:
    """Add a line; raises StoreError where the disk is full. A line that is lost costs a hash, not a decoding."""
    try:
        with path.open("ab") as file:
            file.write(_format_row(row))
    except OSError as error:
        raise StoreError(
            f"cannot write {path}: {error.strerror or error}; free space or choose another --results, then "
            "start again: it goes on"
        ) from error


def _format_row(row: StoreRow) -> bytes:
    return f"{json.dumps(asdict(row), separators=(',', ':'))}\n".encode()


def _parse_row(line: bytes) -> StoreRow | None:
    try:
        raw: dict[str, Any] = json.loads(line)
        raw["problems"], raw["ends"] = tuple(map(tuple, raw["problems"])), tuple(raw["ends"])
        return StoreRow(**raw)
    except (ValueError, TypeError, KeyError):
        return None


def find_duplicates(prepared: Iterable[PreparedClip]) -> list[DataIssue]:
    """Report each set of clips of the very same frames or the very same sound, once."""
    same: dict[tuple[str, str], list[str]] = defaultdict(list)
    for item in prepared:
        for mark in _get_content_hashes(item):
            same[mark].append(item.clip.key)
    shared: dict[tuple[str, ...], list[str]] = defaultdict(list)
    for (kind, _), keys in same.items():
        if len(keys) > 1:
            shared[tuple(sorted(keys))].append(kind)
    issues = []
    for group, kinds in sorted(shared.items()):
        more = f" and {len(group) - MAX_LISTED} more" if len(group) > MAX_LISTED else ""
        labels = {key.partition("/")[0] for key in group}
        under = f", under {len(labels)} classes" if len(labels) > 1 else ""
        why = f"the same {' and '.join(sorted(kinds))} as {', '.join(group[1:MAX_LISTED])}{more}{under}"
        issues.append(DataIssue("same content", group[0], why))
    return issues


def drop_leaking_duplicates(
    splits: Mapping[str, Sequence[PreparedClip]],
) -> tuple[dict[str, list[PreparedClip]], list[DataIssue]]:
    """Leave out of each split what is in a later one (test, val, train), and report it."""
    kept: dict[str, list[PreparedClip]] = {}
    problems = []
    later: dict[tuple[str, str], str] = {}  # mark -> the first clip that has it
    for split in ("test", "val", "train"):
        kept[split] = []
        for item in splits[split]:
            copy = next((later[mark] for mark in _get_content_hashes(item) if mark in later), None)
            if copy is None:
                kept[split].append(item)
            else:
                why = f"its copy {copy} is in a later split; left out of {split}"
                problems.append(DataIssue("leak", item.clip.key, why))
        for item in kept[split]:
            for mark in _get_content_hashes(item):
                later.setdefault(mark, item.clip.key)
    return kept, problems


def _get_content_hashes(item: PreparedClip) -> list[tuple[str, str]]:
    """Digests of what is seen and of what is heard, where that is anything."""
    if item.row is None or item.path is None:
        return []
    return [(kind, digest) for kind, digest in (("picture", item.row.looks), ("sound", item.row.sounds)) if digest]
