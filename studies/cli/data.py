"""The commands on names and data: `list`, `check` (data without decoding, or a method) and `prepare`."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import get_args

from rich.console import Console
from rich.text import Text

from bench.config import Config, SearchRange, parse_overrides, propose_name
from bench.errors import BenchError, ConfigError
from bench.files import atomic_write, logs_to
from bench.types import DataIssue, DatasetSummary
from datasets.feature_file import is_feature_file
from datasets.index import DatasetSource
from datasets.paths import PROJECT_ROOT, find_data_folder
from datasets.prepare import STORE_MANIFEST, PrepareSpec, StoreRow, read_store_manifest
from datasets.registry import DATASETS, SOURCES
from datasets.streams.text import transcribe_clips
from datasets.summary import locate_dataset, read_thumbnails, summarise_dataset
from methods import METHODS, get_methods
from methods.mart.lexicon import survey_cues
from reports.dataset import (
    LocalDataset,
    explain_unfitness,
    find_weaknesses,
    make_counts_table,
    make_dataset_list,
    render_issues,
    write_issues,
)
from reports.formats import plural
from reports.formats.plain import FittedTable
from studies.cli.options import EXIT_DONE, EXIT_INCOMPLETE, EXIT_MISTAKE, Interrupted, check_destinations
from studies.cli.progress import TerminalReporter, print_line, print_table
from studies.requests import apply_task, choose_fold, find_arm, find_source, get_arms, load_plugins, split_names
from studies.studies import STUDIES

KINDS = ("methods", "fields", "datasets", "studies")
FIELD_COLUMNS = ("field", "paper", "quick", "allowed; searched", "meaning")
BOUNDS = {"ge": "≥", "gt": ">", "le": "≤", "lt": "<"}  # attributes of a field's metadata
PREPARED_METHOD = "mart"  # its presets set the size of prepared clips


def print_list(what: str, results: Path, plugin: Sequence[Path]) -> None:
    """Print the names of a kind, or of all kinds, with a description each. Raises ConfigError for an unknown kind."""
    if what and what not in KINDS:
        raise ConfigError(f"list: unknown kind '{what}'; {propose_name(what, KINDS)}")
    load_plugins(plugin)
    console = Console()
    if what in ("", "methods"):
        print_table(console, _make_listing("method", {name: arm.title for name, arm in get_arms().items()}))
    if what == "":
        infos = {name: entry.info for name, entry in DATASETS.items()}
        rows = {name: f"{info.title}: {', '.join(info.classes)}" for name, info in infos.items()}
        print_table(console, _make_listing("data set", rows))
    if what in ("", "studies"):
        all_of = {name: f"all of {', '.join(study.name for study in studies)}" for name, studies in STUDIES.items()}
        questions = {name: studies[0].question for name, studies in STUDIES.items() if len(studies) == 1}
        print_table(console, _make_listing("study", all_of | questions))
    if what == "fields":
        for table in _make_field_tables():
            print_table(console, table)
            console.print()
    if what == "datasets":
        print_table(console, make_dataset_list(_list_local(results)))


def _make_field_tables() -> list[FittedTable]:
    """Return a table of config fields for each group of methods that have them with equal values and meaning."""
    methods_by_row: dict[tuple[str, ...], list[str]] = {}
    for name, method in get_methods().items():
        for row in _describe_fields(method.config):
            methods_by_row.setdefault(row, []).append(name)
    rows_by_group: dict[str, list[tuple[str, ...]]] = {}
    for row, methods in methods_by_row.items():
        rows_by_group.setdefault(", ".join(methods), []).append(row)
    tables = []
    for title, rows in rows_by_group.items():
        table = FittedTable(title=title, title_style="bold", title_justify="left", box=None, pad_edge=False)
        for head in FIELD_COLUMNS:
            table.add_column(head, style="bold" if head == "field" else "", no_wrap=head in ("field", "paper", "quick"))
        for row in rows:
            table.add_row(*map(Text, row))
        tables.append(table)
    return tables


def _describe_fields(config: type[Config]) -> Iterator[tuple[str, ...]]:
    """Yield the texts of FIELD_COLUMNS for each field of a config."""
    paper, quick = (config.from_preset(preset).model_dump() for preset in ("paper", "quick"))
    for name, info in config.model_fields.items():
        bounds = {kind: getattr(item, kind) for item in info.metadata for kind in BOUNDS if hasattr(item, kind)}
        choices = get_args(info.annotation)
        allowed = ", ".join(map(str, choices) if choices else (f"{BOUNDS[kind]} {bounds[kind]}" for kind in bounds))
        searched = [_format_range(item) for item in info.metadata if isinstance(item, SearchRange)]
        values = [_format_value(values[name]) for values in (paper, quick)]
        yield name, *values, "; ".join([allowed, *searched]), info.description or ""


def _format_range(search: SearchRange) -> str:
    if search.choices:
        return f"searched: {', '.join(map(str, search.choices))}"
    return f"searched: {search.low:g} to {search.high:g}{', log scale' if search.log else ''}"


def _format_value(value: object) -> str:
    """Return a value as `--set` takes it; "-" for an empty text."""
    return str(value).lower() if isinstance(value, bool) else str(value) or "-"


def _make_listing(kind: str, rows: Mapping[str, str]) -> FittedTable:
    table = FittedTable(box=None, pad_edge=False)
    table.add_column(kind, style="bold", no_wrap=True)
    table.add_column("")
    for name, description in rows.items():
        table.add_row(name, Text(description))
    return table


def _list_local(results: Path) -> list[LocalDataset]:
    """Return a row for each registered data set, and for each custom data set that was prepared here."""
    rows = [_describe_local(name, results / "prepared" / name) for name in SOURCES]
    custom = sorted(path for path in (results / "prepared").glob("own-*") if path.is_dir())
    return rows + [
        replace(_summarise_rows(path.name, _read_last_manifest(path)), location="prepared") for path in custom
    ]


def _describe_local(name: str, store: Path) -> LocalDataset:
    """Return the counts of a data set in its folder and in the store of prepared clips, or why it cannot be read."""
    source, rows = SOURCES[name], _read_last_manifest(store)
    row = _summarise_rows(name, rows)
    try:
        if find_data_folder(source.info, None) is None:
            return replace(row, location="prepared" if row.prepared else "")
        found = locate_dataset(source, None, source.info.folds[0])
    except BenchError as error:
        return replace(row, location=f"not usable: {error}")
    keys = {clip.key for clip in found.listing.available}
    current = [row for row in rows if row.key in keys]
    prepared, folder = _summarise_rows(name, current), found.folder
    return replace(
        prepared,
        location=str(folder.relative_to(PROJECT_ROOT) if folder.is_relative_to(PROJECT_ROOT) else folder),
        listed=len(found.listing.listed),
        usable=len(found.listing.available) - sum(not row.readable for row in current),
        issues=len(found.listing.issues) + (prepared.issues or 0),
    )


def _summarise_rows(name: str, rows: Sequence[StoreRow]) -> LocalDataset:
    """Return the clips, hours and issues of prepared clips."""
    if not rows:
        return LocalDataset(name, "")
    seconds = sum(row.seconds for row in rows if row.readable)
    usable = sum(row.readable for row in rows)
    return LocalDataset(name, "", len(rows), usable, seconds / 3600, sum(len(row.problems) for row in rows), usable)


def _read_last_manifest(store: Path) -> list[StoreRow]:
    """Return all rows of the manifest that was written last, whatever its clip size."""
    manifests = sorted(store.glob(f"*/{STORE_MANIFEST}"), key=lambda path: path.stat().st_mtime)
    return list(read_store_manifest(manifests[-1].parent).values()) if manifests else []


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
    from reports.dataset_page import ISSUES_FILE, make_dataset_page  # imports Matplotlib, which `list` does not need

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
