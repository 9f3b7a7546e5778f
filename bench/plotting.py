"""Figures of single clips: what a method declares of one, and what all of them say above themselves."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from textwrap import fill
from typing import TYPE_CHECKING

from bench.explained import Explained

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from matplotlib.text import Text

GREY = "#555555"
LETTERS = 11  # of a title that fit on an inch


@dataclass(frozen=True)
class ClipFigure:
    """A figure of what a finished run tells of clips."""

    title: str
    caption: str
    draw: Callable[[Explained], Figure | None]  # None where the run tells nothing of the kind


def heading(figure: Figure, what: str, explained: Explained) -> Text:
    """Put the title over a figure, in as many lines as its width asks for: which method on which data set, and whether
    these are the sample."""
    of = f"{explained.title} (BUILT-IN SAMPLE)" if explained.sample else explained.title
    title = fill(f"{what}: {explained.method} on {of}, validation clips", int(LETTERS * figure.get_figwidth()))
    return figure.suptitle(title, fontsize=11, x=0.01, ha="left", parse_math=False)


def name_clip(explained: Explained, key: str) -> str:
    """A clip by its key and its class."""
    name = explained.classes[explained.labels[key]]
    return f"{key.removeprefix(f'{name}/')}, labelled {name}"
