"""Files with the explanations of a run's validation clips, from which figures are drawn.

Key: S segments, N tokens, C classes, D width. Arrays are stored in `explained.safetensors`, words in `explained.json`.
They are read as numpy arrays, so that reports do not import torch.
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
from bench.tasks import TargetValue, get_class_index, get_values
from bench.types import Clip, DatasetSplits, Explanation, PlantedWord, SampleTruth, WordOutcome

START_TOLERANCE = 0.05  # seconds between the starts of a planted word and of the same word in the transcript

MAX_SHOWCASE = 4  # number of clips with figures

EXPLANATIONS_FILE, ARRAYS_FILE = "explained.json", "explained.safetensors"
CLIP_ARRAYS = {"curve": np.float32, "recovered": np.float32, "feature": np.float16}

GREY = "#555555"
TITLE_CHARS_PER_INCH = 11  # of figure width


def match_planted_words(truth: SampleTruth, explanation: Explanation) -> list[tuple[PlantedWord, WordOutcome]]:
    """Pair the words of an explanation with the planted words of the clip, by text and start; skip all other words."""
    planted: dict[str, list[PlantedWord]] = {}
    for word in truth.words:
        planted.setdefault(word.text, []).append(word)
    pairs = []
    for verdict in explanation.verdicts:
        for word in planted.get(verdict.text, []):
            if abs(word.start - verdict.start) <= START_TOLERANCE:
                pairs.append((word, verdict))
                break
    return pairs


def choose_showcase_clips(clips: Sequence[Clip]) -> tuple[int, ...]:
    """Select a clip of each class, up to MAX_SHOWCASE: the first with a transcript, or the first if no clip has one.

    Clips of a regression are the lowest, the highest, and others evenly between, by their first target.
    """
    spoken = [index for index, clip in enumerate(clips) if clip.sources.transcript is not None]
    candidates = spoken or list(range(len(clips)))
    if not all(isinstance(clips[index].target, int) for index in candidates):
        ordered = sorted(candidates, key=lambda index: (get_values(clips[index].target), index))
        count = min(MAX_SHOWCASE, len(ordered))
        return tuple(dict.fromkeys(ordered[place * (len(ordered) - 1) // max(1, count - 1)] for place in range(count)))
    first: dict[int, int] = {}
    for index in candidates:
        first.setdefault(get_class_index(clips[index].target), index)
    return tuple(first[label] for label in sorted(first)[:MAX_SHOWCASE])


@dataclass(frozen=True)
class StoredWordOutcome:
    """A word of a clip and the method's check that dropped it."""

    text: str
    start: float  # seconds
    dropped: str | None  # check that dropped it; None if it is used
    planted: str | None = None  # check that should drop it, from the sample's ground truth


@dataclass(frozen=True)
class MaskArrays:
    """`bench.types.MaskSnapshot` as numpy arrays."""

    hidden: np.ndarray  # (S, N) bool
    hints: np.ndarray  # (S, N) bool
    grid: tuple[int, ...]
    patch: tuple[int, ...]
    stride: tuple[int, ...]
    content: np.ndarray  # (S, t, H, W, 3) uint8 or (S, F, M) float16


@dataclass(frozen=True)
class ClipExplanation:
    """`bench.types.Explanation` of one clip as numpy arrays."""

    curve: np.ndarray | None = None  # (S, C) float32
    recovered: np.ndarray | None = None  # (S, C) float32
    feature: np.ndarray | None = None  # (D,) float16
    words: tuple[StoredWordOutcome, ...] = ()
    masks: Mapping[str, MaskArrays] = field(default_factory=dict)


@dataclass(frozen=True)
class RunExplanations:
    """All explanations of a run."""

    method: str
    title: str  # of the data set
    sample: bool  # the built-in sample was used
    classes: tuple[str, ...]  # or the names of the targets
    labels: Mapping[str, TargetValue]  # clip key -> class, or numbers
    shown: tuple[str, ...]  # clips that have a separate figure
    stages: Mapping[str, Mapping[str, ClipExplanation]]  # stage -> clip key -> explanation, in the order of training


def write_explanations(
    folder: Path, method: str, splits: DatasetSplits, explanations: Mapping[str, Mapping[str, Explanation]]
) -> list[str]:
    """Write the explanations of the val clips; return the names of the files. Write nothing if all are empty."""
    labels = {clip.key: clip.target for clip in splits.val.clips}
    stages = {
        stage: {key: clips[key] for key in labels if key in clips and _is_informative(clips[key])}
        for stage, clips in explanations.items()
    }
    stages = {stage: clips for stage, clips in stages.items() if clips}
    if not stages:
        return []
    header = {
        "method": method,
        "title": splits.info.title,
        "sample": splits.is_sample,
        "classes": splits.info.task.output_names,
        "labels": labels,
        "shown": [splits.val.clips[index].key for index in choose_showcase_clips(splits.val.clips)],
        "stages": {
            stage: {key: _make_header_entry(clip, splits.truth.get(key)) for key, clip in clips.items()}
            for stage, clips in stages.items()
        },
    }
    arrays = {
        f"{stage}/{key}/{name}": np.ascontiguousarray(array)
        for stage, clips in stages.items()
        for key, clip in clips.items()
        for name, array in _collect_arrays(clip).items()
    }
    atomic_write(folder / EXPLANATIONS_FILE, json.dumps(header, indent=1, ensure_ascii=False).encode())
    with atomic_path(folder / ARRAYS_FILE) as temporary:
        save_file(arrays, temporary)
    return [EXPLANATIONS_FILE, ARRAYS_FILE]


def read_explanations(folder: Path) -> RunExplanations | None:
    """Read the explanations of a run; None if it has none. Raises StoreError if the files are invalid."""
    if not (folder / EXPLANATIONS_FILE).exists():
        return None
    try:
        header, arrays = parse_json((folder / EXPLANATIONS_FILE).read_bytes()), load_file(folder / ARRAYS_FILE)
        stages = {
            stage: {key: _parse_clip_explanation(raw, arrays, f"{stage}/{key}") for key, raw in clips.items()}
            for stage, clips in header.pop("stages").items()
        }
        classes, shown = tuple(header.pop("classes")), tuple(header.pop("shown"))
        labels = {key: tuple(x) if isinstance(x, list) else x for key, x in header.pop("labels").items()}
        return RunExplanations(**header, classes=classes, labels=labels, shown=shown, stages=stages)
    except (OSError, ValueError, KeyError, TypeError, AttributeError, SafetensorError) as error:
        reason, path = f"{type(error).__name__}: {error}", folder / EXPLANATIONS_FILE
        raise StoreError(f"{path} cannot be read ({reason}); restore the file or repeat the run") from None


def _is_informative(clip: Explanation) -> bool:
    return clip.curve is not None or clip.feature is not None or bool(clip.verdicts)


def _make_header_entry(clip: Explanation, truth: SampleTruth | None) -> dict[str, Any]:
    """Return the part of an explanation without arrays: word outcomes, and grid, patch and stride of the masks."""
    planted = {} if truth is None else {id(verdict): word.wrong for word, verdict in match_planted_words(truth, clip)}
    words = [StoredWordOutcome(word.text, word.start, word.dropped, planted.get(id(word))) for word in clip.verdicts]
    layout = {
        name: {"grid": mask.grid, "patch": mask.patch, "stride": mask.stride} for name, mask in clip.masks.items()
    }
    return {"words": [asdict(word) for word in words], "masks": layout}


def _collect_arrays(clip: Explanation) -> dict[str, np.ndarray]:
    arrays = {
        name: value.float().numpy().astype(kind)
        for name, kind in CLIP_ARRAYS.items()
        if (value := getattr(clip, name)) is not None
    }
    for modality, mask in clip.masks.items():
        content = mask.content.numpy()
        arrays[f"{modality}/hidden"], arrays[f"{modality}/hints"] = mask.hidden.numpy(), mask.hints.numpy()
        arrays[f"{modality}/content"] = content if content.dtype == np.uint8 else content.astype(np.float16)
    return arrays


def _parse_clip_explanation(raw: dict[str, Any], arrays: Mapping[str, np.ndarray], prefix: str) -> ClipExplanation:
    masks = {
        modality: MaskArrays(
            hidden=arrays[f"{prefix}/{modality}/hidden"],
            hints=arrays[f"{prefix}/{modality}/hints"],
            content=arrays[f"{prefix}/{modality}/content"],
            grid=tuple(layout["grid"]),
            patch=tuple(layout["patch"]),
            stride=tuple(layout["stride"]),
        )
        for modality, layout in raw["masks"].items()
    }
    curve, recovered, feature = (arrays.get(f"{prefix}/{name}") for name in CLIP_ARRAYS)
    return ClipExplanation(curve, recovered, feature, tuple(StoredWordOutcome(**word) for word in raw["words"]), masks)


@dataclass(frozen=True)
class ClipFigure:
    """A figure of the explanations of a run."""

    title: str
    caption: str
    draw: Callable[[RunExplanations], Figure | None]  # returns None if the run lacks the explanations it needs


def add_title(figure: Figure, what: str, explained: RunExplanations) -> Text:
    """Add a title with the content of the figure, the method and the data set, wrapped to the figure's width."""
    dataset = f"{explained.title} (BUILT-IN SAMPLE)" if explained.sample else explained.title
    title = f"{what}: {explained.method} on {dataset}, validation clips"
    wrapped = fill(title, int(TITLE_CHARS_PER_INCH * figure.get_figwidth()))
    return figure.suptitle(wrapped, fontsize=11, x=0.01, ha="left", parse_math=False)


def format_clip_name(explained: RunExplanations, key: str) -> str:
    """Return the name of a clip with its class or its numbers, as figures print it."""
    target = explained.labels[key]
    if isinstance(target, tuple):
        values = (f"{name} {value:.2f}" for name, value in zip(explained.classes, target, strict=True))
        return f"{key}, {', '.join(values)}"
    name = explained.classes[target]
    return f"{key.removeprefix(f'{name}/')}, labelled {name}"
