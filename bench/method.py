"""Interfaces of a method: its registry entry, its predictor, and the context that a fit runs in."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from importlib import import_module
from pathlib import Path
from types import FunctionType
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol, TypeVar, runtime_checkable

from bench.errors import ConfigError
from bench.tasks import ACCURACY, Classification, Metric, Task
from bench.timing import Timer

if TYPE_CHECKING:
    import torch

    from bench.config import Config
    from bench.explanations import ClipFigure
    from bench.rng import RngTree
    from bench.types import ClipSet, DatasetInfo, Explanation, Inputs, SampleTruth, Sampling


T = TypeVar("T")
Review = Callable[
    [Mapping[str, "SampleTruth"], Mapping[str, "Explanation"], Mapping[str, Sequence[str]]], Mapping[str, float]
]
"""Compute notes of a record from (clip key -> sample truth, clip key -> explanation, split -> clip keys) of a stage."""


@dataclass(frozen=True)
class Replica:
    """Process `rank` of the `world_size` processes of a fit, one per device. Only rank 0 writes files and logs."""

    rank: int = 0
    world_size: int = 1

    def shard(self, batch: list[T]) -> list[T]:
        """Return this process's clips of a batch; for an idle process the first clip, whose loss does not count."""
        return batch[self.rank :: self.world_size] or batch[:1]

    def is_idle(self, clips: int) -> bool:
        """Return whether a batch of `clips` clips is too small to give this process one."""
        return self.rank >= clips

    def broadcast(self, values: dict[str, float]) -> dict[str, float]:
        """Return the values of rank 0 on every rank."""
        return self._all_gather(values)[0]

    def mean(self, values: dict[str, tuple[float, int]]) -> dict[str, float]:
        """Return name -> mean over the clips of all ranks, given name -> (mean, number of clips) of this rank."""
        gathered = self._all_gather(values)
        means = {}
        for name in dict.fromkeys(name for entry in gathered for name in entry):
            parts = [entry[name] for entry in gathered if name in entry]
            clips = sum(count for _, count in parts)
            means[name] = parts[0][0] if len(parts) == 1 else sum(mean * count for mean, count in parts) / clips
        return means

    def _all_gather(self, value: T) -> list[T]:
        """Return the value of every rank, in the order of ranks."""
        if self.world_size == 1:
            return [value]
        import torch.distributed

        gathered: list[T] = [value] * self.world_size
        torch.distributed.all_gather_object(gathered, value)
        return gathered


class Scores(NamedTuple):
    """Outputs for a batch: K logits of classes, the highest is the prediction; or K predicted numbers."""

    output: torch.Tensor  # (B, K)
    segments: torch.Tensor | None = None  # (B, S, K) outputs of each segment


@runtime_checkable
class Predictor(Protocol):
    """An nn.Module that maps Inputs to Scores; it never sees a label."""

    def __call__(self, inputs: Inputs) -> Scores:
        """Return the scores of B clips."""

    def explain(self, inputs: Inputs) -> list[Explanation]:
        """Return an Explanation of each of the B clips; its verdicts are empty if the method reads no transcript."""

    def state_dict(self) -> dict[str, torch.Tensor]:
        """Return the weights; with the config and the DatasetInfo they rebuild the predictor."""

    def load_state_dict(self, state_dict: Any) -> object:
        """Load the weights of `state_dict`."""

    def train(self, mode: bool = True) -> object:
        """Switch to training or evaluation mode."""

    def to(self, device: Any) -> object:
        """Move the weights to a device."""


@runtime_checkable
class Tracker(Protocol):
    """Logger of a running fit. Nothing that it does changes a number of the fit."""

    def log_epoch(self, stage: str, epoch: int, values: dict[str, float]) -> None:
        """Log the numbers of a finished epoch. A resumed stage logs its earlier epochs again; they are stored once."""

    def before_checkpoint(self) -> None:
        """Store what a run that resumes from the next checkpoint needs; called before each checkpoint."""

    def report_progress(self, stage: str, done: int, total: int) -> None:
        """Report that `done` of `total` batches of the stage are done."""

    def report_epoch(self, stage: str, epoch: int, epochs: int, values: dict[str, float]) -> None:
        """Report `epoch` of `epochs` finished epochs with the numbers of the last one, none when a stage starts."""

    def notify(self, text: str) -> None:
        """Show a one-line message to the user."""

    def log_selected_epoch(self, epochs: int) -> None:
        """Log after how many epochs of the supervised stage the score on val was best."""

    def log_explanations(self, stage: str, explanations: dict[str, Explanation]) -> None:
        """Log the explanations of a finished stage, by clip key."""


@dataclass(frozen=True)
class FitContext:
    """All that a fit is given: config, data, randomness, device, folder and logger.

    Of the fields after `rng` only `stop`, a part of the protocol, changes numbers beyond rounding.
    """

    config: Any
    info: DatasetInfo
    train: ClipSet
    val: ClipSet
    rng: RngTree
    tracker: Tracker
    folder: Path  # of checkpoints
    device: str = "cpu"  # "cpu" | "cuda" | "cuda:N"
    threads: int = 2  # of torch on the CPU
    micro_batch: int | None = None  # clips per forward pass on a device; None = the whole batch
    loaders: int = 0  # DataLoader workers; 0 = read in the training process
    timer: Timer = field(default_factory=Timer)
    stop: int | None = None  # protocol refit: end the supervised stage after so many epochs, without scoring val
    replica: Replica = field(default_factory=Replica)  # rank in a data-parallel fit
    metric: Metric = ACCURACY  # the primary metric of the data set's task, which selects the epoch
    coupled: bool = False  # `Method.coupled`: batches are never divided, and batch norms are synchronised


BuildFunction = Callable[[Any, "DatasetInfo"], Predictor]
FitFunction = Callable[[FitContext], Predictor]


def resolve(reference: str, kind: type[T]) -> T:
    """Import the value that "module:NAME" names. Raises ConfigError if it does not exist or is of another type."""
    module_name, _, name = reference.partition(":")
    try:
        module = import_module(module_name)
    except (ImportError, ValueError) as error:
        raise ConfigError(f"'{reference}' is not the module:NAME of a {kind.__name__}: {error}") from error
    value = getattr(module, name, None)
    if not isinstance(value, kind):
        raise ConfigError(f"'{reference}' is not the module:NAME of a {kind.__name__}: it is {value!r:.80}")
    return value


@dataclass(frozen=True)
class Deferred:
    """A function that is imported when it is called, so that a registry entry is cheap to import."""

    path: str  # "module:function"

    def __call__(self, *args: Any) -> Any:
        """Import and call the function. Raises ConfigError if it does not exist."""
        function: Any = resolve(self.path, FunctionType)
        return function(*args)


@dataclass(frozen=True)
class ConfigParts:
    """Row of a config in one kind of ablation table."""

    cells: Mapping[str, str | bool]  # column heading -> text, or whether the config has this component
    meaning: str = ""  # sentence of the legend that explains the texts


Describe = Callable[[Mapping[str, Any]], Mapping[str, ConfigParts]]
"""Map the config of a record to {kind of ablation table: its row there}."""


def describe_no_parts(config: Mapping[str, Any]) -> Mapping[str, ConfigParts]:
    """Return no rows: the default of a method without ablations."""
    return {}


@dataclass(frozen=True)
class Measure:
    """A note of a method's records that the cost table and the cost figure print."""

    name: str  # of its column
    note: str  # its name in `Record.notes`
    heading: str = ""  # column heading; "" = not in the table
    title: str = ""  # axis title; "" = not in the figure
    unit: float = 1.0  # printed value = note x unit
    meaning: str = ""  # sentence of the legend
    least: float | None = None  # printed values below this give the warning
    warning: str = ""


@dataclass(frozen=True)
class NoteTable:
    """A terminal table of notes that are shares, printed in percent."""

    title: str
    labels: tuple[str, ...]  # headings of the text columns after the method
    headings: tuple[str, ...]  # headings of the number columns
    rows: tuple[tuple[tuple[str, ...], tuple[str, ...]], ...]  # rows of each method: (texts, names of notes)
    flag: Measure | None = None  # methods with a value below its `least` are marked


@dataclass(frozen=True)
class Method:
    """Registry entry of a method. It is cheap to import: `build` and `fit` import the model when they are called.

    Raise `version` when the method's numbers change. `sampling(config, training)` returns how clips are opened. A
    method is `coupled` if the loss of a clip depends on the other clips of its batch: through batch norms in training
    mode, or through losses of the whole batch (`bench.training.Losses.whole`). All fields from `describe` to `figures`
    are optional; they control what reports print next to the scores. `review` and `figures` are "module:NAME"
    references, imported when first used.
    """

    name: str
    version: int
    title: str
    config: type[Config]
    build: BuildFunction
    fit: FitFunction
    sampling: Callable[[Any, bool], Sampling]
    tasks: tuple[type[Task], ...] = (Classification,)  # kinds of task that it supports
    cite: str = ""
    describe: Describe = describe_no_parts
    measures: tuple[Measure, ...] = ()
    note_tables: tuple[NoteTable, ...] = ()
    paper: Path | None = None  # JSON of published numbers, as reports/tables/published.py reads it
    shown_fields: tuple[str, ...] = ()  # config fields listed in the paper's implementation details
    encoder_weights: tuple[str, ...] = ()  # config fields that name pretrained weights of an encoder
    review: str = ""  # reference to a Review, which adds notes to a record
    figures: str = ""  # reference to a dict, file name -> ClipFigure: figures in addition to those of all methods
    coupled: bool = False  # the loss of a clip depends on its batch, which is then never divided to save memory

    def is_from_scratch(self, config: Mapping[str, Any], weights: Collection[str]) -> bool:
        """Return whether the method has pretrained encoder weights and the config uses none.

        `weights` are the config fields that name a file.
        """
        fields = [name for name in self.encoder_weights if name in config]
        return bool(fields) and not any(name in weights for name in fields)

    def load_review(self) -> Review | None:
        """Import the review; None if the method has none."""
        return resolve(self.review, FunctionType) if self.review else None

    def load_figures(self) -> Mapping[str, ClipFigure]:
        """Import the figures; empty if the method has none."""
        return resolve(self.figures, dict) if self.figures else {}
