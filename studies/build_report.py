"""Build a report: the runs of its studies, its sections, warnings and omissions."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from bench.errors import StoreError
from bench.mlflow import MlflowStore
from reports.build import compose_clips, compose_legend, compose_searches, compose_study
from reports.runs import (
    UNKNOWN,
    PredictionCache,
    Run,
    RunTable,
    SearchSummary,
    StudyResults,
    count_expected_runs,
    find_inconsistencies,
    read_searches,
)
from reports.types import Report
from studies.requests import RunFilter, find_arm
from studies.select import (
    ReportQuery,
    SelectedRuns,
    StoredRecord,
    TriedCounts,
    count_tried,
    read_all_records,
    select_any_runs,
    select_current,
    select_runs,
)
from studies.studies import RUNS, Study

UNNAMED_REPORT = RUNS.name  # name of a report on arbitrary runs, without a study


@dataclass(frozen=True)
class BuiltReport:
    """A report, and the results, searches and predictions from which its files are written."""

    report: Report
    results: tuple[StudyResults, ...]
    searches: tuple[SearchSummary, ...]
    predictions: PredictionCache


def build_report(
    results: Path, name: str, studies: Sequence[Study], query: ReportQuery, store: MlflowStore, tracking: str
) -> BuiltReport:
    """Build a report without writing files. Raises StoreError if no run belongs to it."""
    stored, passed = read_all_records(results)
    found, old = select_current([one for one in stored if one.record.spec.stage == "final"])
    summaries, broken = read_searches(results)
    tried = count_tried(stored, summaries)
    choices = [(study, _add_counts(select_runs(found, study, query, store), tried)) for study in studies]
    parts = [_make_results(study, choice) for study, choice in choices if choice.runs]
    left_out = [pair for _, choice in choices for pair in choice.excluded]
    if not studies:
        choice = _add_counts(select_any_runs(found, query, store), tried)
        unnamed = replace(RUNS, question=f"Comparison of all runs with {query.run_filter}.")
        parts, left_out = [_make_results(unnamed, choice)] if choice.runs else [], list(choice.excluded)
    if not parts:
        raise StoreError(_explain_empty(results, name, found, [*old, *_count_excluded(left_out, set())]))
    runs = _collect_runs(parts)
    lines = _count_excluded(left_out, {run.record.key for run in runs})
    used = tuple(one for one in summaries if one.digest in {run.search for run in runs})
    cache = PredictionCache()
    titles = {run.record.spec.dataset: run.info.title for run in runs}
    sections = [compose_study(part, cache) for part in parts]
    sections += [section for section in (compose_searches(used, titles), compose_clips(parts)) if section is not None]
    notes = dict.fromkeys(line for group in parts for line in group.run_table.extra_warnings)
    missing = dict.fromkeys(
        line for study, choice in choices if (line := _describe_missing(study, choice, query.run_filter))
    )
    omissions = tuple(
        f"{line}." for line in dict.fromkeys([*passed, *broken, *old, *_describe_unknown_requests(parts), *lines])
    )
    lead = " ".join(dict.fromkeys(group.question for group in parts))
    sample = any(group.run_table.is_sample for group in parts)
    warnings = (*find_inconsistencies(runs), *notes, *missing)
    title = f"{name.capitalize()}: report on {_count_of_runs(len(runs))}"
    legend = compose_legend(sections)
    report = Report(name, title, lead, tuple(sections), runs, sample, warnings, omissions, tracking, legend)
    return BuiltReport(report, tuple(parts), used, cache)


def _add_counts(choice: SelectedRuns, tried: TriedCounts) -> SelectedRuns:
    """Add to each run the number of configurations that were tried with its arm on its data set."""
    places = [(run.arm, run.record.spec.dataset, run.record.spec.data) for run in choice.runs]
    counted = [replace(run, configurations_tried=tried.get(at, 1)) for run, at in zip(choice.runs, places, strict=True)]
    return replace(choice, runs=tuple(counted))


def _count_excluded(left_out: Sequence[tuple[str, str]], used: set[str]) -> list[str]:
    """Return a line per reason with the number of runs that no part of the report uses."""
    reasons = Counter(why for key, why in dict.fromkeys(left_out) if key not in used)
    return [f"{_count_of_runs(count)} left out: {why}" for why, count in reasons.items()]


def _make_results(study: Study, choice: SelectedRuns) -> StudyResults:
    expected = count_expected_runs(choice.runs, choice.planned)
    footnotes = {run.arm: find_arm(run.arm).title for run in choice.runs if run.arm in study.footnoted}
    frame = RunTable(choice.runs, expected, footnotes, choice.tuning_note, choice.warnings)
    papers, figures = _list_papers(study, choice.runs), find_arm(study.reference_method).method.load_figures()
    return StudyResults(
        study.name, study.question, study.table, study.reference_method, study.controls, frame, papers, figures
    )


def _describe_missing(study: Study, choice: SelectedRuns, only: RunFilter) -> str:
    """List the arms, protocols and data sets of a study that pass the filter but have no run, not even a failed one."""
    specs = [run.record.spec for run in choice.runs]
    present = {run.arm for run in choice.runs} | {spec.protocol for spec in specs} | {spec.dataset for spec in specs}
    expected = [arm for arm in study.arms if only.may_match(arm=arm)]
    expected += [protocol for protocol in study.protocols if only.may_match(protocol=protocol)]
    absent = [name for name in (*expected, *choice.planned) if name not in present]
    return f"{study.name.capitalize()} has no runs of {', '.join(absent)}." if absent else ""


def _list_papers(study: Study, runs: Sequence[Run]) -> tuple[Path, ...]:
    """Return the files of published numbers, those of the reference method first."""
    methods = (find_arm(study.reference_method).method, *(run.method for run in runs))
    return tuple(dict.fromkeys(method.paper for method in methods if method.paper is not None))


def _collect_runs(groups: Sequence[StudyResults]) -> tuple[Run, ...]:
    """Return the runs of all parts without duplicates."""
    found: dict[str, Run] = {}
    for run in (run for group in groups for run in group.run_table.runs):
        found.setdefault(run.record.key, run)
    return tuple(found.values())


def _describe_unknown_requests(groups: Sequence[StudyResults]) -> list[str]:
    """Return a line with the number of runs without a stored request, whose arm is only inferred, or no line."""
    count = sum(run.request == UNKNOWN for run in _collect_runs(groups))
    verbs = "has no stored request; it is" if count == 1 else "have no stored request; they are"
    return [f"{_count_of_runs(count)} {verbs} matched to study arms by method and config"] if count else []


def _count_of_runs(count: int) -> str:
    return f"{count} run" if count == 1 else f"{count} runs"


def _explain_empty(results: Path, name: str, found: Sequence[StoredRecord], why: Sequence[str]) -> str:
    """Explain why a report would be empty, and what to do."""
    reasons = f" ({'; '.join(dict.fromkeys(why))})" if why else ""
    if not found and not why:
        return f"no finished run under {results / 'runs'}; start with `python bench.py study {name or 'ablation'}`"
    unnamed = name == UNNAMED_REPORT
    what = "--runs: no matching run" if unnamed else f"no run of study '{name}'"
    hint = "correct the patterns" if unnamed else f"start with `python bench.py study {name}`"
    return f"{what} among the {_count_of_runs(len(found))} under {results / 'runs'}{reasons}; {hint}"
