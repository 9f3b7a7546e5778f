"""Options that several commands share, and what is checked of them at once."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from bench.errors import ConfigError

RESULTS = Path(__file__).resolve().parents[2] / "results"
Results = Annotated[Path, typer.Option(envvar="BENCH_RESULTS", help="Folder of records, checkpoints and MLflow.")]
Tracking = Annotated[str | None, typer.Option(help="MLflow server or database; default: one inside --results.")]
Data = Annotated[Path | None, typer.Option(help="Folder of the real data (else BENCH_DATA, data/NAME, sample).")]
Fold = Annotated[int | None, typer.Option(help="Official list, or the group left out for test; default: the first.")]
SCHEMES = (
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


class Interrupted(Exception):
    """Ctrl-C: the message says what is kept."""


def check_places(results: Path, tracking_uri: str | None, json_file: Path | None = None) -> None:
    """Raise at once for what could not be written in the end."""
    from bench.files import write_whole

    if tracking_uri is not None and tracking_uri.partition("://")[0] not in SCHEMES:
        raise ConfigError(
            f"--tracking-uri '{tracking_uri}' is neither a server nor a database; for example http://127.0.0.1:5000"
            " or sqlite:////path/mlflow.db"
        )
    if json_file is not None and (json_file.is_dir() or not json_file.absolute().parent.is_dir()):
        raise ConfigError(f"--json {json_file} is no file that can be written: name a file in a folder that is there")
    probe = results / ".writable"
    write_whole(probe, b"")
    probe.unlink(missing_ok=True)


def choose_device() -> str:
    """The GPU where there is one."""
    import torch

    return "cuda" if torch.cuda.is_available() else "cpu"
