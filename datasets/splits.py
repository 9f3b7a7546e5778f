"""Train, val and test splits of a run, from a folder of media or from a feature file.

Clips with the same content are reported and never end up in two splits.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Container, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch

from bench.errors import DataError
from bench.processes import check_main_guard
from bench.rng import RngTree
from bench.tasks import TargetValue
from bench.types import (
    CLIP_LOSING_ISSUES,
    FEATURES,
    VALIDATION_FOLDS,
    Clip,
    ClipSources,
    DataIdentity,
    DataIssue,
    DatasetInfo,
    DatasetSplits,
    OpenedClip,
    SampleTruth,
    Sampling,
    SegmentWords,
    SplitRequest,
)
from datasets.feature_file import is_feature_file, read_feature_file_once
from datasets.index import DatasetSource, index_tree
from datasets.paths import find_data_folder
from datasets.prepare import (
    PreparedClip,
    PrepareSpec,
    drop_leaking_duplicates,
    find_duplicates,
    get_content_hashes,
    prepare_clips,
)
from datasets.prepared_clips import PreparedClipSet
from datasets.rows import Listing, assign_folds, compute_fingerprint
from datasets.sample import ensure_sample, has_sample, read_truth
from datasets.segments import AUDIO_FRAME_RATE
from datasets.sources import hash_clips
from datasets.streams.text import spread_words

NO_SOURCES = ClipSources()
EMPTY_SPLIT_CAUSES = CLIP_LOSING_ISSUES | {"class", "link", "name"}  # kinds of issue that can empty a split


@dataclass(frozen=True)
class FeatureClips:
    """ClipSet over a split of a feature file; the arrays are in memory."""

    clips: tuple[Clip, ...]
    arrays: Mapping[str, np.ndarray]  # name -> (n, L, D) float32
    lengths: Mapping[str, np.ndarray]  # name -> (n,) int64; 0: the clip lacks the array
    texts: tuple[str, ...] | None
    sha256: str = ""  # of the file

    @property
    def contents(self) -> tuple[str, ...]:
        """Return a digest of each clip's media."""
        return tuple(f"{self.sha256}/{clip.key}" for clip in self.clips)

    def keep(self, keys: Container[str]) -> FeatureClips:
        """Return the clips with these keys."""
        rows = [row for row, clip in enumerate(self.clips) if clip.key in keys]
        if len(rows) == len(self.clips):
            return self
        return replace(
            self,
            clips=tuple(self.clips[row] for row in rows),
            arrays={name: values[rows] for name, values in self.arrays.items()},
            lengths={name: values[rows] for name, values in self.lengths.items()},
            texts=tuple(self.texts[row] for row in rows) if self.texts else self.texts,
        )

    def read(self, index: int, sampling: Sampling, rng: RngTree, epoch: int) -> OpenedClip:
        """Open clip `index`; its words, which have no times, are those of the first segment."""
        size = sampling.video.size
        words = tuple(spread_words(self.texts[index], 0.0, 0.0)) if self.texts and sampling.reads_stream("text") else ()
        streams: dict[str, torch.Tensor | SegmentWords] = {
            "video": torch.zeros((sampling.segments, sampling.video.frames, size, size, 3), dtype=torch.uint8),
            "audio": torch.zeros((sampling.segments, AUDIO_FRAME_RATE, sampling.audio.mels)),
            "text": (words, *((),) * (sampling.segments - 1)),
        }
        present = {"video": False, "audio": False, "text": bool(words)}
        for name, values in self.arrays.items():
            count, stream = int(self.lengths[name][index]), f"{FEATURES}{name}"
            present[stream] = count > 0 and sampling.reads_stream(stream)
            blank = torch.zeros((1, values.shape[2]))
            streams[stream] = torch.from_numpy(values[index, :count].copy()) if present[stream] else blank
        return OpenedClip(streams, present)

    @property
    def shares(self) -> dict[str, float]:
        """Return stream -> share of the clips that have it."""
        found = {f"{FEATURES}{name}": float((lengths > 0).mean()) for name, lengths in self.lengths.items()}
        return found | ({"text": sum(map(bool, self.texts)) / len(self.clips)} if self.texts else {})


@dataclass(frozen=True)
class _LocatedClips:
    """Listed clips of a run by split, before any is decoded."""

    info: DatasetInfo
    folder: Path
    index: Listing
    splits: dict[str, list[Clip]]
    is_sample: bool

    @property
    def clips(self) -> list[Clip]:
        """Return the clips of all splits, in the order of the listing."""
        chosen = {clip.key for clips in self.splits.values() for clip in clips}
        return [clip for clip in self.index.available if clip.key in chosen]

    def get_store(self, cache: Path) -> Path:
        """Return the folder of the prepared stores; the sample has a separate one."""
        return (
            cache / "prepared" / (f"{self.info.name}-sample" if self.is_sample else self.info.folder or self.info.name)
        )


def _locate_clips(source: DatasetSource, folder: Path | None, request: SplitRequest) -> _LocatedClips:
    """List and split the clips in a folder; without a folder those of the built-in sample, written if it is missing.

    Raises DataError for a folder without the data, and for a fold of the sample.
    """
    info = source.info
    fold = info.folds[0] if request.fold is None else request.fold
    if folder is not None:
        index = source.index(folder, fold=fold)
    elif fold != info.folds[0]:
        raise DataError(
            f"--fold: {info.title} was not found and the built-in sample has no folds; omit --fold or give --data DIR"
        )
    elif source.drawn is None:
        root = ensure_sample(info, request.cache, request.report_progress)
        index = index_tree(root, info)
    else:
        root = ensure_sample(source.drawn, request.cache, request.report_progress, affect=True)
        index = source.index(root, fold=fold)
    splits = limit_clips(split_clips(info, index, request.seed), request.limit)
    return _LocatedClips(info, folder or root, index, splits, is_sample=folder is None)


def identify_data(source: DatasetSource, request: SplitRequest) -> DataIdentity | None:
    """Return the identity of the data of a run; hash their files, but decode nothing.

    With `request.only_known` no file is hashed or written: return None if one was never hashed or has changed since.
    Raises DataError for a given folder without the data.
    """
    folder = source.path or find_data_folder(source.info, request.folder)
    if folder is not None and is_feature_file(folder):
        return _identify_feature_file(source, folder, request.limit)
    if folder is None and request.only_known and not has_sample(source.drawn or source.info, request.cache):
        return None
    located = _locate_clips(source, folder, request)
    hashed = hash_clips(
        located.clips, located.get_store(request.cache), request.report_progress, only_known=request.only_known
    )
    contents = {key: row.content for key, row in hashed.clips.items()}
    return None if hashed.unknown else _make_identity(located, contents, request)


def _make_identity(located: _LocatedClips, contents: Mapping[str, str], request: SplitRequest) -> DataIdentity:
    """Return the hashes of the splits, and of the clips' bytes, how they are prepared, their task and language."""
    info = located.info
    facts = [PrepareSpec.for_size(request.size, request.mels).folder_name, *_list_facts(info), info.language]
    rows = sorted(f"{clip.key}\t{contents.get(clip.key) or 'no access'}" for clip in located.clips)
    content = hashlib.sha256("\n".join([*facts, *rows]).encode()).hexdigest()
    return DataIdentity(compute_fingerprint(located.splits, info), content, located.is_sample)


def _list_facts(info: DatasetInfo) -> list[str]:
    """Return the facts of a task, with the emotions of each class."""
    facts = list(info.task.list_facts())
    if info.classes:
        emotions = [" ".join(sorted(info.emotions.get(name, ()))) for name in info.classes]
        facts = [f"{fact}\t{names}" for fact, names in zip(facts, emotions, strict=True)]
    return facts


def load_splits(source: DatasetSource, request: SplitRequest) -> DatasetSplits:
    """Index, prepare and split a data set, or the built-in sample if its files are not found.

    Raises DataError for a given folder without the data, an empty split, or a class without training clips.
    """
    check_main_guard()
    folder = source.path or find_data_folder(source.info, request.folder)
    if folder is not None and is_feature_file(folder):
        return load_feature_splits(source, folder, request.limit)
    located = _locate_clips(source, folder, request)
    return _prepare_splits(located, request, read_truth(located.folder) if located.is_sample else {})


def _split_feature_file(source: DatasetSource, path: Path) -> tuple[Listing, dict[str, list[Clip]]]:
    listing = source.index(path, fold=0)
    splits: dict[str, list[Clip]] = {split: [] for split in read_feature_file_once(path).splits}
    for clip in listing.listed:
        splits[clip.split].append(clip)
    return listing, splits


def _identify_feature_file(source: DatasetSource, path: Path, limit: int | None) -> DataIdentity:
    """Return the identity of a feature file, which is read as a whole."""
    facts = ["feature file", read_feature_file_once(path).sha256, *source.info.task.list_facts(), source.info.language]
    splits = limit_clips(_split_feature_file(source, path)[1], limit)
    content = hashlib.sha256("\n".join(facts).encode()).hexdigest()
    return DataIdentity(compute_fingerprint(splits, source.info), content)


def load_feature_splits(source: DatasetSource, path: Path, limit: int | None = None) -> DatasetSplits:
    """Return the official splits of a feature file, the same for every seed; raises DataError for an empty split."""
    found, (listing, clips) = read_feature_file_once(path), _split_feature_file(source, path)
    identity = _identify_feature_file(source, path, limit)
    kept = {split: {clip.key for clip in members} for split, members in limit_clips(clips, limit).items()}
    sets = {
        split: FeatureClips(tuple(clips[split]), part.streams, part.lengths, part.texts, found.sha256).keep(kept[split])
        for split, part in found.splits.items()
    }
    problems = _check_splits(source.info, {split: list(part.clips) for split, part in sets.items()}, path, ())
    return DatasetSplits(
        info=source.info,
        train=sets["train"],
        val=sets["val"],
        test=sets["test"],
        fingerprint=identity.fingerprint,
        content_hash=identity.content_hash,
        issues=(*listing.issues, *problems),
        streams=sets["train"].shares,
    )


def _prepare_splits(located: _LocatedClips, request: SplitRequest, truth: Mapping[str, SampleTruth]) -> DatasetSplits:
    """Prepare the clips of all splits; `truth` is that of the built-in sample."""
    info, index = located.info, located.index
    form, store = PrepareSpec.for_size(request.size, request.mels), located.get_store(request.cache)
    prepared = prepare_clips(located.clips, form, store, request.report_progress, thorough=False)
    problems = [*index.issues, *(problem for item in prepared for problem in item.issues)]
    usable = {item.clip.key: item for item in prepared if item.path is not None}
    splits, leaks = drop_leaking_duplicates(
        {split: [usable[clip.key] for clip in clips if clip.key in usable] for split, clips in located.splits.items()}
    )
    problems += [*find_duplicates(usable.values()), *leaks]
    splits = {split: sorted(items, key=lambda item: item.clip.key) for split, items in splits.items()}
    clips = {split: [item.clip for item in items] for split, items in splits.items()}
    problems += [*_check_widths(usable.values(), info), *_check_splits(info, clips, located.folder, problems)]
    identity = _make_identity(located, {item.clip.key: item.content for item in prepared}, request)
    return DatasetSplits(
        info=info,
        train=_make_clip_set(splits["train"], info),
        val=_make_clip_set(splits["val"], info),
        test=_make_clip_set(splits["test"], info),
        fingerprint=compute_fingerprint(clips, info),
        content_hash=identity.content_hash,
        issues=tuple(problems),
        truth=truth,
        is_sample=located.is_sample,
        streams=_share_streams(splits["train"]),
        marks={key: frozenset(map(":".join, get_content_hashes(item))) for key, item in usable.items()},
    )


def _share_streams(items: Sequence[PreparedClip]) -> dict[str, float]:
    """Return stream -> share of the clips that have it."""
    counts = Counter(name for item in items if item.row is not None for name in item.row.streams)
    return {name: counts[name] / len(items) for name in counts}


def split_clips(info: DatasetInfo, index: Listing, seed: int) -> dict[str, list[Clip]]:
    """Return the clips with media by split: as listed; without a listed val split, a fold of the training list is val.

    The seed selects the fold. Folds are computed from all listed clips, so that a missing clip moves no other.
    """
    splits: dict[str, list[Clip]] = {"train": [], "val": [], "test": []}
    stated = any(clip.split == "val" for clip in index.listed)
    folds = {} if stated else assign_folds([clip for clip in index.listed if clip.split == "train"], info.name)
    for clip in index.available:
        is_val = clip.split == "train" and not stated and folds[clip.group] == seed % VALIDATION_FOLDS
        splits["val" if is_val else clip.split].append(clip)
    return splits


def limit_clips(splits: dict[str, list[Clip]], limit: int | None) -> dict[str, list[Clip]]:
    """Return at most `limit` clips of each class of each split (of each split where labels are numbers).

    They are chosen by a hash of their keys, so the test clips are the same for every seed.
    """
    if limit is None:
        return splits
    chosen = {}
    for split, clips in splits.items():
        counts: Counter[TargetValue | None] = Counter()
        kept = set()
        for clip in sorted(clips, key=lambda clip: hashlib.sha256(clip.key.encode()).digest()):
            label = clip.target if isinstance(clip.target, int) else None
            counts[label] += 1
            if counts[label] <= limit:
                kept.add(clip.key)
        chosen[split] = [clip for clip in clips if clip.key in kept]
    return chosen


def _check_widths(usable: Iterable[PreparedClip], info: DatasetInfo) -> list[DataIssue]:
    """Return an issue for each array whose number of values a step is not that of the data set."""
    return [
        DataIssue("features", item.clip.key, f"{name}: {width} values a step, not {info.features[name]}; used without")
        for item in usable
        for name, width in (item.row.features if item.row is not None else ())
        if width != info.features.get(name, width)
    ]


def _check_splits(
    info: DatasetInfo, splits: dict[str, list[Clip]], folder: Path, found: Sequence[DataIssue]
) -> list[DataIssue]:
    """Return warnings about classes without clips in val or test.

    Raises DataError, which quotes the first cause among the issues `found`, for an empty split and for a class without
    training clips.
    """
    problems = []
    causes = [problem for problem in found if problem.what in EMPTY_SPLIT_CAUSES]
    first = f" (first of {len(causes)} problems: {causes[0].where}: {causes[0].why})" if causes else ""
    for split, clips in splits.items():
        if not clips:
            groups, few = len({clip.group for clip in splits["train"]}), ""
            if split == "val" and groups < VALIDATION_FOLDS:
                few = f" (only {groups} training groups; {VALIDATION_FOLDS} are needed to cut a validation fold)"
            raise DataError(
                f"no readable clip in the {split} split of {info.title} in {folder}{few}{first}; check lists and media"
            )
        counts = Counter(clip.target for clip in clips)
        for name in (name for label, name in enumerate(info.classes) if not counts[label]):
            if split == "train":
                raise DataError(
                    f"class '{name}' of {info.title} has no readable training clip in {folder}{first}; "
                    "check lists and media"
                )
            problems.append(DataIssue("warning", split, f"class '{name}' has no clip in the {split} split"))
    return problems


def _make_clip_set(items: Sequence[PreparedClip], info: DatasetInfo) -> PreparedClipSet:
    """Return a clip set without the paths of source files, which would be sent to every loader process unused."""
    return PreparedClipSet(
        tuple(replace(item.clip, sources=NO_SOURCES) for item in items),
        tuple(item.path for item in items if item.path is not None),
        info.features,
    )
