"""Trackers: interfaces of progress reporters and experiment trackers, and the tracker that a fit logs to."""

from __future__ import annotations

import json
import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Literal, Protocol

from bench.artifacts import read_curves
from bench.files import atomic_write
from bench.method import Review
from bench.record import Record, RunFolder, RunSpec
from bench.tasks import ACCURACY, Metric
from bench.timing import Timer
from bench.types import DataIssue, DatasetSplits, Explanation

SECONDS_FILE = "seconds.json"  # next to the checkpoints: seconds that the timer of a resumed run starts from


ParentStatus = Literal["FINISHED", "FAILED", "KILLED"]
PruningCallback = Callable[[int, float], None]
"""Called with the epoch (from 0) and the primary metric on val after each epoch that is scored; may raise Pruned."""


class ProgressReporter(Protocol):
    """Output for the user: progress and messages of runs."""

    def start_run(self, title: str) -> None:
        """Show that a run starts."""

    def report_progress(self, what: str, done: int, total: int) -> None:
        """Show that `done` of `total` steps of a long operation are done."""

    def report_epoch(
        self, stage: str, epoch: int, epochs: int, values: dict[str, float], metric: Metric = ACCURACY
    ) -> None:
        """Show that `epoch` of `epochs` epochs are finished, with the loss and the `metric` of the last one.

        `values` is empty when a stage starts.
        """

    def report_data(self, corpus_sample: bool, problems: Sequence[DataIssue]) -> None:
        """Show whether the built-in sample is used, and the data issues."""

    def notify(self, text: str) -> None:
        """Show a one-line message."""


class LiveRun(ABC):
    """A running run in an experiment tracker. `run_id` is None if the tracker is unavailable."""

    def __init__(self) -> None:
        self.run_id: str | None = None

    @abstractmethod
    def log_epoch(self, stage: str, epoch: int, values: dict[str, float]) -> None:
        """Log the metrics of an epoch."""

    @abstractmethod
    def end(self, status: str) -> None:
        """Close a run without a record: FAILED, or KILLED if it was interrupted and can be resumed."""

    @abstractmethod
    def fail(self, record: Record) -> None:
        """Close a failed run and log its error: KILLED if a search pruned it, else FAILED."""


class ExperimentTracker(ABC):
    """An experiment tracker in which runs are shown and records published. Its failures never fail a run.

    `unavailable_reason` is the error of the last call that could not reach it, None if the last call succeeded.
    """

    def __init__(self, results: Path) -> None:
        self.results = results
        self.unavailable_reason: str | None = None

    @abstractmethod
    def start_run(self, spec: RunSpec, arm: str, preset: str, folder: RunFolder, parent: str = "") -> LiveRun:
        """Open a run that starts or resumes, as a child of the study or search `parent` if it is not empty."""

    @abstractmethod
    def publish(self, folder: RunFolder, record: Record, live_run: LiveRun | None = None) -> str | None:
        """Publish a finished record once; return its run id, or None if the tracker is unavailable."""

    @abstractmethod
    def find_run_id(self, folder: RunFolder) -> str | None:
        """Return the run id of the published record of a folder, from local notes, without contacting the tracker."""

    @abstractmethod
    def end_orphaned_runs(self) -> int:
        """Mark runs left open by dead processes of this machine as killed; return their number."""

    @abstractmethod
    def start_parent_run(self, dataset: str, data: str, name: str, params: dict[str, Any]) -> str | None:
        """Open a study or search that starts or resumes; return its run id, or None if the tracker is unavailable."""

    @abstractmethod
    def finish_parent_run(
        self,
        dataset: str,
        data: str,
        name: str,
        status: ParentStatus,
        metrics: dict[str, float],
        files: Sequence[Path],
        tags: dict[str, str],
    ) -> None:
        """Close a study or search with its metrics, files and tags. May be called again; missing files are skipped."""

    @abstractmethod
    def tag_run(self, folder: RunFolder, tags: dict[str, str]) -> None:
        """Add tags to the run of a folder, such as the mark of a search's best trial."""

    @abstractmethod
    def retry(self) -> None:
        """Allow calls again after the tracker was unavailable."""


def find_best_epoch(folder: Path, metric: Metric) -> int | None:
    """Return the number of epochs after which a metric on val was best in a run's curves, ties by the smaller loss.

    None if val was not scored.
    """
    ranks = [
        (*rank, -epoch) for _, epoch, values in read_curves(folder) if (rank := metric.rank_epoch(values)) is not None
    ]
    return 1 - max(ranks)[2] if ranks else None


class Pruned(Exception):
    """Raised to end a trial that a search has pruned."""


class RunTracker:
    """The Tracker of a fit: forwards to a LiveRun and a ProgressReporter, and collects curves and explanations.

    `selection_name` is the split passed to the fit as val; metrics named `val/...` are logged under its name.
    """

    def __init__(
        self,
        live_run: LiveRun,
        reporter: ProgressReporter,
        folder: RunFolder,
        timer: Timer,
        selection_name: str = "val",
        pruning_callback: PruningCallback | None = None,
        metric: Metric = ACCURACY,
    ) -> None:
        self._live_run, self._reporter, self._folder, self._timer = live_run, reporter, folder, timer
        self._selection_name, self._pruning_callback, self._metric = selection_name, pruning_callback, metric
        self.selected_epoch: int | None = None
        self._curves: dict[tuple[str, int], dict[str, float]] = {}
        self.explanations: dict[str, dict[str, Explanation]] = {}  # by stage and clip key

    def log_epoch(self, stage: str, epoch: int, values: dict[str, float]) -> None:
        """Store and log the metrics of an epoch, without values that are not finite.

        Raises Pruned for a trial that a search ends.
        """
        self._curves[stage, epoch] = self._name_selection_split(values)
        self._live_run.log_epoch(stage, epoch, self._curves[stage, epoch])
        value = values.get(f"val/{self._metric.name}")
        if self._pruning_callback is not None and value is not None:
            self._pruning_callback(epoch, value)

    def before_checkpoint(self) -> None:
        """Write the seconds spent so far, so that a resumed run's timer matches its checkpoint."""
        atomic_write(self._folder.checkpoints / SECONDS_FILE, json.dumps(self._timer.get_seconds()).encode())

    def _name_selection_split(self, values: dict[str, float]) -> dict[str, float]:
        """Return the finite values, those of val under the name of the split they were computed on."""
        return {
            f"{self._selection_name}/{name.removeprefix('val/')}" if name.startswith("val/") else name: value
            for name, value in values.items()
            if math.isfinite(value)
        }

    def report_progress(self, stage: str, done: int, total: int) -> None:
        """Show the progress of a stage."""
        self._reporter.report_progress(stage, done, total)

    def report_epoch(self, stage: str, epoch: int, epochs: int, values: dict[str, float]) -> None:
        """Show the numbers of a finished epoch."""
        self._reporter.report_epoch(stage, epoch, epochs, self._name_selection_split(values), self._metric)

    def notify(self, text: str) -> None:
        """Show a one-line message to the user."""
        self._reporter.notify(text)

    def log_selected_epoch(self, epochs: int) -> None:
        """Store the number of epochs after which the score on val was best."""
        self.selected_epoch = epochs

    def log_explanations(self, stage: str, explanations: dict[str, Explanation]) -> None:
        """Store the explanations of a finished stage, by clip key."""
        self.explanations[stage] = explanations

    def list_curves(self) -> list[dict[str, Any]]:
        """Return the curves: stage, epoch and values of each epoch."""
        return [{"stage": stage, "epoch": epoch, "values": v} for (stage, epoch), v in self._curves.items()]

    def make_notes(self, splits: DatasetSplits, review: Review | None) -> dict[str, float]:
        """Return the notes of the record: the last epoch's metrics without scores, and the method's `review` of each
        stage."""
        last = {stage: values for (stage, _), values in self._curves.items()}
        notes = {
            name: v
            for values in last.values()
            for name, v in values.items()
            if not name.startswith((f"{self._selection_name}/", "val/"))
        }
        if review is None:
            return notes
        keys = {
            "train": [clip.key for clip in splits.train.clips],
            "val": [clip.key for clip in splits.val.clips],
        }
        for stage, explanations in self.explanations.items():
            notes |= {f"{stage}/{name}": value for name, value in review(splits.truth, explanations, keys).items()}
        return notes
