"""A finished run's predictor, built again from what lies beside its record."""

from __future__ import annotations

from typing import NamedTuple

from bench.config import Config
from bench.data import Card
from bench.errors import StoreError
from bench.files import is_plain_file, sha256
from bench.method import Method, Predictor
from bench.outputs import WEIGHTS
from bench.record import Record, RunFolder


class Rebuilt(NamedTuple):
    """A finished run and its predictor, in evaluation mode."""

    record: Record
    config: Config
    predictor: Predictor


def rebuild(folder: RunFolder, method: Method, card: Card) -> Rebuilt:
    """The predictor of the run that a folder holds, with exactly the weights that its record vouches for.

    A config field whose value was a file has its default: such files start a training. Raises StoreError where the
    weights were dropped, lost or changed, or were made by another version of the method.
    """
    record = folder.record()
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

    predictor = method.build(config, card)
    try:
        predictor.load_state_dict(load_file(folder.path / WEIGHTS))
    except RuntimeError as error:
        reason = " ".join(str(error).split())
        raise StoreError(f"the weights of run {spec.key} do not fit '{method.name}' ({reason}); run it again") from None
    predictor.train(False)
    return Rebuilt(record, config, predictor)


def has_weights(folder: RunFolder, record: Record) -> bool:
    """Whether the run kept its weights, and they are on this machine."""
    return WEIGHTS in record.files and is_plain_file(folder.path / WEIGHTS)


def check_weights(folder: RunFolder, record: Record) -> None:
    """Raise StoreError unless the weights are there, and are those that the record names by their sha256."""
    again = "run the same command again with --fresh"
    if WEIGHTS not in record.files:
        raise StoreError(f"run {record.key} kept no weights (--no-weights); {again} and without --no-weights")
    path = folder.path / WEIGHTS
    if not is_plain_file(path):
        raise StoreError(f"{path} is not there (weights stay on the machine that trained them); copy it, or {again}")
    if sha256(path) != record.files[WEIGHTS]:
        raise StoreError(f"{path} was changed since its record was written; restore it, or {again}")
