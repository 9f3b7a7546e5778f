"""A predictor's word on a whole split, and on the validation split between epochs."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch

from bench.data import Card, ClipSet, Explanation, Sampling
from bench.loading import Loader, Read
from bench.method import Context, Predictor
from bench.metrics import Predictions, score
from bench.streams import Streams

BATCH = 16  # clips at once; fixed, so that rounding does not follow a setting


def predict(predictor: Predictor, clips: ClipSet, sampling: Sampling, streams: Streams, ctx: Context) -> Predictions:
    """Scores of every clip, without randomness; leaves the predictor in evaluation mode."""
    return _predict(predictor, clips, Loader(clips, sampling, streams, BATCH, ctx, shuffle=False), ctx)


class Validation:
    """The scores of a validation split, as often as they are asked for: `val/acc_e`, `val/loss`, ..."""

    def __init__(
        self, predictor: Predictor, clips: ClipSet, sampling: Sampling, card: Card, streams: Streams, ctx: Context
    ) -> None:
        self._predictor, self._clips, self._card, self._ctx = predictor, clips, card, ctx
        self._loader = Loader(clips, sampling, streams, BATCH, ctx, shuffle=False)

    def __call__(self) -> dict[str, float]:
        """Score the predictor as it is now."""
        found = score(_predict(self._predictor, self._clips, self._loader, self._ctx), self._card)
        return {f"val/{name}": value for name, value in found.items() if value is not None and name != "n"}


def explain(
    predictor: Predictor, clips: ClipSet, sampling: Sampling, streams: Streams, ctx: Context
) -> dict[str, Explanation]:
    """Clip key -> what the predictor tells about the clip."""
    found: dict[str, Explanation] = {}
    predictor.train(False)
    with torch.inference_mode(), ctx.clock("explain"):
        for read in _reads(Loader(clips, sampling, streams, BATCH, ctx, shuffle=False), ctx):
            told = predictor.explain(read.inputs.to(torch.device(ctx.device)))
            found.update(zip((clips.clips[index].key for index in read.indices), told, strict=True))
    return found


def _predict(predictor: Predictor, clips: ClipSet, loader: Loader, ctx: Context) -> Predictions:
    rows: list[np.ndarray] = []
    predictor.train(False)
    with torch.inference_mode(), ctx.clock("predict"):
        for read in _reads(loader, ctx):
            rows.append(predictor(read.inputs.to(torch.device(ctx.device))).label.float().cpu().numpy())
    labels = np.asarray([clip.label for clip in clips.clips], dtype=np.int64)
    keys, groups = (tuple(getattr(clip, name) for clip in clips.clips) for name in ("key", "group"))
    return Predictions(keys, labels, np.concatenate(rows), groups)


def _reads(loader: Loader, ctx: Context) -> Iterator[Read]:
    reads = loader.epoch(0)
    while True:
        with ctx.clock("read"):
            read = next(reads, None)
        if read is None:
            return
        yield read
