"""All pictures of a finished run, drawn from the files in its folder."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from bench.data import Card
from bench.explained import Explained, read_explained
from bench.files import whole
from bench.metrics import Predictions
from reports.clips.confusion import draw_confusion
from reports.clips.emotions import emotions
from reports.clips.features import FEWEST, differing, features, features_of
from reports.clips.maskings import maskings
from reports.clips.words import words

if TYPE_CHECKING:
    from matplotlib.figure import Figure

PICTURES: dict[str, Callable[[Explained], Figure | None]] = {
    "emotions.png": emotions,
    "maskings.png": maskings,
    "words.png": words,
    "features.png": features,
}


def draw_all(
    folder: Path, card: Card, predictions: Predictions, sample: bool, notice: Callable[[str], None] = lambda text: None
) -> list[str]:
    """Draw what there is to draw; the names of the pictures."""
    names = [draw_confusion(folder, card, predictions, sample)]
    explained = read_explained(folder)
    if explained is None:
        return names
    for name, draw in PICTURES.items():
        figure = draw(explained)
        if figure is not None:
            with whole(folder / name) as temporary:
                figure.savefig(temporary, format="png", dpi=130)
            names.append(name)
    told = features_of(explained)
    if told is not None and differing(told[0]) < FEWEST:
        notice(f"no map of features: it wants {FEWEST} validation clips that differ, there are {differing(told[0])}")
    return names
