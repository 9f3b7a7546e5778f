"""Benchmark of the quick preset: steps per second, and the share of a step outside the model."""

from __future__ import annotations

import tempfile
import time
from pathlib import Path

import torch
from torch import nn

from bench.loader import LoadedBatch, collate
from bench.method import FitContext
from bench.rng import RngTree
from bench.training import TrainConfig, _Ema, _make_optimizer, train_stage
from bench.types import Batch, DatasetSplits, SplitRequest
from datasets.registry import DATASETS
from methods.mart.config import MartConfig
from methods.mart.pretraining import MartObjective, MartPredictor
from methods.mbt.config import make_sampling
from methods.mbt.model import Mbt
from methods.mbt.supervised import SupervisedObjective, make_fine_tuning_stage, make_pretraining_stage
from tests.conftest import Quiet

PASSES = 4  # over batches in memory


def measure(
    name: str, objective: nn.Module, corpus: DatasetSplits, stage: TrainConfig, config: MartConfig, folder: Path
) -> None:
    """Time the training loop, and the same steps of the same model on batches in memory."""
    clips, streams = corpus.train, RngTree(0)
    opened = make_sampling(config, True)
    batches = -(-len(clips.clips) // stage.batch)
    steps = stage.epochs * batches
    (folder / name).mkdir()
    start = time.perf_counter()
    ctx = FitContext(config, corpus.info, clips, corpus.val, streams, Quiet(), folder / name)
    train_stage(objective, opened, stage, ctx)
    whole = (time.perf_counter() - start) / steps
    loaded = [
        LoadedBatch(tuple(rows), collate([clips.read(row, opened, streams, 0) for row in rows]))
        for rows in torch.randperm(len(clips.clips)).split(stage.batch)
    ]
    optimizer, average = _make_optimizer(objective.train(), stage), _Ema(objective) if stage.ema else None
    start = time.perf_counter()
    for epoch in range(PASSES):
        for batch in loaded:
            label = torch.tensor([clips.clips[row].target for row in batch.indices])
            keys = tuple(clips.clips[row].key for row in batch.indices)
            losses = objective(Batch(batch.inputs, label, keys, epoch, epoch / PASSES))
            torch.stack([term.sum() for term in losses.terms.values()]).sum().backward()  # type: ignore[no-untyped-call]
            torch.nn.utils.clip_grad_norm_(objective.parameters(), stage.clip_norm)
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)
            if average is not None:
                average.update(stage.ema)
    model = (time.perf_counter() - start) / (PASSES * batches)
    spent = ", ".join(f"{part} {1e3 * seconds / steps:.1f} ms" for part, seconds in ctx.timer.get_seconds().items())
    print(
        f"quick, {name:<26}{1 / whole:7.1f} steps/s  {1 - model / whole:6.1%} outside the model "
        f"(target: under 15 %; model {1e3 * model:.1f} ms; loop: {spent})",
        flush=True,
    )


def main() -> None:
    """Print the figures of both stages on the built-in sample."""
    torch.set_num_threads(2)
    config = MartConfig.from_preset("quick")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        corpus = DATASETS["ekman6"].load(SplitRequest(None, folder, config.size, config.mels, 0))
        predictor = MartPredictor(Mbt(config, len(corpus.info.classes), RngTree(0)), config, corpus.info)
        objective = MartObjective(predictor, config, corpus.info, RngTree(0))
        predictor.find_cues(
            collate([corpus.train.read(0, make_sampling(config, True), RngTree(0), 0)])
        )  # loads the lexicon
        measure("pre-training", objective, corpus, make_pretraining_stage(config), config, folder)
        measure(
            "fine-tuning",
            SupervisedObjective(predictor, corpus.info, 0.5),
            corpus,
            make_fine_tuning_stage(config),
            config,
            folder,
        )
