"""Fits for tests of data-parallel training, importable by its processes: one stores every gradient, one fails.

This module imports no method, which would take each process seconds; tests/bench/together_methods.py does.
"""

from __future__ import annotations

import os
import signal
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim.optimizer import register_optimizer_step_pre_hook

from bench.method import FitContext
from bench.training import Losses, TrainConfig, train_stage
from bench.types import Batch, DatasetInfo
from tests.toys import TOY, ToyConfig, number_clips, sampling


class NamedTensors:
    """A predictor that only holds named tensors."""

    def __init__(self) -> None:
        self.tensors: dict[str, Tensor] = {}

    def state_dict(self) -> dict[str, Tensor]:
        return self.tensors

    def load_state_dict(self, state_dict: dict[str, Tensor]) -> None:
        self.tensors = state_dict

    def to(self, device: Any) -> NamedTensors:
        return self


def nothing(config: ToyConfig, card: DatasetInfo) -> Any:
    return NamedTensors()


class Regression(nn.Module):
    """Two layers and an unused one; the second layer is only used for clips of class 0."""

    def __init__(self, drop: float = 0.0) -> None:
        super().__init__()
        torch.manual_seed(1)
        self.first, self.second, self.unused = nn.Linear(3, 3), nn.Linear(3, 3), nn.Linear(3, 3)
        self.dropout = nn.Dropout(drop)

    def forward(self, batch: Batch) -> Losses:
        out = self.first(self.dropout(batch.inputs.audio.mean((1, 2))))
        if bool((batch.target == 0).any()):
            out = out + self.second(out) * (batch.target == 0)[:, None]
        loss = nn.functional.cross_entropy(out, batch.target, reduction="none")
        return Losses({"label": loss}, {"half": torch.where(batch.target == 0, torch.nan, loss * 2)})


STAGE = TrainConfig("even", 2, 6, 0.01, weight_decay=0.1, warmup=0.2, ema=0.5)
STAGES = {  # of 15 clips
    "even": (replace(STAGE, epochs=1), None, 6),
    "uneven": (replace(STAGE, batch=7), None, 15),  # 7, 7 and 1 clips: rank 1 has none of the last batch
    "odd": (replace(STAGE, batch=9, clip_norm=0.1), 2, 15),  # micro-batches of 2, 2, 1 and 2, 2
    "group": (replace(STAGE, batch=7, accumulate=3), 3, 15),  # one step; rank 1 has none of its last batch
    "sgd": (replace(STAGE, optimizer="sgd", momentum=0.9, clip_value=0.1, accumulate=2, lr_scales={"first": 2}), 2, 15),
}


def every_gradient(ctx: FitContext) -> Any:
    """Train the stages above; return the gradients of each step and the final weights as tensors."""
    predictor = NamedTensors()
    steps: list[dict[str, Tensor]] = []
    hook = register_optimizer_step_pre_hook(lambda optimizer, *_: steps.append(_gradients(optimizer)))
    for name, (stage, micro_batch, count) in STAGES.items():
        objective, few = Regression(), replace(number_clips("train", 5), clips=number_clips("train", 5).clips[:count])
        steps.clear()
        context = replace(at(ctx, name, micro_batch), train=few)
        train_stage(objective, sampling(ctx.config, True), replace(stage, name=name), context)
        predictor.tensors |= {f"{name}/{i}/{key}": g for i, step in enumerate(steps) for key, g in step.items()}
        predictor.tensors |= {f"{name}/{key}": value for key, value in objective.state_dict().items()}
    hook.remove()
    for name, value in _killed_and_resumed(ctx).items():
        predictor.tensors[f"resumed/{name}"] = value
    return predictor


def one_breaks(ctx: FitContext) -> Any:
    """Fit the toy, with an error or a SIGKILL in the second process at its first step."""

    def break_down(*_: Any) -> None:
        if ctx.replica.rank == 1:
            if ctx.config.fail == "kill":
                os.kill(os.getpid(), signal.SIGKILL)
            raise torch.OutOfMemoryError("CUDA out of memory in the toy")

    with register_optimizer_step_pre_hook(break_down):
        return TOY.fit(replace(ctx, config=ctx.config.override({"fail": ""})))


def _gradients(optimizer: torch.optim.Optimizer) -> dict[str, Tensor]:
    parameters = [p for group in optimizer.param_groups for p in group["params"]]
    return {str(i): p.grad.clone() for i, p in enumerate(parameters) if p.grad is not None}


def at(ctx: FitContext, name: str, micro_batch: int | None = None) -> FitContext:
    """Return a context with its own checkpoint folder."""
    return replace(ctx, folder=ctx.folder / name, micro_batch=micro_batch)


class Stopped(Exception):
    """Simulates a kill."""


def _killed_and_resumed(ctx: FitContext) -> dict[str, Tensor]:
    """Return the differences between the weights of an uninterrupted and of a resumed stage of three epochs."""

    class Fragile(Regression):
        def forward(self, batch: Batch) -> Losses:
            if batch.epoch == 1:
                raise Stopped
            return super().forward(batch)

    def run(objective: nn.Module, folder: str) -> nn.Module:
        stage = replace(STAGE, name="dropout", epochs=3)
        train_stage(objective, sampling(ctx.config, True), stage, at(ctx, folder))
        return objective

    uninterrupted = run(Regression(0.5), "undisturbed")
    try:
        run(Fragile(0.5), "stopped")
        raise AssertionError("nothing stopped it")
    except Stopped:
        resumed = run(Regression(0.5), "stopped")
    return {name: value - resumed.state_dict()[name] for name, value in uninterrupted.state_dict().items()}
