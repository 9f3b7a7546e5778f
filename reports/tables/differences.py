"""Tables of paired differences: the ablation table, and every significance test in full."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial

from bench.requests import Tuning
from reports.comparisons import Comparison
from reports.runs import RunTable
from reports.statistics import ALPHA, PairedTest, format_significance_stars
from reports.tables.columns import (
    NO_VALUE,
    decimals_of_spreads,
    describe_averaging,
    format_interval,
    make_column,
    make_method_cell,
)
from reports.tables.scores import MARKS_NOTE, get_test_percent
from reports.types import Cell, Column, Row, Table

TUNING_TITLES: dict[Tuning, str] = {
    "none": "values of the preset",
    "shared": "values tuned for the full method",
    "per-arm": "values tuned for each arm",
}
P_VALUE_NOTE = (
    "p is of the exact signed-rank test of the pairs (Wilcoxon 1945; with several folds, which share clips, of the "
    "corrected t-test of Nadeau and Bengio 2003), adjusted by Holm (1979) for all lines and data sets held against "
    "the same reference; * 0.05, ** 0.01, *** 0.001, and no star that so few pairs cannot reach."
)
ComparisonIndex = Mapping[tuple[str, str, str], Comparison]
"""(data set, label, reference) -> comparison."""

BY_RUNS, BY_CLIPS = "by runs", "by clips"
REPEATED_CLIPS_NOTE = "folds test some clips more than once, which McNemar's test does not allow"
SMALLEST_BOOTSTRAP_P = 2 / 2001  # p of a bootstrap of 2000 draws
TESTS_CAPTION = (
    "Differences in points of Acc E on test to {reference}. By runs: mean over n pairs of equal seed (with several "
    "folds: of folds, each the mean of its seeds), 95 % t-interval, exact signed-rank test (Wilcoxon 1945), the "
    "smallest p that n can reach, and the true difference whose 95 % interval would leave out 0 in 8 of 10 "
    "repetitions. Folds share clips: with several, interval and p are corrected (Nadeau and Bengio 2003). By clips: a"
    " bootstrap of whole groups of clips (2000 draws) for these very runs, in which clips of all folds count alike, "
    "and McNemar's exact test, over several seeds twice the median of their p (Rueger 1978), which takes clips for "
    "independent and is not adjusted. The columns Holm (1979) adjust for the {count} of this table. * "
    "0.05, ** 0.01, *** 0.001 of the adjusted p, and no star that n cannot reach. By runs and by clips answer "
    "different questions: would other seeds agree, and would other clips?"
)
TESTS_COLUMNS = (
    Column("dataset", "data set", numeric=False),
    Column("runs/n", "n", BY_RUNS),
    Column("runs/difference", "difference", BY_RUNS),
    Column("runs/p", "p", BY_RUNS),
    Column("runs/smallest", "smallest p", BY_RUNS),
    Column("runs/holm", "Holm", BY_RUNS),
    Column("runs/detectable", "detectable", BY_RUNS),
    Column("clips/difference", "difference", BY_CLIPS),
    Column("clips/groups", "groups", BY_CLIPS),
    Column("clips/holm", "Holm", BY_CLIPS),
    Column("clips/mcnemar", "McNemar", BY_CLIPS),
)


def index_comparisons(found: Sequence[Comparison]) -> ComparisonIndex:
    """Comparisons by what they compare."""
    return {(one.dataset, one.label, one.reference): one for one in found}


def find_label(run_table: RunTable, arm: str, kind: Tuning, full: str) -> str | None:
    """The line of an arm with values of a kind. The full method's own tuned values are those that others share; an arm
    that has nothing to search has its values beside any."""
    lines = dict.fromkeys((run.label, run.tuning, run.was_searched) for run in run_table.runs if run.arm == arm)
    wanted = "per-arm" if arm == full and kind == "shared" else kind
    fits = [label for label, values, _ in lines if values == wanted]
    fits += [label for label, values, searched in lines if values == "none" and not searched]
    return fits[0] if fits else None


def list_tunings(run_table: RunTable, full: str) -> tuple[Tuning, ...]:
    """The ways of tuning that arms other than the full method were run with, of those that have something to search."""
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
    """A line for each arm; for each way of tuning Acc E, and the difference to each reference, with n and p."""
    run_table = run_table.for_dataset(dataset)
    arms, called = tuple(dict.fromkeys(run.arm for run in run_table.runs)), run_table.dataset_titles[dataset]
    groups = dict(zip(run_table.labels, run_table.group_by_label(dataset), strict=True))
    columns, cells = [Column("method", "method", numeric=False)], []
    for kind in list_tunings(run_table, full):
        labels = {arm: find_label(run_table, arm, kind, full) for arm in arms}
        columns.append(Column(f"{kind}/acc_e", "Acc E", TUNING_TITLES[kind]))
        shown = [label for label in labels.values() if label is not None]
        accuracies = make_column([groups[label] for label in shown], partial(get_test_percent, "acc_e"))
        scored = dict(zip(shown, accuracies, strict=True))
        cells.append([scored[label] if (label := labels[arm]) else Cell(NO_VALUE) for arm in arms])
        for reference in (one for one in references if one in arms):
            found = [compared.get((dataset, labels[arm] or "", labels[reference] or "")) for arm in arms]
            columns += [
                Column(f"{kind}/{reference}/{what}", heading, TUNING_TITLES[kind])
                for what, heading in (("difference", f"to {reference}"), ("n", "n"), ("p", "p"))
            ]
            compared_cells = [_make_pairs_cells(one) if one else (Cell(NO_VALUE),) * 3 for one in found]
            means, *others = map(list, zip(*compared_cells, strict=True))
            means[arms.index(reference)] = Cell("reference")
            cells += [means, *others]
    lines = [Row(arm, (_make_arm_cell(run_table, arm), *of)) for arm, *of in zip(arms, *cells, strict=True)]
    notes: list[str] = []
    for reference in references:
        held = _find_labels(run_table, reference)
        against = [one for (place, _, _), one in compared.items() if place == dataset and one.reference in held]
        notes += describe_power(against, reference)
    return Table(
        name,
        f"{title}, {called}",
        f"Acc E on test and differences in points of it, with 95 % intervals of the mean over n pairs of runs of "
        f"equal fold and seed; below 0 is worse than the reference. {describe_averaging(run_table, dataset)} "
        f"{MARKS_NOTE} {P_VALUE_NOTE} {run_table.tuning_note}",
        tuple(columns),
        tuple(lines),
        notes=tuple(notes),
        warnings=run_table.warnings,
    )


def _make_arm_cell(run_table: RunTable, arm: str) -> Cell:
    notes = [note for label in _find_labels(run_table, arm) for note in make_method_cell(run_table, label).footnotes]
    return Cell(arm, footnotes=tuple(dict.fromkeys(notes)))


def _make_pairs_cells(one: Comparison) -> tuple[Cell, Cell, Cell]:
    """The mean of the pairs with its interval, their number, and their adjusted p with the stars that this allows."""
    pairs = one.paired_test
    return (
        _make_number_cell(pairs.mean, format_interval(pairs.mean, pairs.low, pairs.high, pairs.std), one),
        _make_number_cell(pairs.n_pairs, str(pairs.n_pairs), one),
        _make_starred_cell(one.adjusted_p, pairs.smallest_p, one),
    )


def _make_starred_cell(p: float | None, smallest: float, one: Comparison) -> Cell:
    return _make_number_cell(p, "" if p is None else f"{format_p(p)}{format_significance_stars(p, smallest)}", one)


def format_p(p: float) -> str:
    """A p-value with as many decimals as tell it from its neighbours."""
    if p < 0.0001:
        return "< 0.0001"
    text = f"{p:.4f}" if p < 0.1 else f"{p:.3f}"
    return text.rstrip("0").rstrip(".")


def format_detectable(pairs: PairedTest) -> str:
    """Print the true difference that pairs could find, with the decimals of their mean; empty where there is none."""
    found = pairs.detectable_difference
    return "" if found is None else f"{found:.{decimals_of_spreads([pairs.std])}f}"


def describe_power(found: Sequence[Comparison], reference: str) -> tuple[str, ...]:
    """What the number of pairs can show at all, in a sentence for each number."""
    groups: dict[tuple[int, int], list[Comparison]] = {}
    for one in found:
        groups.setdefault((one.paired_test.n_pairs, one.family_size), []).append(one)
    tests = {key: [one.paired_test for one in groups[key]] for key in sorted(groups)}
    return tuple(_describe_pairs_power(pairs, *key, reference) for key, pairs in tests.items())


def _describe_pairs_power(pairs: Sequence[PairedTest], n: int, family: int, reference: str) -> str:
    first, told = pairs[0], []
    if not first.is_corrected:
        least = min(1.0, first.smallest_p * family)
        adjusted = f", {format_p(least)} adjusted for {family} comparisons" if family > 1 else ""
        end = "" if least <= ALPHA else ", so no difference can be called significant"
        told.append(
            f"the smallest p that the signed-rank test can reach is {format_p(first.smallest_p)}{adjusted}{end}"
        )
    found = [text for one in pairs if (text := format_detectable(one))]
    if found:
        span = " to ".join(dict.fromkeys((min(found, key=float), max(found, key=float))))
        told.append(
            f"a true difference to {reference} has to be {span} points, as the pairs of an arm spread, for its 95 % "
            "interval to leave out 0 in 8 of 10 repetitions"
        )
    return f"With n = {n}: {'; '.join(told) or 'a single pair tells nothing of chance'}."


def _find_labels(run_table: RunTable, arm: str) -> list[str]:
    return list(dict.fromkeys(run.label for run in run_table.runs if run.arm == arm))


def make_significance_table(run_table: RunTable, found: Sequence[Comparison], reference: str, name: str) -> Table:
    """A line for each comparison, data set by data set."""
    lines, before = [], ""
    count = f"{len(found)} comparisons" if len(found) > 1 else "one comparison"
    for one in found:
        rule = bool(before) and one.dataset != before
        before = one.dataset
        cells = (Cell(one.dataset_title), *_run_cells(one), *_make_clip_cells(one))
        lines.append(Row(f"{one.dataset}/{one.label}", (Cell(one.label), *cells), rule))
    return Table(
        name,
        f"Tests against {reference}",
        f"{TESTS_CAPTION.format(reference=reference, count=count)} {run_table.tuning_note}",
        (Column("method", "method", numeric=False), *TESTS_COLUMNS),
        tuple(lines),
        notes=describe_power(found, reference),
        warnings=run_table.warnings,
    )


def _run_cells(one: Comparison) -> tuple[Cell, ...]:
    pairs = one.paired_test
    footnotes = ("corrected for folds that share clips",) if pairs.is_corrected else ()
    mean, count, adjusted = _make_pairs_cells(one)
    return (
        count,
        replace(mean, footnotes=footnotes),
        _make_number_cell(pairs.p, NO_VALUE if pairs.p is None else format_p(pairs.p), one),
        _make_number_cell(None if pairs.is_corrected else pairs.smallest_p, format_p(pairs.smallest_p), one),
        adjusted,
        _make_number_cell(pairs.detectable_difference, format_detectable(pairs), one),
    )


def _make_clip_cells(one: Comparison) -> tuple[Cell, ...]:
    clips = one.clip_interval
    if clips is None:
        why = "no test by clips: predictions are not here, or seeds were not tested on the same clips"
        return (Cell(NO_VALUE, footnotes=(why,)), *(Cell(NO_VALUE) for _ in range(3)))
    width = (clips.high - clips.low) / 4 if clips.high is not None and clips.low is not None else None
    mean = _make_number_cell(clips.mean, format_interval(clips.mean, clips.low, clips.high, width), one)
    mcnemar = Cell(NO_VALUE, footnotes=(REPEATED_CLIPS_NOTE,))
    if one.mcnemar_p is not None:
        mcnemar = _make_number_cell(one.mcnemar_p, format_p(one.mcnemar_p), one)
    return (
        replace(mean, footnotes=(clips.reason,) if clips.reason else ()),
        _make_number_cell(clips.groups, str(clips.groups), one),
        _make_starred_cell(one.adjusted_clip_p, SMALLEST_BOOTSTRAP_P, one),
        mcnemar,
    )


def _make_number_cell(value: float | None, text: str, one: Comparison) -> Cell:
    return Cell(NO_VALUE) if value is None else Cell(text, value=value, run_keys=one.run_keys)
