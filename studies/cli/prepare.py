"""A data set checked without decoding, or prepared clip by clip, and the list of the data sets on this machine."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from rich.console import Console

from bench.config import Config
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
from studies.cli.progress import TerminalReporter
from studies.requests import choose_fold, find_source, split_names

PREPARED_METHOD = "mart"  # whose presets say at which size clips are prepared


def check_dataset(dataset: str, data: Path | None, fold: int | None) -> int:
    """Check a data set without decoding anything and return the exit code."""
    source = find_source(dataset, data)
    return check_data(Console(), source, data, choose_fold(source.info, fold))


def prepare_dataset(
    dataset: str, data: Path | None, fold: int | None, preset: str, transcribe: Path | None, results: Path
) -> int:
    """Decode a data set into the prepared store, write its page, and return the exit code."""
    source = find_source(dataset, data)
    presets = split_names(preset, "--preset")
    for name in presets:
        find_prepare_spec(name)
    check_destinations(results, None)
    try:
        code = prepare_data(
            Console(),
            source,
            data,
            choose_fold(source.info, fold),
            presets,
            results,
            transcribe,
        )
    except KeyboardInterrupt:
        raise Interrupted("interrupted; what is prepared is kept, the same command goes on where it was") from None
    return code


def check_data(console: Console, source: DatasetSource, data: Path | None, fold: int) -> int:
    """Say what a data set lists and holds, and whether it is fit to run; no clip is decoded. The exit code."""
    found = locate_dataset(source, data, fold)
    facts = found.summarise_listing()
    console.print(make_counts_table(facts))
    console.print(render_issues(facts, None))
    if not _print_verdict(console, facts):
        return EXIT_MISTAKE
    console.print(
        "fit to run; `python bench.py prepare` with the same words decodes every clip", style="green", soft_wrap=True
    )
    return EXIT_DONE


def prepare_data(
    console: Console,
    source: DatasetSource,
    data: Path | None,
    fold: int,
    presets: Sequence[str],
    results: Path,
    model: Path | None,
) -> int:
    """Decode every clip into the store of each preset, tell what is wrong, and write the page and the list of problems.

    Sources are looked at anew: a clip that changed is prepared again. With the folder of a recogniser's model, clips
    without a transcript are given one first. The exit code.
    """
    with TerminalReporter(console) as screen:
        found = locate_dataset(source, data, fold)
        screen.notify(f"{source.info.title}: {len(found.listing.available)} clips of {found.folder}")
        heard: list[DataIssue] = []
        if model is not None:
            heard = transcribe_clips(
                found.listing.available, found.root, model, source.info.language, screen.report_progress
            )
            found = locate_dataset(source, data, fold)
        for preset in presets:
            surveyed = summarise_dataset(found, find_prepare_spec(preset), results, screen.report_progress)
        facts = replace(
            surveyed.summary,
            issues=(*heard, *surveyed.summary.issues),
            thumbnails=read_thumbnails(surveyed, screen.report_progress),
            sections=(survey_cues(source.info, surveyed.iter_words()),),
        )
    place = results / "datasets" / source.info.name
    write_issues(facts.issues, place / ISSUES_FILE)
    atomic_write(place / "index.html", make_dataset_page(facts).encode())
    console.print(make_counts_table(facts))
    console.print(render_issues(facts, place / ISSUES_FILE))
    fit = _print_verdict(console, facts)
    console.print(f"page: {place / 'index.html'}", markup=False, highlight=False, soft_wrap=True)
    return EXIT_DONE if fit else EXIT_MISTAKE


def _print_verdict(console: Console, facts: DatasetSummary) -> bool:
    """Say what forbids a run, and what makes its scores worth less; whether it can be run."""
    unfit = explain_unfitness(facts)
    for line in unfit:
        console.print(line, style="red", markup=False, highlight=False, soft_wrap=True)
    for line in find_weaknesses(facts):
        console.print(line, style="yellow", markup=False, highlight=False, soft_wrap=True)
    return not unfit


def find_prepare_spec(preset: str) -> PrepareSpec:
    """The size at which a preset opens clips."""
    config: Config = METHODS[PREPARED_METHOD].config.from_preset(preset)
    sampling = METHODS[PREPARED_METHOD].sampling(config, True)
    return PrepareSpec.for_size(sampling.size, sampling.mels)
