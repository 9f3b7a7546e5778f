"""Commands on data sets and names: what there is, whether it is fit, and making it ready."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from bench.errors import ConfigError
from studies.command.options import RESULTS, Data, Fold, Interrupted, Results, check_places

DatasetName = Annotated[
    str, typer.Option("--dataset", help="A name of `list datasets`, a manifest.csv, or a folder of <Class>/<clip>.mp4.")
]


def list_(
    what: Annotated[str, typer.Argument(help="methods, datasets or studies; all when left out.")] = "",
    results: Results = RESULTS,
) -> None:
    """What there is, with one line each; of data sets, what is on this machine.

    Example: python bench.py list datasets
    """
    from datasets.registry import DATASETS
    from studies.ask import known_arms

    if what not in ("", "methods", "datasets", "studies"):
        from bench.names import propose

        raise ConfigError(f"unknown list '{what}'; {propose(what, ['methods', 'datasets', 'studies'])}")
    console = Console()
    if what in ("", "methods"):
        rows = [(name, arm.title) for name, arm in known_arms().items()]
        console.print(_listing("method", rows))
    if what == "":
        rows = [(name, f"{entry.card.title}: {', '.join(entry.card.classes)}") for name, entry in DATASETS.items()]
        console.print(_listing("data set", rows))
    if what in ("", "studies"):
        from studies.registry import STUDIES

        told = {name: studies[0].question for name, studies in STUDIES.items() if len(studies) == 1}
        told |= {
            name: f"all of {', '.join(s.name for s in found)}" for name, found in STUDIES.items() if name not in told
        }
        console.print(_listing("study", list(told.items())))
    if what == "datasets":
        from reports.data.tables import listing
        from studies.command.present import present

        console.print(listing(present(results)))


def check(dataset: DatasetName, data: Data = None, fold: Fold = None) -> None:
    """Whether a data set is fit to run, in seconds: nothing is decoded.

    Example: python bench.py check --dataset clips/manifest.csv
    """
    from studies.ask import choose_fold, find_source
    from studies.command.preparing import check_data

    source = find_source(dataset, data)
    raise typer.Exit(check_data(Console(), source, data, choose_fold(source.card, fold)))


def prepare(
    dataset: DatasetName,
    data: Data = None,
    fold: Fold = None,
    preset: Annotated[str, typer.Option(help="Whose clip size is prepared: quick, paper, or quick,paper.")] = "quick",
    transcribe: Annotated[
        Path | None, typer.Option(help="Folder of a faster-whisper model: write srt files where there are none.")
    ] = None,
    results: Results = RESULTS,
) -> None:
    """Decode and check every clip into the prepared store, and write a page about the data set.

    Example: python bench.py prepare --dataset ekman6 --data DIR --preset paper
    """
    from studies.ask import choose_fold, find_source, split_names
    from studies.command.preparing import form_of, prepare_data

    source = find_source(dataset, data)
    presets = split_names(preset, "--preset")
    for name in presets:
        form_of(name)
    check_places(results, None)
    try:
        code = prepare_data(
            Console(),
            source,
            data,
            choose_fold(source.card, fold),
            presets,
            results,
            transcribe,
        )
    except KeyboardInterrupt:
        raise Interrupted("interrupted; what is prepared is kept, the same command goes on where it was") from None
    raise typer.Exit(code)


def _listing(kind: str, rows: list[tuple[str, str]]) -> Table:
    table = Table(box=None, pad_edge=False)
    table.add_column(kind, style="bold")
    table.add_column("")
    for name, line in rows:
        table.add_row(name, line)
    return table
