"""What the models did with validation clips: the pictures of a run, drawn again for a report."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING

from bench.errors import StoreError
from bench.explained import HEADER, NUMBERS, read_explained
from reports.clips.pictures import PICTURES
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
    """The pictures of one run: the first finished one of a full method that drew some; None without any."""
    for run in (run for part in parts for run in part.frame.runs if run.arm == part.full and not run.failed):
        names = [name for name in PICTURES if name in run.record.files]
        if names and all((run.folder / name).is_file() for name in (HEADER, NUMBERS)) and _is_readable(run):
            of = f"{run.label} on {run.card.title}, seed {run.record.spec.seed} (run {run.record.key})"
            made = tuple(_picture(name, run) for name in names)
            return Section("clips", "What it does with clips", (f"{of}; validation clips.",), (), made)
    return None


def _is_readable(run: Run) -> bool:
    try:
        return read_explained(run.folder) is not None
    except StoreError:
        return False


def _picture(name: str, run: Run) -> Picture:
    stem = name.removesuffix(".png")
    caption = f"{CAPTIONS[name]} Run {run.record.key}."
    return Picture(f"clips_{stem}", stem.capitalize(), caption, partial(_draw, name, run), ())


def _draw(name: str, run: Run) -> Figure:
    """Draw a picture of the run again from its stored explanations. Raises StoreError where they do not allow it."""
    told = read_explained(run.folder)
    try:
        figure = PICTURES[name](told) if told is not None else None
    except (IndexError, KeyError, TypeError, ValueError) as error:  # arrays that do not belong together
        raise StoreError(f"{name} of run {run.record.key} cannot be drawn ({type(error).__name__}: {error})") from None
    if figure is None:
        raise StoreError(
            f"run {run.record.key} has nothing to draw {name} of any more; `python bench.py sync` brings it"
        )
    return figure
