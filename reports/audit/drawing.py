"""The figures of a report drawn and written: many of them by several processes, each figure by one."""

from __future__ import annotations

import multiprocessing
import os
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING

from bench.children import work_alone
from reports.page.page import Drawn
from reports.plots.style import as_png, as_svg, save
from reports.report import Picture

if TYPE_CHECKING:
    from matplotlib.figure import Figure

MANY = 8  # figures from which other processes are worth their start
MOST = 4  # of them
HEAVY = 150_000  # bytes of an SVG from which the page shows a PNG
DRAWN = ("pdf", "png")  # what `save` makes of a figure


def draw_all(pictures: Sequence[Picture], folder: Path, progress: Callable[[int], None]) -> dict[str, Drawn]:
    """Write every figure as PDF and PNG into a folder; its name -> what the page shows. Told how many are done."""
    cores = min(MOST, os.cpu_count() or 1)
    shown: dict[str, Drawn] = {}
    if len(pictures) < MANY or cores < 2:
        for place, picture in enumerate(pictures):
            progress(place)
            shown[picture.name] = draw_one(picture, folder)
        return shown
    context = multiprocessing.get_context("spawn")  # this process may have threads
    with ProcessPoolExecutor(cores, mp_context=context, initializer=work_alone) as pool:
        waiting = [(picture.name, pool.submit(draw_one, picture, folder)) for picture in pictures]
        for place, (name, drawn) in enumerate(waiting):
            progress(place)
            shown[name] = drawn.result()
    return shown


def draw_one(picture: Picture, folder: Path) -> Drawn:
    """Write a figure; for the page lines as SVG, sharp at any size, and what would be heavy as a PNG."""
    figure: Figure = picture.draw()
    save(figure, folder / picture.name)
    drawn = as_svg(figure).encode()
    return Drawn("image/svg+xml", drawn) if len(drawn) <= HEAVY else Drawn("image/png", as_png(figure))
