"""Result tables printed on the terminal at the end of a command, fitted to its width."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from statistics import fmean

from rich.console import Group, RenderableType
from rich.text import Text

from bench.method import Measure, Method, NoteTable
from bench.protocol import describe_protocol
from bench.tasks import Metric
from reports.comparisons import compare_family
from reports.formats import make_printable
from reports.formats.plain import FittedTable
from reports.runs import Extract, Mean, Run, RunGroup, RunTable, describe_plugins, is_from_scratch
from reports.tables.columns import (
    average_groups,
    describe_difference_units,
    describe_units,
    format_difference,
    format_interval,
    format_mean,
    format_quantity,
    get_test_score,
    has_val_by_seed,
    is_percent,
)
from reports.tables.costs import compute_val_test_gap, get_scaled_note

NO_VALUE = "-"

DROP_FIRST = ("s/run", "clips")  # what a narrow terminal leaves out of the scores, before all but the first three
TRIED = "tried"
TRIED_NOTE = (
    "tried: configurations (values and weight files) run with this method on this data set, by searches or by hand; "
    "the best score of many is too high by chance"
)


@dataclass(frozen=True)
class NoteRow:
    """The values that the runs of one row logged next to their scores: means in percent."""

    label: str
    method: Method
    notes: dict[str, Mean | None]


def group_by_dataset(runs: Sequence[Run]) -> list[RunTable]:
    """Group runs by data set, real or sample; add protocol, preset and initialisation to their labels."""
    groups: dict[tuple[str, str], list[Run]] = {}
    for run in runs:
        groups.setdefault((run.record.spec.dataset, run.record.spec.data), []).append(run)
    return [RunTable(tuple(_add_labels(group)), {}, {}, "") for group in groups.values()]


def _add_labels(runs: Sequence[Run]) -> list[Run]:
    """Append to each label what distinguishes runs of one arm: protocol, training from scratch, preset."""
    several, labelled = len({run.record.preset for run in runs}) > 1, []
    for run in runs:
        parts = (describe_protocol(run.record.spec), "from scratch" * is_from_scratch(run), run.record.preset * several)
        labelled.append(replace(run, label_suffix="; ".join(filter(None, parts))))
    return labelled


def _make_table(title: str, names: Sequence[str], numbers: Sequence[str], style: str | None = None) -> FittedTable:
    """Return an empty table with columns of names, which are always shown, then of numbers."""
    table = FittedTable(title=title, title_style=style)
    table.keys, table.hint = len(names), "see the record.json of each run"
    for name in names:
        table.add_column(
            Text(make_printable(name)), no_wrap=name != "method"
        )  # a label may wrap before "(refit on train + val)"
    for name in numbers:
        table.add_column(Text(make_printable(name)), justify="right", no_wrap=True)
    return table


def _add_row(table: FittedTable, *cells: str) -> None:
    """Add a row of texts of unknown origin."""
    table.add_row(*(Text(make_printable(cell)) for cell in cells))


def group_runs(run_table: RunTable) -> list[RunGroup]:
    """Return the runs of each row of a table of one data set."""
    (dataset,) = run_table.dataset_titles
    return run_table.group_by_label(dataset)


def format_column(groups: Sequence[RunGroup], read: Extract, percent: bool = True) -> list[str]:
    """Format a column with the digits of the report's tables, without their remarks on missing runs."""
    numbers, places = average_groups(groups, read, percent)
    return [NO_VALUE if number is None else format_mean(number, places) for number in numbers]


def _format_tried(group: RunGroup) -> str:
    """Return the number of configurations that were tried with the arm of a group on its data set."""
    return str(max(run.configurations_tried for run in (*group.runs, *group.failed)))


def average_notes(run_table: RunTable) -> list[NoteRow]:
    """Average the logged values of each row over its runs."""
    rows = []
    for label, group in zip(run_table.labels, group_runs(run_table), strict=True):
        names = dict.fromkeys(name for run in group.runs for name in run.record.notes)
        notes = {name: group.compute_mean(partial(get_scaled_note, name, 100.0)) for name in names}
        rows.append(NoteRow(label, run_table.runs_of(label)[0].method, notes))
    return rows


def render_records(runs: Sequence[Run]) -> RenderableType:
    """Return, for each data set, the tables of scores, of recall by class, and of the methods' logged values."""
    parts: list[FittedTable] = []
    for run_table in group_by_dataset(runs):
        parts += [_make_scores_table(run_table), *_make_recall_tables(run_table)]
        parts += _make_note_tables(average_notes(run_table))
    return Group(*parts, Text(TRIED_NOTE, "dim"))


def _make_scores_table(run_table: RunTable) -> FittedTable:
    (title,) = run_table.dataset_titles.values()
    title = f"{make_printable(title)}{' -- BUILT-IN SAMPLE, not the real data' * run_table.is_sample}"
    presets = ", ".join(dict.fromkeys(run.record.preset for run in run_table.runs))
    (task,) = run_table.tasks.values()
    metrics = (*task.shown, *task.extra)
    limits = sorted({run.record.spec.limit for run in run_table.runs if run.record.spec.limit is not None})
    if limits:
        title += f"\nLIMITED DATA, a try: at most {' or '.join(map(str, limits))} clips of each class"
    val_title = f"val {task.primary.title}"
    headings = (metrics[0].title, val_title, *(metric.title for metric in metrics[1:]))
    headings = (*headings, "clips", "runs", TRIED, "s/run")
    style = "yellow" if run_table.is_sample or limits else "bold"
    units = describe_units(task.shown)
    table = _make_table(f"{title}\ntest split{units}, preset {presets}", ["method"], headings, style)
    others = [metric.title for metric in reversed(metrics[1:])]
    table.drop_first = (*DROP_FIRST, *others[:-2], "runs", *others[-2:])  # at last the score on test, on val, and tried
    groups = group_runs(run_table)
    scores = [format_column(groups, partial(get_test_score, metric), percent=is_percent(metric)) for metric in metrics]
    read_val = partial(Run.get_score, metric=task.primary, split="val")
    scores.insert(1, format_column(groups, read_val, percent=is_percent(task.primary)))
    for label, group, *cells in zip(run_table.labels, groups, *scores, strict=True):
        clips = int(group.runs[0].record.scores.get("test/n") or 0) if group.runs else 0
        runs = f"{len(group.runs)} ({len(group.failed)} failed)" if group.failed else str(len(group.runs))
        seconds = format_quantity(fmean(run.record.compute_seconds for run in (*group.runs, *group.failed)))
        _add_row(table, label, *cells, str(clips), runs, _format_tried(group), seconds)
    notes = []
    if any(len(group.runs) > 1 for group in groups):
        several = any(len({run.record.spec.fold for run in group.runs}) > 1 for group in groups)
        over = "folds and seeds" if several else "seeds"
        depends = " (the validation fold depends on the seed)" if has_val_by_seed(run_table.runs) else ""
        notes.append(f"mean ± standard deviation over {over}{depends}")
    if any(use.reused for run in run_table.runs for use in run.record.stages.values()):
        notes.append("s/run counts a shared pre-training once, for the run that trained it")
    table.caption = "; ".join([*notes, *describe_plugins(run_table.runs)]) or None
    return table


def _make_recall_tables(run_table: RunTable) -> list[FittedTable]:
    """Return the table of recall by class, or none where no run has any recall."""
    names = [name.removeprefix("test/") for run in run_table.runs for name in run.record.scores]
    classes = [name for name in dict.fromkeys(names) if name.startswith("recall/")]
    if not classes:
        return []
    headings = [name.removeprefix("recall/") for name in classes]
    table, groups = _make_table("recall by class, percent", ["method"], headings), group_runs(run_table)
    table.split = True
    recalls = [format_column(groups, partial(get_test_score, Metric(name, name))) for name in classes]
    for row in zip(run_table.labels, *recalls, strict=True):
        _add_row(table, *row)
    return [table]


def _make_note_tables(rows: list[NoteRow]) -> list[FittedTable]:
    """Return the tables of logged values that the methods define, each with the rows that have any of its values."""
    found: dict[NoteTable, list[NoteRow]] = {}
    for row in rows:
        for table in row.method.note_tables:
            if any(name in row.notes for _, names in table.rows for name in names):
                found.setdefault(table, []).append(row)
    return [_make_note_table(table, group) for table, group in found.items()]


def _make_note_table(noted: NoteTable, rows: list[NoteRow]) -> FittedTable:
    table = _make_table(noted.title, ["method", *noted.labels], noted.headings)
    for row in rows:
        few = noted.flag is not None and _is_below_least(row, noted.flag)
        for labels, names in noted.rows:
            numbers = [row.notes.get(name) for name in names]  # three digits, as in the report's table of costs
            cells = [NO_VALUE if number is None else format_quantity(number.mean) for number in numbers]
            _add_row(table, f"{row.label} (!)" if few else row.label, *labels, *cells)
        if len(noted.rows) > 1:
            table.add_section()
        if few and noted.flag is not None:
            table.caption = f"(!) {noted.flag.warning}"
    return table


def _is_below_least(row: NoteRow, measure: Measure) -> bool:
    """Return whether a row has less of a measure than its method requires."""
    number = row.notes.get(measure.note)
    return number is not None and measure.least is not None and number.mean / 100 * measure.unit < measure.least


@dataclass(frozen=True)
class ArmProgress:
    """Planned runs of one arm on one data set: how many are done, left and failed."""

    dataset: str
    arm: str
    tuning: str  # where their config values come from
    done: int
    remaining: int
    failed: int


def make_plan_table(rows: Sequence[ArmProgress]) -> FittedTable:
    """Return a table of the planned runs of a study: done, left and failed."""
    table = _make_table("plan", ("data set", "arm", "values"), ("left", "done", "failed"), "bold")
    table.hint = ""
    for row in rows:
        _add_row(table, row.dataset, row.arm, row.tuning, str(row.remaining), str(row.done), str(row.failed or "-"))
    return table


def make_gap_table(runs: Sequence[Run]) -> FittedTable | None:
    """Return a table of val minus test: the optimism of the split that selected epochs and values; None if empty."""
    title, numbers = f"val against test: {_describe_metrics(runs)}", ("val", "test", "gap", TRIED)
    table = _make_table(title, ("data set", "method"), numbers, "bold")
    for run_table in group_by_dataset(runs):
        groups, (metric,) = group_runs(run_table), run_table.metrics
        columns = [
            format_column(groups, partial(Run.get_score, metric=metric, split=part), percent=is_percent(metric))
            for part in ("val", "test")
        ]
        for label, group, val, test in zip(run_table.labels, groups, *columns, strict=True):
            gap = group.compute_mean(compute_val_test_gap)  # None for runs whose epoch was not selected on val
            if gap is not None:
                shown = format_difference(gap, is_percent(metric))
                _add_row(table, _format_dataset(run_table), label, val, test, shown, _format_tried(group))
    if not table.row_count:
        return None
    table.drop_first = ("val", "test")
    table.caption = "the epoch was selected on val; so were the values that a search found"
    return table


def make_optimism_table(runs: Sequence[Run]) -> FittedTable | None:
    """Return a table of the gain in points from selecting the epoch on the test list; None without pairs.

    Runs are paired by seed; the interval of the mean difference is a 95 % t-interval.
    """
    gain, verb = ("gain", "gain from") if all(run.metric.better == "max" for run in runs) else ("change", "change by")
    title = f"{verb} selecting the epoch on the test list: {_describe_metrics(runs, difference=True)}"
    table = _make_table(title, ("data set", "method"), (f"{gain} and 95 % interval", "pairs"), "bold")
    for run_table in group_by_dataset(runs):
        protocols: dict[str, dict[str, str]] = {}
        for run in run_table.runs:
            protocols.setdefault(run.arm, {})[run.record.spec.protocol] = run.label
        both = [labels for labels in protocols.values() if {"clean", "best-on-test"} <= labels.keys()]
        pairs = [(labels["best-on-test"], labels["clean"]) for labels in both]
        for comparison in compare_family(run_table, pairs, None):
            test = comparison.paired_test
            text = format_interval(test.mean, test.low, test.high, test.std, is_percent(comparison.metric))
            _add_row(table, _format_dataset(run_table), comparison.reference, text, str(test.n_pairs))
    if not table.row_count:
        return None
    table.caption = "the same training with the epoch selected on test and on val; t-interval over pairs of one seed"
    return table


def _describe_metrics(runs: Sequence[Run], difference: bool = False) -> str:
    """Return the primary metrics of runs with their unit: "Acc E, percent"."""
    metrics = tuple(dict.fromkeys(run.metric for run in runs))
    units = describe_difference_units(metrics) if difference else describe_units(metrics)
    return f"{' or '.join(metric.title for metric in metrics)}{units}"


def _format_dataset(run_table: RunTable) -> str:
    """Return the name of the data set, marked where its runs used the built-in sample."""
    (dataset,) = run_table.dataset_titles
    return f"{dataset}: BUILT-IN SAMPLE" if run_table.is_sample else dataset
