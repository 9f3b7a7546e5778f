"""Train, val and test splits of a run, from a folder of media.

Clips with the same content are reported and never end up in two splits.
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
EMPTY_SPLIT_CAUSES = CLIP_LOSING_ISSUES | {"class", "link", "name"}  # kinds of issue that can empty a split


def load_splits(source: DatasetSource, request: SplitRequest) -> DatasetSplits:
    """Index, prepare and split a data set, or the built-in sample if its files are not found.

    Raises DataError for a given folder without the data, an empty split, or a class without training clips.
    """
    check_main_guard()
    info = source.info
    fold = info.folds[0] if request.fold is None else request.fold
    folder = source.path or find_data_folder(info, request.folder)
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


def _make_clip_set(items: Sequence[PreparedClip]) -> PreparedClipSet:
    """Return a clip set without the paths of source files, which would be sent to every loader process unused."""
    return PreparedClipSet(
        tuple(replace(item.clip, sources=NO_SOURCES) for item in items),
        tuple(item.path for item in items if item.path is not None),
    )


def _hash_content(usable: Sequence[PreparedClip], form: PrepareSpec, info: DatasetInfo) -> str:
    """Return the sha256 of the usable clips, how they are prepared, and the facts of their task and language."""
    rows = sorted(f"{item.clip.key}\t{item.content}" for item in usable)
    facts = list(info.task.list_facts())
    if info.classes:
        emotions = [" ".join(sorted(info.emotions.get(name, ()))) for name in info.classes]
        facts = [f"{fact}\t{names}" for fact, names in zip(facts, emotions, strict=True)]
    return hashlib.sha256("\n".join([form.folder_name, *facts, info.language, *rows]).encode()).hexdigest()
