"""Runs and searches of a report, and how they are grouped into the rows of a table.

A row is an arm with one way of tuning; its runs on a data set differ by fold and seed.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from statistics import fmean, stdev
from typing import Any

import numpy as np

from bench.artifacts import read_predictions
from bench.errors import StoreError
from bench.explanations import ClipFigure
from bench.files import parse_json
from bench.method import Method
from bench.metrics import Predictions
from bench.record import SCHEMA, Record, RunSpec, validate
from bench.requests import Tuning
from bench.tasks import ACCURACY, Classification, Metric, Regression, Task
from bench.types import DatasetInfo
from reports.statistics import (
    ClipSums,
    Interval,
    compute_accuracy_difference,
    compute_accuracy_interval,
    compute_score_difference,
    compute_score_interval,
    mcnemar_test,
    sum_errors,
    sum_moments,
)

UNKNOWN = "unknown request"  # request of a run of version 0.1, which stored none


ExpectedRuns = Mapping[str, int]
"""Data set -> number of runs (folds times seeds) that an arm should have there."""

HASH_LENGTH = 8  # characters of a printed hash
SAMPLE_WARNING = "BUILT-IN SAMPLE: synthetic clips, not the real data set. These numbers do not apply to real videos."
ON_TEST_WARNING = (
    "EPOCH CHOSEN ON TEST: rows of this name selected the epoch on the test split; their scores are too high."
)
FROM_SCRATCH_WARNING = "FROM SCRATCH: sizes of the paper, but trained without published weights."

MAX_SLUG_LENGTH = 60  # characters
SEARCHES_FOLDER, SUMMARY_FILE = "searches", "search.json"  # results/searches/<digest>/search.json


@dataclass(frozen=True)
class Run:
    """A final record, finished or failed, with its name in the report."""

    record: Record
    folder: Path
    info: DatasetInfo
    arm: str  # name of the method or variant
    method: Method
    tuning: Tuning = "none"
    hand_set: str = ""  # values set by hand on top of the preset: "epochs=2, lr=0.01"
    configurations_tried: int = 1  # different configurations tried of its arm on its data set, searched or set by hand
    search_trials: int = 1  # configurations of the search that chose its values
    was_searched: bool = False  # the arm has values that a search can vary
    tuned_by: str = ""  # arm whose search chose the values
    search: str = ""  # digest of that search
    request: str = UNKNOWN  # the study or command that requested it
    record_sha256: str = ""  # of the record file
    mlflow_run_id: str | None = None
    mlflow_experiment: str | None = None
    label_suffix: str = ""  # distinguishes rows of one arm: "per-arm", "epochs=2", a protocol

    @property
    def label(self) -> str:
        """Return the name of its row."""
        return f"{self.arm} ({self.label_suffix})" if self.label_suffix else self.arm

    @property
    def failed(self) -> bool:
        """Return whether it ended without scores."""
        return self.record.error is not None

    @property
    def from_scratch(self) -> bool:
        """Return whether its encoders could have started from published weights and did not."""
        return self.method.is_from_scratch(self.record.spec.config, self.record.spec.weights)

    def get_score(self, metric: Metric, split: str = "test") -> float | None:
        """Return a score of a split in its printed unit, such as percent; None where the record has none."""
        value = self.record.scores.get(f"{split}/{metric.name}")
        return None if value is None else metric.scale * value

    @property
    def metric(self) -> Metric:
        """Return the primary metric of its data set."""
        return self.info.task.primary


def get_input_size(spec: RunSpec) -> tuple[object, object]:
    """Return the size in which a run opens clips; runs of different sizes have different fingerprints of content."""
    return spec.config.get("size"), spec.config.get("mels")


@dataclass(frozen=True)
class SearchSummary:
    """A finished search; `best_values` is None where no trial finished."""

    digest: str
    arm: str
    dataset: str
    data: str
    fold: int
    preset: str
    sampler: str
    pruner: str
    seeds: int  # per trial
    ranges: dict[str, list[Any]]  # field -> [low, high, "log" | "linear"], or its choices
    base_config: dict[str, Any]  # config that its trials vary
    configurations_tried: int
    best_values: dict[str, Any] | None
    best_score: float | None  # of the best trial on val, as stored
    trials: tuple[dict[str, Any], ...]  # number, state, value, spent, params; none, or no params, in older summaries
    weights: dict[str, str] | None = None  # config field -> sha256 of its file; None in older summaries
    metric: Metric = ACCURACY  # that the search improves
    version: int | None = None  # of the method; None in older summaries

    def title(self, title: str) -> str:
        """Return its name: arm, data set and fold, and the start of its digest, which makes it unique."""
        fold = f", fold {self.fold}" if self.fold else ""
        return f"{self.arm} on {title}{fold} ({self.digest[:6]})"


Extract = Callable[[Run], float | None]
"""A function that returns a number of a run, or None where the run has none."""


@dataclass(frozen=True)
class Mean:
    """A mean over runs; `std` is their standard deviation (n - 1), None for a single run."""

    mean: float
    std: float | None
    values: tuple[float, ...]
    run_keys: tuple[str, ...]  # in the order of the values


@dataclass(frozen=True)
class RunGroup:
    """The runs of a row on one data set: finished runs by fold and seed, failed runs, and the expected number."""

    runs: tuple[Run, ...]
    failed: tuple[Run, ...]
    expected: int

    def compute_mean(self, read: Extract) -> Mean | None:
        """Return the mean over all runs that have the number; None where none has."""
        known = [(value, run.record.key) for run in self.runs if (value := read(run)) is not None]
        if not known:
            return None
        values, keys = zip(*known, strict=True)
        return Mean(fmean(values), stdev(values) if len(values) > 1 else None, values, keys)

    @property
    def is_complete(self) -> bool:
        """Return whether all expected runs have finished."""
        return len(self.runs) >= self.expected and not self.failed


def list_labels(runs: Sequence[Run]) -> tuple[str, ...]:
    """Return the labels of runs, each once, in order."""
    return tuple(dict.fromkeys(run.label for run in runs))


def find_dataset_titles(runs: Sequence[Run]) -> dict[str, str]:
    """Return name -> title of the data sets of runs, in order; a title that two have is followed by the name."""
    found = {run.record.spec.dataset: run.info.title for run in runs}
    titles = list(found.values())
    return {name: f"{title} ({name})" if titles.count(title) > 1 else title for name, title in found.items()}


def group_runs(runs: Sequence[Run], label: str, dataset: str, expected: ExpectedRuns) -> RunGroup:
    """Return the runs of a label on a data set, by fold and seed; a failed run counts only where none finished."""
    found = [run for run in runs if run.label == label and run.record.spec.dataset == dataset]
    good = sorted((run for run in found if not run.failed), key=get_repetition)
    have = {get_repetition(run) for run in good}
    bad = {get_repetition(run): run for run in found if run.failed and get_repetition(run) not in have}
    return RunGroup(tuple(good), tuple(bad.values()), max(expected.get(dataset, 0), len(good) + len(bad)))


def get_repetition(run: Run) -> tuple[str, int, int]:
    """Return data set, fold and seed, which identify a run among those of its row."""
    return run.record.spec.dataset, run.record.spec.fold, run.record.spec.seed


def count_expected_runs(
    runs: Sequence[Run], requested: Mapping[str, set[tuple[int, int]]] | None = None
) -> ExpectedRuns:
    """Return the number of runs that every arm should have on each data set.

    That is every seed on every fold that any arm has there, or that the study was requested for (`requested`), so that
    all folds and seeds count equally in a mean.
    """
    found: dict[str, set[tuple[int, int]]] = {}
    for run in runs:
        dataset, fold, seed = get_repetition(run)
        found.setdefault(dataset, set((requested or {}).get(dataset, ()))).add((fold, seed))
    return {
        dataset: len({fold for fold, _ in cells}) * len({seed for _, seed in cells}) for dataset, cells in found.items()
    }


def find_inconsistencies(runs: Sequence[Run]) -> tuple[str, ...]:
    """Return a warning for each inconsistency: sample data, best-on-test, missing weights, mixed presets or commits.

    Code that is not from the commit (uncommitted changes, plugins) is one, too.
    """
    runs = list({run.record.key: run for run in reversed(runs)}.values())[::-1]  # a run may be in two rows
    warnings = [SAMPLE_WARNING] if any(run.record.spec.data == "sample" for run in runs) else []
    warnings += [ON_TEST_WARNING] if any(run.record.spec.protocol == "best-on-test" for run in runs) else []
    if limited := [run for run in runs if run.record.spec.limit is not None]:
        counted = f"{len(limited)} of {len(runs)} runs used"
        warnings.append(f"LIMITED DATA: {counted} a few clips of each class only, as a try ({_join_labels(limited)}).")
    if old := [run for run in runs if run.record.spec.schema < SCHEMA]:
        counted = f"{len(old)} of {len(runs)} runs {'was' if len(old) == 1 else 'were'}"
        warnings.append(f"{counted} made by version 0.1 ({_join_labels(old)}).")
    if scratch := [run for run in runs if is_from_scratch(run)]:
        warnings.append(f"{FROM_SCRATCH_WARNING[:-1]} ({_join_labels(scratch)}).")
    warnings += _describe_mixture(runs, "presets", lambda run: run.record.preset)
    warnings += _describe_mixture(
        runs, "commits", lambda run: str(run.record.provenance.get("commit", "unknown"))[:HASH_LENGTH]
    )
    warnings += _describe_mixture(
        runs, "versions of torch", lambda run: str(run.record.provenance.get("torch", "unknown"))
    )
    if dirty := [run for run in runs if run.record.provenance.get("dirty")]:
        counted = f"{len(dirty)} of {len(runs)} runs {'was' if len(dirty) == 1 else 'were'}"
        warnings.append(f"{counted} made by code that differs from its commit ({_join_labels(dirty)}).")
    warnings += describe_plugins(runs)
    return (*warnings, *_describe_mixed_splits(runs))


def describe_plugins(runs: Sequence[Run]) -> list[str]:
    """Return a warning that lists the methods, files and hashes of plugins, if any run was made by one."""
    made = [run for run in runs if run.record.spec.plugin]
    sources = dict.fromkeys(
        f"{run.record.spec.method}: {run.record.provenance.get('plugin', 'unknown file')} sha "
        f"{str(run.record.spec.plugin)[:HASH_LENGTH]}"
        for run in made
    )
    were = "1 run was" if len(made) == 1 else f"{len(made)} runs were"
    text = f"{were} made by a plugin, code that is not from this commit ({'; '.join(sources)})."
    return [text] if made else []


def is_from_scratch(run: Run) -> bool:
    """Return whether a run with the paper preset started without published weights."""
    return run.record.preset == "paper" and run.from_scratch


def _describe_mixture(runs: Sequence[Run], name: str, read: Callable[[Run], str]) -> list[str]:
    """Return a warning that lists the rows of each value, where there are several values."""
    found: dict[str, list[Run]] = {}
    for run in runs:
        found.setdefault(read(run), []).append(run)
    return [f"MIXED {name}: {_join_groups(found)}."] if len(found) > 1 else []


def _join_groups(groups: Mapping[str, Sequence[Run]]) -> str:
    """Return values with their rows and numbers of runs."""
    counts = {value: f"{len(group)} {'run' if len(group) == 1 else 'runs'}" for value, group in groups.items()}
    return ", ".join(f"{value} ({_join_labels(group)}: {counts[value]})" for value, group in groups.items())


def _describe_mixed_splits(runs: Sequence[Run]) -> list[str]:
    """Return warnings on runs of equal fold and seed with different clips, and of equal fold with different content."""
    warnings = []
    for name in ("split", "content"):
        found: dict[tuple[object, ...], dict[str, list[Run]]] = {}
        for run in runs:
            spec = run.record.spec
            within = (spec.fold, *((spec.seed,) if name == "split" else get_input_size(spec)))
            found.setdefault((spec.dataset, spec.data, *within), {}).setdefault(getattr(spec, name), []).append(run)
        mixed: dict[object, dict[str, list[Run]]] = {}
        for (dataset, *_), hashes in found.items():
            for hashed, group in hashes.items() if len(hashes) > 1 else ():
                mixed.setdefault(dataset, {}).setdefault(hashed[:HASH_LENGTH], []).extend(group)
        titles = {run.record.spec.dataset: run.info.title for run in runs}
        end = "; runs of different splits are not compared" if name == "split" else ""
        for dataset, groups in mixed.items():
            warnings.append(f"MIXED fingerprints of {name} on {titles[str(dataset)]}: {_join_groups(groups)}{end}.")
    return warnings


def _join_labels(runs: Sequence[Run]) -> str:
    labels = list_labels(runs)
    return ", ".join(labels[:4]) + (f" and {len(labels) - 4} more" if len(labels) > 4 else "")


@dataclass(frozen=True)
class RunTable:
    """The runs of a table, the number that each arm should have, and remarks on them."""

    runs: tuple[Run, ...]
    expected_runs: ExpectedRuns
    footnotes: Mapping[str, str]  # arm -> sentence
    tuning_note: str  # sentence on the preset and on how values were chosen
    extra_warnings: tuple[str, ...] = ()  # warnings that do not follow from the runs: a filter left some out

    @property
    def warnings(self) -> tuple[str, ...]:
        """Return the warnings to print above a table of these runs."""
        return (*find_inconsistencies(self.runs), *self.extra_warnings)

    @property
    def is_sample(self) -> bool:
        """Return whether any of the runs is on the built-in sample."""
        return any(run.record.spec.data == "sample" for run in self.runs)

    @property
    def labels(self) -> tuple[str, ...]:
        """Return the labels of the rows."""
        return list_labels(self.runs)

    @property
    def dataset_titles(self) -> dict[str, str]:
        """Return name -> title of the data sets."""
        return find_dataset_titles(self.runs)

    def group_by_label(self, dataset: str) -> list[RunGroup]:
        """Return the runs of each row on a data set."""
        return [group_runs(self.runs, label, dataset, self.expected_runs) for label in self.labels]

    def runs_of(self, label: str) -> list[Run]:
        """Return the runs of a row."""
        return [run for run in self.runs if run.label == label]

    def with_datasets(self, datasets: Sequence[str]) -> RunTable:
        """Return a table of the runs on some data sets."""
        return replace(self, runs=tuple(run for run in self.runs if run.record.spec.dataset in datasets))

    @property
    def tasks(self) -> dict[str, Task]:
        """Return data set -> its task."""
        return {run.record.spec.dataset: run.info.task for run in reversed(self.runs)}

    def get_metric(self, dataset: str) -> Metric:
        """Return the primary metric of a data set."""
        return self.tasks[dataset].primary

    @property
    def metrics(self) -> tuple[Metric, ...]:
        """Return the primary metrics of the data sets, each once."""
        return tuple(dict.fromkeys(self.get_metric(dataset) for dataset in self.dataset_titles))

    def for_dataset(self, dataset: str) -> RunTable:
        """Return a table of the runs on one data set."""
        return self.with_datasets([dataset])


def pair_runs(run_table: RunTable, ours: str, theirs: str, dataset: str) -> list[tuple[Run, Run]]:
    """Return pairs of finished runs of two rows with equal fold and seed, tested on the same clips."""
    here = [run for run in run_table.for_dataset(dataset).runs if not run.failed]
    first, second = ({get_repetition(run): run for run in here if run.label == label} for label in (ours, theirs))
    both = [(first[place], second[place]) for place in sorted(first.keys() & second.keys())]
    return [(left, right) for left, right in both if _have_same_clips(left.record, right.record)]


def _have_same_clips(left: Record, right: Record) -> bool:
    """Compare fingerprints of split, and of content if both runs open clips in one size (else they always differ)."""
    same_content = left.spec.content == right.spec.content or get_input_size(left.spec) != get_input_size(right.spec)
    return left.decoded_split == right.decoded_split and same_content


@dataclass(frozen=True)
class StudyResults:
    """The runs of a study, and how they are reported."""

    name: str
    question: str
    table_kind: str  # "scores", "optimism", or a kind for which methods describe their parts
    reference_method: str  # arm that others are compared with
    control_arms: tuple[str, ...]
    run_table: RunTable
    papers: tuple[Path, ...] = ()  # JSON files of published numbers; each gets its own tables
    figures: Mapping[str, ClipFigure] = field(default_factory=dict)  # file name -> clip figure of the reference method

    def get_labels(self, arm: str) -> list[str]:
        """Return the labels of an arm: one, or one for each way of tuning."""
        return list(list_labels([run for run in self.run_table.runs if run.arm == arm]))


def slugify(name: str) -> str:
    """Return a name as Latin letters, digits and hyphens; a hash is added where it has others, or is long."""
    plain = re.sub(r"[^A-Za-z0-9]+", "-", name).strip("-")[:MAX_SLUG_LENGTH]
    return plain if plain == name else f"{plain or 'data'}-{hashlib.sha256(name.encode()).hexdigest()[:6]}"


@dataclass(frozen=True)
class PairedPredictions:
    """Predictions of the runs of a row on the same clips: R seeds, n clips; clips of several folds are concatenated.

    Key: C classes, or K targets of a regression.
    """

    task: Task
    predicted: np.ndarray  # (R, n) classes, or (R, n, K) numbers
    targets: np.ndarray  # (n,) or (n, K)
    groups: tuple[str, ...]  # n; a clip has the same group in all folds
    has_run_mean: bool  # the score over all clips is the mean over runs: it is a mean over clips, and folds are equal

    @property
    def correct(self) -> np.ndarray:
        """Return which clips have the right class, (R, n) bool."""
        return np.asarray(self.predicted == self.targets)

    def compute_interval(self) -> Interval:
        """Return the primary score with its interval for new clips, in its printed unit."""
        if isinstance(self.task, Classification):
            return compute_accuracy_interval(self.correct, self.targets, self.groups)
        return compute_score_interval(self._sum_clips(self.task), self.groups, self.task.primary.scale)

    def compute_difference(self, other: PairedPredictions) -> Interval:
        """Return this primary score minus another of the same clips, with its interval for new clips."""
        if isinstance(self.task, Classification):
            return compute_accuracy_difference(self.correct, other.correct, self.groups)
        first, second = self._sum_clips(self.task), other._sum_clips(self.task)
        return compute_score_difference(first, second, self.groups, self.task.primary.scale)

    def compute_mcnemar_p(self, other: PairedPredictions) -> float | None:
        """Return McNemar's p of equal accuracy; None without classes."""
        if isinstance(self.task, Classification):
            return mcnemar_test(self.correct, other.correct)
        return None

    def _sum_clips(self, task: Regression) -> ClipSums:
        if task.is_clip_mean:
            return sum_errors(self.predicted, self.targets)
        return sum_moments(self.predicted, self.targets, concordance=task.is_concordance)


@dataclass
class PredictionCache:
    """A cache of predictions, read on first use; `missing` lists runs whose file is missing or unreadable."""

    missing: dict[str, str] = field(default_factory=dict)  # key -> reason
    _loaded: dict[str, dict[str, Predictions] | None] = field(default_factory=dict)

    def load_test(self, run: Run) -> Predictions | None:
        """Return the test predictions of a run; None where they are missing."""
        return (self.load_splits(run) or {}).get("test")

    def load_splits(self, run: Run) -> dict[str, Predictions] | None:
        """Return split -> predictions of a run; None where they are missing."""
        key = run.record.key
        if key not in self._loaded:
            try:
                self._loaded[key] = read_predictions(run.folder, run.info)
            except StoreError as error:
                self._loaded[key], self.missing[key] = None, str(error)
        return self._loaded[key]

    def pair_predictions(self, runs: Sequence[Run]) -> PairedPredictions | None:
        """Return the clips of runs, a row for each seed; None if a file is missing or folds or clips vary by seed."""
        by_seed: dict[int, dict[int, Predictions]] = {}
        for run in runs:
            found = self.load_test(run)
            if found is None:
                return None
            by_seed.setdefault(run.record.spec.seed, {})[run.record.spec.fold] = found
        rows = [[by_fold[fold] for fold in sorted(by_fold)] for by_fold in by_seed.values()]
        if len({tuple(one.keys for one in row) for row in rows}) != 1:
            return None
        task = runs[0].info.task
        numbers = isinstance(task, Regression)
        predicted = np.stack(
            [np.concatenate([one.scores if numbers else one.predicted for one in row]) for row in rows]
        )
        targets = np.concatenate([one.targets for one in rows[0]])
        is_mean = len(rows[0]) == 1 or not isinstance(task, Regression) or task.is_clip_mean
        even = is_mean and len({len(one.keys) for one in rows[0]}) == 1
        groups = tuple(name for one in rows[0] for name in one.groups or one.keys)
        return PairedPredictions(task, predicted, targets, groups, even)


def read_searches(results: Path) -> tuple[list[SearchSummary], list[str]]:
    """Return all searches under a results folder by arm, data set and fold, and an error for each unreadable file."""
    found, passed = [], []
    for path in sorted((results / SEARCHES_FOLDER).glob(f"*/{SUMMARY_FILE}")):
        try:
            found.append(_read_summary(path))
        except StoreError as error:
            passed.append(str(error))
    return sorted(found, key=lambda one: (one.arm, one.dataset, one.fold, one.preset, one.digest)), passed


def _check_trial(trial: Any) -> dict[str, Any]:
    """Return a trial of a summary. Raises TypeError or ValueError if it, or its params, are no dictionary."""
    return {**trial, "params": dict(trial["params"])} if "params" in trial else dict(trial)


def _read_summary(path: Path) -> SearchSummary:
    try:
        raw = parse_json(path.read_text())
        winner = raw["winner"]
        for name in ("arm", "dataset", "data"):
            validate(str, raw[name])
        return SearchSummary(
            digest=path.parent.name,
            **{name: raw[name] for name in ("arm", "dataset", "data", "fold", "preset", "sampler", "pruner", "seeds")},
            ranges=dict(raw["ranges"]),
            base_config=dict(raw["base"]),
            configurations_tried=sum(raw["tried"].values()),
            best_values=dict(winner["params"]) if winner is not None else None,
            best_score=winner["value"] if winner is not None else None,
            trials=tuple(map(_check_trial, raw.get("trials", ()))),
            weights=dict(raw["weights"]) if "weights" in raw else None,
            metric=validate(Metric, raw["metric"]) if "metric" in raw else ACCURACY,
            version=raw.get("version"),
        )
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise StoreError(f"{path} is not a readable search summary ({type(error).__name__}); move it away") from None
