"""Files of a run: predictions, curves, weights and dataset facts, enough to recompute its scores and load its model."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas
from pyarrow import ArrowException, array, compute, parquet

from bench.config import Config
from bench.errors import StoreError
from bench.explanations import ClipFigure, write_explanations
from bench.files import atomic_path, atomic_write, is_plain_file, parse_json, sha256
from bench.method import Method, Predictor
from bench.metrics import Predictions
from bench.record import Record, RunFolder, RunSpec, validate
from bench.types import DatasetInfo, DatasetSplits, Explanation

DATASET_INFO_FILE = "card.json"

CONFIG_FILE, CURVES_FILE, PREDICTIONS_FILE, WEIGHTS_FILE = (
    "config.json",
    "curves.json",
    "predictions.parquet",
    "weights.safetensors",
)

EpochValues = tuple[str, int, dict[str, float]]
"""Stage, epoch and its numbers."""

DrawFigures = Callable[[Path, DatasetInfo, Predictions, bool, Mapping[str, ClipFigure]], list[str]]
"""Draws into a folder the test predictions (of the sample?) and what the files there explain, with the figures of the
method; the pictures' names."""


def write_dataset_info(folder: Path, info: DatasetInfo) -> None:
    """Write the card into a run's folder."""
    raw = {**asdict(info), "emotions": {name: sorted(found) for name, found in info.emotions.items()}}
    atomic_write(folder / DATASET_INFO_FILE, (json.dumps(raw, indent=1, sort_keys=True) + "\n").encode())


def read_dataset_info(folder: Path) -> DatasetInfo | None:
    """Read the card that a run was made with; None where it stored none. Raises StoreError for a file that is no card:
    every value is of its type, and there is a sentiment of -1, 0 or 1 for each class."""
    path = folder / DATASET_INFO_FILE
    if not path.exists():
        return None
    try:
        info = validate(DatasetInfo, parse_json(path.read_text()))
        if not info.classes or not info.folds or len(set(info.classes)) != len(info.sentiment):
            raise ValueError("classes, sentiment and folds do not belong together")
        if not set(info.sentiment) <= {-1, 0, 1} or not set(info.emotions) <= set(info.classes):
            raise ValueError("sentiment or emotions are not those of its classes")
        return info
    except (OSError, ValueError) as error:
        reason = str(error).splitlines()[0]
        raise StoreError(f"{path} is no card ({type(error).__name__}: {ascii(reason)[1:-1]}); move it away") from None


def write_artifacts(
    folder: Path,
    spec: RunSpec,
    arm: str,
    splits: DatasetSplits,
    predictions: dict[str, Predictions],
    curves: list[dict[str, Any]],
    told: Mapping[str, Mapping[str, Explanation]],
    draw: DrawFigures,
    figures: Mapping[str, ClipFigure],
    predictor: Predictor | None,
) -> dict[str, str]:
    """Write all files of a run but its record, the weights where a predictor is to be kept; name -> sha256."""
    names = [CONFIG_FILE, DATASET_INFO_FILE, CURVES_FILE, PREDICTIONS_FILE]
    names += write_explanations(folder, arm, splits, told)
    write_dataset_info(folder, splits.info)
    atomic_write(folder / CONFIG_FILE, json.dumps(spec.config, indent=1, sort_keys=True).encode())
    atomic_write(folder / CURVES_FILE, json.dumps(curves).encode())
    with atomic_path(folder / PREDICTIONS_FILE) as temporary:
        _make_prediction_table(predictions, splits.info).to_parquet(temporary, index=False)
    if "test" in predictions:
        names += draw(folder, splits.info, predictions["test"], splits.is_sample, figures)
    if predictor is not None:
        from bench.evaluate import save_weights

        names.append(WEIGHTS_FILE)
        save_weights(folder / WEIGHTS_FILE, predictor)
    return {name: sha256(folder / name) for name in names}


def read_curves(folder: Path) -> list[EpochValues]:
    """Read the curves beside a record, epoch by epoch; none without a file. Raises StoreError for any other file."""
    path = folder / CURVES_FILE
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


def find_missing_files(folder: Path, record: Record) -> list[str]:
    """The files of a record that are not on this machine, weights aside: those stay where they were trained."""
    return [name for name in record.files if name != WEIGHTS_FILE and not (folder / name).exists()]


def check_files(folder: Path, record: Record) -> None:
    """Raise StoreError unless the files that a record names are here and are those it names by their sha256.

    They may be absent where version 0.1 brought a record alone. Weights are not looked at, and links are not followed.
    """
    if lacking := find_missing_files(folder, record):
        raise StoreError(
            f"run {record.key} is here without {', '.join(lacking)}; `python bench.py sync` with the MLflow that has it"
            " brings its files"
        )
    for name, sha in record.files.items():
        if name != WEIGHTS_FILE and (not is_plain_file(folder / name) or sha256(folder / name) != sha):
            raise StoreError(f"{folder / name} was changed since its record was written, or is a link; restore it")


def read_predictions(folder: Path, info: DatasetInfo) -> dict[str, Predictions]:
    """Split -> predictions, as they were written, in the same order. Raises StoreError where they cannot be read."""
    path = folder / PREDICTIONS_FILE
    try:
        with parquet.ParquetFile(path) as file:  # of small files read_table takes twice the time
            table = file.read(use_threads=False)
        scores = np.stack([table[f"score/{name}"].to_numpy() for name in info.classes], axis=1)
        if not np.isfinite(scores).all():
            raise ValueError("a score is no number")
        splits, keys = table["split"].to_numpy(), table["clip"].to_numpy()
        groups = table["group"].to_numpy() if "group" in table.column_names else None
        places = compute.index_in(table["label"], value_set=array(info.classes))
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


def _make_prediction_table(predictions: dict[str, Predictions], info: DatasetInfo) -> Any:
    """One row a clip: split, clip, group, label, predicted, and the score of every class."""
    frames = []
    for split, found in predictions.items():
        columns: dict[str, Any] = {
            "split": split,
            "clip": list(found.keys),
            "group": list(found.groups),
            "label": [info.classes[index] for index in found.targets],
            "predicted": [info.classes[index] for index in found.predicted],
        }
        columns |= {f"score/{name}": found.scores[:, index] for index, name in enumerate(info.classes)}
        frames.append(pandas.DataFrame(columns))
    return pandas.concat(frames, ignore_index=True)


class LoadedRun(NamedTuple):
    """A finished run and its predictor, in evaluation mode."""

    record: Record
    config: Config
    predictor: Predictor


def load_predictor(folder: RunFolder, method: Method, info: DatasetInfo) -> LoadedRun:
    """The predictor of the run that a folder holds, with exactly the weights that its record vouches for.

    A config field whose value was a file has its default: such files start a training. Raises StoreError where the
    weights were dropped, lost or changed, or were made by another version of the method.
    """
    record = folder.read_record()
    if record is None:
        raise StoreError(f"{folder.path} holds no finished run; start it again, it goes on where it was")
    spec = record.spec
    if spec.version != method.version:
        raise StoreError(
            f"run {spec.key} is of version {spec.version} of '{method.name}', this is version {method.version}; "
            f"run `python bench.py --method {record.arm} --dataset {spec.dataset}` again"
        )
    config = method.config().override({name: v for name, v in spec.config.items() if name not in spec.weights})
    check_weights(folder, record)
    from safetensors.torch import load_file

    predictor = method.build(config, info)
    try:
        predictor.load_state_dict(load_file(folder.path / WEIGHTS_FILE))
    except RuntimeError as error:
        reason = " ".join(str(error).split())
        raise StoreError(f"the weights of run {spec.key} do not fit '{method.name}' ({reason}); run it again") from None
    predictor.train(False)
    return LoadedRun(record, config, predictor)


def has_weights(folder: RunFolder, record: Record) -> bool:
    """Whether the run kept its weights, and they are on this machine."""
    return WEIGHTS_FILE in record.files and is_plain_file(folder.path / WEIGHTS_FILE)


def check_weights(folder: RunFolder, record: Record) -> None:
    """Raise StoreError unless the weights are there, and are those that the record names by their sha256."""
    again = "run the same command again with --fresh"
    if WEIGHTS_FILE not in record.files:
        raise StoreError(f"run {record.key} kept no weights (--no-weights); {again} and without --no-weights")
    path = folder.path / WEIGHTS_FILE
    if not is_plain_file(path):
        raise StoreError(f"{path} is not there (weights stay on the machine that trained them); copy it, or {again}")
    if sha256(path) != record.files[WEIGHTS_FILE]:
        raise StoreError(f"{path} was changed since its record was written; restore it, or {again}")
