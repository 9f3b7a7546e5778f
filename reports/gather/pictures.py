"""The figures of a study: scores, differences, learning, classes, confidence, ranks."""

from __future__ import annotations

from functools import partial

from reports.gather.compared import differences_of
from reports.gather.scored import confusions_of, costs_of, radars_of, reliabilities_of, results_of
from reports.gather.trained import learning_of
from reports.plots import confusion, differences, learning, radar, reliability, results
from reports.report import Picture, Value
from reports.results.comparisons import Comparison
from reports.results.part import Part, slug
from reports.results.predicted import Shelf
from reports.statistics.calibration import BINS
from reports.statistics.ranks import draw_ranks
from reports.tables.overall import complete, ranked

FEW = 6  # lines in a figure of curves or matrices


def pictures_of(part: Part, found: dict[str, list[Comparison]], shelf: Shelf) -> list[Picture]:
    """All figures of a study that its runs can fill."""
    frame = part.frame
    lines = _few(part)
    made = []
    scored = results_of(frame, shelf)
    made.append(
        Picture(
            f"{part.name}_results",
            "Scores with intervals",
            "Acc E on test: the mean over runs, each run as a dot, and a 95 % bootstrap interval over test clips, "
            "stratified by class, for these very runs (none over folds of unequal size). Hollow: a line that takes no "
            "part in marks.",
            partial(results.draw, scored),
            results.rows(scored),
        )
    )
    references = ["clean"] if part.kind == "optimism" else part.labels(part.full)
    for place, reference in enumerate(references):
        if found.get(reference):
            gains = differences_of(frame, found[reference], reference)
            made.append(
                Picture(
                    f"{part.name}_differences" + ("" if place == 0 else f"_{place + 1}"),
                    f"Differences to {reference}",
                    f"Acc E minus that of {reference}, pair by pair (dots), the mean with its 95 % t-interval; below 0 "
                    "is worse.",
                    partial(differences.draw, gains),
                    differences.rows(gains),
                )
            )
    learnt = learning_of(frame.only(lines))
    if learnt.panels:
        caption = (
            "Val Acc E after each epoch of the last stage: the mean over runs, and from the least to the most of them."
        )
        made.append(
            Picture(
                f"{part.name}_learning",
                "Learning curves",
                caption,
                partial(learning.draw, learnt),
                learning.rows(learnt),
            )
        )
    return [*made, *_costs(part, shelf), *_by_class(part, lines, shelf)]


def _costs(part: Part, shelf: Shelf) -> list[Picture]:
    """What the lines of a data set cost beside what they are worth; of several data sets the tables tell it."""
    if len(part.frame.datasets) > 1:
        return []
    ((dataset, title),) = part.frame.datasets.items()
    spent = costs_of(part.frame, shelf)
    if not spent.points:
        return []
    caption = f"{title}: what each line cost, each quantity on its own axis; the mean over runs, each run as a dot."
    name = f"{part.name}_cost_{slug(dataset)}"
    return [Picture(name, f"Cost, {title}", caption, partial(results.draw, spent), results.rows(spent))]


def _by_class(part: Part, lines: list[str], shelf: Shelf) -> list[Picture]:
    """What becomes of each class: confusion, and the radar of the paper's Fig. 5; and how sure the lines are."""
    frame, made = part.frame, []
    for dataset, title in frame.datasets.items():
        mixed = confusions_of(frame, lines, dataset, shelf)
        if mixed is not None:
            caption = f"{title}, test: percent of each true class (rows) that is called what (columns), over all runs."
            caption += _which(part, lines)
            name = f"{part.name}_confusion_{slug(dataset)}"
            made.append(
                Picture(name, f"Confusion, {title}", caption, partial(confusion.draw, mixed), confusion.rows(mixed))
            )
    rings = radars_of(frame, lines)
    if rings.panels:
        caption = "Recall of each class on test, percent, the mean over runs (Fig. 5 of the paper)." + _which(
            part, lines
        )
        made.append(Picture(f"{part.name}_radar", "Classes", caption, partial(radar.draw, rings), radar.rows(rings)))
    sure = reliabilities_of(frame, lines, shelf)
    if sure.panels:
        caption = (
            f"How often the lines are right where they are how sure: clips of all runs together, in the {BINS} bins of "
            "equal size that the calibration error (ECE) is of; an ECE printed here is the mean over runs."
        )
        caption += _which(part, lines)
        made.append(
            Picture(
                f"{part.name}_reliability",
                "Calibration",
                caption,
                partial(reliability.draw, sure),
                reliability.rows(sure),
            )
        )
    return made


def _few(part: Part) -> list[str]:
    """The lines that figures of curves and matrices show: the full method and the controls first, then the others."""
    frame = part.frame
    first = [label for arm in (part.full, *part.controls) for label in part.labels(arm)]
    chosen = list(dict.fromkeys([*first, *frame.labels]))[:FEW]
    return [label for label in frame.labels if label in chosen]


def _which(part: Part, lines: list[str]) -> str:
    """What a caption says where a figure shows some lines alone."""
    count = len(part.frame.labels)
    return (
        f" {len(lines)} of {count} lines: the full method, the controls and the first others."
        if len(lines) < count
        else ""
    )


def ranks_of(part: Part) -> tuple[list[Picture], str]:
    """Methods ranked over data sets, where these can carry it; and in words why not."""
    frame = part.frame
    if part.kind != "scores" or len(frame.datasets) < 2:
        return [], ""
    ranks = ranked(complete(frame))
    if not ranks.carried:
        return [], f"No critical-difference diagram: {ranks.why}"
    caption = (
        f"Mean ranks of Acc E over {ranks.datasets} data sets (1 is best); bars join methods that Nemenyi's test does "
        f"not tell apart at 0.05, critical difference {ranks.critical:.2f} (Demsar 2006)."
    )
    rows: list[dict[str, Value]] = []
    for one, place, of in zip(ranks.methods, ranks.ranks, ranks.nemenyi, strict=True):
        tested = {f"p to {other}": p for other, p in zip(ranks.methods, of, strict=True)}
        rows.append({"method": one, "rank": place, "critical difference": ranks.critical, **tested})
    return [Picture(f"{part.name}_ranks", "Ranks over data sets", caption, partial(draw_ranks, ranks), tuple(rows))], ""
