"""Predictions, explanations, cost and weights of a predictor."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import save_file
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from bench.files import atomic_path
from bench.loader import LoadedBatch, Loader
from bench.method import FitContext, Predictor
from bench.metrics import Predictions, score
from bench.rng import RngTree
from bench.types import ClipSet, DatasetInfo, Explanation, Inputs, Sampling

BATCH_SIZE = 16  # clips at once; fixed, so that rounding does not follow a setting

SOUND_FRAMES = 100  # of sound in a segment, 10 ms each


def predict(predictor: Predictor, clips: ClipSet, sampling: Sampling, rng: RngTree, ctx: FitContext) -> Predictions:
    """Scores of every clip, without randomness; leaves the predictor in evaluation mode."""
    return _predict_batches(predictor, clips, Loader(clips, sampling, rng, BATCH_SIZE, ctx, shuffle=False), ctx)


class Validation:
    """The scores of a validation split, as often as they are asked for: `val/acc_e`, `val/loss`, ..."""

    def __init__(
        self,
        predictor: Predictor,
        clips: ClipSet,
        sampling: Sampling,
        info: DatasetInfo,
        rng: RngTree,
        ctx: FitContext,
    ) -> None:
        self._predictor, self._clips, self._card, self._ctx = predictor, clips, info, ctx
        self._loader = Loader(clips, sampling, rng, BATCH_SIZE, ctx, shuffle=False)

    def __call__(self) -> dict[str, float]:
        """Score the predictor as it is now."""
        found = score(_predict_batches(self._predictor, self._clips, self._loader, self._ctx), self._card)
        return {f"val/{name}": value for name, value in found.items() if value is not None and name != "n"}


def explain(
    predictor: Predictor, clips: ClipSet, sampling: Sampling, rng: RngTree, ctx: FitContext
) -> dict[str, Explanation]:
    """Clip key -> what the predictor tells about the clip."""
    found: dict[str, Explanation] = {}
    predictor.train(False)
    with torch.inference_mode(), ctx.timer("explain"):
        for read in _iterate_batches(Loader(clips, sampling, rng, BATCH_SIZE, ctx, shuffle=False), ctx):
            told = predictor.explain(read.inputs.to(torch.device(ctx.device)))
            found.update(zip((clips.clips[index].key for index in read.indices), told, strict=True))
    return found


def _predict_batches(predictor: Predictor, clips: ClipSet, loader: Loader, ctx: FitContext) -> Predictions:
    rows: list[np.ndarray] = []
    predictor.train(False)
    with torch.inference_mode(), ctx.timer("predict"):
        for read in _iterate_batches(loader, ctx):
            rows.append(predictor(read.inputs.to(torch.device(ctx.device))).output.float().cpu().numpy())
    labels = np.asarray([clip.target for clip in clips.clips], dtype=np.int64)
    keys, groups = (tuple(getattr(clip, name) for clip in clips.clips) for name in ("key", "group"))
    return Predictions(keys, labels, np.concatenate(rows), groups)


def _iterate_batches(loader: Loader, ctx: FitContext) -> Iterator[LoadedBatch]:
    reads = loader.iterate_epoch(0)
    while True:
        with ctx.timer("read"):
            read = next(reads, None)
        if read is None:
            return
        yield read


def measure_cost(predictor: Any, sampling: Sampling, device: str) -> dict[str, float]:
    """`cost/parameters` and `cost/flops`, floating-point operations of matrix products and convolutions for one clip of
    which all is present; a product and a sum are two. Attention is counted as the two products that it is."""
    inputs = _make_blank_inputs(sampling).to(torch.device(device))
    counter = FlopCounterMode(display=False)
    with torch.inference_mode(), sdpa_kernel(SDPBackend.MATH), counter:
        predictor(inputs)
    parameters = sum(parameter.numel() for parameter in predictor.parameters())
    return {"cost/parameters": float(parameters), "cost/flops": float(counter.get_total_flops())}


def save_weights(path: Path, predictor: Predictor) -> None:
    """Write the state of a predictor, whole or not at all."""
    state = {name: value.contiguous().cpu() for name, value in predictor.state_dict().items()}
    with atomic_path(path) as temporary:
        save_file(state, temporary)


def _make_blank_inputs(sampling: Sampling) -> Inputs:
    """A black and silent clip, as it is opened."""
    segments, size = sampling.segments, sampling.size
    return Inputs(
        video=torch.zeros((1, segments, sampling.frames, size, size, 3), dtype=torch.uint8),
        audio=torch.zeros((1, segments, SOUND_FRAMES, sampling.mels)),
        words=(((),) * segments,),
        present=torch.ones((1, 3), dtype=torch.bool),
    )
