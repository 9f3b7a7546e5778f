"""Options shared by several commands, their checks, and the exit codes."""

from __future__ import annotations

import os
import re
import tomllib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields
from functools import wraps
from inspect import Parameter, Signature, signature
from pathlib import Path
from typing import Annotated, Any, cast, get_type_hints

import typer

from bench.config import get_or_suggest, parse_overrides
from bench.errors import ConfigError
from bench.files import atomic_write

EXIT_DONE = 0
EXIT_MISTAKE = 2  # invalid input: one line on stderr
EXIT_INCOMPLETE = 3  # finished, but runs failed or records were not published
EXIT_INTERRUPTED = 130  # finished epochs, trials and runs are saved

SEARCH = "Hyper-parameter search"  # panels of the options in the help
MACHINE = "Machine"
OUTPUT = "Output"

DEFAULT_RESULTS = Path(__file__).resolve().parents[2] / "results"
Results = Annotated[
    Path,
    typer.Option(
        envvar="BENCH_RESULTS",
        help="Folder of records, checkpoints and MLflow data.",
        show_default="results",
        rich_help_panel=OUTPUT,
    ),
]
Tracking = Annotated[
    str | None,
    typer.Option(help="MLflow server or database. Default: a database in --results.", rich_help_panel=OUTPUT),
]
Data = Annotated[
    Path | None,
    typer.Option(help="Folder of the data set. Default: $BENCH_DATA, else data/NAME, else the built-in sample."),
]
TaskName = Annotated[
    str,
    typer.Option("--task", help="Labels to predict: classes or scores (manifest), va (affwild2).", show_default=False),
]
Fold = Annotated[
    int | None,
    typer.Option(metavar="N", help="Official split, or the group held out for testing. Default: the first."),
]
Settings = Annotated[
    list[str] | None, typer.Option("--set", metavar="NAME=VALUE", help="Config value, e.g. --set lr=0.001. Repeatable.")
]
StorageUrl = Annotated[
    str | None,
    typer.Option(
        "--storage",
        help="Database shared by machines, e.g. postgresql://HOST/NAME. Default: a file in --results.",
        rich_help_panel=MACHINE,
    ),
]
Device = Annotated[
    str,
    typer.Option(
        help="cpu, cuda or cuda:N. Default: a GPU if there is one.", show_default=False, rich_help_panel=MACHINE
    ),
]
# CPU threads of torch are fixed per preset: they change the last bits of results
PRESET_THREADS = {"quick": 2, "paper": os.cpu_count() or 2}
TRACKING_SCHEMES = {"http", "https", "sqlite", "postgresql", "postgresql+psycopg", "mysql", "mysql+pymysql"}
TRACKING_SCHEMES |= {"mssql", "databricks"}
_DEVICE_PATTERN = re.compile(r"cpu|cuda(:\d{1,4})?")


@dataclass(frozen=True)
class RunOptions:
    """The options shared by `study` and the command without a name, with the values given."""

    data: Data = None
    task: TaskName = ""
    preset: Annotated[
        str, typer.Option(help="quick: small models, runs on any CPU. paper: the sizes of the paper.")
    ] = "quick"
    settings: Settings = None
    config_file: Annotated[
        Path | None, typer.Option("--config", help="TOML file of config values, e.g. lr = 0.001. --set overrides it.")
    ] = None
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Prepare the clips, print the plan and exit.")] = False
    trials: Annotated[
        int | None,
        typer.Option(
            min=1, metavar="N", help="Configurations to try on val before the final runs.", rich_help_panel=SEARCH
        ),
    ] = None
    hours: Annotated[
        float | None,
        typer.Option(
            min=0.001,
            metavar="N",
            help="Stop a search after this many hours of trials, summed over workers.",
            rich_help_panel=SEARCH,
        ),
    ] = None
    target: Annotated[
        float | None,
        typer.Option(
            min=0.001, metavar="X", help="Stop a search at this val score, e.g. 0.6 (Acc E).", rich_help_panel=SEARCH
        ),
    ] = None
    sampler: Annotated[str, typer.Option(help="tpe, random or gp.", rich_help_panel=SEARCH)] = "tpe"
    pruner: Annotated[
        str, typer.Option(help="auto, median, hyperband, halving, wilcoxon or none.", rich_help_panel=SEARCH)
    ] = "auto"
    trial_seeds: Annotated[
        int,
        typer.Option(
            min=1, metavar="N", help="Runs per trial, each with another validation fold.", rich_help_panel=SEARCH
        ),
    ] = 1
    device: Device = ""
    workers: Annotated[
        int,
        typer.Option(min=1, metavar="N", help="Processes that share the runs, one GPU each.", rich_help_panel=MACHINE),
    ] = 1
    threads: Annotated[
        int | None,
        typer.Option(
            min=1, metavar="N", help="CPU threads per process. Default: set by the preset.", rich_help_panel=MACHINE
        ),
    ] = None
    devices: Annotated[
        int,
        typer.Option(
            min=1, metavar="N", help="GPUs (or CPU processes) per run, data-parallel.", rich_help_panel=MACHINE
        ),
    ] = 1
    loaders: Annotated[
        int,
        typer.Option(
            min=0, metavar="N", help="Data loader processes. Does not change results.", rich_help_panel=MACHINE
        ),
    ] = 0
    launcher: Annotated[
        str, typer.Option(help="processes, ray (local cluster) or ray://HEAD:PORT.", rich_help_panel=MACHINE)
    ] = "processes"
    storage: StorageUrl = None
    json_file: Annotated[
        Path | None, typer.Option("--json", help="Also write the records to this file.", rich_help_panel=OUTPUT)
    ] = None
    weights: Annotated[bool, typer.Option(help="Save the weights of each model.", rich_help_panel=OUTPUT)] = True
    results: Results = DEFAULT_RESULTS
    tracking_uri: Tracking = None
    shard: str = "1/1"
    retries: int = 1
    typed: str = ""  # the command line, without passwords


def share_run_options(**defaults: object) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Add the annotated fields of RunOptions to a command, which takes them as one parameter, `options`.

    `defaults` replaces default values for this command.
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
        own = [item for item in signature(command, eval_str=True).parameters.values() if item.name != "options"]

        @wraps(command)
        def run(**given: Any) -> None:
            values = {item.name: given.pop(item.name) for item in shared}
            command(**given, options=RunOptions(**values))

        cast(Any, run).__signature__ = Signature([*own, *shared])  # read by typer
        return run

    return decorate


class Interrupted(Exception):
    """Interruption by Ctrl-C or SIGTERM; the message states what was saved."""


def check_destinations(results: Path, tracking_uri: str | None, json_file: Path | None = None) -> None:
    """Check that all outputs can be written. Raises ConfigError for an option, StoreError for the results folder."""
    if tracking_uri is not None and tracking_uri.partition("://")[0] not in TRACKING_SCHEMES:
        raise ConfigError(
            f"--tracking-uri: not a server or database: '{tracking_uri}'; use e.g. http://127.0.0.1:5000 or "
            "sqlite:////path/mlflow.db"
        )
    check_json(json_file)
    if results.exists() and not results.is_dir():
        raise ConfigError(f"--results: '{results}' is a file; name a folder")
    probe = results / ".writable"
    atomic_write(probe, b"")
    probe.unlink(missing_ok=True)


def check_json(json_file: Path | None) -> None:
    """Raise ConfigError if the file of `--json` cannot be written."""
    if json_file is not None and (json_file.is_dir() or not json_file.absolute().parent.is_dir()):
        what = "is a folder" if json_file.is_dir() else "is in a folder that does not exist"
        raise ConfigError(f"--json: '{json_file}' {what}; name a file in an existing folder")


def choose_seeds(named: Sequence[str], count: int | None, default: int) -> tuple[int, ...]:
    """Return the seeds of a command: `count` (or `default`) from the one that is named, or the several named ones.

    Raises ConfigError for a name that is no seed, and for several together with a count.
    """
    texts = [text.strip() for names in named for text in names.split(",")]
    if invalid := [text for text in texts if not (text.isascii() and text.isdigit() and len(text) < 19)]:
        raise ConfigError(f"--seed: '{invalid[0]}' is not a whole number from 0 on; e.g. --seed 3 or --seed 3,5")
    seeds = tuple(dict.fromkeys(map(int, texts)))
    if len(seeds) < 2:
        first = seeds[0] if seeds else 0
        return tuple(range(first, first + (count or default)))
    if count is not None:
        raise ConfigError(f"--seeds {count}: counts from one --seed, {len(seeds)} are given; omit --seeds")
    return seeds


def read_config_file(path: Path) -> dict[str, str]:
    """Return field -> text, as for `--set`, of a TOML file of config values.

    Raises ConfigError for a file that cannot be read and for a value that is a table, a list or a date.
    """
    where = f"--config {path}"
    try:
        values = tomllib.loads(path.read_text(encoding="utf-8-sig"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"{where}: not a TOML file ({error}); write lines such as lr = 0.001") from None
    except OSError as error:
        reason = "no such file" if isinstance(error, FileNotFoundError) else f"cannot be read: {error.strerror}"
        raise ConfigError(f"{where}: {reason}; name a TOML file with lines such as lr = 0.001") from None
    for name, value in values.items():
        if not isinstance(value, str | int | float):
            kind = "table" if isinstance(value, dict) else type(value).__name__
            example = next(iter(value), "lr") if isinstance(value, dict) else name
            raise ConfigError(f"{where}: '{name}' is a {kind}; write one line a field, e.g. {example} = 0.001")
    return {name: str(value).lower() if isinstance(value, bool) else str(value) for name, value in values.items()}


def read_settings(options: RunOptions) -> dict[str, dict[str, str]]:
    """Return the config values of a command by where they were given; later ones override earlier ones."""
    path = options.config_file
    from_file = {f"--config {path}": read_config_file(path)} if path is not None else {}
    return {**from_file, "--set": parse_overrides(options.settings or [])}


def check_device(options: RunOptions) -> None:
    """Raise ConfigError for a device that is misspelt, or cannot be combined with `--devices` or Ray.

    Whether the machine has it is checked by `choose_device`, which imports PyTorch.
    """
    check_device_name(options.device)
    if ":" not in options.device:
        return
    if options.devices > 1:
        raise ConfigError(f"--devices {options.devices}: {options.device} is one GPU; use --device cuda")
    if options.launcher != "processes":
        raise ConfigError(f"--device {options.device}: Ray assigns GPUs by itself; use --device cuda")


def check_device_name(name: str) -> None:
    """Raise ConfigError for a name that is neither empty nor that of a device."""
    if name and not _DEVICE_PATTERN.fullmatch(name):
        raise ConfigError(f"--device: unknown device '{name}'; use cpu, cuda or a numbered GPU such as cuda:0")


def choose_device(name: str = "") -> str:
    """Return a device of this machine: the named one, by default "cuda" where a GPU is available, else "cpu".

    Raises ConfigError for a GPU that does not exist.
    """
    if name == "cpu":
        return name
    import torch

    count = torch.cuda.device_count() if torch.cuda.is_available() else 0
    if name and not count:
        raise ConfigError(f"--device {name}: PyTorch finds no GPU; see docs/troubleshooting.md#use-a-gpu-or-not")
    if ":" in name and int(name.partition(":")[2]) >= count:
        known = "only cuda:0" if count == 1 else f"cuda:0 to cuda:{count - 1}"
        raise ConfigError(f"--device {name}: no such GPU; this machine has {known}")
    return name or ("cuda" if count else "cpu")


def choose_threads(preset: str, threads: int | None, workers: int, devices: int) -> int:
    """Return the CPU threads of one process: the given number, or the preset's, reduced where workers share the cores.

    Raises ConfigError for an unknown preset.
    """
    most = get_or_suggest(preset, PRESET_THREADS, "preset")
    if threads is not None:
        return threads
    share = (os.cpu_count() or 1) // (workers * devices) * devices
    return max(1, min(most, share)) if workers > 1 else most
