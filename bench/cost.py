"""What a finished predictor costs: its parameters, and the arithmetic of its word on one clip."""

from __future__ import annotations

from typing import Any

import torch
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from bench.data import Inputs, Sampling

FRAMES = 100  # of sound in a segment, 10 ms each


def cost(predictor: Any, sampling: Sampling, device: str) -> dict[str, float]:
    """`cost/parameters` and `cost/flops`, floating-point operations of matrix products and convolutions for one clip of
    which all is present; a product and a sum are two. Attention is counted as the two products that it is."""
    inputs = _blank(sampling).to(torch.device(device))
    counter = FlopCounterMode(display=False)
    with torch.inference_mode(), sdpa_kernel(SDPBackend.MATH), counter:
        predictor(inputs)
    parameters = sum(parameter.numel() for parameter in predictor.parameters())
    return {"cost/parameters": float(parameters), "cost/flops": float(counter.get_total_flops())}


def _blank(sampling: Sampling) -> Inputs:
    """A black and silent clip, as it is opened."""
    segments, size = sampling.segments, sampling.size
    return Inputs(
        video=torch.zeros((1, segments, sampling.frames, size, size, 3), dtype=torch.uint8),
        audio=torch.zeros((1, segments, FRAMES, sampling.mels)),
        words=(((),) * segments,),
        present=torch.ones((1, 3), dtype=torch.bool),
    )
