"""Differences to the full method, as a figure shows them."""

from __future__ import annotations

from collections.abc import Sequence

from reports.plots.differences import Difference, Differences
from reports.results.comparisons import Comparison
from reports.results.frame import Frame


def differences_of(frame: Frame, found: Sequence[Comparison], reference: str) -> Differences:
    """Every comparison with one reference; an arm's ways of tuning stand on one line."""
    arms = {run.label: run.arm for run in frame.runs}
    places = {(arms[one.label], one.dataset, one.values) for one in found}
    several = len({one.values for one in found}) > 1 and len(places) == len(found)
    drawn = tuple(
        Difference(
            label=arms[one.label] if several else one.label,
            group=one.title,
            mean=one.pairs.mean,
            low=one.pairs.low,
            high=one.pairs.high,
            pairs=one.differences,
            kind=one.values,
        )
        for one in found
    )
    return Differences(reference, "Acc E on test, points", drawn, sample=frame.is_sample)
