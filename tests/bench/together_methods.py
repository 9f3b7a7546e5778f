"""A fit of MBT and MART for tests of data-parallel training, importable by its processes."""

from __future__ import annotations

from typing import Any

import torch

from bench.loader import collate
from bench.method import FitContext
from bench.rng import RngTree
from bench.types import ClipSet, DatasetInfo
from methods.mart.method import MART
from methods.mbt.config import MBT
from tests.bench.together import NamedTensors, at
from tests.methods.mart.toys import CARD as SPOKEN
from tests.methods.mart.toys import SMALL, spoken_clips
from tests.methods.toys import TINY, toy_clips
from tests.toys import ToyConfig


def real_methods(
    config: ToyConfig, card: DatasetInfo, clips: ClipSet, val: ClipSet, streams: RngTree, ctx: FitContext
) -> Any:
    """Fit small MBT and MART models; return scores, since some gradients are only rounding errors."""
    predictor = NamedTensors()
    mbt = MBT.fit(TINY, card, toy_clips("train", 2), toy_clips("val", 1), streams, at(ctx, "mbt"))
    mart = MART.fit(SMALL, SPOKEN, spoken_clips("train", 3), spoken_clips("val", 1), streams, at(ctx, "mart"))
    test, spoken = toy_clips("test", 2), spoken_clips("test", 2)
    with torch.inference_mode():
        for i in range(6):
            predictor.tensors[f"mbt/{i}"] = mbt(collate([test.read(i, MBT.sampling(TINY, False), streams, 0)])).output
            predictor.tensors[f"mart/{i}"] = mart(
                collate([spoken.read(i, MART.sampling(SMALL, False), streams, 0)])
            ).output
    return predictor
