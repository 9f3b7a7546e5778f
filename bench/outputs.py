"""The files that stand beside a record: everything needed to recompute its scores and to build its model again."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from bench.cards import CARD, write_card
from bench.data import Card, Corpus, Explanation
from bench.errors import StoreError
from bench.explained import write_explained
from bench.files import is_plain_file, parse_json, sha256, whole, write_whole
from bench.method import Predictor
from bench.metrics import Predictions
from bench.plotting import ClipFigure
from bench.record import Record, RunSpec

CONFIG, CURVES, PREDICTIONS, WEIGHTS = "config.json", "curves.json", "predictions.parquet", "weights.safetensors"

Point = tuple[str, int, dict[str, float]]
"""Stage, epoch and its numbers."""

Draw = Callable[[Path, Card, Predictions, bool, Mapping[str, ClipFigure]], list[str]]
"""Draws into a folder the test predictions (of the sample?) and what the files there explain, with the figures of the
method; the pictures' names."""


def write_outputs(
    folder: Path,
    spec: RunSpec,
    arm: str,
    corpus: Corpus,
    predictions: dict[str, Predictions],
    curves: list[dict[str, Any]],
    told: Mapping[str, Mapping[str, Explanation]],
    draw: Draw,
    figures: Mapping[str, ClipFigure],
    predictor: Predictor | None,
) -> dict[str, str]:
    """Config, card, curves, predictions, explanations, pictures, and the weights of a predictor that is to be kept:
    name -> sha256."""
    names = [CONFIG, CARD, CURVES, PREDICTIONS, *write_explained(folder, arm, corpus, told)]
    write_card(folder, corpus.card)
    write_whole(folder / CONFIG, json.dumps(spec.config, indent=1, sort_keys=True).encode())
    write_whole(folder / CURVES, json.dumps(curves).encode())
    with whole(folder / PREDICTIONS) as temporary:
        _table(predictions, corpus.card).to_parquet(temporary, index=False)
    if "test" in predictions:
        names += draw(folder, corpus.card, predictions["test"], corpus.sample, figures)
    if predictor is not None:
        from safetensors.torch import save_file

        names.append(WEIGHTS)
        with whole(folder / WEIGHTS) as temporary:
            save_file({name: value.contiguous().cpu() for name, value in predictor.state_dict().items()}, temporary)
    return {name: sha256(folder / name) for name in names}


def read_points(folder: Path) -> list[Point]:
    """Read the curves beside a record, epoch by epoch; none where there is no file. Raises StoreError for a file that
    does not hold curves."""
    path = folder / CURVES
    try:
        raw = parse_json(path.read_bytes()) if path.exists() else []
        points = [(point["stage"], point["epoch"], dict(point["values"])) for point in raw]
        for stage, epoch, values in points:
            sound = isinstance(stage, str) and type(epoch) is int and 0 <= epoch < 2**31
            if not sound or any(type(one) not in (int, float) or not abs(one) < 1e300 for one in values.values()):
                raise ValueError("a value is not of its kind")
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise StoreError(f"{path} does not hold curves ({type(error).__name__}: {error})") from None
    return points


def missing(folder: Path, record: Record) -> list[str]:
    """The files of a record that are not on this machine, weights aside: those stay where they were trained."""
    return [name for name in record.files if name != WEIGHTS and not (folder / name).exists()]


def check_files(folder: Path, record: Record) -> None:
    """Raise StoreError unless the files that a record names are here and are those it names by their sha256.

    They may be absent after `sync --light`. Weights are not looked at, and links are not followed.
    """
    if lacking := missing(folder, record):
        raise StoreError(
            f"run {record.key} is here without {', '.join(lacking)}; `python bench.py sync` with the MLflow that has it"
            " brings its files"
        )
    for name, sha in record.files.items():
        if name != WEIGHTS and (not is_plain_file(folder / name) or sha256(folder / name) != sha):
            raise StoreError(f"{folder / name} was changed since its record was written, or is a link; restore it")


def read_predictions(folder: Path, card: Card) -> dict[str, Predictions]:
    """Split -> predictions, as they were written, in the same order. Raises StoreError where they cannot be read."""
    import numpy as np
    from pyarrow import ArrowException, array, compute, parquet

    path = folder / PREDICTIONS
    try:
        with parquet.ParquetFile(path) as file:  # of small files read_table takes twice the time
            table = file.read(use_threads=False)
        scores = np.stack([table[f"score/{name}"].to_numpy() for name in card.classes], axis=1)
        if not np.isfinite(scores).all():
            raise ValueError("a score is no number")
        splits, keys = table["split"].to_numpy(), table["clip"].to_numpy()
        groups = table["group"].to_numpy() if "group" in table.column_names else None
        places = compute.index_in(table["label"], value_set=array(card.classes))
        if places.null_count:
            raise ValueError("a label is no class of the card")
        label = places.to_numpy().astype(np.int64)
    except (OSError, KeyError, ValueError, ArrowException) as error:
        raise StoreError(f"{path} cannot be read as predictions ({type(error).__name__}: {error})") from None
    found = {}
    for split in dict.fromkeys(splits.tolist()):
        rows = splits == split
        of = tuple(groups[rows].tolist()) if groups is not None else ()
        found[str(split)] = Predictions(tuple(keys[rows].tolist()), label[rows], scores[rows], of)
    return found


def _table(predictions: dict[str, Predictions], card: Card) -> Any:
    """One row a clip: split, clip, group, label, predicted, and the score of every class."""
    import pandas

    frames = []
    for split, found in predictions.items():
        columns: dict[str, Any] = {
            "split": split,
            "clip": list(found.keys),
            "group": list(found.groups),
            "label": [card.classes[index] for index in found.label],
            "predicted": [card.classes[index] for index in found.predicted],
        }
        columns |= {f"score/{name}": found.scores[:, index] for index, name in enumerate(card.classes)}
        frames.append(pandas.DataFrame(columns))
    return pandas.concat(frames, ignore_index=True)
