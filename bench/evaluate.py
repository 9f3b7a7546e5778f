"""Evaluation of a predictor: predictions, explanations, parameters and FLOPs; saving its weights."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import save_file
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from bench.files import atomic_path
from bench.loader import LoadedBatch, Loader, collate
from bench.method import FitContext, Predictor
from bench.metrics import Predictions, score
from bench.types import ClipSet, Explanation, OpenedClip, Sampling

BATCH_SIZE = 16  # fixed, since the batch size changes rounding


def predict(predictor: Predictor, clips: ClipSet, sampling: Sampling, ctx: FitContext) -> Predictions:
    """Predict every clip, without randomness; leave the predictor in evaluation mode."""
    return _predict_batches(predictor, clips, Loader(clips, sampling, BATCH_SIZE, ctx, shuffle=False), ctx)


class Validation:
    """Callable that scores a predictor on the val split of a fit: returns `val/loss` and `val/<metric>`."""

    def __init__(self, predictor: Predictor, sampling: Sampling, ctx: FitContext) -> None:
        self._predictor, self._ctx = predictor, ctx
        self._loader = Loader(ctx.val, sampling, BATCH_SIZE, ctx, shuffle=False)

    def __call__(self) -> dict[str, float]:
        """Return the scores of the predictor with its current weights."""
        ctx = self._ctx
        scores = score(_predict_batches(self._predictor, ctx.val, self._loader, ctx), ctx.info.task)
        return {f"val/{name}": value for name, value in scores.items() if value is not None and name != "n"}


def explain(predictor: Predictor, clips: ClipSet, sampling: Sampling, ctx: FitContext) -> dict[str, Explanation]:
    """Return clip key -> explanation of the predictor."""
    explanations: dict[str, Explanation] = {}
    predictor.train(False)
    with torch.inference_mode(), ctx.timer("explain"):
        for loaded in Loader(clips, sampling, BATCH_SIZE, ctx, shuffle=False).iterate_epoch(0):  # reads count, too
            explained = predictor.explain(loaded.inputs.to(torch.device(ctx.device)))
            explanations.update(zip((clips.clips[index].key for index in loaded.indices), explained, strict=True))
    return explanations


def _predict_batches(predictor: Predictor, clips: ClipSet, loader: Loader, ctx: FitContext) -> Predictions:
    rows: list[np.ndarray] = []
    predictor.train(False)
    with torch.inference_mode(), ctx.timer("predict"):
        for loaded in _iterate_batches(loader, ctx):
            rows.append(predictor(loaded.inputs.to(torch.device(ctx.device))).output.float().cpu().numpy())
    targets = np.asarray([clip.target for clip in clips.clips])
    keys, groups = (tuple(getattr(clip, name) for clip in clips.clips) for name in ("key", "group"))
    return Predictions(keys, targets, np.concatenate(rows), groups)


def _iterate_batches(loader: Loader, ctx: FitContext) -> Iterator[LoadedBatch]:
    batches = loader.iterate_epoch(0)
    while True:
        with ctx.timer("read"):
            loaded = next(batches, None)
        if loaded is None:
            return
        yield loaded


def measure_cost(predictor: Any, clip: OpenedClip, device: str) -> dict[str, float]:
    """Return `cost/parameters` and `cost/flops` of one clip as if it had all streams.

    FLOPs are those of matrix products, including the two of attention, and convolutions; a multiply-add counts as two.
    """
    inputs = collate([OpenedClip(clip.streams, dict.fromkeys(clip.present, True))]).to(torch.device(device))
    counter = FlopCounterMode(display=False)
    with torch.inference_mode(), sdpa_kernel(SDPBackend.MATH), counter:
        predictor(inputs)
    parameters = sum(parameter.numel() for parameter in predictor.parameters())
    return {"cost/parameters": float(parameters), "cost/flops": float(counter.get_total_flops())}


def save_weights(path: Path, predictor: Predictor) -> None:
    """Write the weights of a predictor atomically."""
    save_tensors(path, predictor.state_dict())


def save_tensors(path: Path, tensors: Mapping[str, torch.Tensor]) -> None:
    """Write named tensors atomically."""
    with atomic_path(path) as temporary:
        save_file({name: value.contiguous().cpu() for name, value in tensors.items()}, temporary)
