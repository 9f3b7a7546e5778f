"""Resolve the names on a command line: arms, data sets, folds and config values.

Nothing heavy is imported, so that `python bench.py list` is fast.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, TypeVar

from bench.config import Config, get_or_suggest, propose_name
from bench.errors import ConfigError
from bench.method import Method, Plugin, read_plugin
from bench.record import Record
from bench.tasks import Classification
from bench.types import ALL_FEATURES, FEATURES, Dataset, DatasetInfo
from datasets.index import DatasetSource
from datasets.registry import DATASETS, SOURCES, TASKS, is_path, make_dataset, make_manifest_source
from methods import VARIANTS, get_methods, register_plugins

T = TypeVar("T")
CUSTOM_TASKS = ("classes", "scores")  # values of --task for custom data
Settings = tuple[tuple[str, str], ...]
"""Config values set by the user: (field, text) pairs, sorted by field."""


@dataclass(frozen=True)
class Arm:
    """A named variant of a method, as listed in the first column of a table."""

    name: str
    method: Method
    overrides: dict[str, object]
    title: str

    @property
    def free_fields(self) -> set[str]:
        """Return the config fields that the arm does not pin."""
        return self.method.config.model_fields.keys() - self.overrides.keys()


def load_plugins(paths: Iterable[Path] | None) -> tuple[Plugin, ...]:
    """Read the files of `--plugin` and register their methods in this process, in place of those of earlier plugins.

    Raises ConfigError for a file that cannot be read or loaded, or has no method, and for a name that is taken.
    """
    plugins = tuple(dict.fromkeys(read_plugin(path) for path in paths or ()))
    use_plugins(plugins)
    return plugins


def use_plugins(plugins: Iterable[Plugin]) -> None:
    """Register the methods of plugins that another process read, in place of those of earlier plugins."""
    get_arms.cache_clear()
    get_preset_values.cache_clear()
    register_plugins(plugins)


@cache
def get_arms() -> dict[str, Arm]:
    """Return every arm that `--method` accepts: the methods and their pinned variants, by name."""
    methods = get_methods()
    arms = {name: Arm(name, method, {}, method.title) for name, method in methods.items()}
    for name, pinned in VARIANTS.items():
        arms[name] = Arm(name, methods[pinned.method], dict(pinned.overrides), pinned.title)
    return arms


def find_arm(name: str) -> Arm:
    """Return the arm of this name. Raises ConfigError with the nearest name for an unknown one."""
    return get_or_suggest(name, get_arms(), "method")


def explain_mismatch(record: Record) -> str:
    """Return why the method of a record is not the registered one of its name, and what to do; "" if it is.

    The text of a plugin that is stored in a run's folder is never executed unless the user gives it with `--plugin`.
    """
    spec, method = record.spec, get_methods().get(record.spec.method)
    if method is not None and (method.version, method.plugin_sha256) == (spec.version, spec.plugin):
        return ""
    if spec.plugin is None:
        known = method is not None and method.plugin is None
        return f"the current version is {method.version}" if method is not None and known else "unknown method"
    name, package = (ascii(record.provenance.get(key, ""))[1:-1][:60] for key in ("plugin", "plugin_package"))
    sha = f"sha {spec.plugin[:8]}"
    if package:
        return f"made by {name} of the installed package {package} ({sha}); install this version"
    if method is None:
        return f"made by the plugin {name} ({sha}); give it with --plugin {name}"
    return (
        f"made by another text of the plugin {name} ({sha}); give that text with --plugin, it is stored as "
        "plugin.py in the run's folder"
    )


def find_source(name: str, data: Path | None = None) -> DatasetSource:
    """Return the source that lists a data set's clips: a registered one, or a custom one at a path.

    Raises ConfigError for an unknown name, several names, or a path combined with `data`.
    """
    if name not in SOURCES and is_path(name):
        if data is not None:
            raise ConfigError(f"--data: not allowed with --dataset {name}, which is a path; omit --data")
        path, task = split_task(name)
        return make_manifest_source(Path(path), [source.info for source in SOURCES.values()], task)
    if "," in name:
        raise ConfigError(f"--dataset: expects one data set, not '{name}'; give the command for each")
    return _find_registered(name, SOURCES)


def split_task(name: str) -> tuple[str, str]:
    """Split "clips.csv@scores" into path and task; the task is empty without one."""
    path, at, task = name.rpartition("@")
    return (path, task) if at and task in CUSTOM_TASKS else (name, "")


def apply_task(datasets: str, task: str) -> str:
    """Return comma-separated data sets with the task of `--task`: `affwild2-va`, `clips.csv@scores`.

    Raises ConfigError for a task that one of them does not have.
    """
    if not task:
        return datasets
    named = []
    for name in split_names(datasets, "--dataset"):
        if name not in SOURCES and is_path(name):
            if task not in CUSTOM_TASKS:
                raise ConfigError(f"--task: {name} has no task '{task}'; {propose_name(task, CUSTOM_TASKS)}")
            named.append(f"{name}@{task}")
            continue
        known = {kind: found for (dataset, kind), found in TASKS.items() if dataset == name}
        if task not in known:
            _find_registered(name, SOURCES)
            hint = propose_name(task, known) if known else "omit the option"
            raise ConfigError(f"--task: {name} has no task '{task}'; {hint}")
        named.append(known[task])
    return ",".join(named)


def find_dataset(name: str, data: Path | None = None) -> Dataset:
    """Return a registered data set, or the custom one at a path. Raises ConfigError for a name that is neither."""
    if name not in DATASETS and is_path(name):
        return make_dataset(find_source(name, data))
    return _find_registered(name, DATASETS)


def _find_registered(name: str, known: Mapping[str, T]) -> T:
    if name not in known and Path(name).is_dir():
        raise ConfigError(f"unknown data set '{name}'; for the folder, write ./{name} ({propose_name(name, known)})")
    return get_or_suggest(name, known, "data set")


def check_unique_names(datasets: Sequence[Dataset]) -> None:
    """Raise ConfigError if two data sets share a name: their runs would be indistinguishable."""
    names = [dataset.info.name for dataset in datasets]
    duplicate = next((name for name in names if names.count(name) > 1), None)
    if duplicate is not None:
        raise ConfigError(f"--dataset: two data sets are named '{duplicate}'; rename one of the files or folders")


def choose_fold(info: DatasetInfo, fold: int | None) -> int:
    """Return the requested fold, or the first. Raises ConfigError for one that the data set does not have."""
    if fold is None:
        return info.folds[0]
    if info.folds == (0,):
        raise ConfigError(f"--fold: {info.title} has one split and no folds; omit the option")
    if fold not in info.folds:
        raise ConfigError(
            f"--fold: {info.title} has no fold {fold}; choose {info.folds[0]} to {info.folds[-1]} ({info.fold})"
        )
    return fold


def check_support(arm: Arm, config: Config, info: DatasetInfo) -> None:
    """Raise ConfigError if an arm does not support the task of a data set, or reads no stream that it has."""
    if isinstance(info.task, arm.method.tasks) and not (lacking := _find_lacking(arm.method, config, info)):
        return
    methods = {name: method for name, method in get_methods().items() if isinstance(info.task, method.tasks)}
    able = [name for name, one in methods.items() if not _find_lacking(one, one.config.from_preset("quick"), info)]
    choice = f"choose --method from {', '.join(able)}"
    if isinstance(info.task, arm.method.tasks):
        have = ", ".join(info.streams) or "no stream"
        raise ConfigError(f"{arm.name} reads {', '.join(lacking)}, but {info.title} has {have}; {choice}")
    labels = ", ".join(info.task.output_names)
    kind = f"classes ({labels})" if isinstance(info.task, Classification) else f"scores ({labels})"
    raise ConfigError(f"{arm.name} cannot predict the {kind} of {info.title}; {choice}")


def _find_lacking(method: Method, config: Config, info: DatasetInfo) -> list[str]:
    """Return the streams that a method reads if a data set has none of them, and all named features that it lacks.

    Text alone is not enough for a method that also reads other streams.
    """
    reads = method.sampling(config, False).reads
    wanted = [name for name in reads if name != "text"] or list(reads)
    known = {*info.streams, *([ALL_FEATURES] if info.features else [])}
    lacking = [name for name in wanted if name.startswith(FEATURES) and name not in known]
    return lacking if lacking or known & set(wanted) else wanted


def split_names(text: str, option: str) -> list[str]:
    """Return the comma-separated names without duplicates. Raises ConfigError if there are none."""
    names = [name.strip() for name in text.split(",") if name.strip()]
    if not names:
        raise ConfigError(f"{option}: needs at least one name; `python bench.py list` lists them")
    return list(dict.fromkeys(names))


def resolve_config(arm: Arm, preset: str, overrides: dict[str, str]) -> Config:
    """Return an arm's config under a preset, with overrides. Overrides of fields that its method lacks are ignored."""
    config = arm.method.config.from_preset(preset).override(arm.overrides)
    known = {name: value for name, value in overrides.items() if name in arm.method.config.model_fields}
    return config.override(known, source="--set")


def find_changes(arm: str, preset: str, values: Mapping[str, Any]) -> Settings | None:
    """Return the config values (in JSON form) that differ from those of an arm under a preset.

    Return None for an unknown arm or preset, and if a value contradicts one that the arm pins.
    """
    base = get_preset_values(arm, preset)
    if base is None or any(values.get(name) != base[name] for name in get_arms()[arm].overrides):
        return None
    return tuple((name, str(values.get(name))) for name in sorted(base) if values.get(name) != base[name])


@cache
def get_preset_values(arm: str, preset: str) -> dict[str, Any] | None:
    """Return the values of an arm under a preset in JSON form, or None if either is unknown."""
    found = get_arms().get(arm)
    try:
        return resolve_config(found, preset, {}).model_dump(mode="json") if found else None
    except ConfigError:
        return None


def check_fields(arms: list[Arm], overrides: dict[str, str]) -> None:
    """Raise ConfigError for a setting that no arm has, or that one of them pins."""
    known = {name for arm in arms for name in arm.method.config.model_fields}
    pinned = {name: arm.name for arm in arms for name in arm.overrides}
    for name in overrides:
        if name not in known:
            tail = propose_name(name, known) if known else f"{', '.join(arm.name for arm in arms)} has no fields to set"
            raise ConfigError(f"--set: unknown config field '{name}'; {tail}")
        if name in pinned:
            raise ConfigError(f"--set {name}: {pinned[name]} pins this field; use the base method instead")
