"""Training loop of one stage: optimiser, learning-rate schedule, EMA weights, best epoch on val, checkpoints.

The loop is independent of the method: it only calls an objective, an nn.Module whose `forward` maps a batch to named
losses. In a data-parallel fit every process runs this loop on its shard of each batch; the gradient is that of the
whole batch.
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
    """Losses of B clips, one value per clip, so that micro-batches of any size sum to the same gradient.

    terms: name -> (B,), already weighted; the loop minimises the mean over clips of their sum. A term is 0 for a clip
    that it does not apply to. notes: name -> (B,), logged only; NaN for a clip without a value.
    """

    terms: dict[str, Tensor]
    notes: dict[str, Tensor]


@dataclass(frozen=True)
class TrainConfig:
    """Settings of one training stage. The learning rate warms up linearly and decays to zero as half a cosine."""

    name: str
    epochs: int
    batch: int  # clips per step, over all devices
    lr: float  # peak learning rate
    weight_decay: float = 0.0  # not applied to norms, biases, tokens and positions
    warmup: float = 0.0  # share of all steps
    optimizer: Literal["adamw", "adam"] = "adamw"
    clip_norm: float = 0.0  # maximum gradient norm; 0 = no clipping
    ema: float = 0.0  # decay of the averaged weights; 0 = no averaging
    ema_ramp: float = 1.0  # the decay ramps up with step t: ema * (1 - exp(-t / ema_ramp))
    precision: Literal["32-true", "bf16-mixed"] = "32-true"


def train_stage(
    objective: nn.Module,
    clips: ClipSet,
    sampling: Sampling,
    stage: TrainConfig,
    rng: RngTree,
    ctx: FitContext,
    select: Callable[[], dict[str, float]] | None = None,
) -> None:
    """Train `objective` in place, or resume a killed stage from its last checkpoint.

    A checkpoint is written after each epoch, or after several if epochs are short. `select` scores val after each
    epoch, with the EMA weights if there are any. On return `objective` has the weights of the best epoch by
    `val/acc_e`, ties by the smaller `val/loss`; without `select` those of the last epoch. If `ctx.stop` is set, a
    stage with `select` ends after that many epochs of its unchanged schedule, and val is not scored.

    Raises Diverged if a loss is not finite.
    """
    last = stage.epochs
    if select is not None and ctx.stop is not None:
        select, last = None, min(ctx.stop, last)
    run, throttle = _StageRun(objective, clips, sampling, stage, rng, ctx), Throttle()
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
        if throttle.is_due() or epoch + 1 == last:
            with ctx.timer("checkpoint"), throttle():
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
    """Counters, best weights and history of a stage, as stored in its checkpoint."""

    epoch: int = 0
    steps: int = 0
    best: dict[str, Tensor] = field(default_factory=dict)
    best_epoch: int = 0
    best_rank: tuple[float, float] = (-math.inf, -math.inf)
    history: list[dict[str, float]] = field(default_factory=list)


class _StageRun:
    """A running stage, new or resumed from the checkpoint in the context's folder."""

    def __init__(
        self,
        objective: nn.Module,
        clips: ClipSet,
        sampling: Sampling,
        stage: TrainConfig,
        rng: RngTree,
        ctx: FitContext,
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
        """Train for one epoch; return the mean over clips of every term and note. Raises Diverged if the loss is not
        finite."""
        rank = self.ctx.replica.rank
        torch.manual_seed(self.rng.derive_seed("dropout", self.stage.name, epoch, *([rank] if rank else [])))
        self.objective.train()
        total, means = len(self.loader), _ClipMeans()
        batches = self.loader.iterate_epoch(epoch)
        for step in range(total):
            progress = (epoch * total + step) / (self.stage.epochs * total)
            _set_lr(self.optimizer, self.stage, epoch * total + step, self.stage.epochs * total)
            with self.ctx.timer("read"):
                loaded = next(batches)
            with self.ctx.timer("step"):
                self._step(loaded, self.loader.count_clips(step), epoch, progress, means)
            self.ctx.tracker.report_progress(self.stage.name, epoch * total + step + 1, self.stage.epochs * total)
        values = {
            f"{self.stage.name}/{name}": value for name, value in self.ctx.replica.mean(means.compute_means()).items()
        }
        if not math.isfinite(values[f"{self.stage.name}/loss"]):
            raise Diverged(f"{self.stage.name}: the loss of epoch {epoch + 1} is not finite; lower lr or clip_norm")
        return values

    def _step(self, loaded: LoadedBatch, clips: int, epoch: int, progress: float, means: _ClipMeans) -> None:
        """Take one optimiser step on a batch of `clips` clips; `loaded` is this process's shard of it.

        Shards and micro-batches sum to the gradient of the whole batch. DDP averages over processes, once, at the last
        micro-batch; hence the division by `clips / world_size`.
        """
        shard, device, replica = len(loaded.indices), self.fabric.device, self.ctx.replica
        idle, micro_batch = replica.is_idle(clips), self.ctx.micro_batch or shard
        targets = torch.tensor([self.clips.clips[index].target for index in loaded.indices])
        keys = tuple(self.clips.clips[index].key for index in loaded.indices)
        for start in range(0, shard, micro_batch):
            stop = min(shard, start + micro_batch)
            inputs = slice_batch(loaded.inputs, start, stop).to(device)
            target = targets[start:stop].to(device, non_blocking=True)
            batch = Batch(inputs, target, keys[start:stop], epoch, progress)
            with self.fabric.no_backward_sync(self.step_module, enabled=stop < shard):
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
        """Swap the EMA weights into the objective for the duration of a block."""
        if self.ema is not None:
            self.ema.swap()
        try:
            yield
        finally:
            if self.ema is not None:
                self.ema.swap()

    def update_best(self, epoch: int, values: dict[str, float]) -> None:
        """Copy the weights if the epoch is the best so far."""
        rank = (values["val/acc_e"], -values["val/loss"])
        if rank > self.state.best_rank:
            self.state.best_rank, self.state.best_epoch = rank, epoch
            self.state.best = {name: value.detach().clone() for name, value in self.objective.state_dict().items()}

    def restore_best(self) -> None:
        """Load the weights of the best epoch; if val was not scored, the EMA weights of the last epoch."""
        if self.state.best:
            self.objective.load_state_dict(self.state.best)
        elif self.ema is not None:
            self.ema.swap()

    def save(self) -> None:
        """Write the checkpoint atomically, on rank 0 only; every rank can load it."""
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
        """Restore the state of the checkpoint."""
        state: dict[str, Any] = torch.load(self.checkpoint_path, map_location=self.fabric.device, weights_only=True)
        self.state = _StageState(**state["state"])
        self.objective.load_state_dict(state["objective"])
        self.optimizer.load_state_dict(state["optimizer"])
        if self.ema is not None:
            self.ema.weights = state["ema"]


class _OpaqueBatch:
    """Wrapper that keeps Fabric from copying the batch, as it does with every collection type that it supports."""

    def __init__(self, batch: Batch) -> None:
        self.batch = batch


class _BatchUnwrapper(nn.Module):
    """The module that DDP wraps: unpacks the batch, calls the objective and detaches the notes."""

    def __init__(self, objective: nn.Module) -> None:
        super().__init__()
        self.objective = objective

    def forward(self, wrapped: _OpaqueBatch) -> Losses:
        losses: Losses = self.objective(wrapped.batch)
        return Losses(losses.terms, {name: value.detach() for name, value in losses.notes.items()})


class _Ema:
    """Exponential moving average of an objective's parameters; buffers are not averaged."""

    def __init__(self, objective: nn.Module) -> None:
        self.parameters = [p for p in objective.parameters() if p.requires_grad]
        self.weights = [p.detach().clone() for p in self.parameters]

    def update(self, decay: float) -> None:
        """Update the average: decay * average + (1 - decay) * parameters."""
        torch._foreach_lerp_(self.weights, [p.detach() for p in self.parameters], 1 - decay)

    def swap(self) -> None:
        """Exchange the averaged and the trained weights."""
        with torch.no_grad():
            for parameter, weight in zip(self.parameters, self.weights, strict=True):
                previous = parameter.detach().clone()
                parameter.copy_(weight)
                weight.copy_(previous)


class _ClipMeans:
    """Means over the clips of an epoch; values stay on the device until the end, so that no step waits for them."""

    def __init__(self) -> None:
        self.values: dict[str, list[Tensor]] = {}

    def add(self, losses: Losses) -> None:
        """Add the values of a micro-batch."""
        total = torch.stack([term.detach() for term in losses.terms.values()]).sum(0)
        for name, value in {**losses.terms, **losses.notes, "loss": total}.items():
            self.values.setdefault(name, []).append(value.detach().float())

    def compute_means(self) -> dict[str, tuple[float, int]]:
        """Return name -> (mean over the clips with a value, their number), without names that have no value."""
        means = {}
        for name, parts in self.values.items():
            values = torch.cat(parts)
            known = values if name == "loss" else values[~values.isnan()]
            if len(known):
                means[name] = float(known.mean()), len(known)
        return means


def _make_fabric(ctx: FitContext, precision: str) -> Fabric:
    """Return the Fabric of this process, with DDP if several processes share the fit.

    A step may leave any parameter without gradient, hence `find_unused_parameters`. Buffers are equal on all ranks.
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


def _make_optimizer(objective: nn.Module, stage: TrainConfig) -> torch.optim.Optimizer:
    """Return AdamW, or Adam, without weight decay on norms, biases, tokens and positions."""
    decayed: list[nn.Parameter] = []
    undecayed: list[nn.Parameter] = []
    for name, parameter in objective.named_parameters():
        if parameter.requires_grad:
            last = name.rsplit(".", 1)[-1]
            exempt = parameter.ndim <= 1 or "token" in last or "position" in last
            (undecayed if exempt else decayed).append(parameter)
    groups = [{"params": decayed, "weight_decay": stage.weight_decay}, {"params": undecayed, "weight_decay": 0.0}]
    make: Callable[..., torch.optim.Optimizer] = torch.optim.AdamW if stage.optimizer == "adamw" else torch.optim.Adam
    return make([group for group in groups if group["params"]], lr=stage.lr, fused=True)


def _set_lr(optimizer: torch.optim.Optimizer, stage: TrainConfig, step: int, steps: int) -> None:
    """Set the learning rate of a step: linear warm-up, then half a cosine down to zero."""
    warmup = stage.warmup * steps
    if step < warmup:
        factor = (step + 1) / (warmup + 1)
    else:
        factor = 0.5 * (1 + math.cos(math.pi * (step - warmup) / max(1.0, steps - warmup)))
    for group in optimizer.param_groups:
        group["lr"] = stage.lr * factor
