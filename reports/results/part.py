"""A study as it is reported: its question, its runs, and what its lines are held against."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from bench.plotting import ClipFigure
from reports.results.frame import Frame

LONG = 60  # signs


@dataclass(frozen=True)
class Part:
    """A study as it is reported."""

    name: str
    question: str
    kind: str  # of its own tables: "scores", "optimism", or one that methods describe their parts for
    full: str  # the arm that others are held against
    controls: tuple[str, ...]
    frame: Frame
    papers: tuple[Path, ...] = ()  # files of published numbers, each of which has tables of its own
    figures: Mapping[str, ClipFigure] = field(default_factory=dict)  # file name -> figure of the full arm's own

    def labels(self, arm: str) -> list[str]:
        """The lines of an arm: one, or one for each way of tuning."""
        return list(dict.fromkeys(run.label for run in self.frame.runs if run.arm == arm))


def slug(name: str) -> str:
    """A name as part of a file's name: Latin letters, digits and hyphens; where it is more, or long, with a hash."""
    plain = re.sub(r"[^A-Za-z0-9]+", "-", name).strip("-")[:LONG]
    return plain if plain == name else f"{plain or 'data'}-{hashlib.sha256(name.encode()).hexdigest()[:6]}"
