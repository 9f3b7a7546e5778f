"""Drawing that methods and reports share: colours, and headings of figures of a clip."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from textwrap import fill

from matplotlib.figure import Figure
from matplotlib.text import Text

from bench.explanations import RunExplanations

GREY = "#555555"
TITLE_CHARS_PER_INCH = 11  # of a title that fit on an inch


@dataclass(frozen=True)
class ClipFigure:
    """A figure of what a finished run tells of clips."""

    title: str
    caption: str
    draw: Callable[[RunExplanations], Figure | None]  # None where the run tells nothing of the kind


def add_title(figure: Figure, what: str, explained: RunExplanations) -> Text:
    """Put the title over a figure, in as many lines as its width asks for: which method on which data set, and whether
    these are the sample."""
    of = f"{explained.title} (BUILT-IN SAMPLE)" if explained.sample else explained.title
    title = fill(
        f"{what}: {explained.method} on {of}, validation clips", int(TITLE_CHARS_PER_INCH * figure.get_figwidth())
    )
    return figure.suptitle(title, fontsize=11, x=0.01, ha="left", parse_math=False)


def format_clip_name(explained: RunExplanations, key: str) -> str:
    """A clip by its key and its class."""
    name = explained.classes[explained.labels[key]]
    return f"{key.removeprefix(f'{name}/')}, labelled {name}"
