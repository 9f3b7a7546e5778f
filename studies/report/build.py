"""A report from its name: which studies it is of, which runs answer them, and what all of them share."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from bench.errors import StoreError
from bench.store import Store
from reports.compose import compose, searched
from reports.gather.explained import explained_section
from reports.report import Report
from reports.results.frame import Frame
from reports.results.mixtures import mixtures
from reports.results.part import Part
from reports.results.pools import wanted_of
from reports.results.predicted import Shelf
from reports.results.run import UNKNOWN, Run
from reports.results.searched import Summary
from studies.ask import find_arm, known_arms
from studies.report.filters import Filter
from studies.report.records import Found, current, read_records
from studies.report.searches import read_searches
from studies.report.select import Choice, Wish, choose, choose_any
from studies.study import RUNS, Study

OTHERS = RUNS.name  # of a report of runs that no study names


@dataclass(frozen=True)
class Built:
    """A report with what its files are written from."""

    report: Report
    parts: tuple[Part, ...]
    searches: tuple[Summary, ...]
    shelf: Shelf


def build(results: Path, name: str, studies: Sequence[Study], wish: Wish, store: Store, tracking: str) -> Built:
    """Everything of a report but its files. Raises StoreError where no run answers it."""
    records, passed = read_records(results)
    found, old = current(records)
    summaries, broken = read_searches(results)
    choices = [(study, choose(found, study, wish, store)) for study in studies]
    parts = [_part(study, choice, wish) for study, choice in choices if choice.runs]
    left_out = [pair for _, choice in choices for pair in choice.left_out]
    if not studies:
        choice = choose_any(found, wish, store)
        parts, left_out = [_any(choice, wish)] if choice.runs else [], list(choice.left_out)
    if not parts:
        raise StoreError(_nothing(results, name, found, [*old, *_in_words(left_out, set())]))
    runs = _all_runs(parts)
    lines = _in_words(left_out, {run.record.key for run in runs})
    used = tuple(one for one in summaries if one.digest in {run.search for run in runs})
    shelf = Shelf()
    titles = {run.record.spec.dataset: run.card.title for run in runs}
    sections = [compose(part, shelf) for part in parts]
    sections += [section for section in (searched(used, titles), explained_section(parts)) if section is not None]
    told = dict.fromkeys(line for part in parts for line in part.frame.told)
    absent = dict.fromkeys(line for study, choice in choices if (line := _absent(study, choice, wish.runs)))
    left = tuple(f"{line}." for line in dict.fromkeys([*passed, *broken, *old, *_unknown(parts), *lines]))
    lead = " ".join(dict.fromkeys(part.question for part in parts))
    sample = any(part.frame.is_sample for part in parts)
    warnings = (*mixtures(runs), *told, *absent)
    title = f"{name.capitalize()}: a report of {len(runs)} {'runs' if len(runs) > 1 else 'run'}"
    report = Report(name, title, lead, tuple(sections), runs, sample, warnings, left, tracking)
    return Built(report, tuple(parts), used, shelf)


def _in_words(left_out: Sequence[tuple[str, str]], used: set[str]) -> list[str]:
    """What is left out of all parts of a report: how many runs, for each reason."""
    reasons = Counter(why for key, why in dict.fromkeys(left_out) if key not in used)
    return [f"{count} {'runs' if count > 1 else 'run'} {why} left out" for why, count in reasons.items()]


def _part(study: Study, choice: Choice, wish: Wish) -> Part:
    wanted = wanted_of(choice.runs, _asked(choice, wish.runs))
    told = (choice.narrowed,) if choice.narrowed else ()
    frame = Frame(choice.runs, wanted, _remarks(study, choice.runs), choice.values, told)
    papers, figures = _list_papers(study, choice.runs), known_arms()[study.full].method.load_figures()
    return Part(study.name, study.question, study.table, study.full, study.controls, frame, papers, figures)


def _asked(choice: Choice, only: Filter) -> dict[str, set[tuple[int, int]]]:
    """Data set -> (fold, seed) that a study was asked for, as far as a filter lets them through."""
    kept = {
        dataset: {(fold, seed) for fold, seed in cells if only.keeps(dataset=dataset, fold=str(fold), seed=str(seed))}
        for dataset, cells in choice.asked.items()
    }
    return {dataset: cells for dataset, cells in kept.items() if cells}


def _absent(study: Study, choice: Choice, only: Filter) -> str:
    """Which arms, protocols and data sets that a filter lets through have no run at all, not even a failed one."""
    specs = [run.record.spec for run in choice.runs]
    there = {run.arm for run in choice.runs} | {spec.protocol for spec in specs} | {spec.dataset for spec in specs}
    wanted = [arm for arm in study.arms if only.keeps(arm=arm)]
    wanted += [protocol for protocol in study.protocols if only.keeps(protocol=protocol)]
    lacking = [name for name in (*wanted, *_asked(choice, only)) if name not in there]
    return f"{study.name.capitalize()} lacks runs of {', '.join(lacking)}." if lacking else ""


def _any(choice: Choice, wish: Wish) -> Part:
    frame = Frame(choice.runs, wanted_of(choice.runs), _remarks(RUNS, choice.runs), choice.values)
    papers, question = _list_papers(RUNS, choice.runs), f"Runs with {wish.runs}, side by side."
    figures = known_arms()[RUNS.full].method.load_figures()
    return Part(RUNS.name, question, RUNS.table, RUNS.full, RUNS.controls, frame, papers, figures)


def _remarks(study: Study, runs: Sequence[Run]) -> dict[str, str]:
    arms = known_arms()
    return {run.arm: arms[run.arm].title for run in runs if run.arm in study.remarked}


def _list_papers(study: Study, runs: Sequence[Run]) -> tuple[Path, ...]:
    """The published numbers to print: those of the full method first."""
    methods = (find_arm(study.full).method, *(run.method for run in runs))
    return tuple(dict.fromkeys(method.paper for method in methods if method.paper is not None))


def _all_runs(parts: Sequence[Part]) -> tuple[Run, ...]:
    """The runs of all parts, each key once."""
    found: dict[str, Run] = {}
    for run in (run for part in parts for run in part.frame.runs):
        found.setdefault(run.record.key, run)
    return tuple(found.values())


def _unknown(parts: Sequence[Part]) -> list[str]:
    """How many runs stored no request, so that what they are called is no more than likely."""
    count = sum(run.request == UNKNOWN for run in _all_runs(parts))
    runs = f"{count} {'runs' if count > 1 else 'run'} of an {UNKNOWN}"
    return [f"{runs}, in whose places they are by method and config alone"] if count else []


def _nothing(results: Path, name: str, found: Sequence[Found], why: Sequence[str]) -> str:
    """Why there is nothing to report, and what to do."""
    passed = f" ({'; '.join(dict.fromkeys(why))})" if why else ""
    if not found and not why:
        return f"no finished run under {results / 'runs'}; `python bench.py study {name or 'ablation'}` makes some"
    what = f"no run under {results / 'runs'} is one of '{name}'" if name != OTHERS else "--runs takes no run"
    return f"{what}; {len(found)} runs are there{passed}"
