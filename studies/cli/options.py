"""Options that several commands share, their checks, and the exit codes."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass, fields
from functools import wraps
from inspect import Parameter, Signature, signature
from pathlib import Path
from typing import Annotated, Any, cast, get_type_hints

import typer

from bench.config import get_or_suggest
from bench.errors import ConfigError
from bench.files import atomic_write

EXIT_DONE = 0
EXIT_MISTAKE = 2  # the user's: one line says what, where, what next
EXIT_INCOMPLETE = 3  # finished, but runs failed or records wait
EXIT_INTERRUPTED = 130  # the state is kept

DEFAULT_RESULTS = Path(__file__).resolve().parents[2] / "results"
Results = Annotated[Path, typer.Option(envvar="BENCH_RESULTS", help="Folder of records, checkpoints and MLflow.")]
Tracking = Annotated[str | None, typer.Option(help="MLflow server or database; default: one inside --results.")]
Data = Annotated[Path | None, typer.Option(help="Folder of the real data (else BENCH_DATA, data/NAME, sample).")]
Fold = Annotated[int | None, typer.Option(help="Official list, or the group left out for test; default: the first.")]
Settings = Annotated[list[str] | None, typer.Option("--set", help="A config value: --set lr=0.001.")]
StorageUrl = Annotated[
    str | None, typer.Option("--storage", help="Database that machines share: postgresql://...; default: in --results.")
]
# threads of torch on the CPU: fixed, since they change the last bits
PRESET_THREADS = {"quick": 2, "paper": os.cpu_count() or 2}
TRACKING_SCHEMES = {"http", "https", "sqlite", "postgresql", "postgresql+psycopg", "mysql", "mysql+pymysql"}
TRACKING_SCHEMES |= {"mssql", "databricks"}


@dataclass(frozen=True)
class RunOptions:
    """The options that `study` and the command without a name share, as they were given."""

    data: Data = None
    preset: Annotated[str, typer.Option(help="quick: small model, any CPU. paper: the paper's sizes.")] = "quick"
    settings: Settings = None
    trials: Annotated[
        int | None, typer.Option(min=1, help="Configurations a search tries on val before the final runs.")
    ] = None
    hours: Annotated[float | None, typer.Option(min=0.001, help="End a search after so many hours of trials.")] = None
    target: Annotated[
        float | None, typer.Option(min=0.001, max=1, help="End a search at this val Acc E (a fraction).")
    ] = None
    sampler: Annotated[str, typer.Option(help="tpe, random or gp.")] = "tpe"
    pruner: Annotated[str, typer.Option(help="auto, median, hyperband, halving, wilcoxon or none.")] = "auto"
    trial_seeds: Annotated[int, typer.Option(min=1, help="Runs of a trial, each on a validation fold of its own.")] = 1
    workers: Annotated[int, typer.Option(min=1, help="Processes that share the work; GPUs are dealt out one each.")] = 1
    threads: Annotated[
        int | None, typer.Option(min=1, help="Threads of a process on the CPU; default: as the preset.")
    ] = None
    devices: Annotated[int, typer.Option(min=1, help="GPUs (or CPU processes) that share each run.")] = 1
    storage: StorageUrl = None
    launcher: Annotated[str, typer.Option(help="processes, ray (a cluster here) or ray://HEAD:PORT.")] = "processes"
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Print the plan, and run nothing.")] = False
    json_file: Annotated[Path | None, typer.Option("--json", help="Write the records to a file too.")] = None
    weights: Annotated[bool, typer.Option(help="Keep the finished model's weights.")] = True
    loaders: Annotated[int, typer.Option(min=0, help="Loader processes; changes no number.")] = 0
    results: Results = DEFAULT_RESULTS
    tracking_uri: Tracking = None
    shard: str = "1/1"
    retries: int = 1
    typed: str = ""  # the command line, without passwords


def share_run_options(**defaults: object) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Give a command the annotated fields of RunOptions as options, which it takes as one parameter, `options`.

    `defaults` are those that differ for this command.
    """
    hints = get_type_hints(RunOptions, include_extras=True)
    shared = [
        Parameter(
            field.name,
            Parameter.KEYWORD_ONLY,
            default=defaults.get(field.name, field.default),
            annotation=hints[field.name],
        )
        for field in fields(RunOptions)
        if hasattr(hints[field.name], "__metadata__")
    ]

    def decorate(command: Callable[..., None]) -> Callable[..., None]:
        own = [one for one in signature(command, eval_str=True).parameters.values() if one.name != "options"]

        @wraps(command)
        def run(**given: Any) -> None:
            values = {one.name: given.pop(one.name) for one in shared}
            command(**given, options=RunOptions(**values))

        cast(Any, run).__signature__ = Signature([*own, *shared])  # read by typer
        return run

    return decorate


class Interrupted(Exception):
    """Ctrl-C: the message says what is kept."""


def check_destinations(results: Path, tracking_uri: str | None, json_file: Path | None = None) -> None:
    """Raise at once for what could not be written in the end."""
    if tracking_uri is not None and tracking_uri.partition("://")[0] not in TRACKING_SCHEMES:
        raise ConfigError(
            f"--tracking-uri '{tracking_uri}' is neither a server nor a database; for example http://127.0.0.1:5000"
            " or sqlite:////path/mlflow.db"
        )
    if json_file is not None and (json_file.is_dir() or not json_file.absolute().parent.is_dir()):
        raise ConfigError(f"--json {json_file} is no file that can be written: name a file in a folder that is there")
    probe = results / ".writable"
    atomic_write(probe, b"")
    probe.unlink(missing_ok=True)


def choose_device() -> str:
    """The GPU where there is one."""
    import torch

    return "cuda" if torch.cuda.is_available() else "cpu"


def choose_threads(preset: str, threads: int | None, workers: int, devices: int) -> int:
    """Threads of one process: what was asked for, or those of the preset as far as all processes find a core each."""
    most = get_or_suggest(preset, PRESET_THREADS, "preset")
    if threads is not None:
        return threads
    share = (os.cpu_count() or 1) // (workers * devices) * devices
    return max(1, min(most, share)) if workers > 1 else most
