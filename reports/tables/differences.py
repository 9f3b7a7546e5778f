"""Tables of paired differences: the ablation table, and the table of all significance tests."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial

from bench.requests import Tuning
from bench.tasks import Metric
from reports.comparisons import Comparison
from reports.runs import RunTable
from reports.statistics import ALPHA, Interval, PairedTest, format_significance_stars
from reports.tables.columns import (
    MARKS_LEGEND,
    NO_VALUE,
    TRIED,
    TRIED_LEGEND,
    TUNING_LEGEND,
    decimals_of_spreads,
    describe_averaging,
    describe_difference,
    describe_units,
    format_interval,
    is_percent,
    list_averaging_legend,
    list_averaging_notes,
    list_metrics_legend,
    make_method_cell,
    make_metric_column,
    make_tried_column,
)
from reports.types import Cell, Column, LegendEntry, Row, Table

TUNING_TITLES: dict[Tuning, str] = {
    "none": "values of the preset",
    "shared": "values tuned for the full method",
    "per-arm": "values tuned for each arm",
}
ComparisonIndex = Mapping[tuple[str, str, str], Comparison]
"""(data set, label, reference) -> comparison."""

PAIRS_LEGEND = LegendEntry(
    "Pairs, n, brackets",
    "Runs of equal fold and seed are a pair, and n is the number of pairs. With several folds a pair is a fold, the "
    "mean of its seeds. Brackets hold the 95 % t-interval of the mean. Folds share clips: with several, the variance "
    "is corrected for them (Nadeau and Bengio 2003).",
)
P_VALUES_LEGEND = LegendEntry(
    "p, Holm, stars",
    "p is that of the exact signed-rank test of the pairs (Wilcoxon 1945), with several folds of the corrected t-test "
    "(Nadeau and Bengio 2003). Holm (1979) adjusts for all rows and data sets that are compared with one reference; "
    "tables of differences print the adjusted p. Stars are of the adjusted p: * 0.05, ** 0.01, *** 0.001; a level "
    "that the number of pairs cannot reach gets no star.",
)
POWER_LEGEND = LegendEntry(
    "Smallest p, detectable difference",
    "The smallest p that the signed-rank test of n pairs can reach is 2 / 2^n. The detectable difference is the true "
    "difference whose 95 % interval would exclude 0 in 8 of 10 repetitions, at the spread of these pairs.",
)
CLIP_TESTS_LEGEND = LegendEntry(
    "By runs, by clips",
    "Intervals and tests by runs hold for other seeds, those by clips for other clips and the same runs. The interval "
    "by clips is a bootstrap of whole groups of clips (2000 draws), in which clips of all folds count equally. "
    "McNemar's exact test, over several seeds twice the median of their p (Rueger 1978), treats clips as independent "
    "and is not adjusted.",
)

BY_RUNS, BY_CLIPS = "by runs", "by clips"
REPEATED_CLIPS_NOTE = "folds test some clips more than once, which McNemar's test does not allow"
NO_CLASSES_NOTE = "McNemar's test compares right and wrong classes"
NO_CLIP_TEST_NOTE = "no test by clips: predictions are not on this machine, or seeds were tested on different clips"
SMALLEST_BOOTSTRAP_P = 2 / 2001  # p of a bootstrap of 2000 draws
TESTS_COLUMNS = (
    Column("dataset", "data set", numeric=False),
    Column("runs/difference", "difference", BY_RUNS),
    Column("runs/n", "n", BY_RUNS),
    Column("runs/p", "p", BY_RUNS),
    Column("runs/smallest", "smallest p", BY_RUNS),
    Column("runs/holm", "Holm", BY_RUNS),
    Column("runs/detectable", "detectable", BY_RUNS),
    Column("clips/difference", "difference", BY_CLIPS),
    Column("clips/groups", "groups", BY_CLIPS),
    Column("clips/holm", "Holm", BY_CLIPS),
    Column("clips/mcnemar", "McNemar", BY_CLIPS),
)


def make_pairs_legend(metrics: Sequence[Metric]) -> tuple[LegendEntry, ...]:
    """Return the legend of paired differences: an entry with the worse side for each metric, and one on pairs."""
    sides = (
        LegendEntry(
            f"Differences in {describe_difference(metric)}",
            f"A row minus its reference on test; {'below' if metric.better == 'max' else 'above'} 0 is worse than the "
            "reference.",
        )
        for metric in metrics
    )
    return (*sides, PAIRS_LEGEND)


def index_comparisons(found: Sequence[Comparison]) -> ComparisonIndex:
    """Return comparisons by data set, label and reference."""
    return {(comparison.dataset, comparison.label, comparison.reference): comparison for comparison in found}


def find_label(run_table: RunTable, arm: str, kind: Tuning, full: str) -> str | None:
    """Return the label of an arm with values of a kind; None where it has none.

    The full method's per-arm values are the shared ones of the others. An arm without values to search has the same
    row for every kind.
    """
    labels = dict.fromkeys((run.label, run.tuning, run.was_searched) for run in run_table.runs if run.arm == arm)
    wanted = "per-arm" if arm == full and kind == "shared" else kind
    found = [label for label, values, _ in labels if values == wanted]
    found += [label for label, values, searched in labels if values == "none" and not searched]
    return found[0] if found else None


def list_tunings(run_table: RunTable, full: str) -> tuple[Tuning, ...]:
    """Return the ways of tuning of all arms but the full method, of those that have values to search."""
    others = [run for run in run_table.runs if run.arm != full] or list(run_table.runs)
    found = {run.tuning for run in others if run.was_searched or run.tuning != "none"} or {"none"}
    return tuple(kind for kind in TUNING_TITLES if kind in found)


def make_ablation_table(
    run_table: RunTable,
    compared: ComparisonIndex,
    full: str,
    references: Sequence[str],
    dataset: str,
    name: str,
    title: str,
) -> Table:
    """Return a row for each arm: its score for each tuning, and its difference to each reference with n and p."""
    run_table = run_table.for_dataset(dataset)
    metric = run_table.get_metric(dataset)
    arms, dataset_title = tuple(dict.fromkeys(run.arm for run in run_table.runs)), run_table.dataset_titles[dataset]
    groups = dict(zip(run_table.labels, run_table.group_by_label(dataset), strict=True))
    columns, cells = [Column("method", "method", numeric=False)], []
    for kind in list_tunings(run_table, full):
        labels = {arm: find_label(run_table, arm, kind, full) for arm in arms}
        shown = [label for label in labels.values() if label is not None]
        for part, heading, make in (
            (metric.name, metric.title, partial(make_metric_column, metric=metric)),
            (TRIED, TRIED, make_tried_column),
        ):
            columns.append(Column(f"{kind}/{part}", heading, TUNING_TITLES[kind]))
            made = dict(zip(shown, make([groups[label] for label in shown]), strict=True))
            cells.append([made[label] if (label := labels[arm]) else Cell(NO_VALUE) for arm in arms])
        for reference in (arm for arm in references if arm in arms):
            found = [compared.get((dataset, labels[arm] or "", labels[reference] or "")) for arm in arms]
            columns += [
                Column(f"{kind}/{reference}/{part}", heading, TUNING_TITLES[kind])
                for part, heading in (("difference", f"to {reference}"), ("n", "n"), ("p", "p"))
            ]
            compared_cells = [_make_pairs_cells(item) if item else (Cell(NO_VALUE),) * 3 for item in found]
            means, *others = map(list, zip(*compared_cells, strict=True))
            means[arms.index(reference)] = Cell("reference")
            cells += [means, *others]
    rows = [Row(arm, (_make_arm_cell(run_table, arm), *others)) for arm, *others in zip(arms, *cells, strict=True)]
    notes = [*list_averaging_notes(run_table, dataset)]
    for reference in references:
        labels_of_reference = _find_labels(run_table, reference)
        against = [
            comparison
            for (name_of_dataset, _, _), comparison in compared.items()
            if name_of_dataset == dataset and comparison.reference in labels_of_reference
        ]
        notes += describe_power(against, reference)
    return Table(
        name,
        f"{title}, {dataset_title}",
        f"{metric.title} on test{describe_units([metric])}{',' if is_percent(metric) else ''} and differences to "
        f"{' and '.join(references)}{' in points' if is_percent(metric) else ''} with 95 % intervals. "
        f"{describe_averaging(run_table, dataset)}",
        tuple(columns),
        tuple(rows),
        notes=tuple(notes),
        warnings=run_table.warnings,
        legend=(
            *list_metrics_legend(run_table),
            *list_averaging_legend(run_table),
            MARKS_LEGEND,
            TRIED_LEGEND,
            *make_pairs_legend([metric]),
            P_VALUES_LEGEND,
            POWER_LEGEND,
        ),
    )


def _make_arm_cell(run_table: RunTable, arm: str) -> Cell:
    notes = [note for label in _find_labels(run_table, arm) for note in make_method_cell(run_table, label).footnotes]
    return Cell(arm, footnotes=tuple(dict.fromkeys(notes)))


def _make_pairs_cells(comparison: Comparison) -> tuple[Cell, Cell, Cell]:
    """Return the mean of the pairs with its interval, their number, and their adjusted p with its stars."""
    pairs = comparison.paired_test
    return (
        _make_number_cell(pairs.mean, _format_difference(comparison, pairs, pairs.std), comparison),
        _make_number_cell(pairs.n_pairs, str(pairs.n_pairs), comparison),
        _make_starred_cell(comparison.adjusted_p, pairs.smallest_p, comparison),
    )


def _format_difference(comparison: Comparison, found: PairedTest | Interval, spread: float | None) -> str:
    """Return the mean of a comparison with its interval, in the decimals of its spread and metric."""
    return format_interval(found.mean, found.low, found.high, spread, is_percent(comparison.metric))


def _make_starred_cell(p: float | None, smallest: float, comparison: Comparison) -> Cell:
    text = "" if p is None else f"{format_p(p)}{format_significance_stars(p, smallest)}"
    return _make_number_cell(p, text, comparison)


def format_p(p: float) -> str:
    """Format a p-value with four decimals, from 0.1 on with three, without trailing zeros."""
    if p < 0.0001:
        return "< 0.0001"
    text = f"{p:.4f}" if p < 0.1 else f"{p:.3f}"
    return text.rstrip("0").rstrip(".")


def format_detectable(comparison: Comparison) -> str:
    """Format the detectable difference of pairs with the decimals of their mean; empty where there is none."""
    pairs, percent = comparison.paired_test, is_percent(comparison.metric)
    found = pairs.detectable_difference
    return "" if found is None else f"{found:.{decimals_of_spreads([pairs.std], percent)}f}"


def describe_power(found: Sequence[Comparison], reference: str) -> tuple[str, ...]:
    """Return a sentence for each number of pairs on the smallest p and the difference that so many can show."""
    groups: dict[tuple[int, int], list[Comparison]] = {}
    for comparison in found:
        groups.setdefault((comparison.paired_test.n_pairs, comparison.family_size), []).append(comparison)
    return tuple(_describe_pairs_power(groups[key], *key, reference) for key in sorted(groups))


def _describe_pairs_power(compared: Sequence[Comparison], n: int, family: int, reference: str) -> str:
    first, notes = compared[0].paired_test, []
    if not first.is_corrected:
        least = min(1.0, first.smallest_p * family)
        adjusted = f", {format_p(least)} adjusted for {family} comparisons" if family > 1 else ""
        end = "" if least <= ALPHA else ", so no difference can be significant"
        notes.append(f"the smallest p is {format_p(first.smallest_p)}{adjusted}{end}")
    for metric in dict.fromkeys(item.metric for item in compared):
        found = [text for item in compared if item.metric == metric and (text := format_detectable(item))]
        if found:
            span = " to ".join(dict.fromkeys((min(found, key=float), max(found, key=float))))
            unit = "points" if is_percent(metric) else f"of {metric.title}"
            notes.append(f"the detectable difference to {reference} is {span} {unit}, depending on the row")
    return f"With n = {n}: {', and '.join(notes) or 'a single pair allows no test and no interval'}."


def _find_labels(run_table: RunTable, arm: str) -> list[str]:
    return list(dict.fromkeys(run.label for run in run_table.runs if run.arm == arm))


def make_significance_table(run_table: RunTable, found: Sequence[Comparison], reference: str, name: str) -> Table:
    """Return a row for each comparison, data set by data set."""
    rows, previous = [], ""
    for comparison in found:
        rule = bool(previous) and comparison.dataset != previous
        previous = comparison.dataset
        cells = (Cell(comparison.dataset_title), *_make_run_cells(comparison), *_make_clip_cells(comparison))
        rows.append(Row(f"{comparison.dataset}/{comparison.label}", (Cell(comparison.label), *cells), rule))
    count = "1 comparison" if len(found) == 1 else f"{len(found)} comparisons"
    metrics = list(dict.fromkeys(comparison.metric for comparison in found))
    kinds = " or ".join(map(describe_difference, metrics))
    tuned = any(run.tuning != "none" for run in run_table.runs)
    return Table(
        name,
        f"Tests against {reference}",
        f"Differences to {reference} in {kinds} on test, tested by runs and by clips; p adjusted for the "
        f"{count} of this table.",
        (Column("method", "method", numeric=False), *TESTS_COLUMNS),
        tuple(rows),
        notes=describe_power(found, reference),
        warnings=run_table.warnings,
        legend=(
            *list_metrics_legend(run_table),
            *([TUNING_LEGEND] if tuned else []),
            *make_pairs_legend(metrics),
            P_VALUES_LEGEND,
            POWER_LEGEND,
            CLIP_TESTS_LEGEND,
        ),
    )


def _make_run_cells(comparison: Comparison) -> tuple[Cell, ...]:
    pairs = comparison.paired_test
    footnotes = ("corrected for folds that share clips",) if pairs.is_corrected else ()
    mean, count, adjusted = _make_pairs_cells(comparison)
    smallest = None if pairs.is_corrected else pairs.smallest_p
    return (
        replace(mean, footnotes=footnotes),
        count,
        _make_number_cell(pairs.p, NO_VALUE if pairs.p is None else format_p(pairs.p), comparison),
        _make_number_cell(smallest, format_p(pairs.smallest_p), comparison),
        adjusted,
        _make_number_cell(pairs.detectable_difference, format_detectable(comparison), comparison),
    )


def _make_clip_cells(comparison: Comparison) -> tuple[Cell, ...]:
    clips = comparison.clip_interval
    if clips is None:
        return (Cell(NO_VALUE, footnotes=(NO_CLIP_TEST_NOTE,)), *(Cell(NO_VALUE) for _ in range(3)))
    width = (clips.high - clips.low) / 4 if clips.high is not None and clips.low is not None else None
    mean = _make_number_cell(clips.mean, _format_difference(comparison, clips, width), comparison)
    mcnemar = Cell(NO_VALUE, footnotes=(REPEATED_CLIPS_NOTE if is_percent(comparison.metric) else NO_CLASSES_NOTE,))
    if comparison.mcnemar_p is not None:
        mcnemar = _make_number_cell(comparison.mcnemar_p, format_p(comparison.mcnemar_p), comparison)
    return (
        replace(mean, footnotes=(clips.reason,) if clips.reason else ()),
        _make_number_cell(clips.groups, str(clips.groups), comparison),
        _make_starred_cell(comparison.adjusted_clip_p, SMALLEST_BOOTSTRAP_P, comparison),
        mcnemar,
    )


def _make_number_cell(value: float | None, text: str, comparison: Comparison) -> Cell:
    return Cell(NO_VALUE) if value is None else Cell(text, value=value, run_keys=comparison.run_keys)
