"""A study as it is reported: its question, its runs, and what its lines are held against."""

from __future__ import annotations

import re
from dataclasses import dataclass

from reports.results.frame import Frame


@dataclass(frozen=True)
class Part:
    """A study as it is reported."""

    name: str
    question: str
    kind: str  # "scores", or a key of `components.PARTS`, or "optimism"
    full: str  # the arm that others are held against
    controls: tuple[str, ...]
    frame: Frame

    def labels(self, arm: str) -> list[str]:
        """The lines of an arm: one, or one for each way of tuning."""
        return list(dict.fromkeys(run.label for run in self.frame.runs if run.arm == arm))


def slug(name: str) -> str:
    """A name as part of a file's name."""
    return re.sub(r"[^A-Za-z0-9]+", "-", name).strip("-") or "data"
