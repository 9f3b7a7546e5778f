"""Columns of scores, with as many decimals as the spread of their numbers supports: marks for the best, and notes on
missing runs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from math import floor, log10
from statistics import median
from typing import Literal

from reports.runs import FROM_SCRATCH_WARNING, Extract, Mean, Run, RunGroup, RunTable, group_runs, is_from_scratch
from reports.statistics import compute_accuracy_standard_error
from reports.types import Cell, Mark

Direction = Literal["higher", "lower"]

SIGNIFICANT_DIGITS = 2  # digits of the spread
MAX_DECIMALS = 2  # decimals of a score in percent
TYPICAL_CLIPS = 500  # test clips, where nothing is known of them
UNKNOWN_SPREAD = 1  # decimals of a number of which no spread is known

NO_VALUE = "–"
COUNT_NOTE = "n is the number of runs."
# in the order of the paper's tables
METRIC_TITLES = {"acc_s": "Acc S", "f1_s": "F1 S", "acc_e": "Acc E", "f1_e": "F1 E"}
METRICS_NOTE = (
    "Acc E and F1 E (weighted) are of the emotion, Acc S and F1 S of the sentiment, the polarity of the predicted "
    "emotion; percent of the test clips."
)


def mark_best(printed: Sequence[float | None], direction: Direction = "higher") -> list[Mark]:
    """A mark for each number; None takes no part. Numbers that are printed alike share a mark, and two best leave no
    second; nor is there one where all but the best are alike. Nothing is marked where fewer than two numbers differ."""
    known = sorted({value for value in printed if value is not None}, reverse=direction == "higher")
    if len(known) < 2:
        return ["" for _ in printed]
    several = printed.count(known[0]) > 1 or (len(known) == 2 and printed.count(known[1]) > 1)
    names: dict[float, Mark] = {known[0]: "best"} if several else {known[0]: "best", known[1]: "second"}
    return [names.get(value, "") if value is not None else "" for value in printed]


def choose_decimals(numbers: Sequence[Mean], clips: Sequence[float] = ()) -> int:
    """Decimals of a column of percents: two significant digits of its median spread over runs; of single runs, of the
    standard error that a share of so many test clips has. 0 to 2."""
    spreads = [number.std for number in numbers if number.std]
    if not spreads and numbers:
        n = median(clips) if clips else TYPICAL_CLIPS
        spreads = [compute_accuracy_standard_error(number.mean, int(n)) for number in numbers if 0 < number.mean < 100]
    return decimals_of_spreads(spreads)


def decimals_of_spreads(spreads: Sequence[float | None]) -> int:
    """Choose the decimals that numbers of these spreads share: those of the median; None and 0 have no say."""
    known = [spread for spread in spreads if spread]
    return count_decimals(median(known)) if known else UNKNOWN_SPREAD


def count_decimals(spread: float) -> int:
    """Decimals that show two significant digits of a spread, 0 to 2."""
    if spread <= 0:
        return MAX_DECIMALS
    return min(MAX_DECIMALS, max(0, SIGNIFICANT_DIGITS - 1 - floor(log10(float(f"{spread:.1e}")))))


def format_mean(number: Mean, places: int) -> str:
    """The mean, with its spread where there are several runs."""
    return f"{number.mean:z.{places}f}{_behind(number, places)}"


def format_difference(number: Mean) -> str:
    """Print a mean of differences with its sign and its spread: "+1.2 ± 0.6"."""
    places = decimals_of_spreads([number.std])
    return f"{format_signed(number.mean, places)}{_behind(number, places)}"


def format_interval(mean: float, low: float | None, high: float | None, spread: float | None) -> str:
    """A signed mean in points with its interval."""
    places = decimals_of_spreads([spread])
    if low is None or high is None:
        return format_signed(mean, places)
    return f"{format_signed(mean, places)} [{format_signed(low, places)}, {format_signed(high, places)}]"


def format_signed(value: float, places: int) -> str:
    """A difference with its sign; a zero without."""
    text = f"{value:+z.{places}f}"
    return text.lstrip("+") if float(text) == 0 else text.replace("-", "−")


def format_quantity(value: float) -> str:
    """Print a cost with three significant digits, and all digits before the point."""
    places = max(0, 2 - floor(log10(float(f"{abs(value):.2e}")))) if value else 2
    return f"{value:.{places}f}"


def _behind(number: Mean, places: int) -> str:
    return "" if number.std is None else f" ± {number.std:.{places}f}"


def make_column(groups: Sequence[RunGroup], read: Extract, direction: Direction = "higher") -> list[Cell]:
    """The cells of a column. Only complete lines of one protocol compete for a mark."""
    numbers, places = average_groups(groups, read)
    # a finished run may lack the number: predictions may be missing, or a class in the clips of a fold
    printed = [
        round(number.mean, places) if number is not None and competes and len(number.values) == len(one.runs) else None
        for number, one, competes in zip(numbers, groups, is_eligible_for_best(groups), strict=True)
    ]
    return [
        replace(_make_cell(one, number, places), mark=mark)
        for one, number, mark in zip(groups, numbers, mark_best(printed, direction), strict=True)
    ]


def average_groups(groups: Sequence[RunGroup], read: Extract) -> tuple[list[Mean | None], int]:
    """Return the number of each line, None where it has none, and the decimals that all of them are printed with."""
    numbers = [one.compute_mean(read) for one in groups]
    clips = [run.record.scores.get("test/n") or 0 for one in groups for run in one.runs]
    return numbers, choose_decimals([number for number in numbers if number is not None], [n for n in clips if n])


def is_eligible_for_best(groups: Sequence[RunGroup]) -> list[bool]:
    """Which lines may be called the best: those of which nothing is missing, and whose epoch test did not choose. Those
    refit on train and val compete with each other where no clean line is there, for they learnt from more clips."""
    protocols = [{run.record.spec.protocol for run in one.runs} if one.is_complete else set() for one in groups]
    wanted = {"clean"} if {"clean"} in protocols else {"refit"}
    return [found == wanted for found in protocols]


def describe_missing_runs(number: Mean | None, of: RunGroup) -> str:
    """What a cell has to say behind its number where runs of it are missing: " (2/8 runs)"."""
    known = len(of.runs if number is None else number.values)
    return "" if of.is_complete and known == len(of.runs) else f" ({known}/{of.expected} runs)"


def _make_cell(of: RunGroup, number: Mean | None, places: int) -> Cell:
    lacks, keys = describe_missing_runs(number, of), tuple(run.record.key for run in of.failed)
    if number is not None:
        return Cell(f"{format_mean(number, places)}{lacks}", value=number.mean, run_keys=(*number.run_keys, *keys))
    return Cell(f"failed{lacks}" if of.failed and not of.runs else f"{NO_VALUE}{lacks}", run_keys=keys)


def _describe_failures(groups: Sequence[RunGroup]) -> list[str]:
    """How many runs of a line failed, and why, a sentence for each reason."""
    why: dict[str, int] = {}
    for run in (run for one in groups for run in one.failed):
        assert run.record.error is not None
        reason = " ".join(f"{run.record.error.kind}: {run.record.error.message}".split())
        why[reason] = why.get(reason, 0) + 1
    return [f"{count} {'runs' if count > 1 else 'run'} failed, {reason}" for reason, count in why.items()]


def make_method_cell(run_table: RunTable, label: str) -> Cell:
    """The name of a line, with what has to be said of it."""
    runs = run_table.runs_of(label)
    told = [run_table.footnotes[run.arm] for run in runs if run.arm in run_table.footnotes]
    told += [FROM_SCRATCH_WARNING for run in runs if is_from_scratch(run)]
    groups = [group_runs(runs, label, dataset, run_table.expected_runs) for dataset in run_table.dataset_titles]
    told += _describe_failures(groups)
    return Cell(label, footnotes=tuple(dict.fromkeys(told)))


def describe_averaging(run_table: RunTable, dataset: str | None = None) -> str:
    """What means are taken over, as a sentence."""
    runs = [run for run in run_table.runs if dataset in (None, run.record.spec.dataset) and not run.failed]
    seeds = sorted({run.record.spec.seed for run in runs})
    folds = {
        name: len({run.record.spec.fold for run in runs if run.record.spec.dataset == name})
        for name in run_table.dataset_titles
    }
    groups = [one for name in run_table.dataset_titles for one in run_table.group_by_label(name)]
    if not any(len(one.runs) > 1 for one in groups):
        alone = "".join(f" {text[0].upper()}{text[1:]}." for text in describe_single_fold(runs))
        return f"Single runs: nothing is known of their spread over seeds.{alone}"
    several = [f"{count} folds of {run_table.dataset_titles[name]}" for name, count in folds.items() if count > 1]
    told = f"Mean ± standard deviation over {'seeds' if len(seeds) > 1 else 'seed'} {_format_seeds(seeds)}"
    told += f" and {', '.join(several)}" if several else ""
    told += "".join(f"; {text}" for text in describe_single_fold(runs))
    return f"{told}{'; seeds differ in their validation fold too' if _has_val_by_seed(runs) else ''}."


def describe_single_fold(runs: Sequence[Run]) -> list[str]:
    """Which single fold stands for a data set that has several: "fold 1 of the 10 of VideoEmotion-8"."""
    folds: dict[str, set[int]] = {}
    infos = {run.record.spec.dataset: run.info for run in runs}
    for run in runs:
        folds.setdefault(run.record.spec.dataset, set()).add(run.record.spec.fold)
    return [
        f"fold {min(found)} of the {len(infos[name].folds)} of {infos[name].title} alone"
        for name, found in folds.items()
        if len(found) == 1 and len(infos[name].folds) > 1
    ]


def _has_val_by_seed(runs: Sequence[Run]) -> bool:
    """Whether val chose, and seeds of one fold have different clips for it."""
    splits: dict[tuple[str, int], set[str]] = {}
    for run in runs:
        splits.setdefault((run.record.spec.dataset, run.record.spec.fold), set()).add(run.record.spec.split)
    return all(run.record.spec.protocol == "clean" for run in runs) and any(len(of) > 1 for of in splits.values())


def _format_seeds(seeds: Sequence[int]) -> str:
    if len(seeds) > 2 and list(seeds) == list(range(seeds[0], seeds[-1] + 1)):
        return f"{seeds[0]} to {seeds[-1]}"
    return ", ".join(map(str, seeds))
