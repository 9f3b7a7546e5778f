"""A report built from its name: the studies it covers, the runs that answer them, and the warnings that apply to all
of them.
"""

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
from studies.requests import find_arm
from studies.select import (
    ReportQuery,
    RunFilter,
    SelectedRuns,
    StoredRecord,
    read_records,
    select_any_runs,
    select_current,
    select_runs,
)
from studies.studies import RUNS, Study

UNNAMED_REPORT = RUNS.name  # of a report of runs that no study names


@dataclass(frozen=True)
class BuiltReport:
    """A report with what its files are written from."""

    report: Report
    results: tuple[StudyResults, ...]
    searches: tuple[SearchSummary, ...]
    predictions: PredictionCache


def build_report(
    results: Path, name: str, studies: Sequence[Study], query: ReportQuery, store: MlflowStore, tracking: str
) -> BuiltReport:
    """Everything of a report but its files. Raises StoreError where no run answers it."""
    records, passed = read_records(results)
    found, old = select_current(records)
    summaries, broken = read_searches(results)
    choices = [(study, select_runs(found, study, query, store)) for study in studies]
    parts = [_make_results(study, choice) for study, choice in choices if choice.runs]
    left_out = [pair for _, choice in choices for pair in choice.excluded]
    if not studies:
        choice = select_any_runs(found, query, store)
        unnamed = replace(RUNS, question=f"Runs with {query.run_filter}, side by side.")
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
    told = dict.fromkeys(line for group in parts for line in group.run_table.extra_warnings)
    absent = dict.fromkeys(
        line for study, choice in choices if (line := _describe_missing(study, choice, query.run_filter))
    )
    left = tuple(
        f"{line}." for line in dict.fromkeys([*passed, *broken, *old, *_describe_unknown_requests(parts), *lines])
    )
    lead = " ".join(dict.fromkeys(group.question for group in parts))
    sample = any(group.run_table.is_sample for group in parts)
    warnings = (*find_inconsistencies(runs), *told, *absent)
    title = f"{name.capitalize()}: a report of {len(runs)} {'runs' if len(runs) > 1 else 'run'}"
    legend = compose_legend(sections)
    report = Report(name, title, lead, tuple(sections), runs, sample, warnings, left, tracking, legend)
    return BuiltReport(report, tuple(parts), used, cache)


def _count_excluded(left_out: Sequence[tuple[str, str]], used: set[str]) -> list[str]:
    """What is left out of all parts of a report: how many runs, for each reason."""
    reasons = Counter(why for key, why in dict.fromkeys(left_out) if key not in used)
    return [f"{count} {'runs' if count > 1 else 'run'} {why} left out" for why, count in reasons.items()]


def _make_results(study: Study, choice: SelectedRuns) -> StudyResults:
    wanted = count_expected_runs(choice.runs, choice.asked)
    remarks = {run.arm: find_arm(run.arm).title for run in choice.runs if run.arm in study.remarked}
    frame = RunTable(choice.runs, wanted, remarks, choice.tuning_note, choice.warnings)
    papers, figures = _list_papers(study, choice.runs), find_arm(study.reference_method).method.load_figures()
    return StudyResults(
        study.name, study.question, study.table, study.reference_method, study.controls, frame, papers, figures
    )


def _describe_missing(study: Study, choice: SelectedRuns, only: RunFilter) -> str:
    """Which arms, protocols and data sets that a filter lets through have no run at all, not even a failed one."""
    specs = [run.record.spec for run in choice.runs]
    there = {run.arm for run in choice.runs} | {spec.protocol for spec in specs} | {spec.dataset for spec in specs}
    wanted = [arm for arm in study.arms if only.may_match(arm=arm)]
    wanted += [protocol for protocol in study.protocols if only.may_match(protocol=protocol)]
    lacking = [name for name in (*wanted, *choice.asked) if name not in there]
    return f"{study.name.capitalize()} lacks runs of {', '.join(lacking)}." if lacking else ""


def _list_papers(study: Study, runs: Sequence[Run]) -> tuple[Path, ...]:
    """The published numbers to print: those of the full method first."""
    methods = (find_arm(study.reference_method).method, *(run.method for run in runs))
    return tuple(dict.fromkeys(method.paper for method in methods if method.paper is not None))


def _collect_runs(groups: Sequence[StudyResults]) -> tuple[Run, ...]:
    """The runs of all parts, each key once."""
    found: dict[str, Run] = {}
    for run in (run for group in groups for run in group.run_table.runs):
        found.setdefault(run.record.key, run)
    return tuple(found.values())


def _describe_unknown_requests(groups: Sequence[StudyResults]) -> list[str]:
    """How many runs stored no request, so that what they are called is no more than likely."""
    count = sum(run.request == UNKNOWN for run in _collect_runs(groups))
    runs = f"{count} {'runs' if count > 1 else 'run'} of an {UNKNOWN}"
    return [f"{runs}, in whose places they are by method and config alone"] if count else []


def _explain_empty(results: Path, name: str, found: Sequence[StoredRecord], why: Sequence[str]) -> str:
    """Why there is nothing to report, and what to do."""
    passed = f" ({'; '.join(dict.fromkeys(why))})" if why else ""
    if not found and not why:
        return f"no finished run under {results / 'runs'}; `python bench.py study {name or 'ablation'}` makes some"
    what = f"no run under {results / 'runs'} is one of '{name}'" if name != UNNAMED_REPORT else "--runs takes no run"
    return f"{what}; {len(found)} runs are there{passed}"
