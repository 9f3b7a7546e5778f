"""How runs learnt and how searches went, as figures show them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import accumulate
from statistics import fmean

from bench.files import parse_json
from bench.outputs import CURVES
from reports.plots.learning import Learning, Line, Panel
from reports.plots.searching import Search, Searches
from reports.results.frame import Frame
from reports.results.run import Run
from reports.results.searched import Summary

HOUR = 3600.0
NONE = float("nan")


def learning_of(frame: Frame) -> Learning:
    """Val Acc E after each epoch of the stage that val judges, over the runs of each line, as far as all went."""
    panels = []
    for dataset, title in frame.datasets.items():
        here, lines = frame.on(dataset), []
        for label in frame.labels:
            curves = [curve for run in here.of(label) if not run.failed and (curve := judged(run))]
            epochs = min((len(curve) for curve in curves), default=0)
            if epochs > 1:
                points = [[curve[epoch] for curve in curves] for epoch in range(epochs)]
                mean = tuple(fmean(values) for values in points)
                low, high = tuple(map(min, points)), tuple(map(max, points))
                lines.append(Line(label, tuple(range(1, epochs + 1)), mean, low, high, len(curves)))
        if lines:
            panels.append(Panel(title, tuple(lines)))
    return Learning("val Acc E, percent", tuple(panels), frame.is_sample)


def judged(run: Run) -> list[float]:
    """A run's val Acc E in percent, epoch by epoch; empty where its curves are not here or val did not judge."""
    path = run.folder / CURVES
    try:
        points = parse_json(path.read_text()) if path.exists() else []
        return [100 * point["values"]["val/acc_e"] for point in points if "val/acc_e" in point["values"]]
    except (OSError, ValueError, KeyError, TypeError):
        return []


def searching_of(searches: Sequence[Summary], titles: Mapping[str, str]) -> Searches:
    """The best val Acc E so far of each search that kept its trials, against their number and the hours they took."""
    drawn = []
    for search in searches:
        if not search.trials:
            continue
        values = [None if trial["value"] is None else 100 * trial["value"] for trial in search.trials]
        best = accumulate((NONE if value is None else value for value in values), _better)
        drawn.append(
            Search(
                label=search.called(titles.get(search.dataset, search.dataset)),
                trials=tuple(range(1, len(values) + 1)),
                hours=tuple(trial["spent"] / HOUR for trial in search.trials),
                best=tuple(best),
                values=tuple(values),
            )
        )
    return Searches("val Acc E, percent", tuple(drawn), any(search.data == "sample" for search in searches))


def _better(before: float, now: float) -> float:
    return before if now != now else now if before != before else max(before, now)
