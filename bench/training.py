"""Training loop of one stage: optimiser, learning-rate schedule, EMA weights, best epoch on val, checkpoints.

The loop is independent of the method: it only calls an objective, an nn.Module whose `forward` maps a batch to named
losses. In a data-parallel fit every process runs this loop on its shard of each batch; the gradient is that of the
whole batch. Batches of a coupled method (`Method.coupled`) are never divided into micro-batches, and its batch norms
are synchronised over the processes.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, fields
from difflib import get_close_matches
from typing import Any, Literal, NamedTuple, get_args

import torch
from lightning_fabric import Fabric
from lightning_fabric.plugins.environments import LightningEnvironment
from lightning_fabric.strategies import DDPStrategy
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from bench.errors import ConfigError, Diverged
from bench.files import atomic_path
from bench.loader import LoadedBatch, Loader, make_target_tensor, slice_batch
from bench.method import FitContext
from bench.timing import Throttle
from bench.types import Batch, Sampling


class Losses(NamedTuple):
    """Losses of a batch of B clips.

    terms: name -> (B,), already weighted; the loop minimises the mean over clips of their sum. A term is 0 for a clip
    that it does not apply to. notes: name -> (B,), logged only; NaN for a clip without a value. whole: name -> scalar
    of the whole batch, already weighted, for coupled methods on one device only; added once a batch.

    The gradient of a step is that of the sum of terms over all clips of the step, divided by their number, plus the
    sum of whole losses over its batches, divided by their number. Without whole losses and batch norms any division
    into batches and micro-batches gives the same gradient.
    """

    terms: dict[str, Tensor]
    notes: dict[str, Tensor]
    whole: dict[str, Tensor] = {}  # noqa: RUF012


Schedule = Literal["cosine", "constant", "plateau"]
Optimizer = Literal["adamw", "adam", "sgd"]
Precision = Literal["32-true", "bf16-mixed"]
POSITIVE = ("batch", "ema_ramp", "plateau_factor", "plateau_patience", "accumulate")  # fields that may not be 0
SHARES = ("warmup", "momentum", "ema", "plateau_factor")  # fields of at most 1


@dataclass(frozen=True)
class TrainConfig:
    """Settings of one training stage. Raises ConfigError for a value out of range.

    A step is an update of the weights; it has one batch, or `accumulate` batches.
    """

    name: str
    epochs: int
    batch: int  # clips per batch, over all devices
    lr: float  # peak learning rate
    weight_decay: float = 0.0  # not applied to norms, biases, tokens and positions
    warmup: float = 0.0  # share of all steps, at the start, in which the rate rises linearly
    optimizer: Optimizer = "adamw"
    clip_norm: float = 0.0  # maximum norm of the gradient; 0 = no clipping
    ema: float = 0.0  # decay of the averaged weights, per step; 0 = no averaging
    ema_ramp: float = 1.0  # the decay ramps up with step t: ema * (1 - exp(-t / ema_ramp))
    precision: Precision = "32-true"
    schedule: Schedule = "cosine"  # after the warm-up: half a cosine to zero, constant, or lower on a plateau of val
    plateau_factor: float = 0.1  # plateau: multiplies the rate at each reduction
    plateau_patience: int = 10  # plateau: epochs without a new best epoch on val before each reduction
    momentum: float = 0.0  # of sgd
    clip_value: float = 0.0  # maximum absolute value of each element of the gradient; 0 = no clipping
    patience: int = 0  # end the stage after so many epochs without a new best epoch on val; 0 = never
    lr_scales: dict[str, float] = field(default_factory=dict)  # module or parameter of the objective -> factor of lr
    accumulate: int = 1  # batches per step

    def __post_init__(self) -> None:
        """Check all values."""
        for name, known in (("schedule", Schedule), ("optimizer", Optimizer), ("precision", Precision)):
            value = getattr(self, name)
            if value not in get_args(known):
                raise ConfigError(f"{self.name}: unknown {name} '{value}'; use {', '.join(get_args(known))}")
        numbers = {item.name: getattr(self, item.name) for item in fields(self)} | {
            f"lr_scales of '{name}'": scale for name, scale in self.lr_scales.items()
        }
        for name, value in numbers.items():
            if isinstance(value, int | float):
                self._check_range(name, value)
        if self.clip_norm and self.clip_value:
            raise ConfigError(f"{self.name}: clip_norm and clip_value are both set; set one of them to 0")

    def _check_range(self, name: str, value: float) -> None:
        limit = 1 if name in SHARES else math.inf
        if not (0 <= value <= limit and math.isfinite(value)) or (value == 0 and name in POSITIVE):
            least = "more than 0" if name in POSITIVE else "0 or more"
            raise ConfigError(f"{self.name}: {name} is {value}; use {least}" + ", at most 1" * (name in SHARES))

    def needs_val(self) -> str:
        """Return the name and value of the setting that needs scores on val; empty if there is none."""
        if self.schedule == "plateau":
            return "schedule 'plateau'"
        return f"patience {self.patience}" if self.patience else ""

    def compute_rate(self, step: int, steps: int) -> float:
        """Return the learning rate of a step, without the reductions on a plateau."""
        warmup = self.warmup * steps
        if step < warmup:
            factor = (step + 1) / (warmup + 1)
        elif self.schedule == "cosine":
            factor = 0.5 * (1 + math.cos(math.pi * (step - warmup) / max(1.0, steps - warmup)))
        else:
            factor = 1.0
        return self.lr * factor


def train_stage(
    objective: nn.Module,
    sampling: Sampling,
    config: TrainConfig,
    ctx: FitContext,
    select: Callable[[], dict[str, float]] | None = None,
) -> None:
    """Train `objective` in place on `ctx.train`, or resume a killed stage from its last checkpoint.

    A checkpoint is written after each epoch, or after several if epochs are short. `select` scores val after each
    epoch, with the EMA weights if there are any. On return `objective` has the weights of the best epoch by
    `ctx.metric`, ties by the smaller `val/loss`; without `select` those of the last epoch. EMA weights are used with
    the buffers of the trained weights, such as running statistics of batch norms.

    If `ctx.stop` is set, a stage with `select` ends after that many epochs of its unchanged schedule, and val is not
    scored; `patience` has no effect then, and a plateau schedule is refused, since its rate depends on val.

    Raises Diverged if a loss is not finite. Raises ConfigError before training if the settings need a score on val
    that does not exist, if the batches of a coupled method would be divided, or if a batch norm or a whole loss needs
    a coupled method.
    """
    _check_val(config, ctx, select is not None)
    last = config.epochs
    if select is not None and ctx.stop is not None:
        select, last = None, min(ctx.stop, last)
    run, throttle = _StageRun(objective, sampling, config, ctx), Throttle()
    if select is not None and run.is_out_of_patience():
        last = run.state.epoch
    ctx.tracker.report_epoch(config.name, run.state.epoch, last, {})
    while (epoch := run.state.epoch) < last:
        values = run.train_epoch(epoch, last)
        with run.averaged_weights():
            if select is not None:
                objective.eval()
                values |= ctx.replica.broadcast(select())
                run.update_best(epoch, values)
        run.state.epoch = epoch + 1
        run.state.history.append(values)
        if select is not None:
            run.reduce_rate()
            if run.is_out_of_patience():
                last = run.state.epoch
                ctx.tracker.report_progress(config.name, last * len(run.loader), last * len(run.loader))
        if throttle.is_due() or epoch + 1 == last:
            with ctx.timer("checkpoint"), throttle():
                ctx.tracker.before_checkpoint()
                run.save()
        with ctx.timer("log"):
            ctx.tracker.report_epoch(config.name, epoch + 1, last, values)
            ctx.tracker.log_epoch(config.name, epoch, values)
    run.restore_best()
    if select is not None:
        ctx.tracker.log_selected_epoch(run.state.best_epoch + 1 if run.state.best else last)
    objective.eval()


def _check_val(config: TrainConfig, ctx: FitContext, scores_val: bool) -> None:
    """Check that the scores on val exist which the settings need. Raises ConfigError."""
    if config.needs_val() and not scores_val:
        raise ConfigError(
            f"{config.name}: {config.needs_val()} needs scores on val, which this stage has not; use its default"
        )
    if config.schedule == "plateau" and ctx.stop is not None and scores_val:
        raise ConfigError(
            f"{config.name}: schedule 'plateau' needs scores on val, which protocol refit trains on; use another "
            "schedule or protocol"
        )


@dataclass
class _StageState:
    """Counters, best weights and history of a stage, as stored in its checkpoint."""

    epoch: int = 0
    steps: int = 0
    best: dict[str, Tensor] = field(default_factory=dict)
    best_epoch: int = 0
    best_rank: tuple[float, float] = (-math.inf, -math.inf)
    history: list[dict[str, float]] = field(default_factory=list)
    reduction: float = 1.0  # product of the factors of all reductions on a plateau


class _StageRun:
    """A running stage, new or resumed from the checkpoint in the context's folder."""

    def __init__(self, objective: nn.Module, sampling: Sampling, config: TrainConfig, ctx: FitContext) -> None:
        self.objective, self.config, self.ctx = objective, config, ctx
        self.clips = ctx.train.clips
        self.loader = Loader(ctx.train, sampling, config.batch, ctx, shuffle=True)
        if ctx.coupled:
            _check_batches(self.loader, config, ctx)
            _synchronise_norms(objective, ctx)
        self.state = _StageState()
        self.fabric = _make_fabric(ctx, config.precision)
        self.step_module, self.optimizer = self.fabric.setup(
            _BatchUnwrapper(objective), _make_optimizer(objective, config)
        )
        self.ema = _Ema(objective) if config.ema else None
        self.checkpoint_path = ctx.folder / f"{config.name}.pt"
        if self.checkpoint_path.exists():
            self.load()
            for epoch, values in enumerate(self.state.history):
                ctx.tracker.log_epoch(config.name, epoch, values)

    def train_epoch(self, epoch: int, last: int) -> dict[str, float]:
        """Train for one of `last` epochs; return the mean over clips of every term, whole loss and note. Raises
        Diverged if the loss is not finite."""
        name, rank = self.config.name, self.ctx.replica.rank
        torch.manual_seed(self.ctx.rng.derive_seed("dropout", name, epoch, *([rank] if rank else [])))
        self.objective.train()
        if not self.ctx.coupled:
            _refuse_batch_norms(self.objective, name)
        total, size, means = len(self.loader), self.config.accumulate, _ClipMeans()
        steps = -(-total // size)
        batches = self.loader.iterate_epoch(epoch)
        for index in range(total):
            group = range(index - index % size, min(total, index - index % size + size))
            if index == group.start:
                self._set_rate(epoch * steps + index // size, self.config.epochs * steps)
            progress = (epoch * total + index) / (self.config.epochs * total)
            with self.ctx.timer("read"):
                loaded = next(batches)
            with self.ctx.timer("step"):
                self._add_gradient(loaded, index, group, epoch, progress, means)
                if index + 1 == group.stop:
                    self._update_weights()
            self.ctx.tracker.report_progress(name, epoch * total + index + 1, last * total)
        values = {f"{name}/{key}": value for key, value in self.ctx.replica.mean(means.compute_means()).items()}
        if not math.isfinite(values[f"{name}/loss"]):
            raise Diverged(f"{name}: the loss of epoch {epoch + 1} is not finite; lower lr or clip_norm")
        return values

    def _set_rate(self, step: int, steps: int) -> None:
        rate = self.config.compute_rate(step, steps) * self.state.reduction
        for group in self.optimizer.param_groups:
            group["lr"] = rate * group["lr_scale"]

    def _add_gradient(
        self, loaded: LoadedBatch, index: int, group: range, epoch: int, progress: float, means: _ClipMeans
    ) -> None:
        """Add the gradient of batch `index` of the epoch, one of the `group` of batches of a step; `loaded` is this
        process's shard of it.

        Shards, micro-batches and batches sum to the gradient of the step. DDP averages over processes, once, at the
        last micro-batch of the step; hence the division by `clips / world_size`.
        """
        shard, device, replica = len(loaded.indices), self.fabric.device, self.ctx.replica
        clips = sum(self.loader.count_clips(other) for other in group)
        idle = replica.is_idle(self.loader.count_clips(index))
        micro_batch = shard if self.ctx.coupled else self.ctx.micro_batch or shard
        targets = make_target_tensor([self.clips[row].target for row in loaded.indices])
        keys = tuple(self.clips[row].key for row in loaded.indices)
        for start in range(0, shard, micro_batch):
            stop = min(shard, start + micro_batch)
            inputs = slice_batch(loaded.inputs, start, stop).to(device)
            target = targets[start:stop].to(device, non_blocking=True)
            batch = Batch(inputs, target, keys[start:stop], epoch, progress)
            is_last = stop == shard and index + 1 == group.stop
            with self.fabric.no_backward_sync(self.step_module, enabled=not is_last):
                losses: Losses = self.step_module(_OpaqueBatch(batch))
                _check_whole(losses, self.config.name, self.ctx)
                loss = _combine_losses(losses, clips / replica.world_size, len(group))
                self.fabric.backward(loss * 0 if idle else loss)
            if not idle:
                means.add(losses, stop - start)

    def _update_weights(self) -> None:
        """Take one step of the optimiser along the added gradients, and update the EMA weights."""
        config, clip = self.config, self.fabric.clip_gradients
        if config.clip_norm:
            clip(self.step_module, self.optimizer, max_norm=config.clip_norm, error_if_nonfinite=False)
        if config.clip_value:
            clip(self.step_module, self.optimizer, clip_val=config.clip_value)
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)
        self.state.steps += 1
        if self.ema is not None:
            self.ema.update(config.ema * (1 - math.exp(-self.state.steps / config.ema_ramp)))

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
        rank = self.ctx.metric.rank_epoch(values)
        if rank is not None and rank > self.state.best_rank:
            self.state.best_rank, self.state.best_epoch = rank, epoch
            self.state.best = {name: value.detach().clone() for name, value in self.objective.state_dict().items()}

    def reduce_rate(self) -> None:
        """Reduce the learning rate if the score on val has reached a plateau."""
        waited = self._count_waited_epochs()
        if self.config.schedule == "plateau" and waited and waited % self.config.plateau_patience == 0:
            self.state.reduction *= self.config.plateau_factor

    def is_out_of_patience(self) -> bool:
        """Return whether the stage ends because its best epoch on val is too long ago."""
        return 0 < self.config.patience <= self._count_waited_epochs()

    def _count_waited_epochs(self) -> int:
        """Return the number of epochs since the best one."""
        return self.state.epoch - 1 - self.state.best_epoch

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
        return losses._replace(notes={name: value.detach() for name, value in losses.notes.items()})


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

    def add(self, losses: Losses, clips: int) -> None:
        """Add the values of a micro-batch; every clip counts with the whole losses of its batch."""
        terms = losses.terms | {name: value.expand(clips) for name, value in losses.whole.items()}
        total = torch.stack([term.detach() for term in terms.values()]).sum(0)
        for name, value in {**terms, **losses.notes, "loss": total}.items():
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
    accelerator, _, number = ctx.device.partition(":")
    if ctx.replica.world_size == 1:
        return Fabric(accelerator=accelerator, devices=[int(number)] if number else 1, precision=precision)
    strategy = DDPStrategy(
        cluster_environment=LightningEnvironment(), find_unused_parameters=True, broadcast_buffers=False
    )
    fabric = Fabric(accelerator=accelerator, devices=ctx.replica.world_size, strategy=strategy, precision=precision)
    fabric.launch()
    return fabric


def _check_batches(loader: Loader, config: TrainConfig, ctx: FitContext) -> None:
    """Check that no batch of a coupled method is divided other than over devices that all have clips of it.

    Raises ConfigError.
    """
    devices, smallest = ctx.replica.world_size, min(loader.count_clips(index) for index in range(len(loader)))
    shard = -(-config.batch // devices)
    if ctx.micro_batch and ctx.micro_batch < shard:
        raise ConfigError(
            f"{config.name}: micro-batches of {ctx.micro_batch} clips would divide the batches of {shard}, and a "
            f"clip's loss depends on its whole batch; use a smaller batch, e.g. --set batch={ctx.micro_batch}"
        )
    if smallest < devices:
        raise ConfigError(
            f"--devices {devices}: an epoch has a batch of {smallest} clips, too few for synchronised batch norms; "
            "use fewer devices or another batch"
        )


def _synchronise_norms(objective: nn.Module, ctx: FitContext) -> None:
    """Replace the batch norms of an objective by synchronised ones if several processes share the fit.

    The parameters and buffers remain the same tensors, and names and evaluation do not change.
    """
    if ctx.replica.world_size > 1:
        nn.SyncBatchNorm.convert_sync_batchnorm(objective)  # type: ignore[no-untyped-call]


def _refuse_batch_norms(objective: nn.Module, stage: str) -> None:
    """Raise ConfigError if the objective of a method that is not coupled has a batch norm of batch statistics."""
    for name, module in objective.named_modules():
        if isinstance(module, _BatchNorm) and (module.training or module.running_mean is None):
            raise ConfigError(
                f"{stage}: batch norm '{name}' makes the loss of a clip depend on its batch; set coupled=True in the "
                "method's registry entry, or keep it in evaluation mode"
            )


def _check_whole(losses: Losses, stage: str, ctx: FitContext) -> None:
    """Check that whole losses are allowed and scalar. Raises ConfigError."""
    for name, value in losses.whole.items():
        if not ctx.coupled:
            raise ConfigError(f"{stage}: whole loss '{name}' needs coupled=True in the method's registry entry")
        if ctx.replica.world_size > 1:
            raise ConfigError(
                f"--devices {ctx.replica.world_size}: loss '{name}' of stage '{stage}' needs the whole batch on one "
                "device; use --devices 1"
            )
        if value.ndim or name in losses.terms:
            raise ConfigError(
                f"{stage}: whole loss '{name}' has shape {tuple(value.shape)} or is also a term; return one scalar "
                "under a name of its own"
            )


def _combine_losses(losses: Losses, clips: float, batches: int) -> Tensor:
    """Return the sum of terms over clips, divided by `clips`, plus the sum of whole losses, divided by `batches`."""
    parts = []
    if losses.terms:
        parts.append(torch.stack([term.sum() for term in losses.terms.values()]).sum() / clips)
    if losses.whole:
        parts.append(torch.stack(list(losses.whole.values())).sum() / batches)
    return parts[0] if len(parts) == 1 else torch.stack(parts).sum()


def _make_optimizer(objective: nn.Module, config: TrainConfig) -> torch.optim.Optimizer:
    """Return the optimiser, without weight decay on norms, biases, tokens and positions.

    Each parameter group has the factor of its learning rate as `lr_scale`.
    """
    names = [name for name, _ in objective.named_parameters()]
    for prefix in config.lr_scales:
        if not any(_is_part(name, prefix) for name in names):
            raise ConfigError(f"{config.name}: lr_scales of '{prefix}': no such parameter; {_propose(prefix, names)}")
    groups: dict[tuple[float, bool], list[nn.Parameter]] = {}
    for name, parameter in objective.named_parameters():
        if parameter.requires_grad:
            last = name.rsplit(".", 1)[-1]
            exempt = parameter.ndim <= 1 or "token" in last or "position" in last
            prefix = max((prefix for prefix in config.lr_scales if _is_part(name, prefix)), key=len, default="")
            groups.setdefault((config.lr_scales.get(prefix, 1.0), exempt), []).append(parameter)
    settings = [
        {"params": parameters, "weight_decay": 0.0 if exempt else config.weight_decay, "lr_scale": scale}
        for (scale, exempt), parameters in sorted(groups.items(), key=lambda item: item[0])
    ]
    if config.optimizer == "sgd":
        return torch.optim.SGD(settings, lr=config.lr, momentum=config.momentum, fused=True)
    make = torch.optim.AdamW if config.optimizer == "adamw" else torch.optim.Adam
    return make(settings, lr=config.lr, fused=True)


def _is_part(name: str, prefix: str) -> bool:
    """Return whether a parameter is the one named `prefix` or belongs to the module of this name."""
    return f"{name}.".startswith(f"{prefix}.")


def _propose(prefix: str, names: list[str]) -> str:
    """Return the end of an error message: the module and parameter names closest to `prefix`, or all on top."""
    modules = {".".join(parts[: end + 1]) for name in names if (parts := name.split(".")) for end in range(len(parts))}
    closest = get_close_matches(prefix, sorted(modules), n=3, cutoff=0.5)
    if closest:
        return f"did you mean {' or '.join(map(repr, closest))}?"
    return f"known: {', '.join(sorted({name.split('.')[0] for name in names}))}, and their parts"
