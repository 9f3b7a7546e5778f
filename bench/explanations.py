"""Explanations of the validation clips of a run, as files that figures are drawn from.

Key: S segments, N tokens, C classes, D width. Arrays are stored in `explained.safetensors`, words in `explained.json`;
they are read as numpy arrays, so that reports need no torch.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from textwrap import fill
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from matplotlib.text import Text
from safetensors import SafetensorError
from safetensors.numpy import load_file, save_file

from bench.errors import StoreError
from bench.files import atomic_path, atomic_write, parse_json
from bench.types import Clip, DatasetSplits, Explanation, PlantedWord, SampleTruth, WordOutcome

START_TOLERANCE = 0.05  # seconds between a planted word's start and the start a transcript gives it

MAX_SHOWCASE = 4

EXPLANATIONS_FILE, ARRAYS_FILE = "explained.json", "explained.safetensors"
CLIP_ARRAYS = {"curve": np.float32, "recovered": np.float32, "feature": np.float16}

GREY = "#555555"
TITLE_CHARS_PER_INCH = 11  # of a title that fit on an inch


def match_planted_words(truth: SampleTruth, told: Explanation) -> list[tuple[PlantedWord, WordOutcome]]:
    """Each word that is told of with the planted word that it is; words that nobody planted are left out."""
    planted: dict[str, list[PlantedWord]] = {}
    for word in truth.words:
        planted.setdefault(word.text, []).append(word)
    pairs = []
    for verdict in told.verdicts:
        for word in planted.get(verdict.text, []):
            if abs(word.start - verdict.start) <= START_TOLERANCE:
                pairs.append((word, verdict))
                break
    return pairs


def choose_showcase_clips(clips: Sequence[Clip]) -> tuple[int, ...]:
    """Choose of each of the first classes the first clip with a transcript, or the first where no clip has one."""
    spoken = [index for index, clip in enumerate(clips) if clip.sources.transcript is not None]
    first: dict[int, int] = {}
    for index in spoken or range(len(clips)):
        first.setdefault(clips[index].target, index)
    return tuple(first[label] for label in sorted(first)[:MAX_SHOWCASE])


@dataclass(frozen=True)
class StoredWordOutcome:
    """A word and what became of it."""

    text: str
    start: float  # seconds
    dropped: str | None  # the check that drops it
    planted: str | None = None  # the check that ought to: the sample's truth


@dataclass(frozen=True)
class MaskArrays:
    """`bench.types.MaskSnapshot` as arrays."""

    hidden: np.ndarray  # (S, N) bool
    hints: np.ndarray  # (S, N) bool
    grid: tuple[int, ...]
    patch: tuple[int, ...]
    stride: tuple[int, ...]
    content: np.ndarray  # (S, t, H, W, 3) uint8 or (S, F, M) float16


@dataclass(frozen=True)
class ClipExplanation:
    """What the model of a finished stage tells about one clip."""

    curve: np.ndarray | None = None  # (S, C) float32
    recovered: np.ndarray | None = None  # (S, C) float32
    feature: np.ndarray | None = None  # (D,) float16
    words: tuple[StoredWordOutcome, ...] = ()
    masks: Mapping[str, MaskArrays] = field(default_factory=dict)


@dataclass(frozen=True)
class RunExplanations:
    """All of a run: `stages` maps a stage's name and a clip's key to what is told, in the order of training."""

    method: str
    title: str  # of the data set
    sample: bool
    classes: tuple[str, ...]
    labels: Mapping[str, int]  # clip key -> class
    shown: tuple[str, ...]  # the few clips that are drawn one by one
    stages: Mapping[str, Mapping[str, ClipExplanation]]


def write_explanations(
    folder: Path, method: str, splits: DatasetSplits, told: Mapping[str, Mapping[str, Explanation]]
) -> list[str]:
    """Keep what is told of val, whole; the files' names. No file where nothing is told."""
    labels = {clip.key: clip.target for clip in splits.val.clips}
    kept = {
        stage: {key: found[key] for key in labels if key in found and _is_informative(found[key])}
        for stage, found in told.items()
    }
    kept = {stage: found for stage, found in kept.items() if found}
    if not kept:
        return []
    header = {
        "method": method,
        "title": splits.info.title,
        "sample": splits.is_sample,
        "classes": splits.info.classes,
        "labels": labels,
        "shown": [splits.val.clips[index].key for index in choose_showcase_clips(splits.val.clips)],
        "stages": {
            stage: {key: _make_header_entry(one, splits.truth.get(key)) for key, one in found.items()}
            for stage, found in kept.items()
        },
    }
    arrays = {
        f"{stage}/{key}/{name}": np.ascontiguousarray(array)
        for stage, found in kept.items()
        for key, one in found.items()
        for name, array in _collect_arrays(one).items()
    }
    atomic_write(folder / EXPLANATIONS_FILE, json.dumps(header, indent=1, ensure_ascii=False).encode())
    with atomic_path(folder / ARRAYS_FILE) as temporary:
        save_file(arrays, temporary)
    return [EXPLANATIONS_FILE, ARRAYS_FILE]


def read_explanations(folder: Path) -> RunExplanations | None:
    """Read the explanations beside a record; None where its method gives none. Raises StoreError for broken files."""
    if not (folder / EXPLANATIONS_FILE).exists():
        return None
    try:
        header, arrays = parse_json((folder / EXPLANATIONS_FILE).read_bytes()), load_file(folder / ARRAYS_FILE)
        stages = {
            stage: {key: _parse_clip_explanation(raw, arrays, f"{stage}/{key}") for key, raw in found.items()}
            for stage, found in header.pop("stages").items()
        }
        classes, shown = tuple(header.pop("classes")), tuple(header.pop("shown"))
        return RunExplanations(**header, classes=classes, shown=shown, stages=stages)
    except (OSError, ValueError, KeyError, TypeError, AttributeError, SafetensorError) as error:
        raise StoreError(f"{folder / EXPLANATIONS_FILE} cannot be read ({type(error).__name__}: {error})") from None


def _is_informative(one: Explanation) -> bool:
    return one.curve is not None or one.feature is not None or bool(one.verdicts)


def _make_header_entry(one: Explanation, truth: SampleTruth | None) -> dict[str, Any]:
    """What is no array: the words' fates, and the layout of the masks' tokens."""
    planted = {} if truth is None else {id(verdict): word.wrong for word, verdict in match_planted_words(truth, one)}
    words = [StoredWordOutcome(word.text, word.start, word.dropped, planted.get(id(word))) for word in one.verdicts]
    layout = {name: {"grid": mask.grid, "patch": mask.patch, "stride": mask.stride} for name, mask in one.masks.items()}
    return {"words": [asdict(word) for word in words], "masks": layout}


def _collect_arrays(one: Explanation) -> dict[str, np.ndarray]:
    found = {
        name: value.float().numpy().astype(kind)
        for name, kind in CLIP_ARRAYS.items()
        if (value := getattr(one, name)) is not None
    }
    for modality, mask in one.masks.items():
        content = mask.content.numpy()
        found[f"{modality}/hidden"], found[f"{modality}/hints"] = mask.hidden.numpy(), mask.hints.numpy()
        found[f"{modality}/content"] = content if content.dtype == np.uint8 else content.astype(np.float16)
    return found


def _parse_clip_explanation(raw: dict[str, Any], arrays: Mapping[str, np.ndarray], place: str) -> ClipExplanation:
    masks = {
        modality: MaskArrays(
            hidden=arrays[f"{place}/{modality}/hidden"],
            hints=arrays[f"{place}/{modality}/hints"],
            content=arrays[f"{place}/{modality}/content"],
            grid=tuple(layout["grid"]),
            patch=tuple(layout["patch"]),
            stride=tuple(layout["stride"]),
        )
        for modality, layout in raw["masks"].items()
    }
    curve, recovered, feature = (arrays.get(f"{place}/{name}") for name in CLIP_ARRAYS)
    return ClipExplanation(curve, recovered, feature, tuple(StoredWordOutcome(**word) for word in raw["words"]), masks)


@dataclass(frozen=True)
class ClipFigure:
    """A figure of what a finished run tells of clips."""

    title: str
    caption: str
    draw: Callable[[RunExplanations], Figure | None]  # None where the run tells nothing of the kind


def add_title(figure: Figure, what: str, explained: RunExplanations) -> Text:
    """Put the title over a figure, in as many lines as its width asks for: what, which method and which data set."""
    of = f"{explained.title} (BUILT-IN SAMPLE)" if explained.sample else explained.title
    title = fill(
        f"{what}: {explained.method} on {of}, validation clips", int(TITLE_CHARS_PER_INCH * figure.get_figwidth())
    )
    return figure.suptitle(title, fontsize=11, x=0.01, ha="left", parse_math=False)


def format_clip_name(explained: RunExplanations, key: str) -> str:
    """A clip by its key and its class."""
    name = explained.classes[explained.labels[key]]
    return f"{key.removeprefix(f'{name}/')}, labelled {name}"
