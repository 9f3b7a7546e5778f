"""Plan the runs of a study request: each run once, with the search it waits for and its key.

A study request and its resources are plain values that can be sent to other processes and machines.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import product
from pathlib import Path
from typing import Any

from bench.config import Config, hash_config_files, parse_overrides
from bench.errors import ConfigError
from bench.execute import RunEnvironment, RunRequest, load_splits, make_spec
from bench.protocol import NO_CLIPS, seal_test
from bench.record import EvaluationProtocol, RunSpec
from bench.requests import RequestedPlan, StoredRequest, Tuning
from bench.types import VALIDATION_FOLDS, Dataset, DatasetInfo, DatasetSplits
from datasets.paths import find_data_folder
from datasets.registry import SOURCES
from studies.requests import (
    Arm,
    check_fields,
    check_support,
    check_unique_names,
    choose_fold,
    find_arm,
    find_changes,
    find_dataset,
    resolve_config,
    split_names,
)
from studies.search import FIRST_TRIAL_SEED, Budget, SearchOptions, find_search_ranges
from studies.studies import RUNS


@dataclass(frozen=True)
class ArmGroup:
    """Arms on data sets with one protocol and one kind of tuning: a study, or arms named on the command line."""

    arms: tuple[str, ...]
    datasets: tuple[str, ...]
    folds: tuple[int, ...] | None = None  # None: the first of each data set; (): all
    tuning: Tuning = "none"
    reference_method: str = RUNS.reference_method
    protocol: EvaluationProtocol = "clean"
    settings: tuple[str, ...] = ()  # in addition to those of the request
    study: str = ""  # the requesting study; "" for none


@dataclass(frozen=True)
class StudyRequest:
    """All that determines which runs are executed. Machines with equal requests share the work through the storage."""

    name: str
    groups: tuple[ArmGroup, ...]
    seeds: tuple[int, ...]
    preset: str = "quick"
    settings: tuple[str, ...] = ()
    data: Path | None = None
    budget: Budget = field(default_factory=Budget)
    search_options: SearchOptions = field(default_factory=SearchOptions)
    shard: tuple[int, int] = (1, 1)  # i of n, from 1
    retries: int = 1  # of a failed run, per command
    typed: str = ""  # the command line as the user typed it


@dataclass(frozen=True)
class Resources:
    """Where runs are executed and stored."""

    results: Path
    tracking_uri: str | None = None
    storage: str | None = None
    device: str = "cpu"
    devices: int = 1
    threads: int = 2
    loaders: int = 0
    keep_weights: bool = True
    command_id: str = ""  # identifies the command, whose processes count retries together


@dataclass(frozen=True)
class PlannedRun:
    """One arm on one data set, fold and seed. `tuned_by` is the arm whose search provides the values; "" for none."""

    dataset: str
    fold: int
    arm: str
    seed: int
    protocol: EvaluationProtocol
    tuned_by: str
    settings: tuple[str, ...]

    @property
    def search_run(self) -> PlannedRun | None:
        """Return the run that identifies the search it waits for, or None if it is not tuned."""
        if not self.tuned_by:
            return None
        return replace(self, arm=self.tuned_by, seed=FIRST_TRIAL_SEED, protocol="clean")

    @property
    def tuning_label(self) -> Tuning:
        """Return the kind of tuning that provides the config values."""
        return "none" if not self.tuned_by else "per-arm" if self.tuned_by == self.arm else "shared"

    def __str__(self) -> str:
        fold = f" fold {self.fold}" if self.fold else ""
        protocol = "" if self.protocol == "clean" else f" {self.protocol}"
        return f"{self.arm} on {self.dataset}{fold} seed {self.seed}{protocol}"


@dataclass(frozen=True)
class Plan:
    """The runs of a request in order of execution, each once even if several studies share it."""

    request: StudyRequest
    runs: tuple[PlannedRun, ...]
    datasets: Mapping[str, Dataset]
    studies_of: Mapping[PlannedRun, tuple[str, ...]]  # the studies of each run; "" for a command without a study
    requested: Mapping[str, RequestedPlan]  # study -> all its runs, including other shards
    _resolved: dict[tuple[object, ...], tuple[Arm, Config]] = field(default_factory=dict, compare=False)

    @property
    def searches(self) -> tuple[PlannedRun, ...]:
        """Return the searches that runs wait for, each once."""
        return tuple(dict.fromkeys(run.search_run for run in self.runs if run.search_run is not None))

    def request_for(
        self, run: PlannedRun, params: Mapping[str, Any] | None = None, stop: int | None = None
    ) -> RunRequest:
        """Return the request for a planned run, with the searched values of fields that its arm does not pin."""
        arm, config = self._resolve_arm(run, params or {})
        return RunRequest(
            arm=arm.name,
            method=arm.method,
            config=config,
            preset=self.request.preset,
            dataset=self.datasets[run.dataset],
            seed=run.seed,
            fold=run.fold,
            protocol=run.protocol,
            stop=stop,
            parent=self.request.name,
        )

    def requests(self, run: PlannedRun, search: str = "", tried: int = 1) -> tuple[StoredRequest, ...]:
        """Return the request to store for each study of a run.

        `search` is the digest of the search that provided its values, `tried` the number of its configurations.
        """
        _, config = self._resolve_arm(run, {})
        settings = find_changes(run.arm, self.request.preset, config.model_dump(mode="json")) or ()
        return tuple(
            StoredRequest(
                study=study,
                arm=run.arm,
                preset=self.request.preset,
                plan=self.requested[study],
                tuning=run.tuning_label,
                tuned_by=run.tuned_by,
                search=search,
                tried=tried,
                settings=dict(settings),
                command=self.request.typed,
            )
            for study in self.studies_of[run]
        )

    def _resolve_arm(self, run: PlannedRun, params: Mapping[str, Any]) -> tuple[Arm, Config]:
        """Return the arm and its config, cached for all seeds."""
        cache_key = (run.arm, run.settings, *sorted(params.items()))
        if cache_key not in self._resolved:
            arm = find_arm(run.arm)
            config = resolve_config(arm, self.request.preset, self._parse_settings(run))
            searched = {name: value for name, value in params.items() if name in arm.free_fields}
            self._resolved[cache_key] = arm, config.override(searched)
        return self._resolved[cache_key]

    def _parse_settings(self, run: PlannedRun) -> dict[str, str]:
        return parse_overrides([*run.settings, *self.request.settings])

    def row_label(self, run: PlannedRun) -> str:
        """Return the label of a table row: the arm, its tuning and the settings of its group; equal in every shard."""
        more: list[str] = [run.tuning_label] if run.tuned_by and self.request.name else []
        if run.settings and len({group.settings for group in self.request.groups}) > 1:
            more.append(", ".join(run.settings))
        return f"{run.arm} ({'; '.join(more)})" if more else run.arm

    def fixed_fields(self, run: PlannedRun) -> set[str]:
        """Return the config fields that a search of the run's arm must not change."""
        return find_arm(run.arm).overrides.keys() | self._parse_settings(run).keys()


def resolve_requests(
    methods: str,
    datasets: str,
    preset: str,
    settings: list[str],
    seeds: Sequence[int],
    fold: int | None = None,
    data: Path | None = None,
) -> list[RunRequest]:
    """Return a request per data set, arm and seed for comma-separated names. Raises ConfigError for an invalid name."""
    arms = [find_arm(name) for name in split_names(methods, "--method")]
    chosen = [find_dataset(name, data) for name in split_names(datasets, "--dataset")]
    check_unique_names(chosen)
    overrides = parse_overrides(settings)
    check_fields(arms, overrides)
    configs = [(arm, resolve_config(arm, preset, overrides)) for arm in arms]
    for dataset in chosen:
        for arm, config in configs:
            check_support(arm, config, dataset.info)
    return [
        RunRequest(arm.name, arm.method, config, preset, dataset, seed, choose_fold(dataset.info, fold))
        for dataset in chosen
        for arm, config in configs
        for seed in seeds
    ]


def make_plan(request: StudyRequest) -> Plan:
    """Plan the runs of a request's shard; a refit comes with the clean runs that determine its epochs.

    Raises ConfigError for a search budget without anything to search, or with the best-on-test protocol.
    """
    tuned = [group for group in request.groups if group.tuning != "none"]
    if request.budget.is_set and not tuned:
        raise ConfigError("--trials, --hours, --target: nothing is tuned here; omit them")
    if request.budget.is_set and any(group.protocol == "best-on-test" for group in tuned):
        raise ConfigError("--trials, --hours, --target: a search cannot use the test split; omit them")
    studies: dict[PlannedRun, dict[str, None]] = {}
    planned: dict[str, list[PlannedRun]] = {}
    for group in request.groups:
        for run in _plan_group(request, group):
            studies.setdefault(run, {})[group.study] = None
            planned.setdefault(group.study, []).append(run)
    runs = tuple(studies)
    if request.budget.is_set and not any(run.tuned_by for run in runs):
        arms = ", ".join(dict.fromkeys(run.arm for run in runs))
        raise ConfigError(f"--trials, --hours, --target: {arms}: no free config field has a search range; omit them")
    datasets = {name: find_dataset(name, request.data) for name in dict.fromkeys(run.dataset for run in runs)}
    _check_target(request.budget, [datasets[run.dataset].info for run in runs if run.tuned_by])
    requested = {
        study: summarize_runs((datasets[run.dataset].info.name, run.fold, run.seed, run.protocol) for run in group)
        for study, group in planned.items()
    }
    studies_of = {run: tuple(names) for run, names in studies.items()}
    plan = Plan(request, _select_shard(runs, *request.shard), datasets, studies_of, requested)
    for run in plan.runs:
        check_support(find_arm(run.arm), plan.request_for(run).config, datasets[run.dataset].info)
    return plan


def _check_target(budget: Budget, infos: Iterable[DatasetInfo]) -> None:
    """Raise ConfigError for a target of a search that its metric cannot have."""
    for info in infos:
        if budget.target is not None and info.task.primary.scale == 100 and budget.target > 1:
            title = info.task.primary.title
            raise ConfigError(f"--target: {budget.target:g} is not a fraction of {title}; write 60 % as 0.6")


def summarize_runs(runs: Iterable[tuple[str, int, int, EvaluationProtocol]]) -> RequestedPlan:
    """Summarise runs, given as (data set, fold, seed, protocol), for storage in requests."""
    folds: dict[str, set[int]] = {}
    seeds: set[int] = set()
    protocols: dict[EvaluationProtocol, None] = {}
    for dataset, fold, seed, protocol in runs:
        folds.setdefault(dataset, set()).add(fold)
        seeds.add(seed)
        protocols[protocol] = None
    named = {dataset: tuple(sorted(numbers)) for dataset, numbers in folds.items()}
    return RequestedPlan(named, tuple(sorted(seeds)), tuple(protocols))


def _plan_group(request: StudyRequest, group: ArmGroup) -> Iterator[PlannedRun]:
    protocols: tuple[EvaluationProtocol, ...] = ("clean", "refit") if group.protocol == "refit" else (group.protocol,)
    tuned_by = {arm: _find_tuned_arm(request, group, arm) for arm in group.arms}
    for name in group.datasets:
        folds = _select_folds(group, find_dataset(name, request.data).info, request.data)
        for fold, protocol, seed, arm in product(folds, protocols, request.seeds, group.arms):
            yield PlannedRun(name, fold, arm, seed, protocol, tuned_by[arm], group.settings)


def _select_folds(group: ArmGroup, info: DatasetInfo, data: Path | None) -> tuple[int, ...]:
    """Return the requested folds; one if the built-in sample replaces a data set whose folder is not found."""
    if group.folds is None or (not group.folds and info.name in SOURCES and find_data_folder(info, data) is None):
        return info.folds[:1]
    return group.folds or info.folds


def _find_tuned_arm(request: StudyRequest, group: ArmGroup, arm: str) -> str:
    """Return the arm whose search provides an arm's values, or "" if it has nothing to search."""
    if not request.budget.is_set or group.tuning == "none":
        return ""
    found = find_arm(arm)
    settings = parse_overrides([*group.settings, *request.settings])
    if not find_search_ranges(resolve_config(found, request.preset, settings), {*found.overrides, *settings}):
        return ""
    return arm if group.tuning == "per-arm" else group.reference_method


def _select_shard(runs: tuple[PlannedRun, ...], number: int, count: int) -> tuple[PlannedRun, ...]:
    """Select the runs of one shard. Runs of one search, and a refit with its clean runs, stay in one shard."""
    refit = {replace(run, protocol="clean") for run in runs if run.protocol == "refit"}
    units: dict[PlannedRun, int] = {}
    selected = []
    for run in runs:
        clean = replace(run, protocol="clean")
        unit = run.search_run or (replace(clean, seed=0) if clean in refit else run)
        if units.setdefault(unit, len(units)) % count == number - 1:
            selected.append(run)
    return tuple(selected)


class RunKeyResolver:
    """Resolver of run keys: computes specs and caches the fingerprints of data sets and files.

    A data set is loaded once per clip size, fold and validation fold; its clips are not cached.
    """

    def __init__(self, environment: RunEnvironment) -> None:
        self._environment = environment
        self._splits: dict[tuple[object, ...], DatasetSplits] = {}
        self._content_hashes: dict[frozenset[tuple[str, Path]], dict[str, str]] = {}

    def make_spec(self, request: RunRequest) -> RunSpec:
        """Return the spec of a request. Raises DataError for missing data, ConfigError for a missing file."""
        files = frozenset(request.config.get_files().items())
        if files not in self._content_hashes:
            self._content_hashes[files] = hash_config_files(request.config)
        return make_spec(request, self._load_splits(request), self._content_hashes[files])

    def _load_splits(self, request: RunRequest) -> DatasetSplits:
        sampling = request.method.sampling(request.config, False)
        key = (
            request.dataset.info.name,
            sampling.video.size,
            sampling.audio.mels,
            request.fold,
            request.seed % VALIDATION_FOLDS,
        )
        if key not in self._splits:
            splits = seal_test(load_splits(request, self._environment))
            self._splits[key] = replace(splits, train=NO_CLIPS, val=NO_CLIPS, truth={}, issues=())
        return self._splits[key]
