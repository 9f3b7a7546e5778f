"""What the models did with validation clips: the pictures of a run, drawn again for a report."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING

from bench.errors import StoreError
from bench.explained import HEADER, NUMBERS, read_explained
from bench.plotting import ClipFigure
from reports.clips.pictures import all_pictures
from reports.report import Picture, Section
from reports.results.part import Part
from reports.results.run import Run

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def explained_section(parts: Sequence[Part]) -> Section | None:
    """The pictures of one run: the first finished one of a full method that drew some; None without any."""
    full = ((run, part.figures) for part in parts for run in part.frame.runs if run.arm == part.full and not run.failed)
    for run, own in full:
        drawn = {name: figure for name, figure in all_pictures(own).items() if name in run.record.files}
        if drawn and all((run.folder / name).is_file() for name in (HEADER, NUMBERS)) and _is_readable(run):
            of = f"{run.label} on {run.card.title}, seed {run.record.spec.seed} (run {run.record.key})"
            made = tuple(_picture(name, figure, run) for name, figure in drawn.items())
            return Section("clips", "What it does with clips", (f"{of}; validation clips.",), (), made)
    return None


def _is_readable(run: Run) -> bool:
    try:
        return read_explained(run.folder) is not None
    except StoreError:
        return False


def _picture(name: str, figure: ClipFigure, run: Run) -> Picture:
    caption = f"{figure.caption} Run {run.record.key}."
    return Picture(f"clips_{name.removesuffix('.png')}", figure.title, caption, partial(_draw, name, figure, run), ())


def _draw(name: str, wanted: ClipFigure, run: Run) -> Figure:
    """Draw a picture of the run again from its stored explanations. Raises StoreError where they do not allow it."""
    told = read_explained(run.folder)
    try:
        figure = wanted.draw(told) if told is not None else None
    except (IndexError, KeyError, TypeError, ValueError) as error:  # arrays that do not belong together
        raise StoreError(f"{name} of run {run.record.key} cannot be drawn ({type(error).__name__}: {error})") from None
    if figure is None:
        raise StoreError(
            f"run {run.record.key} has nothing to draw {name} of any more; `python bench.py sync` brings it"
        )
    return figure
