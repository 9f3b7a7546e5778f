"""Every comparison with the full method in full: by runs, by clips, adjusted, and what its numbers could show."""

from __future__ import annotations

from collections.abc import Sequence

from reports.results.comparisons import Comparison
from reports.results.frame import Frame
from reports.statistics.families import stars
from reports.tables.columns import ABSENT
from reports.tables.differences import adjusted_cell, detectable_text, p_text, reach
from reports.tables.grid import Cell, Column, Grid, Line
from reports.tables.rounding import interval_text

RUNS, CLIPS = "by runs", "by clips"
TWICE = "folds test some clips more than once, which McNemar's test does not allow"
SMALLEST = 2 / 2001  # p of a bootstrap of 2000 draws
CAPTION = (
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
COLUMNS = (
    Column("dataset", "data set", numeric=False),
    Column("runs/n", "n", RUNS),
    Column("runs/difference", "difference", RUNS),
    Column("runs/p", "p", RUNS),
    Column("runs/smallest", "smallest p", RUNS),
    Column("runs/holm", "Holm", RUNS),
    Column("runs/detectable", "detectable", RUNS),
    Column("clips/difference", "difference", CLIPS),
    Column("clips/groups", "groups", CLIPS),
    Column("clips/holm", "Holm", CLIPS),
    Column("clips/mcnemar", "McNemar", CLIPS),
)


def tests(frame: Frame, found: Sequence[Comparison], reference: str, name: str) -> Grid:
    """A line for each comparison, data set by data set."""
    lines, before = [], ""
    count = f"{len(found)} comparisons" if len(found) > 1 else "one comparison"
    for one in found:
        rule = bool(before) and one.dataset != before
        before = one.dataset
        cells = (Cell(one.title), *_by_runs(one), *_by_clips(one))
        lines.append(Line(f"{one.dataset}/{one.label}", (Cell(one.label), *cells), rule))
    return Grid(
        name,
        f"Tests against {reference}",
        f"{CAPTION.format(reference=reference, count=count)} {frame.values}",
        (Column("method", "method", numeric=False), *COLUMNS),
        tuple(lines),
        notes=reach(found, reference),
        warnings=frame.warnings,
    )


def _by_runs(one: Comparison) -> tuple[Cell, ...]:
    pairs = one.pairs
    return (
        Cell(str(pairs.n), value=pairs.n, keys=one.keys),
        Cell(
            interval_text(pairs.mean, pairs.low, pairs.high, pairs.spread),
            value=pairs.mean,
            keys=one.keys,
            notes=("corrected for folds that share clips",) if pairs.corrected else (),
        ),
        _number(pairs.p, ABSENT if pairs.p is None else p_text(pairs.p), one),
        _number(None if pairs.corrected else pairs.smallest, p_text(pairs.smallest), one),
        adjusted_cell(one),
        _number(pairs.detectable, detectable_text(pairs), one),
    )


def _by_clips(one: Comparison) -> tuple[Cell, ...]:
    if one.clips is None:
        why = "no test by clips: predictions are not here, or seeds were not tested on the same clips"
        return (Cell(ABSENT, notes=(why,)), *(Cell(ABSENT) for _ in range(3)))
    clips, adjusted = one.clips, one.adjusted_clips
    width = (clips.high - clips.low) / 4 if clips.high is not None and clips.low is not None else None
    told = ABSENT if adjusted is None else f"{p_text(adjusted)}{stars(adjusted, SMALLEST)}"
    return (
        Cell(
            interval_text(clips.mean, clips.low, clips.high, width),
            value=clips.mean,
            keys=one.keys,
            notes=(clips.why,) if clips.why else (),
        ),
        Cell(str(clips.groups), value=clips.groups, keys=one.keys),
        _number(adjusted, told, one),
        _number(one.mcnemar.p, p_text(one.mcnemar.p), one) if one.mcnemar is not None else Cell(ABSENT, notes=(TWICE,)),
    )


def _number(value: float | None, text: str, one: Comparison) -> Cell:
    return Cell(ABSENT) if value is None else Cell(text, value=value, keys=one.keys)
