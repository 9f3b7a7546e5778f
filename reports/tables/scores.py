"""Tables of scores: all metrics (as Tables 1 and 2 of the MART paper), recall by class (as Tables 3 to 5), and the mean
and rank over data sets.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import partial

from bench.method import ConfigParts
from bench.requests import Tuning
from bench.tasks import Metric, Regression
from reports.comparisons import compute_fold_overlap, mean_over_folds
from reports.runs import Mean, RunGroup, RunTable
from reports.statistics import MeanRanks, compute_mean_ranks, mean_over_datasets
from reports.tables.columns import (
    MARKS_LEGEND,
    MINUS,
    NO_VALUE,
    TRIED,
    TRIED_LEGEND,
    Direction,
    decimals_of_spreads,
    describe_averaging,
    describe_units,
    get_test_score,
    is_eligible_for_best,
    is_percent,
    join_headings,
    list_averaging_legend,
    list_averaging_notes,
    list_metrics_legend,
    make_method_cell,
    make_metric_column,
    make_tried_column,
    mark_best,
)
from reports.types import Cell, Column, LegendEntry, Row, Table

YES, NO = "✓", "–"

OVERALL_COLUMNS = (
    Column("method", "method", numeric=False),
    Column("mean", "mean {}"),
    Column("interval", "95 % interval"),
    Column("rank", "mean rank"),
    Column(TRIED, TRIED),
)
TUNING_PREFERENCE: tuple[Tuning, ...] = ("per-arm", "shared", "none")
RECALL_LEGEND = LegendEntry("Recall", "Percent of the test clips of a class that are predicted as this class.")
OVERALL_LEGEND = (
    LegendEntry(
        "Mean over data sets",
        "Every data set counts equally. Only methods with complete clean runs on all data sets (or refit runs, where "
        "none is clean) are listed, each arm once: with per-arm values, else shared, else untuned ones. Tried is the "
        "largest number on any of them.",
    ),
    LegendEntry(
        "Interval of a mean over data sets",
        "95 % bootstrap over the runs of each data set (Agarwal et al. 2021): how other runs would score on these data "
        "sets. With several folds a run is a fold, the mean of its seeds, and the variance is raised for clips that "
        "folds share (Nadeau and Bengio 2003).",
    ),
    LegendEntry("Mean rank", "Rank by the first score of each data set, 1 for the best; ties share their mean rank."),
)


def make_scores_table(run_table: RunTable, name: str, title: str) -> Table:
    """Return a row for each label, with the scores of each data set and n in the heading of the data set."""
    columns, cells = [Column("method", "method", numeric=False)], []
    for dataset, dataset_title in run_table.dataset_titles.items():
        groups = run_table.group_by_label(dataset)
        heading = f"{dataset_title} (n = {max(len(group.runs) for group in groups)})"
        for metric in run_table.tasks[dataset].shown:
            columns.append(Column(f"{dataset}/{metric.name}", metric.title, heading))
            cells.append(make_metric_column(groups, metric))
        columns.append(Column(f"{dataset}/{TRIED}", TRIED, heading))
        cells.append(make_tried_column(groups))
    units = describe_units(metric for task in run_table.tasks.values() for metric in task.shown)
    return Table(
        name,
        title,
        f"Scores on test{units}. {describe_averaging(run_table)}",
        tuple(columns),
        make_rows(run_table, cells),
        notes=list_averaging_notes(run_table),
        warnings=run_table.warnings,
        legend=(*list_metrics_legend(run_table), *list_averaging_legend(run_table), MARKS_LEGEND, TRIED_LEGEND),
    )


def make_rows(run_table: RunTable, cells: list[list[Cell]]) -> tuple[Row, ...]:
    """Return a row for each label from the cells of the columns."""
    return tuple(
        Row(label, (make_method_cell(run_table, label), *(column[index] for column in cells)))
        for index, label in enumerate(run_table.labels)
    )


def make_components_table(run_table: RunTable, kind: str, name: str, title: str, dataset: str) -> Table:
    """Return a row for each label on one data set: its score, the parts of its method, and the recall of each class.

    Without classes, the other scores take the place of recall.
    """
    run_table = run_table.for_dataset(dataset)
    dataset_title, task = run_table.dataset_titles[dataset], run_table.tasks[dataset]
    metric, recalls = task.primary, [Metric(f"recall/{label}", label) for label in run_table.runs[0].info.classes]
    others = recalls or [other for other in task.shown if other != metric]
    groups = run_table.group_by_label(dataset)
    first = [run_table.runs_of(label)[0] for label in run_table.labels]
    parts = [run.method.describe(run.record.spec.config).get(kind, ConfigParts({})) for run in first]
    headings = dict.fromkeys(heading for part in parts for heading in part.cells)
    columns = [Column("method", "method", numeric=False), Column(metric.name, metric.title), Column(TRIED, TRIED)]
    columns += [Column(f"part/{heading}", heading, numeric=False) for heading in headings]
    columns += [Column(other.name, other.title, "recall" if recalls else "") for other in others]
    cells = [make_metric_column(groups, metric), make_tried_column(groups)]
    cells += [[_format_part(part.cells.get(heading, False)) for part in parts] for heading in headings]
    cells += [make_metric_column(groups, other) for other in others]
    meanings = dict.fromkeys((tuple(part.cells), part.meaning) for part in parts if part.meaning)
    legend = [*list_metrics_legend(run_table), *list_averaging_legend(run_table), MARKS_LEGEND, TRIED_LEGEND]
    legend += [RECALL_LEGEND] if recalls else []
    legend += [LegendEntry(join_headings(names), meaning) for names, meaning in meanings]
    n = max(len(group.runs) for group in groups)
    return Table(
        name,
        f"{title}, {dataset_title}",
        f"{metric.title} and {'recall' if recalls else 'other scores'} on test{describe_units([metric, *others])}, "
        f"n = {n}. {describe_averaging(run_table, dataset)}",
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
    """The score of one row on one data set: over all runs, as independent scores, and how far these share clips."""

    metric: Metric
    mean: Mean
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
    if not group.runs:
        return None
    metric = group.runs[0].metric
    number = group.compute_mean(partial(get_test_score, metric))
    if number is None:
        return None
    known = [run for run in group.runs if run.record.key in number.run_keys]
    places = [(run.record.spec.fold, run.record.spec.seed) for run in known]
    scores = mean_over_folds(dict(zip(places, number.values, strict=True)))
    return DatasetScore(metric, number, tuple(scores), compute_fold_overlap(known))


def rank_rows(found: dict[str, list[DatasetScore]]) -> MeanRanks:
    """Return the mean ranks of complete rows over data sets."""
    ranked = {label: [score.metric.rank(score.mean.mean) for score in scores] for label, scores in found.items()}
    return compute_mean_ranks(ranked)


def _has_common_unit(run_table: RunTable) -> bool:
    """Return whether all data sets have one primary metric and, if it is an error, one range of targets."""
    tasks = run_table.tasks.values()
    ranges = {frozenset(task.bounds) for task in tasks if isinstance(task, Regression) and task.primary.better == "min"}
    return len(run_table.metrics) == 1 and len(ranges) < 2


def make_overall_table(run_table: RunTable, name: str, title: str) -> Table | None:
    """Return a row for each complete method; None for fewer than two of them, or for a single data set.

    None, too, where data sets have different primary metrics, or errors of different ranges: their mean has no unit.
    """
    found = select_complete_rows(run_table)
    if len(run_table.dataset_titles) < 2 or len(found) < 2 or not _has_common_unit(run_table):
        return None
    (metric,) = run_table.metrics
    percent = is_percent(metric)
    ranks = dict(zip(found, rank_rows(found).ranks, strict=True))
    means = {
        label: mean_over_datasets(
            [score.independent_scores for score in scores], [score.fold_overlap for score in scores]
        )
        for label, scores in found.items()
    }
    widths = [(mean.high - mean.low) / 4 for mean in means.values() if mean.low is not None and mean.high is not None]
    decimals = decimals_of_spreads(widths, percent)
    direction: Direction = "higher" if metric.better == "max" else "lower"
    marks = mark_best([round(mean.mean, decimals) for mean in means.values()], direction)
    rows = []
    for (label, mean), mark in zip(means.items(), marks, strict=True):
        keys = tuple(key for score in found[label] for key in score.mean.run_keys)
        tried = max(run.configurations_tried for run in run_table.runs_of(label))
        known = mean.low is not None and mean.high is not None
        interval = f"{mean.low:.{decimals}f} to {mean.high:.{decimals}f}".replace("-", MINUS) if known else NO_VALUE
        cells = (
            Cell(f"{mean.mean:z.{decimals}f}".replace("-", MINUS), mark=mark, value=mean.mean, run_keys=keys),
            Cell(interval, run_keys=keys if known else (), footnotes=(mean.reason,) if mean.reason else ()),
            Cell(f"{ranks[label]:.2f}", value=ranks[label], run_keys=keys),
            Cell(str(tried), value=tried, run_keys=keys),
        )
        rows.append(Row(label, (make_method_cell(run_table, label), *cells)))
    titles = ", ".join(run_table.dataset_titles.values())
    return Table(
        name,
        title,
        f"Mean {metric.title} on test over {titles}{describe_units([metric])}, with its interval, and mean rank.",
        tuple(replace(column, title=column.title.format(metric.title)) for column in OVERALL_COLUMNS),
        tuple(rows),
        warnings=run_table.warnings,
        legend=(*list_metrics_legend(run_table), MARKS_LEGEND, TRIED_LEGEND, *OVERALL_LEGEND),
    )
