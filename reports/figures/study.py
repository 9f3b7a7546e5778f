"""The figures of a study, and their data: scores, differences, learning, classes, confidence, ranks."""

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
from reports.statistics import BINS, bin_clips, compute_accuracy_interval, draw_critical_differences
from reports.tables.columns import average_groups, is_eligible_for_best
from reports.tables.costs import (
    SECONDS_PER_HOUR,
    compute_calibration_error,
    compute_hours,
    get_scaled_note,
    list_measures,
    read_measure,
)
from reports.tables.scores import rank_lines, select_complete_lines
from reports.types import FigureValue, ReportFigure

MAX_LINES = 6  # lines in a figure of curves or matrices

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
"""Data of a figure -> how it is drawn, and its rows."""


def make_plot(name: str, title: str, caption: str, data: Plot) -> ReportFigure:
    """Return a figure of `data`, which is drawn when it is wanted."""
    draw, tabulate = PLOTS[type(data)]
    return ReportFigure(name, title, caption, partial(draw, data), tabulate(data))


def make_figures(
    study: StudyResults, found: dict[str, list[Comparison]], predictions: PredictionCache
) -> list[ReportFigure]:
    """All figures of a study that its runs can fill."""
    lines = _select_lines(study)
    plots = [*_collect_line_plots(study, lines, found, predictions), *_collect_class_plots(study, lines, predictions)]
    made = [make_plot(f"{study.name}_{name}", title, caption, data) for name, title, caption, data in plots]
    return [figure for figure in made if figure.rows]


def _collect_line_plots(
    study: StudyResults, lines: list[str], found: dict[str, list[Comparison]], predictions: PredictionCache
) -> Iterator[tuple[str, str, str, Plot]]:
    """Name, title, caption and data of the figures of whole lines."""
    run_table = study.run_table
    caption = (
        "Acc E on test: the mean over runs, each run as a dot, and a 95 % bootstrap interval over test clips, "
        "stratified by class, for these very runs (none over folds of unequal size). Hollow: a line that takes no part "
        "in marks."
    )
    yield "results", "Scores with intervals", caption, collect_results(run_table, predictions)
    references = ["clean"] if study.table_kind == "optimism" else study.get_labels(study.reference_method)
    for place, reference in enumerate(references):
        if found.get(reference):
            caption = (
                f"Acc E minus that of {reference}, pair by pair (dots), the mean with its 95 % t-interval; below 0 is "
                "worse."
            )
            data = collect_differences(run_table, found[reference], reference)
            yield f"differences{f'_{place + 1}' if place else ''}", f"Differences to {reference}", caption, data
    caption = (
        "Val Acc E after each epoch of the last stage: the mean over runs, and from the least to the most of them."
    )
    yield "learning", "Learning curves", caption, collect_learning_curves(run_table, lines)
    if len(run_table.dataset_titles) == 1:  # of several data sets the tables tell what lines cost
        ((dataset, title),) = run_table.dataset_titles.items()
        caption = f"{title}: what each line cost, each quantity on its own axis; the mean over runs, each run as a dot."
        yield f"cost_{slugify(dataset)}", f"Cost, {title}", caption, collect_costs(run_table, predictions)


def _collect_class_plots(
    study: StudyResults, lines: list[str], predictions: PredictionCache
) -> Iterator[tuple[str, str, str, Plot]]:
    """What becomes of each class: confusion, and the radar of the paper's Fig. 5; and how sure the lines are."""
    run_table, count = study.run_table, len(study.run_table.labels)
    few = f" {len(lines)} of {count} lines: the full method, the controls and the first others."
    selection = few if len(lines) < count else ""
    for dataset, title in run_table.dataset_titles.items():
        mixed = collect_confusions(run_table, lines, dataset, predictions)
        if mixed is not None:
            caption = f"{title}, test: percent of each true class (rows) that is called what (columns), over all runs."
            yield f"confusion_{slugify(dataset)}", f"Confusion, {title}", caption + selection, mixed
    caption = "Recall of each class on test, percent, the mean over runs (Fig. 5 of the paper)."
    yield "radar", "Classes", caption + selection, collect_radars(run_table, lines)
    caption = (
        f"How often the lines are right where they are how sure: clips of all runs together, in the {BINS} bins of "
        "equal size that the calibration error (ECE) is of; an ECE printed here is the mean over runs."
    )
    yield "reliability", "Calibration", caption + selection, collect_reliabilities(run_table, lines, predictions)


def _select_lines(study: StudyResults) -> list[str]:
    """The lines that figures of curves and matrices show: the full method and the controls first, then the others."""
    run_table = study.run_table
    first = [label for arm in (study.reference_method, *study.control_arms) for label in study.get_labels(arm)]
    chosen = list(dict.fromkeys([*first, *run_table.labels]))[:MAX_LINES]
    return [label for label in run_table.labels if label in chosen]


def make_rank_figure(study: StudyResults) -> tuple[list[ReportFigure], str]:
    """Methods ranked over data sets, where these can carry it; and in words why not."""
    run_table = study.run_table
    if study.table_kind != "scores" or len(run_table.dataset_titles) < 2:
        return [], ""
    ranks = rank_lines(select_complete_lines(run_table))
    if not ranks.are_comparable:
        return [], f"No critical-difference diagram: {ranks.reason}"
    caption = (
        f"Mean ranks of Acc E over {ranks.n_datasets} data sets (1 is best); bars join methods that Nemenyi's test "
        f"does not tell apart at 0.05, critical difference {ranks.critical_difference:.2f} (Demsar 2006)."
    )
    rows: list[dict[str, FigureValue]] = []
    for one, place, of in zip(ranks.methods, ranks.ranks, ranks.nemenyi_p, strict=True):
        tested = {f"p to {other}": p for other, p in zip(ranks.methods, of, strict=True)}
        rows.append({"method": one, "rank": place, "critical difference": ranks.critical_difference, **tested})
    draw, name = partial(draw_critical_differences, ranks), f"{study.name}_ranks"
    return [ReportFigure(name, "Ranks over data sets", caption, draw, tuple(rows))], ""


def collect_results(run_table: RunTable, predictions: PredictionCache) -> ScorePlot:
    """Acc E of every line on every data set, each run, and an interval over the test clips."""
    points = []
    for dataset, title in run_table.dataset_titles.items():
        groups = run_table.group_by_label(dataset)
        for label, group, may in zip(run_table.labels, groups, is_eligible_for_best(groups), strict=True):
            number = group.compute_mean(lambda run: run.get_percent("acc_e"))
            if number is None:
                continue
            tested, low, high = predictions.pair_predictions(group.runs), None, None
            if tested is not None and tested.has_equal_folds:
                found = compute_accuracy_interval(tested.correct, tested.labels, tested.groups)
                low, high = found.low, found.high
            points.append(ScorePoint(label, title, number.mean, low, high, number.values, flagged=not may))
    return ScorePlot("Acc E on test, percent", tuple(points), sample=run_table.is_sample)


def collect_costs(run_table: RunTable, predictions: PredictionCache) -> ScorePlot:
    """What the lines of one data set cost: calibration error, what methods measure, hours, size, arithmetic, tries."""
    reads: dict[str, Extract] = {
        "ECE, percent": partial(compute_calibration_error, predictions),
        **{one.title: partial(read_measure, one) for one in list_measures(run_table) if one.title},
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
    """Return classes and test predictions of a line's finished runs whose predictions are here."""
    runs = [run for run in run_table.runs_of(label) if not run.failed]
    return [(run.info.classes, found) for run in runs if (found := predictions.load_test(run)) is not None]


def collect_confusions(
    run_table: RunTable, labels: Sequence[str], dataset: str, predictions: PredictionCache
) -> ConfusionPlot | None:
    """The confusion matrices of some lines on a data set, over all their runs; None where no predictions are here."""
    run_table, panels = run_table.for_dataset(dataset), []
    for label in labels:
        if tested := _load_tested(run_table, label, predictions):
            counts = sum((count_confusions(found, len(names)) for names, found in tested), start=np.array(0))
            panels.append(ConfusionMatrix(label, tested[0][0], tuple(map(tuple, counts.tolist())), len(tested)))
    return ConfusionPlot(tuple(panels), run_table.is_sample) if panels else None


def collect_radars(run_table: RunTable, labels: Sequence[str]) -> RadarPlot:
    """The recall of each class by some lines, on every data set."""
    panels = []
    for dataset, title in run_table.dataset_titles.items():
        here = run_table.for_dataset(dataset)
        classes = here.runs[0].info.classes
        rings = [
            RadarPolygon(label, tuple(_mean_percent(runs, f"recall/{name}") for name in classes))
            for label in labels
            if (runs := [run for run in here.runs_of(label) if not run.failed])
        ]
        if rings and len(classes) > 2:
            panels.append(RadarPanel(title, classes, tuple(rings)))
    return RadarPlot(tuple(panels), run_table.is_sample)


def collect_reliabilities(run_table: RunTable, labels: Sequence[str], predictions: PredictionCache) -> ReliabilityPlot:
    """How often the lines are right where they are how sure, clips of all runs together; the calibration error is the
    runs' mean, with the decimals that it has in the table of costs."""
    panels = []
    for dataset, title in run_table.dataset_titles.items():
        here, drawn = run_table.for_dataset(dataset), []
        errors, places = average_groups(here.group_by_label(dataset), partial(compute_calibration_error, predictions))
        known = dict(zip(here.labels, errors, strict=True))
        for label in labels:
            if tested := _load_tested(here, label, predictions):
                error = known[label]
                bins = _bin_by_confidence([found for _, found in tested])
                drawn.append(ReliabilityCurve(label, bins, error.mean if error else None, places))
        if drawn:
            panels.append(ReliabilityPanel(title, tuple(drawn)))
    return ReliabilityPlot(tuple(panels), sample=run_table.is_sample)


def _mean_percent(runs: Sequence[Run], name: str) -> float | None:
    known = [value for run in runs if (value := run.get_percent(name)) is not None]
    return float(np.mean(known)) if known else None


def _bin_by_confidence(found: Sequence[Predictions]) -> tuple[ConfidenceBin, ...]:
    bins = bin_clips(np.concatenate([one.scores for one in found]), np.concatenate([one.targets for one in found]))
    return tuple(
        ConfidenceBin(100 * float(confidence), 100 * float(accuracy), int(clips))
        for confidence, accuracy, clips in zip(*bins, strict=True)
    )


def collect_differences(run_table: RunTable, found: Sequence[Comparison], reference: str) -> DifferencePlot:
    """Every comparison with one reference; an arm's ways of tuning stand on one line."""
    arms = {run.label: run.arm for run in run_table.runs}
    places = {(arms[one.label], one.dataset, one.tuning) for one in found}
    several = len({one.tuning for one in found}) > 1 and len(places) == len(found)
    drawn = tuple(
        DifferencePoint(
            label=arms[one.label] if several else one.label,
            group=one.dataset_title,
            mean=one.paired_test.mean,
            low=one.paired_test.low,
            high=one.paired_test.high,
            pairs=one.differences,
            tuning=one.tuning,
        )
        for one in found
    )
    return DifferencePlot(reference, "Acc E on test, points", drawn, sample=run_table.is_sample)


def collect_learning_curves(run_table: RunTable, labels: Sequence[str]) -> LearningPlot:
    """Val Acc E after each epoch of the stage that val judges, over the runs of some lines, as far as all went."""
    panels = []
    for dataset, title in run_table.dataset_titles.items():
        here, lines = run_table.for_dataset(dataset), []
        for label in labels:
            learnt = [curve for run in here.runs_of(label) if not run.failed and (curve := load_val_curve(run))]
            points = list(zip(*learnt, strict=False))
            if len(points) > 1:
                mean, low, high = tuple(map(fmean, points)), tuple(map(min, points)), tuple(map(max, points))
                lines.append(LearningCurve(label, tuple(range(1, len(points) + 1)), mean, low, high, len(learnt)))
        if lines:
            panels.append(LearningPanel(title, tuple(lines)))
    return LearningPlot("val Acc E, percent", tuple(panels), run_table.is_sample)


def load_val_curve(run: Run) -> list[float]:
    """A run's val Acc E in percent, epoch by epoch; empty where its curves are not here or val did not judge."""
    path = run.folder / CURVES_FILE
    try:
        points = parse_json(path.read_text()) if path.exists() else []
        return [100 * point["values"]["val/acc_e"] for point in points if "val/acc_e" in point["values"]]
    except (OSError, ValueError, KeyError, TypeError):
        return []


def collect_search_curves(searches: Sequence[SearchSummary], titles: Mapping[str, str]) -> SearchPlot:
    """The best val Acc E so far of each search that kept its trials, against their number and the hours they took."""
    drawn = []
    for search in (one for one in searches if one.trials):
        label = search.title(titles.get(search.dataset, search.dataset))
        hours = tuple(trial["spent"] / SECONDS_PER_HOUR for trial in search.trials)
        values = tuple(None if trial["value"] is None else 100 * trial["value"] for trial in search.trials)
        drawn.append(SearchCurve(label, hours, values))
    return SearchPlot("val Acc E, percent", tuple(drawn), any(search.data == "sample" for search in searches))
