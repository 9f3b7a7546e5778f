"""Columns of scores: decimals from the spread of the numbers, marks for the best, and notes on missing runs."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from functools import partial
from math import floor, log10
from statistics import median
from typing import Literal

from bench.tasks import Metric, list_metric_meanings
from reports.runs import FROM_SCRATCH_WARNING, Extract, Mean, Run, RunGroup, RunTable, group_runs, is_from_scratch
from reports.statistics import compute_accuracy_standard_error
from reports.types import Cell, LegendEntry, Mark

Direction = Literal["higher", "lower"]

SIGNIFICANT_DIGITS = 2  # of the spread
MAX_DECIMALS = {True: 2, False: 4}  # of a score in percent, and of any other number
TYPICAL_CLIPS = 500  # test clips, where their number is unknown
UNKNOWN_SPREAD = {True: 1, False: 3}  # decimals of a number whose spread is unknown: percent, and any other
MAX_LISTED_SEEDS = 8  # seeds that a caption lists one by one

NO_VALUE, MINUS = "–", "−"
AVERAGES_LEGEND = LegendEntry(
    "±, n",
    "Mean ± standard deviation (n − 1) over runs; n is the number of runs, one for each seed and fold. A single run "
    "has no ±. (2/8 runs) means that only 2 of 8 runs have the number.",
)
MARKS_LEGEND = LegendEntry(
    "Bold, underlined",
    "Bold is best, underlined second best; ties share the mark; incomplete and best-on-test rows are not ranked, nor "
    "refit rows when clean rows exist.",
)
TRIED = "tried"  # heading of a column, and the last part of its identity
TRIED_LEGEND = LegendEntry(
    "Tried",
    "Number of different configurations (values and weight files) run with the method of a row on the data set: by "
    "searches, with pruned and failed trials, and by hand. Shared rows include the search of the full method. The best "
    "score of many is too high by chance.",
)
TUNING_LEGEND = LegendEntry(
    "untuned, shared, per-arm",
    "Untuned rows have the values of the preset, shared rows the values that a search on val chose for the full "
    "method, per-arm rows the values of a search for the arm itself.",
)


def mark_best(printed: Sequence[float | None], direction: Direction = "higher") -> list[Mark]:
    """Return a mark for each printed number; None is not ranked.

    Equal numbers share a mark. There is no second where several are best, or where all but the best are equal, and no
    mark at all where fewer than two numbers differ.
    """
    known = sorted({value for value in printed if value is not None}, reverse=direction == "higher")
    if len(known) < 2:
        return ["" for _ in printed]
    several = printed.count(known[0]) > 1 or (len(known) == 2 and printed.count(known[1]) > 1)
    names: dict[float, Mark] = {known[0]: "best"} if several else {known[0]: "best", known[1]: "second"}
    return [names.get(value, "") if value is not None else "" for value in printed]


def choose_decimals(numbers: Sequence[Mean], clips: Sequence[float] = (), percent: bool = True) -> int:
    """Return the decimals of a column: two significant digits of its median spread over runs.

    For single runs the spread of percents is the binomial standard error of an accuracy on so many test `clips`.
    """
    spreads = [number.std for number in numbers if number.std]
    if not spreads and numbers and percent:
        n = median(clips) if clips else TYPICAL_CLIPS
        spreads = [compute_accuracy_standard_error(number.mean, int(n)) for number in numbers if 0 < number.mean < 100]
    return decimals_of_spreads(spreads, percent)


def decimals_of_spreads(spreads: Sequence[float | None], percent: bool = True) -> int:
    """Return the decimals that numbers with these spreads share: those of the median; None and 0 are ignored."""
    known = [spread for spread in spreads if spread]
    return count_decimals(median(known), percent) if known else UNKNOWN_SPREAD[percent]


def count_decimals(spread: float, percent: bool = True) -> int:
    """Return the decimals that show two significant digits of a spread: at most 2 of percents, 4 of other numbers."""
    if spread <= 0:
        return MAX_DECIMALS[percent]
    return min(MAX_DECIMALS[percent], max(0, SIGNIFICANT_DIGITS - 1 - floor(log10(float(f"{spread:.1e}")))))


def format_mean(number: Mean, places: int) -> str:
    """Format a mean, with its standard deviation where there are several runs."""
    return f"{number.mean:z.{places}f}{_format_std(number, places)}".replace("-", MINUS)


def format_difference(number: Mean, percent: bool = True) -> str:
    """Format a mean of differences with its sign and standard deviation: "+1.2 ± 0.6"."""
    places = decimals_of_spreads([number.std], percent)
    return f"{format_signed(number.mean, places)}{_format_std(number, places)}"


def format_interval(
    mean: float, low: float | None, high: float | None, spread: float | None, percent: bool = True
) -> str:
    """Format a signed mean with its interval: "+1.2 [−0.3, +2.7]"."""
    places = decimals_of_spreads([spread], percent)
    if low is None or high is None:
        return format_signed(mean, places)
    return f"{format_signed(mean, places)} [{format_signed(low, places)}, {format_signed(high, places)}]"


def format_signed(value: float, places: int) -> str:
    """Format a difference with its sign, and zero without one."""
    text = f"{value:+z.{places}f}"
    return text.lstrip("+") if float(text) == 0 else text.replace("-", MINUS)


def format_quantity(value: float) -> str:
    """Format a cost with three significant digits, and all digits before the point."""
    places = max(0, 2 - floor(log10(float(f"{abs(value):.2e}")))) if value else 2
    return f"{value:.{places}f}"


def _format_std(number: Mean, places: int) -> str:
    return "" if number.std is None else f" ± {number.std:.{places}f}"


def make_metric_column(groups: Sequence[RunGroup], metric: Metric) -> list[Cell]:
    """Return the cells of a column with a score on test, one for each group."""
    direction: Direction = "higher" if metric.better == "max" else "lower"
    return make_column(groups, partial(get_test_score, metric), direction, is_percent(metric))


def get_test_score(metric: Metric, run: Run) -> float | None:
    """Return a test score in its printed unit; None where the run has none."""
    return run.get_score(metric)


def is_percent(metric: Metric) -> bool:
    """Return whether a metric is printed in percent."""
    return metric.unit == "percent"


def describe_units(metrics: Iterable[Metric]) -> str:
    """Return ", percent" if all metrics are percents, ", Acc and F1 in percent" if some are, else ""."""
    kinds = {is_percent(metric) for metric in metrics}
    return {frozenset({True}): ", percent", frozenset({False}): ""}.get(frozenset(kinds), ", Acc and F1 in percent")


def describe_difference_units(metrics: Iterable[Metric]) -> str:
    """Return ", points" if all metrics are percents, ", Acc E in points" if some are, else ""."""
    known = list(dict.fromkeys(metrics))
    points = [metric for metric in known if is_percent(metric)]
    others = len(points) < len(known)
    if not points:
        return ""
    return f", {' and '.join(metric.title for metric in points)} in points" if others else ", points"


def describe_difference(metric: Metric) -> str:
    """Return what differences in a metric are: "points of Acc E", "MAE"."""
    return f"points of {metric.title}" if is_percent(metric) else metric.title


def list_metrics_legend(run_table: RunTable) -> tuple[LegendEntry, ...]:
    """Return the legend of the metrics of a table's data sets."""
    return make_metrics_legend(metric for task in run_table.tasks.values() for metric in task.shown)


def make_metrics_legend(metrics: Iterable[Metric]) -> tuple[LegendEntry, ...]:
    """Return the legend of metrics."""
    return tuple(LegendEntry(*meaning) for meaning in list_metric_meanings(metrics))


def make_column(
    groups: Sequence[RunGroup], read: Extract, direction: Direction = "higher", percent: bool = True
) -> list[Cell]:
    """Return the cells of a column, one for each group; only rows that are eligible for best get a mark."""
    numbers, decimals = average_groups(groups, read, percent)
    # a finished run may lack the number: its predictions are missing, or a fold has no clip of a class
    printed = [
        round(number.mean, decimals)
        if number is not None and eligible and len(number.values) == len(group.runs)
        else None
        for number, group, eligible in zip(numbers, groups, is_eligible_for_best(groups), strict=True)
    ]
    return [
        replace(_make_cell(group, number, decimals), mark=mark)
        for group, number, mark in zip(groups, numbers, mark_best(printed, direction), strict=True)
    ]


def average_groups(groups: Sequence[RunGroup], read: Extract, percent: bool = True) -> tuple[list[Mean | None], int]:
    """Return the mean of each group (None without a value), and the decimals that all of them are printed with."""
    numbers = [group.compute_mean(read) for group in groups]
    clips = [run.record.scores.get("test/n") or 0 for group in groups for run in group.runs]
    known = [number for number in numbers if number is not None]
    return numbers, choose_decimals(known, [n for n in clips if n], percent)


def make_tried_column(groups: Sequence[RunGroup]) -> list[Cell]:
    """Return the cells of a column with the number of configurations tried, one for each group."""
    return [_make_tried_cell(group.runs or group.failed) for group in groups]


def _make_tried_cell(runs: Sequence[Run]) -> Cell:
    if not runs:
        return Cell(NO_VALUE)
    most = max(run.configurations_tried for run in runs)
    return Cell(str(most), value=most, run_keys=tuple(run.record.key for run in runs))


def is_eligible_for_best(groups: Sequence[RunGroup]) -> list[bool]:
    """Return for each group whether it may be marked: it is complete, and its protocol is clean.

    Where no group is clean, complete refit groups are eligible; they were trained on more clips (train and val).
    """
    protocols = [{run.record.spec.protocol for run in group.runs} if group.is_complete else set() for group in groups]
    eligible = {"clean"} if {"clean"} in protocols else {"refit"}
    return [found == eligible for found in protocols]


def describe_missing_runs(number: Mean | None, group: RunGroup) -> str:
    """Return the suffix of a number that lacks runs, " (2/8 runs)"; empty where it lacks none."""
    known = len(group.runs if number is None else number.values)
    return "" if group.is_complete and known == len(group.runs) else f" ({known}/{group.expected} runs)"


def _make_cell(group: RunGroup, number: Mean | None, decimals: int) -> Cell:
    suffix, keys = describe_missing_runs(number, group), tuple(run.record.key for run in group.failed)
    if number is not None:
        return Cell(f"{format_mean(number, decimals)}{suffix}", value=number.mean, run_keys=(*number.run_keys, *keys))
    return Cell(f"failed{suffix}" if group.failed and not group.runs else f"{NO_VALUE}{suffix}", run_keys=keys)


def _describe_failures(groups: Sequence[RunGroup]) -> list[str]:
    """Return a sentence for each reason of failure, with the number of runs that failed for it."""
    counts: dict[str, int] = {}
    for run in (run for group in groups for run in group.failed):
        assert run.record.error is not None
        reason = " ".join(f"{run.record.error.kind}: {run.record.error.message}".split())
        counts[reason] = counts.get(reason, 0) + 1
    return [f"{count} {'run' if count == 1 else 'runs'} failed, {reason}" for reason, count in counts.items()]


def make_method_cell(run_table: RunTable, label: str) -> Cell:
    """Return the cell that names a row, with footnotes on its arm, missing weights and failed runs."""
    runs = run_table.runs_of(label)
    notes = [run_table.footnotes[run.arm] for run in runs if run.arm in run_table.footnotes]
    notes += [FROM_SCRATCH_WARNING for run in runs if is_from_scratch(run)]
    groups = [group_runs(runs, label, dataset, run_table.expected_runs) for dataset in run_table.dataset_titles]
    notes += _describe_failures(groups)
    return Cell(label, footnotes=tuple(dict.fromkeys(notes)))


def describe_averaging(run_table: RunTable, dataset: str | None = None) -> str:
    """Return a sentence on the seeds and folds that means are taken over."""
    runs = _list_finished(run_table, dataset)
    if not _has_repetitions(run_table):
        return "Single runs."
    seeds = sorted({run.record.spec.seed for run in runs})
    folds = {
        name: len({run.record.spec.fold for run in runs if run.record.spec.dataset == name})
        for name in run_table.dataset_titles
    }
    several = [f"{count} folds of {run_table.dataset_titles[name]}" for name, count in folds.items() if count > 1]
    behind = f" and {', '.join(several)}" if several else ""
    return f"Mean over {_format_seeds(seeds)}{behind}."


def list_averaging_notes(run_table: RunTable, dataset: str | None = None) -> tuple[str, ...]:
    """Return sentences on the limits of the means: single runs, single folds, validation clips that vary by seed."""
    runs = _list_finished(run_table, dataset)
    notes = [f"{text[0].upper()}{text[1:]}." for text in describe_single_fold(runs)]
    if not _has_repetitions(run_table):
        return ("The spread over seeds is unknown.", *notes)
    return (*notes, *(["Seeds also differ in their validation clips."] if has_val_by_seed(runs) else []))


def list_averaging_legend(run_table: RunTable) -> tuple[LegendEntry, ...]:
    """Return the legend of a table of means: averages, and the ways of tuning where any run is tuned."""
    tuned = any(run.tuning != "none" for run in run_table.runs)
    return (AVERAGES_LEGEND, *([TUNING_LEGEND] if tuned else []))


def join_headings(headings: Sequence[str]) -> str:
    """Return the headings of columns as the term of a legend entry."""
    text = ", ".join(headings)
    return f"{text[:1].upper()}{text[1:]}"


def _list_finished(run_table: RunTable, dataset: str | None) -> list[Run]:
    return [run for run in run_table.runs if dataset in (None, run.record.spec.dataset) and not run.failed]


def _has_repetitions(run_table: RunTable) -> bool:
    groups = [group for name in run_table.dataset_titles for group in run_table.group_by_label(name)]
    return any(len(group.runs) > 1 for group in groups)


def describe_single_fold(runs: Sequence[Run]) -> list[str]:
    """Return a phrase for each data set with runs of only one of its several folds."""
    folds: dict[str, set[int]] = {}
    infos = {run.record.spec.dataset: run.info for run in runs}
    for run in runs:
        folds.setdefault(run.record.spec.dataset, set()).add(run.record.spec.fold)
    return [
        f"only fold {min(found)} of the {len(infos[name].folds)} folds of {infos[name].title}"
        for name, found in folds.items()
        if len(found) == 1 and len(infos[name].folds) > 1
    ]


def has_val_by_seed(runs: Sequence[Run]) -> bool:
    """Return whether all runs are clean, and seeds of one fold have different validation clips."""
    splits: dict[tuple[str, int], set[str]] = {}
    for run in runs:
        splits.setdefault((run.record.spec.dataset, run.record.spec.fold), set()).add(run.record.spec.split)
    return all(run.record.spec.protocol == "clean" for run in runs) and any(len(found) > 1 for found in splits.values())


def _format_seeds(seeds: Sequence[int]) -> str:
    head = "seeds" if len(seeds) > 1 else "seed"
    if len(seeds) > 2 and list(seeds) == list(range(seeds[0], seeds[-1] + 1)):
        return f"{head} {seeds[0]} to {seeds[-1]}"
    if len(seeds) > MAX_LISTED_SEEDS:
        return f"{len(seeds)} seeds ({seeds[0]} to {seeds[-1]})"
    return f"{head} {', '.join(map(str, seeds))}"
