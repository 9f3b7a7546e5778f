"""Summary of a data set on this machine: from its listing within seconds, or from all clips after preparing them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path

from bench.errors import DataError
from bench.types import Clip, ClipSummary, DataIssue, DatasetSummary, Thumbnail, Word
from datasets.decode.video import read_thumbnail
from datasets.index import DatasetSource
from datasets.paths import find_data_folder
from datasets.prepare import (
    PreparedClip,
    PrepareSpec,
    ProgressCallback,
    drop_leaking_duplicates,
    find_duplicates,
    prepare_clips,
    read_clip_facts,
)
from datasets.rows import Listing

THUMBNAILS_PER_CLASS = 6
THUMBNAIL_SIDE = 120  # pixels of the short side


@dataclass(frozen=True)
class LocatedDataset:
    """Indexed data set: its folder and its listing."""

    source: DatasetSource
    folder: Path
    fold: int
    listing: Listing

    @property
    def root(self) -> Path:
        """Return the folder that file names are relative to."""
        return self.folder if self.folder.is_dir() else self.folder.parent

    def summarise_listing(self) -> DatasetSummary:
        """Summarise without opening any clip: what is listed, what is missing, and which files are empty."""
        clips = tuple(ClipSummary(clip.key, clip.target, clip.split, clip.group, None) for clip in self.listing.listed)
        empty = [problem for clip in self.listing.available for problem in _find_empty_files(clip)]
        return DatasetSummary(self.source.info, self.fold, False, clips, (*self.listing.issues, *empty))


@dataclass(frozen=True)
class SummarisedDataset:
    """Prepared data set: its summary and its clips."""

    summary: DatasetSummary
    prepared: tuple[PreparedClip, ...]

    def iter_words(self) -> Iterator[tuple[Clip, list[Word]]]:
        """Yield each readable clip with the words of its transcript."""
        for item in self.prepared:
            if item.path is not None:
                yield item.clip, [Word(*row) for row in read_clip_facts(item.path)["words"]]


def locate_dataset(source: DatasetSource, data: Path | None, fold: int) -> LocatedDataset:
    """Find and index a data set; raises DataError if it is not found."""
    folder = source.path or find_data_folder(source.info, data)
    if folder is None:
        raise DataError(
            f"{source.info.title} was not found in data/{source.info.name} or BENCH_DATA; give --data DIR. "
            f"{source.info.obtain}"
        )
    return LocatedDataset(source, folder, fold, source.index(folder, fold=fold))


def summarise_dataset(
    found: LocatedDataset, form: PrepareSpec, cache: Path, report: ProgressCallback
) -> SummarisedDataset:
    """Prepare every clip, checking each source file again, and summarise the content."""
    info, index = found.source.info, found.listing
    prepared = prepare_clips(index.available, form, cache / "prepared" / (info.folder or info.name), report)
    problems = [*index.issues, *(problem for item in prepared for problem in item.issues)]
    usable = [item for item in prepared if item.path is not None]
    splits = {split: [item for item in usable if item.clip.split == split] for split in ("train", "val", "test")}
    _, leaks = drop_leaking_duplicates(splits)
    problems += [*find_duplicates(usable), *leaks]
    dropped = {leak.where for leak in leaks}
    known = {item.clip.key: item for item in prepared}
    facts = DatasetSummary(
        info,
        found.fold,
        False,
        tuple(_summarise_clip(clip, known.get(clip.key), clip.key in dropped) for clip in index.listed),
        tuple(problems),
        store_bytes=sum(item.row.bytes for item in usable if item.row is not None),
    )
    return SummarisedDataset(facts, tuple(prepared))


def _find_empty_files(clip: Clip) -> Iterator[DataIssue]:
    """Yield an issue if media files of a clip have 0 bytes; the clip is unreadable if all of them have."""
    media = [path for path in (clip.sources.frames, clip.sources.video, clip.sources.audio) if path is not None]
    empty = [path for path in media if _is_empty_file(path)]
    if empty:
        what = "unreadable" if len(empty) == len(media) else "empty"
        yield DataIssue(what, clip.key, f"empty file (0 bytes): {', '.join(path.name for path in empty)}")


def _is_empty_file(path: Path) -> bool:
    with suppress(OSError):  # an inaccessible file is reported when it is prepared
        return path.is_file() and path.stat().st_size == 0
    return False


def _summarise_clip(clip: Clip, item: PreparedClip | None, dropped: bool) -> ClipSummary:
    listed = ClipSummary(clip.key, clip.target, clip.split, clip.group, None)
    if item is None or item.path is None or item.row is None:
        return listed
    present = (item.row.frames > 0, item.row.sound > 0, item.row.words > 0)
    return replace(listed, seconds=item.row.seconds, words=item.row.words, present=present, dropped=dropped)


def read_thumbnails(summarised: SummarisedDataset, report: ProgressCallback) -> dict[str, tuple[Thumbnail, ...]]:
    """Return class -> at most THUMBNAILS_PER_CLASS thumbnails, from clips evenly spaced over its list.

    Clips of a regression are under the name "clips".
    """
    classes = summarised.summary.info.classes or ("clips",)
    with_frames = [item.clip for item in summarised.prepared if item.row is not None and item.row.frames]
    selected = []
    for label, name in enumerate(classes):
        clips = [clip for clip in with_frames if clip.target == label or not isinstance(clip.target, int)]
        count = min(THUMBNAILS_PER_CLASS, len(clips))
        selected += [(name, clips[place * len(clips) // count]) for place in range(count)]
    thumbnails: dict[str, tuple[Thumbnail, ...]] = dict.fromkeys(classes, ())
    for done, (name, clip) in enumerate(selected, 1):
        data = read_thumbnail(clip, THUMBNAIL_SIDE)
        report("thumbnails", done, len(selected))
        if data is not None:
            thumbnails[name] += (Thumbnail(clip.key, data),)
    return thumbnails
