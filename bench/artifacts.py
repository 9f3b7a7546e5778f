"""Artifacts of a run: predictions, curves and weights, from which scores and model can be restored."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas
from pyarrow import ArrowException, array, compute, parquet

from bench.config import Config
from bench.errors import StoreError
from bench.explanations import ClipFigure, write_explanations
from bench.files import atomic_path, atomic_write, is_plain_file, parse_json, sha256
from bench.method import Method, Plugin, Predictor
from bench.metrics import Predictions
from bench.record import DATASET_INFO_FILE, Record, RunFolder, RunSpec, write_dataset_info
from bench.tasks import Regression, Task
from bench.types import DatasetInfo, DatasetSplits, Explanation

CONFIG_FILE, CURVES_FILE, PREDICTIONS_FILE, WEIGHTS_FILE, PLUGIN_FILE = (
    "config.json",
    "curves.json",
    "predictions.parquet",
    "weights.safetensors",
    "plugin.py",
)

EpochValues = tuple[str, int, dict[str, float]]
"""Stage, epoch and the metrics of that epoch."""

DrawFigures = Callable[[Path, DatasetInfo, Predictions, bool, Mapping[str, ClipFigure]], list[str]]
"""Draw the figures of a run from (folder, dataset info, test predictions, is sample, figures of the method); return
their file names. Explanations are read from the files in the folder."""


def write_artifacts(
    folder: Path,
    spec: RunSpec,
    arm: str,
    splits: DatasetSplits,
    predictions: dict[str, Predictions],
    curves: list[dict[str, Any]],
    explanations: Mapping[str, Mapping[str, Explanation]],
    draw: DrawFigures,
    figures: Mapping[str, ClipFigure],
    predictor: Predictor | None,
    plugin: Plugin | None = None,
) -> dict[str, str]:
    """Write all files of a run except its record; the weights only if `predictor` is given. Return name -> sha256.

    The text of the method's plugin, if it has one, is kept for readers; it is never executed from there.
    """
    names = [CONFIG_FILE, DATASET_INFO_FILE, CURVES_FILE, PREDICTIONS_FILE]
    names += write_explanations(folder, arm, splits, explanations)
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
    if plugin is not None:
        names.append(PLUGIN_FILE)
        atomic_write(folder / PLUGIN_FILE, plugin.text.encode())
    return {name: sha256(folder / name) for name in names}


def read_curves(folder: Path) -> list[EpochValues]:
    """Read the curves of a run, epoch by epoch; empty if there is no file. Raises StoreError for an invalid file."""
    path = folder / CURVES_FILE
    try:
        raw = parse_json(path.read_bytes()) if path.exists() else []
        points = [(point["stage"], point["epoch"], dict(point["values"])) for point in raw]
        for stage, epoch, values in points:
            valid = isinstance(stage, str) and type(epoch) is int and 0 <= epoch < 2**31
            if not valid or any(type(value) not in (int, float) or not abs(value) < 1e300 for value in values.values()):
                raise ValueError("a value has the wrong type or is too large")
    except (OSError, ValueError, KeyError, TypeError) as error:
        reason = f"{type(error).__name__}: {error}"
        raise StoreError(f"{path}: not valid curves ({reason}); restore the file or repeat the run") from None
    return points


def find_missing_files(folder: Path, record: Record) -> list[str]:
    """Return the names of the record's files that are not on this machine, except weights, which are never synced."""
    return [name for name in record.files if name != WEIGHTS_FILE and not (folder / name).exists()]


def check_files(folder: Path, record: Record) -> None:
    """Raise StoreError if a file of a record is missing or does not match its sha256.

    Files can be missing if version 0.1 pulled the record without them. Weights are not checked; links are not followed.
    """
    if missing := find_missing_files(folder, record):
        raise StoreError(
            f"run {record.key} lacks {', '.join(missing)}; download them with `python bench.py sync` and the MLflow "
            "store that has the run"
        )
    for name, sha in record.files.items():
        if name != WEIGHTS_FILE and (not is_plain_file(folder / name) or sha256(folder / name) != sha):
            raise StoreError(f"{folder / name} was changed after its record was written, or is a link; restore it")


def read_predictions(folder: Path, info: DatasetInfo) -> dict[str, Predictions]:
    """Read split -> predictions, in the order in which they were written. Raises StoreError if they cannot be read."""
    path = folder / PREDICTIONS_FILE
    try:
        with parquet.ParquetFile(path) as file:  # twice as fast as read_table on small files
            table = file.read(use_threads=False)
        scores = np.stack([table[f"score/{name}"].to_numpy() for name in info.task.output_names], axis=1)
        if not np.isfinite(scores).all():
            raise ValueError("a score is not finite")
        splits, keys = table["split"].to_numpy(), table["clip"].to_numpy()
        groups = table["group"].to_numpy() if "group" in table.column_names else None
        targets = _read_targets(table, info.task)
    except (OSError, KeyError, ValueError, ArrowException) as error:
        reason = f"{type(error).__name__}: {error}"
        raise StoreError(f"{path}: not valid predictions ({reason}); restore the file or repeat the run") from None
    predictions = {}
    for split in dict.fromkeys(splits.tolist()):
        rows = splits == split
        row_groups = tuple(groups[rows].tolist()) if groups is not None else ()
        predictions[str(split)] = Predictions(tuple(keys[rows].tolist()), targets[rows], scores[rows], row_groups)
    return predictions


def _read_targets(table: Any, task: Task) -> np.ndarray:
    """Return the (n,) classes or (n, R) numbers in a table of predictions. Raises ValueError for invalid ones."""
    if isinstance(task, Regression):
        targets = np.stack([table[f"target/{name}"].to_numpy() for name in task.output_names], axis=1)
        if not np.isfinite(targets).all():
            raise ValueError("a target is not finite")
        return targets.astype(np.float64)
    places = compute.index_in(table["label"], value_set=array(task.classes))
    if places.null_count:
        raise ValueError("a label is not a class of the data set")
    return np.asarray(places.to_numpy().astype(np.int64))


def _make_prediction_table(predictions: dict[str, Predictions], info: DatasetInfo) -> Any:
    """Return a table with one row per clip: split, clip, group, target and prediction.

    For classes: label, predicted class and the score of every class. For numbers: target and score of each target.
    """
    frames = []
    for split, rows in predictions.items():
        columns: dict[str, Any] = {
            "split": split,
            "clip": list(rows.keys),
            "group": list(rows.groups),
        }
        names = info.task.output_names
        if isinstance(info.task, Regression):
            columns |= {f"target/{name}": rows.targets[:, index] for index, name in enumerate(names)}
        else:
            columns["label"] = [names[index] for index in rows.targets]
            columns["predicted"] = [names[index] for index in rows.predicted]
        columns |= {f"score/{name}": rows.scores[:, index] for index, name in enumerate(names)}
        frames.append(pandas.DataFrame(columns))
    return pandas.concat(frames, ignore_index=True)


class LoadedRun(NamedTuple):
    """A finished run and its predictor, in evaluation mode."""

    record: Record
    config: Config
    predictor: Predictor


def load_predictor(folder: RunFolder, method: Method, info: DatasetInfo) -> LoadedRun:
    """Load the predictor of the run in a folder; the weights must match the sha256 in its record.

    Config fields that named a file get their default, since such files are only needed to start training. Raises
    StoreError if the weights were not saved, are missing or changed, or belong to another version of the method.
    """
    record = folder.read_record()
    if record is None:
        raise StoreError(f"{folder.path}: no finished run; give its command again to resume it")
    spec = record.spec
    if spec.version != method.version:
        raise StoreError(
            f"run {spec.key} was trained with version {spec.version} of '{method.name}', installed is version "
            f"{method.version}; train it again with `python bench.py --method {record.arm} --dataset {spec.dataset}`"
        )
    if spec.plugin != method.plugin_sha256:
        raise StoreError(f"run {spec.key} was trained with another text of '{method.name}'; give it with --plugin")
    config = method.config().override({name: v for name, v in spec.config.items() if name not in spec.weights})
    check_weights(folder, record)
    from safetensors.torch import load_file

    predictor = method.build(config, info)
    try:
        predictor.load_state_dict(load_file(folder.path / WEIGHTS_FILE))
    except RuntimeError as error:
        reason = " ".join(str(error).split())
        raise StoreError(
            f"the weights of run {spec.key} do not fit '{method.name}' ({reason}); train it again"
        ) from None
    predictor.train(False)
    return LoadedRun(record, config, predictor)


def has_weights(folder: RunFolder, record: Record) -> bool:
    """Return whether the weights of a run were saved and are on this machine."""
    return WEIGHTS_FILE in record.files and is_plain_file(folder.path / WEIGHTS_FILE)


def check_weights(folder: RunFolder, record: Record) -> None:
    """Raise StoreError if the weights of a run are missing or do not match the sha256 in its record."""
    again = "train again with its command and --fresh"
    if WEIGHTS_FILE not in record.files:
        raise StoreError(f"run {record.key} has no weights (it ran with --no-weights); {again}, without --no-weights")
    path = folder.path / WEIGHTS_FILE
    if not is_plain_file(path):
        raise StoreError(
            f"{path} is missing (weights stay on the machine that trained them); copy it from there, or {again}"
        )
    if sha256(path) != record.files[WEIGHTS_FILE]:
        raise StoreError(f"{path} was changed after its record was written; restore it, or {again}")
