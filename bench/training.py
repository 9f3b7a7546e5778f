"""The training loop: epochs of one stage, averaged weights, early stopping on val, and checkpoints.

The loop knows no method: it is given a module whose `forward` maps a batch to named losses, and calls nothing else of
it. Where several devices share the fit, each runs this loop on its part of every batch, and the gradients are those of
the batch as a whole.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Literal, NamedTuple

import torch
from lightning_fabric import Fabric
from lightning_fabric.plugins.environments import LightningEnvironment
from lightning_fabric.strategies import DDPStrategy
from torch import Tensor, nn

from bench.errors import Diverged
from bench.files import atomic_path
from bench.loader import LoadedBatch, Loader, slice_batch
from bench.method import FitContext
from bench.rng import RngTree
from bench.timing import Throttle
from bench.types import Batch, ClipSet, Sampling


class Losses(NamedTuple):
    """What an objective says of B clips. A value a clip rather than a mean, so that batches of any size add up.

    terms: name -> (B,), already weighted; the loop minimises the mean over clips of their sum. A clip that a
    term leaves out holds 0. notes: name -> (B,), logged only; NaN where a clip has no value.
    """

    terms: dict[str, Tensor]
    notes: dict[str, Tensor]


@dataclass(frozen=True)
class Stage:
    """One stage of training: how long and how; the learning rate warms up linearly, then falls as a cosine."""

    name: str
    epochs: int
    batch: int  # clips a step
    lr: float
    weight_decay: float = 0.0  # none on norms, biases, tokens and positions
    warmup: float = 0.0  # share of all steps
    optimizer: Literal["adamw", "adam"] = "adamw"
    clip_norm: float = 0.0  # largest norm of the gradient; 0 = as it is
    ema: float = 0.0  # decay of the averaged weights; 0 = none
    ema_ramp: float = 1.0  # steps t over which it ramps up: ema * (1 - exp(-t / ema_ramp))
    precision: Literal["32-true", "bf16-mixed"] = "32-true"


def train_stage(
    objective: nn.Module,
    clips: ClipSet,
    sampling: Sampling,
    stage: Stage,
    rng: RngTree,
    ctx: FitContext,
    select: Callable[[], dict[str, float]] | None = None,
) -> None:
    """Train `objective` in place; a stage that was killed goes on after the last epoch that was kept: the newest, but
    where epochs are short one of a few seconds before.

    `select` scores val after each epoch with the averaged weights in place; the best epoch by `val/acc_e`, ties
    by the smaller `val/loss`, is what `objective` carries on return (without `select`: the last epoch). Where the
    context says when to stop, a stage with `select` does so, on its unchanged schedule, and val is not looked at.
    Raises Diverged when a loss is not finite.
    """
    last = stage.epochs
    if select is not None and ctx.stop is not None:
        select, last = None, min(ctx.stop, last)
    run, pace = _StageRun(objective, clips, sampling, stage, rng, ctx), Throttle()
    ctx.tracker.report_epoch(stage.name, run.state.epoch, last, {})
    for epoch in range(run.state.epoch, last):
        values = run.train_epoch(epoch)
        with run.averaged_weights():
            if select is not None:
                objective.eval()
                values |= ctx.replica.broadcast(select())
                run.update_best(epoch, values)
        run.state.epoch = epoch + 1
        run.state.history.append(values)
        if pace.is_due() or epoch + 1 == last:
            with ctx.timer("checkpoint"), pace():
                ctx.tracker.before_checkpoint()
                run.save()
        with ctx.timer("log"):
            ctx.tracker.report_epoch(stage.name, epoch + 1, last, values)
            ctx.tracker.log_epoch(stage.name, epoch, values)
    run.restore_best()
    if select is not None:
        ctx.tracker.log_selected_epoch(run.state.best_epoch + 1)
    objective.eval()


@dataclass
class _StageState:
    """Everything that a killed stage needs to go on."""

    epoch: int = 0
    steps: int = 0
    best: dict[str, Tensor] = field(default_factory=dict)
    best_epoch: int = 0
    best_rank: tuple[float, float] = (-math.inf, -math.inf)
    history: list[dict[str, float]] = field(default_factory=list)


class _StageRun:
    """A stage under way: a fresh one, or the one whose checkpoint lies in the context's folder."""

    def __init__(
        self, objective: nn.Module, clips: ClipSet, sampling: Sampling, stage: Stage, rng: RngTree, ctx: FitContext
    ) -> None:
        self.objective, self.clips, self.stage, self.rng, self.ctx = objective, clips, stage, rng, ctx
        self.loader = Loader(clips, sampling, rng, stage.batch, ctx, shuffle=True)
        self.state = _StageState()
        self.fabric = _make_fabric(ctx, stage.precision)
        self.step_module, self.optimizer = self.fabric.setup(
            _BatchUnwrapper(objective), _make_optimizer(objective, stage)
        )
        self.ema = _Ema(objective) if stage.ema else None
        self.checkpoint_path = ctx.folder / f"{stage.name}.pt"
        if self.checkpoint_path.exists():
            self.load()
            for epoch, values in enumerate(self.state.history):
                ctx.tracker.log_epoch(stage.name, epoch, values)

    def train_epoch(self, epoch: int) -> dict[str, float]:
        """One pass over the clips; the mean of every term and note."""
        rank = self.ctx.replica.rank
        torch.manual_seed(self.rng.derive_seed("dropout", self.stage.name, epoch, *([rank] if rank else [])))
        self.objective.train()
        total, means = len(self.loader), _ClipMeans()
        reads = self.loader.iterate_epoch(epoch)
        for step in range(total):
            progress = (epoch * total + step) / (self.stage.epochs * total)
            _set_lr(self.optimizer, self.stage, epoch * total + step, self.stage.epochs * total)
            with self.ctx.timer("read"):
                read = next(reads)
            with self.ctx.timer("step"):
                self._step(read, self.loader.count_clips(step), epoch, progress, means)
            self.ctx.tracker.report_progress(self.stage.name, epoch * total + step + 1, self.stage.epochs * total)
        values = {
            f"{self.stage.name}/{name}": value for name, value in self.ctx.replica.mean(means.compute_means()).items()
        }
        if not math.isfinite(values[f"{self.stage.name}/loss"]):
            raise Diverged(f"{self.stage.name}: the loss is not a number after epoch {epoch}; lower lr or clip_norm")
        return values

    def _step(self, read: LoadedBatch, clips: int, epoch: int, progress: float, means: _ClipMeans) -> None:
        """One optimiser step on a batch of `clips` clips, of which `read` holds this process's share.

        Shares and micro-batches add up to the same gradient as the batch as a whole: the wrapping averages over
        processes, hence `clips / world`, and does so once, with the last micro-batch.
        """
        own, device, replica = len(read.indices), self.fabric.device, self.ctx.replica
        idle, at_once = replica.is_idle(clips), self.ctx.micro_batch or own
        labels = torch.tensor([self.clips.clips[index].target for index in read.indices])
        keys = tuple(self.clips.clips[index].key for index in read.indices)
        for start in range(0, own, at_once):
            stop = min(own, start + at_once)
            inputs = slice_batch(read.inputs, start, stop).to(device)
            label = labels[start:stop].to(device, non_blocking=True)
            batch = Batch(inputs, label, keys[start:stop], epoch, progress)
            with self.fabric.no_backward_sync(self.step_module, enabled=stop < own):
                losses: Losses = self.step_module(_OpaqueBatch(batch))
                loss = torch.stack([term.sum() for term in losses.terms.values()]).sum()
                self.fabric.backward(loss * 0 if idle else loss / (clips / replica.world_size))
            if not idle:
                means.add(losses)
        if self.stage.clip_norm:
            self.fabric.clip_gradients(
                self.step_module, self.optimizer, max_norm=self.stage.clip_norm, error_if_nonfinite=False
            )
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)
        self.state.steps += 1
        if self.ema is not None:
            self.ema.update(self.stage.ema * (1 - math.exp(-self.state.steps / self.stage.ema_ramp)))

    @contextmanager
    def averaged_weights(self) -> Iterator[None]:
        """A block in which the objective carries its averaged weights."""
        if self.ema is not None:
            self.ema.swap()
        try:
            yield
        finally:
            if self.ema is not None:
                self.ema.swap()

    def update_best(self, epoch: int, values: dict[str, float]) -> None:
        """Remember the weights of the best epoch so far."""
        rank = (values["val/acc_e"], -values["val/loss"])
        if rank > self.state.best_rank:
            self.state.best_rank, self.state.best_epoch = rank, epoch
            self.state.best = {name: value.detach().clone() for name, value in self.objective.state_dict().items()}

    def restore_best(self) -> None:
        """Put the weights of the best epoch in place; where nothing ranked them, the averages of the last one."""
        if self.state.best:
            self.objective.load_state_dict(self.state.best)
        elif self.ema is not None:
            self.ema.swap()

    def save(self) -> None:
        """Write the checkpoint, whole or not at all; of several processes the first does, and all can load it."""
        if self.ctx.replica.rank:
            return
        state = {
            "state": {**vars(self.state)},
            "objective": self.objective.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "ema": self.ema.weights if self.ema is not None else [],
        }
        with atomic_path(self.checkpoint_path) as temporary:
            torch.save(state, temporary)

    def load(self) -> None:
        """Take the checkpoint back."""
        state: dict[str, Any] = torch.load(self.checkpoint_path, map_location=self.fabric.device, weights_only=True)
        self.state = _StageState(**state["state"])
        self.objective.load_state_dict(state["objective"])
        self.optimizer.load_state_dict(state["optimizer"])
        if self.ema is not None:
            self.ema.weights = state["ema"]


class _OpaqueBatch:
    """A batch that fabric does not walk through: it copies whatever it knows to be a collection."""

    def __init__(self, batch: Batch) -> None:
        self.batch = batch


class _BatchUnwrapper(nn.Module):
    """The objective behind the one door that data-parallel wrapping sees."""

    def __init__(self, objective: nn.Module) -> None:
        super().__init__()
        self.objective = objective

    def forward(self, sealed: _OpaqueBatch) -> Losses:
        losses: Losses = self.objective(sealed.batch)
        return Losses(losses.terms, {name: value.detach() for name, value in losses.notes.items()})


class _Ema:
    """The running average of an objective's parameters (buffers are taken as they are)."""

    def __init__(self, objective: nn.Module) -> None:
        self.parameters = [p for p in objective.parameters() if p.requires_grad]
        self.weights = [p.detach().clone() for p in self.parameters]

    def update(self, decay: float) -> None:
        """Move the average towards the parameters by 1 - decay."""
        torch._foreach_lerp_(self.weights, [p.detach() for p in self.parameters], 1 - decay)

    def swap(self) -> None:
        """Exchange the average and the parameters."""
        with torch.no_grad():
            for parameter, weight in zip(self.parameters, self.weights, strict=True):
                kept = parameter.detach().clone()
                parameter.copy_(weight)
                weight.copy_(kept)


class _ClipMeans:
    """Means over the clips of an epoch, kept on the device until they are asked for."""

    def __init__(self) -> None:
        self.values: dict[str, list[Tensor]] = {}

    def add(self, losses: Losses) -> None:
        """Note the values of a few clips."""
        total = torch.stack([term.detach() for term in losses.terms.values()]).sum(0)
        for name, value in {**losses.terms, **losses.notes, "loss": total}.items():
            self.values.setdefault(name, []).append(value.detach().float())

    def compute_means(self) -> dict[str, tuple[float, int]]:
        """Name -> mean over the clips that have a value, and their number; a name without any is left out."""
        found = {}
        for name, parts in self.values.items():
            value = torch.cat(parts)
            known = value if name == "loss" else value[~value.isnan()]
            if len(known):
                found[name] = float(known.mean()), len(known)
        return found


def _make_fabric(ctx: FitContext, precision: str) -> Fabric:
    """The device of this process; of several, with gradients that are averaged over all of them.

    Which parameters a step leaves without gradient may change, so it is looked up each time. Buffers are equal anyway.
    """
    accelerator = "cuda" if ctx.device.startswith("cuda") else "cpu"
    if ctx.replica.world_size == 1:
        return Fabric(accelerator=accelerator, devices=1, precision=precision)
    strategy = DDPStrategy(
        cluster_environment=LightningEnvironment(), find_unused_parameters=True, broadcast_buffers=False
    )
    fabric = Fabric(accelerator=accelerator, devices=ctx.replica.world_size, strategy=strategy, precision=precision)
    fabric.launch()
    return fabric


def _make_optimizer(objective: nn.Module, stage: Stage) -> torch.optim.Optimizer:
    """Adam with decoupled weight decay (or plain), none of it on norms, biases, tokens and positions."""
    decayed: list[nn.Parameter] = []
    free: list[nn.Parameter] = []
    for name, parameter in objective.named_parameters():
        if parameter.requires_grad:
            last = name.rsplit(".", 1)[-1]
            bare = parameter.ndim <= 1 or "token" in last or "position" in last
            (free if bare else decayed).append(parameter)
    groups = [{"params": decayed, "weight_decay": stage.weight_decay}, {"params": free, "weight_decay": 0.0}]
    make: Callable[..., torch.optim.Optimizer] = torch.optim.AdamW if stage.optimizer == "adamw" else torch.optim.Adam
    return make([group for group in groups if group["params"]], lr=stage.lr, fused=True)


def _set_lr(optimizer: torch.optim.Optimizer, stage: Stage, step: int, steps: int) -> None:
    """Linear warm-up over the first share of the steps, then half a cosine down to zero."""
    ahead = stage.warmup * steps
    if step < ahead:
        factor = (step + 1) / (ahead + 1)
    else:
        factor = 0.5 * (1 + math.cos(math.pi * (step - ahead) / max(1.0, steps - ahead)))
    for group in optimizer.param_groups:
        group["lr"] = stage.lr * factor
