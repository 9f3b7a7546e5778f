"""A fit of MBT and of MART that the processes of several devices can import."""

from __future__ import annotations

from typing import Any

import torch

from bench.loader import collate
from bench.method import FitContext
from bench.rng import RngTree
from bench.types import ClipSet, DatasetInfo
from methods.mart.method import MART
from methods.mbt.method import MBT
from tests.bench.together import Kept, at
from tests.methods.mart.toys import CARD as SPOKEN
from tests.methods.mart.toys import SMALL, spoken_clips
from tests.methods.toys import TINY, toy_clips
from tests.toys import ToyConfig


def real_methods(
    config: ToyConfig, card: DatasetInfo, clips: ClipSet, val: ClipSet, streams: RngTree, ctx: FitContext
) -> Any:
    """The scores of MBT and MART of the smallest sizes: some weights' gradients are nothing but rounding."""
    kept = Kept()
    mbt = MBT.fit(TINY, card, toy_clips("train", 2), toy_clips("val", 1), streams, at(ctx, "mbt"))
    mart = MART.fit(SMALL, SPOKEN, spoken_clips("train", 3), spoken_clips("val", 1), streams, at(ctx, "mart"))
    test, spoken = toy_clips("test", 2), spoken_clips("test", 2)
    with torch.inference_mode():
        for i in range(6):
            kept.tensors[f"mbt/{i}"] = mbt(collate([test.read(i, MBT.sampling(TINY, False), streams, 0)])).output
            kept.tensors[f"mart/{i}"] = mart(collate([spoken.read(i, MART.sampling(SMALL, False), streams, 0)])).output
    return kept
