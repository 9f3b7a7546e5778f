"""Options shared by several commands, their checks, hints for mistyped ones, and the exit codes."""

from __future__ import annotations

import os
import re
import shlex
import tomllib
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from functools import wraps
from inspect import Parameter, Signature, signature
from itertools import takewhile
from pathlib import Path
from typing import Annotated, Any, cast, get_type_hints

import typer
from pydantic.fields import FieldInfo

from bench.config import get_or_suggest, parse_overrides
from bench.errors import ConfigError
from bench.files import atomic_write
from bench.method import Plugin
from studies.studies import STUDIES, find_studies

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
Plugins = Annotated[list[Path] | None, typer.Option("--plugin", help="Python file with custom methods. Repeatable.")]
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
MEDIA_SUFFIXES = {".mp4", ".avi", ".mkv", ".webm", ".flv", ".mov", ".mpg", ".mpeg", ".wav", ".mp3", ".flac", ".m4a"}
USE_GPU = "--device cuda (cuda:1 for the second GPU, --devices 2 for two)"
FLAGS = ("--fresh", "--dry-run", "--weights", "--no-weights", "--version", "--help", "--check", "--pdf", "--trials")
OPTION_SYNONYMS = {
    **dict.fromkeys(("method", "methods", "model", "models", "model-name", "arch", "algorithm", "m"), "--method NAME"),
    **dict.fromkeys(("dataset", "datasets", "data-set", "dataset-name", "d"), "--dataset NAME"),
    **dict.fromkeys(("data-dir", "data-path", "data-root", "dataroot", "datadir", "root", "root-dir"), "--data DIR"),
    **dict.fromkeys(("output", "output-dir", "out-dir", "outdir", "save-dir", "save-path", "o"), "--results DIR"),
    **dict.fromkeys(("log-dir", "logdir", "exp-dir", "work-dir", "workdir", "res-save-dir"), "--results DIR"),
    **dict.fromkeys(("gpu", "gpus", "gpu-id", "gpu-ids", "cuda", "use-gpu", "use-cuda", "num-gpus", "ngpus"), USE_GPU),
    **dict.fromkeys(("cpu", "no-cuda", "no-gpu", "use-cpu"), "--device cpu"),
    **dict.fromkeys(("num-workers", "data-workers", "n-workers"), "--loaders N"),
    **dict.fromkeys(("jobs", "n-jobs", "j", "processes", "nproc-per-node"), "--workers N"),
    **dict.fromkeys(("n-trials", "num-trials", "tune", "search", "sweep"), "--trials N"),
    **dict.fromkeys(("n-seeds", "num-seeds", "repeats", "num-runs"), "--seeds N"),
    **dict.fromkeys(("random-seed", "manual-seed", "s"), "--seed N"),
    **dict.fromkeys(("overwrite", "force", "rerun", "restart", "no-resume"), "--fresh"),
    **dict.fromkeys(("cfg", "config-file", "conf", "yaml", "c"), "--config FILE.toml"),
    **dict.fromkeys(("opts", "override", "overrides", "hparams", "hyperparams"), "--set NAME=VALUE"),
    **dict.fromkeys(("wandb", "tensorboard", "mlflow", "mlflow-uri", "logger"), "--tracking-uri URI"),
    **dict.fromkeys(("split", "folds", "cv", "fold-id"), "--fold N"),
    **dict.fromkeys(("save-model", "save-weights", "save-checkpoint"), "--weights"),
    **dict.fromkeys(("timeout", "time-limit", "max-hours"), "--hours N"),
    **dict.fromkeys(("key", "checkpoint", "ckpt", "run-id", "model-path"), "--run KEY"),
    **dict.fromkeys(("resume", "continue"), "the same command again, it resumes by itself"),
    **dict.fromkeys(("list", "list-methods", "list-models", "list-datasets"), "`python bench.py list`"),
    "study": "`python bench.py study NAME`",
}
"""Names of options in other suites, and what to write instead."""
ALTERNATIVES = {
    "--method NAME": (
        "--run KEY",
        "--runs method=NAME",
        "`python bench.py --method NAME`, studies name their own",
    ),
    "--dataset NAME": ("--datasets NAME", "--runs dataset=NAME"),
}
"""The same for commands that do not have the option itself."""
COMMAND_SYNONYMS = {
    **dict.fromkeys(("train", "run", "fit", "start", "main"), "--method NAME --dataset NAME"),
    **dict.fromkeys(("search", "tune", "optimize", "sweep", "hpo"), "--method NAME --dataset NAME --trials 20"),
    **dict.fromkeys(("infer", "inference", "demo", "classify", "apply"), "predict FILE"),
    **dict.fromkeys(("table", "tables", "plot", "figures", "results", "summary", "export"), "report STUDY"),
    **dict.fromkeys(("eval", "evaluate", "test", "score", "validate", "log", "logs"), "runs"),
    **dict.fromkeys(("status", "history", "ls", "show", "ps", "jobs"), "runs"),
    **dict.fromkeys(("methods", "models", "method", "model"), "list methods"),
    **dict.fromkeys(("datasets", "dataset", "data"), "list datasets"),
    **dict.fromkeys(("studies",), "list studies"),
    **dict.fromkeys(("fields", "config", "params", "hyperparameters"), "list fields"),
    **dict.fromkeys(("dashboard", "mlflow", "tensorboard", "board"), "ui"),
    **dict.fromkeys(("push", "pull", "upload", "publish"), "sync"),
    **dict.fromkeys(("help",), "--help"),
    **dict.fromkeys(("version",), "--version"),
}
"""Names of commands in other suites, and what to write after `python bench.py`."""
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
    plugin: Plugins = None
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Print the plan and exit; nothing is decoded.")] = False
    limit: Annotated[
        int | None,
        typer.Option(min=1, metavar="N", help="Clips of each class in each split, for a try (flagged in all tables)."),
    ] = None
    pretrain_on: Annotated[
        str,
        typer.Option(metavar="NAME", help="Data set whose training clips are pre-trained on. Default: the run's own."),
    ] = ""
    config_file: Annotated[
        Path | None, typer.Option("--config", help="TOML file of config values, e.g. lr = 0.001. --set overrides it.")
    ] = None
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
    search: Annotated[
        str, typer.Option(metavar="FIELD,...", help="Config fields to search. Default: all.", rich_help_panel=SEARCH)
    ] = ""
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
    typed: str = ""  # the command line, or the Python call, without passwords
    plugins: tuple[Plugin, ...] = ()  # the files of `plugin`, read once by `complete_options`


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


def complete_options(options: RunOptions, methods: str, datasets: str, typed: str) -> RunOptions:
    """Return the options with the plugins, the config values of --config, and the command as it was typed.

    Names, config values, files and folders are checked first: PyTorch takes seconds to import, and data minutes to
    prepare. Raises ConfigError or DataError.
    """
    from studies.requests import apply_task, check_inputs, find_arm, load_plugins, split_names

    plugins = load_plugins(options.plugin)
    settings = read_settings(options)
    check_device(options)
    arms = [find_arm(name) for name in split_names(methods, "--method")]
    named = split_names(apply_task(datasets, options.task), "--dataset")
    check_inputs(arms, named, options.preset, settings, options.data)
    check_destinations(options.results, options.tracking_uri, options.json_file)
    merged = [f"{name}={text}" for values in settings.values() for name, text in values.items()]
    return replace(options, settings=merged, typed=typed, plugins=plugins)


def complete_study_options(options: RunOptions, name: str, datasets: str, typed: str) -> RunOptions:
    """Return the options of a study as `complete_options` does. Raises also ConfigError for an unknown name."""
    studies = find_studies(name)
    arms = ",".join(arm for study in studies for arm in study.arms)
    named = datasets or ",".join(dataset for study in studies for dataset in study.datasets)
    return complete_options(options, arms, named, typed)


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


def suggest_fix(word: str, words: Sequence[str], known: Collection[str]) -> str:
    """Return what to write instead of a word of a command line that cannot be used; "" without an idea.

    `words` are those of the command line. For an option that a command does not have, `known` are those that it has;
    for a word that is neither an option's value nor a command, they are the names of the commands.
    """
    from studies.requests import find_field, get_arms, is_dataset

    if not word.startswith("-"):
        return _suggest_for_word(word, words, known, get_arms().keys(), is_dataset)
    fields = {name: info for arm in get_arms().values() for name, info in arm.method.config.model_fields.items()}
    return _suggest_for_option(word, words, known, fields, find_field)


def _suggest_for_option(
    name: str,
    words: Sequence[str],
    known: Collection[str],
    fields: Mapping[str, FieldInfo],
    find_field: Callable[[str, Collection[str]], str | None],
) -> str:
    """Suggest a config value for an option named like a field, else what has this name in other suites."""
    word, value = find_option(name, words)
    plain = word.lstrip("-").replace("_", "-").lower()
    if f"--{plain}" in known:
        return f"--{plain} {value}".rstrip()
    field = find_field(plain, fields) if "--set" in known else None
    if field is not None:
        return f"--set {field}={value or ('true' if fields[field].annotation is bool else 'VALUE')}"
    usual = OPTION_SYNONYMS.get(plain, "")
    hints = (hint for hint in (usual, *ALTERNATIVES.get(usual, ())) if hint.split(" ")[0] in known or hint[:1] != "-")
    hint = next(hints, "")
    return re.sub(r"\b(NAME|DIR|N|KEY|URI)$", lambda _: value, hint) if value else hint


def find_option(name: str, words: Sequence[str]) -> tuple[str, str]:
    """Return the option that was typed and its value; for "-lr" the parser only names the first letter."""
    for place, word in enumerate(words):
        option, equals, value = word.partition("=")
        is_short = name[:2] != "--" and option.startswith(name) and not option.startswith("--")
        if option == name or is_short:
            after = words[place + 1] if place + 1 < len(words) else ""
            return option, value if equals else "" if after.startswith("--") else after
    return name, ""


def _suggest_for_word(
    word: str,
    words: Sequence[str],
    commands: Collection[str],
    methods: Collection[str],
    is_dataset: Callable[[str], bool],
) -> str:
    """Suggest the option that a word belongs to, or the command that it means."""
    in_command = bool(words) and words[0] in commands
    place = next((at for at, found in enumerate(words) if found == word and not _is_value(words, at)), len(words))
    start = next((at for at in range(place - 1, -1, -1) if words[at].startswith("--")), place)
    option, _, value = words[start].partition("=") if start < place else ("", "", "")
    before = [*filter(None, [value]), *words[start + 1 : place]]
    after = list(takewhile(lambda text: not text.startswith("-"), words[place:]))
    names_data, names_method = is_dataset(word), word in methods
    if option == "--set" and before:
        return f"--set {before[-1]} --set {word}" if "=" in word else f"--set {before[-1].partition('=')[0]}={word}"
    fits = {"--method": names_method, "--dataset": names_data, "--datasets": names_data, "--seed": word.isdigit()}
    if before and fits.get(option, False):
        return f"{option} {','.join([*before, *after])}"
    if in_command:
        return f"--datasets {word}" if names_data and words[0] == "study" else ""
    if names_method:
        dataset = next(filter(is_dataset, after[1:]), "NAME")
        return f"--method {word}" + ("" if "--dataset" in words else f" --dataset {dataset}")
    if word in STUDIES:
        return f"`python bench.py study {word}`"
    if Path(word).suffix.lower() in MEDIA_SUFFIXES:
        return f"`python bench.py predict {shlex.quote(word)}`"
    if names_data or Path(word).is_dir():
        return f"--dataset {suggest_path(word)}" + ("" if "--method" in words else " --method NAME")
    known = COMMAND_SYNONYMS.get(word.lower(), "")
    return f"`python bench.py {known}`" if known else ""


def suggest_path(word: str) -> str:
    """Return a name of a data set, or a path such as ./clips, as it is written after --dataset."""
    return shlex.quote(f"./{word}" if Path(word).is_dir() and "/" not in word else word)


def _is_value(words: Sequence[str], place: int) -> bool:
    """Return whether the word at a place is the value of the option before it."""
    before = words[place - 1] if place else ""
    return before.startswith("--") and "=" not in before and before not in FLAGS
