"""A data set checked without decoding, or prepared clip by clip."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from rich.console import Console

from bench.files import atomic_write
from bench.types import DataIssue, DatasetSummary
from datasets.index import DatasetSource
from datasets.prepare import PrepareSpec
from datasets.summary import locate_dataset, read_thumbnails, summarise_dataset
from datasets.transcripts import transcribe_clips
from methods import METHODS
from methods.mart.lexicon import survey_cues
from reports.dataset import explain_unfitness, find_weaknesses, make_counts_table, render_issues, write_issues
from reports.dataset_page import ISSUES_FILE, make_dataset_page
from studies.cli.options import EXIT_DONE, EXIT_MISTAKE, Interrupted, check_destinations
from studies.cli.progress import TerminalReporter, print_line
from studies.requests import choose_fold, find_source, split_names

PREPARED_METHOD = "mart"  # whose presets say at which size clips are prepared


def check_dataset(dataset: str, data: Path | None, fold: int | None) -> int:
    """Say what a data set lists and holds, and whether it is fit to run; no clip is decoded. The exit code."""
    source, console = find_source(dataset, data), Console()
    facts = locate_dataset(source, data, choose_fold(source.info, fold)).summarise_listing()
    console.print(make_counts_table(facts))
    console.print(render_issues(facts, None))
    if not _print_verdict(console, facts):
        return EXIT_MISTAKE
    print_line(console, "fit to run; `python bench.py prepare` with the same words decodes every clip", "green")
    return EXIT_DONE


def prepare_dataset(
    dataset: str, data: Path | None, fold: int | None, preset: str, transcribe: Path | None, results: Path
) -> int:
    """Decode every clip into the store of each preset, tell what is wrong, and write the page and the list of problems.

    Sources are looked at anew: a clip that changed is prepared again. With the folder of a recogniser's model, clips
    without a transcript are given one first. The exit code.
    """
    source, console = find_source(dataset, data), Console()
    specs = [_find_prepare_spec(name) for name in split_names(preset, "--preset")]
    check_destinations(results, None)
    chosen = choose_fold(source.info, fold)
    try:
        facts = _prepare_clips(console, source, data, chosen, specs, transcribe, results)
        place = results / "datasets" / source.info.name
        write_issues(facts.issues, place / ISSUES_FILE)
        atomic_write(place / "index.html", make_dataset_page(facts).encode())
    except KeyboardInterrupt:
        raise Interrupted("interrupted; what is prepared is kept, the same command goes on where it was") from None
    console.print(make_counts_table(facts))
    console.print(render_issues(facts, place / ISSUES_FILE))
    fit = _print_verdict(console, facts)
    print_line(console, f"page: {place / 'index.html'}")
    return EXIT_DONE if fit else EXIT_MISTAKE


def _prepare_clips(
    console: Console,
    source: DatasetSource,
    data: Path | None,
    fold: int,
    specs: Sequence[PrepareSpec],
    model: Path | None,
    results: Path,
) -> DatasetSummary:
    """Decode every clip in each form, and return what the last of them holds."""
    with TerminalReporter(console) as screen:
        found = locate_dataset(source, data, fold)
        screen.notify(f"{source.info.title}: {len(found.listing.available)} clips of {found.folder}")
        heard: list[DataIssue] = []
        if model is not None:
            clips, language = found.listing.available, source.info.language
            heard = transcribe_clips(clips, found.root, model, language, screen.report_progress)
            found = locate_dataset(source, data, fold)
        for spec in specs:
            surveyed = summarise_dataset(found, spec, results, screen.report_progress)
        return replace(
            surveyed.summary,
            issues=(*heard, *surveyed.summary.issues),
            thumbnails=read_thumbnails(surveyed, screen.report_progress),
            sections=(survey_cues(source.info, surveyed.iter_words()),),
        )


def _print_verdict(console: Console, facts: DatasetSummary) -> bool:
    """Say what forbids a run, and what makes its scores worth less; whether it can be run."""
    unfit = explain_unfitness(facts)
    for line in unfit:
        print_line(console, line, "red")
    for line in find_weaknesses(facts):
        print_line(console, line, "yellow")
    return not unfit


def _find_prepare_spec(preset: str) -> PrepareSpec:
    """The size at which a preset opens clips."""
    method = METHODS[PREPARED_METHOD]
    sampling = method.sampling(method.config.from_preset(preset), True)
    return PrepareSpec.for_size(sampling.size, sampling.mels)
