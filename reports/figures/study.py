"""Figures of a study and their data: scores, differences, learning curves, classes, calibration, ranks."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from statistics import fmean
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from bench.artifacts import CURVES_FILE
from bench.files import parse_json
from bench.metrics import Predictions
from bench.tasks import Metric, Regression
from reports.comparisons import Comparison
from reports.figures import classes, curves, intervals
from reports.figures.classes import (
    ConfidenceBin,
    ConfusionMatrix,
    ConfusionPlot,
    RadarPanel,
    RadarPlot,
    RadarPolygon,
    ReliabilityCurve,
    ReliabilityPanel,
    ReliabilityPlot,
    count_confusions,
)
from reports.figures.curves import LearningCurve, LearningPanel, LearningPlot, SearchCurve, SearchPlot
from reports.figures.intervals import DifferencePlot, DifferencePoint, ScorePlot, ScorePoint
from reports.runs import Extract, PredictionCache, Run, RunTable, SearchSummary, StudyResults, slugify
from reports.statistics import bin_clips, draw_critical_differences
from reports.tables.columns import (
    AVERAGES_LEGEND,
    average_groups,
    describe_difference_units,
    describe_units,
    get_test_score,
    is_eligible_for_best,
    list_metrics_legend,
)
from reports.tables.costs import (
    ECE_LEGEND,
    SECONDS_PER_HOUR,
    compute_calibration_error,
    compute_hours,
    get_scaled_note,
    list_measures,
    make_costs_legend,
    read_measure,
)
from reports.tables.differences import make_pairs_legend
from reports.tables.scores import RECALL_LEGEND, rank_rows, select_complete_rows
from reports.types import FigureValue, LegendEntry, ReportFigure

AGREEMENT_BINS = 10
MAX_LINES = 6  # rows in a figure of curves or matrices

CLIP_INTERVALS_LEGEND = LegendEntry(
    "Intervals over clips",
    "95 % bootstrap over the test clips, for these very runs, stratified by class where there are classes; none over "
    "folds of unequal size, and for CCC and Corr none over several folds.",
)
HOLLOW_LEGEND = LegendEntry("Hollow points", "Rows that are not ranked.")
CRITICAL_DIFFERENCE_LEGEND = LegendEntry(
    "Critical difference",
    "Bars join methods whose mean ranks differ by less than the critical difference of Nemenyi's test at 0.05 "
    "(Demsar 2006); rank 1 is best.",
)

Plot = ScorePlot | DifferencePlot | LearningPlot | SearchPlot | ConfusionPlot | RadarPlot | ReliabilityPlot
PLOTS: dict[type[Plot], tuple[Callable[[Any], Figure], Callable[[Any], tuple[dict[str, FigureValue], ...]]]] = {
    ScorePlot: (intervals.draw_scores, intervals.tabulate_scores),
    DifferencePlot: (intervals.draw_differences, intervals.tabulate_differences),
    LearningPlot: (curves.draw_learning, curves.tabulate_learning),
    SearchPlot: (curves.draw_searches, curves.tabulate_searches),
    ConfusionPlot: (classes.draw_confusion, classes.tabulate_confusion),
    RadarPlot: (classes.draw_radar, classes.tabulate_radar),
    ReliabilityPlot: (classes.draw_reliability, classes.tabulate_reliability),
}
"""Data of a figure -> the function that draws it, and the function that lists its rows."""

Legend = tuple[LegendEntry, ...]


def make_plot(name: str, title: str, caption: str, data: Plot, legend: Legend = ()) -> ReportFigure:
    """Return a figure of `data`, which is drawn only when the report is written."""
    draw, tabulate = PLOTS[type(data)]
    return ReportFigure(name, title, caption, partial(draw, data), tabulate(data), legend)


def make_figures(
    study: StudyResults, found: dict[str, list[Comparison]], predictions: PredictionCache
) -> list[ReportFigure]:
    """Return all figures of a study for which its runs have data."""
    labels = _select_labels(study)
    plots = [
        *_collect_score_plots(study, labels, found, predictions),
        *_collect_class_plots(study, labels, predictions),
    ]
    made = [
        make_plot(f"{study.name}_{name}", title, caption, data, legend) for name, title, caption, data, legend in plots
    ]
    return [figure for figure in made if figure.rows]


def _collect_score_plots(
    study: StudyResults, labels: list[str], found: dict[str, list[Comparison]], predictions: PredictionCache
) -> Iterator[tuple[str, str, str, Plot, Legend]]:
    """Yield name, title, caption, data and legend of the figures of scores, differences, learning and costs."""
    run_table = study.run_table
    metrics, units, meanings = (
        _join_metrics(run_table),
        describe_units(run_table.metrics),
        list_metrics_legend(run_table),
    )
    caption = f"{metrics} on test{units}: the mean over runs with its interval over clips; dots are runs."
    legend: Legend = (*meanings, CLIP_INTERVALS_LEGEND, HOLLOW_LEGEND)
    yield "results", "Scores with intervals", caption, collect_results(run_table, predictions), legend
    references = ["clean"] if study.table_kind == "optimism" else study.get_labels(study.reference_method)
    for index, reference in enumerate(references):
        if found.get(reference):
            subtrahend = "that of the clean runs" if reference == "clean" else f"that of {reference}"
            points = describe_difference_units(run_table.metrics)
            caption = f"{metrics} minus {subtrahend}{points}: each pair (dots), and the mean with its t-interval."
            data = collect_differences(run_table, found[reference], reference)
            legend = (*meanings, *make_pairs_legend(run_table.metrics))
            name, title = f"differences{f'_{index + 1}' if index else ''}", f"Differences to {reference}"
            yield name, title, caption, data, legend
    caption = f"Val {metrics} after each epoch of the last stage{units}: the mean over runs, and the range of the runs."
    yield "learning", "Learning curves", caption, collect_learning_curves(run_table, labels), meanings
    if len(run_table.dataset_titles) == 1:  # with several data sets the tables alone show the costs
        ((dataset, title),) = run_table.dataset_titles.items()
        caption = f"Cost of each row on {title}, each quantity on its own axis: the mean over runs; dots are runs."
        legend = make_costs_legend(run_table)
        yield f"cost_{slugify(dataset)}", f"Cost, {title}", caption, collect_costs(run_table, predictions), legend


def _collect_class_plots(
    study: StudyResults, labels: list[str], predictions: PredictionCache
) -> Iterator[tuple[str, str, str, Plot, Legend]]:
    """Yield name, title, caption, data and legend of the figures of confusion, recall and calibration."""
    run_table, count = study.run_table, len(study.run_table.labels)
    part = f" {len(labels)} of {count} rows: the full method, the controls and the first others."
    selection = part if len(labels) < count else ""
    for dataset, title in run_table.dataset_titles.items():
        matrices = collect_confusions(run_table, labels, dataset, predictions)
        if matrices is not None:
            caption = f"Predicted class (columns) of each true class (rows) on {title}, test, percent, over all runs."
            yield f"confusion_{slugify(dataset)}", f"Confusion, {title}", caption + selection, matrices, ()
    caption = "Recall of each class on test, percent: the mean over runs (Fig. 5 of the paper)."
    yield "radar", "Recall by class", caption + selection, collect_radars(run_table, labels), (RECALL_LEGEND,)
    caption = (
        "Accuracy on test against confidence, percent, in bins of the clips of all runs. A printed ECE is the mean "
        "over runs."
    )
    data = collect_reliabilities(run_table, labels, predictions)
    yield "reliability", "Calibration", caption + selection, data, (ECE_LEGEND, AVERAGES_LEGEND)
    caption = f"Mean predicted against mean true score on test, in {AGREEMENT_BINS} bins of the clips of all runs."
    data = collect_agreements(run_table, labels, predictions)
    yield "agreement", "Predicted and true scores", caption + selection, data, ()


def _select_labels(study: StudyResults) -> list[str]:
    """Return the rows for figures of curves and matrices: the full method and the controls, then the first others."""
    run_table = study.run_table
    first = [label for arm in (study.reference_method, *study.control_arms) for label in study.get_labels(arm)]
    selected = list(dict.fromkeys([*first, *run_table.labels]))[:MAX_LINES]
    return [label for label in run_table.labels if label in selected]


def make_rank_figure(study: StudyResults) -> tuple[list[ReportFigure], str]:
    """Return the diagram of mean ranks over data sets, or none and a sentence on what it lacks."""
    run_table = study.run_table
    if study.table_kind != "scores" or len(run_table.dataset_titles) < 2:
        return [], ""
    ranks = rank_rows(select_complete_rows(run_table))
    if not ranks.are_comparable:
        return [], f"No critical-difference diagram: {ranks.reason}"
    caption = (
        f"Mean ranks by {_join_metrics(run_table)} over {ranks.n_datasets} data sets; "
        f"critical difference {ranks.critical_difference:.2f}."
    )
    rows: list[dict[str, FigureValue]] = []
    for method, rank, ps in zip(ranks.methods, ranks.ranks, ranks.nemenyi_p, strict=True):
        tested = {f"p to {other}": p for other, p in zip(ranks.methods, ps, strict=True)}
        rows.append({"method": method, "rank": rank, "critical difference": ranks.critical_difference, **tested})
    draw, name = partial(draw_critical_differences, ranks), f"{study.name}_ranks"
    legend = (*list_metrics_legend(run_table), CRITICAL_DIFFERENCE_LEGEND)
    return [ReportFigure(name, "Ranks over data sets", caption, draw, tuple(rows), legend)], ""


def collect_results(run_table: RunTable, predictions: PredictionCache) -> ScorePlot:
    """Return the score of every row on every data set: mean, runs, and the interval over the test clips."""
    points = []
    for dataset, title in _title_panels(run_table).items():
        metric = run_table.get_metric(dataset)
        groups = run_table.group_by_label(dataset)
        for label, group, eligible in zip(run_table.labels, groups, is_eligible_for_best(groups), strict=True):
            number = group.compute_mean(partial(get_test_score, metric))
            if number is None:
                continue
            known = [run for run in group.runs if run.record.key in number.run_keys]
            tested, low, high = predictions.pair_predictions(known), None, None
            if tested is not None and tested.has_run_mean:
                found = tested.compute_interval()
                low, high = found.low, found.high
            points.append(ScorePoint(label, title, number.mean, low, high, number.values, flagged=not eligible))
    return ScorePlot(_make_axis_label(run_table, "{} on test"), tuple(points), sample=run_table.is_sample)


def _title_panels(run_table: RunTable) -> dict[str, str]:
    """Return data set -> title of its panel, with the primary metric where data sets have different ones."""
    titles, several = run_table.dataset_titles, len(run_table.metrics) > 1
    return {dataset: f"{title}{_describe_metric(run_table, dataset) * several}" for dataset, title in titles.items()}


def _describe_metric(run_table: RunTable, dataset: str) -> str:
    metric = run_table.get_metric(dataset)
    return f": {metric.title}{describe_units([metric])}"


def _make_axis_label(run_table: RunTable, text: str) -> str:
    """Return a label with the primary metric and its unit, or "score" where data sets have different ones."""
    if len(run_table.metrics) > 1:
        return text.format("score")
    return f"{text.format(_join_metrics(run_table))}{describe_units(run_table.metrics)}"


def _join_metrics(run_table: RunTable) -> str:
    """Return the titles of the primary metrics: "Acc E", "Acc E or CCC"."""
    return " or ".join(dict.fromkeys(metric.title for metric in run_table.metrics))


def collect_costs(run_table: RunTable, predictions: PredictionCache) -> ScorePlot:
    """Return the costs of each row on one data set: calibration error, measures of methods, hours, size, operations,
    configurations tried.
    """
    reads: dict[str, Extract] = {
        "ECE, percent": partial(compute_calibration_error, predictions),
        **{item.title: partial(read_measure, item) for item in list_measures(run_table) if item.title},
        "hours": compute_hours,
        "million parameters": partial(get_scaled_note, "cost/parameters", 1e-6),
        "GFLOPs": partial(get_scaled_note, "cost/flops", 1e-9),
        "tried": lambda run: float(run.configurations_tried),
    }
    (dataset,) = run_table.dataset_titles
    points = [
        ScorePoint(label, title, number.mean, None, None, number.values)
        for title, read in reads.items()
        for label, group in zip(run_table.labels, run_table.group_by_label(dataset), strict=True)
        if (number := group.compute_mean(read)) is not None
    ]
    return ScorePlot("", tuple(points), sample=run_table.is_sample)


def _load_tested(
    run_table: RunTable, label: str, predictions: PredictionCache
) -> list[tuple[tuple[str, ...], Predictions]]:
    """Return classes and test predictions of the finished runs of a row, of those whose predictions can be read.

    Runs of a regression have no classes and are left out.
    """
    runs = [run for run in run_table.runs_of(label) if not run.failed and run.info.classes]
    return [(run.info.classes, found) for run in runs if (found := predictions.load_test(run)) is not None]


def collect_confusions(
    run_table: RunTable, labels: Sequence[str], dataset: str, predictions: PredictionCache
) -> ConfusionPlot | None:
    """Return the confusion matrices of some rows on a data set, summed over runs; None without any predictions."""
    run_table, panels = run_table.for_dataset(dataset), []
    for label in labels:
        if tested := _load_tested(run_table, label, predictions):
            counts = sum((count_confusions(found, len(names)) for names, found in tested), start=np.array(0))
            panels.append(ConfusionMatrix(label, tested[0][0], tuple(map(tuple, counts.tolist())), len(tested)))
    return ConfusionPlot(tuple(panels), run_table.is_sample) if panels else None


def collect_radars(run_table: RunTable, labels: Sequence[str]) -> RadarPlot:
    """Return the recall of each class of some rows, on every data set."""
    panels = []
    for dataset, title in run_table.dataset_titles.items():
        here = run_table.for_dataset(dataset)
        classes = here.runs[0].info.classes
        polygons = [
            RadarPolygon(label, tuple(_mean_percent(runs, f"recall/{name}") for name in classes))
            for label in labels
            if (runs := [run for run in here.runs_of(label) if not run.failed])
        ]
        if polygons and len(classes) > 2:
            panels.append(RadarPanel(title, classes, tuple(polygons)))
    return RadarPlot(tuple(panels), run_table.is_sample)


def collect_reliabilities(run_table: RunTable, labels: Sequence[str], predictions: PredictionCache) -> ReliabilityPlot:
    """Return accuracy against confidence of some rows, in bins of the clips of all runs.

    The calibration error is the mean over runs, with the decimals that it has in the table of costs.
    """
    panels = []
    for dataset, title in run_table.dataset_titles.items():
        here, drawn = run_table.for_dataset(dataset), []
        errors, decimals = average_groups(here.group_by_label(dataset), partial(compute_calibration_error, predictions))
        known = dict(zip(here.labels, errors, strict=True))
        for label in labels:
            if tested := _load_tested(here, label, predictions):
                error = known[label]
                bins = _bin_by_confidence([found for _, found in tested])
                drawn.append(ReliabilityCurve(label, bins, error.mean if error else None, decimals))
        if drawn:
            panels.append(ReliabilityPanel(title, tuple(drawn)))
    return ReliabilityPlot(tuple(panels), sample=run_table.is_sample)


def collect_agreements(run_table: RunTable, labels: Sequence[str], predictions: PredictionCache) -> ReliabilityPlot:
    """Return mean predicted against mean true scores of some rows, in bins of equally many clips by true score."""
    panels = []
    for dataset, title in run_table.dataset_titles.items():
        here, task = run_table.for_dataset(dataset), run_table.tasks[dataset]
        for place, target in enumerate(task.targets if isinstance(task, Regression) else ()):
            drawn = []
            for label in labels:
                runs = [run for run in here.runs_of(label) if not run.failed]
                if tested := [found for run in runs if (found := predictions.load_test(run)) is not None]:
                    drawn.append(ReliabilityCurve(label, _bin_by_truth(tested, place)))
            if drawn:
                name = f"{title}: {target.name}" if len(task.output_names) > 1 else title
                panels.append(ReliabilityPanel(name, tuple(drawn), (target.low, target.high)))
    return ReliabilityPlot(tuple(panels), run_table.is_sample, "true score", "predicted score")


def _bin_by_truth(found: Sequence[Predictions], place: int) -> tuple[ConfidenceBin, ...]:
    """Return mean true and predicted scores of a target; clips of equal true score share a bin."""
    truth = np.concatenate([item.targets[:, place] for item in found])
    guess = np.concatenate([item.scores[:, place] for item in found])
    ends = np.unique(np.quantile(truth, np.arange(1, AGREEMENT_BINS) / AGREEMENT_BINS))
    at = np.searchsorted(ends, truth, side="right")
    members = [at == part for part in np.unique(at)]
    return tuple(
        ConfidenceBin(float(truth[rows].mean()), float(guess[rows].mean()), int(rows.sum())) for rows in members
    )


def _mean_percent(runs: Sequence[Run], name: str) -> float | None:
    known = [value for run in runs if (value := run.get_score(Metric(name, name))) is not None]
    return float(np.mean(known)) if known else None


def _bin_by_confidence(found: Sequence[Predictions]) -> tuple[ConfidenceBin, ...]:
    scores, targets = ([getattr(item, name) for item in found] for name in ("scores", "targets"))
    bins = bin_clips(np.concatenate(scores), np.concatenate(targets))
    return tuple(
        ConfidenceBin(100 * float(confidence), 100 * float(accuracy), int(clips))
        for confidence, accuracy, clips in zip(*bins, strict=True)
    )


def collect_differences(run_table: RunTable, found: Sequence[Comparison], reference: str) -> DifferencePlot:
    """Return every comparison with one reference; the ways of tuning an arm share a row."""
    arms, same = {run.label: run.arm for run in run_table.runs}, len(run_table.metrics) == 1
    places = {(arms[one.label], one.dataset, one.tuning) for one in found}
    several = len({one.tuning for one in found}) > 1 and len(places) == len(found)
    drawn = tuple(
        DifferencePoint(
            label=arms[one.label] if several else one.label,
            group=one.dataset_title if same else f"{one.dataset_title}: {_describe_sides(one.metric)}",
            mean=one.paired_test.mean,
            low=one.paired_test.low,
            high=one.paired_test.high,
            pairs=one.differences,
            tuning=one.tuning,
        )
        for one in found
    )
    axis = f"{_join_metrics(run_table)} on test{describe_difference_units(run_table.metrics)}" if same else "on test"
    worse = _name_worse_sign(run_table.metrics[0]) if same else ""
    return DifferencePlot(reference, axis, drawn, sample=run_table.is_sample, worse=worse, same_scale=same)


def _describe_sides(metric: Metric) -> str:
    """Return a metric with the unit of its differences and the sign of worse ones: "MAE (positive: worse)"."""
    return f"{metric.title}{describe_difference_units([metric])} ({_name_worse_sign(metric)}: worse)"


def _name_worse_sign(metric: Metric) -> str:
    return "negative" if metric.better == "max" else "positive"


def collect_learning_curves(run_table: RunTable, labels: Sequence[str]) -> LearningPlot:
    """Return the val score after each epoch that is scored, over the runs of some rows, up to the shortest run."""
    panels = []
    for dataset, title in _title_panels(run_table).items():
        here, drawn = run_table.for_dataset(dataset), []
        for label in labels:
            found = [curve for run in here.runs_of(label) if not run.failed and (curve := load_val_curve(run))]
            points = list(zip(*found, strict=False))
            if len(points) > 1:
                mean, low, high = tuple(map(fmean, points)), tuple(map(min, points)), tuple(map(max, points))
                drawn.append(LearningCurve(label, tuple(range(1, len(points) + 1)), mean, low, high, len(found)))
        if drawn:
            panels.append(LearningPanel(title, tuple(drawn)))
    return LearningPlot(_make_axis_label(run_table, "val {}"), tuple(panels), run_table.is_sample)


def load_val_curve(run: Run) -> list[float]:
    """Return the val score of a run in its printed unit, epoch by epoch; empty without stored curves or scores."""
    path = run.folder / CURVES_FILE
    try:
        points = parse_json(path.read_text()) if path.exists() else []
        name, scale = f"val/{run.metric.name}", run.metric.scale
        return [scale * point["values"][name] for point in points if name in point["values"]]
    except (OSError, ValueError, KeyError, TypeError):
        return []


def collect_search_curves(searches: Sequence[SearchSummary], titles: Mapping[str, str]) -> SearchPlot:
    """Return the trials of each search that stored them: hours and val score."""
    drawn = []
    for search in (search for search in searches if search.trials):
        label = search.title(titles.get(search.dataset, search.dataset))
        hours = tuple(trial["spent"] / SECONDS_PER_HOUR for trial in search.trials)
        scale = search.metric.scale
        values = tuple(None if trial["value"] is None else scale * trial["value"] for trial in search.trials)
        drawn.append(SearchCurve(label, hours, values, search.metric.better == "min"))
    metrics = tuple(dict.fromkeys(search.metric for search in searches if search.trials))
    axis = f"val {' or '.join(metric.title for metric in metrics)}{describe_units(metrics)}"
    return SearchPlot(axis, tuple(drawn), any(search.data == "sample" for search in searches))
