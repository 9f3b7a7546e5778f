"""What the models did with validation clips: the pictures of a run, drawn again for a report."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING

from bench.errors import StoreError
from bench.explained import read_explained
from reports.pictures import PICTURES
from reports.report import Picture, Section
from reports.results.part import Part
from reports.results.run import Run

if TYPE_CHECKING:
    from matplotlib.figure import Figure

CAPTIONS = {
    "emotions.png": "How much of each emotion each segment carries (Fig. 6b of the paper).",
    "maskings.png": "What is hidden: grey covers what the last epoch masks, orange what it leaves as hints (Fig. 4).",
    "words.png": "Words kept, and dropped by which stage of verification (Fig. 5b).",
    "features.png": "Clip features of the finished model, t-SNE, every validation clip by its class (Fig. 6c).",
}


def explained_section(parts: Sequence[Part]) -> Section | None:
    """The pictures of one run: the first finished one of a full method that told of its clips; None without any."""
    for run in (run for part in parts for run in part.frame.runs if run.arm == part.full and not run.failed):
        try:
            told = read_explained(run.folder)
        except (StoreError, OSError, ValueError, KeyError):
            continue
        if told is not None:
            drawn = {name: figure for name, draw in PICTURES.items() if (figure := draw(told)) is not None}
            made = tuple(_picture(name, figure, run) for name, figure in drawn.items())
            of = f"{run.label} on {run.card.title}, seed {run.record.spec.seed} (run {run.record.key})"
            return Section("clips", "What it does with clips", (f"{of}; validation clips.",), (), made)
    return None


def _picture(name: str, figure: Figure, run: Run) -> Picture:
    stem = name.removesuffix(".png")
    caption = f"{CAPTIONS[name]} Run {run.record.key}."
    return Picture(f"clips_{stem}", stem.capitalize(), caption, partial(_same, figure), ())


def _same(figure: Figure) -> Figure:
    return figure
