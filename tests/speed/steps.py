"""Time one kind of training step, with matrix products before and after each step, and print the result as JSON.

`python -m tests.speed.steps mart --steps 5 --set recompute=true`
"""

from __future__ import annotations

import argparse
import json
import math
import os
import resource
import statistics
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from typing import Any

os.environ.setdefault("THP_MEM_ALLOC_ENABLE", "1")  # as in bench.py

import torch
from timm.models.vision_transformer import Block
from torch import Tensor, nn

from bench.config import parse_overrides
from bench.loader import collate
from bench.rng import RngTree
from bench.training import TrainConfig, _make_optimizer
from bench.types import Batch
from methods.mart.config import MartConfig, ReleasedConfig
from methods.mart.masking import compute_mask_ratio, count_visible_tokens
from methods.mart.pretraining import MartObjective, MartPredictor
from methods.mart_released import ReleasedObjective
from methods.mbt.config import MbtConfig
from methods.mbt.model import Mbt
from methods.mbt.supervised import MbtPredictor, SupervisedObjective
from tests.methods.mart.toys import CARD, MART, spoken_clips
from tests.speed import flops

WORDS, CUES = 3, 2  # words and cues in the toy segment with the most words
CLIP_NORM = 5.0
CUDA = torch.cuda.is_available()
DEVICE = torch.device("cuda" if CUDA else "cpu")


@dataclass(frozen=True)
class Timed:
    """Seconds of each step, its FLOP, and its rate as a share of the surrounding matrix products' rate."""

    seconds: list[float]
    flop: int
    shares: list[float]
    matmul: float  # FLOP/s, median
    peak_gb: float
    spent: dict[str, float]  # seconds of named parts in the last step

    @property
    def step(self) -> float:
        """Return the median seconds of a step."""
        return statistics.median(self.seconds)

    @property
    def share(self) -> float:
        """Return the median share of the product's rate."""
        return statistics.median(self.shares)


class Plain(nn.Module):
    """Blocks of timm for the matrix products of a MART step only: two encoder passes and two decoders."""

    def __init__(self, config: MartConfig, ratio: float) -> None:
        super().__init__()
        video_grid, audio_grid = flops.grids(config)
        video, audio = math.prod(video_grid), math.prod(audio_grid)
        seen = (
            count_visible_tokens(config.mask, ratio, video_grid, 0),
            count_visible_tokens(config.mask, ratio, audio_grid, 1),
        )
        self.apart, self.between = config.depth - config.fusion_depth, config.bottleneck
        self.lengths = [(video + 1, seen[0] + 1), (audio + 2, seen[1] + 2)]
        self.towers = nn.ModuleList(_timm(config.width, config.depth, config.heads) for _ in range(2))
        self.decoders = nn.ModuleList(
            _timm(config.decoder_width, config.decoder_depth, config.decoder_heads) for _ in range(2)
        )
        self.segments, self.width, self.own = config.segments, config.width, config.decoder_width

    def forward(self, batch: Batch) -> Tensor:
        """Return the sum of all outputs as a loss."""
        total = torch.zeros((), device=DEVICE)
        for tower, decoder, lengths in zip(self.towers, self.decoders, self.lengths, strict=True):
            for length in lengths:
                x = torch.randn(self.segments, length, self.width, device=DEVICE)
                for index, block in enumerate(tower):
                    if index == self.apart:
                        x = torch.cat([x, x[:, : self.between]], 1)
                    x = block(x)
                total = total + x.mean()
            x = torch.randn(self.segments, lengths[0], self.own, device=DEVICE)
            for block in decoder:
                x = block(x)
            total = total + x.mean()
        return total


def _timm(width: int, depth: int, heads: int) -> nn.ModuleList:
    return nn.ModuleList(Block(width, heads, qkv_bias=True) for _ in range(depth))


def make(kind: str, overrides: dict[str, Any], progress: float) -> tuple[nn.Module, Batch, int, MbtConfig]:
    """Return the objective of a kind of step, a batch of one clip, the FLOP of the step, and the config."""
    streams, classes = RngTree(0), len(CARD.classes)
    model: nn.Module
    if kind == "released":
        released = ReleasedConfig().override(overrides)
        model = ReleasedObjective(MbtPredictor(Mbt(released, classes, streams), CARD.task), released, CARD, streams)
        return model, _batch(released, progress), flops.released(released, WORDS), released
    if kind == "finetune":
        config = MbtConfig().override(overrides)
        model = SupervisedObjective(
            MbtPredictor(Mbt(config, classes, streams), CARD.task), CARD, config.polarity_weight
        )
        return model, _batch(config, progress), flops.fine_tuning(config), config
    mart = MartConfig().override(overrides)
    ratio = compute_mask_ratio(mart, progress)
    if kind == "plain":
        work = 3 * mart.segments * sum(_plain_forward(mart, ratio))
        return Plain(mart, ratio), _batch(mart, progress), work, mart
    model = MartObjective(MartPredictor(Mbt(mart, classes, streams), mart, CARD), mart, CARD, streams)
    return model, _batch(mart, progress), flops.pre_training(mart, CUES, ratio), mart


def _plain_forward(config: MartConfig, ratio: float) -> Iterator[int]:
    video_grid, audio_grid = flops.grids(config)
    video, audio = math.prod(video_grid), math.prod(audio_grid)
    yield flops.encoders(config, video, audio)
    yield flops.encoders(
        config,
        count_visible_tokens(config.mask, ratio, video_grid, 0),
        count_visible_tokens(config.mask, ratio, audio_grid, 1),
    )
    yield config.decoder_depth * (
        flops.block(video + 1, config.decoder_width) + flops.block(audio + 2, config.decoder_width)
    )


def _batch(config: MbtConfig, progress: float) -> Batch:
    sampling = MART.sampling(config, True)
    inputs = collate([spoken_clips("train", 1).read(0, sampling, RngTree(0), 0)]).to(DEVICE)
    return Batch(inputs, torch.tensor([0], device=DEVICE), ("sad/train0",), 0, progress)


def watch(model: nn.Module) -> dict[str, float]:
    """Time MART's own parts (scores, cues, words, verification, masks); return a dict that the next steps fill."""
    spent: dict[str, float] = {}
    if isinstance(model, MartObjective):
        for name in ("score_segments", "find_cues", "verify"):
            _watch(model.predictor, name, spent)
        for name in ("_hide_tokens", "_make_mask_inputs", "_measure_masks"):
            _watch(model, name, spent)
        _watch(model.words, "forward", spent, "words")
    return spent


def _watch(owner: Any, name: str, spent: dict[str, float], label: str = "") -> None:
    inner: Callable[..., Any] = getattr(owner, name)

    def timed(*given: Any) -> Any:
        start = time.perf_counter()
        result = inner(*given)
        spent[label or name] = spent.get(label or name, 0.0) + time.perf_counter() - start
        return result

    object.__setattr__(owner, name, timed)


def matmul_rate(size: int, dtype: torch.dtype) -> float:
    """Return the FLOP/s of a square matrix product, the best of three."""
    a, b = (torch.randn(size, size, device=DEVICE, dtype=dtype) for _ in range(2))
    best = min(_seconds(lambda: a @ b) for _ in range(3))
    return 2 * size**3 / best


def _seconds(work: Callable[[], object]) -> float:
    _wait()
    start = time.perf_counter()
    work()
    _wait()
    return time.perf_counter() - start


def _wait() -> None:
    if CUDA:
        torch.cuda.synchronize()


def measure(kind: str, steps: int, overrides: dict[str, Any], progress: float, warm: int = 1) -> Timed:
    """Time optimiser steps on one clip, each between matrix products; float32 on a CPU, bf16 on a GPU."""
    model, batch, flop, config = make(kind, overrides, progress)
    optimizer = _make_optimizer(model.to(DEVICE).train(), TrainConfig("x", 1, 1, config.lr, config.weight_decay))
    size, dtype = (8192, torch.bfloat16) if CUDA else (2048, torch.float32)

    def step() -> None:
        with torch.autocast("cuda", torch.bfloat16, enabled=CUDA):
            out = model(batch)
            loss = out if isinstance(out, Tensor) else torch.stack([t.sum() for t in out.terms.values()]).sum()
        loss.backward()  # type: ignore[no-untyped-call]
        torch.nn.utils.clip_grad_norm_(model.parameters(), CLIP_NORM)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)

    for _ in range(warm):
        step()
    matmul_rate(size, dtype)
    seconds, shares, rates = [], [], []
    spent = watch(model)
    for _ in range(steps):
        spent.clear()
        before = matmul_rate(size, dtype)
        seconds.append(_seconds(step))
        rates.append((before + matmul_rate(size, dtype)) / 2)
        shares.append(flop / seconds[-1] / rates[-1])
    peak = torch.cuda.max_memory_allocated() / 1e9 if CUDA else resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6
    return Timed(seconds, flop, shares, statistics.median(rates), peak, dict(spent))


def main() -> None:
    """Measure the requested kind of step and print the result as JSON."""
    parser = argparse.ArgumentParser()
    parser.add_argument("kind", choices=("mart", "plain", "released", "finetune"))
    parser.add_argument("--steps", type=int, default=5)
    parser.add_argument("--warm", type=int, default=1)
    parser.add_argument("--progress", type=float, default=0.5)
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    parser.add_argument("--set", action="append", default=[])
    given = parser.parse_args()
    torch.set_num_threads(given.threads)
    timed = measure(given.kind, given.steps, dict(parse_overrides(given.set)), given.progress, given.warm)
    print(json.dumps(asdict(timed)))


if __name__ == "__main__":
    main()
