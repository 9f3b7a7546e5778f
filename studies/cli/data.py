"""The command `list`: methods, data sets and studies, and the data on this machine."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from rich.console import Console
from rich.text import Text

from bench.config import propose_name
from bench.errors import BenchError, ConfigError
from datasets.paths import PROJECT_ROOT, find_data_folder
from datasets.prepare import STORE_MANIFEST, StoreRow, read_store_manifest
from datasets.registry import DATASETS, SOURCES
from datasets.summary import locate_dataset
from reports.dataset import LocalDataset, make_dataset_list
from reports.formats.plain import FittedTable
from studies.cli.progress import print_table
from studies.requests import get_arms
from studies.studies import STUDIES


def print_list(what: str, results: Path) -> None:
    """Print the names of a kind, or of all kinds, with a description each. Raises ConfigError for an unknown kind."""
    if what not in ("", "methods", "datasets", "studies"):
        raise ConfigError(f"list: unknown kind '{what}'; {propose_name(what, ['methods', 'datasets', 'studies'])}")
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
    if what == "datasets":
        print_table(console, make_dataset_list(_list_local(results)))


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
