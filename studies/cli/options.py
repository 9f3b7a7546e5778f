"""Options that several commands share, their checks, and the exit codes."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import typer

from bench.config import get_or_suggest
from bench.errors import ConfigError
from bench.files import atomic_write
from bench.record import EvaluationProtocol

EXIT_DONE = 0
EXIT_MISTAKE = 2  # the user's: one line says what, where, what next
EXIT_INCOMPLETE = 3  # finished, but runs failed or records wait
EXIT_INTERRUPTED = 130  # the state is kept

DEFAULT_RESULTS = Path(__file__).resolve().parents[2] / "results"
Results = Annotated[Path, typer.Option(envvar="BENCH_RESULTS", help="Folder of records, checkpoints and MLflow.")]
Tracking = Annotated[str | None, typer.Option(help="MLflow server or database; default: one inside --results.")]
Data = Annotated[Path | None, typer.Option(help="Folder of the real data (else BENCH_DATA, data/NAME, sample).")]
Fold = Annotated[int | None, typer.Option(help="Official list, or the group left out for test; default: the first.")]
Preset = Annotated[str, typer.Option(help="quick: small model, any CPU. paper: the paper's sizes.")]
Settings = Annotated[list[str] | None, typer.Option("--set", help="A config value: --set lr=0.001.")]
ProtocolName = Annotated[str, typer.Option("--protocol", help="clean, refit, or best-on-test (flagged for ever).")]
Trials = Annotated[int | None, typer.Option(min=1, help="Configurations a search tries on val before the final runs.")]
Hours = Annotated[float | None, typer.Option(min=0.001, help="End a search after so many hours of trials.")]
Target = Annotated[float | None, typer.Option(min=0.001, max=1, help="End a search at this val Acc E (a fraction).")]
Sampler = Annotated[str, typer.Option(help="tpe, random or gp.")]
Pruner = Annotated[str, typer.Option(help="auto, median, hyperband, halving, wilcoxon or none.")]
TrialSeeds = Annotated[int, typer.Option(min=1, help="Runs of a trial, each on a validation fold of its own.")]
Workers = Annotated[int, typer.Option(min=1, help="Processes that share the work; GPUs are dealt out one each.")]
Threads = Annotated[int | None, typer.Option(min=1, help="Threads of a process on the CPU; default: as the preset.")]
Devices = Annotated[int, typer.Option(min=1, help="GPUs (or CPU processes) that share each run.")]
StorageUrl = Annotated[
    str | None, typer.Option("--storage", help="Database that machines share: postgresql://...; default: in --results.")
]
Launcher = Annotated[str, typer.Option(help="processes, ray (a cluster here) or ray://HEAD:PORT.")]
Shard = Annotated[str, typer.Option(help="i/n: only this part, for machines without a shared database.")]
Retries = Annotated[int, typer.Option(min=0, help="How often a run that broke is tried again.")]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Print the plan, and run nothing.")]
JsonFile = Annotated[Path | None, typer.Option("--json", help="Write the records to a file too.")]
Weights = Annotated[bool, typer.Option(help="Keep the finished model's weights.")]
Loaders = Annotated[int, typer.Option(min=0, help="Loader processes; changes no number.")]
# threads of torch on the CPU: fixed, since they change the last bits
PRESET_THREADS = {"quick": 2, "paper": os.cpu_count() or 2}
TRACKING_SCHEMES = (
    "http",
    "https",
    "sqlite",
    "postgresql",
    "postgresql+psycopg",
    "mysql",
    "mysql+pymysql",
    "mssql",
    "databricks",
)


@dataclass(frozen=True)
class RunOptions:
    """The options that `study` and the command without a name share, as they were given."""

    preset: str
    settings: tuple[str, ...]
    data: Path | None
    trials: int | None
    hours: float | None
    target: float | None
    sampler: str
    pruner: str
    trial_seeds: int
    workers: int
    threads: int | None
    devices: int
    storage: str | None
    launcher: str
    dry_run: bool
    json_file: Path | None
    weights: bool
    loaders: int
    results: Path
    tracking_uri: str | None
    typed: str  # the command line, without passwords
    shard: str = "1/1"
    retries: int = 1


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
    if threads is not None:
        return threads
    share = (os.cpu_count() or 1) // (workers * devices) * devices
    return max(1, min(PRESET_THREADS[preset], share)) if workers > 1 else PRESET_THREADS[preset]


def parse_shard(text: str) -> tuple[int, int]:
    """`2/5` as (2, 5); raises ConfigError for what is no part of a whole."""
    number, _, of = text.partition("/")
    if not (number.isdigit() and of.isdigit() and 1 <= int(number) <= int(of)):
        raise ConfigError(f"--shard '{text}' is no part of a whole; for example --shard 2/5")
    return int(number), int(of)


def parse_protocol(name: str) -> EvaluationProtocol:
    """A protocol by its name; raises ConfigError that proposes the nearest."""
    known: dict[str, EvaluationProtocol] = {"clean": "clean", "refit": "refit", "best-on-test": "best-on-test"}
    return get_or_suggest(name, known, "protocol")
