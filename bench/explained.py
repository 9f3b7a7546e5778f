"""What a finished run tells about its validation clips, as two files that pictures are drawn from, and back.

Key: S segments, N tokens, C classes, D width. The numbers are in `explained.safetensors`, the words in
`explained.json`; read back they are numpy arrays, so that nothing here needs torch.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from bench.chosen import chosen
from bench.data import Corpus, Explanation, Masking, Truth
from bench.errors import StoreError
from bench.files import parse_json, whole, write_whole
from bench.truth import match_words

HEADER, NUMBERS = "explained.json", "explained.safetensors"


@dataclass(frozen=True)
class Fate:
    """A word and what became of it."""

    text: str
    start: float  # seconds
    dropped: str | None  # the check that drops it
    planted: str | None = None  # the check that ought to: the sample's truth


@dataclass(frozen=True)
class Masked:
    """`bench.data.Masking` as arrays."""

    hidden: np.ndarray  # (S, N) bool
    hints: np.ndarray  # (S, N) bool
    grid: tuple[int, ...]
    patch: tuple[int, ...]
    stride: tuple[int, ...]
    content: np.ndarray  # (S, t, H, W, 3) uint8 or (S, F, M) float16


@dataclass(frozen=True)
class Told:
    """What the model of a finished stage tells about one clip."""

    curve: np.ndarray | None = None  # (S, C) float32
    recovered: np.ndarray | None = None  # (S, C) float32
    feature: np.ndarray | None = None  # (D,) float16
    words: tuple[Fate, ...] = ()
    masks: Mapping[str, Masked] = field(default_factory=dict)


@dataclass(frozen=True)
class Explained:
    """All of a run: `stages` maps a stage's name and a clip's key to what is told, in the order of training."""

    method: str
    title: str  # of the data set
    sample: bool
    classes: tuple[str, ...]
    labels: Mapping[str, int]  # clip key -> class
    shown: tuple[str, ...]  # the few clips that are drawn one by one
    stages: Mapping[str, Mapping[str, Told]]


def write_explained(
    folder: Path, method: str, corpus: Corpus, told: Mapping[str, Mapping[str, Explanation]]
) -> list[str]:
    """Keep what is told of val, whole; the files' names. No file where nothing is told."""
    from safetensors.numpy import save_file

    labels = {clip.key: clip.label for clip in corpus.val.clips}
    kept = {
        stage: {key: found[key] for key in labels if key in found and _tells(found[key])}
        for stage, found in told.items()
    }
    kept = {stage: found for stage, found in kept.items() if found}
    if not kept:
        return []
    header = {
        "method": method,
        "title": corpus.card.title,
        "sample": corpus.sample,
        "classes": corpus.card.classes,
        "labels": labels,
        "shown": [corpus.val.clips[index].key for index in chosen(corpus.val.clips)],
        "stages": {
            stage: {key: _words_of(one, corpus.truth.get(key)) for key, one in found.items()}
            for stage, found in kept.items()
        },
    }
    arrays = {
        f"{stage}/{key}/{name}": np.ascontiguousarray(array)
        for stage, found in kept.items()
        for key, one in found.items()
        for name, array in _arrays_of(one).items()
    }
    write_whole(folder / HEADER, json.dumps(header, indent=1, ensure_ascii=False).encode())
    with whole(folder / NUMBERS) as temporary:
        save_file(arrays, temporary)
    return [HEADER, NUMBERS]


def read_explained(folder: Path) -> Explained | None:
    """Read the explanations beside a record; None where its method gives none. Raises StoreError for broken files."""
    from safetensors import SafetensorError
    from safetensors.numpy import load_file

    if not (folder / HEADER).exists():
        return None
    try:
        header, arrays = parse_json((folder / HEADER).read_bytes()), load_file(folder / NUMBERS)
        stages = {
            stage: {key: _told(raw, arrays, f"{stage}/{key}") for key, raw in found.items()}
            for stage, found in header.pop("stages").items()
        }
        classes, shown = tuple(header.pop("classes")), tuple(header.pop("shown"))
        return Explained(**header, classes=classes, shown=shown, stages=stages)
    except (OSError, ValueError, KeyError, TypeError, AttributeError, SafetensorError) as error:
        raise StoreError(f"{folder / HEADER} cannot be read ({type(error).__name__}: {error})") from None


def _tells(one: Explanation) -> bool:
    return one.curve is not None or one.feature is not None or bool(one.verdicts)


def _words_of(one: Explanation, truth: Truth | None) -> dict[str, Any]:
    """What is no array: the words' fates, and the layout of the masks' tokens."""
    planted = {} if truth is None else {id(verdict): word.wrong for word, verdict in match_words(truth, one)}
    words = [Fate(word.text, word.start, word.dropped, planted.get(id(word))) for word in one.verdicts]
    layout = {name: {"grid": mask.grid, "patch": mask.patch, "stride": mask.stride} for name, mask in one.masks.items()}
    return {"words": [asdict(word) for word in words], "masks": layout}


def _arrays_of(one: Explanation) -> dict[str, np.ndarray]:
    found: dict[str, np.ndarray] = {}
    for name, value, kind in (
        ("curve", one.curve, np.float32),
        ("recovered", one.recovered, np.float32),
        ("feature", one.feature, np.float16),
    ):
        if value is not None:
            found[name] = value.float().numpy().astype(kind)
    for modality, mask in one.masks.items():
        found |= {f"{modality}/{name}": array for name, array in _mask_arrays(mask).items()}
    return found


def _mask_arrays(mask: Masking) -> dict[str, np.ndarray]:
    content = mask.content.numpy()
    return {
        "hidden": mask.hidden.numpy(),
        "hints": mask.hints.numpy(),
        "content": content if content.dtype == np.uint8 else content.astype(np.float16),
    }


def _told(raw: dict[str, Any], arrays: Mapping[str, np.ndarray], place: str) -> Told:
    masks = {
        modality: Masked(
            hidden=arrays[f"{place}/{modality}/hidden"],
            hints=arrays[f"{place}/{modality}/hints"],
            content=arrays[f"{place}/{modality}/content"],
            grid=tuple(layout["grid"]),
            patch=tuple(layout["patch"]),
            stride=tuple(layout["stride"]),
        )
        for modality, layout in raw["masks"].items()
    }
    curve, recovered, feature = (arrays.get(f"{place}/{name}") for name in ("curve", "recovered", "feature"))
    return Told(curve, recovered, feature, tuple(Fate(**word) for word in raw["words"]), masks)
