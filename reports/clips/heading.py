"""What every picture of a run says above itself: of which method and data set, and whether it is the sample."""

from __future__ import annotations

from textwrap import fill
from typing import TYPE_CHECKING

from bench.explained import Explained

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from matplotlib.text import Text

LETTERS = 11  # of a title that fit on an inch


def heading(figure: Figure, what: str, explained: Explained) -> Text:
    """Put the title over a figure, in as many lines as its width asks for."""
    of = f"{explained.title} (BUILT-IN SAMPLE)" if explained.sample else explained.title
    title = fill(f"{what}: {explained.method} on {of}, validation clips", int(LETTERS * figure.get_figwidth()))
    return figure.suptitle(title, fontsize=11, x=0.01, ha="left", parse_math=False)


def name_clip(explained: Explained, key: str) -> str:
    """A clip by its key and its class."""
    name = explained.classes[explained.labels[key]]
    return f"{key.removeprefix(f'{name}/')}, labelled {name}"
