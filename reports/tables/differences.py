"""What each part is worth: the paired difference of every arm to the full method and to the controls."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial

from bench.requests import Tuning
from reports.results.comparisons import Comparison
from reports.results.frame import Frame
from reports.statistics.families import stars
from reports.statistics.pairs import ALPHA, Paired
from reports.tables.columns import ABSENT, column, name_cell, over
from reports.tables.grid import Cell, Column, Grid, Line
from reports.tables.rounding import decimals_of_spreads, interval_text
from reports.tables.scores import MARKS, percent

KINDS: tuple[Tuning, ...] = ("none", "shared", "per-arm")
WHOSE = {
    "none": "values of the preset",
    "shared": "values tuned for the full method",
    "per-arm": "values tuned for each arm",
}
FAMILY = (
    "p is of the exact signed-rank test of the pairs (Wilcoxon 1945; with several folds, which share clips, of the "
    "corrected t-test of Nadeau and Bengio 2003), adjusted by Holm (1979) for all lines and data sets held against "
    "the same reference; * 0.05, ** 0.01, *** 0.001, and no star that so few pairs cannot reach."
)
Compared = Mapping[tuple[str, str, str], Comparison]
"""(data set, label, reference) -> comparison."""


def by_place(found: Sequence[Comparison]) -> Compared:
    """Comparisons by what they compare."""
    return {(one.dataset, one.label, one.reference): one for one in found}


def label_of(frame: Frame, arm: str, kind: Tuning, full: str) -> str | None:
    """The line of an arm with values of a kind. The full method's own tuned values are those that others share; an arm
    that has nothing to search has its values beside any."""
    lines = dict.fromkeys((run.label, run.values, run.searched) for run in frame.runs if run.arm == arm)
    wanted = "per-arm" if arm == full and kind == "shared" else kind
    fits = [label for label, values, _ in lines if values == wanted]
    fits += [label for label, values, searched in lines if values == "none" and not searched]
    return fits[0] if fits else None


def kinds_of(frame: Frame, full: str) -> tuple[Tuning, ...]:
    """The ways of tuning that arms other than the full method were run with, of those that have something to search."""
    others = [run for run in frame.runs if run.arm != full] or list(frame.runs)
    found = {run.values for run in others if run.searched or run.values != "none"} or {"none"}
    return tuple(kind for kind in KINDS if kind in found)


def differences(
    frame: Frame, compared: Compared, full: str, references: Sequence[str], dataset: str, name: str, title: str
) -> Grid:
    """A line for each arm; for each way of tuning Acc E, and the difference to each reference, with n and p."""
    frame = frame.on(dataset)
    arms, called = tuple(dict.fromkeys(run.arm for run in frame.runs)), frame.datasets[dataset]
    pools = dict(zip(frame.labels, frame.pools(dataset), strict=True))
    columns, cells = [Column("method", "method", numeric=False)], []
    for kind in kinds_of(frame, full):
        labels = {arm: label_of(frame, arm, kind, full) for arm in arms}
        columns.append(Column(f"{kind}/acc_e", "Acc E", WHOSE[kind]))
        shown = [label for label in labels.values() if label is not None]
        scored = dict(zip(shown, column([pools[label] for label in shown], partial(percent, "acc_e")), strict=True))
        cells.append([scored[label] if (label := labels[arm]) else Cell(ABSENT) for arm in arms])
        for reference in (one for one in references if one in arms):
            found = [_found(compared, dataset, labels[arm], labels.get(reference)) for arm in arms]
            columns += [
                Column(f"{kind}/{reference}/{what}", heading, WHOSE[kind])
                for what, heading in (("difference", f"to {reference}"), ("n", "n"), ("p", "p"))
            ]
            cells.append([_difference(one, arm == reference) for one, arm in zip(found, arms, strict=True)])
            cells += [[_count(one) for one in found], [adjusted_cell(one) for one in found]]
    lines = tuple(Line(arm, (_name(frame, arm), *(found[place] for found in cells))) for place, arm in enumerate(arms))
    return Grid(
        name,
        f"{title}, {called}",
        f"Acc E on test and differences in points of it, with 95 % intervals of the mean over n pairs of runs of "
        f"equal fold and seed; below 0 is worse than the reference. {over(frame, dataset)} {MARKS} {FAMILY} "
        f"{frame.values}",
        tuple(columns),
        lines,
        notes=tuple(note for reference in references for note in _reach(compared, dataset, reference, frame)),
        warnings=frame.warnings,
    )


def _name(frame: Frame, arm: str) -> Cell:
    labels = dict.fromkeys(run.label for run in frame.runs if run.arm == arm)
    return Cell(arm, notes=tuple(dict.fromkeys(note for label in labels for note in name_cell(frame, label).notes)))


def _found(compared: Compared, dataset: str, label: str | None, reference: str | None) -> Comparison | None:
    return compared.get((dataset, label, reference)) if label and reference else None


def _difference(one: Comparison | None, is_reference: bool) -> Cell:
    if is_reference:
        return Cell("reference")
    if one is None:
        return Cell(ABSENT)
    return Cell(
        interval_text(one.pairs.mean, one.pairs.low, one.pairs.high, one.pairs.spread),
        value=one.pairs.mean,
        keys=one.keys,
    )


def _count(one: Comparison | None) -> Cell:
    return Cell(ABSENT) if one is None else Cell(str(one.pairs.n), value=one.pairs.n, keys=one.keys)


def adjusted_cell(one: Comparison | None) -> Cell:
    """The adjusted p of the pairs, with the stars that their number allows."""
    if one is None or one.adjusted is None:
        return Cell(ABSENT)
    return Cell(f"{p_text(one.adjusted)}{stars(one.adjusted, one.pairs.smallest)}", value=one.adjusted, keys=one.keys)


def p_text(p: float) -> str:
    """A p-value with as many decimals as tell it from its neighbours."""
    if p < 0.0001:
        return "< 0.0001"
    text = f"{p:.4f}" if p < 0.1 else f"{p:.3f}"
    return text.rstrip("0").rstrip(".")


def detectable_text(pairs: Paired) -> str:
    """Print the true difference that pairs could find, with the decimals of their mean; empty where there is none."""
    return "" if pairs.detectable is None else f"{pairs.detectable:.{decimals_of_spreads([pairs.spread])}f}"


def _reach(compared: Compared, dataset: str, reference: str, frame: Frame) -> tuple[str, ...]:
    held = _labels(frame, reference)
    return reach(
        [one for (place, _, _), one in compared.items() if place == dataset and one.reference in held], reference
    )


def reach(found: Sequence[Comparison], reference: str) -> tuple[str, ...]:
    """What the number of pairs can show at all, in a sentence for each number."""
    groups: dict[tuple[int, int], list[Comparison]] = {}
    for one in found:
        groups.setdefault((one.pairs.n, one.family), []).append(one)
    return tuple(_can_show([one.pairs for one in groups[key]], *key, reference) for key in sorted(groups))


def _can_show(pairs: Sequence[Paired], n: int, family: int, reference: str) -> str:
    first, told = pairs[0], []
    if not first.corrected:
        least = min(1.0, first.smallest * family)
        adjusted = f", {p_text(least)} adjusted for {family} comparisons" if family > 1 else ""
        end = "" if least <= ALPHA else ", so no difference can be called significant"
        told.append(f"the smallest p that the signed-rank test can reach is {p_text(first.smallest)}{adjusted}{end}")
    found = [text for one in pairs if (text := detectable_text(one))]
    if found:
        span = " to ".join(dict.fromkeys((min(found, key=float), max(found, key=float))))
        told.append(
            f"a true difference to {reference} has to be {span} points, as the pairs of an arm spread, for its 95 % "
            "interval to leave out 0 in 8 of 10 repetitions"
        )
    return f"With n = {n}: {'; '.join(told) or 'a single pair tells nothing of chance'}."


def _labels(frame: Frame, arm: str) -> set[str]:
    return {run.label for run in frame.runs if run.arm == arm}
