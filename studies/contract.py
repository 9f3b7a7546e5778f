"""The contract of methods: checks that every method passes, on a few clips with real files.

A check is a function of a Subject that raises Violation. `python bench.py check --method NAME` runs all of them on
clips of the built-in sample; the tests run them on every entry of the registry.
"""

from __future__ import annotations

import csv
import math
import random
import re
import shutil
import tempfile
import traceback
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple, cast

import numpy as np
import torch
from filelock import FileLock
from torch import nn

from bench.artifacts import DrawFigures, load_predictor, read_predictions
from bench.config import Config
from bench.errors import ConfigError
from bench.evaluate import BATCH_SIZE
from bench.execute import RunEnvironment, RunRequest, execute, load_splits
from bench.loader import collate, slice_batch
from bench.method import FitContext, Method, Predictor, Scores, Tracker
from bench.processes import run_each
from bench.protocol import seal_test
from bench.record import Record, RunFolder
from bench.rng import RngTree
from bench.stages import fit_alone
from bench.tasks import Classification, Regression, TargetValue, Task
from bench.tracker import ExperimentTracker, LiveRun
from bench.types import (
    Clip,
    ClipSet,
    Dataset,
    DatasetSplits,
    Explanation,
    Inputs,
    OpenedClip,
    Sampling,
)
from datasets.catalog.ekman6 import INFO
from datasets.registry import make_dataset, make_manifest_source
from datasets.sample import write_sample_clip
from studies.requests import check_fields, find_arm, resolve_config
from studies.worker import LogReporter

LABELS = (0, 3, 5)  # classes of the clips for the checks
SPLIT_CLIPS = {"train": 4, "val": 1, "test": 1}  # clips of each class
FEATURE_WIDTH = 4  # values per step of their array
SHORT_EPOCHS = 2  # of each stage of a method whose config has the fields `epochs` or `..._epochs`
BATCH = 3  # clips of a batch, of val
RELATIVE, ABSOLUTE = 1e-4, 1e-5  # tolerances of scores, whose last digits rounding may change


class Violation(Exception):
    """Raised by a check that fails; the message states what the method does, where, and what to do next."""


@dataclass(frozen=True)
class Subject:
    """A method under check: its config, the data that it runs on, and the folder of its runs.

    `others` are data sets of its other tasks. Runs and inputs are made on first use and shared by the checks.
    """

    method: Method
    config: Config
    dataset: Dataset
    results: Path
    data: Path | None = None  # folder of the data set; None if the data set has a path of its own
    others: Mapping[type[Task], Dataset] = field(default_factory=dict)
    store: ExperimentTracker | None = None
    draw: DrawFigures = field(default=lambda *_: [])  # figures of its first run
    threads: int = 1

    @property
    def request(self) -> RunRequest:
        """Return the request of its run."""
        return RunRequest(self.method.name, self.method, self.config, "quick", self.dataset, 0)

    @property
    def environment(self) -> RunEnvironment:
        """Return where it runs: on the CPU, without figures."""
        store = self.store if self.store is not None else NoStore(self.results)
        return RunEnvironment(
            self.results, store, LogReporter(), lambda *_: [], data_folder=self.data, threads=self.threads
        )

    def execute(self, **changed: Any) -> Record:
        """Execute its run, with some fields of the environment changed. Raises Violation if the run fails."""
        record = execute(self.request, replace(self.environment, **changed)).record
        if record.error is not None:
            place = _find_line(record.error.traceback, self.method)
            raise Violation(f"the run failed{place}: {record.error.kind}: {record.error.message}; correct the method")
        return record

    @cached_property
    def record(self) -> Record:
        """Return the record of its first run."""
        return self.execute(draw_figures=self.draw)

    @cached_property
    def stored(self) -> dict[str, np.ndarray]:
        """Return split -> scores that its first run stored."""
        return _read(self)

    @cached_property
    def fitted(self) -> Predictor:
        """Return the predictor of a short fit."""
        return self.fit_once(self.splits.val)

    @property
    def folder(self) -> RunFolder:
        """Return the folder of its run."""
        return RunFolder(self.results / "runs" / self.record.key)

    @cached_property
    def splits(self) -> DatasetSplits:
        """Return its data, with a sealed test split."""
        return seal_test(load_splits(self.request, self.environment))

    @cached_property
    def sampling(self) -> Sampling:
        """Return how val is opened."""
        return self.method.sampling(self.config, False)

    @cached_property
    def clips(self) -> list[OpenedClip]:
        """Return a few opened clips of val."""
        return self.open_clips(BATCH)

    def open_clips(self, most: int) -> list[OpenedClip]:
        """Open the first clips of val, at most this many."""
        count = min(most, len(self.splits.val.clips))
        return [self.splits.val.read(index, self.sampling, RngTree(0), 0) for index in range(count)]

    @cached_property
    def inputs(self) -> Inputs:
        """Return the batch of these clips."""
        return collate(self.clips)

    @cached_property
    def predictor(self) -> Predictor:
        """Return the predictor that is rebuilt from the weights of its run."""
        return load_predictor(self.folder, self.method, self.splits.info).predictor

    def score(self, inputs: Inputs, predictor: Predictor | None = None) -> torch.Tensor:
        """Return the (B, K) scores of a batch. Raises Violation if they have another shape or are not finite."""
        with torch.inference_mode():
            scores = (predictor or self.predictor)(inputs)
        return _check_scores(scores, len(inputs), self.sampling.segments, self.splits.info.task.outputs)

    def fit_once(self, val: ClipSet) -> Predictor:
        """Return the predictor of a fit that ends after one epoch, as the protocol refit does, with clips as val."""
        with tempfile.TemporaryDirectory(dir=self.results) as folder:
            ctx = FitContext(
                self.config,
                self.splits.info,
                self.splits.train,
                val,
                RngTree(0),
                cast(Tracker, _SilentTracker()),
                Path(folder),
                threads=self.threads,
                stop=1,
                metric=self.splits.info.task.primary,
                coupled=self.method.coupled,
            )
            for seed in (torch.manual_seed, np.random.seed, random.seed):  # only labels differ between two fits
                cast(Callable[[int], object], seed)(0)
            predictor = fit_alone(self.method, ctx)
        predictor.train(False)
        return predictor


def check_config(subject: Subject) -> None:
    """Check that the defaults, the presets and all search ranges are within the bounds of the config's fields."""
    kind = subject.method.config
    for preset in ("paper", "quick"):
        try:
            kind.from_preset(preset).override({})
        except (ConfigError, ValueError) as error:
            raise Violation(f"preset {preset} of {kind.__name__}: {error}; correct the value or its bounds") from None
    config = kind()
    for name, search in kind.get_declared_ranges().items():
        if not search.choices and (search.low is None or search.high is None or not search.low < search.high):
            raise Violation(f"search range of {name}: needs choices, or low and high with low < high")
        if search.log and search.low is not None and search.low <= 0:
            raise Violation(f"search range of {name}: low is {search.low:g}; a log scale begins above 0")
        for value in search.choices or (search.low, search.high):
            try:
                config.override({name: value})
            except ConfigError as error:
                raise Violation(f"search range of {name}: {error}; reduce the range or widen the bounds") from None


def check_scored(subject: Subject) -> None:
    """Check that a run ends with every score of val and test."""
    _check_every_score(subject.record, subject.splits.info.task)


def check_shapes(subject: Subject) -> None:
    """Check the types and shapes of scores, for a batch and for one clip."""
    for count in (len(subject.clips), 1):
        subject.score(slice_batch(subject.inputs, 0, count), subject.fitted)


def check_rebuilt(subject: Subject) -> None:
    """Check that the predictor that is rebuilt from its weights predicts the same."""
    clips = subject.open_clips(BATCH_SIZE)  # the first batch of val as it was predicted
    _compare_scores(
        torch.from_numpy(subject.stored["val"][: len(clips)]),
        subject.score(collate(clips)),
        "a predictor rebuilt from its weights predicts otherwise; register what it learns as parameters or buffers, "
        "and build it from the config and the DatasetInfo alone",
    )


def check_repeated(subject: Subject, loaders: int = 0) -> None:
    """Check that the same spec gives the same scores, bit by bit, with `loaders` processes that read clips."""
    first, before = subject.record, subject.stored
    again = subject.execute(fresh=True, loaders=loaders)
    advice = "draw random numbers from ctx.rng, and seed torch with ctx.rng.derive_seed before a module is built"
    _compare(first, again, before, _read(subject), f"a second run has other scores; {advice}")


def check_neighbours(subject: Subject) -> None:
    """Check that the scores of a clip do not depend on the other clips of its batch."""
    inputs, count = subject.inputs, len(subject.clips)
    alone = [subject.score(slice_batch(inputs, index, index + 1)) for index in range(count)]
    _compare_scores(
        torch.cat(alone),
        subject.score(inputs),
        "the scores of a clip depend on its neighbours in the batch; in evaluation, use no statistics of the batch",
    )


def check_missing(subject: Subject) -> None:
    """Check that clips without some or all streams have finite scores."""
    names = [name for name in subject.inputs.streams if subject.sampling.reads_stream(name)]
    for lacking in [*([name] for name in names), names]:
        kept = [name for name in subject.inputs.streams if name not in lacking]
        blank = [clip.keep_streams(kept) for clip in subject.clips]
        what = "without any stream" if lacking == names else f"without {lacking[0]}"
        for clips in (blank, [blank[0], *subject.clips[1:]]):
            try:
                subject.score(collate(clips))
            except Violation as error:
                raise Violation(f"{what}: {error}") from None


def check_explanations(subject: Subject) -> None:
    """Check the number, types and shapes of explanations."""
    count, outputs = len(subject.clips), subject.splits.info.task.outputs
    with torch.inference_mode():
        explanations = subject.predictor.explain(subject.inputs)
    if not isinstance(explanations, list) or len(explanations) != count:
        raise Violation(f"explain of {count} clips returns {_describe(explanations)}; return a list of {count}")
    shape = (subject.sampling.segments, outputs)
    for explanation in explanations:
        if not isinstance(explanation, Explanation):
            raise Violation(f"explain returns {_describe(explanation)}; return Explanation values")
        for name in ("curve", "recovered", "feature"):
            value = getattr(explanation, name)
            if value is None:
                continue
            if not isinstance(value, torch.Tensor) or not value.isfinite().all():
                raise Violation(f"{name} of an explanation is {_describe(value)}; use a tensor of finite numbers")
            if value.ndim != 1 if name == "feature" else value.shape != shape:
                expected = "(D,)" if name == "feature" else f"(segments, outputs) = {shape}"
                raise Violation(f"{name} of an explanation is {_describe(value)}; its shape must be {expected}")


def check_labels(subject: Subject) -> None:
    """Check that the predictor keeps no labelled clips, and that a fit with a given length does not read val."""
    if place := _find_clips(subject.fitted):
        raise Violation(f"the predictor keeps {place}; it may only keep what it needs to predict from Inputs")
    second = subject.fit_once(RelabelledClips(subject.splits.val, subject.splits.info.task))
    _compare_scores(
        subject.score(subject.inputs, subject.fitted),
        subject.score(subject.inputs, second),
        "the predictions depend on the labels of val although ctx.stop is set; train on ctx.train alone, and obey "
        "ctx.stop",
    )


def check_resumed(subject: Subject) -> str:
    """Check that a run that is interrupted after a checkpoint in each stage resumes to the same scores.

    Return a remark if the method writes no checkpoints.
    """
    first, before = subject.record, subject.stored
    reporter = _Interrupter(subject.folder.checkpoints)
    again, fresh = None, True
    while again is None:
        try:
            again = subject.execute(fresh=fresh, reporter=reporter)
        except KeyboardInterrupt:
            if not reporter.interrupted:  # Ctrl-C of the user
                raise
            reporter.interrupted, fresh = False, False
    if not reporter.stages:
        return "it trains without train_stage, and starts again"
    advice = "keep all that changes in training in the objective's state, or draw it from ctx.rng by epoch"
    stages = ", ".join(reporter.stages)
    _compare(first, again, before, _read(subject), f"interrupted in {stages} it has other scores; {advice}")
    return ""


def check_tasks(subject: Subject) -> None:
    """Check that a run on each other task of the method ends with every score."""
    for kind in subject.method.tasks:
        if kind in subject.others and not isinstance(subject.dataset.info.task, kind):
            other = replace(subject, dataset=subject.others[kind], data=None)
            name = "classes" if kind is Classification else "scores"
            try:
                _check_every_score(other.record, other.splits.info.task)
                other.score(other.inputs)
            except Violation as error:
                raise Violation(f"data with {name}: {error}, or leave {kind.__name__} out of Method.tasks") from None


CHECKS: Mapping[str, Callable[[Subject], str | None]] = {
    "presets and search ranges are within their bounds": check_config,
    "a run ends with every score": check_scored,
    "scores have one row per clip and one column per output": check_shapes,
    "rebuilt from its weights it predicts the same": check_rebuilt,
    "the same spec gives the same scores": check_repeated,
    "the scores of a clip do not depend on its batch": check_neighbours,
    "missing streams give finite scores": check_missing,
    "explanations have the right shapes": check_explanations,
    "labels of val and test are not used": check_labels,
    "interrupted and resumed it ends with the same scores": check_resumed,
    "it runs on each of its tasks": check_tasks,
}
"""What is promised -> its check, in order. The first three end the suite if they fail."""

NEEDS: Mapping[Callable[[Subject], str | None], Callable[[Subject], str | None]] = {
    check_neighbours: check_rebuilt,
    check_missing: check_rebuilt,
    check_explanations: check_rebuilt,
    check_resumed: check_repeated,
}
"""Check -> the check without which its result says nothing."""


class CheckResult(NamedTuple):
    """Result of a check: what is promised, the fault or "", and a remark."""

    promise: str
    fault: str
    remark: str = ""


def run_checks(subject: Subject) -> Iterator[CheckResult]:
    """Run the checks of a method in order, except those that need a check that failed."""
    failed: set[Callable[[Subject], str | None]] = set()
    for promise, check in CHECKS.items():
        if failed & {check_config, check_scored, check_shapes, NEEDS.get(check, check)}:
            continue
        result = _run_check(promise, check, subject)
        yield result
        if result.fault:
            failed.add(check)


def _run_check(promise: str, check: Callable[[Subject], str | None], subject: Subject) -> CheckResult:
    try:
        return CheckResult(promise, "", check(subject) or "")
    except Violation as error:
        return CheckResult(promise, " ".join(str(error).split()))
    except Exception as error:  # a method may raise anything
        place = _find_line("".join(traceback.format_exception(error)), subject.method)
        return CheckResult(promise, f"{type(error).__name__}{place}: {' '.join(str(error).split())[:300]}")


def make_subject(name: str, settings: Mapping[str, str], clips: Path, results: Path, threads: int = 2) -> Subject:
    """Return a method or variant, with short stages and some config values, on the clips in a folder.

    `results` is the folder of its runs. Raises ConfigError for an unknown name, or settings that are not valid.
    """
    arm = find_arm(name)
    check_fields([arm], dict(settings))
    config = shorten(resolve_config(arm, "quick", dict(settings)), {*settings, *arm.overrides})
    datasets = ensure_clips(clips)
    chosen = next(kind for kind in datasets if kind in arm.method.tasks)
    return Subject(arm.method, config, datasets[chosen], results, others=datasets, threads=threads)


def shorten(config: Config, fixed: Collection[str] = ()) -> Config:
    """Return a config whose stages have SHORT_EPOCHS epochs, unless they are fixed or the bounds exclude it."""
    for name in type(config).model_fields:
        if (name == "epochs" or name.endswith("_epochs")) and name not in fixed:
            try:
                config = config.override({name: min(SHORT_EPOCHS, getattr(config, name))})
            except (ConfigError, TypeError):
                continue
    return config


def ensure_clips(folder: Path) -> dict[type[Task], Dataset]:
    """Return a data set of classes and one of scores on a few clips of the built-in sample; draw them if necessary.

    Clips have video, audio, a transcript and an array.
    """
    root = folder / "clips-1"
    folder.mkdir(parents=True, exist_ok=True)
    with FileLock(f"{root}.lock"):
        if not root.exists():
            place = Path(tempfile.mkdtemp(prefix=".clips.", dir=folder))
            try:
                _draw_clips(place)
                place.chmod(0o755)
                place.replace(root)
            finally:
                shutil.rmtree(place, ignore_errors=True)
    named = {Classification: root / "classes.csv", Regression: root / "scores.csv"}
    return {kind: make_dataset(make_manifest_source(path, [INFO])) for kind, path in named.items()}


def _draw_clips(root: Path) -> None:
    """Write the clips, a manifest with classes, and one with valence and arousal."""
    names = [split for split, count in SPLIT_CLIPS.items() for _ in range(count)]
    pieces = [(INFO, root, label, number) for label in LABELS for number in range(len(names))]
    for part in ("mp3", "srt"):
        for label in LABELS:
            (root / part / INFO.classes[label]).mkdir(parents=True)
    list(run_each(write_sample_clip, pieces, "clips", lambda *_: None, pool_from=len(pieces) + 1))
    (root / "features").mkdir()
    rows: list[dict[str, str]] = []
    for _, _, label, number in pieces:
        name, clip = INFO.classes[label], f"{number:03d}"
        values = np.random.default_rng((label, number)).normal(label, 1, (2 + number, FEATURE_WIDTH))
        np.save(root / "features" / f"{name}-{clip}.npy", values.astype(np.float32))
        rows.append(
            {
                "clip": f"{name}-{clip}",
                "label": name,
                "target/valence": f"{INFO.sentiment[label] * (0.5 + 0.05 * number):g}",
                "target/arousal": f"{0.1 * label - 0.05 * number:g}",
                "split": names[number],
                "frames": f"imgs/{name}/{clip}",
                "audio": f"mp3/{name}/{clip}.mp3",
                "transcript": f"srt/{name}/{clip}.srt",
                "features/demo": f"features/{name}-{clip}.npy",
            }
        )
    for file, unused in (("classes.csv", "target/"), ("scores.csv", "label")):
        with (root / file).open("w", newline="", encoding="utf-8") as text:
            columns = [name for name in rows[0] if not name.startswith(unused)]
            writer = csv.DictWriter(text, columns, extrasaction="ignore")
            writer.writeheader()
            writer.writerows(rows)
    (root / "scores.toml").write_text("[targets]\nvalence = [-1, 1]\narousal = [-1, 1]\n")


@dataclass(frozen=True)
class RelabelledClips:
    """Clips with other targets: the next class, or numbers mirrored in their range."""

    source: ClipSet
    task: Task

    @property
    def clips(self) -> tuple[Clip, ...]:
        """Return the clips with other targets."""
        return tuple(replace(clip, target=self._change(clip.target)) for clip in self.source.clips)

    @property
    def contents(self) -> tuple[str, ...]:
        """Return a digest of each clip's media."""
        return self.source.contents

    def read(self, index: int, sampling: Sampling, rng: RngTree, epoch: int) -> OpenedClip:
        """Open a clip."""
        return self.source.read(index, sampling, rng, epoch)

    def _change(self, target: TargetValue) -> TargetValue:
        if isinstance(target, int):
            return (target + 1) % self.task.outputs
        assert isinstance(self.task, Regression)
        return tuple(low + high - value for value, (low, high) in zip(target, self.task.bounds, strict=True))


class NoStore(ExperimentTracker):
    """An experiment tracker that stores nothing."""

    def start_run(self, *given: Any, **named: Any) -> LiveRun:
        """Return a run that stores nothing."""
        return _NoRun()

    def publish(self, *given: Any, **named: Any) -> str | None:
        """Do nothing."""
        return None

    def find_run_id(self, *given: Any) -> str | None:
        """Return None: no run is published."""
        return None

    def end_orphaned_runs(self) -> int:
        """Return 0: there are no runs."""
        return 0

    def start_parent_run(self, *given: Any) -> str | None:
        """Do nothing."""
        return None

    def finish_parent_run(self, *given: Any) -> None:
        """Do nothing."""

    def tag_run(self, *given: Any) -> None:
        """Do nothing."""

    def retry(self) -> None:
        """Do nothing."""


class _NoRun(LiveRun):
    """A running run that stores nothing."""

    def log_epoch(self, *given: Any) -> None:
        """Do nothing."""

    def end(self, status: str) -> None:
        """Do nothing."""

    def fail(self, record: Record) -> None:
        """Do nothing."""


class _SilentTracker:
    """A Tracker of a fit that ignores every call."""

    def __getattr__(self, name: str) -> Callable[..., None]:
        return lambda *given: None


class _Interrupter(LogReporter):
    """A ProgressReporter that interrupts a run once in each stage, after the first epoch with a checkpoint."""

    def __init__(self, checkpoints: Path) -> None:
        self.checkpoints = checkpoints
        self.stages: list[str] = []
        self.interrupted = False

    def report_epoch(self, stage: str, epoch: int, epochs: int, values: dict[str, float], metric: Any = None) -> None:
        """Raise KeyboardInterrupt after the first epoch of a stage that has a checkpoint."""
        if values and stage not in self.stages and (self.checkpoints / f"{stage}.pt").exists():
            self.stages.append(stage)
            self.interrupted = True
            raise KeyboardInterrupt


def _check_scores(scores: object, clips: int, segments: int, outputs: int) -> torch.Tensor:
    """Return the (B, K) scores of a predictor as float. Raises Violation for another type or shape."""
    if not isinstance(scores, Scores):
        raise Violation(f"a prediction is {_describe(scores)}; return Scores(output)")
    shapes = {"output": (scores.output, (clips, outputs)), "segments": (scores.segments, (clips, segments, outputs))}
    for name, (value, shape) in shapes.items():
        if value is None and name == "segments":
            continue
        if not isinstance(value, torch.Tensor) or tuple(value.shape) != shape or not value.is_floating_point():
            raise Violation(f"{name} of {clips} clips is {_describe(value)}; its shape must be {shape}, of floats")
        if not value.isfinite().all():
            raise Violation(f"{name} of {clips} clips has NaN or infinite values; mask what is missing, avoid 0 / 0")
    return scores.output.float()


def _check_every_score(record: Record, task: Task) -> None:
    """Check that the scores that tables show exist; a constant prediction of numbers has no correlation."""
    shown = [metric.name for metric in (task.shown if isinstance(task, Classification) else (task.primary,))]
    for name in (f"{split}/{metric}" for split in ("val", "test") for metric in [*shown, "loss", "n"]):
        value = record.scores.get(name)
        if value is None or not math.isfinite(value):
            raise Violation(f"{name} is {value}; predict finite scores for every clip")


def _read(subject: Subject) -> dict[str, np.ndarray]:
    """Return split -> stored scores of the last run."""
    stored = read_predictions(subject.folder.path, subject.splits.info)
    return {split: predictions.scores for split, predictions in stored.items()}


def _compare(
    first: Record, second: Record, before: Mapping[str, np.ndarray], after: Mapping[str, np.ndarray], fault: str
) -> None:
    """Check that two runs have the same scores, bit by bit. Raises Violation with the first that differs."""
    for name, value in first.scores.items():
        if second.scores.get(name) != value:
            raise Violation(f"{name} is {value}, then {second.scores.get(name)}: {fault}")
    for split, scores in before.items():
        if not np.array_equal(scores, after[split]):
            raise Violation(f"scores of {split} differ by up to {np.abs(scores - after[split]).max():.2g}: {fault}")


def _compare_scores(first: torch.Tensor, second: torch.Tensor, fault: str) -> None:
    """Check that two (B, K) scores are equal but for rounding."""
    size = max(1.0, float(first.abs().max()))
    if not torch.allclose(first.float(), second.float(), rtol=RELATIVE, atol=ABSOLUTE * size):
        raise Violation(f"scores differ by up to {float((first - second).abs().max()):.2g}: {fault}")


def _find_clips(predictor: Predictor) -> str:
    """Return where a predictor keeps clips with labels, or the context that has them; "" if nowhere."""

    def holds(value: object, depth: int) -> bool:
        if isinstance(value, FitContext | Clip):
            return True
        if isinstance(value, Mapping):
            value = list(value.values())
        if isinstance(value, Sequence) and not isinstance(value, str):
            return depth > 0 and any(holds(item, depth - 1) for item in value)
        return not isinstance(value, nn.Module | torch.Tensor) and isinstance(value, ClipSet)

    if not isinstance(predictor, nn.Module):
        return ""
    for name, module in predictor.named_modules():
        for attribute, value in vars(module).items():
            if holds(value, 2):
                return f"labelled clips in its attribute {'.'.join(filter(None, (name, attribute)))}"
    return ""


def _find_line(text: str, method: Method) -> str:
    """Return the last line of the method's own file in a traceback, as " (FILE, line N)"; "" if there is none."""
    if method.plugin is None:
        return ""
    name = re.escape(method.plugin.name)
    lines = re.findall(rf'File "[^"\n]*{name}", line (\d+)', text)
    return f" ({method.plugin.name}, line {lines[-1]})" if lines else ""


def _describe(value: object) -> str:
    """Return the type of a value, and the shape of a tensor."""
    return f"a tensor {tuple(value.shape)}" if isinstance(value, torch.Tensor) else f"a {type(value).__name__}"
