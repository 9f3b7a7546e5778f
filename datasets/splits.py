"""The train, val and test splits of one run, made from a folder of media.

Clips of the same content are reported, and never in two splits.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from bench.errors import DataError
from bench.processes import check_main_guard
from bench.types import (
    CLIP_LOSING_ISSUES,
    VALIDATION_FOLDS,
    Clip,
    ClipSources,
    DataIssue,
    DatasetInfo,
    DatasetSplits,
    SampleTruth,
    SplitRequest,
)
from datasets.index import DatasetSource, index_tree
from datasets.paths import find_data_folder
from datasets.prepare import PreparedClip, PrepareSpec, drop_leaking_duplicates, find_duplicates, prepare_clips
from datasets.prepared_clips import PreparedClipSet
from datasets.rows import Listing, assign_folds, compute_fingerprint
from datasets.sample import ensure_sample, read_truth

NO_SOURCES = ClipSources()
EMPTY_SPLIT_CAUSES = CLIP_LOSING_ISSUES | {"class", "link", "name"}  # kinds of problem that tell why a split is empty


def load_splits(source: DatasetSource, request: SplitRequest) -> DatasetSplits:
    """Index, prepare and split a data set; the built-in sample where its files are not found.

    Raises DataError for a folder that was given and does not hold the data, an empty split, or a class without
    training clips.
    """
    check_main_guard()
    info = source.info
    fold = info.folds[0] if request.fold is None else request.fold
    folder = source.path or find_data_folder(info, request.folder)
    if folder is not None:
        return _make_splits(info, source.index(folder, fold=fold), folder, request)
    if fold != info.folds[0]:
        why = "and the built-in sample has one split: leave --fold out, or say --data DIR"
        raise DataError(f"no {info.title} was found, {why}")
    folder = ensure_sample(info, request.cache, request.report_progress)
    return _make_splits(info, index_tree(folder, info), folder, request, read_truth(folder))


def _make_splits(
    info: DatasetInfo,
    index: Listing,
    folder: Path,
    request: SplitRequest,
    truth: Mapping[str, SampleTruth] | None = None,
) -> DatasetSplits:
    """The splits of what was indexed, prepared; with `truth` it is the built-in sample."""
    form = PrepareSpec.for_size(request.size, request.mels)
    store = f"{info.name}-sample" if truth is not None else info.name  # the sample never lies beside real clips
    place = request.cache / "prepared" / store
    prepared = prepare_clips(index.available, form, place, request.report_progress, thorough=False)
    problems = [*index.issues, *(problem for item in prepared for problem in item.issues)]
    usable = [item for item in prepared if item.path is not None]
    splits, leaks = drop_leaking_duplicates(split_clips(info, index.listed, usable, request.seed))
    problems += [*find_duplicates(usable), *leaks]
    splits = {split: sorted(items, key=lambda item: item.clip.key) for split, items in splits.items()}
    clips = {split: [item.clip for item in items] for split, items in splits.items()}
    problems += _check_splits(info, clips, folder, problems)
    return DatasetSplits(
        info=info,
        train=_make_clip_set(splits["train"]),
        val=_make_clip_set(splits["val"]),
        test=_make_clip_set(splits["test"]),
        fingerprint=compute_fingerprint(clips, info),
        content_hash=_hash_content(usable, form, info),
        issues=tuple(problems),
        truth=truth or {},
        is_sample=truth is not None,
    )


def split_clips(
    info: DatasetInfo, listed: Sequence[Clip], usable: Sequence[PreparedClip], seed: int
) -> dict[str, list[PreparedClip]]:
    """Test as listed; val as listed, or else a fold of the training list, by the seed.

    The folds are cut from all listed clips, so that one that cannot be read leaves the others where they are.
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


def _check_splits(
    info: DatasetInfo, splits: dict[str, list[Clip]], folder: Path, found: Sequence[DataIssue]
) -> list[DataIssue]:
    """Raise for what cannot be run, with the first loss that was `found`; warn of what makes scores worth less."""
    problems = []
    lost = [problem for problem in found if problem.what in EMPTY_SPLIT_CAUSES]
    first = f" (first of {len(lost)} problems: {lost[0].where}: {lost[0].why})" if lost else ""
    for split, clips in splits.items():
        if not clips:
            groups, few = len({clip.group for clip in splits["train"]}), ""
            if split == "val" and groups < VALIDATION_FOLDS:
                few = f" (of {groups} training groups; folds want {VALIDATION_FOLDS})"
            raise DataError(
                f"no readable clip of {info.title} in its {split} split under {folder}{few}{first}; check lists, media"
            )
        counts = Counter(clip.target for clip in clips)
        for name in (name for label, name in enumerate(info.classes) if not counts[label]):
            if split == "train":
                raise DataError(f"class '{name}' of {info.title} has no readable training clip under {folder}{first}")
            problems.append(DataIssue("warning", split, f"class '{name}' has no clip in {split}"))
    return problems


def _make_clip_set(items: Sequence[PreparedClip]) -> PreparedClipSet:
    """Clips without their sources, which nobody above needs and every loader process would be sent."""
    return PreparedClipSet(
        tuple(replace(item.clip, sources=NO_SOURCES) for item in items),
        tuple(item.path for item in items if item.path is not None),
    )


def _hash_content(usable: Sequence[PreparedClip], form: PrepareSpec, info: DatasetInfo) -> str:
    """The hash of the usable clips, of how they are prepared, and of what the card says of its classes."""
    rows = sorted(f"{item.clip.key}\t{item.content}" for item in usable)
    classes = [
        f"{name}\t{sign}\t{' '.join(sorted(info.emotions.get(name, ())))}"
        for name, sign in zip(info.classes, info.sentiment, strict=True)
    ]
    return hashlib.sha256("\n".join([form.folder_name, *classes, info.language, *rows]).encode()).hexdigest()
