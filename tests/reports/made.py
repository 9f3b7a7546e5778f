"""Results folders made without training: real record, card, curve and prediction files of invented runs."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np

from bench.artifacts import (
    CONFIG_FILE,
    CURVES_FILE,
    PREDICTIONS_FILE,
    _make_prediction_table,
)
from bench.files import atomic_write
from bench.metrics import Predictions, score
from bench.record import DATASET_INFO_FILE, Failure, Record, RunFolder, RunSpec, write_dataset_info
from bench.requests import RequestedPlan, StoredRequest, add_requests
from bench.tasks import ACCURACY, Metric, Regression, TargetRange
from bench.types import DatasetInfo
from datasets.registry import DATASETS
from studies.requests import find_arm, find_changes

SKILL = {"majority": 0.0, "probe": 0.3, "mbt": 0.42, "mbt-long": 0.44, "mart-released": 0.4, "mart": 0.5}
"""Share of clips that an arm classifies correctly; it guesses the others. Its numbers are near by the same share."""

MOOD = DatasetInfo(
    "mood", "Own scores", Regression((TargetRange("sentiment", -3, 3),)), {}, "en", "own", "none", "here", clips=60
)
"""Data set of one score, for which a lower MAE is better."""


def make_run(results: Path, arm: str = "mart", dataset: str = "ekman6", **values: Any) -> Record:
    """Write a finished run with all its files, or a failed one with `error=...`; scores follow from predictions.

    `set` are config values, `clips` the number of test clips, `data` is real or sample. `request` are the fields of its
    stored request; without them the run is of an unknown request.
    """
    found, card = find_arm(arm), values.pop("card", None) or DATASETS[dataset].info
    preset, clips, skill = values.pop("preset", "quick"), values.pop("clips", 90), values.pop("skill", None)
    config = found.method.config.from_preset(preset).override({**found.overrides, **values.pop("set", {})})
    request = values.pop("request", None)
    error, notes, provenance = values.pop("error", None), values.pop("notes", {}), values.pop("provenance", {})
    spec = RunSpec(
        **{
            "method": found.method.name,
            "version": found.method.version,
            "config": config.model_dump(mode="json"),
            "dataset": card.name,
            "data": "real",
            "split": "f" * 64,
            "content": "c" * 64,
            "fold": card.folds[0],
            "seed": 0,
            **values,
        }
    )
    folder = RunFolder(results / "runs" / spec.key)
    made = {"commit": "1a2b3c4d" * 5, "dirty": False, "torch": "2.11.0", "device": "cpu", "processor": "a processor"}
    facts: dict[str, Any] = {"attempt": 1, "provenance": {**made, **provenance}, "problems": [], "arm": arm}
    facts |= {"key": spec.key, "spec": spec, "preset": preset, "seconds": {"step": 60.0 + spec.seed, "read": 5.0}}
    if error is not None:
        record = Record(**facts, scores={}, notes={}, error=Failure("other", error, f"Traceback\n{error}"))
        folder.write_record(record)
        add_requests(folder, [] if request is None else [request_for(record, **request)])
        return record
    skill = SKILL.get(arm, 0.46) if skill is None else skill
    left = found_by(card, clips, skill, spec)
    folder.path.mkdir(parents=True, exist_ok=True)
    for name, content in left.files.items():
        (folder.path / name).write_bytes(content)
    files = {name: hashlib.sha256(content).hexdigest() for name, content in left.files.items()}
    told = {"clips/train": 4.0 * clips, "cost/parameters": 1.2e6, "cost/flops": 3.4e9}
    if "pretrain_epochs" in spec.config:
        told |= {"pretrain/coverage": 0.776, "pretrain/coverage_kept": 0.228}
    record = Record(**facts, scores=dict(left.scores), notes={**told, **notes}, files=files, chosen=3)
    folder.write_record(record)
    add_requests(folder, [] if request is None else [request_for(record, **request)])
    return record


def request_for(record: Record, **facts: Any) -> StoredRequest:
    """Return a request for a run, of a command that names no study.

    With a `winner`, as `make_search` returns it, its values are those of a search; others that differ from the preset
    were set by hand.
    """
    spec, winner = record.spec, facts.pop("winner", None)
    plan = RequestedPlan({spec.dataset: (spec.fold,)}, (spec.seed,), (spec.protocol,))
    arm = facts.get("arm", record.arm)
    preset = facts.get("preset", record.preset)
    params = winner["winner"]["params"] if winner is not None else {}
    settings = {name: text for name, text in find_changes(arm, preset, spec.config) or () if name not in params}
    settings |= {name: sha for name, sha in spec.weights.items() if name in settings}
    found: dict[str, Any] = {"study": "", "arm": arm, "preset": preset, "plan": plan, "settings": settings}
    if winner is not None:
        found |= {"tuning": "per-arm" if winner["arm"] == arm else "shared", "tuned_by": winner["arm"]}
        found |= {"search": winner["digest"], "tried": sum(winner["tried"].values())}
    return StoredRequest(**{**found, **facts})


@dataclass(frozen=True)
class Left:
    """Scores and files of a run."""

    scores: Mapping[str, float | None]
    files: Mapping[str, bytes]


KNOWN: dict[str, Left] = {}  # cache: tests make the same runs many times


def found_by(card: DatasetInfo, clips: int, skill: float, spec: RunSpec) -> Left:
    """Return scores and files of a run, deterministically; runs without the clean protocol have no scores on val."""
    told = repr((card, clips, skill, spec))
    if told not in KNOWN:
        splits = {split: predict(card, split, clips, skill, spec) for split in ("val", "test")}
        scored = {split: score(one, card.task) for split, one in splits.items()}
        if spec.protocol != "clean":
            del splits["val"]
            scored["val"] = dict.fromkeys(scored["val"])
        scores = {f"{split}/{name}": value for split, of in scored.items() for name, value in of.items()}
        drawn = curves(spec, skill, card.task.primary)
        KNOWN[told] = Left(scores, files_of(card, spec.config, splits, drawn))
    return KNOWN[told]


def predict(card: DatasetInfo, split: str, clips: int, skill: float, spec: RunSpec) -> Predictions:
    """Return predictions of clips that are hard or easy for all arms, with a small variation by seed."""
    if isinstance(card.task, Regression):
        return predict_numbers(card.task, split, clips, skill, spec)
    names = [f"{name}/{split}{spec.fold}_{index:04d}" for index in range(clips) for name in card.classes][:clips]
    label = np.arange(clips) % len(card.classes)
    shared = np.random.default_rng([spec.fold, len(split), clips])
    own = np.random.default_rng([spec.seed, spec.fold, int(spec.key[:8], 16)])
    ease = 0.8 * shared.random(clips) + 0.2 * own.random(clips)
    guess = np.where(ease < skill, label, own.integers(len(card.classes), size=clips))
    scores = own.normal(size=(clips, len(card.classes))).astype(np.float32)
    scores[np.arange(clips), guess] = scores.max(axis=1) + 1
    return Predictions(tuple(names), label.astype(np.int64), scores, tuple(f"video{i // 2}" for i in range(clips)))


def predict_numbers(task: Regression, split: str, clips: int, skill: float, spec: RunSpec) -> Predictions:
    """Return numbers in steps of a tenth, and predictions that are nearer for a higher skill; two clips share a group.

    A run without skill predicts the middle of each range, as the median does.
    """
    low, high = np.transpose(task.bounds)
    shared = np.random.default_rng([spec.fold, len(split), clips])
    own = np.random.default_rng([spec.seed, spec.fold, int(spec.key[:8], 16)])
    truth = np.round(low + (high - low) * shared.beta(2, 2, (clips, len(low))), 1)
    hard = shared.normal(size=truth.shape) + 0.3 * own.normal(size=truth.shape)
    guess = (low + high) / 2 + skill * (truth - (low + high) / 2) + (skill > 0) * 0.12 * (high - low) * hard
    names = tuple(f"{split}{spec.fold}_{index:04d}" for index in range(clips))
    return Predictions(names, truth, guess.astype(np.float32), tuple(f"video{i // 2}" for i in range(clips)))


def curves(spec: RunSpec, skill: float, metric: Metric = ACCURACY, epochs: int = 6) -> list[dict[str, Any]]:
    """Return curves of the metric on val, rising towards the skill (or falling from 1 towards the rest of it), and of a
    falling loss."""
    own = np.random.default_rng([spec.seed, 7])
    return [
        {
            "stage": "finetune",
            "epoch": epoch,
            "values": {
                f"val/{metric.name}": round(_rise(skill, epoch, metric) + 0.02 * float(own.random()), 4),
                "loss": round(2.0 / (epoch + 1), 4),
            },
        }
        for epoch in range(epochs)
    ]


def _rise(skill: float, epoch: int, metric: Metric) -> float:
    risen = skill * (1 - 0.5 ** (epoch + 1))
    return risen if metric.better == "max" else 1 - risen


def files_of(
    card: DatasetInfo, config: dict[str, Any], splits: dict[str, Predictions], told: list[dict[str, Any]]
) -> dict[str, bytes]:
    """Return name -> content of the files of a run, without its record."""
    with TemporaryDirectory() as name:
        folder = Path(name)
        write_dataset_info(folder, card)
        _make_prediction_table(splits, card).to_parquet(folder / PREDICTIONS_FILE, index=False)
        read = {name: (folder / name).read_bytes() for name in (DATASET_INFO_FILE, PREDICTIONS_FILE)}
    return {CONFIG_FILE: json.dumps(config).encode(), CURVES_FILE: json.dumps(told).encode(), **read}


def make_search(results: Path, arm: str = "mart", dataset: str = "ekman6", **values: Any) -> dict[str, Any]:
    """Write and return the summary of a search with best values `params`; `make_run(set=params)` makes its runs."""
    found, preset, card = find_arm(arm), values.pop("preset", "quick"), values.pop("card", None)
    card = DATASETS[dataset].info if card is None else card
    base = found.method.config.from_preset(preset).override({**found.overrides, **values.pop("set", {})})
    params = values.pop("params", {"lr": 0.0015})
    trials = [
        {"number": n, "state": "complete" if n % 3 else "pruned", "value": 0.3 + 0.01 * n if n % 3 else None}
        | {"spent": 100.0 * (n + 1)}
        for n in range(6)
    ]
    summary = {
        "name": f"{card.name}/{arm}",
        "arm": arm,
        "dataset": card.name,
        "data": "real",
        "fold": card.folds[0],
        "metric": vars(card.task.primary),
        "preset": preset,
        "sampler": "tpe",
        "pruner": "median",
        "seeds": 1,
        "ranges": {"lr": [1e-5, 3e-3, "log"], "weight_decay": [1e-3, 0.3, "log"]},
        "base": base.model_dump(mode="json"),
        "tried": {"finished": 4, "pruned": 2, "failed": 0},
        "trials": trials,
        "winner": {"number": 5, "value": 0.35, "params": params, "keys": ["0" * 20]},
        "failures": [],
        "published": True,
        **values,
    }
    digest = hashlib.sha256(repr((arm, card.name, preset, params, summary["fold"])).encode()).hexdigest()[:12]
    atomic_write(results / "searches" / digest / "search.json", (json.dumps(summary) + "\n").encode())
    return {**summary, "digest": digest}


def tamper(folder: Path, record: Record, **scores: float) -> None:
    """Rewrite a record with other scores."""
    RunFolder(folder).write_record(replace(record, scores={**record.scores, **scores}))
