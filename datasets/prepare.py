"""Prepared store: one file per clip with encoded frames, log-mel energies and words, decoded once, read at random.

Files are written atomically and named by the content of their sources. So preparing can be killed and restarted, a clip
whose sources change is prepared again, and a clip that was only moved or touched is not.

The store's manifest has one row per clip, so that a run needs to open no prepared file. The last row of a clip is the
valid one; a row cut short by a killed process is ignored.
"""

from __future__ import annotations

import errno
import json
import os
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from functools import partial
from heapq import heappop, heappush
from pathlib import Path
from typing import Any

import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file

from bench.errors import MediaError, StoreError
from bench.files import atomic_path, atomic_write
from bench.processes import run_each
from bench.types import FEATURES, Clip, DataIssue
from datasets.decode.container import MAX_CLIP_SECONDS
from datasets.segments import AUDIO_FRAME_RATE, FRAME_RATE
from datasets.sources import (
    LOCK_FILE,
    HashedSources,
    ProgressCallback,
    explain_fault,
    hash_clips,
    lock_store,
    make_prepared_name,
)

STORE_VERSION = 3  # increase it whenever the content of prepared files changes
STORE_MANIFEST = "ledger.jsonl"
MAX_OPEN_PARTS, MAX_OPEN_SECONDS = 32, 7200.0  # of overlapping parts of one file that are in memory at the same time
MAX_LISTED = 5  # clips of the same content named in an issue


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
    content: str = ""  # sha256 of the bytes of its sources; "" if they could not be accessed


def prepare_clips(
    clips: Sequence[Clip], form: PrepareSpec, folder: Path, report: ProgressCallback, thorough: bool = True
) -> list[PreparedClip]:
    """Return the prepared clips in order; decode in parallel those that are missing or out of date.

    `thorough` checks every image of a folder of frames for changes, else only the folder, its first and its last image.
    A clip whose sources cannot be accessed (permission, faulty disk) is reported and retried the next time. All bytes
    are hashed before they are decoded, so that a disk fault is not mistaken for a damaged file.
    """
    place = folder / form.folder_name
    hashed = hash_clips(clips, folder, report, thorough)
    faults, by_file = dict(hashed.faults), any(clip.is_part for clip in clips)
    work = [IdentifiedClip(clip, hashed.clips[clip.key]) for clip in clips if clip.key in hashed.clips]
    rows = read_store_manifest(place)
    if _find_unprepared(work, rows, place, by_file, thorough):
        with lock_store(place, report):
            rows = read_store_manifest(place)
            missing = _find_unprepared(work, rows, place, by_file, thorough)
            for path in place.glob(".*"):  # temporary files of killed processes, ours and those of safetensors
                if path.name != LOCK_FILE:
                    with suppress(OSError):
                        path.unlink()
            faults |= _prepare_missing(missing, rows, place, form, report, by_file)
    contents = {key: sources.content for key, sources in hashed.clips.items()}
    return [
        _make_prepared_clip(clip, place, rows.get(clip.key), faults.get(clip.key), contents.get(clip.key, ""))
        for clip in clips
    ]


@dataclass(frozen=True)
class IdentifiedClip:
    """Clip with the hashes of its sources."""

    clip: Clip
    sources: HashedSources

    @property
    def name(self) -> str:
        """Return the name of its prepared file, without suffix."""
        return make_prepared_name(self.clip, self.sources.content)


def _find_unprepared(
    work: Iterable[IdentifiedClip], rows: Mapping[str, StoreRow], place: Path, by_file: bool, thorough: bool
) -> list[IdentifiedClip]:
    """Return the clips that have no row in the manifest, or whose sources or prepared file have changed."""
    present: set[str] = set()
    with suppress(OSError):
        present = set(os.listdir(place))
    return [
        item for item in work if not _is_up_to_date(item, rows.get(item.clip.key), place, present, by_file, thorough)
    ]


def _is_up_to_date(
    item: IdentifiedClip, row: StoreRow | None, place: Path, present: set[str], by_file: bool, thorough: bool
) -> bool:
    if row is None or row.content != item.sources.content or (by_file and not row.files):
        return False
    if not row.readable:
        return True
    if row.name != item.name or row.file_name not in present:
        return False
    return not thorough or (place / row.file_name).stat().st_size == row.bytes


def _prepare_missing(
    missing: Sequence[IdentifiedClip],
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


def batch_clips(items: Sequence[IdentifiedClip]) -> list[tuple[IdentifiedClip, ...]]:
    """Return the clips in batches for one process each: the parts of one file, or a single clip.

    At most MAX_OPEN_PARTS parts of a batch overlap, to bound the memory. Batches of parts come first, since they take
    longest.
    """
    parts: dict[tuple[Path | None, ...], list[IdentifiedClip]] = defaultdict(list)
    for item in items:
        sources = item.clip.sources
        if item.clip.is_part:
            parts[sources.frames, sources.video, sources.audio].append(item)
    batches = [batch for found in parts.values() for batch in _limit_overlap(found)]
    return batches + [(item,) for item in items if not item.clip.is_part]


def _limit_overlap(items: Iterable[IdentifiedClip]) -> list[tuple[IdentifiedClip, ...]]:
    """Return parts of one file in order, in as many batches as bound the number and length of overlapping parts."""
    # parts, and a heap of (end, seconds) of open ones
    batches: list[tuple[list[IdentifiedClip], list[tuple[float, float]]]] = []
    for item in sorted(items, key=lambda item: item.clip.start or 0.0):
        start, end = item.clip.start or 0.0, float("inf") if item.clip.end is None else item.clip.end
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
        batch[0].append(item)
        heappush(batch[1], (end, seconds))
    return [tuple(members) for members, _ in batches]


def prepare_batch(
    items: Sequence[IdentifiedClip],
    place: Path,
    form: PrepareSpec,
    by_file: bool,
    report: Callable[[int, int], None] | None = None,
) -> list[tuple[str, StoreRow | str]]:
    """Do the same as `prepare_clip` for a batch of `batch_clips`; the files of parts are decoded once.

    `report` is called with (parts done, parts) after each part.
    """
    if not items[0].clip.is_part:
        return [prepare_clip(item, place, form, by_file) for item in items]
    from datasets.decode.clip import decode_parts

    found: dict[str, StoreRow | str] = {}
    waiting: dict[str, IdentifiedClip] = {}
    for item in items:
        if facts := _read_stored_facts(_locate(item, place)):
            found[item.clip.key] = _make_row(item, place, facts, by_file)
        else:
            waiting[item.clip.key] = item
    missing = [item.clip for item in waiting.values()]
    try:
        for clip, decoded in decode_parts(missing, form.side, form.mels) if missing else ():
            item = waiting[clip.key]
            if isinstance(decoded, MediaError):
                found[clip.key] = _make_unreadable_row(item, decoded, by_file)
            else:
                found[clip.key] = _make_row(item, place, _store_clip(item, place, *decoded), by_file)
            if report is not None:
                report(len(found), len(items))
    except OSError as error:
        found |= {key: explain_fault(item.clip, error) for key, item in waiting.items() if key not in found}
    return list(found.items())


def prepare_clip(
    item: IdentifiedClip, place: Path, form: PrepareSpec, by_file: bool = False
) -> tuple[str, StoreRow | str]:
    """Decode a clip into its prepared file unless one of the same content exists.

    Returns the clip's key, and its row or the reason why a source was inaccessible. With `by_file` the row has a hash
    of each media file.
    """
    from datasets.decode.clip import decode_clip

    clip = item.clip
    try:
        facts = _read_stored_facts(_locate(item, place)) or _store_clip(
            item, place, *decode_clip(clip, form.side, form.mels)
        )
    except MediaError as error:
        return clip.key, _make_unreadable_row(item, error, by_file)
    except OSError as error:
        return clip.key, explain_fault(clip, error)
    return clip.key, _make_row(item, place, facts, by_file)


def _locate(item: IdentifiedClip, place: Path) -> Path:
    """Return the path of a clip's prepared file."""
    return place / f"{item.name}.safetensors"


def _read_stored_facts(path: Path) -> dict[str, Any] | None:
    """Return the facts of a prepared file, or None if it is missing or incomplete."""
    with suppress(StoreError):
        return read_clip_facts(path)
    return None


def _make_row(item: IdentifiedClip, place: Path, facts: Mapping[str, Any], by_file: bool) -> StoreRow:
    return StoreRow(
        item.clip.key,
        name=item.name,
        content=item.sources.content,
        readable=True,
        problems=tuple(map(tuple, facts["problems"])),
        frames=facts["frames"],
        sound=facts["sound"],
        words=len(facts["words"]),
        looks=facts["looks"],
        sounds=facts["sounds"],
        bytes=_locate(item, place).stat().st_size,
        files=item.sources.files if by_file else (),
        features=tuple(facts.get("features", {}).items()),
    )


def _make_unreadable_row(item: IdentifiedClip, error: MediaError, by_file: bool) -> StoreRow:
    problems = (("unreadable", item.clip.key, str(error)),)
    files = item.sources.files if by_file else ()
    return StoreRow(item.clip.key, "", item.sources.content, readable=False, problems=problems, files=files)


def _report_crash(items: Sequence[IdentifiedClip], *_: object) -> list[tuple[str, StoreRow | str]]:
    return [(item.clip.key, "the decoder crashed or ran out of memory; retried the next time") for item in items]


def _store_clip(
    item: IdentifiedClip, place: Path, data: dict[str, np.ndarray], facts: dict[str, Any]
) -> dict[str, Any]:
    """Write the prepared file of a decoded clip and return its facts.

    Raises OSError if a source changed after its bytes were hashed, since the file's name would be wrong.
    """
    path = _locate(item, place)
    if not item.sources.is_current(item.clip, thorough=True):
        raise OSError(errno.EBUSY, "changed while being read", item.clip.key)
    try:
        with atomic_path(path) as temporary:
            save_file(data, temporary, metadata={"facts": json.dumps({"content": item.sources.content, **facts})})
    except SafetensorError as error:  # wraps the error of the disk
        raise StoreError(
            f"cannot write {path} ({error}); free disk space or choose another --results, then restart to resume"
        ) from None
    return facts


def _make_prepared_clip(clip: Clip, place: Path, row: StoreRow | None, fault: str | None, content: str) -> PreparedClip:
    if fault is not None or row is None:
        issue = DataIssue("unreadable", clip.key, fault or "its sources changed while being prepared")
        return PreparedClip(clip, None, None, (issue,), content)
    path = place / row.file_name if row.readable else None
    return PreparedClip(clip, path, row, tuple(DataIssue(*problem) for problem in row.problems), content)


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


@dataclass(frozen=True)
class StoreRow:
    """Row of a clip in the store's manifest: facts of its content."""

    key: str
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
        raw["problems"] = tuple(map(tuple, raw["problems"]))
        for name in ("quick", "full", "ends"):  # of version 0.1
            raw.pop(name, None)
        raw["files"], raw["features"] = tuple(raw.get("files", ())), tuple(map(tuple, raw.get("features", ())))
        return StoreRow(**raw)
    except (ValueError, TypeError, KeyError):
        return None


def find_duplicates(prepared: Iterable[PreparedClip]) -> list[DataIssue]:
    """Report, once for each set, clips whose video or audio is identical; of parts of one file the first."""
    same: dict[tuple[str, str], list[str]] = defaultdict(list)
    seen = set()
    for item in prepared:
        for mark in get_content_hashes(item):
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
            copy = next((later[mark] for mark in get_content_hashes(item) if mark in later), None)
            if copy is None:
                remaining[split].append(item)
            else:
                why = f"same content as {copy}; left out of {split}"
                problems.append(DataIssue("leak", item.clip.key, why))
        for item in remaining[split]:
            for mark in get_content_hashes(item):
                later.setdefault(mark, f"{item.clip.key} in {split}")
    return remaining, problems


def get_content_hashes(item: PreparedClip) -> list[tuple[str, str]]:
    """Return (modality, digest) of the video and the audio of a clip, without black video and silent audio.

    In a data set with parts of files it includes ("file", digest) of each media file.
    """
    if item.row is None or item.path is None:
        return []
    streams = [(kind, digest) for kind, digest in (("video", item.row.looks), ("audio", item.row.sounds)) if digest]
    return [*streams, *(("file", digest) for digest in item.row.files)]
