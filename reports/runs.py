"""Runs and searches as a report sees them, and how they are grouped into the lines of a table. A line is an arm with
one way of tuning; its runs on a data set differ by fold and seed."""

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
from bench.record import Record, RunSpec
from bench.requests import Tuning
from bench.types import DatasetInfo

UNKNOWN = "unknown request"  # of a run of version 0.1, which stored none


ExpectedRuns = Mapping[str, int]
"""Data set -> how many runs (folds times seeds) an arm ought to have there."""

HASH_LENGTH = 8  # signs of a hash
SAMPLE_WARNING = "BUILT-IN SAMPLE: drawn clips, not the real data set. These numbers say nothing about real videos."
ON_TEST_WARNING = "EPOCH CHOSEN ON TEST: lines so named let the test list choose the epoch; their scores are too high."
FROM_SCRATCH_WARNING = "FROM SCRATCH: of the paper's sizes, but trained without published weights."

MAX_SLUG_LENGTH = 60  # signs
SEARCHES_FOLDER, SUMMARY_FILE = "searches", "search.json"  # results/searches/<digest>/search.json


@dataclass(frozen=True)
class Run:
    """A final record, finished or failed, with what it is called."""

    record: Record
    folder: Path  # of its files
    info: DatasetInfo
    arm: str  # name of the method or of the pinned variant
    method: Method
    tuning: Tuning = "none"
    hand_set: str = ""  # values set by hand beside the preset: "epochs=2, lr=0.01"
    configurations_tried: int = 1  # configurations that were tried for its values
    was_searched: bool = False  # whether the arm has values that a search could vary
    tuned_by: str = ""  # the arm whose search gave the values
    search: str = ""  # its digest
    request: str = UNKNOWN  # what asked for it: a study, or a command
    record_sha256: str = ""  # sha256 of the record's file
    mlflow_run_id: str | None = None  # of MLflow
    mlflow_experiment: str | None = None  # there
    label_suffix: str = ""  # what tells its line from others of the arm: "per-arm", "epochs=2", a protocol

    @property
    def label(self) -> str:
        """What its line is called."""
        return f"{self.arm} ({self.label_suffix})" if self.label_suffix else self.arm

    @property
    def failed(self) -> bool:
        """Whether it ended without scores."""
        return self.record.error is not None

    @property
    def from_scratch(self) -> bool:
        """Whether its encoders could have started from published weights, and did not."""
        return self.method.is_from_scratch(self.record.spec.config, self.record.spec.weights)

    def get_percent(self, name: str, split: str = "test") -> float | None:
        """A score of a split in percent: `acc_e`, `recall/joy`, ...; None where there is none."""
        value = self.record.scores.get(f"{split}/{name}")
        return None if value is None else 100 * value


def get_input_size(spec: RunSpec) -> tuple[object, object]:
    """In what size a run opens clips; the content of runs that differ in it has different fingerprints."""
    return spec.config.get("size"), spec.config.get("mels")


@dataclass(frozen=True)
class SearchSummary:
    """What a search was, tried and found; `winner` are the values it chose, None where no trial finished."""

    digest: str
    arm: str
    dataset: str
    data: str
    fold: int
    preset: str
    sampler: str
    pruner: str
    seeds: int  # runs of a trial
    ranges: dict[str, list[Any]]  # field -> [low, high, "log" | "linear"], or its choices
    base_config: dict[str, Any]  # the config that its trials vary
    configurations_tried: int
    best_values: dict[str, Any] | None
    best_score: float | None  # val/acc_e of the winner
    trials: tuple[dict[str, Any], ...]  # number, state, value, spent; none in older summaries
    weights: dict[str, str] | None = None  # config field -> sha256 of its file; None in older summaries

    def title(self, title: str) -> str:
        """What it is called: its arm, data set and fold, and the start of its digest, which tells twins apart."""
        fold = f", fold {self.fold}" if self.fold else ""
        return f"{self.arm} on {title}{fold} ({self.digest[:6]})"


Extract = Callable[[Run], float | None]
"""A number of a run; None where it has none."""


@dataclass(frozen=True)
class Mean:
    """A mean over runs; `spread` is their standard deviation (n - 1), None for a single run."""

    mean: float
    std: float | None
    values: tuple[float, ...]
    run_keys: tuple[str, ...]  # of the runs, in the order of the values


@dataclass(frozen=True)
class RunGroup:
    """What an arm found on a data set: finished runs by fold and seed, how many failed, how many there ought to be."""

    runs: tuple[Run, ...]
    failed: tuple[Run, ...]
    expected: int

    def compute_mean(self, read: Extract) -> Mean | None:
        """The number over all runs that have it; None where none has."""
        known = [(value, run.record.key) for run in self.runs if (value := read(run)) is not None]
        if not known:
            return None
        values, keys = zip(*known, strict=True)
        return Mean(fmean(values), stdev(values) if len(values) > 1 else None, values, keys)

    @property
    def is_complete(self) -> bool:
        """Whether every run that ought to be there is."""
        return len(self.runs) >= self.expected and not self.failed


def list_labels(runs: Sequence[Run]) -> tuple[str, ...]:
    """The labels of runs, each once, in their order."""
    return tuple(dict.fromkeys(run.label for run in runs))


def find_dataset_titles(runs: Sequence[Run]) -> dict[str, str]:
    """Name -> title of the data sets of runs, in their order; the name beside a title that two have."""
    found = {run.record.spec.dataset: run.info.title for run in runs}
    titles = list(found.values())
    return {name: f"{title} ({name})" if titles.count(title) > 1 else title for name, title in found.items()}


def group_runs(runs: Sequence[Run], label: str, dataset: str, wanted: ExpectedRuns) -> RunGroup:
    """The runs of one label on one data set, by fold and seed; a failed one counts where no finished one is."""
    found = [run for run in runs if run.label == label and run.record.spec.dataset == dataset]
    good = sorted((run for run in found if not run.failed), key=get_repetition)
    have = {get_repetition(run) for run in good}
    bad = {get_repetition(run): run for run in found if run.failed and get_repetition(run) not in have}
    return RunGroup(tuple(good), tuple(bad.values()), max(wanted.get(dataset, 0), len(good) + len(bad)))


def get_repetition(run: Run) -> tuple[str, int, int]:
    """Which of its arm's runs it is: data set, fold and seed."""
    return run.record.spec.dataset, run.record.spec.fold, run.record.spec.seed


def count_expected_runs(runs: Sequence[Run], asked: Mapping[str, set[tuple[int, int]]] | None = None) -> ExpectedRuns:
    """How many runs every arm ought to have on each data set: every seed on every fold that any arm has there, or that
    a study has been asked for, so that a mean over folds and seeds counts all of them alike."""
    found: dict[str, set[tuple[int, int]]] = {}
    for run in runs:
        dataset, fold, seed = get_repetition(run)
        found.setdefault(dataset, set((asked or {}).get(dataset, ()))).add((fold, seed))
    return {
        dataset: len({fold for fold, _ in cells}) * len({seed for _, seed in cells}) for dataset, cells in found.items()
    }


def find_inconsistencies(runs: Sequence[Run]) -> tuple[str, ...]:
    """One sentence for each thing that is mixed or marked: data, protocol, weights, presets, commits, splits."""
    runs = list({run.record.key: run for run in reversed(runs)}.values())[::-1]  # a run may stand on two lines
    told = [SAMPLE_WARNING] if any(run.record.spec.data == "sample" for run in runs) else []
    told += [ON_TEST_WARNING] if any(run.record.spec.protocol == "best-on-test" for run in runs) else []
    if scratch := [run for run in runs if is_from_scratch(run)]:
        told.append(f"{FROM_SCRATCH_WARNING[:-1]} ({_join_labels(scratch)}).")
    told += _describe_mixture(runs, "presets", lambda run: run.record.preset)
    told += _describe_mixture(
        runs, "commits", lambda run: str(run.record.provenance.get("commit", "unknown"))[:HASH_LENGTH]
    )
    told += _describe_mixture(runs, "versions of torch", lambda run: str(run.record.provenance.get("torch", "unknown")))
    if dirty := [run for run in runs if run.record.provenance.get("dirty")]:
        counted = f"{len(dirty)} of {len(runs)} runs {'was' if len(dirty) == 1 else 'were'}"
        told.append(f"{counted} made by code that differs from its commit ({_join_labels(dirty)}).")
    return (*told, *_describe_mixed_splits(runs))


def is_from_scratch(run: Run) -> bool:
    """Whether a run of the paper's sizes started from no published weights."""
    return run.record.preset == "paper" and run.from_scratch


def _describe_mixture(runs: Sequence[Run], what: str, of: Callable[[Run], str]) -> list[str]:
    """Which value each line's runs have, where there are several."""
    found: dict[str, list[Run]] = {}
    for run in runs:
        found.setdefault(of(run), []).append(run)
    return [f"MIXED {what}: {_join_groups(found)}."] if len(found) > 1 else []


def _join_groups(groups: Mapping[str, Sequence[Run]]) -> str:
    """Values with their lines and how many runs these have."""
    counts = {value: f"{len(group)} {'runs' if len(group) > 1 else 'run'}" for value, group in groups.items()}
    return ", ".join(f"{value} ({_join_labels(group)}: {counts[value]})" for value, group in groups.items())


def _describe_mixed_splits(runs: Sequence[Run]) -> list[str]:
    """Data sets whose runs of one fold and seed had other clips, or whose runs of one fold had other content."""
    told = []
    for what in ("split", "content"):
        found: dict[tuple[object, ...], dict[str, list[Run]]] = {}
        for run in runs:
            spec = run.record.spec
            within = (spec.fold, *((spec.seed,) if what == "split" else get_input_size(spec)))
            found.setdefault((spec.dataset, spec.data, *within), {}).setdefault(getattr(spec, what), []).append(run)
        mixed: dict[object, dict[str, list[Run]]] = {}
        for (dataset, *_), of in found.items():
            for hashed, group in of.items() if len(of) > 1 else ():
                mixed.setdefault(dataset, {}).setdefault(hashed[:HASH_LENGTH], []).extend(group)
        titles = {run.record.spec.dataset: run.info.title for run in runs}
        end = "; runs of different splits are not compared" if what == "split" else ""
        for dataset, groups in mixed.items():
            told.append(f"MIXED fingerprints of {what} on {titles[str(dataset)]}: {_join_groups(groups)}{end}.")
    return told


def _join_labels(runs: Sequence[Run]) -> str:
    labels = list_labels(runs)
    return ", ".join(labels[:4]) + (f" and {len(labels) - 4} more" if len(labels) > 4 else "")


@dataclass(frozen=True)
class RunTable:
    """The runs of a table, how many of them each arm ought to have, and what is to be said of them."""

    runs: tuple[Run, ...]
    expected_runs: ExpectedRuns
    footnotes: Mapping[str, str]  # arm -> a sentence
    tuning_note: str  # a sentence: which preset, which values, chosen by whom
    extra_warnings: tuple[str, ...] = ()  # warnings that runs alone do not tell: a filter left some of them out

    @property
    def warnings(self) -> tuple[str, ...]:
        """What nobody may miss above a table of these runs."""
        return (*find_inconsistencies(self.runs), *self.extra_warnings)

    @property
    def is_sample(self) -> bool:
        """Whether any of them was made on the built-in sample."""
        return any(run.record.spec.data == "sample" for run in self.runs)

    @property
    def labels(self) -> tuple[str, ...]:
        """The lines."""
        return list_labels(self.runs)

    @property
    def dataset_titles(self) -> dict[str, str]:
        """Name -> title."""
        return find_dataset_titles(self.runs)

    def group_by_label(self, dataset: str) -> list[RunGroup]:
        """The runs of each line on a data set."""
        return [group_runs(self.runs, label, dataset, self.expected_runs) for label in self.labels]

    def runs_of(self, label: str) -> list[Run]:
        """The runs of a line."""
        return [run for run in self.runs if run.label == label]

    def with_datasets(self, datasets: Sequence[str]) -> RunTable:
        """Its runs on some data sets."""
        return replace(self, runs=tuple(run for run in self.runs if run.record.spec.dataset in datasets))

    def for_dataset(self, dataset: str) -> RunTable:
        """Its runs on one data set."""
        return self.with_datasets([dataset])


def pair_runs(run_table: RunTable, ours: str, theirs: str, dataset: str) -> list[tuple[Run, Run]]:
    """The finished runs of two lines that differ by the arm alone: of one fold and seed, on the same clips."""
    here = [run for run in run_table.for_dataset(dataset).runs if not run.failed]
    first, second = ({get_repetition(run): run for run in here if run.label == label} for label in (ours, theirs))
    both = [(first[place], second[place]) for place in sorted(first.keys() & second.keys())]
    return [(one, other) for one, other in both if _have_same_clips(one.record.spec, other.record.spec)]


def _have_same_clips(one: RunSpec, other: RunSpec) -> bool:
    """By their fingerprints; of content where both open clips in one size, for else it differs anyhow."""
    same_content = one.content == other.content or get_input_size(one) != get_input_size(other)
    return one.split == other.split and same_content


@dataclass(frozen=True)
class StudyResults:
    """A study as it is reported."""

    name: str
    question: str
    table_kind: str  # of its own tables: "scores", "optimism", or one that methods describe their parts for
    reference_method: str  # the arm that others are held against
    control_arms: tuple[str, ...]
    run_table: RunTable
    papers: tuple[Path, ...] = ()  # files of published numbers, each of which has tables of its own
    figures: Mapping[str, ClipFigure] = field(default_factory=dict)  # file name -> figure of the full arm's own

    def get_labels(self, arm: str) -> list[str]:
        """The lines of an arm: one, or one for each way of tuning."""
        return list(list_labels([run for run in self.run_table.runs if run.arm == arm]))


def slugify(name: str) -> str:
    """A name as part of a file's name: Latin letters, digits and hyphens; where it is more, or long, with a hash."""
    plain = re.sub(r"[^A-Za-z0-9]+", "-", name).strip("-")[:MAX_SLUG_LENGTH]
    return plain if plain == name else f"{plain or 'data'}-{hashlib.sha256(name.encode()).hexdigest()[:6]}"


@dataclass(frozen=True)
class PairedPredictions:
    """Runs of one line over the same clips: R seeds, n clips; the clips of several folds stand one after the other."""

    correct: np.ndarray  # (R, n) bool
    labels: np.ndarray  # (n,)
    groups: tuple[str, ...]  # n; a clip in several folds has one group
    has_equal_folds: bool  # folds have equally many clips, so that the mean over clips is that over runs


@dataclass
class PredictionCache:
    """Reads predictions when they are wanted; `missing` are the runs whose file is not here or cannot be read."""

    missing: dict[str, str] = field(default_factory=dict)  # key -> why
    _loaded: dict[str, dict[str, Predictions] | None] = field(default_factory=dict)

    def load_test(self, run: Run) -> Predictions | None:
        """The test predictions of a run; None where they are not here."""
        return (self.load_splits(run) or {}).get("test")

    def load_splits(self, run: Run) -> dict[str, Predictions] | None:
        """Split -> predictions of a run; None where they are not here."""
        key = run.record.key
        if key not in self._loaded:
            try:
                self._loaded[key] = read_predictions(run.folder, run.info)
            except StoreError as error:
                self._loaded[key], self.missing[key] = None, str(error)
        return self._loaded[key]

    def pair_predictions(self, runs: Sequence[Run]) -> PairedPredictions | None:
        """The clips of runs, one row a seed; None where a file is missing, or seeds have other folds or clips."""
        by_seed: dict[int, dict[int, Predictions]] = {}
        for run in runs:
            found = self.load_test(run)
            if found is None:
                return None
            by_seed.setdefault(run.record.spec.seed, {})[run.record.spec.fold] = found
        rows = [[by_fold[fold] for fold in sorted(by_fold)] for by_fold in by_seed.values()]
        if len({tuple(one.keys for one in row) for row in rows}) != 1:
            return None
        right = np.stack([np.concatenate([one.predicted == one.targets for one in row]) for row in rows])
        labels = np.concatenate([one.targets for one in rows[0]])
        even = len({len(one.keys) for one in rows[0]}) == 1
        return PairedPredictions(right, labels, tuple(name for one in rows[0] for name in one.groups or one.keys), even)


def read_searches(results: Path) -> tuple[list[SearchSummary], list[str]]:
    """All searches under a results folder, by arm, data set and fold; and why a file is none."""
    found, passed = [], []
    for path in sorted((results / SEARCHES_FOLDER).glob(f"*/{SUMMARY_FILE}")):
        try:
            found.append(_read_summary(path))
        except StoreError as error:
            passed.append(str(error))
    return sorted(found, key=lambda one: (one.arm, one.dataset, one.fold, one.preset, one.digest)), passed


def _read_summary(path: Path) -> SearchSummary:
    try:
        raw = parse_json(path.read_text())
        winner = raw["winner"]
        return SearchSummary(
            digest=path.parent.name,
            **{name: raw[name] for name in ("arm", "dataset", "data", "fold", "preset", "sampler", "pruner", "seeds")},
            ranges=dict(raw["ranges"]),
            base_config=dict(raw["base"]),
            configurations_tried=sum(raw["tried"].values()),
            best_values=dict(winner["params"]) if winner is not None else None,
            best_score=winner["value"] if winner is not None else None,
            trials=tuple(raw.get("trials", ())),
            weights=dict(raw["weights"]) if "weights" in raw else None,
        )
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise StoreError(f"{path} is no summary of a search ({type(error).__name__}); move it away") from None
