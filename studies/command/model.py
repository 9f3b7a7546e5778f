"""The finished run that predicts: found by its key, or the newest there is."""

from __future__ import annotations

from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from typing import cast

from bench.cards import read_card
from bench.data import Card, Sampling
from bench.errors import ConfigError, StoreError
from bench.method import Predictor
from bench.names import look_up, propose
from bench.rebuild import check_weights, has_weights, rebuild
from bench.record import RECORD, Record, RunFolder, finished_runs
from datasets.registry import DATASETS
from methods.registry import METHODS

SHOWN = 5  # keys named in a line


@dataclass(frozen=True)
class Model:
    """A finished run made ready to predict."""

    record: Record
    card: Card
    predictor: Predictor
    sampling: Sampling
    device: str


def load_model(results: Path, key: str | None, device: str) -> Model:
    """The model of the run whose key begins so; without a key that of the newest run that kept its weights, of real
    data where there is one. Raises ConfigError or StoreError that says what to do."""
    import torch

    folder, record = _find(results, key)
    method = look_up(record.spec.method, METHODS, "method")
    card = read_card(folder.path) or look_up(record.spec.dataset, DATASETS, "data set").card
    rebuilt = rebuild(folder, method, card)
    cast(torch.nn.Module, rebuilt.predictor).to(device)
    return Model(record, card, rebuilt.predictor, method.sampling(rebuilt.config, False), device)


def _find(results: Path, key: str | None) -> tuple[RunFolder, Record]:
    folders = finished_runs(results)
    if not folders:
        train = "python bench.py --method mart --dataset ekman6"
        raise StoreError(
            f"no finished run under {results / 'runs'}; `{train}` makes one, --results names another place"
        )
    newest = sorted(folders, key=lambda folder: (folder.path / RECORD).stat().st_mtime, reverse=True)
    return _named(key, newest) if key is not None else _newest(newest)


def _named(key: str, folders: list[RunFolder]) -> tuple[RunFolder, Record]:
    keys = [folder.path.name for folder in folders]
    found = [folder for folder in folders if folder.path.name.startswith(key)]
    if not found:
        near = get_close_matches(key, keys, n=1, cutoff=0.3)
        raise ConfigError(f"unknown run '{key}'; {propose(key, near or keys[:SHOWN])}")
    if len(found) > 1:
        fits = ", ".join(folder.path.name for folder in found[:SHOWN])
        raise ConfigError(f"--run {key} fits {len(found)} runs, give more of its key: {fits}")
    return found[0], _record(found[0])


def _newest(folders: list[RunFolder]) -> tuple[RunFolder, Record]:
    """A record that cannot be read, or is of an older schema, stands in nobody's way unless it is the only one."""
    runs, faults = [], []
    for folder in folders:
        try:
            runs.append((folder, _record(folder)))
        except StoreError as error:
            faults.append(error)
    if not runs:
        raise faults[0]
    able = [(folder, record) for folder, record in runs if _is_current(record) and has_weights(folder, record)]
    if not able:
        check_weights(*runs[0])
        raise StoreError(f"no run under {folders[0].path.parent} is of the methods' present versions; train one again")
    return next((run for run in able if run[1].spec.data == "real"), able[0])


def _record(folder: RunFolder) -> Record:
    record = folder.record()
    assert record is not None  # it was found by its record
    return record


def _is_current(record: Record) -> bool:
    spec = record.spec
    return spec.method in METHODS and METHODS[spec.method].version == spec.version
