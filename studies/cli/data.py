"""The command `list`: methods, their config fields, data sets and studies, and the data on this machine."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import get_args

from rich.console import Console
from rich.text import Text

from bench.config import Config, SearchRange, propose_name
from bench.errors import BenchError, ConfigError
from datasets.paths import PROJECT_ROOT, find_data_folder
from datasets.prepare import STORE_MANIFEST, StoreRow, read_store_manifest
from datasets.registry import DATASETS, SOURCES
from datasets.summary import locate_dataset
from methods import get_methods
from reports.dataset import LocalDataset, make_dataset_list
from reports.formats.plain import FittedTable
from studies.cli.progress import print_table
from studies.requests import get_arms, load_plugins
from studies.studies import STUDIES

KINDS = ("methods", "fields", "datasets", "studies")
FIELD_COLUMNS = ("field", "paper", "quick", "allowed; searched", "meaning")
BOUNDS = {"ge": "≥", "gt": ">", "le": "≤", "lt": "<"}  # attributes of a field's metadata


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
