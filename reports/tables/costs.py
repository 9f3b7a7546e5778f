"""Tables of costs: calibration, size, arithmetic and hours of each line, and the search spaces."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

from bench.method import Measure
from reports.runs import Extract, Mean, PredictionCache, Run, RunGroup, RunTable, SearchSummary
from reports.statistics import BINS, expected_calibration_error
from reports.tables.columns import (
    COUNT_NOTE,
    NO_VALUE,
    describe_averaging,
    describe_missing_runs,
    format_difference,
    format_quantity,
    make_column,
)
from reports.tables.scores import make_rows
from reports.types import Cell, Column, Row, Table

SECONDS_PER_HOUR = 3600.0
COST_TITLES = {"ece": "ECE", "gap": "gap", "parameters": "size", "flops": "GFLOPs", "hours": "hours"}
TRIED = "Tried: configurations that a search looked at on val for these values."
COSTS_CAPTION = (
    f"ECE: calibration error on test, percent, of the finished model's confidence in {BINS} bins of equal size (biased "
    "upwards where clips are few). Gap: val minus test Acc E, points; val chose the epoch. Size: parameters of the "
    "predictor, million. GFLOPs: what a prediction of one clip takes, 10^9 operations, a product and a sum being two. "
    "Hours of a run, all its stages, on the machine that made it. Least ECE in bold, second least underlined."
)

SEARCH_COLUMNS = (
    Column("search", "search", numeric=False),
    Column("field", "value", numeric=False),
    Column("range", "range", numeric=False),
    Column("own", "own"),
    Column("chosen", "chosen"),
    Column("tried", "tried"),
    Column("best", "best val Acc E"),
)


def make_costs_table(run_table: RunTable, predictions: PredictionCache, dataset: str, name: str) -> Table:
    """A line for each label of one data set."""
    run_table = run_table.for_dataset(dataset)
    groups, title = run_table.group_by_label(dataset), run_table.dataset_titles[dataset]
    measures = {one.name: one for one in list_measures(run_table) if one.heading}
    cells = {name: [_format_measure(group, one) for group in groups] for name, one in measures.items()}
    cells |= {
        "ece": make_column(groups, partial(compute_calibration_error, predictions), "lower"),
        "gap": [_print_mean(one, compute_val_test_gap, format_difference) for one in groups],
        "parameters": [_mean_cell(one, partial(get_scaled_note, "cost/parameters", 1e-6)) for one in groups],
        "flops": [_mean_cell(one, partial(get_scaled_note, "cost/flops", 1e-9)) for one in groups],
        "hours": [_mean_cell(one, compute_hours) for one in groups],
    }
    columns = [Column("method", "method", numeric=False), Column("tried", "tried")]
    headings = {name: one.heading for name, one in measures.items()} | COST_TITLES
    columns += [Column(key, headings[key]) for key in cells]
    lines = make_rows(run_table, [[_make_tried_cell(one) for one in groups], *cells.values()])
    n = max(len(group.runs) for group in groups)
    meanings = dict.fromkeys(one.meaning for one in measures.values() if one.meaning)
    text = " ".join(
        (describe_averaging(run_table, dataset), COUNT_NOTE, TRIED, *meanings, COSTS_CAPTION, run_table.tuning_note)
    )
    caption = f"{title}, n = {n}. {text}"
    return Table(name, f"What it cost, {title}", caption, tuple(columns), lines, warnings=run_table.warnings)


def compute_calibration_error(predictions: PredictionCache, run: Run) -> float | None:
    """Calibration error of a run on test, in percent; None where its predictions are not here."""
    found = predictions.load_test(run)
    return None if found is None else 100 * expected_calibration_error(found.scores, found.targets)


def compute_val_test_gap(run: Run) -> float | None:
    """Val minus test Acc E, in points; None where val did not choose."""
    val, test = (run.record.scores.get(f"{split}/acc_e") for split in ("val", "test"))
    return None if val is None or test is None else 100 * (val - test)


def compute_hours(run: Run) -> float:
    """All hours of a run."""
    return sum(run.record.seconds.values()) / SECONDS_PER_HOUR


def get_scaled_note(name: str, unit: float, run: Run) -> float | None:
    """A number that a run's record tells beside its scores, in a unit."""
    value = run.record.notes.get(name)
    return None if value is None else unit * value


def list_measures(run_table: RunTable) -> Iterable[Measure]:
    """What the methods of a frame measure, each once."""
    return dict.fromkeys(one for run in run_table.runs for one in run.method.measures)


def read_measure(measure: Measure, run: Run) -> float | None:
    """A measure of a run, as it is printed; None where its method has no such measure, or the run did not note it."""
    return get_scaled_note(measure.note, measure.unit, run) if measure in run.method.measures else None


def _mean_cell(of: RunGroup, read: Extract) -> Cell:
    """A mean alone, with three digits: what runs of a line have nearly in common."""
    return _print_mean(of, read, lambda number: format_quantity(number.mean))


def _print_mean(of: RunGroup, read: Extract, form: Callable[[Mean], str]) -> Cell:
    number = of.compute_mean(read)
    if number is None:
        return Cell(NO_VALUE)
    return Cell(form(number) + describe_missing_runs(number, of), value=number.mean, run_keys=number.run_keys)


def _make_tried_cell(group: RunGroup) -> Cell:
    runs: Sequence[Run] = group.runs or group.failed
    most = max((run.configurations_tried for run in runs), default=0)
    return Cell(str(most), value=most, run_keys=tuple(run.record.key for run in runs)) if runs else Cell(NO_VALUE)


def _format_measure(group: RunGroup, measure: Measure) -> Cell:
    """The mean of a measure, with its warning where it is less than it ought to be."""
    cell = _mean_cell(group, partial(read_measure, measure))
    few = cell.value is not None and measure.least is not None and cell.value < measure.least
    return replace(cell, footnotes=(measure.warning,)) if few else cell


def make_search_spaces_table(searches: Sequence[SearchSummary], titles: Mapping[str, str], name: str) -> Table:
    """A line for each field of each search, the search named in its first."""
    lines: list[Row] = []
    for search in searches:
        best = NO_VALUE if search.best_score is None else f"{100 * search.best_score:.1f}"
        for place, (field, space) in enumerate(sorted(search.ranges.items())):
            chosen = (search.best_values or {}).get(field)
            cells = (
                Cell(search.title(titles.get(search.dataset, search.dataset)) if place == 0 else ""),
                Cell(field),
                Cell(_format_range(space)),
                Cell(_format_value(search.base_config.get(field))),
                Cell(_format_value(chosen) if search.best_values is not None else NO_VALUE),
                Cell(str(search.configurations_tried) if place == 0 else "", value=search.configurations_tried),
                Cell(best if place == 0 else "", value=search.best_score),
            )
            lines.append(Row(f"{search.digest}/{field}", cells, rule_above=place == 0 and bool(lines)))
    sample = any(search.data == "sample" for search in searches)
    return Table(
        name,
        "Search spaces and the values chosen",
        "What each search could draw, the method's own value, which is tried first, and what it chose on val; test was "
        "out of its reach. Of equal trials the first wins, so values no better than the method's own leave these in "
        "place.",
        SEARCH_COLUMNS,
        tuple(lines),
        warnings=("BUILT-IN SAMPLE: these searches ran on drawn clips.",) if sample else (),
    )


def _format_range(space: Sequence[Any]) -> str:
    if len(space) == 3 and space[2] in ("log", "linear"):
        return f"{_format_value(space[0])} to {_format_value(space[1])}{', log' if space[2] == 'log' else ''}"
    return "one of " + ", ".join(_format_value(choice) for choice in space)


def _format_value(value: Any) -> str:
    return f"{value:.3g}" if isinstance(value, float) else NO_VALUE if value is None else str(value)
