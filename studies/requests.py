"""Names of a command line resolved to run requests: arms, data sets, folds, seeds and config values.

It imports nothing heavy, so that `python bench.py list` is fast.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, TypeVar

from bench.config import Config, get_or_suggest, propose_name
from bench.errors import ConfigError
from bench.method import Method
from bench.types import Dataset, DatasetInfo
from datasets.index import DatasetSource
from datasets.registry import DATASETS, SOURCES, is_path, make_dataset, make_manifest_source
from methods import METHODS, VARIANTS

T = TypeVar("T")
Settings = tuple[tuple[str, str], ...]
"""Values set by hand, as (field, text), by field."""


@dataclass(frozen=True)
class Arm:
    """A named variant of a method: what stands in a table's first column."""

    name: str
    method: Method
    overrides: dict[str, object]
    title: str

    @property
    def free_fields(self) -> set[str]:
        """The fields of its config that it does not pin."""
        return self.method.config.model_fields.keys() - self.overrides.keys()


@cache
def get_arms() -> dict[str, Arm]:
    """Every name that `--method` takes: the methods themselves and their pinned variants."""
    arms = {name: Arm(name, method, {}, method.title) for name, method in METHODS.items()}
    for name, pinned in VARIANTS.items():
        arms[name] = Arm(name, METHODS[pinned.method], dict(pinned.overrides), pinned.title)
    return arms


def find_arm(name: str) -> Arm:
    """The arm of this name; raises ConfigError that proposes the nearest."""
    return get_or_suggest(name, get_arms(), "method")


def find_source(name: str, data: Path | None = None) -> DatasetSource:
    """Where the clips of a data set are listed: one of the registry, or one's own at that place, beside which no other
    place of `data` may stand."""
    if name not in SOURCES and is_path(name):
        if data is not None:
            raise ConfigError(f"--dataset {name} says where the data are; leave --data out")
        return make_manifest_source(Path(name), [source.info for source in SOURCES.values()])
    if "," in name:
        raise ConfigError(f"one data set at a time here, not '{name}'")
    return _find_registered(name, SOURCES)


def find_dataset(name: str, data: Path | None = None) -> Dataset:
    """The data set of the registry, or one's own at that place; raises ConfigError for a name that is neither."""
    if name not in DATASETS and is_path(name):
        return make_dataset(find_source(name, data))
    return _find_registered(name, DATASETS)


def _find_registered(name: str, known: Mapping[str, T]) -> T:
    if name not in known and Path(name).is_dir():
        raise ConfigError(
            f"unknown data set '{name}'; say ./{name} if you mean the folder, or {propose_name(name, known)}"
        )
    return get_or_suggest(name, known, "data set")


def check_unique_names(datasets: Sequence[Dataset]) -> None:
    """Raise ConfigError where two data sets have one name: their runs could not be told apart."""
    names = [dataset.info.name for dataset in datasets]
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice is not None:
        raise ConfigError(f"two of the data sets are called '{twice}'; give their files or folders different names")


def choose_fold(info: DatasetInfo, fold: int | None) -> int:
    """The fold that is asked for, or the first; raises ConfigError for one that the data set does not have."""
    if fold is None:
        return info.folds[0]
    if info.folds == (0,):
        raise ConfigError(f"{info.title} has one split and no folds; leave --fold out")
    if fold not in info.folds:
        raise ConfigError(
            f"{info.title} has no fold {fold}; --fold is one of {info.folds[0]} to {info.folds[-1]} ({info.fold})"
        )
    return fold


def split_names(text: str, option: str) -> list[str]:
    """The names between commas, each once; raises ConfigError where there are none."""
    names = [name.strip() for name in text.split(",") if name.strip()]
    if not names:
        raise ConfigError(f"{option} wants at least one name; `python bench.py list` shows them")
    return list(dict.fromkeys(names))


def resolve_config(arm: Arm, preset: str, overrides: dict[str, str]) -> Config:
    """An arm's values under a preset. A field that its method lacks, but another arm's has, is left out."""
    config = arm.method.config.from_preset(preset).override(arm.overrides)
    return config.override({name: v for name, v in overrides.items() if name in arm.method.config.model_fields})


def find_changes(arm: str, preset: str, values: Mapping[str, Any]) -> Settings | None:
    """Return the values of a config, as JSON has them, that differ from those of an arm under a preset. Return None for
    an arm or a preset that is not known, and where a value contradicts the arm."""
    base = get_preset_values(arm, preset)
    if base is None or any(values.get(name) != base[name] for name in get_arms()[arm].overrides):
        return None
    return tuple((name, str(values.get(name))) for name in sorted(base) if values.get(name) != base[name])


@cache
def get_preset_values(arm: str, preset: str) -> dict[str, Any] | None:
    """Return the values of an arm under a preset, as JSON has them. Return None where either is not known."""
    found = get_arms().get(arm)
    try:
        return resolve_config(found, preset, {}).model_dump(mode="json") if found else None
    except ConfigError:
        return None


def check_fields(arms: list[Arm], overrides: dict[str, str]) -> None:
    """Raise ConfigError for a setting that no arm knows, or that one of them pins."""
    known = {name for arm in arms for name in arm.method.config.model_fields}
    pinned = {name: arm.name for arm in arms for name in arm.overrides}
    for name in overrides:
        if name not in known:
            tail = propose_name(name, known) if known else f"{', '.join(arm.name for arm in arms)} has no fields to set"
            raise ConfigError(f"unknown config field '{name}' in --set; {tail}")
        if name in pinned:
            raise ConfigError(f"--set {name} contradicts {pinned[name]}, which pins it; use the base method instead")
