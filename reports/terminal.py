"""Tables on the screen at the end of a command."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from statistics import fmean

from rich.console import Group, RenderableType
from rich.table import Table

from bench.method import Measure, Method, NoteTable
from bench.protocol import describe_protocol
from reports.comparisons import compare_family
from reports.runs import Extract, Mean, Run, RunGroup, RunTable, is_from_scratch
from reports.tables.columns import (
    METRIC_TITLES,
    average_groups,
    format_difference,
    format_interval,
    format_mean,
    format_quantity,
)
from reports.tables.costs import compute_val_test_gap, get_scaled_note
from reports.tables.scores import get_test_percent

NO_VALUE = "-"

COLUMNS = {name: METRIC_TITLES[name] for name in ("acc_e", "f1_e", "acc_s", "f1_s")} | {"bal_e": "bal. Acc E"}


@dataclass(frozen=True)
class NoteRow:
    """What the runs of one line noted beside their scores: means in percent."""

    label: str
    method: Method
    notes: dict[str, Mean | None]


def group_by_dataset(runs: Sequence[Run]) -> list[RunTable]:
    """Runs by data set, each called by what has to be said wherever its numbers stand."""
    groups: dict[tuple[str, str], list[Run]] = {}
    for run in runs:
        groups.setdefault((run.record.spec.dataset, run.record.spec.data), []).append(run)
    return [RunTable(tuple(_add_labels(group)), {}, {}, "") for group in groups.values()]


def _add_labels(runs: Sequence[Run]) -> list[Run]:
    """Tell runs of other protocols, presets and starts apart from those of the same arm."""
    several, named = len({run.record.preset for run in runs}) > 1, []
    for run in runs:
        parts = (describe_protocol(run.record.spec), "from scratch" * is_from_scratch(run), run.record.preset * several)
        named.append(replace(run, label_suffix="; ".join(filter(None, parts))))
    return named


def _make_table(title: str, words: Sequence[str], numbers: Sequence[str], style: str | None = None) -> Table:
    """Return an empty table with columns of words, then of numbers."""
    table = Table(title=title, title_style=style)
    for name in words:
        table.add_column(name, overflow="fold")
    for name in numbers:
        table.add_column(name, justify="right", overflow="fold")
    return table


def group_runs(run_table: RunTable) -> list[RunGroup]:
    """Return the runs of each line of a frame of one data set."""
    (dataset,) = run_table.dataset_titles
    return run_table.group_by_label(dataset)


def format_column(groups: Sequence[RunGroup], read: Extract) -> list[str]:
    """Print a column as the tables do, without what these say of missing runs."""
    numbers, places = average_groups(groups, read)
    return [NO_VALUE if number is None else format_mean(number, places) for number in numbers]


def average_notes(run_table: RunTable) -> list[NoteRow]:
    """Average the notes of each line."""
    rows = []
    for label, group in zip(run_table.labels, group_runs(run_table), strict=True):
        names = dict.fromkeys(name for run in group.runs for name in run.record.notes)
        notes = {name: group.compute_mean(partial(get_scaled_note, name, 100.0)) for name in names}
        rows.append(NoteRow(label, run_table.runs_of(label)[0].method, notes))
    return rows


def render_records(runs: Sequence[Run]) -> RenderableType:
    """For each data set its scores, its classes, and what else the methods note."""
    parts: list[Table] = []
    for run_table in group_by_dataset(runs):
        parts += [_make_scores_table(run_table), *_make_recall_tables(run_table)]
        parts += _make_note_tables(average_notes(run_table))
    return Group(*parts)


def _make_scores_table(run_table: RunTable) -> Table:
    (title,) = run_table.dataset_titles.values()
    name = f"{title} -- BUILT-IN SAMPLE, not the real data" if run_table.is_sample else title
    presets = ", ".join(dict.fromkeys(run.record.preset for run in run_table.runs))
    headings, style = (*COLUMNS.values(), "clips", "runs", "s/run"), "yellow" if run_table.is_sample else "bold"
    table = _make_table(f"{name}\ntest split, percent, preset {presets}", ["method"], headings, style)
    groups = group_runs(run_table)
    scores = [format_column(groups, partial(get_test_percent, metric)) for metric in COLUMNS]
    for label, group, *cells in zip(run_table.labels, groups, *scores, strict=True):
        clips = int(group.runs[0].record.scores.get("test/n") or 0) if group.runs else 0
        runs = f"{len(group.runs)} ({len(group.failed)} failed)" if group.failed else str(len(group.runs))
        seconds = format_quantity(fmean(sum(run.record.seconds.values()) for run in (*group.runs, *group.failed)))
        table.add_row(label, *cells, str(clips), runs, seconds)
    if any(len(group.runs) > 1 for group in groups):
        several = any(len({run.record.spec.fold for run in group.runs}) > 1 for group in groups)
        over = "folds and seeds together" if several else "seeds"
        table.caption = f"mean ± standard deviation over {over} (each seed has its own validation fold)"
    return table


def _make_recall_tables(run_table: RunTable) -> list[Table]:
    """The table of recall by class; none where no run has any."""
    names = [name.removeprefix("test/") for run in run_table.runs for name in run.record.scores]
    classes = [name for name in dict.fromkeys(names) if name.startswith("recall/")]
    if not classes:
        return []
    headings = [name.removeprefix("recall/") for name in classes]
    table, groups = _make_table("recall by class, percent", ["method"], headings), group_runs(run_table)
    recalls = [format_column(groups, partial(get_test_percent, name)) for name in classes]
    for row in zip(run_table.labels, *recalls, strict=True):
        table.add_row(*row)
    return [table]


def _make_note_tables(rows: list[NoteRow]) -> list[Table]:
    """The tables of notes, each of the rows whose methods have it and that noted any of it."""
    found: dict[NoteTable, list[NoteRow]] = {}
    for row in rows:
        for table in row.method.note_tables:
            if any(name in row.notes for _, names in table.rows for name in names):
                found.setdefault(table, []).append(row)
    return [_make_note_table(table, of) for table, of in found.items()]


def _make_note_table(noted: NoteTable, rows: list[NoteRow]) -> Table:
    table = _make_table(noted.title, ["method", *noted.labels], noted.headings)
    for row in rows:
        few = noted.flag is not None and _is_below_least(row, noted.flag)
        for words, names in noted.rows:
            numbers = [row.notes.get(name) for name in names]  # printed as in the table of costs: with three digits
            cells = [NO_VALUE if number is None else format_quantity(number.mean) for number in numbers]
            table.add_row(f"{row.label} (!)" if few else row.label, *words, *cells)
        if len(noted.rows) > 1:
            table.add_section()
        if few and noted.flag is not None:
            table.caption = f"(!) {noted.flag.warning}"
    return table


def _is_below_least(row: NoteRow, measure: Measure) -> bool:
    """Return whether a row has less of a measure than it ought to have."""
    number = row.notes.get(measure.note)
    return number is not None and measure.least is not None and number.mean / 100 * measure.unit < measure.least


@dataclass(frozen=True)
class ArmProgress:
    """Cells of one arm on one data set: how many are done, left and lost."""

    dataset: str
    arm: str
    tuning: str  # how they come by their values
    done: int
    remaining: int
    failed: int


def make_plan_table(rows: Sequence[ArmProgress]) -> Table:
    """What a study has done and will do."""
    table = _make_table("plan", ("data set", "arm", "values"), ("done", "left", "failed"), "bold")
    for row in rows:
        table.add_row(row.dataset, row.arm, row.tuning, str(row.done), str(row.remaining), str(row.failed or "-"))
    return table


def make_gap_table(runs: Sequence[Run]) -> Table | None:
    """Val beside test: how much better a method looks on the split that chose its epochs and values."""
    title, numbers = "what val promised and test held: Acc E, percent", ("val", "test", "gap", "configurations tried")
    table = _make_table(title, ("data set", "method"), numbers, "bold")
    for run_table in group_by_dataset(runs):
        groups = group_runs(run_table)
        columns = [format_column(groups, partial(Run.get_percent, name="acc_e", split=one)) for one in ("val", "test")]
        for label, group, val, test in zip(run_table.labels, groups, *columns, strict=True):
            found = group.compute_mean(compute_val_test_gap)  # runs whose epoch val did not choose have none
            if found is not None:
                tried = max(run.configurations_tried for run in group.runs)
                table.add_row(_format_dataset(run_table), label, val, test, format_difference(found), str(tried))
    if not table.row_count:
        return None
    table.caption = "val chose the epoch and, where more than one configuration was tried, the values"
    return table


def make_optimism_table(runs: Sequence[Run]) -> Table | None:
    """What choosing the epoch on the test list adds, in points: pairs of one seed, a 95 % interval of their mean."""
    title = "what choosing the epoch on the test list is worth: Acc E, points"
    table = _make_table(title, ("data set", "method"), ("gain and 95 % interval", "pairs"), "bold")
    for run_table in group_by_dataset(runs):
        protocols: dict[str, dict[str, str]] = {}
        for run in run_table.runs:
            protocols.setdefault(run.arm, {})[run.record.spec.protocol] = run.label
        both = [of for of in protocols.values() if {"clean", "best-on-test"} <= of.keys()]
        for one in compare_family(run_table, [(of["best-on-test"], of["clean"]) for of in both], None):
            text = format_interval(one.paired_test.mean, one.paired_test.low, one.paired_test.high, one.paired_test.std)
            table.add_row(_format_dataset(run_table), one.reference, text, str(one.paired_test.n_pairs))
    if not table.row_count:
        return None
    table.caption = "the same training twice: val chooses the epoch, or the test list does; t-interval over the pairs"
    return table


def _format_dataset(run_table: RunTable) -> str:
    """The data set, told from the sample that stands in for it."""
    (dataset,) = run_table.dataset_titles
    return f"{dataset}: BUILT-IN SAMPLE" if run_table.is_sample else dataset
