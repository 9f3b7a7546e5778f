"""Composition of a report: the tables and figures of each study, the appendix on searches, and figures of clips."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

from matplotlib.figure import Figure

from bench.errors import StoreError
from bench.explanations import ClipFigure, read_explanations
from reports.comparisons import Comparison, compare_family, compare_with_reference
from reports.figures.clips import all_pictures
from reports.figures.study import collect_search_curves, make_figures, make_plot, make_rank_figure
from reports.runs import PredictionCache, Run, RunTable, SearchSummary, StudyResults, slugify
from reports.tables import costs, differences, published, scores
from reports.tables.published import load_published_paper
from reports.types import ReportFigure, Section, Table

DATASETS_PER_TABLE = 3  # data sets in a table of scores
WITHOUT_PARTS = ("scores", "optimism")  # kinds of a study whose lines are whole methods
CLEAN_RUNS_TITLE = "the clean runs of the same arm"


def compose_study(study: StudyResults, predictions: PredictionCache) -> Section:
    """The tables and figures of a study."""
    run_table = study.run_table
    lines = [label for label in run_table.labels if any(not run.failed for run in run_table.runs_of(label))]
    found = _compare_lines(study, predictions)
    tables = [
        *_make_score_tables(study),
        *_make_ablation_tables(study, found),
        *_make_significance_tables(study, found),
    ]
    for dataset in run_table.dataset_titles:
        name = f"{study.name}_cost_{slugify(dataset)}"
        tables.append(costs.make_costs_table(run_table, predictions, dataset, name))
    ranks, told = make_rank_figure(study)
    text = [study.question, _describe_counts(run_table), *([told] if told else [])]
    pictures = [*make_figures(study, found, predictions), *ranks] if lines else []
    return Section(study.name, study.name.capitalize(), tuple(text), tuple(tables), tuple(pictures))


def compose_searches(searches: Sequence[SearchSummary], titles: dict[str, str]) -> Section | None:
    """The appendix on searches; None where none was made."""
    if not searches:
        return None
    tables = (costs.make_search_spaces_table(searches, titles, "search_spaces"),)
    data = collect_search_curves(searches, titles)
    caption = (
        "Best val Acc E so far of each search, against configurations tried and hours of all trials together; dots are "
        "trials, crosses those without a score."
    )
    shown = (make_plot("searches", "Searches", caption, data),)
    text = ("A search sees val alone; its winner is run anew, and each of those runs scores test once.",)
    return Section("searches", "Searches", text, tables, shown if data.searches else ())


def _make_score_tables(study: StudyResults) -> list[Table]:
    """The tables of scores, each with published numbers beside it."""
    run_table, found = study.run_table, list[Table]()
    if study.table_kind not in WITHOUT_PARTS:
        for dataset in run_table.dataset_titles:
            name = f"{study.name}_{study.table_kind}_{slugify(dataset)}"
            table = scores.make_components_table(run_table, study.table_kind, name, study.name.capitalize(), dataset)
            found += [table, *_print_papers(study, run_table.for_dataset(dataset), table)]
    names = list(run_table.dataset_titles)
    for place in range(0, len(names), DATASETS_PER_TABLE):  # as the paper has Tables 1 and 2
        few = run_table.with_datasets(names[place : place + DATASETS_PER_TABLE])
        name = f"{study.name}_scores{f'_{place // DATASETS_PER_TABLE + 1}' if place else ''}"
        table = scores.make_scores_table(few, name, f"{study.name.capitalize()}: all scores")
        found += [table, *(_print_papers(study, few, table) if study.table_kind == "scores" else [])]
    title = f"{study.name.capitalize()}: over all data sets"
    whole = scores.make_overall_table(run_table, f"{study.name}_overall", title)
    return [*found, *([whole] if whole is not None else [])]


def _print_papers(study: StudyResults, run_table: RunTable, ours: Table) -> list[Table]:
    """For each paper that prints such a table its numbers beside ours."""
    found: list[Table] = []
    for paper in map(load_published_paper, study.papers):
        name = f"{ours.name}_published{f'_{len(found) + 1}' if found else ''}"
        table = published.make_published_comparison(run_table, ours, study.table_kind, name, paper)
        found += [table] if table is not None else []
    return found


def _compare_lines(study: StudyResults, predictions: PredictionCache) -> dict[str, list[Comparison]]:
    """Reference -> the comparisons with it; of `optimism` all under one name, each line with its clean twin."""
    run_table = study.run_table
    if study.table_kind == "optimism":
        flagged = dict.fromkeys(run.label for run in run_table.runs if run.record.spec.protocol != "clean")
        twins = [(label, clean) for label in flagged if (clean := _find_clean_label(run_table, label)) is not None]
        return {"clean": compare_family(run_table, twins, predictions)}
    controls = [label for arm in study.control_arms for label in study.get_labels(arm)]
    cached = dict.fromkeys(controls) | dict.fromkeys(study.get_labels(study.reference_method), predictions)
    return {label: compare_with_reference(run_table, label, cache) for label, cache in cached.items()}


def _find_clean_label(run_table: RunTable, label: str) -> str | None:
    """The line that differs from a flagged one by the protocol alone."""
    own = next(run for run in run_table.runs if run.label == label)
    wanted = (own.arm, own.tuning, own.hand_set, own.record.preset)
    clean = (run for run in run_table.runs if run.record.spec.protocol == "clean")
    alike = (run.label for run in clean if (run.arm, run.tuning, run.hand_set, run.record.preset) == wanted)
    return next(alike, None)


def _describe_counts(run_table: RunTable) -> str:
    methods = f"{len(run_table.labels)} {'methods' if len(run_table.labels) > 1 else 'method'}"
    count = len({run.record.key for run in run_table.runs})
    runs = f"{count} {'runs' if count > 1 else 'run'}"
    return f"{methods}, {runs}: {', '.join(run_table.dataset_titles.values())}."


def _make_ablation_tables(study: StudyResults, found: dict[str, list[Comparison]]) -> list[Table]:
    """The ablation tables: where there is a full method, and something to hold against it."""
    run_table, full = study.run_table, study.reference_method
    places, labels = {(run.arm, run.tuning) for run in run_table.runs}, run_table.labels
    if study.table_kind == "optimism" or not study.get_labels(full) or len(labels) < 2:
        return []
    if len(places) < len(labels):  # an arm with several lines of one kind: only the tests can name them
        return []
    compared = differences.index_comparisons([one for of in found.values() for one in of])
    arms = {run.arm for run in run_table.runs}
    kinds = {
        ("worth", "What each part is worth"): [full],
        ("controls", "What is gained over the controls"): [arm for arm in study.control_arms if arm in arms - {full}],
    }
    tables = []
    for dataset in run_table.dataset_titles:
        here = {run.arm for run in run_table.for_dataset(dataset).runs}
        for (kind, title), references in kinds.items():
            if len(here) > 1 and here & set(references):
                name, make = f"{study.name}_{kind}_{slugify(dataset)}", differences.make_ablation_table
                tables.append(make(run_table, compared, full, references, dataset, name, title))
    return tables


def _make_significance_tables(study: StudyResults, found: dict[str, list[Comparison]]) -> list[Table]:
    """The tests against the full method; of `optimism` those against the clean twins."""
    labels = study.get_labels(study.reference_method)
    wanted = {"clean": CLEAN_RUNS_TITLE} if study.table_kind == "optimism" else {label: label for label in labels}
    tables = []
    for place, (reference, title) in enumerate(wanted.items()):
        if found.get(reference):
            name = f"{study.name}_tests{f'_{place + 1}' if place else ''}"
            tables.append(differences.make_significance_table(study.run_table, found[reference], title, name))
    return tables


def compose_clips(studies: Sequence[StudyResults]) -> Section | None:
    """The pictures of one run: the first finished one of a full method that drew some; None without any."""
    full = (
        (run, study.figures)
        for study in studies
        for run in study.run_table.runs
        if run.arm == study.reference_method and not run.failed
    )
    for run, own in full:
        drawn = {name: figure for name, figure in all_pictures(own).items() if name in run.record.files}
        if drawn and _has_readable_explanations(run):
            of = f"{run.label} on {run.info.title}, seed {run.record.spec.seed} (run {run.record.key})"
            made = tuple(_make_clip_figure(name, figure, run) for name, figure in drawn.items())
            return Section("clips", "What it does with clips", (f"{of}; validation clips.",), (), made)
    return None


def _has_readable_explanations(run: Run) -> bool:
    try:
        return read_explanations(run.folder) is not None
    except StoreError:
        return False


def _make_clip_figure(name: str, figure: ClipFigure, run: Run) -> ReportFigure:
    caption, draw = f"{figure.caption} Run {run.record.key}.", partial(_draw_clip_figure, name, figure, run)
    return ReportFigure(f"clips_{name.removesuffix('.png')}", figure.title, caption, draw, ())


def _draw_clip_figure(name: str, wanted: ClipFigure, run: Run) -> Figure:
    """Draw a picture of the run again from its stored explanations. Raises StoreError where they do not allow it."""
    told = read_explanations(run.folder)
    try:
        figure = wanted.draw(told) if told is not None else None
    except (IndexError, KeyError, TypeError, ValueError) as error:  # arrays that do not belong together
        raise StoreError(f"{name} of run {run.record.key} cannot be drawn ({type(error).__name__}: {error})") from None
    if figure is None:
        why = f"run {run.record.key} has nothing to draw {name} of any more"
        raise StoreError(f"{why}; `python bench.py sync` brings it")
    return figure
