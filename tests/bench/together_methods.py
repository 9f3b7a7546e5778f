"""A fit of MBT and MART for tests of data-parallel training, importable by its processes."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import torch

from bench.loader import collate
from bench.method import FitContext
from bench.stages import fit_alone
from methods.mart.config import MART
from methods.mbt.config import MBT
from tests.bench.together import NamedTensors, at
from tests.methods.mart.toys import CARD as SPOKEN
from tests.methods.mart.toys import SMALL, spoken_clips
from tests.methods.toys import TINY, toy_clips


def real_methods(ctx: FitContext) -> Any:
    """Fit small MBT and MART models; return scores, since some gradients are only rounding errors."""
    predictor = NamedTensors()
    toys = {"train": toy_clips("train", 2), "val": toy_clips("val", 1)}
    mbt = MBT.fit(replace(at(ctx, "mbt"), config=TINY, **toys))
    spoken = {"info": SPOKEN, "train": spoken_clips("train", 3), "val": spoken_clips("val", 1)}
    mart = fit_alone(MART, replace(at(ctx, "mart"), config=SMALL, **spoken))
    test, spoken_test = toy_clips("test", 2), spoken_clips("test", 2)
    with torch.inference_mode():
        for i in range(6):
            predictor.tensors[f"mbt/{i}"] = mbt(collate([test.read(i, MBT.sampling(TINY, False), ctx.rng, 0)])).output
            predictor.tensors[f"mart/{i}"] = mart(
                collate([spoken_test.read(i, MART.sampling(SMALL, False), ctx.rng, 0)])
            ).output
    return predictor
