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
from reports.results.run import Run
from reports.results.searched import Summary
from reports.tables.components import PARTS
from studies.ask import known_arms
from studies.report.asked import read_asked
from studies.report.choose import Choice, Wish, choose, choose_any
from studies.report.naming import Settings, in_words
from studies.report.records import Found, current, read_records
from studies.report.searches import read_searches
from studies.study import Study

KINDS = {"ablation": "components", "optimism": "optimism", **{name: name for name in PARTS if name != "components"}}
"""Study -> the shape of its own table; all others have that of the comparison."""
CONTROLS = ("mbt", "mbt-long")
REMARKED = ("mart-released",)  # arms that a table has to explain
OTHERS = "runs"  # name of a report of runs that no study names


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
    summaries = read_searches(results)
    choices = [(study, choose(found, study, summaries, wish, store)) for study in studies]
    parts = [_part(results, study, choice) for study, choice in choices if choice.runs]
    left_out = [pair for _, choice in choices for pair in choice.left_out]
    if not studies:
        choice = choose_any(found, summaries, wish, store)
        parts, left_out = [_any(choice)] if choice.runs else [], list(choice.left_out)
    if not parts:
        raise StoreError(_nothing(results, name, found, [*old, *_in_words(left_out, set())]))
    runs = _all_runs(parts)
    lines = _in_words(left_out, {run.record.key for run in runs})
    used = tuple(one for one in summaries if _is_used(one, runs))
    shelf = Shelf()
    titles = {run.record.spec.dataset: run.card.title for run in runs}
    sections = [compose(part, shelf) for part in parts]
    sections += [section for section in (searched(used, titles, ""), explained_section(parts)) if section is not None]
    absent = [line for study, choice in choices if (line := _absent(study, choice))]
    warnings = (*mixtures(runs), *(f"{line}." for line in dict.fromkeys([*absent, *passed, *old, *lines])))
    lead = " ".join(dict.fromkeys(part.question for part in parts))
    sample = any(run.record.spec.data == "sample" for run in runs)
    title = f"{name.capitalize()}: a report of {len(runs)} runs"
    report = Report(name, title, lead, tuple(sections), runs, sample, warnings, tracking)
    return Built(report, tuple(parts), used, shelf)


def _in_words(left_out: Sequence[tuple[str, str]], used: set[str]) -> list[str]:
    """What is left out of all parts of a report: how many runs, for each reason."""
    reasons = Counter(why for key, why in dict.fromkeys(left_out) if key not in used)
    return [f"{count} {'runs' if count > 1 else 'run'} {why} left out" for why, count in reasons.items()]


def _part(results: Path, study: Study, choice: Choice) -> Part:
    asked = read_asked(results, study.name, choice.preset, choice.settings)
    wanted = wanted_of(choice.runs, asked)
    frame = Frame(choice.runs, wanted, _remarks(choice.runs), _values(choice))
    return Part(study.name, study.question, KINDS.get(study.name, "scores"), study.full, CONTROLS, frame)


def _absent(study: Study, choice: Choice) -> str:
    """Which arms and protocols of a study have no run at all, not even a failed one."""
    arms = {run.arm for run in choice.runs}
    protocols = {run.record.spec.protocol for run in choice.runs}
    lacking = [arm for arm in study.arms if arm not in arms]
    lacking += [protocol for protocol in study.protocols if protocol not in protocols]
    return f"{study.name} lacks runs of {', '.join(lacking)}" if lacking else ""


def _any(choice: Choice) -> Part:
    frame = Frame(choice.runs, wanted_of(choice.runs), _remarks(choice.runs), _values(choice))
    return Part(OTHERS, "The runs that were asked for, side by side.", "scores", "mart", CONTROLS, frame)


def _remarks(runs: Sequence[Run]) -> dict[str, str]:
    arms = known_arms()
    return {run.arm: arms[run.arm].title for run in runs if run.arm in REMARKED}


def _values(choice: Choice) -> str:
    """Which values the runs had, as a sentence."""
    settings: Settings = choice.settings
    by_hand = f" with {in_words(settings)}" if settings else ""
    tuned = {run.values for run in choice.runs} - {"own"}
    most = max((run.tried for run in choice.runs), default=1)
    how = {
        frozenset(): "as the preset has them",
        frozenset({"re-tuned"}): f"tuned on val for each arm (up to {most} configurations)",
        frozenset({"frozen"}): f"tuned on val for the full method (up to {most} configurations)",
    }.get(frozenset(tuned), f"frozen: tuned on val for the full method; re-tuned: for each arm (up to {most} each)")
    return f"Preset {choice.preset}{by_hand}; values {how}."


def _all_runs(parts: Sequence[Part]) -> tuple[Run, ...]:
    """The runs of all parts, each key once."""
    return tuple({run.record.key: run for part in reversed(parts) for run in part.frame.runs}.values())[::1]


def _is_used(search: Summary, runs: Sequence[Run]) -> bool:
    """Whether runs of a report are on the data and fold of a search, for an arm that it tuned."""
    return any(
        (search.dataset, search.data, search.fold)
        == (run.record.spec.dataset, run.record.spec.data, run.record.spec.fold)
        and run.values != "own"
        and (search.arm == run.arm or run.values == "frozen")
        for run in runs
    )


def _nothing(results: Path, name: str, found: Sequence[Found], why: Sequence[str]) -> str:
    """Why there is nothing to report, and what to do."""
    passed = f" ({'; '.join(dict.fromkeys(why))})" if why else ""
    if not found and not why:
        return f"no finished run under {results / 'runs'}; `python bench.py study {name or 'ablation'}` makes some"
    what = f"no run under {results / 'runs'} is one of '{name}'" if name != OTHERS else "--runs takes no run"
    return f"{what}; {len(found)} runs are there{passed}"
