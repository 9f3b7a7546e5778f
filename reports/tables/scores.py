"""Tables of scores: all metrics (as Tables 1 and 2 of the MART paper), recall by class (as Tables 3 to 5), and the mean
and rank over data sets."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial

from bench.method import ConfigParts
from bench.requests import Tuning
from reports.comparisons import compute_fold_overlap, mean_over_folds
from reports.runs import Mean, Run, RunGroup, RunTable
from reports.statistics import MeanRanks, compute_mean_ranks, mean_over_datasets
from reports.tables.columns import (
    COUNT_NOTE,
    METRIC_TITLES,
    METRICS_NOTE,
    NO_VALUE,
    decimals_of_spreads,
    describe_averaging,
    is_eligible_for_best,
    make_column,
    make_method_cell,
    mark_best,
)
from reports.types import Cell, Column, Row, Table

MARKS_NOTE = (
    "Best in bold, second best underlined, alike where they are printed alike; incomplete lines take no part, nor "
    "those whose epoch test chose, nor refit ones beside clean ones."
)

YES, NO = "✓", "–"

OVERALL_COLUMNS = (
    Column("method", "method", numeric=False),
    Column("mean", "mean Acc E"),
    Column("interval", "95 % interval"),
    Column("rank", "mean rank"),
)
TUNING_PREFERENCE: tuple[Tuning, ...] = ("per-arm", "shared", "none")
OVERALL_CAPTION = (
    "Acc E on test, percent, the mean over {titles}; every data set counts alike. The interval is of a bootstrap that"
    " resamples the runs within each data set (Agarwal et al. 2021): it says how other runs would fare, on these data"
    " sets. Of several folds a run is a fold, the mean of its seeds, and the variance is raised for clips that folds"
    " share (Nadeau and Bengio 2003). Ranks: 1 is the best method of a data set. Methods that lack a run anywhere, or"
    " whose epoch test chose, are left out, and refit ones beside clean ones; an arm has one line. Best in bold, second"
    " best underlined, alike where they are printed alike."
)


def make_scores_table(run_table: RunTable, name: str, title: str) -> Table:
    """A line for each label, four columns for each data set, n in its heading."""
    columns, cells = [Column("method", "method", numeric=False)], []
    for dataset, called in run_table.dataset_titles.items():
        groups = run_table.group_by_label(dataset)
        heading = f"{called} (n = {max(len(group.runs) for group in groups)})"
        for metric, short in METRIC_TITLES.items():
            columns.append(Column(f"{dataset}/{metric}", short, heading))
            cells.append(make_column(groups, partial(get_test_percent, metric)))
    return Table(
        name,
        title,
        " ".join((METRICS_NOTE, describe_averaging(run_table), COUNT_NOTE, MARKS_NOTE, run_table.tuning_note)),
        tuple(columns),
        make_rows(run_table, cells),
        warnings=run_table.warnings,
    )


def make_rows(run_table: RunTable, cells: list[list[Cell]]) -> tuple[Row, ...]:
    """The lines of a frame from the cells of its columns."""
    return tuple(
        Row(label, (make_method_cell(run_table, label), *(found[place] for found in cells)))
        for place, label in enumerate(run_table.labels)
    )


def get_test_percent(metric: str, run: Run) -> float | None:
    """A test score in percent."""
    return run.get_percent(metric)


def make_components_table(run_table: RunTable, kind: str, name: str, title: str, dataset: str) -> Table:
    """The lines of one data set: their parts, the recall of each class, and Acc E."""
    run_table = run_table.for_dataset(dataset)
    called, classes = run_table.dataset_titles[dataset], run_table.runs[0].info.classes
    groups = run_table.group_by_label(dataset)
    cells = [make_column(groups, partial(get_test_percent, f"recall/{one}")) for one in classes]
    cells.append(make_column(groups, partial(get_test_percent, "acc_e")))
    first = [run_table.runs_of(label)[0] for label in run_table.labels]
    parts = [run.method.describe(run.record.spec.config).get(kind, ConfigParts({})) for run in first]
    headings = dict.fromkeys(heading for one in parts for heading in one.cells)
    meanings = dict.fromkeys(one.meaning for one in parts if one.meaning)
    columns = [Column("method", "method", numeric=False)]
    columns += [Column(f"part/{heading}", heading, numeric=False) for heading in headings]
    columns += [Column(f"recall/{one}", one, "recall") for one in classes]
    columns.append(Column("acc_e", "Acc E"))
    described = [[_format_part(one.cells.get(heading, False)) for one in parts] for heading in headings]
    lines = make_rows(run_table, [*described, *cells])
    n = max(len(group.runs) for group in groups)
    text = " ".join((describe_averaging(run_table, dataset), COUNT_NOTE, *meanings, MARKS_NOTE, run_table.tuning_note))
    caption = f"{called}, n = {n}; percent of the test clips. {text}"
    return Table(name, f"{title}, {called}", caption, tuple(columns), lines, warnings=run_table.warnings)


def _format_part(part: str | bool) -> Cell:
    return Cell(part if isinstance(part, str) else YES if part else NO)


@dataclass(frozen=True)
class DatasetScore:
    """The Acc E of one line on one data set: over all runs, as pieces of evidence, and how far these share clips."""

    acc_e: Mean
    independent_scores: tuple[float, ...]
    fold_overlap: float | None


def select_complete_lines(run_table: RunTable) -> dict[str, list[DatasetScore]]:
    """Label -> what it has on each data set: one line for each arm, per-arm before shared before untuned, of those that
    compete on every data set."""
    found: dict[str, list[DatasetScore]] = {}
    groups = {dataset: run_table.group_by_label(dataset) for dataset in run_table.dataset_titles}
    may = {dataset: is_eligible_for_best(of) for dataset, of in groups.items()}
    for arm in dict.fromkeys(run.arm for run in run_table.runs):
        labels = dict.fromkeys((run.label, run.tuning) for run in run_table.runs if run.arm == arm)
        for label, _ in sorted(labels, key=lambda pair: TUNING_PREFERENCE.index(pair[1])):
            place = run_table.labels.index(label)
            known = [
                one for name, of in groups.items() if may[name][place] and (one := _score_group(of[place])) is not None
            ]
            if len(known) == len(groups):
                found[label] = known
                break
    return found


def _score_group(group: RunGroup) -> DatasetScore | None:
    number = group.compute_mean(partial(get_test_percent, "acc_e"))
    if number is None:
        return None
    known = [run for run in group.runs if run.record.key in number.run_keys]
    places = [(run.record.spec.fold, run.record.spec.seed) for run in known]
    pieces = mean_over_folds(dict(zip(places, number.values, strict=True)))
    return DatasetScore(number, tuple(pieces), compute_fold_overlap(known))


def rank_lines(found: dict[str, list[DatasetScore]]) -> MeanRanks:
    """The mean ranks of complete lines."""
    return compute_mean_ranks({label: [one.acc_e.mean for one in of] for label, of in found.items()})


def make_overall_table(run_table: RunTable, name: str, title: str) -> Table | None:
    """A line for each complete method; None for fewer than two of them, or for a single data set."""
    found = select_complete_lines(run_table)
    if len(run_table.dataset_titles) < 2 or len(found) < 2:
        return None
    ranks = dict(zip(found, rank_lines(found).ranks, strict=True))
    means = {
        label: mean_over_datasets([one.independent_scores for one in of], [one.fold_overlap for one in of])
        for label, of in found.items()
    }
    widths = [(one.high - one.low) / 4 for one in means.values() if one.low is not None and one.high is not None]
    places = decimals_of_spreads(widths)
    marked = mark_best([round(one.mean, places) for one in means.values()])
    lines = []
    for (label, one), mark in zip(means.items(), marked, strict=True):
        keys = tuple(key for of in found[label] for key in of.acc_e.run_keys)
        known = one.low is not None and one.high is not None
        span = f"{one.low:.{places}f} to {one.high:.{places}f}" if known else NO_VALUE
        cells = (
            Cell(f"{one.mean:.{places}f}", mark=mark, value=one.mean, run_keys=keys),
            Cell(span, run_keys=keys if known else (), footnotes=(one.reason,) if one.reason else ()),
            Cell(f"{ranks[label]:.2f}", value=ranks[label], run_keys=keys),
        )
        lines.append(Row(label, (make_method_cell(run_table, label), *cells)))
    caption = f"{OVERALL_CAPTION.format(titles=', '.join(run_table.dataset_titles.values()))} {run_table.tuning_note}"
    return Table(name, title, caption, OVERALL_COLUMNS, tuple(lines), warnings=run_table.warnings)
