"""Results folders made without training: real record, card, curve and prediction files of runs that never ran."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from bench.cards import CARD, write_card
from bench.data import Card
from bench.files import sha256, write_whole
from bench.metrics import Predictions, score
from bench.outputs import CONFIG, CURVES, PREDICTIONS, _table
from bench.record import Failure, Record, RunFolder, RunSpec
from datasets.registry import DATASETS
from studies.ask import find_arm

SKILL = {"majority": 0.0, "probe": 0.3, "mbt": 0.42, "mbt-long": 0.44, "mart-released": 0.4, "mart": 0.5}
"""Share of clips that an arm knows; it guesses the others."""


def make_run(results: Path, arm: str = "mart", dataset: str = "ekman6", **values: Any) -> Record:
    """A finished run with everything beside it, or a failed one with `error=...`; its scores follow from its
    predictions. `set` are config values, `clips` how many test clips, `data` real or sample."""
    found, card = find_arm(arm), values.pop("card", None) or DATASETS[dataset].card
    preset, clips, skill = values.pop("preset", "quick"), values.pop("clips", 90), values.pop("skill", None)
    config = found.method.config.preset(preset).override({**found.overrides, **values.pop("set", {})})
    error, notes, provenance = values.pop("error", None), values.pop("notes", {}), values.pop("provenance", {})
    protocol = values.get("protocol", "clean")
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
        folder.write(record)
        return record
    skill = SKILL.get(arm, 0.46) if skill is None else skill
    splits = {split: predict(card, split, clips, skill, spec) for split in ("val", "test")}
    if protocol != "clean":
        del splits["val"]
    scores = {f"{split}/{name}": None for split in ("val", "test") for name in score(splits["test"], card)}
    scores |= {f"{split}/{name}": v for split, one in splits.items() for name, v in score(one, card).items()}
    files = write_files(folder.path, card, config.model_dump(mode="json"), splits, curves(spec, skill))
    told = {"clips/train": 4.0 * clips, "cost/parameters": 1.2e6, "cost/flops": 3.4e9}
    if "pretrain_epochs" in spec.config:
        told |= {"pretrain/coverage": 0.776, "pretrain/coverage_kept": 0.228}
    record = Record(**facts, scores=scores, notes={**told, **notes}, files=files, chosen=3)
    folder.write(record)
    return record


def predict(card: Card, split: str, clips: int, skill: float, spec: RunSpec) -> Predictions:
    """Scores of clips that are hard or easy for everybody, and a little different from seed to seed."""
    names = [f"{name}/{split}{spec.fold}_{index:04d}" for index in range(clips) for name in card.classes][:clips]
    label = np.arange(clips) % len(card.classes)
    shared = np.random.default_rng([spec.fold, len(split), clips])
    own = np.random.default_rng([spec.seed, spec.fold, int(spec.key[:8], 16)])
    ease = 0.8 * shared.random(clips) + 0.2 * own.random(clips)
    guess = np.where(ease < skill, label, own.integers(len(card.classes), size=clips))
    scores = own.normal(size=(clips, len(card.classes))).astype(np.float32)
    scores[np.arange(clips), guess] = scores.max(axis=1) + 1
    return Predictions(tuple(names), label.astype(np.int64), scores, tuple(f"video{i // 2}" for i in range(clips)))


def curves(spec: RunSpec, skill: float, epochs: int = 6) -> list[dict[str, Any]]:
    """Val Acc E that grows towards the skill, and a loss that falls."""
    own = np.random.default_rng([spec.seed, 7])
    return [
        {
            "stage": "finetune",
            "epoch": epoch,
            "values": {
                "val/acc_e": round(float(skill * (1 - 0.5 ** (epoch + 1)) + 0.02 * own.random()), 4),
                "loss": round(2.0 / (epoch + 1), 4),
            },
        }
        for epoch in range(epochs)
    ]


def write_files(
    folder: Path, card: Card, config: dict[str, Any], splits: dict[str, Predictions], told: list[dict[str, Any]]
) -> dict[str, str]:
    """Everything beside a record; name -> sha256."""
    folder.mkdir(parents=True, exist_ok=True)
    write_card(folder, card)
    write_whole(folder / CONFIG, json.dumps(config).encode())
    write_whole(folder / CURVES, json.dumps(told).encode())
    _table(splits, card).to_parquet(folder / PREDICTIONS, index=False)
    return {name: sha256(folder / name) for name in (CONFIG, CARD, CURVES, PREDICTIONS)}


def make_search(results: Path, arm: str = "mart", dataset: str = "ekman6", **values: Any) -> dict[str, Any]:
    """The summary of a search whose winner is `params`; what runs with its values are, `make_run(set=params)` makes."""
    found, preset = find_arm(arm), values.pop("preset", "quick")
    base = found.method.config.preset(preset).override({**found.overrides, **values.pop("set", {})})
    params = values.pop("params", {"lr": 0.0015})
    trials = [
        {"number": n, "state": "complete" if n % 3 else "pruned", "value": 0.3 + 0.01 * n if n % 3 else None}
        | {"spent": 100.0 * (n + 1)}
        for n in range(6)
    ]
    summary = {
        "name": f"{dataset}/{arm}",
        "arm": arm,
        "dataset": dataset,
        "data": "real",
        "fold": DATASETS[dataset].card.folds[0],
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
    digest = f"{abs(hash((arm, dataset, preset, str(params), summary['fold']))):012x}"[:12]
    write_whole(results / "searches" / digest / "search.json", (json.dumps(summary) + "\n").encode())
    return summary


def tamper(folder: Path, record: Record, **scores: float) -> None:
    """Rewrite a record with other scores."""
    RunFolder(folder).write(replace(record, scores={**record.scores, **scores}))
