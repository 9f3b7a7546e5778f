"""A data set checked without decoding, or prepared clip by clip, and the list of the data sets on this machine."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from rich.console import Console

from bench.config import Config
from bench.errors import BenchError
from bench.files import atomic_write
from bench.types import DataIssue, DatasetSummary
from datasets.index import DatasetSource
from datasets.paths import PROJECT_ROOT, find_data_folder
from datasets.prepare import STORE_MANIFEST, PrepareSpec, StoreRow, read_store_manifest
from datasets.registry import SOURCES
from datasets.summary import locate_dataset, read_thumbnails, summarise_dataset
from datasets.transcribe import transcribe_clips
from methods.mart.lexicon import survey_cues
from methods.registry import METHODS
from reports.dataset import (
    LocalDataset,
    explain_unfitness,
    find_weaknesses,
    make_counts_table,
    render_issues,
    write_issues,
)
from reports.dataset_page import ISSUES_FILE, make_dataset_page
from studies.cli.options import EXIT_DONE, EXIT_MISTAKE
from studies.cli.progress import TerminalReporter

PREPARED_METHOD = "mart"  # whose presets say at which size clips are prepared


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


def list_local(results: Path) -> list[LocalDataset]:
    """A row for each data set of the registry, and for each of one's own that was prepared here."""
    rows = [_describe_local(name, results / "prepared" / name) for name in SOURCES]
    own = sorted(path for path in (results / "prepared").glob("own-*") if path.is_dir())
    return [
        *rows,
        *(replace(_summarise_rows(path.name, _read_last_manifest(path)), location="prepared") for path in own),
    ]


def _describe_local(name: str, store: Path) -> LocalDataset:
    """What is listed and found, and what the store knows; of a tree that cannot be read, why."""
    source, rows = SOURCES[name], _read_last_manifest(store)
    row = _summarise_rows(name, rows)
    try:
        if find_data_folder(source.info, None) is None:
            return replace(row, location="prepared" if row.prepared else "")
        found = locate_dataset(source, None, source.info.folds[0])
    except BenchError as error:
        return replace(row, location=f"not usable: {error}")
    keys = {clip.key for clip in found.listing.available}
    here = [row for row in rows if row.key in keys]
    prepared = _summarise_rows(name, here)
    lost = sum(not row.readable for row in here)
    return replace(
        prepared,
        location=_shorten_path(found.folder),
        listed=len(found.listing.listed),
        usable=len(found.listing.available) - lost,
        issues=len(found.listing.issues) + (prepared.issues or 0),
    )


def _summarise_rows(name: str, rows: Sequence[StoreRow]) -> LocalDataset:
    """Clips, hours and problems of prepared clips."""
    if not rows:
        return LocalDataset(name, "")
    seconds = sum(row.seconds for row in rows if row.readable)
    usable = sum(row.readable for row in rows)
    return LocalDataset(name, "", len(rows), usable, seconds / 3600, sum(len(row.problems) for row in rows), usable)


def _read_last_manifest(store: Path) -> list[StoreRow]:
    """What was ever prepared in the form that was prepared last."""
    ledgers = sorted(store.glob(f"*/{STORE_MANIFEST}"), key=lambda path: path.stat().st_mtime)
    return list(read_store_manifest(ledgers[-1].parent).values()) if ledgers else []


def _shorten_path(folder: Path) -> str:
    """A folder as seen from the checkout, where it is inside."""
    return str(folder.relative_to(PROJECT_ROOT)) if folder.is_relative_to(PROJECT_ROOT) else str(folder)
