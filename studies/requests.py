"""Resolve what a command line names: arms, data sets, folds, config values and filters of runs.

Nothing heavy is imported, so that `python bench.py list` is fast.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from functools import cache
from pathlib import Path
from typing import Any, TypeVar

from bench.config import Config, check_config_files, get_or_suggest, propose_name
from bench.errors import ConfigError
from bench.method import Method
from bench.record import Record
from bench.tasks import Classification
from bench.types import ALL_FEATURES, FEATURES, Dataset, DatasetInfo
from datasets.index import DatasetSource
from datasets.paths import find_data_folder
from datasets.registry import DATASETS, SOURCES, TASKS, is_path, make_dataset, make_manifest_source
from methods import METHODS, VARIANTS

T = TypeVar("T")
CUSTOM_TASKS = ("classes", "scores")  # values of --task for custom data
SPEC_FIELDS = ("method", "dataset", "data", "protocol", "fold", "seed")
WEIGHTS_FIELD = "weights_"  # opens the names of config fields that hold files of published weights
FIELD_SYNONYMS = {
    **dict.fromkeys(("batch_size", "bs", "batchsize", "train_batch_size"), "batch"),
    **dict.fromkeys(("epoch", "num_epochs", "n_epochs", "nepochs", "max_epochs", "num_train_epochs"), "epochs"),
    **dict.fromkeys(("learning_rate", "base_lr", "blr"), "lr"),
    **dict.fromkeys(("wd", "weightdecay"), "weight_decay"),
    **dict.fromkeys(("optim", "opt", "optimiser"), "optimizer"),
    **dict.fromkeys(("image_size", "img_size", "input_size", "resolution", "crop_size"), "size"),
    **dict.fromkeys(("num_frames", "n_frames", "clip_len"), "frames"),
    **dict.fromkeys(("num_segments", "n_segments"), "segments"),
    **dict.fromkeys(("hidden_size", "hidden_dim", "embed_dim", "dim", "d_model"), "width"),
    **dict.fromkeys(("num_layers", "layers", "n_layers"), "depth"),
    **dict.fromkeys(("num_heads", "n_heads", "nhead"), "heads"),
    **dict.fromkeys(("drop_rate", "drop", "drop_path"), "dropout"),
    **dict.fromkeys(("grad_clip", "clip_grad", "max_grad_norm", "gradient_clip_val"), "clip_norm"),
    **dict.fromkeys(("amp", "fp16", "bf16", "mixed_precision"), "precision"),
    **dict.fromkeys(("warmup_ratio", "warmup_epochs", "warmup_steps"), "warmup"),
    **dict.fromkeys(("modality", "modal"), "modalities"),
    **dict.fromkeys(("pretrained", "pretrained_path", "init_from", "finetune"), "weights_video"),
}
"""Names of config fields in other suites -> ours."""
FILTER_FIELDS = ("arm", "preset", "key", *SPEC_FIELDS)
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


@cache
def get_arms() -> dict[str, Arm]:
    """Return every arm that `--method` accepts: the methods and their pinned variants, by name."""
    arms = {name: Arm(name, method, {}, method.title) for name, method in METHODS.items()}
    for name, pinned in VARIANTS.items():
        arms[name] = Arm(name, METHODS[pinned.method], dict(pinned.overrides), pinned.title)
    return arms


def find_arm(name: str) -> Arm:
    """Return the arm of this name. Raises ConfigError with the nearest name for an unknown one."""
    return get_or_suggest(name, get_arms(), "method")


def is_dataset(name: str) -> bool:
    """Return whether a word names a data set, or has the form of a path to one."""
    return name in DATASETS or is_path(name)


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
    methods = {name: method for name, method in METHODS.items() if isinstance(info.task, method.tasks)}
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


def resolve_config(arm: Arm, preset: str, overrides: Mapping[str, str], source: str = "--set") -> Config:
    """Return an arm's config under a preset, with overrides. Overrides of fields that its method lacks are ignored.

    Raises ConfigError for an invalid value; its message begins with `source`.
    """
    config = arm.method.config.from_preset(preset).override(arm.overrides)
    known = {name: value for name, value in overrides.items() if name in arm.method.config.model_fields}
    return config.override(known, source=source)


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


def check_fields(arms: Sequence[Arm], overrides: Mapping[str, str], source: str = "--set") -> None:
    """Raise ConfigError for a setting that no arm has, or that one of them pins; `source` is where it was given."""
    known = {name for arm in arms for name in arm.method.config.model_fields}
    pinned = {name: arm.name for arm in arms for name in arm.overrides}
    for name in overrides:
        if name not in known:
            similar = find_field(name, known)
            tail = f"did you mean '{similar}'?" if similar else propose_name(name, known)
            tail = tail if known else f"{', '.join(arm.name for arm in arms)} has no fields to set"
            raise ConfigError(f"{source}: unknown config field '{name}'; {tail}")
        if name in pinned:
            raise ConfigError(f"{source} {name}: {pinned[name]} pins this field; use the base method instead")


def find_field(name: str, known: Collection[str]) -> str | None:
    """Return the config field that a name means: one of `known`, also as it is spelt in other suites; else None."""
    plain = name.replace("-", "_").lower()
    return next((field for field in (plain, FIELD_SYNONYMS.get(plain, "")) if field in known), None)


def check_inputs(
    arms: Sequence[Arm],
    datasets: Sequence[str],
    preset: str,
    settings: Mapping[str, Mapping[str, str]],
    data: Path | None,
) -> None:
    """Check what a command names before anything slow happens: config values, their files, and the data folders.

    `settings` are config values by where they were given, "--set" or a file; later ones override earlier ones. Raises
    ConfigError for a value or a file that cannot be used, DataError for a folder that does not exist or is empty.
    """
    overrides: dict[str, str] = {}
    for source, values in settings.items():
        check_fields(arms, values, source)
        overrides |= values
        for arm in arms:
            config = resolve_config(arm, preset, overrides, source if source == "--set" else f"{source}:")
            check_config_files(config)
            _check_weights(config)
    for name in datasets:
        _check_location(name, data)


def _check_weights(config: Config) -> None:
    """Raise ConfigError if a file of weights begins like neither a PyTorch nor a safetensors file."""
    for name, path in config.get_files().items():
        if not name.startswith(WEIGHTS_FIELD) or path.is_dir():
            continue
        with path.open("rb") as file:
            head, size = file.read(9), path.stat().st_size
        is_safetensors = head[8:] == b"{" and int.from_bytes(head[:8], "little") <= size
        is_torch = head.startswith((b"PK\x03\x04", b"\x80"))  # a zip archive or a pickle
        if not (is_safetensors if path.suffix == ".safetensors" else is_torch):
            kind = "a safetensors file" if path.suffix == ".safetensors" else "a PyTorch or .safetensors file"
            raise ConfigError(f"{name}: '{path}' is not {kind}; use the published file, see docs/weights.md")


def _check_location(name: str, data: Path | None) -> None:
    """Raise ConfigError for an unknown data set, DataError for a folder or file that does not exist; read neither."""
    if name in SOURCES:
        find_data_folder(SOURCES[name].info, data)
    elif name not in DATASETS and is_path(name):
        if data is not None or not Path(split_task(name)[0]).exists():
            find_source(name, data)  # raises
    else:
        _find_registered(name, DATASETS)


@dataclass(frozen=True)
class RunFilter:
    """Terms that must all match: pairs of a field and a pattern with *, ? and [...]."""

    terms: tuple[tuple[str, str], ...] = ()

    def matches(self, record: Record, arm: str) -> bool:
        """Return whether a record matches as a run of `arm`."""
        spec = {name: str(getattr(record.spec, name)) for name in SPEC_FIELDS}
        return self.may_match(**spec, arm=arm, preset=record.preset, key=record.key)

    def may_match(self, **known: str) -> bool:
        """Return False if these known fields rule a run out, otherwise True."""
        return all(fnmatchcase(known[field], pattern) for field, pattern in self.terms if field in known)

    def __str__(self) -> str:
        return ", ".join(f"{field}={pattern}" for field, pattern in self.terms)


def parse_filter(text: str) -> RunFilter:
    """Parse a filter. Raises ConfigError for an invalid term or an unknown field."""
    known, terms = {name: name for name in FILTER_FIELDS}, []
    for term in text.split(","):
        name, _, pattern = (part.strip() for part in term.partition("="))
        if not pattern:
            raise ConfigError(
                f"--runs: expects comma-separated field=pattern terms, such as dataset=ekman6; got '{term.strip()}'"
            )
        terms.append((get_or_suggest(name, known, "field of --runs"), pattern))
    return RunFilter(tuple(terms))
