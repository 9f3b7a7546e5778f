"""The stored test predictions of a report's runs, each read once."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from bench.errors import StoreError
from bench.metrics import Predictions
from bench.outputs import read_predictions
from reports.results.run import Run

if TYPE_CHECKING:
    import numpy as np


@dataclass(frozen=True)
class Tested:
    """Runs of one line over the same clips: R seeds, n clips; the clips of several folds stand one after the other."""

    right: np.ndarray  # (R, n) bool
    labels: np.ndarray  # (n,)
    groups: tuple[str, ...]  # n; a clip in several folds has one group
    even: bool  # folds have equally many clips, so that the mean over clips is that over runs


@dataclass
class Shelf:
    """Reads predictions when they are wanted; `missing` are the runs whose file is not here or cannot be read."""

    missing: dict[str, str] = field(default_factory=dict)  # key -> why
    _read: dict[str, dict[str, Predictions] | None] = field(default_factory=dict)

    def of(self, run: Run) -> Predictions | None:
        """The test predictions of a run; None where they are not here."""
        return (self.splits(run) or {}).get("test")

    def splits(self, run: Run) -> dict[str, Predictions] | None:
        """Split -> predictions of a run; None where they are not here."""
        key = run.record.key
        if key not in self._read:
            try:
                self._read[key] = read_predictions(run.folder, run.card)
            except StoreError as error:
                self._read[key], self.missing[key] = None, str(error)
        return self._read[key]

    def tested(self, runs: Sequence[Run]) -> Tested | None:
        """The clips of runs, one row a seed; None where a file is missing, or where seeds have not the same folds and
        clips."""
        import numpy as np

        by_seed: dict[int, dict[int, Predictions]] = {}
        for run in runs:
            found = self.of(run)
            if found is None:
                return None
            by_seed.setdefault(run.record.spec.seed, {})[run.record.spec.fold] = found
        rows = [[by_fold[fold] for fold in sorted(by_fold)] for by_fold in by_seed.values()]
        if not rows or any(_clips(row) != _clips(rows[0]) for row in rows):
            return None
        right = np.stack([np.concatenate([one.predicted == one.label for one in row]) for row in rows])
        labels = np.concatenate([one.label for one in rows[0]])
        even = len({len(one.keys) for one in rows[0]}) == 1
        return Tested(right, labels, tuple(name for one in rows[0] for name in one.groups or one.keys), even)


def _clips(row: Sequence[Predictions]) -> list[tuple[str, ...]]:
    return [one.keys for one in row]
