"""All pictures of a finished run, drawn from the files in its folder."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

from bench.data import Card
from bench.explained import read_explained
from bench.files import whole
from bench.metrics import Predictions
from bench.plotting import ClipFigure
from reports.clips.confusion import draw_confusion
from reports.clips.emotions import emotions
from reports.clips.features import FEWEST, differing, features, features_of

PICTURES = {
    "emotions.png": ClipFigure(
        "Emotions", "How much of each emotion each segment carries (Fig. 6b of the paper).", emotions
    ),
    "features.png": ClipFigure(
        "Features",
        "Clip features of the finished model, t-SNE, every validation clip by its class (Fig. 6c).",
        features,
    ),
}
"""File name -> figure, of those that runs of any method may have."""


def all_pictures(own: Mapping[str, ClipFigure]) -> dict[str, ClipFigure]:
    """File name -> figure, of all that runs of a method with figures of its `own` may have: the map comes last."""
    return dict(sorted({**PICTURES, **own}.items(), key=lambda item: item[0] == "features.png"))


def draw_all(
    folder: Path,
    card: Card,
    predictions: Predictions,
    sample: bool,
    own: Mapping[str, ClipFigure],
    notice: Callable[[str], None] = lambda text: None,
) -> list[str]:
    """Draw what there is to draw, with the figures that are the method's `own`; the names of the pictures."""
    names = [draw_confusion(folder, card, predictions, sample)]
    explained = read_explained(folder)
    if explained is None:
        return names
    for name, one in all_pictures(own).items():
        figure = one.draw(explained)
        if figure is not None:
            with whole(folder / name) as temporary:
                figure.savefig(temporary, format="png", dpi=130)
            names.append(name)
    told = features_of(explained)
    if told is not None and differing(told[0]) < FEWEST:
        notice(f"no map of features: it wants {FEWEST} validation clips that differ, there are {differing(told[0])}")
    return names
