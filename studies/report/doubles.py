"""One run for each place of a table, where a data set was prepared again and there are several."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from bench.record import Record
from reports.results.run import Run, opened
from studies.report.naming import Name
from studies.report.records import Found

Named = tuple[Found, Name]
LeftOut = list[tuple[str, str]]
"""Key of a run, and why it is left out."""


def once(named: Sequence[Named]) -> tuple[list[Named], LeftOut]:
    """One run for each arm, way of tuning, data set, fold, seed and protocol. Of several the whole report takes those
    of one content of the data set, that of most runs, so that arms stay paired."""
    contents = Counter(_content(one.record) for one, _ in named)
    splits = Counter(_split(one.record) for one, _ in named)

    def rank(pair: Named) -> tuple[object, ...]:
        record = pair[0].record
        content, split = _content(record), _split(record)
        return record.error is not None, -contents[content], content, -splits[split], split, record.key

    kept: dict[tuple[object, ...], Named] = {}
    doubles = []
    for one, name in sorted(named, key=rank):
        spec = one.record.spec
        place = (name.arm, name.values, name.settings, spec.dataset, spec.fold, spec.seed, spec.protocol)
        if (*place, one.record.preset) in kept:
            doubles.append((one.record.key, "in whose place stands another, of other content or other files,"))
        else:
            kept[*place, one.record.preset] = (one, name)
    return list(kept.values()), doubles


def of_one_kind(named: list[Named]) -> tuple[list[Named], LeftOut]:
    """Real data alone, where there are any: sample and real never stand in one table."""
    real = [pair for pair in named if pair[0].record.spec.data == "real"]
    if not real or len(real) == len(named):
        return named, []
    sample = [one.record.key for one, _ in named if one.record.spec.data == "sample"]
    return real, [(key, "on the built-in sample") for key in sample]


def of_one_card(runs: Sequence[Run]) -> tuple[list[Run], LeftOut]:
    """Of a data set whose classes were changed the runs with those that most have: others have other columns."""
    classes = Counter((run.record.spec.dataset, run.card.classes) for run in runs)
    most = {dataset: found for (dataset, found), _ in reversed(classes.most_common())}
    kept = [run for run in runs if run.card.classes == most[run.record.spec.dataset]]
    rest = [run.record.key for run in runs if run.card.classes != most[run.record.spec.dataset]]
    return kept, [(key, "of other classes") for key in rest]


def _content(record: Record) -> tuple[str, ...]:
    weights = (f"{name}={sha}" for name, sha in sorted(record.spec.weights.items()))
    spec = record.spec  # the lists of two folds need not hold the same clips
    return spec.dataset, str(spec.fold), *map(str, opened(spec)), spec.content, *weights


def _split(record: Record) -> tuple[str, str]:
    return record.spec.dataset, record.spec.split
