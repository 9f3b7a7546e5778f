"""Runs made by hand with real files; they do not depend on configs of methods, which may change."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any
from zlib import crc32

import numpy as np
import pandas

from bench.artifacts import CURVES_FILE, PREDICTIONS_FILE, _make_prediction_table
from bench.metrics import Predictions, score
from bench.record import Failure, Record, RunSpec
from bench.tasks import Classification, Regression, TargetRange
from bench.types import DatasetInfo
from datasets.registry import DATASETS
from reports.runs import Run, RunTable, count_expected_runs
from studies.requests import get_arms

QUICK = "Preset quick; values as the preset has them."
FULL = {"pretrain_epochs": 2, "mask": "affective", "mask_from": 0.1, "mask_to": 0.5, "verify": "degree"}
CONFIGS: dict[str, dict[str, Any]] = {
    "majority": {},
    "mbt": {"lr": 0.001, "epochs": 4, "modalities": "both"},
    "mart": {**FULL, "target": "distribution", "lr": 0.001, "epochs": 4},
    "mart-no-masking": {**FULL, "mask": "none", "target": "distribution"},
    "mart-no-verification": {**FULL, "verify": "none", "target": "distribution"},
    "mart-emotion-only": {**FULL, "verify": "emotion", "target": "distribution"},
    "mart-mask-random": {**FULL, "mask": "random", "mask_from": 0.9, "mask_to": 0.9, "target": "distribution"},
    "mart-target-pixel": {**FULL, "target": "pixel"},
    "mart-audio": {**FULL, "target": "distribution", "modalities": "audio"},
}
TWO = DatasetInfo(
    "clips",
    "Own clips",
    Classification(("calm", "tense"), (1, -1)),
    {},
    "en",
    "own",
    "none",
    "here",
    splits="by hand",
    clips=60,
)
MOOD = DatasetInfo(
    "mood", "Own scores", Regression((TargetRange("sentiment", -3, 3),)), {}, "en", "own", "none", "here", clips=60
)
"""One score; a lower MAE is better."""
AFFECT = DatasetInfo(
    "affect",
    "Affect",
    Regression((TargetRange("valence", -1, 1), TargetRange("arousal", -1, 1)), select="ccc"),
    {},
    "en",
    "own",
    "none",
    "here",
    clips=60,
)
"""Two scores; a higher CCC is better."""
ARMS = get_arms()  # other names are those of a method without variants
LABELS: dict[str, tuple[str, str]] = {}
"""Key of every run that was made -> its label and data set, and its fold and seed."""


@dataclass(frozen=True)
class Made:
    """Properties of a run made by hand, except its arm, seed and fold."""

    card: DatasetInfo = DATASETS["ekman6"].info
    clips: int = 60
    skill: float = 0.5  # share of clips that it classifies correctly; it guesses the others
    like: str = ""  # the arm whose predictions it has; "" for its own
    error: str = ""
    config: Mapping[str, Any] | None = None
    spec: Mapping[str, Any] = field(default_factory=dict)
    run: Mapping[str, Any] = field(default_factory=dict)
    record: Mapping[str, Any] = field(default_factory=dict)
    notes: Mapping[str, float] = field(default_factory=dict)
    scores: Mapping[str, float] | None = None  # scores independent of predictions; then there are no files
    provenance: Mapping[str, Any] = field(default_factory=dict)
    curve: Sequence[float] = (0.2, 0.3, 0.4)
    files: bool = True


def by_hand(folder: Path | None, arm: str, seed: int = 0, fold: int = 0, **told: Any) -> Run:
    """Return a finished or failed run; keywords are fields of `Made`."""
    made = Made(**told)
    spec = RunSpec(
        **{"method": arm.partition("-")[0], "version": 1, "config": dict(_config(arm, made)), "dataset": made.card.name}
        | {"data": "real", "split": "f" * 64, "content": "c" * 64, "fold": fold, "seed": seed, **made.spec}
    )
    place = (folder or Path("nowhere")) / f"{arm}-{made.card.name}-{fold}-{seed}-{spec.key}"
    facts: dict[str, Any] = {"key": spec.key, "spec": spec, "arm": arm, "preset": "quick", "attempt": 1}
    facts |= {"provenance": {"commit": "1a2b3c4d" * 5, "dirty": False, "torch": "2.11.0", **made.provenance}}
    facts |= {"problems": [], "scores": {}, "notes": {}, "seconds": {"train": 3600.0 + 360 * seed, "test": 36.0}}
    facts["seconds"] |= {"prepare": 900.0, "write": 180.0}  # not counted as hours
    facts |= made.record
    if made.error:
        record = Record(**{**facts, "error": Failure("nan", made.error, "")})
    else:
        found, scores = predicted(made, arm, seed, fold, _splits(spec)) if made.scores is None else ({}, made.scores)
        facts["scores"] = dict(scores)
        facts["notes"] = {"clips/train": 200.0, "cost/parameters": 1.25e6, "cost/flops": 3.4e9, **made.notes}
        record = Record(**facts)
        if made.files and found:
            place.mkdir(parents=True)
            _make_prediction_table(found, made.card).to_parquet(place / PREDICTIONS_FILE, index=False)
            name = f"val/{made.card.task.primary.name}"
            points = [{"stage": "finetune", "epoch": n, "values": {name: v}} for n, v in enumerate(made.curve)]
            (place / CURVES_FILE).write_text(
                json.dumps([{"stage": "pretrain", "epoch": 0, "values": {"loss": 1}}, *points])
            )
    run = Run(record, place, made.card, arm, ARMS.get(arm, ARMS["majority"]).method, **made.run)
    LABELS[spec.key] = f"{run.label} on {made.card.name}", f"{fold}.{seed}"
    return run


def _config(arm: str, made: Made) -> Mapping[str, Any]:
    return CONFIGS.get(arm, {}) if made.config is None else made.config


def _splits(spec: RunSpec) -> tuple[str, ...]:
    return ("val", "test") if spec.protocol == "clean" else ("test",)


KNOWN: dict[
    str, tuple[dict[str, Predictions], dict[str, float | None]]
] = {}  # cache: tests make the same runs many times


def predicted(
    made: Made, arm: str, seed: int, fold: int, splits: tuple[str, ...]
) -> tuple[dict[str, Predictions], dict[str, float | None]]:
    """Return predictions of each split, and their scores."""
    told = repr((made.card, made.clips, made.skill, made.like or arm, seed, fold, splits))
    if told not in KNOWN:
        found = {split: predictions(made, arm, seed, fold, split) for split in splits}
        scores = {f"{of}/{name}": v for of, one in found.items() for name, v in score(one, made.card.task).items()}
        KNOWN[told] = found, scores
    return KNOWN[told]


def predictions(made: Made, arm: str, seed: int, fold: int, split: str) -> Predictions:
    """Return predictions of clips that are hard or easy for all arms, two for each video.

    Neighbouring folds share most of their test clips. Numbers are nearer to the true ones for a higher skill.
    """
    clips, classes = made.clips, made.card.classes
    shift = 20 * fold if split == "test" else 1000 + 100 * fold
    index = np.arange(clips) + shift
    if isinstance(made.card.task, Regression):
        return numbers(made, made.card.task, arm, seed, fold, split, index)
    label = index % len(classes)
    ease = np.array([crc32(f"{made.card.name}/{one}".encode()) / 2**32 for one in index])
    own = np.random.default_rng([crc32((made.like or arm).encode()), seed, fold, len(split)])
    knows = 0.7 * ease + 0.3 * own.random(clips) < made.skill
    guess = np.where(knows, label, own.integers(len(classes), size=clips))
    scores = own.normal(size=(clips, len(classes))).astype(np.float32)
    scores[np.arange(clips), guess] = scores.max(axis=1) + 1
    names = tuple(f"{classes[c]}/{split}{one}" for one, c in zip(index, label, strict=True))
    return Predictions(names, label.astype(np.int64), scores, tuple(f"video{one // 2}" for one in index))


def numbers(made: Made, task: Regression, arm: str, seed: int, fold: int, split: str, index: np.ndarray) -> Predictions:
    """Return predicted numbers of clips, two for each video."""
    low, high = np.transpose(task.bounds)
    hashed = [[crc32(f"{name}/{one}".encode()) / 2**32 for name in task.output_names] for one in index]
    truth = np.round(low + (high - low) * np.array(hashed), 2)
    own = np.random.default_rng([crc32((made.like or arm).encode()), seed, fold, len(split)])
    guess = made.skill * truth + (1 - made.skill) * own.normal(size=truth.shape) * (high - low) / 4
    names = tuple(f"{split}{one}" for one in index)
    return Predictions(names, truth, guess.astype(np.float32), tuple(f"video{one // 2}" for one in index))


def frame_of(*runs: Run, wanted: Mapping[str, int] | None = None, values: str = QUICK, **remarks: str) -> RunTable:
    """Return a table of runs; `remarks` are by arm, with _ for -."""
    told = {arm.replace("_", "-"): text for arm, text in remarks.items()}
    return RunTable(tuple(runs), count_expected_runs(runs) if wanted is None else wanted, told, values)


def read(run: Run, split: str = "test") -> pandas.DataFrame:
    """Read the stored predictions of a run."""
    path = run.folder / PREDICTIONS_FILE
    return _read(path, path.stat().st_mtime_ns, split).copy()


@lru_cache(maxsize=256)
def _read(path: Path, changed: int, split: str) -> pandas.DataFrame:
    """Read predictions, cached until the file changes."""
    table = pandas.read_parquet(path)
    return table[table["split"] == split].reset_index(drop=True)


def logits(run: Run) -> np.ndarray:
    """Return (n, C) stored test scores of a run."""
    table = read(run)
    return table[[f"score/{name}" for name in run.info.classes]].to_numpy(dtype=float)


def right(run: Run, split: str = "test") -> np.ndarray:
    """Return (n,) bool: whether each clip is correct, from stored scores."""
    table = read(run, split)
    scores = table[[f"score/{name}" for name in run.info.classes]].to_numpy()
    return np.array(run.info.classes)[scores.argmax(axis=1)] == table["label"].to_numpy()


def accuracy(run: Run, split: str = "test") -> float:
    """Return Acc E in percent, from stored scores."""
    return 100 * float(right(run, split).mean())
