"""Tables of scores: all metrics (as Tables 1 and 2 of the MART paper), recall by class (as Tables 3 to 5), and the mean
and rank over data sets.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial

from bench.method import ConfigParts
from bench.requests import Tuning
from reports.comparisons import compute_fold_overlap, mean_over_folds
from reports.runs import Mean, Run, RunGroup, RunTable
from reports.statistics import MeanRanks, compute_mean_ranks, mean_over_datasets
from reports.tables.columns import (
    MARKS_LEGEND,
    METRIC_TITLES,
    METRICS_LEGEND,
    NO_VALUE,
    decimals_of_spreads,
    describe_averaging,
    is_eligible_for_best,
    join_headings,
    list_averaging_legend,
    list_averaging_notes,
    make_column,
    make_method_cell,
    mark_best,
)
from reports.types import Cell, Column, LegendEntry, Row, Table

YES, NO = "✓", "–"

OVERALL_COLUMNS = (
    Column("method", "method", numeric=False),
    Column("mean", "mean Acc E"),
    Column("interval", "95 % interval"),
    Column("rank", "mean rank"),
)
TUNING_PREFERENCE: tuple[Tuning, ...] = ("per-arm", "shared", "none")
RECALL_LEGEND = LegendEntry("Recall", "Percent of the test clips of a class that are predicted as this class.")
OVERALL_LEGEND = (
    LegendEntry(
        "Mean over data sets",
        "Every data set counts equally. Only methods with complete clean runs on all data sets (or refit runs, where "
        "none is clean) are listed, each arm once: with per-arm values, else shared, else untuned ones.",
    ),
    LegendEntry(
        "Interval of a mean over data sets",
        "95 % bootstrap over the runs of each data set (Agarwal et al. 2021): how other runs would score on these data "
        "sets. With several folds a run is a fold, the mean of its seeds, and the variance is raised for clips that "
        "folds share (Nadeau and Bengio 2003).",
    ),
    LegendEntry("Mean rank", "Rank by Acc E on each data set, 1 for the best; ties share their mean rank."),
)


def make_scores_table(run_table: RunTable, name: str, title: str) -> Table:
    """Return a row for each label, with four columns for each data set and n in the heading of the data set."""
    columns, cells = [Column("method", "method", numeric=False)], []
    for dataset, dataset_title in run_table.dataset_titles.items():
        groups = run_table.group_by_label(dataset)
        heading = f"{dataset_title} (n = {max(len(group.runs) for group in groups)})"
        for metric, metric_title in METRIC_TITLES.items():
            columns.append(Column(f"{dataset}/{metric}", metric_title, heading))
            cells.append(make_column(groups, partial(get_test_percent, metric)))
    return Table(
        name,
        title,
        f"Scores on test, percent. {describe_averaging(run_table)}",
        tuple(columns),
        make_rows(run_table, cells),
        notes=list_averaging_notes(run_table),
        warnings=run_table.warnings,
        legend=(METRICS_LEGEND, *list_averaging_legend(run_table), MARKS_LEGEND),
    )


def make_rows(run_table: RunTable, cells: list[list[Cell]]) -> tuple[Row, ...]:
    """Return a row for each label from the cells of the columns."""
    return tuple(
        Row(label, (make_method_cell(run_table, label), *(column[index] for column in cells)))
        for index, label in enumerate(run_table.labels)
    )


def get_test_percent(metric: str, run: Run) -> float | None:
    """Return a test score in percent; None where the run has none."""
    return run.get_percent(metric)


def make_components_table(run_table: RunTable, kind: str, name: str, title: str, dataset: str) -> Table:
    """Return a row for each label on one data set: Acc E, the parts of its method, and the recall of each class."""
    run_table = run_table.for_dataset(dataset)
    dataset_title, classes = run_table.dataset_titles[dataset], run_table.runs[0].info.classes
    groups = run_table.group_by_label(dataset)
    first = [run_table.runs_of(label)[0] for label in run_table.labels]
    parts = [run.method.describe(run.record.spec.config).get(kind, ConfigParts({})) for run in first]
    headings = dict.fromkeys(heading for part in parts for heading in part.cells)
    columns = [Column("method", "method", numeric=False), Column("acc_e", "Acc E")]
    columns += [Column(f"part/{heading}", heading, numeric=False) for heading in headings]
    columns += [Column(f"recall/{label}", label, "recall") for label in classes]
    cells = [make_column(groups, partial(get_test_percent, "acc_e"))]
    cells += [[_format_part(part.cells.get(heading, False)) for part in parts] for heading in headings]
    cells += [make_column(groups, partial(get_test_percent, f"recall/{label}")) for label in classes]
    meanings = dict.fromkeys((tuple(part.cells), part.meaning) for part in parts if part.meaning)
    legend = [METRICS_LEGEND, *list_averaging_legend(run_table), MARKS_LEGEND, RECALL_LEGEND]
    legend += [LegendEntry(join_headings(names), meaning) for names, meaning in meanings]
    n = max(len(group.runs) for group in groups)
    return Table(
        name,
        f"{title}, {dataset_title}",
        f"Acc E and recall on test, percent, n = {n}. {describe_averaging(run_table, dataset)}",
        tuple(columns),
        make_rows(run_table, cells),
        notes=list_averaging_notes(run_table, dataset),
        warnings=run_table.warnings,
        legend=tuple(legend),
    )


def _format_part(part: str | bool) -> Cell:
    return Cell(part if isinstance(part, str) else YES if part else NO)


@dataclass(frozen=True)
class DatasetScore:
    """The Acc E of one row on one data set: over all runs, as independent scores, and how far these share clips."""

    acc_e: Mean
    independent_scores: tuple[float, ...]
    fold_overlap: float | None


def select_complete_rows(run_table: RunTable) -> dict[str, list[DatasetScore]]:
    """Return label -> its score on each data set, of rows that are eligible for best on all data sets.

    Each arm has one row: with per-arm values, else shared, else untuned ones.
    """
    found: dict[str, list[DatasetScore]] = {}
    groups = {dataset: run_table.group_by_label(dataset) for dataset in run_table.dataset_titles}
    eligible = {dataset: is_eligible_for_best(members) for dataset, members in groups.items()}
    for arm in dict.fromkeys(run.arm for run in run_table.runs):
        labels = dict.fromkeys((run.label, run.tuning) for run in run_table.runs if run.arm == arm)
        for label, _ in sorted(labels, key=lambda pair: TUNING_PREFERENCE.index(pair[1])):
            index = run_table.labels.index(label)
            scores = [
                score
                for dataset, members in groups.items()
                if eligible[dataset][index] and (score := _score_group(members[index])) is not None
            ]
            if len(scores) == len(groups):
                found[label] = scores
                break
    return found


def _score_group(group: RunGroup) -> DatasetScore | None:
    number = group.compute_mean(partial(get_test_percent, "acc_e"))
    if number is None:
        return None
    known = [run for run in group.runs if run.record.key in number.run_keys]
    places = [(run.record.spec.fold, run.record.spec.seed) for run in known]
    scores = mean_over_folds(dict(zip(places, number.values, strict=True)))
    return DatasetScore(number, tuple(scores), compute_fold_overlap(known))


def rank_rows(found: dict[str, list[DatasetScore]]) -> MeanRanks:
    """Return the mean ranks of complete rows over data sets."""
    return compute_mean_ranks({label: [score.acc_e.mean for score in scores] for label, scores in found.items()})


def make_overall_table(run_table: RunTable, name: str, title: str) -> Table | None:
    """Return a row for each complete method; None for fewer than two of them, or for a single data set."""
    found = select_complete_rows(run_table)
    if len(run_table.dataset_titles) < 2 or len(found) < 2:
        return None
    ranks = dict(zip(found, rank_rows(found).ranks, strict=True))
    means = {
        label: mean_over_datasets(
            [score.independent_scores for score in scores], [score.fold_overlap for score in scores]
        )
        for label, scores in found.items()
    }
    widths = [(mean.high - mean.low) / 4 for mean in means.values() if mean.low is not None and mean.high is not None]
    decimals = decimals_of_spreads(widths)
    marks = mark_best([round(mean.mean, decimals) for mean in means.values()])
    rows = []
    for (label, mean), mark in zip(means.items(), marks, strict=True):
        keys = tuple(key for score in found[label] for key in score.acc_e.run_keys)
        known = mean.low is not None and mean.high is not None
        interval = f"{mean.low:.{decimals}f} to {mean.high:.{decimals}f}" if known else NO_VALUE
        cells = (
            Cell(f"{mean.mean:.{decimals}f}", mark=mark, value=mean.mean, run_keys=keys),
            Cell(interval, run_keys=keys if known else (), footnotes=(mean.reason,) if mean.reason else ()),
            Cell(f"{ranks[label]:.2f}", value=ranks[label], run_keys=keys),
        )
        rows.append(Row(label, (make_method_cell(run_table, label), *cells)))
    titles = ", ".join(run_table.dataset_titles.values())
    return Table(
        name,
        title,
        f"Mean Acc E on test over {titles}, percent, with its interval, and mean rank.",
        OVERALL_COLUMNS,
        tuple(rows),
        warnings=run_table.warnings,
        legend=(METRICS_LEGEND, MARKS_LEGEND, *OVERALL_LEGEND),
    )
