"""Summary of a data set on this machine: its listing in seconds, or every clip prepared."""

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

THUMBNAILS_PER_CLASS = 6  # of a class
THUMBNAIL_SIDE = 120  # pixels of a still's short side


@dataclass(frozen=True)
class LocatedDataset:
    """A data set's folder, and what it lists."""

    source: DatasetSource
    folder: Path
    fold: int
    listing: Listing

    @property
    def root(self) -> Path:
        """The folder that names of files are relative to."""
        return self.folder if self.folder.is_dir() else self.folder.parent

    def summarise_listing(self) -> DatasetSummary:
        """What is known without opening any clip: what is listed and there, and which files are empty."""
        clips = tuple(ClipSummary(clip.key, clip.target, clip.split, clip.group, None) for clip in self.listing.listed)
        empty = [problem for clip in self.listing.available for problem in _find_empty_files(clip)]
        return DatasetSummary(self.source.info, self.fold, False, clips, (*self.listing.issues, *empty))


@dataclass(frozen=True)
class SummarisedDataset:
    """A data set prepared: its facts, and its clips for whoever wants to count their words."""

    summary: DatasetSummary
    prepared: tuple[PreparedClip, ...]

    def iter_words(self) -> Iterator[tuple[Clip, list[Word]]]:
        """Each readable clip with the words that are said in it."""
        for item in self.prepared:
            if item.path is not None:
                yield item.clip, [Word(*row) for row in read_clip_facts(item.path)["words"]]


def locate_dataset(source: DatasetSource, data: Path | None, fold: int) -> LocatedDataset:
    """Index a data set where it is; raises DataError where it is not found."""
    folder = source.path or find_data_folder(source.info, data)
    if folder is None:
        raise DataError(
            f"no {source.info.title} was found in data/{source.info.name} or BENCH_DATA; say --data DIR "
            f"({source.info.obtain})"
        )
    return LocatedDataset(source, folder, fold, source.index(folder, fold=fold))


def summarise_dataset(
    found: LocatedDataset, form: PrepareSpec, cache: Path, report: ProgressCallback
) -> SummarisedDataset:
    """Prepare every clip, looking at each source anew, and gather what is in it."""
    info, index = found.source.info, found.listing
    prepared = prepare_clips(index.available, form, cache / "prepared" / info.name, report)
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
    """The clip's media of 0 bytes; without any that are not, it is unreadable."""
    media = [path for path in (clip.sources.frames, clip.sources.video, clip.sources.audio) if path is not None]
    empty = [path for path in media if _is_empty_file(path)]
    if empty:
        what = "unreadable" if len(empty) == len(media) else "empty"
        yield DataIssue(what, clip.key, f"{', '.join(path.name for path in empty)}: 0 bytes")


def _is_empty_file(path: Path) -> bool:
    with suppress(OSError):  # out of reach: preparing will say so
        return path.is_file() and path.stat().st_size == 0
    return False


def _summarise_clip(clip: Clip, item: PreparedClip | None, dropped: bool) -> ClipSummary:
    listed = ClipSummary(clip.key, clip.target, clip.split, clip.group, None)
    if item is None or item.path is None or item.row is None:
        return listed
    present = (item.row.frames > 0, item.row.sound > 0, item.row.words > 0)
    return replace(listed, seconds=item.row.seconds, words=item.row.words, present=present, dropped=dropped)


def read_thumbnails(surveyed: SummarisedDataset, report: ProgressCallback) -> dict[str, tuple[Thumbnail, ...]]:
    """A few pictures of each class, from clips spread over its list."""
    classes = surveyed.summary.info.classes
    seen = [item.clip for item in surveyed.prepared if item.row is not None and item.row.frames]
    chosen = []
    for label, name in enumerate(classes):
        clips = [clip for clip in seen if clip.target == label]
        count = min(THUMBNAILS_PER_CLASS, len(clips))
        chosen += [(name, clips[place * len(clips) // count]) for place in range(count)]
    thumbnails: dict[str, tuple[Thumbnail, ...]] = dict.fromkeys(classes, ())
    for done, (name, clip) in enumerate(chosen, 1):
        data = read_thumbnail(clip, THUMBNAIL_SIDE)
        report("stills", done, len(chosen))
        if data is not None:
            thumbnails[name] += (Thumbnail(clip.key, data),)
    return thumbnails
