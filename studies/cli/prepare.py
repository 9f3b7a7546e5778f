"""The commands `check` (a data set without decoding, or a method) and `prepare` (decode every clip)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory

from rich.console import Console

from bench.config import parse_overrides
from bench.errors import ConfigError
from bench.files import atomic_write, logs_to
from bench.types import DataIssue, DatasetSummary
from datasets.feature_file import is_feature_file
from datasets.index import DatasetSource
from datasets.prepare import PrepareSpec
from datasets.streams.text import transcribe_clips
from datasets.summary import locate_dataset, read_thumbnails, summarise_dataset
from methods import METHODS
from methods.mart.lexicon import survey_cues
from reports.dataset import explain_unfitness, find_weaknesses, make_counts_table, render_issues, write_issues
from reports.dataset_page import ISSUES_FILE, make_dataset_page
from reports.formats import plural
from studies.cli.options import EXIT_DONE, EXIT_INCOMPLETE, EXIT_MISTAKE, Interrupted, check_destinations
from studies.cli.progress import TerminalReporter, print_line, print_table
from studies.requests import apply_task, choose_fold, find_arm, find_source, load_plugins, split_names

PREPARED_METHOD = "mart"  # its presets set the size of prepared clips


def check_dataset(dataset: str, data: Path | None, fold: int | None, task: str = "") -> int:
    """Print the counts and issues of a data set without decoding a clip; return the exit code."""
    source, console = find_source(apply_task(dataset, task), data), Console()
    summary = locate_dataset(source, data, choose_fold(source.info, fold)).summarise_listing()
    print_table(console, make_counts_table(summary))
    print_table(console, render_issues(summary, None))
    if not _print_verdict(console, summary):
        return EXIT_MISTAKE
    has_media = source.path is None or not is_feature_file(source.path)
    next_step = "; next: `python bench.py prepare` with the same options decodes every clip" if has_media else ""
    print_line(console, f"fit to run{next_step}", "green")
    return EXIT_DONE


def check_methods(methods: str, plugin: Sequence[Path], settings: Sequence[str], results: Path) -> int:
    """Run the contract suite on methods, print a line per check, and return the exit code.

    The clips for it are drawn once in the results folder; its runs are deleted.
    """
    load_plugins(plugin)
    names, console = split_names(methods, "--method"), Console()
    for name in names:
        find_arm(name)
    check_destinations(results, None)
    from studies.contract import CHECKS, make_subject, run_checks

    folder = (results / "contract").resolve()
    (folder / "prepared").mkdir(parents=True, exist_ok=True)
    faults = 0
    with logs_to(results / "log"):
        for name in names:
            with TemporaryDirectory(dir=folder) as runs:
                (Path(runs) / "prepared").symlink_to(folder / "prepared")
                try:
                    subject = make_subject(name, parse_overrides(list(settings)), folder, Path(runs))
                    print_line(console, f"{name}: {subject.method.title}", "bold")
                    found = [_print_check(console, *result) for result in run_checks(subject)]
                except KeyboardInterrupt:
                    raise Interrupted("interrupted; the same command begins again") from None
            left = f"; {len(CHECKS) - len(found)} were not run" if len(found) < len(CHECKS) else ""
            print_line(console, f"{name}: {sum(found)} of {len(CHECKS)} checks passed{left}", "bold")
            faults += found.count(False)
    return EXIT_INCOMPLETE if faults else EXIT_DONE


def _print_check(console: Console, promise: str, fault: str, remark: str) -> bool:
    """Print the result of a check of a method; return whether it passed."""
    if fault:
        print_line(console, f"failed  {promise}: {fault}", "red")
    else:
        print_line(console, f"passed  {promise}{remark and f' ({remark})'}", "green")
    return not fault


def prepare_dataset(
    dataset: str,
    data: Path | None,
    fold: int | None,
    preset: str,
    transcribe: Path | None,
    results: Path,
    task: str = "",
) -> int:
    """Decode every clip at the size of each preset, print the issues, write a page and a CSV, and return the exit code.

    Clips whose files changed are prepared again. `transcribe` is the folder of a speech recognition model, with which
    clips without a transcript are transcribed first.
    """
    source, console = find_source(apply_task(dataset, task), data), Console()
    specs = [_find_prepare_spec(name) for name in split_names(preset, "--preset")]
    check_destinations(results, None)
    selected = choose_fold(source.info, fold)
    if source.path is not None and is_feature_file(source.path):
        raise ConfigError(f"prepare: {source.path} is a feature file, which needs no preparation; run it directly")
    try:
        summary = _prepare_clips(console, source, data, selected, specs, transcribe, results)
        folder = results / "datasets" / source.info.name
        write_issues(summary.issues, folder / ISSUES_FILE)
        atomic_write(folder / "index.html", make_dataset_page(summary).encode())
    except KeyboardInterrupt:
        raise Interrupted("interrupted; prepared clips are saved, the same command resumes") from None
    print_table(console, make_counts_table(summary))
    print_table(console, render_issues(summary, folder / ISSUES_FILE))
    fit = _print_verdict(console, summary)
    print_line(console, f"page: {folder / 'index.html'}")
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
    """Decode every clip at each size, and return the summary of the last one."""
    with TerminalReporter(console) as screen:
        found = locate_dataset(source, data, fold)
        screen.notify(f"{source.info.title}: {plural(len(found.listing.available), 'clip')} in {found.folder}")
        issues: list[DataIssue] = []
        if model is not None:
            clips, language = found.listing.available, source.info.language
            issues = transcribe_clips(clips, found.root, model, language, screen.report_progress)
            found = locate_dataset(source, data, fold)
        for spec in specs:
            surveyed = summarise_dataset(found, spec, results, screen.report_progress)
        return replace(
            surveyed.summary,
            issues=(*issues, *surveyed.summary.issues),
            thumbnails=read_thumbnails(surveyed, screen.report_progress),
            sections=(survey_cues(source.info, surveyed.iter_words()),) if source.info.classes else (),
        )


def _print_verdict(console: Console, summary: DatasetSummary) -> bool:
    """Print what prevents a run and what weakens its scores; return whether the data set can be run."""
    unfit = explain_unfitness(summary)
    for line in unfit:
        print_line(console, line, "red")
    for line in find_weaknesses(summary):
        print_line(console, line, "yellow")
    return not unfit


def _find_prepare_spec(preset: str) -> PrepareSpec:
    """Return the clip size of a preset."""
    method = METHODS[PREPARED_METHOD]
    sampling = method.sampling(method.config.from_preset(preset), True)
    return PrepareSpec.for_size(sampling.video.size, sampling.audio.mels)
