"""The contract of a method: a config, a function that builds a predictor and a function that fits it."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from importlib import import_module
from pathlib import Path
from types import FunctionType
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol, TypeVar, runtime_checkable

from bench.errors import ConfigError
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
"""Holds a stage's explanations against the sample's truth, both by clip key, for each split's clip keys: the notes."""


@dataclass(frozen=True)
class Replica:
    """Process `rank` of `world_size`, one a device. The first of them alone writes and tells."""

    rank: int = 0
    world_size: int = 1

    def shard(self, batch: list[T]) -> list[T]:
        """This process's clips of a batch; the first clip, for nothing, where none is left for it."""
        return batch[self.rank :: self.world_size] or batch[:1]

    def is_idle(self, clips: int) -> bool:
        """Whether no clip of a batch of so many is this process's own."""
        return self.rank >= clips

    def broadcast(self, values: dict[str, float]) -> dict[str, float]:
        """The first process's values, in every process."""
        return self._all_gather(values)[0]

    def mean(self, values: dict[str, tuple[float, int]]) -> dict[str, float]:
        """Name -> mean over the clips of all processes, from each one's own mean and number of clips."""
        told = self._all_gather(values)
        found = {}
        for name in dict.fromkeys(name for one in told for name in one):
            parts = [one[name] for one in told if name in one]
            clips = sum(count for _, count in parts)
            found[name] = parts[0][0] if len(parts) == 1 else sum(mean * count for mean, count in parts) / clips
        return found

    def _all_gather(self, own: T) -> list[T]:
        """What each process says, in the order of their ranks."""
        if self.world_size == 1:
            return [own]
        import torch.distributed

        said: list[T] = [own] * self.world_size
        torch.distributed.all_gather_object(said, own)
        return said


class Scores(NamedTuple):
    """What a predictor says of a batch of inputs; larger is likelier, arg max is the prediction."""

    output: torch.Tensor  # (B, C)
    segments: torch.Tensor | None = None  # (B, S, C)


@runtime_checkable
class Predictor(Protocol):
    """An nn.Module from Inputs to Scores that never sees a label."""

    def __call__(self, inputs: Inputs) -> Scores:
        """Scores of the B clips."""

    def explain(self, inputs: Inputs) -> list[Explanation]:
        """One Explanation for each of the B clips; without verdicts where the method reads no words."""

    def state_dict(self) -> dict[str, torch.Tensor]:
        """All that is needed, beside the config and the card, to build the predictor again."""

    def load_state_dict(self, state_dict: Any) -> object:
        """Take a state back."""

    def train(self, mode: bool = True) -> object:
        """Training or evaluation behaviour."""

    def to(self, device: Any) -> object:
        """Move to a device."""


@runtime_checkable
class Tracker(Protocol):
    """Where a running fit tells what it sees. It may lose everything without changing a number."""

    def log_epoch(self, stage: str, epoch: int, values: dict[str, float]) -> None:
        """The numbers of one finished epoch of a stage; told again after a resume, kept once."""

    def before_checkpoint(self) -> None:
        """A checkpoint is about to be written: time to keep whatever a run that goes on from it must know."""

    def report_progress(self, stage: str, done: int, total: int) -> None:
        """`done` of `total` batches of the stage are through."""

    def report_epoch(self, stage: str, epoch: int, epochs: int, values: dict[str, float]) -> None:
        """Report `epoch` of `epochs` finished epochs with the numbers of the last one, none when a stage starts."""

    def notify(self, text: str) -> None:
        """One line that the person who waits should know."""

    def log_selected_epoch(self, epochs: int) -> None:
        """Val liked the model best after so many epochs of the stage that it judges."""

    def log_explanations(self, stage: str, explanations: dict[str, Explanation]) -> None:
        """Clip key -> what the model of a finished stage tells about the clip."""


@dataclass(frozen=True)
class FitContext:
    """Where to run; nothing here but `stop` (which is the run's protocol) may change a number beyond rounding."""

    tracker: Tracker
    folder: Path  # of checkpoints
    device: str = "cpu"  # "cpu" | "cuda"
    threads: int = 2  # of torch on the CPU
    micro_batch: int | None = None  # clips that pass through at once; None = the whole batch
    loaders: int = 0  # loader processes; 0 = read in the training process
    timer: Timer = field(default_factory=Timer)
    stop: int | None = None  # end the stage that val judges after so many epochs, and judge nothing: protocol refit
    replica: Replica = field(default_factory=Replica)  # of a fit over several devices


BuildFunction = Callable[[Any, "DatasetInfo"], Predictor]
FitFunction = Callable[[Any, "DatasetInfo", "ClipSet", "ClipSet", "RngTree", FitContext], Predictor]


def resolve(reference: str, kind: type[T]) -> T:
    """Import the value that "module:NAME" names. Raises ConfigError where there is none of that kind."""
    place, _, name = reference.partition(":")
    try:
        module = import_module(place)
    except (ImportError, ValueError) as error:
        raise ConfigError(f"'{reference}' is not the module:NAME of a {kind.__name__}: {error}") from error
    value = getattr(module, name, None)
    if not isinstance(value, kind):
        raise ConfigError(f"'{reference}' is not the module:NAME of a {kind.__name__}: it is {value!r:.80}")
    return value


@dataclass(frozen=True)
class Deferred:
    """A function that is imported when it is first called, so that naming a method loads none of its code."""

    path: str  # "module:function"

    def __call__(self, *given: Any) -> Any:
        """Call the function. Raises ConfigError where there is none."""
        function: Any = resolve(self.path, FunctionType)
        return function(*given)


@dataclass(frozen=True)
class ConfigParts:
    """What one kind of ablation table says of a config: heading -> a text, or whether the config has the part."""

    cells: Mapping[str, str | bool]
    meaning: str = ""  # a sentence of the caption that explains the texts


Describe = Callable[[Mapping[str, Any]], Mapping[str, ConfigParts]]
"""The parts of a config as a record has it, by kind of table."""


def describe_no_parts(config: Mapping[str, Any]) -> Mapping[str, ConfigParts]:
    """Name no part: the method has no ablations."""
    return {}


@dataclass(frozen=True)
class Measure:
    """A number that a method notes in its records, as the table and the figure of costs print it."""

    name: str  # of its column
    note: str  # its name among the notes of a record
    heading: str = ""  # in the table; without one it has no column there
    title: str = ""  # of its axis in the figure; without one it has none
    unit: float = 1.0  # printed = noted x unit
    meaning: str = ""  # a sentence of the table's caption
    least: float | None = None  # as printed; less than that is warned of
    warning: str = ""  # what is said of less


@dataclass(frozen=True)
class NoteTable:
    """A table on the screen of shares that a method notes in its records, printed in percent."""

    title: str
    labels: tuple[str, ...]  # headings of the words of a row, behind the method
    headings: tuple[str, ...]  # of its numbers
    rows: tuple[tuple[tuple[str, ...], tuple[str, ...]], ...]  # of each method: words, and names of notes
    flag: Measure | None = None  # methods that have less than its least are marked


@dataclass(frozen=True)
class Method:
    """A registry entry: light to import, the heavy module is imported inside `build` and `fit`.

    `version` rises when the method's numbers change. `sampling(config, training)` is how clips are opened. From
    `describe` on a value says what reports print of the method beside its scores, and what it needs to know of its
    runs; each may be left out. `review` and `figures` are "module:NAME" of values imported when they are first used.
    """

    name: str
    version: int
    title: str
    config: type[Config]
    build: BuildFunction
    fit: FitFunction
    sampling: Callable[[Any, bool], Sampling]
    cite: str = ""
    describe: Describe = describe_no_parts
    measures: tuple[Measure, ...] = ()
    note_tables: tuple[NoteTable, ...] = ()
    paper: Path | None = None  # JSON of published numbers, as reports/tables/published.py reads it
    shown_fields: tuple[str, ...] = ()  # of the config, that a paper's details name
    encoder_weights: tuple[str, ...] = ()  # config fields that name published weights of an encoder
    review: str = ""  # of a Review, which adds notes to a record
    figures: str = ""  # of a dict: file name -> ClipFigure, drawn beside the figures that all methods have

    def is_from_scratch(self, config: Mapping[str, Any], weights: Collection[str]) -> bool:
        """Whether encoders could start from published weights, and did not; `weights` are the fields with a file."""
        fields = [name for name in self.encoder_weights if name in config]
        return bool(fields) and not any(name in weights for name in fields)

    def load_review(self) -> Review | None:
        """Import the review, where there is one."""
        return resolve(self.review, FunctionType) if self.review else None

    def load_figures(self) -> Mapping[str, ClipFigure]:
        """Import the figures, where there are some."""
        return resolve(self.figures, dict) if self.figures else {}
