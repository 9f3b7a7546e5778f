"""Commands on finished runs: exchange them, look at them, let them predict."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from bench.errors import ConfigError, StoreError
from studies.command.exits import INCOMPLETE
from studies.command.options import RESULTS, Interrupted, Results, StorageUrl, Tracking, check_places, choose_device


def sync(
    results: Results = RESULTS,
    tracking_uri: Tracking = None,
    light: Annotated[bool, typer.Option("--light", help="Bring records alone, quickly, without their files.")] = False,
) -> None:
    """Exchange records with MLflow, both ways."""
    from bench import exchange
    from bench.logs import logs_to
    from bench.store import Store
    from studies.command.answer import say_away

    check_places(results, tracking_uri)
    store, console = Store(results, tracking_uri), Console()
    with logs_to(results / "log"):
        done = exchange.sync(store, files=not light)
    completed = f", {done.completed} completed with their files" if done.completed else ""
    console.print(f"{done.pushed} records pushed, {done.pulled} pulled{completed}", highlight=False)
    told = [f"run {key}: there are different records of this run; none was changed" for key in sorted(done.conflicts)]
    for line in [*told, *done.skipped]:
        console.print(line, style="yellow", markup=False, highlight=False, soft_wrap=True)
    if store.away:
        raise typer.Exit(say_away(console, store.away))
    if told or done.skipped:
        raise typer.Exit(INCOMPLETE)


def ui(
    results: Results = RESULTS,
    tracking_uri: Tracking = None,
    port: Annotated[int, typer.Option(min=1, max=65535, help="Port on localhost.")] = 5000,
    searches: Annotated[bool, typer.Option("--searches", help="Optuna's dashboard of the searches instead.")] = False,
    storage: StorageUrl = None,
) -> None:
    """Open MLflow's pages, or those of the searches, on localhost."""
    if searches:
        _open_dashboard(results, storage, port)
    from bench.logs import logs_to
    from bench.store import Store

    check_places(results, tracking_uri)
    store = Store(results, tracking_uri)
    with logs_to(results / "log"):
        store.open()
    if store.away:
        raise StoreError(store.away)
    page = f"http://127.0.0.1:{port}/#/experiments?workflowType=machine_learning"  # else it opens on chats and traces
    Console().print(f"MLflow at {page} (Ctrl-C ends it)", highlight=False, soft_wrap=True)
    sys.stdout.flush()
    words = ["-m", "mlflow", "ui", "--backend-store-uri", store.uri, "--host", "127.0.0.1", "--port", str(port)]
    words += ["--default-artifact-root", store.artifacts] if store.artifacts else []
    os.execv(sys.executable, [sys.executable, *words])


def _open_dashboard(results: Path, storage: str | None, port: int) -> None:
    """Become Optuna's dashboard. Raises ConfigError where it is not installed, StoreError without a search."""
    from importlib.util import find_spec

    from studies.queue.storage import storage_url

    url = storage_url(results, storage)
    if find_spec("optuna_dashboard") is None:
        raise ConfigError("--searches wants Optuna's dashboard: pip install optuna-dashboard")
    if storage is None and not (results / "optuna.db").exists():
        raise StoreError(f"no search was made under {results}; --trials makes one, --results names another place")
    Console().print(f"searches at http://127.0.0.1:{port}/dashboard (Ctrl-C ends it)", highlight=False, soft_wrap=True)
    sys.stdout.flush()
    code = "import sys; from optuna_dashboard._cli import main; sys.exit(main())"
    os.execv(sys.executable, [sys.executable, "-c", code, url, "--host", "127.0.0.1", "--port", str(port)])


def predict(
    videos: Annotated[list[Path], typer.Argument(help="Files of video, of sound or of pictures alone.")],
    key: Annotated[str | None, typer.Option("--run", help="Key of a run, or its start; default: the newest.")] = None,
    transcript: Annotated[Path | None, typer.Option(help="Subtitles (.srt) of the one video.")] = None,
    out: Annotated[Path | None, typer.Option(help="Folder of the pictures; default: predictions in --results.")] = None,
    json_file: Annotated[Path | None, typer.Option("--json", help="Write the predictions to a file too.")] = None,
    results: Results = RESULTS,
) -> None:
    """What a finished run's model says of any video.

    Example: python bench.py predict clip.mp4 other.flv
    """
    from bench.logs import logs_to
    from studies.command.model import load_model
    from studies.command.predict import check_words
    from studies.command.predicted import answer_files

    try:
        model = load_model(results, key, choose_device())
        check_words(model, transcript, videos)
        if out is not None and out.exists() and not out.is_dir():
            raise ConfigError(f"--out {out} is a file; name a folder for the pictures")
        place = out or results / "predictions"
        check_places(place, None, json_file)
        with logs_to(results / "log"):
            code = answer_files(Console(), model, videos, transcript, place, json_file)
    except KeyboardInterrupt:
        raise Interrupted("interrupted; pictures of the files that were done are kept") from None
    raise typer.Exit(code)
