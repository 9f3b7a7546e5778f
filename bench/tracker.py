"""The tracker of a running fit: curves, progress and explanations, and the notes of its record."""

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
from bench.timing import Timer
from bench.types import DataIssue, DatasetSplits, Explanation

SECONDS_FILE = "seconds.json"  # among the checkpoints: what a run that goes on had spent


ParentStatus = Literal["FINISHED", "FAILED", "KILLED"]
PruningCallback = Callable[[int, float], None]
"""Is told `val/acc_e` after each epoch that val judges (from 0); it may raise Pruned."""


class ProgressReporter(Protocol):
    """Where a run tells a person what happens."""

    def start_run(self, title: str) -> None:
        """Show that a run begins."""

    def report_progress(self, what: str, done: int, total: int) -> None:
        """Show that `done` of `total` pieces of some long work are done."""

    def report_epoch(self, stage: str, epoch: int, epochs: int, values: dict[str, float]) -> None:
        """Show that `epoch` of `epochs` epochs are finished, with the numbers of the last; none when a stage starts."""

    def report_data(self, corpus_sample: bool, problems: Sequence[DataIssue]) -> None:
        """Show what data are used, and what is wrong with them."""

    def notify(self, text: str) -> None:
        """Show one line that a person should know."""


class LiveRun(ABC):
    """A run that is being made, as a tracking service shows it. `run_id` is None where it shows none."""

    def __init__(self) -> None:
        self.run_id: str | None = None

    @abstractmethod
    def log_epoch(self, stage: str, epoch: int, values: dict[str, float]) -> None:
        """Log the numbers of an epoch."""

    @abstractmethod
    def end(self, status: str) -> None:
        """Close a run without a record: FAILED, or KILLED where it was interrupted and may be resumed."""

    @abstractmethod
    def fail(self, record: Record) -> None:
        """Close a run that brought no scores, with its reason: KILLED where a search gave it up, else FAILED."""


class ExperimentTracker(ABC):
    """A service in which runs are shown and records published; none of its failures may fail a run.

    `unavailable_reason` says why it could not be reached the last time, None where it could.
    """

    def __init__(self, results: Path) -> None:
        self.results = results
        self.unavailable_reason: str | None = None

    @abstractmethod
    def start_run(self, spec: RunSpec, arm: str, preset: str, folder: RunFolder, parent: str = "") -> LiveRun:
        """Show a run that starts or resumes, below the study or search `parent` where one is named."""

    @abstractmethod
    def publish(self, folder: RunFolder, record: Record, live_run: LiveRun | None = None) -> str | None:
        """Publish a finished record once; return its run id, or None while the service is away."""

    @abstractmethod
    def find_run_id(self, folder: RunFolder) -> str | None:
        """Return the run id under which the finished record of a folder is published, without asking the service."""

    @abstractmethod
    def end_orphaned_runs(self) -> int:
        """Mark runs that dead processes of this machine left open as killed; return how many."""

    @abstractmethod
    def start_parent_run(self, dataset: str, data: str, name: str, params: dict[str, Any]) -> str | None:
        """Show a study or search that starts or resumes; return its run id, or None while the service is away."""

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
        """Close a study or search with what it found, perhaps again; files that are missing are left out."""

    @abstractmethod
    def tag_run(self, folder: RunFolder, tags: dict[str, str]) -> None:
        """Mark the run of a folder, say as the winner of a search."""

    @abstractmethod
    def retry(self) -> None:
        """Let a service that was away be called once more."""


def find_best_epoch(folder: Path) -> int | None:
    """After how many epochs the curves beside a record are best on val, ties by the smaller loss; None without val."""
    ranks = [
        (values["val/acc_e"], -values.get("val/loss", 0.0), -epoch)
        for _, epoch, values in read_curves(folder)
        if "val/acc_e" in values
    ]
    return 1 - max(ranks)[2] if ranks else None


class Pruned(Exception):
    """A search gives this trial up."""


class RunTracker:
    """The Tracker of a fit's context. `curve` is the split whose scores the fit is told as val's."""

    def __init__(
        self,
        live_run: LiveRun,
        screen: ProgressReporter,
        folder: RunFolder,
        timer: Timer,
        curve: str = "val",
        watch: PruningCallback | None = None,
    ) -> None:
        self._live_run, self._reporter, self._folder, self._timer = live_run, screen, folder, timer
        self._selection_name, self._pruning_callback = curve, watch
        self.selected_epoch: int | None = None
        self._curves: dict[tuple[str, int], dict[str, float]] = {}
        self.explanations: dict[str, dict[str, Explanation]] = {}  # by stage and clip key

    def log_epoch(self, stage: str, epoch: int, values: dict[str, float]) -> None:
        """Keep the numbers of an epoch once, and publish them; what is no number is left out."""
        self._curves[stage, epoch] = self._name_selection_split(values)
        self._live_run.log_epoch(stage, epoch, self._curves[stage, epoch])
        if self._pruning_callback is not None and "val/acc_e" in values:
            self._pruning_callback(epoch, values["val/acc_e"])

    def before_checkpoint(self) -> None:
        """Keep the seconds spent so far before each checkpoint, so that they are never those of an older one."""
        atomic_write(self._folder.checkpoints / SECONDS_FILE, json.dumps(self._timer.get_seconds()).encode())

    def _name_selection_split(self, values: dict[str, float]) -> dict[str, float]:
        """Return the finite values, those of val under the name of the split they were computed on."""
        return {
            f"{self._selection_name}/{name.removeprefix('val/')}" if name.startswith("val/") else name: value
            for name, value in values.items()
            if math.isfinite(value)
        }

    def report_progress(self, stage: str, done: int, total: int) -> None:
        """Move the bar."""
        self._reporter.report_progress(stage, done, total)

    def report_epoch(self, stage: str, epoch: int, epochs: int, values: dict[str, float]) -> None:
        """Show the numbers of a finished epoch."""
        self._reporter.report_epoch(stage, epoch, epochs, self._name_selection_split(values))

    def notify(self, text: str) -> None:
        """One line for the person who waits."""
        self._reporter.notify(text)

    def log_selected_epoch(self, epochs: int) -> None:
        """Keep when val liked the model best."""
        self.selected_epoch = epochs

    def log_explanations(self, stage: str, explanations: dict[str, Explanation]) -> None:
        """Keep what the model of a finished stage tells about the clips."""
        self.explanations[stage] = explanations

    def list_curves(self) -> list[dict[str, Any]]:
        """The curves, epoch by epoch."""
        return [{"stage": stage, "epoch": epoch, "values": v} for (stage, epoch), v in self._curves.items()]

    def make_notes(self, splits: DatasetSplits, review: Review | None) -> dict[str, float]:
        """The last epoch's numbers that are no scores, and what the method's `review` says of each stage."""
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
        for stage, told in self.explanations.items():
            notes |= {f"{stage}/{name}": value for name, value in review(splits.truth, told, keys).items()}
        return notes
