"""Tasks: the labels of a data set, the loss of a prediction, and the metrics that are reported.

A task owns the primary metric, which selects epochs, prunes trials, ends searches and orders tables. Key: B clips, C
classes, R targets. This module does not import torch at run time, so that registries are cheap to import.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    import torch

TargetValue = int | tuple[float, ...]
"""Label of a clip: the index of its class, or a number for each target of a regression."""

SelectedMetric = Literal["mae", "corr", "ccc"]
"""Metrics of a regression that may be the primary one."""

SENTIMENT_RANGE = (-3.0, 3.0)  # of CMU-MOSI and CMU-MOSEI: seven levels
NARROW_RANGE = (-1.0, 1.0)  # of CH-SIMS
MAX_TARGETS = 1000  # in the file of a run


@dataclass(frozen=True)
class Metric:
    """A metric of a record and how it is printed."""

    name: str  # in records, without the split: "acc_e"
    title: str  # in tables: "Acc E"
    better: Literal["max", "min"] = "max"
    scale: float = 100.0  # printed value = stored value x scale; 100 = percent

    @property
    def unit(self) -> str:
        """Return the printed unit: "percent", or "" for a number in the unit of the targets."""
        return "percent" if self.scale == 100 else ""

    @property
    def difference_unit(self) -> str:
        """Return the unit of differences: "points" of percent, or "" for a number in the unit of the targets."""
        return "points" if self.scale == 100 else ""

    def rank(self, value: float) -> float:
        """Return a number that is larger for a better value."""
        return value if self.better == "max" else -value

    def is_better(self, value: float, other: float) -> bool:
        """Return whether a value is better than another."""
        return self.rank(value) > self.rank(other)

    def rank_epoch(self, values: Mapping[str, float], split: str = "val") -> tuple[float, float] | None:
        """Return the rank of an epoch, larger for a better one: by this metric, then by the smaller loss.

        `values` has the metrics of the epoch by name, such as "val/loss". None if the split was not scored.
        """
        value = values.get(f"{split}/{self.name}")
        return None if value is None else (self.rank(value), -values.get(f"{split}/loss", 0.0))

    def format(self, value: float) -> str:
        """Format a stored value for a message: "61.2 %", "0.713"."""
        return f"{self.scale * value:.1f} %" if self.scale == 100 else f"{self.scale * value:.3f}"

    def format_named(self, value: float) -> str:
        """Format a stored value with the title of the metric: "Acc E 61.2 %"."""
        return f"{self.title} {self.format(value)}"


ACCURACY = Metric("acc_e", "Acc E")
EMOTION_METRICS = (ACCURACY, Metric("f1_e", "F1 E"))
SENTIMENT_METRICS = (Metric("acc_s", "Acc S"), Metric("f1_s", "F1 S"))
BALANCED = Metric("bal_e", "bal. Acc E")
OTHER_METRICS = (
    Metric("f1_e_macro", "macro F1 E"),
    Metric("bal_e", "balanced Acc E"),
    Metric("acc_s2", "Acc S, no neutral"),
    Metric("f1_s2", "F1 S, no neutral"),
    Metric("loss", "loss", "min", 1.0),
    Metric("n", "clips", scale=1.0),
)
"""Metrics of records that no table shows; the page of a run names them."""


@dataclass(frozen=True)
class Classification:
    """One class per clip; the prediction is the class with the highest output.

    `sentiment[c]` is the polarity of class c: -1, 0 or +1. It is None where no polarity is known; then no sentiment is
    scored.
    """

    classes: tuple[str, ...]
    sentiment: tuple[int, ...] | None = None

    def check(self) -> None:
        """Raise ValueError if the values do not fit together."""
        if not self.classes or len(set(self.classes)) != len(self.classes):
            raise ValueError("classes are missing or repeated")
        if self.sentiment is not None and len(self.sentiment) != len(self.classes):
            raise ValueError("classes and sentiment do not match")
        if self.sentiment is not None and not set(self.sentiment) <= {-1, 0, 1}:
            raise ValueError("a sentiment is not -1, 0 or 1")

    @property
    def outputs(self) -> int:
        """Return the width of a prediction: C."""
        return len(self.classes)

    @property
    def primary(self) -> Metric:
        """Return the metric that selects epochs, prunes trials, ends searches and orders tables."""
        return ACCURACY

    @property
    def shown(self) -> tuple[Metric, ...]:
        """Return the metrics of the main tables, the primary one first."""
        return EMOTION_METRICS + (SENTIMENT_METRICS if self.sentiment is not None else ())

    @property
    def extra(self) -> tuple[Metric, ...]:
        """Return the metrics that only the terminal shows."""
        return (BALANCED,)

    @property
    def output_names(self) -> tuple[str, ...]:
        """Return a name for each column of a prediction."""
        return self.classes

    def make_target(self, targets: Sequence[TargetValue]) -> list[int]:
        """Return the targets of clips, from which a (B,) tensor of class indices is made."""
        return [get_class_index(target) for target in targets]

    def loss(self, output: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
        """Compute the cross-entropy, (B,), of (B, C) outputs and (B,) classes."""
        return -output.log_softmax(-1).gather(-1, target[..., None]).squeeze(-1)

    def describe_target(self, target: TargetValue) -> str:
        """Return the name of a clip's class."""
        return self.classes[get_class_index(target)]

    def list_facts(self) -> Iterable[str]:
        """Return a line of text for each class, from which the content of a data set is hashed."""
        return [f"{name}\t{sign}" for name, sign in zip(self.classes, self.signs, strict=True)]

    @property
    def signs(self) -> tuple[int, ...]:
        """Return the polarity of each class, 0 where none is known."""
        return self.sentiment if self.sentiment is not None else (0,) * len(self.classes)


@dataclass(frozen=True)
class TargetRange:
    """A named number to predict, with the smallest and the largest value that it can have."""

    name: str
    low: float
    high: float


@dataclass(frozen=True)
class Regression:
    """Numbers to predict for each clip, such as valence and arousal.

    With several targets, mae, corr and ccc are means over the targets; `<metric>/<target>` is that of one target.
    """

    targets: tuple[TargetRange, ...]
    select: SelectedMetric = "mae"  # the primary metric

    def check(self) -> None:
        """Raise ValueError if the values do not fit together."""
        if not self.targets or len({target.name for target in self.targets}) != len(self.targets):
            raise ValueError("targets are missing or have equal names")
        if len(self.targets) > MAX_TARGETS:
            raise ValueError(f"more than {MAX_TARGETS} targets")
        if not all(t.low < t.high and math.isfinite(t.high - t.low) for t in self.targets):
            raise ValueError("the lowest value of a target is not below its highest, or they are too large")

    @property
    def outputs(self) -> int:
        """Return the width of a prediction: R."""
        return len(self.targets)

    @property
    def primary(self) -> Metric:
        """Return the metric that selects epochs, prunes trials, ends searches and orders tables."""
        return ERROR_METRICS[self.select]

    @property
    def shown(self) -> tuple[Metric, ...]:
        """Return the metrics of the main tables, the primary one first.

        One target has those of its scale: accuracies of seven and of two levels for sentiment from -3 to 3, of five,
        three and two levels from -1 to 1. Several targets have the CCC of each.
        """
        others = tuple(metric for metric in ERROR_METRICS.values() if metric.name != self.select)
        if len(self.targets) > 1:
            each = tuple(Metric(f"ccc/{target.name}", f"CCC {target.name}", scale=1.0) for target in self.targets)
            return (self.primary, *others, *each)
        return (self.primary, *others, *LEVEL_METRICS.get(self.bounds[0], ()))

    @property
    def extra(self) -> tuple[Metric, ...]:
        """Return the metrics that only the terminal shows."""
        return ()

    @property
    def is_clip_mean(self) -> bool:
        """Return whether the primary metric is a mean over clips; a correlation is not."""
        return self.select == "mae"

    @property
    def is_concordance(self) -> bool:
        """Return whether the primary metric is the concordance correlation."""
        return self.select == "ccc"

    @property
    def bounds(self) -> tuple[tuple[float, float], ...]:
        """Return the lowest and the highest value of each target."""
        return tuple((target.low, target.high) for target in self.targets)

    @property
    def output_names(self) -> tuple[str, ...]:
        """Return a name for each column of a prediction."""
        return tuple(target.name for target in self.targets)

    def make_target(self, targets: Sequence[TargetValue]) -> list[tuple[float, ...]]:
        """Return the targets of clips, from which a (B, R) tensor is made."""
        return [get_values(target) for target in targets]

    def loss(self, output: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
        """Compute the absolute error, (B,), of (B, R) outputs: the mean over targets."""
        return (output - target).abs().mean(-1)

    def describe_target(self, target: TargetValue) -> str:
        """Return the values of a clip as text that restores them exactly."""
        return ",".join(map(repr, get_values(target)))

    def list_facts(self) -> Iterable[str]:
        """Return a line of text for each target, from which the content of a data set is hashed."""
        return [f"{target.name}\t{target.low!r}\t{target.high!r}\t{self.select}" for target in self.targets]


Task = Classification | Regression

ERROR_METRICS = {
    "mae": Metric("mae", "MAE", "min", 1.0),
    "corr": Metric("corr", "Corr", scale=1.0),
    "ccc": Metric("ccc", "CCC", scale=1.0),
}
LEVEL_METRICS = {
    SENTIMENT_RANGE: (
        Metric("acc7", "Acc-7"),
        Metric("acc5", "Acc-5"),
        Metric("acc2_non0", "Acc-2"),
        Metric("f1_non0", "F1"),
        Metric("acc2_has0", "Acc-2 has 0"),
        Metric("f1_has0", "F1 has 0"),
    ),
    NARROW_RANGE: (
        Metric("acc5", "Acc-5"),
        Metric("acc3", "Acc-3"),
        Metric("acc2", "Acc-2"),
        Metric("f1", "F1"),
    ),
}
"""Range of a target -> the accuracies that papers on such scores print."""

METRIC_MEANINGS = {
    "acc_e": (
        "Acc E, F1 E, Acc S, F1 S",
        "Accuracy and weighted F1 of the emotion (E), and of the sentiment (S), which is the polarity of the predicted "
        "emotion; percent of the test clips.",
    ),
    "mae": (
        "MAE, Corr, CCC",
        "Mean absolute error, in the unit of the target, lower is better; Pearson's correlation, which constant "
        "predictions lack; concordance correlation (Lin 1989). With several targets, the mean over them.",
    ),
    "acc7": (
        "Acc-7, Acc-5, Acc-2, F1 of scores from -3 to 3",
        "Percent of clips whose predicted score rounds to the same level (of seven, or five after a cut to ±2). Acc-2 "
        "and weighted F1 compare signs: without clips of score 0, or (has 0) with 0 as positive.",
    ),
    "acc3": (
        "Acc-5, Acc-3, Acc-2, F1 of scores from -1 to 1",
        "Percent of clips whose predicted score is in the same interval: bounds ±0.7 and ±0.1, ±0.1, and 0 (0 is "
        "negative); F1 is weighted, of two intervals.",
    ),
}
"""Name of a metric -> term and text of the legend of all metrics that go with it."""


def list_metric_meanings(metrics: Iterable[Metric]) -> tuple[tuple[str, str], ...]:
    """Return term and text of the legend of metrics, each once."""
    shared = {"corr": "mae", "ccc": "mae"}
    names = {shared.get(metric.name, metric.name) for metric in metrics}
    return tuple(meaning for name, meaning in METRIC_MEANINGS.items() if name in names)


def get_class_index(target: TargetValue) -> int:
    """Return the class index of a clip. Raises TypeError for a clip of a regression."""
    if not isinstance(target, int):
        raise TypeError(f"the target {target} is not a class; the method supports classification only")
    return target


def get_values(target: TargetValue) -> tuple[float, ...]:
    """Return the values of a clip. Raises TypeError for a clip of a classification."""
    if isinstance(target, int):
        raise TypeError(f"the target {target} is a class; the method supports regression only")
    return target
