"""The commands on finished runs: report, predict, sync, ui."""

from __future__ import annotations

import os
import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console

from bench.errors import ConfigError, StoreError
from studies.cli.options import (
    DEFAULT_RESULTS,
    EXIT_INCOMPLETE,
    Interrupted,
    Results,
    Settings,
    StorageUrl,
    Tracking,
    check_destinations,
    choose_device,
)

if TYPE_CHECKING:
    from reports.check import Finding
    from studies.build_report import BuiltReport
    from studies.select import ReportQuery


MAX_FINDINGS_SHOWN = 20  # findings of a check
QUERY_OPTIONS = {"runs": "--runs", "preset": "--preset", "settings": "--set"}
LOCAL_MLFLOW = "http://127.0.0.1:5000"  # where `ui` opens MLflow's


def report(
    name: Annotated[str, typer.Argument(help="A name of `list studies`; left out: the runs that --runs takes.")] = "",
    out: Annotated[Path | None, typer.Option(help="Folder of the report; default: reports/NAME in --results.")] = None,
    check: Annotated[bool, typer.Option("--check", help="Recompute every number of a written report.")] = False,
    pdf: Annotated[
        bool, typer.Option("--pdf", help="Print the LaTeX too, where pdflatex or tectonic is there.")
    ] = False,
    runs: Annotated[str, typer.Option(help="Only these runs: dataset=ekman6,arm=mart*,seed=0.")] = "",
    preset: Annotated[str, typer.Option(help="quick or paper; default: the one that most arms have runs with.")] = "",
    settings: Settings = None,
    results: Results = DEFAULT_RESULTS,
    tracking_uri: Tracking = None,
) -> None:
    """Tables, statistics, figures and a web page of a study, from its records alone; nothing is run.

    Example: python bench.py report ablation --out paper/ablation
    """
    asked = {"name": name, "runs": runs, "preset": preset, "settings": settings or []}
    try:
        if check:
            raise typer.Exit(_check_report(Console(), asked, out, results, tracking_uri))
        _write_report(Console(), asked, out, pdf, results, tracking_uri)
    except KeyboardInterrupt:
        raise Interrupted("interrupted; the report is not finished, the same command writes it anew") from None


def _write_report(
    console: Console, asked: dict[str, Any], out: Path | None, pdf: bool, results: Path, tracking: str | None
) -> None:
    from reports.paper import PAPER_PDF, PAPER_SOURCE, find_latex
    from reports.write import PAGE_FILE, check_folder, list_figures, list_tables, write_report
    from studies.cli.progress import TerminalReporter

    place = out or _get_default_folder(results, asked)
    check_folder(place)
    asked = {**asked, "settings": _hash_setting_files(asked)}
    latex = find_latex() if pdf else None
    with TerminalReporter(console) as screen:
        built = _build_report(asked, results, tracking)
        write_report(built.report, built.results, built.searches, asked, place, screen.report_progress, latex)
        for warning in (*built.report.warnings, *built.report.omissions):
            screen.notify(warning)
        if pdf and latex is None:
            screen.notify(
                f"no LaTeX is installed: {place / PAPER_SOURCE} is there, {PAPER_PDF} is not; pdflatex makes it"
            )
    tables, figures = len(list_tables(built.report)), len(list_figures(built.report))
    again = ["python", "bench.py", "report", *([asked["name"]] if asked["name"] else []), "--check"]
    again += ["--out", str(out)] if out is not None else []
    again += ["--results", str(results)] if results != DEFAULT_RESULTS else []
    again += ["--tracking-uri", tracking] if tracking is not None else []
    for line in (
        f"{tables} tables, {figures} figures, {len(built.report.runs)} runs: {place / PAGE_FILE}",
        f"for papers: {place / 'tables'}, all of them in {place / (PAPER_PDF if latex is not None else PAPER_SOURCE)}",
        f"to recompute every number: {shlex.join(again)}",
    ):
        console.print(line, highlight=False, soft_wrap=True, markup=False)


def _check_report(
    console: Console, asked: dict[str, Any], out: Path | None, results: Path, tracking: str | None
) -> int:
    from reports.check import check_report
    from reports.write import read_manifest
    from studies.cli.progress import TerminalReporter

    place = out or _get_default_folder(results, asked)
    manifest = read_manifest(place)
    if manifest is None:
        raise StoreError(f"no report in {place}; leave --check out to write one, or name its folder with --out")
    if not manifest.finished:
        raise StoreError(f"the report in {place} was interrupted while it was written; write it again")
    if asked["name"] and asked["name"] != manifest.asked["name"]:
        raise ConfigError(f"{place} holds a report of '{manifest.asked['name']}', not of '{asked['name']}'")
    for name in ("runs", "preset", "settings"):
        given = _hash_setting_files(asked) if name == "settings" else asked[name]
        if given and given != manifest.asked[name]:
            raise ConfigError(
                f"the report in {place} was asked for otherwise ({manifest.asked[name] or 'without'}); "
                f"--check takes what was asked then, leave {QUERY_OPTIONS[name]} out"
            )
    with TerminalReporter(console) as screen:
        built = _build_report(manifest.asked, results, tracking)
        if not manifest.runs.keys() & {run.record.key for run in built.report.runs}:
            raise StoreError(f"none of the runs of {place} is under {results}; name the --results it was made from")
        found = check_report(
            built.report, built.results, built.searches, manifest, place, built.predictions, screen.report_progress
        )
    return _print_findings(console, found, place, built)


def _print_findings(console: Console, found: list[Finding], place: Path, built: BuiltReport) -> int:
    if not found:
        runs = len(built.report.runs)
        line = f"{place}: every number follows from the stored predictions and records of its {runs} runs"
        console.print(line, style="green", markup=False, highlight=False, soft_wrap=True)
        return 0
    for line in built.report.omissions:
        console.print(line, style="yellow", markup=False, highlight=False, soft_wrap=True)
    for finding in found[:MAX_FINDINGS_SHOWN]:
        console.print(str(finding), style="red", markup=False, highlight=False, soft_wrap=True)
    if len(found) > MAX_FINDINGS_SHOWN:
        console.print(f"... and {len(found) - MAX_FINDINGS_SHOWN} more", style="red", highlight=False)
    line = f"{place} does not hold: {len(found)} {'findings' if len(found) > 1 else 'finding'}"
    console.print(line, style="red", markup=False, highlight=False, soft_wrap=True)
    return EXIT_INCOMPLETE


def _build_report(asked: dict[str, Any], results: Path, tracking: str | None) -> BuiltReport:
    from bench.config import get_or_suggest
    from bench.mlflow import MlflowStore
    from studies.build_report import UNNAMED_REPORT, build_report
    from studies.studies import STUDIES

    name = asked["name"]
    studies = get_or_suggest(name, STUDIES, "study") if name else ()
    query = _parse_query(asked, [arm for study in studies for arm in study.arms])
    return build_report(
        results, name or UNNAMED_REPORT, studies, query, MlflowStore(results, tracking), _get_mlflow_url(tracking)
    )


def _hash_setting_files(asked: dict[str, Any]) -> list[str]:
    """Values set by hand, files by their sha256: they mean the same when the report is checked elsewhere."""
    from bench.config import parse_overrides
    from studies.select import hash_files
    from studies.studies import STUDIES

    arms = [arm for study in STUDIES.get(asked["name"], ()) for arm in study.arms]
    return [f"{name}={value}" for name, value in hash_files(arms, parse_overrides(asked["settings"])).items()]


def _parse_query(asked: dict[str, Any], arms: list[str]) -> ReportQuery:
    """What the command narrows the report down to. Raises ConfigError for what is no filter, preset or setting."""
    from bench.config import get_or_suggest, parse_overrides
    from studies.requests import check_fields, find_arm
    from studies.select import ReportQuery, RunFilter, parse_filter

    if not asked["name"] and not asked["runs"]:
        from studies.studies import STUDIES

        raise ConfigError(f"a report of what? name one of {', '.join(STUDIES)}, or say --runs dataset=ekman6")
    if not asked["name"] and (asked["preset"] or asked["settings"]):
        raise ConfigError("--preset and --set choose among the runs of a study; without one say --runs preset=quick")
    preset = get_or_suggest(asked["preset"], {"quick": "quick", "paper": "paper"}, "preset") if asked["preset"] else ""
    settings = parse_overrides(asked["settings"]) if asked["settings"] else None
    check_fields([find_arm(arm) for arm in arms], settings or {})
    return ReportQuery(parse_filter(asked["runs"]) if asked["runs"] else RunFilter(), preset, settings)


def _get_default_folder(results: Path, asked: dict[str, Any]) -> Path:
    return results / "reports" / (asked["name"] or "runs")


def _get_mlflow_url(tracking: str | None) -> str:
    """Where MLflow's pages are: on a server, or where `ui` opens them."""
    return tracking if tracking is not None and tracking.startswith(("http://", "https://")) else LOCAL_MLFLOW


def sync(
    results: Results = DEFAULT_RESULTS,
    tracking_uri: Tracking = None,
    light: Annotated[bool, typer.Option("--light", help="Bring records alone, quickly, without their files.")] = False,
) -> None:
    """Exchange records with MLflow, both ways."""
    from bench import sync as exchange
    from bench.files import logs_to
    from bench.mlflow import MlflowStore
    from studies.cli.run_study import print_unavailable

    check_destinations(results, tracking_uri)
    store, console = MlflowStore(results, tracking_uri), Console()
    with logs_to(results / "log"):
        done = exchange.sync(store, files=not light)
    completed = f", {done.completed} completed with their files" if done.completed else ""
    console.print(f"{done.pushed} records pushed, {done.pulled} pulled{completed}", highlight=False)
    told = [f"run {key}: there are different records of this run; none was changed" for key in sorted(done.conflicts)]
    for line in [*told, *done.skipped]:
        console.print(line, style="yellow", markup=False, highlight=False, soft_wrap=True)
    if store.unavailable_reason:
        raise typer.Exit(print_unavailable(console, store.unavailable_reason))
    if told or done.skipped:
        raise typer.Exit(EXIT_INCOMPLETE)


def ui(
    results: Results = DEFAULT_RESULTS,
    tracking_uri: Tracking = None,
    port: Annotated[int, typer.Option(min=1, max=65535, help="Port on localhost.")] = 5000,
    searches: Annotated[bool, typer.Option("--searches", help="Optuna's dashboard of the searches instead.")] = False,
    storage: StorageUrl = None,
) -> None:
    """Open MLflow's pages, or those of the searches, on localhost."""
    if searches:
        _open_dashboard(results, storage, port)
    from bench.files import logs_to
    from bench.mlflow import MlflowStore

    check_destinations(results, tracking_uri)
    store = MlflowStore(results, tracking_uri)
    with logs_to(results / "log"):
        store.open()
    if store.unavailable_reason:
        raise StoreError(store.unavailable_reason)
    page = f"http://127.0.0.1:{port}/#/experiments?workflowType=machine_learning"  # else it opens on chats and traces
    Console().print(f"MLflow at {page} (Ctrl-C ends it)", highlight=False, soft_wrap=True)
    sys.stdout.flush()
    words = ["-m", "mlflow", "ui", "--backend-store-uri", store.uri, "--host", "127.0.0.1", "--port", str(port)]
    words += ["--default-artifact-root", store.artifact_location] if store.artifact_location else []
    os.execv(sys.executable, [sys.executable, *words])


def _open_dashboard(results: Path, storage: str | None, port: int) -> None:
    """Become Optuna's dashboard. Raises ConfigError where it is not installed, StoreError without a search."""
    from importlib.util import find_spec

    from studies.storage import make_storage_url

    url = make_storage_url(results, storage)
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
    results: Results = DEFAULT_RESULTS,
) -> None:
    """What a finished run's model says of any video.

    Example: python bench.py predict clip.mp4 other.flv
    """
    from bench.files import logs_to
    from studies.cli.predict import check_transcript, load_model, print_predictions

    try:
        model = load_model(results, key, choose_device())
        check_transcript(model, transcript, videos)
        if out is not None and out.exists() and not out.is_dir():
            raise ConfigError(f"--out {out} is a file; name a folder for the pictures")
        place = out or results / "predictions"
        check_destinations(place, None, json_file)
        with logs_to(results / "log"):
            code = print_predictions(Console(), model, videos, transcript, place, json_file)
    except KeyboardInterrupt:
        raise Interrupted("interrupted; pictures of the files that were done are kept") from None
    raise typer.Exit(code)
