"""The plan of a study request: every run once, the search that each run waits for, and the key that it will have.

A study request and its resources are plain values, so that they can be sent to other processes and machines.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
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
    """Arms on data sets, under one protocol and one way of tuning: a study, or what was named by hand."""

    arms: tuple[str, ...]
    datasets: tuple[str, ...]
    folds: tuple[int, ...] | None = None  # None: the first of each data set; () every one
    tuning: Tuning = "none"
    reference_method: str = RUNS.reference_method
    protocol: EvaluationProtocol = "clean"
    settings: tuple[str, ...] = ()  # beside those of the order
    study: str = ""  # that asks for it


@dataclass(frozen=True)
class StudyRequest:
    """All that decides which runs are made. Two machines with equal orders share the work through the storage."""

    name: str
    groups: tuple[ArmGroup, ...]
    seeds: tuple[int, ...]
    preset: str = "quick"
    settings: tuple[str, ...] = ()
    data: Path | None = None
    budget: Budget = field(default_factory=Budget)
    search_options: SearchOptions = field(default_factory=SearchOptions)
    shard: tuple[int, int] = (1, 1)  # i of n, from 1
    retries: int = 1  # of a cell that broke, by one command
    typed: str = ""  # the command, as it was typed


@dataclass(frozen=True)
class Resources:
    """Where the work is done, also in plain values."""

    results: Path
    tracking_uri: str | None = None
    storage: str | None = None
    device: str = "cpu"
    devices: int = 1
    threads: int = 2
    loaders: int = 0
    keep_weights: bool = True
    command_id: str = ""  # names the command, so that its processes count its own retries


@dataclass(frozen=True)
class PlannedRun:
    """One arm on one data set, fold and seed. `tuned_by` is the arm whose search gives it values; "" for none."""

    dataset: str
    fold: int
    arm: str
    seed: int
    protocol: EvaluationProtocol
    tuned_by: str
    settings: tuple[str, ...]

    @property
    def search_run(self) -> PlannedRun | None:
        """The cell that stands for the search it waits for: its arm, without a seed."""
        if not self.tuned_by:
            return None
        return replace(self, arm=self.tuned_by, seed=FIRST_TRIAL_SEED, protocol="clean")

    @property
    def tuning_label(self) -> Tuning:
        """Whose tuned values it runs with."""
        return "none" if not self.tuned_by else "per-arm" if self.tuned_by == self.arm else "shared"

    def __str__(self) -> str:
        fold = f" fold {self.fold}" if self.fold else ""
        protocol = "" if self.protocol == "clean" else f" {self.protocol}"
        return f"{self.arm} on {self.dataset}{fold} seed {self.seed}{protocol}"


@dataclass(frozen=True)
class Plan:
    """The cells of an order in the order they are made, each once however many studies want it."""

    request: StudyRequest
    runs: tuple[PlannedRun, ...]
    datasets: Mapping[str, Dataset]
    wanted_by: Mapping[PlannedRun, tuple[str, ...]]  # the studies that a cell is of; "" for a command that names none
    requested: Mapping[str, RequestedPlan]  # study -> all its runs, those of other shards among them
    _resolved: dict[tuple[object, ...], tuple[Arm, Config]] = field(default_factory=dict, compare=False)

    @property
    def searches(self) -> tuple[PlannedRun, ...]:
        """The searches that cells wait for, each once."""
        return tuple(dict.fromkeys(run.search_run for run in self.runs if run.search_run is not None))

    def request_for(
        self, run: PlannedRun, params: Mapping[str, Any] | None = None, stop: int | None = None
    ) -> RunRequest:
        """What the runner is asked for a cell: its values, and those of the search that it shares fields with."""
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
        """Return why a cell is run, for each study that wants it. `search` is the digest of the search that gave it its
        values."""
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
            for study in self.wanted_by[run]
        )

    def _resolve_arm(self, run: PlannedRun, params: Mapping[str, Any]) -> tuple[Arm, Config]:
        """The arm and its values, made once for all of its seeds."""
        which = (run.arm, run.settings, *sorted(params.items()))
        if which not in self._resolved:
            arm = find_arm(run.arm)
            config = resolve_config(arm, self.request.preset, self._parse_settings(run))
            searched = {name: value for name, value in params.items() if name in arm.free_fields}
            self._resolved[which] = arm, config.override(searched)
        return self._resolved[which]

    def _parse_settings(self, run: PlannedRun) -> dict[str, str]:
        return parse_overrides([*run.settings, *self.request.settings])

    def row_label(self, run: PlannedRun) -> str:
        """The arm's name in tables, with whose tuned values it has and what a part of the study sets; the same in every
        shard."""
        more: list[str] = [run.tuning_label] if run.tuned_by and self.request.name else []
        if run.settings and len({group.settings for group in self.request.groups}) > 1:
            more.append(", ".join(run.settings))
        return f"{run.arm} ({'; '.join(more)})" if more else run.arm

    def fixed_fields(self, run: PlannedRun) -> set[str]:
        """The config fields that a search of the cell's arm leaves alone."""
        return find_arm(run.arm).overrides.keys() | self._parse_settings(run).keys()


def resolve_requests(
    methods: str,
    datasets: str,
    preset: str,
    settings: list[str],
    seeds: range,
    fold: int | None = None,
    data: Path | None = None,
) -> list[RunRequest]:
    """Every (data set, arm, seed) that the comma-separated names stand for; raises ConfigError for a wrong one."""
    arms = [find_arm(name) for name in split_names(methods, "--method")]
    chosen = [find_dataset(name, data) for name in split_names(datasets, "--dataset")]
    check_unique_names(chosen)
    overrides = parse_overrides(settings)
    check_fields(arms, overrides)
    configs = [(arm, resolve_config(arm, preset, overrides)) for arm in arms]
    return [
        RunRequest(arm.name, arm.method, config, preset, dataset, seed, choose_fold(dataset.info, fold))
        for dataset in chosen
        for arm, config in configs
        for seed in seeds
    ]


def make_plan(request: StudyRequest) -> Plan:
    """Every cell of an order, its shard's alone; a refit is planned with the clean runs it takes its epochs from.

    Raises ConfigError for a search that is asked for where nothing can be searched, or on the test list.
    """
    tuned = [group for group in request.groups if group.tuning != "none"]
    if request.budget.is_set and not tuned:
        raise ConfigError(
            "nothing here is tuned, its values are as they are set; leave --trials, --hours, --target out"
        )
    if request.budget.is_set and any(group.protocol == "best-on-test" for group in tuned):
        raise ConfigError("a search on the test list is refused: choosing on test takes no --trials, --hours, --target")
    wanted: dict[PlannedRun, dict[str, None]] = {}
    planned: dict[str, list[PlannedRun]] = {}
    for group in request.groups:
        for run in _plan_group(request, group):
            wanted.setdefault(run, {})[group.study] = None
            planned.setdefault(group.study, []).append(run)
    runs = tuple(wanted)
    if request.budget.is_set and not any(run.tuned_by for run in runs):
        arms = ", ".join(dict.fromkeys(run.arm for run in runs))
        raise ConfigError(
            f"nothing of {arms} can be searched: no field that is left free has a range; leave --trials out"
        )
    datasets = {name: find_dataset(name, request.data) for name in dict.fromkeys(run.dataset for run in runs)}
    requested = {
        study: summarize_runs((datasets[run.dataset].info.name, run.fold, run.seed, run.protocol) for run in of)
        for study, of in planned.items()
    }
    wanted_by = {run: tuple(of) for run, of in wanted.items()}
    return Plan(request, _select_shard(runs, *request.shard), datasets, wanted_by, requested)


def summarize_runs(runs: Iterable[tuple[str, int, int, EvaluationProtocol]]) -> RequestedPlan:
    """Return the plan of runs: (data set, fold, seed, protocol) of each."""
    folds: dict[str, set[int]] = {}
    seeds: set[int] = set()
    protocols: dict[EvaluationProtocol, None] = {}
    for dataset, fold, seed, protocol in runs:
        folds.setdefault(dataset, set()).add(fold)
        seeds.add(seed)
        protocols[protocol] = None
    named = {dataset: tuple(sorted(of)) for dataset, of in folds.items()}
    return RequestedPlan(named, tuple(sorted(seeds)), tuple(protocols))


def _plan_group(request: StudyRequest, group: ArmGroup) -> Iterator[PlannedRun]:
    protocols: tuple[EvaluationProtocol, ...] = ("clean", "refit") if group.protocol == "refit" else (group.protocol,)
    tuned_by = {arm: _find_tuned_arm(request, group, arm) for arm in group.arms}
    for name in group.datasets:
        folds = _select_folds(group, find_dataset(name, request.data).info, request.data)
        for fold, protocol, seed, arm in product(folds, protocols, request.seeds, group.arms):
            yield PlannedRun(name, fold, arm, seed, protocol, tuned_by[arm], group.settings)


def _select_folds(group: ArmGroup, info: DatasetInfo, data: Path | None) -> tuple[int, ...]:
    """The folds of a data set that are wanted; the built-in sample, which stands in where it is not found, has one."""
    if group.folds is None or (not group.folds and info.name in SOURCES and find_data_folder(info, data) is None):
        return info.folds[:1]
    return group.folds or info.folds


def _find_tuned_arm(request: StudyRequest, group: ArmGroup, arm: str) -> str:
    """Whose search gives an arm its values: nobody's where it has nothing to search."""
    if not request.budget.is_set or group.tuning == "none":
        return ""
    own = find_arm(arm)
    settings = parse_overrides([*group.settings, *request.settings])
    if not find_search_ranges(resolve_config(own, request.preset, settings), {*own.overrides, *settings}):
        return ""
    return arm if group.tuning == "per-arm" else group.reference_method


def _select_shard(runs: tuple[PlannedRun, ...], number: int, of: int) -> tuple[PlannedRun, ...]:
    """The cells of one shard: what hangs together (a search, the clean runs of a refit) is never parted."""
    refit = {replace(run, protocol="clean") for run in runs if run.protocol == "refit"}
    units: dict[PlannedRun, int] = {}
    kept = []
    for run in runs:
        clean = replace(run, protocol="clean")
        unit = run.search_run or (replace(clean, seed=0) if clean in refit else run)
        if units.setdefault(unit, len(units)) % of == number - 1:
            kept.append(run)
    return tuple(kept)


class RunKeyResolver:
    """Remembers the fingerprints of data sets and files, so that thousands of runs cost a few looks at them.

    A data set is asked once for each clip size, fold and validation fold; no clip of any split is kept.
    """

    def __init__(self, environment: RunEnvironment) -> None:
        self._environment = environment
        self._splits: dict[tuple[object, ...], DatasetSplits] = {}
        self._content_hashes: dict[frozenset[tuple[str, Path]], dict[str, str]] = {}

    def make_spec(self, request: RunRequest) -> RunSpec:
        """What the run is. Raises DataError where its data cannot be had, ConfigError for a file that is not there."""
        files = frozenset(request.config.get_files().items())
        if files not in self._content_hashes:
            self._content_hashes[files] = hash_config_files(request.config)
        return make_spec(request, self._load_splits(request), self._content_hashes[files])

    def _load_splits(self, request: RunRequest) -> DatasetSplits:
        sampling = request.method.sampling(request.config, False)
        which = (request.dataset.info.name, sampling.size, sampling.mels, request.fold, request.seed % VALIDATION_FOLDS)
        if which not in self._splits:
            splits = seal_test(load_splits(request, self._environment))
            self._splits[which] = replace(splits, train=NO_CLIPS, val=NO_CLIPS, truth={}, issues=())
        return self._splits[which]
