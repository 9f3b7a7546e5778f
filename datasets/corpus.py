"""From a folder of media to the splits of one run: the road that all data sets take."""

from __future__ import annotations

import hashlib
import os
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from bench.children import refuse_half_started
from bench.data import Card, Clip, Corpus, Problem, Request, Truth
from bench.errors import DataError
from datasets.index.layout import index_tree
from datasets.splits import FOLDS, fingerprint, validation_fold
from datasets.store.opening import PreparedClips
from datasets.store.prepared import Form, Prepared, prepare

ROOT = Path(__file__).resolve().parents[1]
LOSSES = ("class", "link", "missing", "unreadable")  # problems that cost clips


def load_corpus(card: Card, request: Request) -> Corpus:
    """Index, prepare and split a data set; the built-in sample where its files are not found.

    Raises DataError for a folder that was given and does not hold the data, an empty split, or a class without
    training clips.
    """
    refuse_half_started()
    folder = find_folder(card, request.folder)
    sample = folder is None
    truth: dict[str, Truth] = {}
    if folder is None:
        from datasets.sample.folder import ensure_sample, read_truth

        folder = ensure_sample(card, request.cache, request.report)
        truth = read_truth(folder)
    listed, clips, problems = index_tree(folder, card)
    form = Form.of(request.size, request.mels)
    name = f"{card.name}-sample" if sample else card.name
    prepared = prepare(clips, form, request.cache / "prepared" / name, request.report)
    problems += [problem for item in prepared for problem in item.problems]
    usable = [item for item in prepared if item.path is not None]
    splits = _split(card, listed, usable, request.seed)
    problems += _check(
        card, {split: [item.clip for item in items] for split, items in splits.items()}, folder, problems
    )
    return Corpus(
        card=card,
        train=_clip_set(splits["train"]),
        val=_clip_set(splits["val"]),
        test=_clip_set(splits["test"]),
        fingerprint=fingerprint({split: [item.clip for item in items] for split, items in splits.items()}, card),
        content=_content(usable, form),
        problems=tuple(problems),
        truth=truth,
        sample=sample,
    )


def find_folder(card: Card, given: Path | None) -> Path | None:
    """The folder of the real data: the given one, BENCH_DATA (it or its child), or data/<name>; None without any."""
    if given is not None:
        if not given.is_dir():
            raise DataError(f"--data {given} is no folder; {card.title}: {card.obtain}")
        if not any(given.iterdir()):
            raise DataError(f"--data {given} is empty; {card.title}: {card.obtain}")
        return given / card.name if (given / card.name).is_dir() else given
    named = os.environ.get("BENCH_DATA")
    if named:
        place = Path(named)
        if not place.is_dir():
            raise DataError(f"BENCH_DATA={named} is no folder; correct it or unset it")
        if (place / card.name).is_dir():
            return place / card.name
        return place if any((place / part).is_dir() for part in ("imgs", "img", "mp3", "video")) else None
    usual = ROOT / "data" / card.name
    return usual if usual.is_dir() else None


def _split(card: Card, listed: Sequence[Clip], usable: Sequence[Prepared], seed: int) -> dict[str, list[Prepared]]:
    """Test as listed; a fold of the training list, by the seed, for validation.

    The folds are cut from all listed clips, so that one that cannot be read leaves the others where they are.
    """
    folds = validation_fold([clip for clip in listed if clip.split == "train"], card.name)
    training = [item for item in usable if item.clip.split == "train"]
    fold = seed % FOLDS
    return {
        "train": [item for item in training if folds[item.clip.group] != fold],
        "val": [item for item in training if folds[item.clip.group] == fold],
        "test": [item for item in usable if item.clip.split == "test"],
    }


def _check(card: Card, splits: dict[str, list[Clip]], folder: Path, found: Sequence[Problem]) -> list[Problem]:
    """Raise for what cannot be run, with the first loss that was `found`; warn of what makes scores worth less."""
    problems = []
    lost = [problem for problem in found if problem.what in LOSSES]
    first = f" (first of {len(lost)} problems: {lost[0].where}: {lost[0].why})" if lost else ""
    for split, clips in splits.items():
        if not clips:
            raise DataError(
                f"no readable clip of {card.title} in its {split} split under {folder}{first}; check lists and media"
            )
        counts = Counter(clip.label for clip in clips)
        for label, name in enumerate(card.classes):
            if not counts[label] and split == "train":
                raise DataError(f"class '{name}' of {card.title} has no readable training clip under {folder}{first}")
            if not counts[label]:
                problems.append(Problem("warning", split, f"class '{name}' has no clip in {split}"))
    return problems


def _clip_set(items: Sequence[Prepared]) -> PreparedClips:
    return PreparedClips(
        tuple(item.clip for item in items), tuple(item.path for item in items if item.path is not None)
    )


def _content(usable: Sequence[Prepared], form: Form) -> str:
    rows = sorted(f"{item.clip.key}\t{item.content}" for item in usable)
    return hashlib.sha256("\n".join([form.folder, *rows]).encode()).hexdigest()
