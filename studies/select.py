"""Select the stored records of a study: real data or the sample, one preset, one set of user settings.

Also count the configurations that were tried with each arm.
"""

from __future__ import annotations

import json
import re
from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import product
from pathlib import Path
from typing import Any

from bench.config import hash_config_files, parse_overrides
from bench.errors import StoreError
from bench.files import sha256
from bench.mlflow import MlflowStore
from bench.protocol import describe_protocol
from bench.record import DATASET_INFO_FILE, RECORD_FILE, Record, RunFolder, RunSpec, read_dataset_info, read_record
from bench.requests import RequestedPlan, StoredRequest, Tuning, read_requests
from bench.tasks import Classification, Task
from bench.types import DatasetInfo
from datasets.registry import DATASETS
from reports.runs import UNKNOWN, Run, SearchSummary, get_input_size, get_repetition, read_searches
from studies.requests import (
    Arm,
    RunFilter,
    Settings,
    explain_mismatch,
    find_arm,
    find_changes,
    get_arms,
    resolve_config,
)
from studies.studies import PROTOCOLS, Study

LABELS: dict[Tuning, str] = {"none": "untuned", "shared": "shared", "per-arm": "per-arm"}
NO_PLAN = RequestedPlan({}, (), ())
ExcludedRuns = list[tuple[str, str]]
"""(key of a run, reason why it is left out)."""
TriedCounts = Mapping[tuple[str, str, str], int]
"""(arm, data set, "real" or "sample") -> number of configurations tried there."""
_SHA256 = re.compile("[0-9a-f]{64}")


@dataclass(frozen=True)
class StoredRecord:
    """A record on disk."""

    record: Record
    path: Path  # its file: record.json, or failed-N.json
    sha: str  # of that file
    requests: tuple[StoredRequest, ...] = ()  # why the run was executed; empty if unknown


def read_records(results: Path) -> tuple[list[StoredRecord], list[str]]:
    """Read the records of final runs, as `read_all_records` does."""
    found, skipped = read_all_records(results)
    return [stored for stored in found if stored.record.spec.stage == "final"], skipped


def read_all_records(results: Path) -> tuple[list[StoredRecord], list[str]]:
    """Read the record of every final run and trial, in order of key: the finished one, or else the last failed one.

    Also return a line for each record or request that was skipped. Trials have no requests.
    """
    found, skipped = [], []
    for run_path in sorted((results / "runs").glob("*/")):
        folder, path = RunFolder(run_path), run_path / RECORD_FILE
        try:
            last = path if path.exists() else folder.find_last_failure()
            record = read_record(last) if last is not None else None
            if last is not None and record is not None:
                requests, notes = read_requests(folder) if record.spec.stage == "final" else ([], [])
                found.append(StoredRecord(record, last, sha256(last), tuple(requests)))
                skipped += notes
        except StoreError as error:
            skipped.append(str(error))
    return found, skipped


def select_current(found: Sequence[StoredRecord]) -> tuple[list[StoredRecord], list[str]]:
    """Select the records of the current version of each method, and count the others in lines.

    A plugin's current version is the text that was given.
    """
    reasons = [explain_mismatch(stored.record) for stored in found]
    current = [stored for stored, reason in zip(found, reasons, strict=True) if not reason]
    counts = Counter(
        (stored.record.spec.method, stored.record.spec.version, reason)
        for stored, reason in zip(found, reasons, strict=True)
        if reason
    )
    notes = [
        f"{count} {'runs' if count > 1 else 'run'} of {name} version {version} left out: {reason}"
        for (name, version, reason), count in counts.items()
    ]
    return current, notes


def count_tried_in(results: Path) -> TriedCounts:
    """Count the configurations that were tried in a results folder, as `count_tried` does; skip unreadable files."""
    return count_tried(read_all_records(results)[0], read_searches(results)[0])


def count_tried(stored: Iterable[StoredRecord], searches: Sequence[SearchSummary]) -> TriedCounts:
    """Count the configurations that were tried with each arm on each data set.

    A configuration is the values of the fields that an arm does not pin, and the content of their files. Those of all
    final runs count, also the preset's, and those of all trials, finished, pruned or failed. An arm with shared values
    also has the trials of the search that found them. Seeds, folds, protocols and repetitions do not count, nor do
    runs of other versions of a method.
    """
    found: defaultdict[tuple[str, str, str], _Tried] = defaultdict(_Tried)
    for one in stored:
        found_in = one.record.spec
        for name in {one.record.arm, *(request.arm for request in one.requests)}:
            arm = get_arms().get(name)
            if arm is not None and (arm.method.name, arm.method.version) == (found_in.method, found_in.version):
                searched_by = {request.search: request.tried for request in one.requests if request.arm == name}
                found[name, found_in.dataset, found_in.data].add_record(arm, one.record, searched_by)
    for search in searches:
        arm = get_arms().get(search.arm)
        if arm is not None and search.version in (None, arm.method.version):
            found[search.arm, search.dataset, search.data].add_search(search.digest, search.configurations_tried)
    summaries = {search.digest: search for search in searches}
    return {place: tried.count(get_arms()[place[0]], summaries) for place, tried in found.items()}


@dataclass
class _Tried:
    """The configurations of one arm on one data set: of all runs, and of those that a search is known to have made."""

    known: set[str] = field(default_factory=set)
    searched: set[str] = field(default_factory=set)
    searches: dict[str, int] = field(default_factory=dict)  # digest -> trials

    def add_record(self, arm: Arm, record: Record, searches: Mapping[str, int]) -> None:
        """Add a run; `searches` are those that found its values, by digest, "" for none, with their trials."""
        configuration = _identify_configuration(arm, record.spec.config, record.spec.weights)
        self.known.add(configuration)
        for digest, trials in searches.items():
            if digest:
                self.add_search(digest, trials)
        if record.spec.stage == "trial" or any(searches):
            self.searched.add(configuration)

    def add_search(self, digest: str, trials: int) -> None:
        """Add a search with its number of trials."""
        self.searches[digest] = max(trials, self.searches.get(digest, 0))

    def count(self, arm: Arm, summaries: Mapping[str, SearchSummary]) -> int:
        """Return the number of configurations. Of trials whose values are not known here the stored number counts."""
        listed: set[str] = set()
        unlisted = 0
        for digest, trials in self.searches.items():
            summary = summaries.get(digest)
            values = [trial["params"] for trial in summary.trials if "params" in trial] if summary is not None else []
            unlisted += max(0, trials - len(values))
            if summary is not None:
                base, weights = summary.base_config, summary.weights or {}
                listed |= {_identify_configuration(arm, base | params, weights) for params in values}
        return len(self.known | listed) + max(0, unlisted - len(self.searched - listed))


def _identify_configuration(arm: Arm, config: Mapping[str, Any], weights: Mapping[str, str]) -> str:
    """Return the values that identify a configuration of an arm as text: those of the fields that it does not pin."""
    free = sorted(arm.free_fields)
    fields = arm.method.config.model_fields  # version 0.1 lacks some
    values = {name: _unify_number(config.get(name, fields[name].default)) for name in free}
    return json.dumps([values, {name: weights[name] for name in free if name in weights}])


def _unify_number(value: Any) -> Any:
    """Return a whole number as an integer: a config has 1.0 where a search drew 1."""
    return int(value) if isinstance(value, float) and value.is_integer() else value


@dataclass(frozen=True)
class ReportQuery:
    """The options that select the runs of a report."""

    run_filter: RunFilter = field(default_factory=RunFilter)
    preset: str = ""  # "": the preset with runs of most arms, on a tie paper
    settings: Mapping[str, str] | None = None  # None: the settings with runs of most arms


@dataclass(frozen=True)
class SelectedRuns:
    """The runs of a report in the order of its arms, how they were tuned, and the omitted runs with reasons."""

    runs: tuple[Run, ...]
    preset: str
    settings: Settings
    tuning_note: str  # a sentence for captions
    excluded: tuple[tuple[str, str], ...]  # key of a run -> why
    warnings: tuple[str, ...] = ()  # that a filter leaves out runs of the study
    planned: Mapping[str, set[tuple[int, int]]] = field(default_factory=dict)  # data set -> requested (fold, seed)


@dataclass(frozen=True)
class RequestedRecord:
    """A record together with one of the requests for it, and under the preset of that request."""

    record: Record
    stored: StoredRecord
    request: StoredRequest  # stored, or inferred

    @property
    def variant(self) -> tuple[str, Settings]:
        """Return the preset and the settings of the user."""
        return self.request.preset, tuple(sorted(self.request.settings.items()))

    @property
    def row(self) -> tuple[object, ...]:
        """Return the values shared by all seeds of a table row on one data set and fold."""
        spec, request = self.record.spec, self.request
        return request.arm, request.tuning, *self.variant, spec.dataset, spec.fold, spec.protocol


def select_runs(found: Sequence[StoredRecord], study: Study, query: ReportQuery, store: MlflowStore) -> SelectedRuns:
    """Select the runs of a study's arms and protocols.

    Runs on real data exclude runs on the sample. Of several presets and user settings, those with runs of most arms
    are selected.
    """
    named = [
        match
        for stored in found
        if stored.record.spec.protocol in study.protocols
        for match in match_requests(stored, study.arms, study.name)
    ]
    matching = [match for match in named if query.run_filter.matches(match.record, match.request.arm)]
    rest = len({match.record.key for match in named} - {match.record.key for match in matching})
    omitted = "1 other run of the study is" if rest == 1 else f"{rest} other runs of the study are"
    narrowed = f"NARROWED to {query.run_filter}: {omitted} left out."
    matching, left_out = _keep_real_data(_drop_shared_values(matching, study))
    preset, settings = _choose_most_common(matching, study, query)
    selected = []
    for match in matching:
        if _fits_request(match.request, preset, settings):
            selected.append(match)
        else:
            values = (f"preset {match.variant[0]}", format_settings(match.variant[1]))
            left_out.append((match.record.key, ", ".join(filter(None, values))))
    runs, more = _make_runs(selected, study.arms, store)
    return SelectedRuns(
        runs=_add_label_suffixes(runs, show_settings=False),
        preset=preset,
        settings=settings,
        tuning_note=_describe_tuning(runs, preset, format_settings(settings), show_settings=False),
        excluded=tuple(left_out + more),
        warnings=(narrowed,) if rest else (),
        planned=_collect_planned(selected, study, preset, settings, query.run_filter),
    )


def _collect_planned(
    selected: Sequence[RequestedRecord], study: Study, preset: str, settings: Settings, only: RunFilter
) -> dict[str, set[tuple[int, int]]]:
    """Collect the folds and seeds that the study's requests with these settings planned and that pass the filter.

    Return data set -> {(fold, seed)}.
    """
    found: dict[str, set[tuple[int, int]]] = {}
    for match in selected:
        for request in match.stored.requests:
            of_study = request.study == study.name and _fits_request(request, preset, settings)
            if of_study and _is_explained_by(request, match.record):
                for dataset, folds in request.plan.datasets.items():
                    for fold, seed in product(folds, request.plan.seeds):
                        if only.may_match(dataset=dataset, fold=str(fold), seed=str(seed)):
                            found.setdefault(dataset, set()).add((fold, seed))
    return found


def select_any_runs(found: Sequence[StoredRecord], query: ReportQuery, store: MlflowStore) -> SelectedRuns:
    """Select all runs that match a filter, each with its first request that matches."""
    named: list[RequestedRecord] = []
    unknown: ExcludedRuns = []
    for stored in found:
        matches = match_requests(stored, get_arms())
        named += [match for match in matches if query.run_filter.matches(match.record, match.request.arm)][:1]
        if not matches and query.run_filter.matches(stored.record, stored.record.arm):
            unknown.append((stored.record.key, "config of no known arm and preset"))
    named, left_out = _keep_real_data(named)
    runs, more = _make_runs(named, list(get_arms()), store)
    has_settings = any(run.hand_set for run in runs)
    presets = ", ".join(dict.fromkeys(run.record.preset for run in runs))
    note = _describe_tuning(runs, presets, "", has_settings)
    return SelectedRuns(_add_label_suffixes(runs, has_settings), presets, (), note, tuple(left_out + unknown + more))


def match_requests(found: StoredRecord, arms: Collection[str], study: str = "") -> list[RequestedRecord]:
    """Pair a record with each of its requests for one of these arms, preferring requests of the study.

    Of several requests for one table row the last counts. A record that no request explains is paired with inferred
    requests for the arms whose config it differs from least.
    """
    record = found.record
    valid = [request for request in found.requests if _is_explained_by(request, record)]
    requests = [request for request in valid or _guess_requests(record) if request.arm in arms]
    study_presets = {request.preset for request in requests if study and request.study == study}
    matches: dict[tuple[object, ...], RequestedRecord] = {}
    for request in sorted(requests, key=lambda request: request.time):
        if request.study == study or request.preset not in study_presets:
            match = RequestedRecord(replace(record, preset=request.preset), found, request)
            matches[match.row] = match
    return list(matches.values())


def _is_explained_by(request: StoredRequest, record: Record) -> bool:
    """Return whether a record has the config of a request: its arm and settings, and other changes only if tuned."""
    changes = _find_changes(record, request.arm, request.preset)
    if changes is None or not request.settings.items() <= dict(changes).items():
        return False
    return request.tuning != "none" or len(request.settings) == len(changes)


def _find_changes(record: Record, name: str, preset: str) -> Settings | None:
    """Return the config values in which a record differs from an arm, or None if it cannot be a run of that arm."""
    arm, spec = get_arms().get(name), record.spec
    changes = find_changes(name, preset, spec.config) if arm is not None and arm.method.name == spec.method else None
    if changes is None:
        return None
    return (*((field, spec.weights.get(field, value)) for field, value in changes), *spec.extras.items())


def _guess_requests(record: Record) -> Sequence[StoredRequest]:
    """Infer requests for a record: the arms from which its config differs least, first the arm named in the record."""
    found = {name: _find_changes(record, name, record.preset) for name in get_arms()}
    changes = {name: changed for name, changed in found.items() if changed is not None}
    fewest = min(map(len, changes.values()), default=0)
    arms = sorted((name for name in changes if len(changes[name]) == fewest), key=lambda name: name != record.arm)
    return [StoredRequest("", name, record.preset, NO_PLAN, settings=dict(changes[name])) for name in arms]


def _drop_shared_values(named: list[RequestedRecord], study: Study) -> list[RequestedRecord]:
    """Drop other studies' runs with shared tuned values if the study tunes each arm and the arm was tuned."""
    if study.tuning != "per-arm":
        return named
    tuned = {match.request.arm for match in named if match.request.tuning == "per-arm"}
    return [
        match
        for match in named
        if match.request.tuning != "shared" or match.request.arm not in tuned or match.request.study == study.name
    ]


def _keep_real_data(named: list[RequestedRecord]) -> tuple[list[RequestedRecord], ExcludedRuns]:
    """Keep only runs on real data if there are any: a table never mixes them with runs on the sample."""
    real = [match for match in named if match.record.spec.data == "real"]
    sample = [match.record.key for match in named if match.record.spec.data == "sample"]
    return (real, [(key, "made on the built-in sample") for key in sample]) if real else (named, [])


def _choose_most_common(named: Sequence[RequestedRecord], study: Study, query: ReportQuery) -> tuple[str, Settings]:
    """Return the preset and settings with runs of most arms; on a tie prefer `paper`, then the study's settings."""
    quick_settings = normalise_settings(study.arms, "quick", parse_overrides(list(study.quick_overrides)))
    known = dict.fromkeys(match.variant for match in named)
    if query.settings is not None:
        given = query.settings
        known = dict.fromkeys((preset, normalise_settings(study.arms, preset, given)) for preset, _ in known)
    known = {variant: None for variant in known if query.preset in ("", variant[0])}

    def rank(variant: tuple[str, Settings]) -> tuple[int, bool, bool, int]:
        arms = [match.request.arm for match in named if _fits_request(match.request, *variant)]
        is_default = variant[1] == (quick_settings if variant[0] == "quick" else ())
        return len(set(arms)), variant[0] == "paper", is_default, len(arms)

    return max(known, key=rank, default=(query.preset, ()))


def _fits_request(request: StoredRequest, preset: str, settings: Settings) -> bool:
    """Return whether a request has this preset and those of the settings that its arm has and does not pin."""
    free = find_arm(request.arm).free_settings
    return request.preset == preset and request.settings == {name: text for name, text in settings if name in free}


def _make_runs(
    named: Sequence[RequestedRecord], arms: Sequence[str], store: MlflowStore
) -> tuple[list[Run], ExcludedRuns]:
    """Make the runs of a report without duplicates, in the order of the arms, and list those left out."""
    selected, left_out = _keep_last_winner(named)
    selected, duplicates = _keep_one_per_repetition(selected)
    left_out += duplicates
    read: list[tuple[RequestedRecord, DatasetInfo | None]] = []  # None: a failed run stores no DatasetInfo
    for match in selected:
        try:
            read.append((match, read_dataset_info(match.stored.path.parent)))
        except StoreError:
            left_out.append((match.record.key, f"{DATASET_INFO_FILE} cannot be read"))
    shared = {match.record.spec.dataset: info for match, info in read if info is not None}
    made = [_make_run(match, store, info or _find_info(match.record, shared)) for match, info in read]
    kinds = Counter((run.record.spec.dataset, _get_kind(run.info)) for run in made)
    most = {dataset: kind for (dataset, kind), _ in reversed(kinds.most_common())}
    runs = [run for run in made if _get_kind(run.info) == most[run.record.spec.dataset]]
    left_out += [
        (run.record.key, "other classes or targets than most runs on the data set") for run in made if run not in runs
    ]
    return _sort_runs(runs, arms), left_out


def _get_kind(info: DatasetInfo) -> tuple[str, ...] | Task:
    """Return what runs on one data set share: the classes, or the task of a regression."""
    return info.task.classes if isinstance(info.task, Classification) else info.task


def _keep_last_winner(named: Sequence[RequestedRecord]) -> tuple[list[RequestedRecord], ExcludedRuns]:
    """Keep, for each table row, the runs with the last best values if its search was continued."""
    by_time = sorted(named, key=lambda match: (match.request.time, match.request.tried))
    last = {(*match.row, match.record.spec.content): match.record.spec.config for match in by_time}
    selected, left_out = [], []
    for match in named:
        if match.request.tuning == "none" or match.record.spec.config == last[*match.row, match.record.spec.content]:
            selected.append(match)
        else:
            left_out.append((match.record.key, "superseded by better values of the continued search"))
    return selected, left_out


def _keep_one_per_repetition(named: Sequence[RequestedRecord]) -> tuple[list[RequestedRecord], ExcludedRuns]:
    """Keep one run per table row, data set, fold and seed.

    Duplicates differ in the content of the data or of files. The whole report prefers the content with most runs, so
    that arms stay paired.
    """

    def content(spec: RunSpec) -> tuple[str, ...]:
        weights = (f"{name}={sha}" for name, sha in sorted(spec.weights.items()))
        size = map(str, get_input_size(spec))
        return spec.dataset, str(spec.fold), *size, spec.content, *weights  # folds need not hold the same clips

    specs = [match.record.spec for match in named]
    contents = Counter(map(content, specs))
    splits = Counter((spec.dataset, spec.split) for spec in specs)

    def rank(match: RequestedRecord) -> tuple[object, ...]:
        record, own_content = match.record, content(match.record.spec)
        split = record.spec.dataset, record.spec.split
        common = -contents[own_content], -record.spec.schema, own_content, -splits[split], split
        return record.error is not None, *common, record.key

    selected: dict[tuple[object, ...], RequestedRecord] = {}
    ranked = sorted(named, key=rank)
    for match in ranked:
        selected.setdefault((*match.row, match.record.spec.seed), match)
    duplicates = [match.record.key for match in ranked if selected[*match.row, match.record.spec.seed] is not match]
    why = "duplicate of another run, with other data or files, or of another version of the suite"
    return list(selected.values()), [(key, why) for key in duplicates]


def _make_run(match: RequestedRecord, store: MlflowStore, info: DatasetInfo) -> Run:
    folder, request = RunFolder(match.stored.path.parent), match.request
    stored = store.published_as(folder)
    published = stored if stored.get("sha") == match.stored.sha else {}
    arm = find_arm(request.arm)
    by = f"study {request.study}" if request.study else "a command"
    return Run(
        record=match.record,
        folder=folder.path,
        info=info,
        arm=arm.name,
        method=arm.method,
        tuning=request.tuning,
        hand_set=format_settings(match.variant[1]),
        search_trials=request.tried,
        was_searched=bool(arm.method.config.get_declared_ranges().keys() & arm.free_fields - request.settings.keys()),
        tuned_by=request.tuned_by,
        search=request.search,
        request=by if request in match.stored.requests else UNKNOWN,
        record_sha256=match.stored.sha,
        mlflow_run_id=published.get("run_id"),
        mlflow_experiment=published.get("experiment"),
    )


def _find_info(record: Record, shared: Mapping[str, DatasetInfo]) -> DatasetInfo:
    """Return the DatasetInfo of a run that stored none, because it failed or was copied without its files.

    It is taken from the registry, or from another run on the same data set.
    """
    name = record.spec.dataset
    classes = tuple(key.removeprefix("test/recall/") for key in record.scores if key.startswith("test/recall/"))
    unknown = DatasetInfo(name, name, Classification(classes, (0,) * len(classes)), {}, "", "", "", "")
    return DATASETS[name].info if name in DATASETS else shared.get(name, unknown)


def _sort_runs(runs: Sequence[Run], arms: Sequence[str]) -> list[Run]:
    """Sort runs by arm, data set (registered ones first, in their order; custom ones by name), fold and seed.

    On a tie a clean run is first.
    """
    known = list(DATASETS)

    def position(run: Run) -> tuple[object, ...]:
        dataset, fold, seed = get_repetition(run)
        row = PROTOCOLS.index(run.record.spec.protocol), list(LABELS).index(run.tuning), run.record.preset
        repetition = known.index(dataset) if dataset in known else len(known), dataset, fold, seed
        return arms.index(run.arm), *repetition, *row, run.hand_set

    return sorted(runs, key=position)


def _is_tunable(run: Run) -> bool:
    """Return whether a run has searched values, or could have had."""
    return run.was_searched or run.tuning != "none"


def _add_label_suffixes(runs: Sequence[Run], show_settings: bool) -> tuple[Run, ...]:
    """Add label suffixes that distinguish table rows: tuning and preset if they differ, user settings, protocol."""
    several_tunings = len({run.tuning for run in runs if _is_tunable(run)}) > 1
    several_presets = len({run.record.preset for run in runs}) > 1
    found = []
    for run in runs:
        parts = (
            LABELS[run.tuning] if several_tunings and _is_tunable(run) else "",
            run.record.preset if several_presets else "",
            run.hand_set if show_settings else "",
            describe_protocol(run.record.spec),
        )
        found.append(replace(run, label_suffix="; ".join(filter(None, parts))))
    return tuple(found)


def _describe_tuning(runs: Sequence[Run], preset: str, settings: str, show_settings: bool) -> str:
    """Return a sentence for captions: the preset, the user's settings, and how each arm was tuned."""
    head = f"Preset {preset}{f' with {settings}' if settings else ''}"
    if show_settings:
        head += "; row labels list the values set with --set"
    tuned = [run for run in runs if run.tuning != "none"]
    if not tuned:
        return f"{head}; no tuning (values of the preset)."
    most = max(run.search_trials for run in tuned)
    configurations = "1 configuration" if most == 1 else f"{most} configurations"
    tuned_arms = ", ".join(dict.fromkeys(run.tuned_by for run in tuned if run.tuning == "shared"))
    how: dict[Tuning, str] = {
        "per-arm": f"per-arm (searched on val for each arm, at most {configurations})",
        "shared": f"shared (values searched for {tuned_arms})",
        "none": "untuned (values of the preset)",
    }
    notes = []
    for tuning, text in how.items():
        arms = dict.fromkeys(run.arm for run in runs if run.tuning == tuning and _is_tunable(run))
        notes += [f"{text}: {', '.join(arms)}"] if arms else []
    return f"{head}; tuning: {'; '.join(notes)}."


def normalise_settings(arms: Sequence[str], preset: str, given: Mapping[str, str]) -> Settings:
    """Return user settings in the form that requests store: values that differ from the preset, files by sha256.

    `arms` are those whose configs may have the fields; a field that none has is left out.
    """
    found: dict[str, str] = {}
    for name, text in hash_files(arms, given).items():
        if (arm := _find_arm_with(arms, name)) is not None:
            config = resolve_config(arm, preset, {name: text})
            found |= find_changes(arm.name, preset, config.model_dump(mode="json")) or ()
        elif any(name in find_arm(arm).free_settings for arm in arms):
            found[name] = text
    return tuple(sorted(found.items()))


def hash_files(arms: Sequence[str], given: Mapping[str, str]) -> dict[str, str]:
    """Replace files in user settings by their sha256, which does not depend on the path. Raises ConfigError."""
    found = dict(given)
    for name, text in given.items():
        if (arm := _find_arm_with(arms, name)) is not None and not _SHA256.fullmatch(text):
            found |= hash_config_files(resolve_config(arm, "quick", {name: text}))
    return found


def _find_arm_with(arms: Sequence[str], name: str) -> Arm | None:
    """Return the first arm that has a field and does not pin it."""
    return next((arm for arm in map(find_arm, arms) if name in arm.free_fields), None)


def format_settings(settings: Settings) -> str:
    """Format user settings for display; a file's sha256 is shortened to 8 digits."""
    return ", ".join(f"{name}={value[:8] if _SHA256.fullmatch(value) else value}" for name, value in settings)
