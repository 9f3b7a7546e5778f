"""Composition of a report: tables and figures of each study, the appendix on searches, figures of clips, the legend."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from functools import partial

import matplotlib
from matplotlib.figure import Figure

from bench.errors import StoreError
from bench.explanations import ClipFigure, read_explanations
from reports.comparisons import Comparison, compare_family, compare_with_reference
from reports.figures.clips import PLAIN_TEXT, all_pictures
from reports.figures.study import collect_search_curves, make_figures, make_plot, make_rank_figure
from reports.runs import PredictionCache, Run, RunTable, SearchSummary, StudyResults, slugify
from reports.tables import costs, differences, published, scores
from reports.tables.published import load_published_paper
from reports.types import LegendEntry, ReportFigure, Section, Table

DATASETS_PER_TABLE, SCORES_PER_TABLE = 2, 10  # in a table of scores: more are too wide for a page
WITHOUT_PARTS = ("scores", "optimism")  # kinds of a study whose rows are whole methods
CLEAN_RUNS_TITLE = "the clean runs of the same arm"


def compose_study(study: StudyResults, predictions: PredictionCache) -> Section:
    """Return the tables and figures of a study, the main table first."""
    run_table = study.run_table
    labels = [label for label in run_table.labels if any(not run.failed for run in run_table.runs_of(label))]
    found = _compare_rows(study, predictions)
    ablation = _make_ablation_tables(study, found, "worth", [study.reference_method])
    controls = _make_ablation_tables(study, found, "controls", study.control_arms)
    components, all_scores = _make_components_tables(study), _make_score_tables(study)
    main = [*all_scores, *ablation] if study.table_kind in WITHOUT_PARTS else [*ablation, *components, *all_scores]
    tables = [*main, *controls, *_make_significance_tables(study, found)]
    for dataset in run_table.dataset_titles:
        name = f"{study.name}_cost_{slugify(dataset)}"
        tables.append(costs.make_costs_table(run_table, predictions, dataset, name))
    tables = [replace(table, context=run_table.tuning_note) for table in tables]
    rank_figures, omission = make_rank_figure(study)
    text = [study.question, _describe_counts(run_table), run_table.tuning_note, *([omission] if omission else [])]
    figures = [*make_figures(study, found, predictions), *rank_figures] if labels else []
    return Section(study.name, study.name.capitalize(), tuple(text), tuple(tables), tuple(figures))


def compose_searches(searches: Sequence[SearchSummary], titles: dict[str, str]) -> Section | None:
    """Return the appendix on searches; None without any."""
    if not searches:
        return None
    tables = (costs.make_search_spaces_table(searches, titles, "search_spaces"),)
    figures = _make_search_figures(searches, titles)
    text = (
        "A search uses only train and val. Its best values are run again, and each of these runs scores test once.",
    )
    return Section("searches", "Searches", text, tables, figures)


def _make_search_figures(searches: Sequence[SearchSummary], titles: dict[str, str]) -> tuple[ReportFigure, ...]:
    """Return a figure of the searches of each metric, of those that stored their trials."""
    found: list[ReportFigure] = []
    for metric in dict.fromkeys(search.metric for search in searches if search.trials):
        part = [search for search in searches if search.metric == metric]
        caption = (
            f"Best val {metric.title} so far of each search, against configurations tried and hours of training and "
            "scoring; dots are trials, crosses trials without a score."
        )
        legend = (*costs.make_searches_legend(part), costs.SEARCH_LEGEND)
        name = f"searches{f'_{len(found) + 1}' if found else ''}"
        found.append(make_plot(name, "Searches", caption, collect_search_curves(part, titles), legend))
    return tuple(found)


def compose_legend(sections: Iterable[Section]) -> tuple[LegendEntry, ...]:
    """Return the legend of a report: the entries that its tables and figures use, each once, in reading order."""
    parts: list[Table | ReportFigure] = []
    for section in sections:
        parts += [*section.tables, *section.figures]
    return tuple(dict.fromkeys(entry for part in parts for entry in part.legend))


def _make_components_tables(study: StudyResults) -> list[Table]:
    """Return a table of the parts of an ablation for each data set, each followed by published numbers."""
    run_table, found = study.run_table, list[Table]()
    if study.table_kind in WITHOUT_PARTS:
        return found
    for dataset in run_table.dataset_titles:
        name = f"{study.name}_{study.table_kind}_{slugify(dataset)}"
        table = scores.make_components_table(run_table, study.table_kind, name, study.name.capitalize(), dataset)
        found += [table, *_make_published_tables(study, run_table.for_dataset(dataset), table)]
    return found


def _make_score_tables(study: StudyResults) -> list[Table]:
    """Return the tables of all scores, each followed by published numbers, and that of means over data sets."""
    run_table, found = study.run_table, list[Table]()
    for place, names in enumerate(_split_datasets(run_table)):
        part = run_table.with_datasets(names)
        name = f"{study.name}_scores{f'_{place + 1}' if place else ''}"
        table = scores.make_scores_table(part, name, f"{study.name.capitalize()}: all scores")
        found += [table, *(_make_published_tables(study, part, table) if study.table_kind == "scores" else [])]
    title = f"{study.name.capitalize()}: mean over all data sets"
    overall = scores.make_overall_table(run_table, f"{study.name}_overall", title)
    return [*found, *([overall] if overall is not None else [])]


def _split_datasets(run_table: RunTable) -> list[list[str]]:
    """Return the data sets of each table of scores, in order: as many as fit on a page."""
    parts: list[list[str]] = []
    for dataset in run_table.dataset_titles:
        together = [*parts[-1], dataset] if parts else [dataset]
        width = sum(len(run_table.tasks[name].shown) for name in together)
        if parts and len(together) <= DATASETS_PER_TABLE and width <= SCORES_PER_TABLE:
            parts[-1] = together
        else:
            parts.append([dataset])
    return parts


def _make_published_tables(study: StudyResults, run_table: RunTable, ours: Table) -> list[Table]:
    """Return a table of published numbers next to ours for each paper that prints such a table."""
    found: list[Table] = []
    for paper in map(load_published_paper, study.papers):
        name = f"{ours.name}_published{f'_{len(found) + 1}' if found else ''}"
        table = published.make_published_comparison(run_table, ours, study.table_kind, name, paper)
        found += [table] if table is not None else []
    return found


def _compare_rows(study: StudyResults, predictions: PredictionCache) -> dict[str, list[Comparison]]:
    """Return reference -> the comparisons with it.

    For `optimism` all comparisons are under "clean": each best-on-test row with the clean runs of its arm.
    """
    run_table = study.run_table
    if study.table_kind == "optimism":
        flagged = dict.fromkeys(run.label for run in run_table.runs if run.record.spec.protocol != "clean")
        pairs = [(label, clean) for label in flagged if (clean := _find_clean_label(run_table, label)) is not None]
        return {"clean": compare_family(run_table, pairs, predictions)}
    controls = [label for arm in study.control_arms for label in study.get_labels(arm)]
    caches = dict.fromkeys(controls) | dict.fromkeys(study.get_labels(study.reference_method), predictions)
    return {label: compare_with_reference(run_table, label, cache) for label, cache in caches.items()}


def _find_clean_label(run_table: RunTable, label: str) -> str | None:
    """Return the label of the clean runs that differ from those of a flagged row by the protocol alone."""
    flagged = next(run for run in run_table.runs if run.label == label)
    wanted = (flagged.arm, flagged.tuning, flagged.hand_set, flagged.record.preset)
    clean = (run for run in run_table.runs if run.record.spec.protocol == "clean")
    matching = (run.label for run in clean if (run.arm, run.tuning, run.hand_set, run.record.preset) == wanted)
    return next(matching, None)


def _describe_counts(run_table: RunTable) -> str:
    methods = f"{len(run_table.labels)} {'method' if len(run_table.labels) == 1 else 'methods'}"
    count = len({run.record.key for run in run_table.runs})
    runs = f"{count} {'run' if count == 1 else 'runs'}"
    return f"{methods}, {runs}: {', '.join(run_table.dataset_titles.values())}."


def _make_ablation_tables(
    study: StudyResults, found: dict[str, list[Comparison]], kind: str, references: Sequence[str]
) -> list[Table]:
    """Return a table of differences for each data set that has a reference and something to compare with it."""
    run_table, full = study.run_table, study.reference_method
    rows, labels = {(run.arm, run.tuning) for run in run_table.runs}, run_table.labels
    if study.table_kind == "optimism" or not study.get_labels(full) or len(labels) < 2:
        return []
    if len(rows) < len(labels):  # rows share an arm and a tuning: only the tests distinguish them
        return []
    arms = {run.arm for run in run_table.runs}
    if kind == "controls":
        references, title = [arm for arm in references if arm in arms - {full}], "Gain over the controls"
    else:
        title = "Contribution of each part"
    compared = differences.index_comparisons([item for comparisons in found.values() for item in comparisons])
    tables = []
    for dataset in run_table.dataset_titles:
        present = {run.arm for run in run_table.for_dataset(dataset).runs}
        if len(present) > 1 and present & set(references):
            name, make = f"{study.name}_{kind}_{slugify(dataset)}", differences.make_ablation_table
            tables.append(make(run_table, compared, full, references, dataset, name, title))
    return tables


def _make_significance_tables(study: StudyResults, found: dict[str, list[Comparison]]) -> list[Table]:
    """Return the tests against the full method, or for `optimism` against the clean runs of the same arm."""
    labels = study.get_labels(study.reference_method)
    titles = {"clean": CLEAN_RUNS_TITLE} if study.table_kind == "optimism" else {label: label for label in labels}
    tables = []
    for index, (reference, title) in enumerate(titles.items()):
        if found.get(reference):
            name = f"{study.name}_tests{f'_{index + 1}' if index else ''}"
            tables.append(differences.make_significance_table(study.run_table, found[reference], title, name))
    return tables


def compose_clips(studies: Sequence[StudyResults]) -> Section | None:
    """Return the clip figures of the first finished run of a full method that drew some; None without any."""
    candidates = (
        (run, study.figures)
        for study in studies
        for run in study.run_table.runs
        if run.arm == study.reference_method and not run.failed
    )
    for run, method_figures in candidates:
        drawn = {name: figure for name, figure in all_pictures(method_figures).items() if name in run.record.files}
        if drawn and _has_readable_explanations(run):
            source = f"{run.label} on {run.info.title}, seed {run.record.spec.seed} (run {run.record.key})"
            figures = tuple(_make_clip_figure(name, figure, run) for name, figure in drawn.items())
            return Section("clips", "Clips", (f"{source}; validation clips.",), (), figures)
    return None


def _has_readable_explanations(run: Run) -> bool:
    try:
        return read_explanations(run.folder) is not None
    except StoreError:
        return False


def _make_clip_figure(name: str, figure: ClipFigure, run: Run) -> ReportFigure:
    caption, draw = f"{figure.caption} Run {run.record.key}.", partial(_draw_clip_figure, name, figure, run)
    return ReportFigure(f"clips_{name.removesuffix('.png')}", figure.title, caption, draw, ())


@matplotlib.rc_context(PLAIN_TEXT)
def _draw_clip_figure(name: str, figure: ClipFigure, run: Run) -> Figure:
    """Draw a figure of a run from its stored explanations. Raises StoreError: they hold nothing that can be drawn."""
    explanations = read_explanations(run.folder)
    try:
        drawn = figure.draw(explanations) if explanations is not None else None
    except (IndexError, KeyError, TypeError, ValueError) as error:  # arrays of inconsistent shapes
        raise StoreError(f"{name} of run {run.record.key} cannot be drawn ({type(error).__name__}: {error})") from None
    if drawn is None:
        raise StoreError(
            f"{name} of run {run.record.key}: the stored explanations lack its data; run `python bench.py sync`"
        )
    return drawn
