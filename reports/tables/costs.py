"""Tables of costs (calibration, size, operations and hours of each row) and of search spaces."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

from bench.method import Measure
from bench.tasks import Classification
from reports.runs import Extract, Mean, PredictionCache, Run, RunGroup, RunTable, SearchSummary
from reports.statistics import BINS, expected_calibration_error
from reports.tables.columns import (
    MARKS_LEGEND,
    NO_VALUE,
    TRIED,
    TRIED_LEGEND,
    UNKNOWN_SPREAD,
    describe_averaging,
    describe_difference,
    describe_missing_runs,
    format_difference,
    format_quantity,
    is_percent,
    join_headings,
    list_averaging_legend,
    list_averaging_notes,
    list_metrics_legend,
    make_column,
    make_metrics_legend,
    make_tried_column,
)
from reports.tables.scores import make_rows
from reports.types import Cell, Column, LegendEntry, Row, Table

SECONDS_PER_HOUR = 3600.0
COST_TITLES = {"ece": "ECE", "gap": "gap", "parameters": "size", "flops": "GFLOPs", "hours": "hours"} | {TRIED: TRIED}
ECE_LEGEND = LegendEntry(
    "ECE",
    f"Expected calibration error on test, percent, of the finished model's confidence in {BINS} bins of equally many "
    "clips; lower is better. It is biased upwards where clips are few.",
)
COSTS_LEGEND = (
    LegendEntry(
        "Size, GFLOPs, hours",
        "Size is the parameters of the predictor, in millions. GFLOPs are 10⁹ operations to predict one clip; a "
        "product and a sum are two operations. Hours are those of training and scoring in a run, all stages, on the "
        "machine that ran it; preparing data, waiting, logging and drawing are not counted. A pre-training that "
        "several runs share is counted once, for the run that trained it.",
    ),
)
SEARCH_LEGEND = LegendEntry(
    "Searches",
    "Ranges are what a search could draw from. The initial value, of the preset or --set, is tried first, and on a tie "
    "the earliest trial is kept. Test was never available to a search. Tried is the number of its trials, with pruned "
    "and failed ones.",
)

SEARCH_COLUMNS = (
    Column("search", "search", numeric=False),
    Column("field", "value", numeric=False),
    Column("range", "range", numeric=False),
    Column("own", "initial"),
    Column("chosen", "chosen"),
    Column("tried", "tried"),
    Column("best", "best val {}"),
)


def make_costs_table(run_table: RunTable, predictions: PredictionCache, dataset: str, name: str) -> Table:
    """Return a row for each label on one data set; calibration error is first, since only this column is ranked."""
    run_table = run_table.for_dataset(dataset)
    groups, title = run_table.group_by_label(dataset), run_table.dataset_titles[dataset]
    measures = {measure.name: measure for measure in list_measures(run_table) if measure.heading}
    format_gap = partial(format_difference, percent=is_percent(run_table.get_metric(dataset)))
    has_classes = isinstance(run_table.tasks[dataset], Classification)
    cells = (
        {"ece": make_column(groups, partial(compute_calibration_error, predictions), "lower")} if has_classes else {}
    )
    cells |= {
        "gap": [_print_mean(group, compute_val_test_gap, format_gap) for group in groups],
        "parameters": [_mean_cell(group, partial(get_scaled_note, "cost/parameters", 1e-6)) for group in groups],
        "flops": [_mean_cell(group, partial(get_scaled_note, "cost/flops", 1e-9)) for group in groups],
        "hours": [_mean_cell(group, compute_hours) for group in groups],
        TRIED: make_tried_column(groups),
    }
    cells |= {key: [_format_measure(group, measure) for group in groups] for key, measure in measures.items()}
    headings = COST_TITLES | {key: measure.heading for key, measure in measures.items()}
    n = max(len(group.runs) for group in groups)
    return Table(
        name,
        f"Cost, {title}",
        f"{'Calibration, size' if has_classes else 'Size'} and hours, n = {n}. "
        f"{describe_averaging(run_table, dataset)}",
        (Column("method", "method", numeric=False), *(Column(key, headings[key]) for key in cells)),
        make_rows(run_table, list(cells.values())),
        notes=list_averaging_notes(run_table, dataset),
        warnings=run_table.warnings,
        legend=(
            *list_metrics_legend(run_table),
            *list_averaging_legend(run_table),
            *([MARKS_LEGEND] if has_classes else []),
            *make_costs_legend(run_table),
            *_describe_measures(measures.values()),
        ),
    )


def make_costs_legend(run_table: RunTable) -> tuple[LegendEntry, ...]:
    """Return the legend of the costs of rows: calibration error where there are classes, gap, size, hours, tried."""
    classes = any(isinstance(task, Classification) for task in run_table.tasks.values())
    gaps = (
        LegendEntry(f"Gap in {describe_difference(metric)}", "Val minus test; the epoch was chosen on val.")
        for metric in run_table.metrics
    )
    return (*([ECE_LEGEND] if classes else []), *gaps, *COSTS_LEGEND, TRIED_LEGEND)


def _describe_measures(measures: Iterable[Measure]) -> list[LegendEntry]:
    """Return a legend entry for each meaning that measures have, under the headings of all that share it."""
    headings: dict[str, list[str]] = {}
    for measure in measures:
        if measure.meaning:
            headings.setdefault(measure.meaning, []).append(measure.heading)
    return [LegendEntry(join_headings(names), meaning) for meaning, names in headings.items()]


def compute_calibration_error(predictions: PredictionCache, run: Run) -> float | None:
    """Return the calibration error of a run on test, in percent; None without its predictions, or without classes."""
    found = predictions.load_test(run) if run.info.classes else None
    return None if found is None else 100 * expected_calibration_error(found.scores, found.targets)


def compute_val_test_gap(run: Run) -> float | None:
    """Return the score on val minus that on test, in its printed unit; None for a run without a score on val."""
    val, test = (run.record.scores.get(f"{split}/{run.metric.name}") for split in ("val", "test"))
    return None if val is None or test is None else run.metric.scale * (val - test)


def compute_hours(run: Run) -> float:
    """Return the hours of training and scoring of a run, all stages."""
    return run.record.compute_seconds / SECONDS_PER_HOUR


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


def _format_measure(group: RunGroup, measure: Measure) -> Cell:
    """Return the mean of a measure, with its warning as a footnote where it is below its least."""
    cell = _mean_cell(group, partial(read_measure, measure))
    few = cell.value is not None and measure.least is not None and cell.value < measure.least
    return replace(cell, footnotes=(measure.warning,)) if few else cell


def make_search_spaces_table(searches: Sequence[SearchSummary], titles: Mapping[str, str], name: str) -> Table:
    """Return a row for each field of each search; the first row of a search names it."""
    rows: list[Row] = []
    titles_of_metrics = " or ".join(dict.fromkeys(search.metric.title for search in searches))
    for search in searches:
        best = NO_VALUE
        if search.best_score is not None:
            decimals = UNKNOWN_SPREAD[is_percent(search.metric)]
            best = f"{search.metric.scale * search.best_score:.{decimals}f}"
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
        tuple(replace(column, title=column.title.format(titles_of_metrics)) for column in SEARCH_COLUMNS),
        tuple(rows),
        warnings=("BUILT-IN SAMPLE: these searches ran on synthetic clips.",) if sample else (),
        legend=(*make_searches_legend(searches), SEARCH_LEGEND),
    )


def make_searches_legend(searches: Sequence[SearchSummary]) -> tuple[LegendEntry, ...]:
    """Return the legend of the metrics that searches improve."""
    return make_metrics_legend(search.metric for search in searches)


def _format_range(space: Sequence[Any]) -> str:
    if len(space) == 3 and space[2] in ("log", "linear"):
        return f"{_format_value(space[0])} to {_format_value(space[1])}{', log' if space[2] == 'log' else ''}"
    return "one of " + ", ".join(_format_value(choice) for choice in space)


def _format_value(value: Any) -> str:
    return f"{value:.3g}" if isinstance(value, float) else NO_VALUE if value is None else str(value)
