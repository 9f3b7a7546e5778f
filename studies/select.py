"""The stored records that answer a study: one kind of data, preset and values set by hand, one record a place."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from fnmatch import fnmatchcase
from itertools import product
from pathlib import Path

from bench.artifacts import DATASET_INFO_FILE, read_dataset_info
from bench.config import get_or_suggest, hash_config_files, parse_overrides
from bench.errors import ConfigError, StoreError
from bench.files import sha256
from bench.mlflow import MlflowStore
from bench.protocol import describe_protocol
from bench.record import RECORD_FILE, Record, RunFolder, RunSpec, read_record
from bench.requests import RequestedPlan, StoredRequest, Tuning, read_requests
from bench.types import DatasetInfo
from datasets.registry import DATASETS
from reports.runs import UNKNOWN, Run, get_input_size, get_repetition
from studies.requests import Arm, Settings, find_arm, find_changes, get_arms, resolve_config
from studies.studies import PROTOCOLS, Study

SPEC_FIELDS = ("method", "dataset", "data", "protocol", "fold", "seed")
FILTER_FIELDS = ("arm", "preset", "key", *SPEC_FIELDS)

LABELS: dict[Tuning, str] = {"none": "untuned", "shared": "shared", "per-arm": "per-arm"}
NO_PLAN = RequestedPlan({}, (), ())
ExcludedRuns = list[tuple[str, str]]
"""Key of a run, and why it is left out."""
_SHA256 = re.compile("[0-9a-f]{64}")


@dataclass(frozen=True)
class RunFilter:
    """Terms that must all hold; each is a field and a pattern with *, ? and [...]."""

    terms: tuple[tuple[str, str], ...] = ()

    def matches(self, record: Record, arm: str) -> bool:
        """Whether a run, called `arm`, is taken."""
        spec = {name: str(getattr(record.spec, name)) for name in SPEC_FIELDS}
        return self.may_match(**spec, arm=arm, preset=record.preset, key=record.key)

    def may_match(self, **known: str) -> bool:
        """Whether runs of which so much is known may be taken, as far as that decides."""
        return all(fnmatchcase(known[field], pattern) for field, pattern in self.terms if field in known)

    def __str__(self) -> str:
        return ", ".join(f"{field}={pattern}" for field, pattern in self.terms)


def parse_filter(text: str) -> RunFilter:
    """A filter from its text; raises ConfigError for what is no term, or for a field that is none."""
    known, terms = {name: name for name in FILTER_FIELDS}, []
    for term in text.split(","):
        name, _, pattern = (part.strip() for part in term.partition("="))
        if not pattern:
            raise ConfigError(
                f"--runs wants field=pattern with commas between, got '{term.strip()}'; for example dataset=ekman6"
            )
        terms.append((get_or_suggest(name, known, "field of --runs"), pattern))
    return RunFilter(tuple(terms))


@dataclass(frozen=True)
class StoredRecord:
    """A record on the disk."""

    record: Record
    path: Path  # of its text: record.json, or failed-N.json
    sha: str  # of that file
    requests: tuple[StoredRequest, ...] = ()  # why the run was made; none where that is not known


def read_records(results: Path) -> tuple[list[StoredRecord], list[str]]:
    """Every final record by key, finished or else the last that failed; and why a record or a request was
    passed over."""
    found, passed = [], []
    for place in sorted((results / "runs").glob("*/")):
        folder, path = RunFolder(place), place / RECORD_FILE
        try:
            last = path if path.exists() else folder.find_last_failure()
            record = read_record(last) if last is not None else None
            if last is not None and record is not None and record.spec.stage == "final":
                requests, told = read_requests(folder)
                found.append(StoredRecord(record, last, sha256(last), tuple(requests)))
                passed += told
        except StoreError as error:
            passed.append(str(error))
    return found, passed


def select_current(found: Sequence[StoredRecord]) -> tuple[list[StoredRecord], list[str]]:
    """The records of the methods' present versions; how many are of others, or of methods that are not known."""
    versions = {arm.method.name: arm.method.version for arm in get_arms().values()}
    kept = [one for one in found if versions.get(one.record.spec.method) == one.record.spec.version]
    counts = Counter((one.record.spec.method, one.record.spec.version) for one in found)
    notes = [
        f"{count} {'runs' if count > 1 else 'run'} of version {version} of {name} left out: "
        + (f"this is version {versions[name]}" if name in versions else "no such method is known here")
        for (name, version), count in counts.items()
        if versions.get(name) != version
    ]
    return kept, notes


@dataclass(frozen=True)
class ReportQuery:
    """What a report is asked for beside its name."""

    run_filter: RunFilter = field(default_factory=RunFilter)
    preset: str = ""  # "": that of most arms, paper before quick
    settings: Mapping[str, str] | None = None  # None: those that most arms have runs with


@dataclass(frozen=True)
class SelectedRuns:
    """The runs of a report in the order of its arms, how they came by their values, and what is left out and why."""

    runs: tuple[Run, ...]
    preset: str
    settings: Settings
    tuning_note: str  # a sentence for captions
    excluded: tuple[tuple[str, str], ...]  # key of a run -> why
    warnings: tuple[str, ...] = ()  # a filter left runs of the study out
    asked: Mapping[str, set[tuple[int, int]]] = field(default_factory=dict)  # data set -> (fold, seed) asked for


@dataclass(frozen=True)
class RequestedRecord:
    """A record, under the preset of one of the requests for it."""

    record: Record
    stored: StoredRecord
    request: StoredRequest  # that was stored, or may have been

    @property
    def variant(self) -> tuple[str, Settings]:
        """Its preset, and the values that were set by hand."""
        return self.request.preset, tuple(sorted(self.request.settings.items()))

    @property
    def line(self) -> tuple[object, ...]:
        """What is the same for all runs of a line on a data set and fold."""
        spec, request = self.record.spec, self.request
        return request.arm, request.tuning, *self.variant, spec.dataset, spec.fold, spec.protocol


def select_runs(found: Sequence[StoredRecord], study: Study, query: ReportQuery, store: MlflowStore) -> SelectedRuns:
    """The runs of a study's arms and protocols. Real data go before the sample; of several presets, and values set by
    hand, those that most arms have runs with."""
    named = [
        one
        for record in found
        if record.record.spec.protocol in study.protocols
        for one in match_requests(record, study.arms, study.name)
    ]
    taken = [one for one in named if query.run_filter.matches(one.record, one.request.arm)]
    rest = len({one.record.key for one in named} - {one.record.key for one in taken})
    narrowed = f"NARROWED to {query.run_filter}: {rest} other runs of the study are left out."
    taken, left_out = _keep_real_data(_drop_shared_values(taken, study))
    preset, settings = _choose_most_common(taken, study, query)
    kept = []
    for one in taken:
        if _fits_request(one.request, preset, settings):
            kept.append(one)
        else:
            words = (f"with preset {one.variant[0]}", format_settings(one.variant[1]))
            left_out.append((one.record.key, ", ".join(filter(None, words))))
    runs, more = _make_runs(kept, study.arms, store)
    return SelectedRuns(
        runs=_add_label_suffixes(runs, by_hand=False),
        preset=preset,
        settings=settings,
        tuning_note=_describe_tuning(runs, preset, format_settings(settings), by_hand=False),
        excluded=tuple(left_out + more),
        warnings=(narrowed,) if rest else (),
        asked=_collect_planned(kept, study, preset, settings, query.run_filter),
    )


def _collect_planned(
    kept: Sequence[RequestedRecord], study: Study, preset: str, settings: Settings, only: RunFilter
) -> dict[str, set[tuple[int, int]]]:
    """All that the study was asked for with these values, as far as a filter takes it: the plans of its requests for
    any of its runs."""
    found: dict[str, set[tuple[int, int]]] = {}
    for one in kept:
        for request in one.stored.requests:
            own = request.study == study.name and _fits_request(request, preset, settings)
            if own and _is_explained_by(request, one.record):
                for dataset, folds in request.plan.datasets.items():
                    for fold, seed in product(folds, request.plan.seeds):
                        if only.may_match(dataset=dataset, fold=str(fold), seed=str(seed)):
                            found.setdefault(dataset, set()).add((fold, seed))
    return found


def select_any_runs(found: Sequence[StoredRecord], query: ReportQuery, store: MlflowStore) -> SelectedRuns:
    """The runs that a filter takes, whatever they are, each by the first request for it that the filter takes."""
    named: list[RequestedRecord] = []
    unknown: ExcludedRuns = []
    for one in found:
        matches = match_requests(one, get_arms())
        named += [match for match in matches if query.run_filter.matches(match.record, match.request.arm)][:1]
        if not matches and query.run_filter.matches(one.record, one.record.arm):
            unknown.append((one.record.key, "that no arm and preset explains"))
    named, left_out = _keep_real_data(named)
    runs, more = _make_runs(named, list(get_arms()), store)
    by_hand = any(run.hand_set for run in runs)
    presets = ", ".join(dict.fromkeys(run.record.preset for run in runs))
    values = _describe_tuning(runs, presets, "", by_hand)
    return SelectedRuns(_add_label_suffixes(runs, by_hand), presets, (), values, tuple(left_out + unknown + more))


def match_requests(found: StoredRecord, arms: Collection[str], study: str = "") -> list[RequestedRecord]:
    """Return a record by each of the requests for it that name one of these arms, those of the study where there are
    any; of requests for one line the last. A record that no request explains is of the arms it differs least from."""
    record = found.record
    believed = [one for one in found.requests if _is_explained_by(one, record)]
    requests = [one for one in believed or _guess_requests(record) if one.arm in arms]
    own = {one.preset for one in requests if study and one.study == study}
    kept: dict[tuple[object, ...], RequestedRecord] = {}
    for one in sorted(requests, key=lambda one: one.time):
        if one.study == study or one.preset not in own:
            match = RequestedRecord(replace(record, preset=one.preset), found, one)
            kept[match.line] = match
    return list(kept.values())


def _is_explained_by(request: StoredRequest, record: Record) -> bool:
    """Whether a record can be the answer to a request: its arm and what was set by hand, and no more unless tuned."""
    changes = _find_changes(record, request.arm, request.preset)
    if changes is None or not request.settings.items() <= dict(changes).items():
        return False
    return request.tuning != "none" or len(request.settings) == len(changes)


def _find_changes(record: Record, name: str, preset: str) -> Settings | None:
    """The values of a record that differ from those of an arm; None where it cannot be of that arm."""
    arm, spec = get_arms().get(name), record.spec
    changes = find_changes(name, preset, spec.config) if arm is not None and arm.method.name == spec.method else None
    return changes and tuple((field, spec.weights.get(field, value)) for field, value in changes)


def _guess_requests(record: Record) -> Sequence[StoredRequest]:
    """The requests that may have been those for a record: of the arms from which it has the fewest other values, that
    of the name in the record first."""
    changes = {name: of for name in get_arms() if (of := _find_changes(record, name, record.preset)) is not None}
    fewest = min(map(len, changes.values()), default=0)
    arms = sorted((name for name, of in changes.items() if len(of) == fewest), key=lambda name: name != record.arm)
    return [StoredRequest("", name, record.preset, NO_PLAN, settings=dict(changes[name])) for name in arms]


def _drop_shared_values(named: list[RequestedRecord], study: Study) -> list[RequestedRecord]:
    """Without the runs that other studies made with another method's values, of arms that have values of their own
    where the study tunes each arm."""
    if study.tuning != "per-arm":
        return named
    tuned = {one.request.arm for one in named if one.request.tuning == "per-arm"}
    return [
        one
        for one in named
        if one.request.tuning != "shared" or one.request.arm not in tuned or one.request.study == study.name
    ]


def _keep_real_data(named: list[RequestedRecord]) -> tuple[list[RequestedRecord], ExcludedRuns]:
    """Real data alone, where there are any: sample and real never stand in one table."""
    real = [one for one in named if one.record.spec.data == "real"]
    sample = [one.record.key for one in named if one.record.spec.data == "sample"]
    return (real, [(key, "on the built-in sample") for key in sample]) if real else (named, [])


def _choose_most_common(named: Sequence[RequestedRecord], study: Study, query: ReportQuery) -> tuple[str, Settings]:
    """The preset and the values set by hand that most arms have runs with; paper before quick, a study's own before
    others."""
    own = normalise_settings(study.arms, "quick", parse_overrides(list(study.quick_overrides)))
    known = dict.fromkeys(one.variant for one in named)
    if query.settings is not None:
        given = query.settings
        known = dict.fromkeys((preset, normalise_settings(study.arms, preset, given)) for preset, _ in known)
    known = {variant: None for variant in known if query.preset in ("", variant[0])}

    def worth(variant: tuple[str, Settings]) -> tuple[int, bool, bool, int]:
        fits = [one.request.arm for one in named if _fits_request(one.request, *variant)]
        usual = variant[1] == (own if variant[0] == "quick" else ())
        return len(set(fits)), variant[0] == "paper", usual, len(fits)

    return max(known, key=worth, default=(query.preset, ()))


def _fits_request(request: StoredRequest, preset: str, settings: Settings) -> bool:
    """Whether a run was asked for with these values, as far as its arm has them and does not pin them."""
    free = find_arm(request.arm).free_fields
    return request.preset == preset and request.settings == {name: text for name, text in settings if name in free}


def _make_runs(
    named: Sequence[RequestedRecord], arms: Sequence[str], store: MlflowStore
) -> tuple[list[Run], ExcludedRuns]:
    """Runs of what was chosen, one for each place, in the order of the arms; what has no place, or cannot be read."""
    kept, left_out = _keep_last_winner(named)
    kept, doubles = _keep_one_per_place(kept)
    left_out += doubles
    read: list[tuple[RequestedRecord, DatasetInfo | None]] = []  # a run that failed has no card
    for one in kept:
        try:
            read.append((one, read_dataset_info(one.stored.path.parent)))
        except StoreError:
            left_out.append((one.record.key, f"whose {DATASET_INFO_FILE} cannot be read"))
    shared = {one.record.spec.dataset: info for one, info in read if info is not None}
    made = [_make_run(one, store, info or _find_info(one.record, shared)) for one, info in read]
    classes = Counter((run.record.spec.dataset, run.info.classes) for run in made)
    most = {dataset: of for (dataset, of), _ in reversed(classes.most_common())}
    runs = [run for run in made if run.info.classes == most[run.record.spec.dataset]]
    left_out += [(run.record.key, "of other classes") for run in made if run not in runs]
    return _sort_runs(runs, arms), left_out


def _keep_last_winner(named: Sequence[RequestedRecord]) -> tuple[list[RequestedRecord], ExcludedRuns]:
    """Of a line whose search went on, and found better values, the runs with those it gave last."""
    by_time = sorted(named, key=lambda one: (one.request.time, one.request.tried))
    last = {(*one.line, one.record.spec.content): one.record.spec.config for one in by_time}
    kept, left_out = [], []
    for one in named:
        if one.request.tuning == "none" or one.record.spec.config == last[*one.line, one.record.spec.content]:
            kept.append(one)
        else:
            left_out.append((one.record.key, "with values of a search that went on"))
    return kept, left_out


def _keep_one_per_place(named: Sequence[RequestedRecord]) -> tuple[list[RequestedRecord], ExcludedRuns]:
    """One run for each place of a line. Of several the whole report takes those of one content of the data set, that of
    most runs, so that arms stay paired."""

    def content(spec: RunSpec) -> tuple[str, ...]:
        weights = (f"{name}={sha}" for name, sha in sorted(spec.weights.items()))
        size = map(str, get_input_size(spec))
        return spec.dataset, str(spec.fold), *size, spec.content, *weights  # folds need not hold the same clips

    specs = [one.record.spec for one in named]
    contents = Counter(map(content, specs))
    splits = Counter((spec.dataset, spec.split) for spec in specs)

    def rank(one: RequestedRecord) -> tuple[object, ...]:
        record, of = one.record, content(one.record.spec)
        split = record.spec.dataset, record.spec.split
        return record.error is not None, -contents[of], of, -splits[split], split, record.key

    kept: dict[tuple[object, ...], RequestedRecord] = {}
    ranked = sorted(named, key=rank)
    for one in ranked:
        kept.setdefault((*one.line, one.record.spec.seed), one)
    doubles = [one.record.key for one in ranked if kept[*one.line, one.record.spec.seed] is not one]
    why = "in whose place stands another, of other content or other files,"
    return list(kept.values()), [(key, why) for key in doubles]


def _make_run(one: RequestedRecord, store: MlflowStore, info: DatasetInfo) -> Run:
    folder, request = RunFolder(one.stored.path.parent), one.request
    noted = store.published_as(folder)
    published = noted if noted.get("sha") == one.stored.sha else {}
    arm = find_arm(request.arm)
    by = f"study {request.study}" if request.study else "a command"
    return Run(
        record=one.record,
        folder=folder.path,
        info=info,
        arm=arm.name,
        method=arm.method,
        tuning=request.tuning,
        hand_set=format_settings(one.variant[1]),
        configurations_tried=request.tried,
        was_searched=bool(arm.method.config.get_declared_ranges().keys() & arm.free_fields - request.settings.keys()),
        tuned_by=request.tuned_by,
        search=request.search,
        request=by if request in one.stored.requests else UNKNOWN,
        record_sha256=one.stored.sha,
        mlflow_run_id=published.get("run_id"),
        mlflow_experiment=published.get("experiment"),
    )


def _find_info(record: Record, shared: Mapping[str, DatasetInfo]) -> DatasetInfo:
    """Return the card of a run that stored none, since it failed or is here without its files: the registry's, or that
    of another run on the same data set."""
    name = record.spec.dataset
    classes = tuple(key.removeprefix("test/recall/") for key in record.scores if key.startswith("test/recall/"))
    unknown = DatasetInfo(name, name, classes, (0,) * len(classes), {}, "", "", "", "")
    return DATASETS[name].info if name in DATASETS else shared.get(name, unknown)


def _sort_runs(runs: Sequence[Run], arms: Sequence[str]) -> list[Run]:
    """Runs by arm, then by data set as the registry has them (one's own behind, by name), fold and seed; of those in
    one place a clean run goes first."""
    known = list(DATASETS)

    def place(run: Run) -> tuple[object, ...]:
        dataset, fold, seed = get_repetition(run)
        line = PROTOCOLS.index(run.record.spec.protocol), list(LABELS).index(run.tuning), run.record.preset
        where = known.index(dataset) if dataset in known else len(known), dataset, fold, seed
        return arms.index(run.arm), *where, *line, run.hand_set

    return sorted(runs, key=place)


def _is_tunable(run: Run) -> bool:
    """Whether a run has values of a search, or could have had."""
    return run.was_searched or run.tuning != "none"


def _add_label_suffixes(runs: Sequence[Run], by_hand: bool) -> tuple[Run, ...]:
    """The runs with what tells their lines apart: whose values, where arms that could be searched have different ones;
    which preset; what was set by hand, if asked for; which protocol."""
    several_tunings = len({run.tuning for run in runs if _is_tunable(run)}) > 1
    several_presets = len({run.record.preset for run in runs}) > 1
    found = []
    for run in runs:
        told = (
            LABELS[run.tuning] if several_tunings and _is_tunable(run) else "",
            run.record.preset if several_presets else "",
            run.hand_set if by_hand else "",
            describe_protocol(run.record.spec),
        )
        found.append(replace(run, label_suffix="; ".join(filter(None, told))))
    return tuple(found)


def _describe_tuning(runs: Sequence[Run], preset: str, settings: str, by_hand: bool) -> str:
    """A sentence for every caption: which preset, what was set by hand, and how which arms came by their values."""
    head = f"Preset {preset}{f' with {settings}' if settings else ''}"
    if by_hand:
        head += "; values that were set by hand stand in the names of lines"
    tuned = [run for run in runs if run.tuning != "none"]
    if not tuned:
        return f"{head}; values as the preset has them."
    most = max(run.configurations_tried for run in tuned)
    full = ", ".join(dict.fromkeys(run.tuned_by for run in tuned if run.tuning == "shared"))
    how: dict[Tuning, str] = {
        "per-arm": f"per-arm (searched on val for the arm itself, up to {most} configurations)",
        "shared": f"shared (as searched for {full})",
        "none": "untuned (as the preset has them)",
    }
    told = []
    for values, text in how.items():
        arms = dict.fromkeys(run.arm for run in runs if run.tuning == values and _is_tunable(run))
        told += [f"{text}: {', '.join(arms)}"] if arms else []
    return f"{head}; values {'; '.join(told)}."


def normalise_settings(arms: Sequence[str], preset: str, given: Mapping[str, str]) -> Settings:
    """Return values set by hand as requests name them: those that differ from a preset, in the config's own form, a
    file by its sha256. `arms` are those whose configs may have the fields; one that none has is left out."""
    found: dict[str, str] = {}
    for name, text in hash_files(arms, given).items():
        if (arm := _find_arm_with(arms, name)) is not None:
            config = resolve_config(arm, preset, {name: text})
            found |= find_changes(arm.name, preset, config.model_dump(mode="json")) or ()
    return tuple(sorted(found.items()))


def hash_files(arms: Sequence[str], given: Mapping[str, str]) -> dict[str, str]:
    """Values set by hand, a file by its sha256, so that they mean the same wherever the file is. Raises ConfigError."""
    found = dict(given)
    for name, text in given.items():
        if (arm := _find_arm_with(arms, name)) is not None and not _SHA256.fullmatch(text):
            found |= hash_config_files(resolve_config(arm, "quick", {name: text}))
    return found


def _find_arm_with(arms: Sequence[str], name: str) -> Arm | None:
    """The first arm that has a field and does not pin it."""
    return next((arm for arm in map(find_arm, arms) if name in arm.free_fields), None)


def format_settings(settings: Settings) -> str:
    """Values set by hand as a person reads them; of a file's sha256 the start."""
    return ", ".join(f"{name}={value[:8] if _SHA256.fullmatch(value) else value}" for name, value in settings)
