"""A report is composed: for each study its tables and figures, then what all of them share."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

from reports.gather.pictures import pictures_of, ranks_of
from reports.gather.trained import searching_of
from reports.plots import searching
from reports.published.facts import published
from reports.report import Picture, Section
from reports.results.comparisons import Comparison, compare_family, compare_with
from reports.results.frame import Frame
from reports.results.part import Part, slug
from reports.results.predicted import Shelf
from reports.results.searched import Summary
from reports.tables import beside, components, costs, overall, scores, spaces, tests
from reports.tables import differences as worth
from reports.tables.grid import Grid

ABREAST = 3  # data sets in a table of scores
WITHOUT_PARTS = ("scores", "optimism")  # kinds of a study whose lines are whole methods
TWINS = "the clean runs of the same arm"


def compose(part: Part, shelf: Shelf) -> Section:
    """The tables and figures of a study."""
    frame = part.frame
    lines = [label for label in frame.labels if any(not run.failed for run in frame.of(label))]
    found = _compared(part, shelf)
    grids = [*_scored(part), *_worth(part, found), *_tested(part, found)]
    grids += [costs.costs(frame, shelf, dataset, f"{part.name}_cost_{slug(dataset)}") for dataset in frame.datasets]
    text = [part.question, _counted(frame)]
    ranks, told = ranks_of(part)
    text += [told] if told else []
    pictures = [*pictures_of(part, found, shelf), *ranks] if lines else []
    return Section(part.name, part.name.capitalize(), tuple(text), tuple(grids), tuple(pictures))


def searched(searches: Sequence[Summary], titles: dict[str, str]) -> Section | None:
    """The appendix on searches; None where none was made."""
    if not searches:
        return None
    grids = (spaces.spaces(searches, titles, "search_spaces"),)
    data = searching_of(searches, titles)
    caption = (
        "Best val Acc E so far of each search, against configurations tried and hours of all trials together; dots are "
        "trials, crosses those without a score."
    )
    shown = (Picture("searches", "Searches", caption, partial(searching.draw, data), searching.rows(data)),)
    text = ("A search sees val alone; its winner is run anew, and each of those runs scores test once.",)
    return Section("searches", "Searches", text, grids, shown if data.searches else ())


def _scored(part: Part) -> list[Grid]:
    """The tables of scores, each with published numbers beside it."""
    frame, found = part.frame, list[Grid]()
    if part.kind not in WITHOUT_PARTS:
        for dataset in frame.datasets:
            name = f"{part.name}_{part.kind}_{slug(dataset)}"
            grid = components.components(frame, part.kind, name, part.name.capitalize(), dataset)
            found += [grid, *_print_papers(part, frame.on(dataset), grid)]
    names = list(frame.datasets)
    for place in range(0, len(names), ABREAST):  # as the paper has Tables 1 and 2
        few = frame.among(names[place : place + ABREAST])
        name = f"{part.name}_scores{f'_{place // ABREAST + 1}' if place else ''}"
        grid = scores.scores(few, name, f"{part.name.capitalize()}: all scores")
        found += [grid, *(_print_papers(part, few, grid) if part.kind == "scores" else [])]
    whole = overall.overall(frame, f"{part.name}_overall", f"{part.name.capitalize()}: over all data sets")
    return [*found, *([whole] if whole is not None else [])]


def _print_papers(part: Part, frame: Frame, ours: Grid) -> list[Grid]:
    """For each paper that prints such a table its numbers beside ours."""
    found: list[Grid] = []
    for paper in map(published, part.papers):
        name = f"{ours.name}_published{f'_{len(found) + 1}' if found else ''}"
        grid = beside.beside(frame, ours, part.kind, name, paper)
        found += [grid] if grid is not None else []
    return found


def _compared(part: Part, shelf: Shelf) -> dict[str, list[Comparison]]:
    """Reference -> the comparisons with it; of `optimism` all under one name, each line with its clean twin."""
    frame = part.frame
    if part.kind == "optimism":
        flagged = [
            label for label in frame.labels if any(run.record.spec.protocol != "clean" for run in frame.of(label))
        ]
        twins = [(label, clean) for label in flagged if (clean := _clean(frame, label)) is not None]
        return {"clean": compare_family(frame, twins, shelf)}
    controls = [label for arm in part.controls for label in part.labels(arm)]
    by_runs = {label: compare_with(frame, label, None) for label in controls}
    return by_runs | {label: compare_with(frame, label, shelf) for label in part.labels(part.full)}


def _clean(frame: Frame, label: str) -> str | None:
    """The line that differs from a flagged one by the protocol alone."""
    own = next(run for run in frame.runs if run.label == label)
    alike = [
        run.label
        for run in frame.runs
        if run.record.spec.protocol == "clean"
        and (run.arm, run.values, run.settings) == (own.arm, own.values, own.settings)
        and run.record.preset == own.record.preset
    ]
    return alike[0] if alike else None


def _counted(frame: Frame) -> str:
    methods = f"{len(frame.labels)} {'methods' if len(frame.labels) > 1 else 'method'}"
    count = len({run.record.key for run in frame.runs})
    runs = f"{count} {'runs' if count > 1 else 'run'}"
    return f"{methods}, {runs}: {', '.join(frame.datasets.values())}."


def _worth(part: Part, found: dict[str, list[Comparison]]) -> list[Grid]:
    """The ablation tables: where there is a full method, and something to hold against it."""
    places = {(run.arm, run.values): run.label for run in part.frame.runs}
    if part.kind == "optimism" or not part.labels(part.full) or len(part.frame.labels) < 2:
        return []
    if len(places) < len(part.frame.labels):  # an arm with several lines of one kind: only the tests can name them
        return []
    compared = worth.by_place([one for of in found.values() for one in of])
    arms = {run.arm for run in part.frame.runs}
    controls = [arm for arm in part.controls if arm in arms and arm != part.full]
    grids = []
    for dataset in part.frame.datasets:
        here = {run.arm for run in part.frame.on(dataset).runs}
        for references, name, title in (
            ([part.full], "worth", "What each part is worth"),
            (controls, "controls", "What is gained over the controls"),
        ):
            if len(here) > 1 and here & set(references):
                called = f"{part.name}_{name}_{slug(dataset)}"
                grids.append(worth.differences(part.frame, compared, part.full, references, dataset, called, title))
    return grids


def _tested(part: Part, found: dict[str, list[Comparison]]) -> list[Grid]:
    """The tests against the full method; of `optimism` those against the clean twins."""
    wanted = ["clean"] if part.kind == "optimism" else part.labels(part.full)
    called = {"clean": TWINS} if part.kind == "optimism" else {}
    return [
        tests.tests(
            part.frame,
            found[name],
            called.get(name, name),
            f"{part.name}_tests" + ("" if place == 0 else f"_{place + 1}"),
        )
        for place, name in enumerate(wanted)
        if found.get(name)
    ]
