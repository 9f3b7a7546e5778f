"""Benchmark of the harness's overhead: a run against a bare loop over the same model, data and epochs."""

from __future__ import annotations

import math
import statistics
import tempfile
import time
from functools import partial
from pathlib import Path

import torch

from bench.execute import RunEnvironment, RunRequest, execute, load_splits
from bench.loader import Loader
from bench.method import FitContext
from bench.metrics import Predictions, score
from bench.mlflow import MlflowStore
from bench.rng import RngTree
from bench.types import Batch, DatasetSplits
from methods.mbt.config import MbtConfig, make_sampling
from methods.mbt.model import Mbt
from methods.mbt.supervised import MbtPredictor, SupervisedObjective
from reports.figures.clips import save_run_figures
from studies.plan import resolve_requests
from tests.conftest import Quiet

THREADS, TURNS, LONG = 2, 3, 3  # turns per variant; factor of epochs of the long run
TEN_MINUTES = 600.0


def bare(request: RunRequest, corpus: DatasetSplits, seed: int) -> float:
    """Return the seconds of plain PyTorch: training with AdamW and EMA, val after each epoch, test for the best one.

    Nothing is logged, stored or drawn.
    """
    config = request.config
    assert isinstance(config, MbtConfig)
    streams, tracker = RngTree(seed), Quiet()
    ctx = FitContext(config, corpus.info, corpus.train, corpus.val, streams, tracker, Path("."), threads=THREADS)
    since = time.perf_counter()
    torch.set_num_threads(THREADS)
    predictor = MbtPredictor(Mbt(config, len(corpus.info.classes), streams), corpus.info.task)
    objective = SupervisedObjective(predictor, corpus.info, config.polarity_weight)
    parameters = [p for p in objective.parameters() if p.requires_grad]
    optimizer = torch.optim.AdamW(parameters, lr=config.lr, weight_decay=config.weight_decay, fused=True)
    average = [p.detach().clone() for p in parameters]
    train = Loader(corpus.train, make_sampling(config, True), config.batch, ctx, shuffle=True)
    val, test = (Loader(s, make_sampling(config, False), 16, ctx, shuffle=False) for s in (corpus.val, corpus.test))
    steps, best, best_weights = 0, -math.inf, average
    for epoch in range(config.epochs):
        objective.train()
        for loaded in train.iterate_epoch(epoch):
            labels = torch.tensor([corpus.train.clips[index].target for index in loaded.indices])
            keys = tuple(corpus.train.clips[index].key for index in loaded.indices)
            losses = objective(Batch(loaded.inputs, labels, keys, epoch, 0.0))
            torch.stack([term.sum() for term in losses.terms.values()]).sum().div(len(labels)).backward()
            torch.nn.utils.clip_grad_norm_(parameters, config.clip_norm)
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)
            steps += 1
            decay = config.ema * (1 - math.exp(-steps / config.ema_ramp))
            torch._foreach_lerp_(average, [p.detach() for p in parameters], 1 - decay)
        trained = [p.detach().clone() for p in parameters]
        _put(parameters, average)
        accuracy = _accuracy(predictor, val, corpus, "val")
        if accuracy > best:
            best, best_weights = accuracy, [p.detach().clone() for p in parameters]
        _put(parameters, trained)
    _put(parameters, best_weights)
    _accuracy(predictor, test, corpus, "test")
    return time.perf_counter() - since


def _put(parameters: list[torch.Tensor], values: list[torch.Tensor]) -> None:
    with torch.no_grad():
        for parameter, value in zip(parameters, values, strict=True):
            parameter.copy_(value)


def _accuracy(predictor: MbtPredictor, loader: Loader, corpus: DatasetSplits, split: str) -> float:
    predictor.eval()
    clips = getattr(corpus, split).clips
    with torch.inference_mode():
        rows = torch.cat([predictor(loaded.inputs).label for loaded in loader.iterate_epoch(0)])
    labels = torch.tensor([clip.label for clip in clips])
    found = score(Predictions(tuple(clip.key for clip in clips), labels.numpy(), rows.numpy()), corpus.info.task)
    return float(found["acc_e"] or 0.0)


def measure(results: Path, epochs: int, seeds: range) -> tuple[float, float]:
    """Return the median seconds of a run and of the bare loop, measured in turns."""
    environment = RunEnvironment(results, MlflowStore(results), Quiet(), partial(save_run_figures), threads=THREADS)
    ours, plain = [], []
    for request in resolve_requests("mbt", "ekman6", "quick", [f"epochs={epochs}"], seeds):
        corpus = load_splits(request, environment)
        since = time.perf_counter()
        record = execute(request, environment).record
        ours.append(time.perf_counter() - since)
        assert record.error is None
        plain.append(bare(request, corpus, request.seed))
        spent = {name: round(seconds, 2) for name, seconds in record.seconds.items()}
        print(f"  {epochs} epochs: run {ours[-1]:.2f} s, bare loop {plain[-1]:.2f} s; {spent}")
    return statistics.median(ours), statistics.median(plain)


def main() -> None:
    """Print the figures; the first run, which imports and prepares, is a warm-up."""
    with tempfile.TemporaryDirectory() as name:
        results = Path(name)
        measure(results, 2, range(100, 101))
        quick, quick_bare = measure(results, 40, range(TURNS))
        long, long_bare = measure(results, 40 * LONG, range(1))
        print(f"harness on the quick preset            {quick / quick_bare - 1:6.1%}   (target: under 5 %)")
        each = ((long - long_bare) - (quick - quick_bare)) / (40 * (LONG - 1))  # seconds per epoch
        fixed = (quick - quick_bare) - 40 * each
        epochs = TEN_MINUTES / (long_bare / (40 * LONG))
        share = (fixed + epochs * each) / TEN_MINUTES
        print(f"  {fixed:.2f} s per run and {1000 * each:.1f} ms per epoch")
        print(f"  share of a ten-minute run, computed   {share:6.1%}   (target: under 1 %)")


if __name__ == "__main__":
    main()
