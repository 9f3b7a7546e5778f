"""The commands on data sets: list, check, prepare."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from bench.errors import ConfigError
from studies.cli.options import DEFAULT_RESULTS, Data, Fold, Interrupted, Results, check_destinations

DatasetName = Annotated[
    str, typer.Option("--dataset", help="A name of `list datasets`, a manifest.csv, or a folder of <Class>/<clip>.mp4.")
]


def list_(
    what: Annotated[str, typer.Argument(help="methods, datasets or studies; all when left out.")] = "",
    results: Results = DEFAULT_RESULTS,
) -> None:
    """What there is, with one line each; of data sets, what is on this machine.

    Example: python bench.py list datasets
    """
    from datasets.registry import DATASETS
    from studies.requests import get_arms

    if what not in ("", "methods", "datasets", "studies"):
        from bench.config import propose_name

        raise ConfigError(f"unknown list '{what}'; {propose_name(what, ['methods', 'datasets', 'studies'])}")
    console = Console()
    if what in ("", "methods"):
        rows = [(name, arm.title) for name, arm in get_arms().items()]
        console.print(_make_listing("method", rows))
    if what == "":
        rows = [(name, f"{entry.info.title}: {', '.join(entry.info.classes)}") for name, entry in DATASETS.items()]
        console.print(_make_listing("data set", rows))
    if what in ("", "studies"):
        from studies.studies import STUDIES

        told = {name: studies[0].question for name, studies in STUDIES.items() if len(studies) == 1}
        told |= {
            name: f"all of {', '.join(s.name for s in found)}" for name, found in STUDIES.items() if name not in told
        }
        console.print(_make_listing("study", list(told.items())))
    if what == "datasets":
        from reports.dataset import make_dataset_list
        from studies.cli.prepare import list_local

        console.print(make_dataset_list(list_local(results)))


def check(dataset: DatasetName, data: Data = None, fold: Fold = None) -> None:
    """Whether a data set is fit to run, in seconds: nothing is decoded.

    Example: python bench.py check --dataset clips/manifest.csv
    """
    from studies.cli.prepare import check_data
    from studies.requests import choose_fold, find_source

    source = find_source(dataset, data)
    raise typer.Exit(check_data(Console(), source, data, choose_fold(source.info, fold)))


def prepare(
    dataset: DatasetName,
    data: Data = None,
    fold: Fold = None,
    preset: Annotated[str, typer.Option(help="Whose clip size is prepared: quick, paper, or quick,paper.")] = "quick",
    transcribe: Annotated[
        Path | None, typer.Option(help="Folder of a faster-whisper model: write srt files where there are none.")
    ] = None,
    results: Results = DEFAULT_RESULTS,
) -> None:
    """Decode and check every clip into the prepared store, and write a page about the data set.

    Example: python bench.py prepare --dataset ekman6 --data DIR --preset paper
    """
    from studies.cli.prepare import find_prepare_spec, prepare_data
    from studies.requests import choose_fold, find_source, split_names

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
    raise typer.Exit(code)


def _make_listing(kind: str, rows: list[tuple[str, str]]) -> Table:
    table = Table(box=None, pad_edge=False)
    table.add_column(kind, style="bold")
    table.add_column("")
    for name, line in rows:
        table.add_row(name, line)
    return table
