"""What a fit tells while it runs: curves, progress, explanations; kept, published, and turned into a record's notes."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Protocol

from bench.clock import Clock
from bench.data import Corpus, Explanation, Problem
from bench.files import write_whole
from bench.live import Live
from bench.method import Review
from bench.outputs import read_points
from bench.record import RunFolder

SECONDS = "seconds.json"  # among the checkpoints: what a run that goes on had spent


class Screen(Protocol):
    """Where a run tells a person what happens."""

    def start_run(self, title: str) -> None:
        """A run begins."""
        ...

    def progress(self, what: str, done: int, total: int) -> None:
        """`done` of `total` pieces of some long work."""
        ...

    def corpus(self, corpus_sample: bool, problems: Sequence[Problem]) -> None:
        """What data are used, and what is wrong with them."""
        ...

    def notice(self, text: str) -> None:
        """One line that a person should know."""
        ...


def best_epoch(folder: Path) -> int | None:
    """After how many epochs the curves beside a record are best on val, ties by the smaller loss; None without val."""
    ranks = [
        (values["val/acc_e"], -values.get("val/loss", 0.0), -epoch)
        for _, epoch, values in read_points(folder)
        if "val/acc_e" in values
    ]
    return 1 - max(ranks)[2] if ranks else None


class Pruned(Exception):
    """A search gives this trial up."""


Watch = Callable[[int, float], None]
"""Is told `val/acc_e` after each epoch that val judges (from 0); it may raise Pruned."""


class Notebook:
    """The Tracker of a fit's context. `curve` is the split whose scores the fit is told as val's."""

    def __init__(
        self,
        live: Live,
        screen: Screen,
        folder: RunFolder,
        clock: Clock,
        curve: str = "val",
        watch: Watch | None = None,
    ) -> None:
        self._live, self._screen, self._folder, self._clock = live, screen, folder, clock
        self._curve, self._watch = curve, watch
        self.chosen: int | None = None
        self._curves: dict[tuple[str, int], dict[str, float]] = {}
        self._told: dict[str, dict[str, Explanation]] = {}

    def epoch(self, stage: str, epoch: int, values: dict[str, float]) -> None:
        """Keep the numbers of an epoch once, and publish them; what is no number is left out."""
        self._curves[stage, epoch] = {
            f"{self._curve}/{name.removeprefix('val/')}" if name.startswith("val/") else name: value
            for name, value in values.items()
            if math.isfinite(value)
        }
        self._live.log_epoch(stage, epoch, self._curves[stage, epoch])
        if self._watch is not None and "val/acc_e" in values:
            self._watch(epoch, values["val/acc_e"])

    def keep(self) -> None:
        """Keep the seconds spent so far before each checkpoint, so that they are never those of an older one."""
        write_whole(self._folder.checkpoints / SECONDS, json.dumps(self._clock.seconds()).encode())

    def progress(self, stage: str, done: int, total: int) -> None:
        """Move the bar."""
        self._screen.progress(stage, done, total)

    def notice(self, text: str) -> None:
        """One line for the person who waits."""
        self._screen.notice(text)

    def chose(self, epochs: int) -> None:
        """Keep when val liked the model best."""
        self.chosen = epochs

    def explain(self, stage: str, explanations: dict[str, Explanation]) -> None:
        """Keep what the model of a finished stage tells about the clips."""
        self._told[stage] = explanations

    @property
    def told(self) -> dict[str, dict[str, Explanation]]:
        """Stage -> clip key -> what was told."""
        return self._told

    def curves(self) -> list[dict[str, Any]]:
        """The curves, epoch by epoch."""
        return [{"stage": stage, "epoch": epoch, "values": v} for (stage, epoch), v in self._curves.items()]

    def notes(self, corpus: Corpus, review: Review | None) -> dict[str, float]:
        """The last epoch's numbers that are no scores, and what the method's `review` says of each stage."""
        last = {stage: values for (stage, _), values in self._curves.items()}
        notes = {
            name: v
            for values in last.values()
            for name, v in values.items()
            if not name.startswith((f"{self._curve}/", "val/"))
        }
        if review is None:
            return notes
        splits = {
            split: [clip.key for clip in clips.clips] for split, clips in (("train", corpus.train), ("val", corpus.val))
        }
        for stage, told in self._told.items():
            notes |= {f"{stage}/{name}": value for name, value in review(corpus.truth, told, splits).items()}
        return notes
