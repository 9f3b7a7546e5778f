"""Tables of costs (calibration, size, operations and hours of each row) and of search spaces."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

from bench.method import Measure
from reports.runs import Extract, Mean, PredictionCache, Run, RunGroup, RunTable, SearchSummary
from reports.statistics import BINS, expected_calibration_error
from reports.tables.columns import (
    MARKS_LEGEND,
    METRICS_LEGEND,
    NO_VALUE,
    describe_averaging,
    describe_missing_runs,
    format_difference,
    format_quantity,
    join_headings,
    list_averaging_legend,
    list_averaging_notes,
    make_column,
)
from reports.tables.scores import make_rows
from reports.types import Cell, Column, LegendEntry, Row, Table

SECONDS_PER_HOUR = 3600.0
COST_TITLES = {"ece": "ECE", "gap": "gap", "parameters": "size", "flops": "GFLOPs", "hours": "hours"} | {
    "tried": "tried"
}
ECE_LEGEND = LegendEntry(
    "ECE",
    f"Expected calibration error on test, percent, of the finished model's confidence in {BINS} bins of equally many "
    "clips; lower is better. It is biased upwards where clips are few.",
)
COSTS_LEGEND = (
    LegendEntry("Gap", "Val minus test Acc E, points; the epoch was chosen on val."),
    LegendEntry(
        "Size, GFLOPs, hours",
        "Size is the parameters of the predictor, in millions. GFLOPs are 10⁹ operations to predict one clip; a "
        "product and a sum are two operations. Hours are those of a run, all stages, on the machine that ran it.",
    ),
    LegendEntry("Tried", "Number of configurations tried to choose these values, with pruned and failed ones."),
)
SEARCH_LEGEND = LegendEntry(
    "Searches",
    "Ranges are what a search could draw from. The initial value, of the preset or --set, is tried first, and on a tie "
    "the earliest trial is kept. Test was never available to a search.",
)

SEARCH_COLUMNS = (
    Column("search", "search", numeric=False),
    Column("field", "value", numeric=False),
    Column("range", "range", numeric=False),
    Column("own", "initial"),
    Column("chosen", "chosen"),
    Column("tried", "tried"),
    Column("best", "best val Acc E"),
)


def make_costs_table(run_table: RunTable, predictions: PredictionCache, dataset: str, name: str) -> Table:
    """Return a row for each label on one data set; calibration error is first, since only this column is ranked."""
    run_table = run_table.for_dataset(dataset)
    groups, title = run_table.group_by_label(dataset), run_table.dataset_titles[dataset]
    measures = {measure.name: measure for measure in list_measures(run_table) if measure.heading}
    cells = {
        "ece": make_column(groups, partial(compute_calibration_error, predictions), "lower"),
        "gap": [_print_mean(group, compute_val_test_gap, format_difference) for group in groups],
        "parameters": [_mean_cell(group, partial(get_scaled_note, "cost/parameters", 1e-6)) for group in groups],
        "flops": [_mean_cell(group, partial(get_scaled_note, "cost/flops", 1e-9)) for group in groups],
        "hours": [_mean_cell(group, compute_hours) for group in groups],
        "tried": [_make_tried_cell(group) for group in groups],
    }
    cells |= {key: [_format_measure(group, measure) for group in groups] for key, measure in measures.items()}
    headings = COST_TITLES | {key: measure.heading for key, measure in measures.items()}
    n = max(len(group.runs) for group in groups)
    return Table(
        name,
        f"Cost, {title}",
        f"Calibration, size and hours, n = {n}. {describe_averaging(run_table, dataset)}",
        (Column("method", "method", numeric=False), *(Column(key, headings[key]) for key in cells)),
        make_rows(run_table, list(cells.values())),
        notes=list_averaging_notes(run_table, dataset),
        warnings=run_table.warnings,
        legend=(
            METRICS_LEGEND,
            *list_averaging_legend(run_table),
            MARKS_LEGEND,
            ECE_LEGEND,
            *COSTS_LEGEND,
            *_describe_measures(measures.values()),
        ),
    )


def _describe_measures(measures: Iterable[Measure]) -> list[LegendEntry]:
    """Return a legend entry for each meaning that measures have, under the headings of all that share it."""
    headings: dict[str, list[str]] = {}
    for measure in measures:
        if measure.meaning:
            headings.setdefault(measure.meaning, []).append(measure.heading)
    return [LegendEntry(join_headings(names), meaning) for meaning, names in headings.items()]


def compute_calibration_error(predictions: PredictionCache, run: Run) -> float | None:
    """Return the calibration error of a run on test, in percent; None without its predictions."""
    found = predictions.load_test(run)
    return None if found is None else 100 * expected_calibration_error(found.scores, found.targets)


def compute_val_test_gap(run: Run) -> float | None:
    """Return val minus test Acc E, in points; None for a run without a score on val."""
    val, test = (run.record.scores.get(f"{split}/acc_e") for split in ("val", "test"))
    return None if val is None or test is None else 100 * (val - test)


def compute_hours(run: Run) -> float:
    """Return the hours of all stages of a run."""
    return sum(run.record.seconds.values()) / SECONDS_PER_HOUR


def get_scaled_note(name: str, unit: float, run: Run) -> float | None:
    """Return a note of a run's record, multiplied by `unit`; None where the record lacks it."""
    value = run.record.notes.get(name)
    return None if value is None else unit * value


def list_measures(run_table: RunTable) -> Iterable[Measure]:
    """Return the measures of all methods in a table of runs, each once."""
    return dict.fromkeys(one for run in run_table.runs for one in run.method.measures)


def read_measure(measure: Measure, run: Run) -> float | None:
    """Return a measure of a run in the printed unit; None where its method lacks the measure or the run the note."""
    return get_scaled_note(measure.note, measure.unit, run) if measure in run.method.measures else None


def _mean_cell(group: RunGroup, read: Extract) -> Cell:
    """Return a mean with three digits and without its spread: runs of a row differ little in it."""
    return _print_mean(group, read, lambda number: format_quantity(number.mean))


def _print_mean(group: RunGroup, read: Extract, form: Callable[[Mean], str]) -> Cell:
    number = group.compute_mean(read)
    if number is None:
        return Cell(NO_VALUE)
    return Cell(form(number) + describe_missing_runs(number, group), value=number.mean, run_keys=number.run_keys)


def _make_tried_cell(group: RunGroup) -> Cell:
    runs: Sequence[Run] = group.runs or group.failed
    most = max((run.configurations_tried for run in runs), default=0)
    return Cell(str(most), value=most, run_keys=tuple(run.record.key for run in runs)) if runs else Cell(NO_VALUE)


def _format_measure(group: RunGroup, measure: Measure) -> Cell:
    """Return the mean of a measure, with its warning as a footnote where it is below its least."""
    cell = _mean_cell(group, partial(read_measure, measure))
    few = cell.value is not None and measure.least is not None and cell.value < measure.least
    return replace(cell, footnotes=(measure.warning,)) if few else cell


def make_search_spaces_table(searches: Sequence[SearchSummary], titles: Mapping[str, str], name: str) -> Table:
    """Return a row for each field of each search; the first row of a search names it."""
    rows: list[Row] = []
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
            rows.append(Row(f"{search.digest}/{field}", cells, rule_above=place == 0 and bool(rows)))
    sample = any(search.data == "sample" for search in searches)
    return Table(
        name,
        "Search spaces and chosen values",
        "The range of each searched value, its initial value, and the value chosen on val.",
        SEARCH_COLUMNS,
        tuple(rows),
        warnings=("BUILT-IN SAMPLE: these searches ran on synthetic clips.",) if sample else (),
        legend=(METRICS_LEGEND, SEARCH_LEGEND, COSTS_LEGEND[-1]),
    )


def _format_range(space: Sequence[Any]) -> str:
    if len(space) == 3 and space[2] in ("log", "linear"):
        return f"{_format_value(space[0])} to {_format_value(space[1])}{', log' if space[2] == 'log' else ''}"
    return "one of " + ", ".join(_format_value(choice) for choice in space)


def _format_value(value: Any) -> str:
    return f"{value:.3g}" if isinstance(value, float) else NO_VALUE if value is None else str(value)
