"""Train, val and test splits of a run, from a folder of media or from a feature file.

Clips with the same content are reported and never end up in two splits.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch

from bench.errors import DataError
from bench.processes import check_main_guard
from bench.rng import RngTree
from bench.types import (
    CLIP_LOSING_ISSUES,
    FEATURES,
    VALIDATION_FOLDS,
    Clip,
    ClipSources,
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
from datasets.prepare import PreparedClip, PrepareSpec, drop_leaking_duplicates, find_duplicates, prepare_clips
from datasets.prepared_clips import PreparedClipSet
from datasets.rows import Listing, assign_folds, compute_fingerprint
from datasets.sample import ensure_sample, read_truth
from datasets.segments import AUDIO_FRAME_RATE
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


def load_splits(source: DatasetSource, request: SplitRequest) -> DatasetSplits:
    """Index, prepare and split a data set, or the built-in sample if its files are not found.

    Raises DataError for a given folder without the data, an empty split, or a class without training clips.
    """
    check_main_guard()
    info = source.info
    fold = info.folds[0] if request.fold is None else request.fold
    folder = source.path or find_data_folder(info, request.folder)
    if folder is not None and is_feature_file(folder):
        return load_feature_splits(source, folder)
    if folder is not None:
        return _make_splits(info, source.index(folder, fold=fold), folder, request)
    if fold != info.folds[0]:
        raise DataError(
            f"--fold: {info.title} was not found and the built-in sample has no folds; omit --fold or give --data DIR"
        )
    if source.drawn is None:
        folder = ensure_sample(info, request.cache, request.report_progress)
        return _make_splits(info, index_tree(folder, info), folder, request, read_truth(folder))
    folder = ensure_sample(source.drawn, request.cache, request.report_progress, affect=True)
    return _make_splits(info, source.index(folder, fold=fold), folder, request, read_truth(folder))


def load_feature_splits(source: DatasetSource, path: Path) -> DatasetSplits:
    """Return the official splits of a feature file, the same for every seed; raises DataError for an empty split."""
    found, listing = read_feature_file_once(path), source.index(path, fold=0)
    clips: dict[str, tuple[Clip, ...]] = {
        split: tuple(clip for clip in listing.listed if clip.split == split) for split in found.splits
    }
    sets = {
        split: FeatureClips(clips[split], part.streams, part.lengths, part.texts)
        for split, part in found.splits.items()
    }
    problems = _check_splits(source.info, {split: list(members) for split, members in clips.items()}, path, ())
    facts = ["feature file", found.sha256, *source.info.task.list_facts(), source.info.language]
    return DatasetSplits(
        info=source.info,
        train=sets["train"],
        val=sets["val"],
        test=sets["test"],
        fingerprint=compute_fingerprint(clips, source.info),
        content_hash=hashlib.sha256("\n".join(facts).encode()).hexdigest(),
        issues=(*listing.issues, *problems),
        streams=sets["train"].shares,
    )


def _make_splits(
    info: DatasetInfo,
    index: Listing,
    folder: Path,
    request: SplitRequest,
    truth: Mapping[str, SampleTruth] | None = None,
) -> DatasetSplits:
    """Prepare and split the indexed clips; `truth` is given for the built-in sample."""
    form = PrepareSpec.for_size(request.size, request.mels)
    store = f"{info.name}-sample" if truth is not None else info.folder or info.name  # the sample has a separate one
    store_folder = request.cache / "prepared" / store
    prepared = prepare_clips(index.available, form, store_folder, request.report_progress, thorough=False)
    problems = [*index.issues, *(problem for item in prepared for problem in item.issues)]
    usable = [item for item in prepared if item.path is not None]
    splits, leaks = drop_leaking_duplicates(split_clips(info, index.listed, usable, request.seed))
    problems += [*find_duplicates(usable), *leaks]
    splits = {split: sorted(items, key=lambda item: item.clip.key) for split, items in splits.items()}
    clips = {split: [item.clip for item in items] for split, items in splits.items()}
    problems += [*_check_widths(usable, info), *_check_splits(info, clips, folder, problems)]
    return DatasetSplits(
        info=info,
        train=_make_clip_set(splits["train"], info),
        val=_make_clip_set(splits["val"], info),
        test=_make_clip_set(splits["test"], info),
        fingerprint=compute_fingerprint(clips, info),
        content_hash=_hash_content(usable, form, info),
        issues=tuple(problems),
        truth=truth or {},
        is_sample=truth is not None,
        streams=_share_streams(splits["train"]),
    )


def _share_streams(items: Sequence[PreparedClip]) -> dict[str, float]:
    """Return stream -> share of the clips that have it."""
    counts = Counter(name for item in items if item.row is not None for name in item.row.streams)
    return {name: counts[name] / len(items) for name in counts}


def split_clips(
    info: DatasetInfo, listed: Sequence[Clip], usable: Sequence[PreparedClip], seed: int
) -> dict[str, list[PreparedClip]]:
    """Return the usable clips by split: as listed; without a listed val split, a fold of the training list is val.

    The seed selects the fold. Folds are computed from all listed clips, so that an unreadable clip does not move the
    others.
    """
    splits: dict[str, list[PreparedClip]] = {"train": [], "val": [], "test": []}
    stated = any(clip.split == "val" for clip in listed)
    folds = {} if stated else assign_folds([clip for clip in listed if clip.split == "train"], info.name)
    for item in usable:
        split = item.clip.split
        if split == "train" and not stated and folds[item.clip.group] == seed % VALIDATION_FOLDS:
            split = "val"
        splits[split].append(item)
    return splits


def _check_widths(usable: Sequence[PreparedClip], info: DatasetInfo) -> list[DataIssue]:
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


def _hash_content(usable: Sequence[PreparedClip], form: PrepareSpec, info: DatasetInfo) -> str:
    """Return the sha256 of the usable clips, how they are prepared, and the facts of their task and language."""
    rows = sorted(f"{item.clip.key}\t{item.content}" for item in usable)
    facts = list(info.task.list_facts())
    if info.classes:
        emotions = [" ".join(sorted(info.emotions.get(name, ()))) for name in info.classes]
        facts = [f"{fact}\t{names}" for fact, names in zip(facts, emotions, strict=True)]
    return hashlib.sha256("\n".join([form.folder_name, *facts, info.language, *rows]).encode()).hexdigest()
