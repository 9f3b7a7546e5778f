"""From a folder of media to the splits of one run: the road that all data sets take."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from bench.children import refuse_half_started
from bench.data import Card, Clip, Corpus, Files, Problem, Request, Truth
from bench.errors import DataError
from bench.facts import FOLDS, LOSSES
from datasets.copies import drop_leaks, find_copies
from datasets.index.layout import index_tree
from datasets.index.places import find_folder, store_name
from datasets.index.rows import Index
from datasets.index.source import Source
from datasets.sample.folder import ensure_sample, read_truth
from datasets.splits import fingerprint, validation_fold
from datasets.store.opening import PreparedClips
from datasets.store.prepared import Form, Prepared, prepare

NONE = Files()
CAUSES = LOSSES | {"class", "link", "name"}  # kinds of problem that tell why a split is empty


def load_corpus(source: Source, request: Request) -> Corpus:
    """Index, prepare and split a data set; the built-in sample where its files are not found.

    Raises DataError for a folder that was given and does not hold the data, an empty split, or a class without
    training clips.
    """
    refuse_half_started()
    card = source.card
    fold = card.folds[0] if request.fold is None else request.fold
    folder = source.place or find_folder(card, request.folder)
    if folder is not None:
        return _make_corpus(card, source.index(folder, fold), folder, request)
    if fold != card.folds[0]:
        raise DataError(
            f"no {card.title} was found, and the built-in sample has one split: leave --fold out, or say --data DIR"
        )
    folder = ensure_sample(card, request.cache, request.report)
    return _make_corpus(card, index_tree(folder, card), folder, request, read_truth(folder))


def _make_corpus(
    card: Card, index: Index, folder: Path, request: Request, truth: Mapping[str, Truth] | None = None
) -> Corpus:
    """The splits of what was indexed, prepared; with `truth` it is the built-in sample."""
    form = Form.of(request.size, request.mels)
    place = request.cache / "prepared" / store_name(card, truth is not None)
    prepared = prepare(index.clips, form, place, request.report, thorough=False)
    problems = [*index.problems, *(problem for item in prepared for problem in item.problems)]
    usable = [item for item in prepared if item.path is not None]
    found = find_copies(usable)
    splits, leaks = drop_leaks(split_clips(card, index.listed, usable, request.seed))
    problems += [*found, *leaks]
    splits = {split: sorted(items, key=lambda item: item.clip.key) for split, items in splits.items()}
    clips = {split: [item.clip for item in items] for split, items in splits.items()}
    problems += _check(card, clips, folder, problems)
    return Corpus(
        card=card,
        train=_clip_set(splits["train"]),
        val=_clip_set(splits["val"]),
        test=_clip_set(splits["test"]),
        fingerprint=fingerprint(clips, card),
        content=_content(usable, form, card),
        problems=tuple(problems),
        truth=truth or {},
        sample=truth is not None,
    )


def split_clips(card: Card, listed: Sequence[Clip], usable: Sequence[Prepared], seed: int) -> dict[str, list[Prepared]]:
    """Test as listed; val as listed, or else a fold of the training list, by the seed.

    The folds are cut from all listed clips, so that one that cannot be read leaves the others where they are.
    """
    splits: dict[str, list[Prepared]] = {"train": [], "val": [], "test": []}
    stated = any(clip.split == "val" for clip in listed)
    folds = {} if stated else validation_fold([clip for clip in listed if clip.split == "train"], card.name)
    for item in usable:
        split = item.clip.split
        if split == "train" and not stated and folds[item.clip.group] == seed % FOLDS:
            split = "val"
        splits[split].append(item)
    return splits


def _check(card: Card, splits: dict[str, list[Clip]], folder: Path, found: Sequence[Problem]) -> list[Problem]:
    """Raise for what cannot be run, with the first loss that was `found`; warn of what makes scores worth less."""
    problems = []
    lost = [problem for problem in found if problem.what in CAUSES]
    first = f" (first of {len(lost)} problems: {lost[0].where}: {lost[0].why})" if lost else ""
    for split, clips in splits.items():
        if not clips:
            groups = len({clip.group for clip in splits["train"]})
            few = f" (of {groups} training groups; folds want {FOLDS})" if split == "val" and groups < FOLDS else ""
            raise DataError(
                f"no readable clip of {card.title} in its {split} split under {folder}{few}{first}; check lists, media"
            )
        counts = Counter(clip.label for clip in clips)
        for label, name in enumerate(card.classes):
            if not counts[label] and split == "train":
                raise DataError(f"class '{name}' of {card.title} has no readable training clip under {folder}{first}")
            if not counts[label]:
                problems.append(Problem("warning", split, f"class '{name}' has no clip in {split}"))
    return problems


def _clip_set(items: Sequence[Prepared]) -> PreparedClips:
    """Clips without their sources, which nobody above needs and every loader process would be sent."""
    return PreparedClips(
        tuple(replace(item.clip, files=NONE) for item in items),
        tuple(item.path for item in items if item.path is not None),
    )


def _content(usable: Sequence[Prepared], form: Form, card: Card) -> str:
    """The hash of the usable clips, of how they are prepared, and of what the card says of its classes."""
    rows = sorted(f"{item.clip.key}\t{item.content}" for item in usable)
    classes = [
        f"{name}\t{sign}\t{' '.join(sorted(card.emotions.get(name, ())))}"
        for name, sign in zip(card.classes, card.sentiment, strict=True)
    ]
    return hashlib.sha256("\n".join([form.folder, *classes, card.language, *rows]).encode()).hexdigest()
