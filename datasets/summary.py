"""Summary of a data set on this machine: from its listing within seconds, or from all clips after preparing them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import av
from PIL import Image, ImageOps

from bench.errors import DataError, MediaError
from bench.types import Clip, ClipSummary, DataIssue, DatasetSummary, Thumbnail, Word
from datasets.decode.container import DECODE_ERRORS, find_places, find_video_streams, open_media
from datasets.index import DatasetSource
from datasets.paths import find_data_folder
from datasets.prepare import (
    PreparedClip,
    PrepareSpec,
    drop_leaking_duplicates,
    find_duplicates,
    prepare_clips,
    read_clip_facts,
)
from datasets.rows import Listing
from datasets.segments import FRAME_RATE
from datasets.sources import ProgressCallback
from datasets.streams.video import number_frames, save_jpeg

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
    streams = item.row.streams
    return replace(listed, seconds=item.row.seconds, words=item.row.words, streams=streams, dropped=dropped)


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
        data = _read_thumbnail(clip, THUMBNAIL_SIDE)
        report("thumbnails", done, len(selected))
        if data is not None:
            thumbnails[name] += (Thumbnail(clip.key, data),)
    return thumbnails


def _read_thumbnail(clip: Clip, side: int) -> bytes | None:
    """Return a frame of a clip as a JPEG with a short side of `side` pixels, or None if no frame can be read."""
    try:
        image = _open_middle_frame(clip)
        if image is None:
            return None
        scaled = ImageOps.cover(image.convert("RGB"), (side, side), Image.Resampling.LANCZOS)
    except (MediaError, OSError, *DECODE_ERRORS):
        return None
    return save_jpeg(scaled, quality=80)


def _open_middle_frame(clip: Clip) -> Image.Image | None:
    """Return the middle image of a folder, or the first frame that can be decoded from the middle of a video on.

    Of a part it is the first one from the middle of the part on.
    """
    if clip.sources.frames is not None:
        images = number_frames(clip.sources.frames, clip.key, clip.sources.root)[0]
        first, stop = find_places(clip, FRAME_RATE) if clip.is_part else (0, max(images, default=0) + 1)
        paths = [path for place, path in images.items() if first <= place < stop] or [*images.values()]
        return Image.open(paths[len(paths) // 2]) if paths else None
    if clip.sources.video is None:
        return None
    if clip.is_part:
        return _decode_part_frame(clip, clip.sources.video)
    try:
        return _decode_first_frame(clip.sources.video, from_middle=True)
    except DECODE_ERRORS:  # some files are not seekable
        return _decode_first_frame(clip.sources.video, from_middle=False)


def _decode_part_frame(clip: Clip, path: Path) -> Image.Image | None:
    """Return the first frame from the middle of a part on, or else its last one; None for a part without frames."""
    start = clip.start or 0.0
    with open_media(path) as container:
        for stream in find_video_streams(container)[:1]:
            origin = float((stream.start_time or 0) * stream.time_base)
            end = clip.end or max(start, (container.duration or 0) / av.time_base)
            middle, found = (start + end) / 2, None
            with suppress(*DECODE_ERRORS):  # some files are not seekable
                container.seek(int((origin + middle) / stream.time_base), stream=stream)
            for frame in container.decode(stream):
                now = (frame.time or 0.0) - origin
                if found is not None and clip.end is not None and now >= clip.end:
                    break
                found = frame
                if now >= middle:
                    break
            return _turn_upright(found) if found is not None else None
    return None


def _decode_first_frame(path: Path, from_middle: bool) -> Image.Image | None:
    with open_media(path) as container:
        if from_middle and container.duration:
            container.seek(container.duration // 2)
        for stream in find_video_streams(container)[:1]:
            for frame in container.decode(stream):
                return _turn_upright(frame)
    return None


def _turn_upright(frame: Any) -> Image.Image:
    image: Image.Image = frame.to_image()
    return image.rotate(round(getattr(frame, "rotation", 0) / 90) % 4 * 90, expand=True)
