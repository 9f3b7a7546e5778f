"""The commands on what is finished: report, sync and ui."""

from __future__ import annotations

import os
import shlex
import sys
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from rich.console import Console

from bench.config import get_or_suggest, parse_overrides
from bench.errors import ConfigError, StoreError
from bench.files import logs_to
from bench.mlflow import MlflowStore, sync
from reports.check import Finding, check_report
from reports.formats import plural
from reports.paper import PAPER_PDF, PAPER_SOURCE, find_latex
from reports.write import PAGE_FILE, check_folder, list_figures, list_tables, read_manifest, write_report
from studies.build_report import UNNAMED_REPORT, BuiltReport, build_report
from studies.cli.options import DEFAULT_RESULTS, EXIT_DONE, EXIT_INCOMPLETE, check_destinations
from studies.cli.progress import TerminalReporter, print_line, print_unavailable
from studies.requests import RunFilter, check_fields, find_arm, load_plugins, parse_filter
from studies.select import ReportQuery, hash_files
from studies.studies import STUDIES

MAX_FINDINGS_SHOWN = 20  # of a check
QUERY_OPTIONS = {"runs": "--runs", "preset": "--preset", "settings": "--set"}
LOCAL_MLFLOW = "http://127.0.0.1:5000"  # where `ui` opens MLflow


def write_report_folder(
    console: Console,
    query: dict[str, Any],
    out: Path | None,
    pdf: bool,
    results: Path,
    tracking: str | None,
    plugin: Sequence[Path] = (),
) -> Path:
    """Write a report, print its location, and return the file of its page."""
    load_plugins(plugin)
    place = _find_report_folder(results, query, out)
    check_folder(place)
    query = {**query, "settings": _hash_setting_files(query)}
    latex = find_latex() if pdf else None
    with TerminalReporter(console) as screen:
        built = _build_report(query, results, tracking)
        write_report(built.report, built.results, built.searches, query, place, screen.report_progress, latex)
        for warning in (*built.report.warnings, *built.report.omissions):
            screen.notify(warning)
        if pdf and latex is None:
            screen.notify(
                f"--pdf: no LaTeX is installed, so there is no {PAPER_PDF}; run pdflatex on {place / PAPER_SOURCE}"
            )
    tables, figures = len(list_tables(built.report)), len(list_figures(built.report))
    again = ["python", "bench.py", "report", *([query["name"]] if query["name"] else []), "--check"]
    again += [word for path in plugin for word in ("--plugin", str(path))]
    again += ["--out", str(out)] if out is not None else []
    again += ["--results", str(results)] if results != DEFAULT_RESULTS else []
    again += ["--tracking-uri", tracking] if tracking is not None else []
    for line in (
        f"{plural(tables, 'table')}, {plural(figures, 'figure')}, {plural(len(built.report.runs), 'run')}: "
        f"{place / PAGE_FILE}",
        f"LaTeX: {place / 'tables'}, all tables in {place / (PAPER_PDF if latex is not None else PAPER_SOURCE)}",
        f"recompute every score: {shlex.join(again)}",
    ):
        print_line(console, line)
    return place / PAGE_FILE


def check_report_folder(
    console: Console,
    query: dict[str, Any],
    out: Path | None,
    results: Path,
    tracking: str | None,
    plugin: Sequence[Path] = (),
) -> int:
    """Recompute a written report, print every difference, and return the exit code."""
    load_plugins(plugin)
    place = _find_report_folder(results, query, out)
    manifest = read_manifest(place)
    if manifest is None:
        raise StoreError(f"--check: no report in {place}; omit --check to write one, or name its folder with --out")
    if not manifest.finished:
        raise StoreError(f"--check: the report in {place} is incomplete, writing it was interrupted; write it again")
    if query["name"] and query["name"] != manifest.asked["name"]:
        raise ConfigError(
            f"--check: {place} is a report of '{manifest.asked['name']}', not of '{query['name']}'; name another --out"
        )
    for name, option in QUERY_OPTIONS.items():
        given = _hash_setting_files(query) if name == "settings" else query[name]
        if given and given != manifest.asked[name]:
            written = manifest.asked[name]
            how = (
                f"with {option} {' '.join(written) if name == 'settings' else written}"
                if written
                else f"without {option}"
            )
            raise ConfigError(f"{option}: the report in {place} was written {how}; omit {option} to check it")
    with TerminalReporter(console) as screen:
        built = _build_report(manifest.asked, results, tracking)
        if not manifest.runs.keys() & {run.record.key for run in built.report.runs}:
            raise StoreError(
                f"--results: {results} has none of the runs of the report in {place}; name its results folder"
            )
        found = check_report(
            built.report, built.results, built.searches, manifest, place, built.predictions, screen.report_progress
        )
    return _print_findings(console, found, place, built)


def _print_findings(console: Console, found: list[Finding], place: Path, built: BuiltReport) -> int:
    if not found:
        runs = plural(len(built.report.runs), "run")
        line = f"{place}: every score was recomputed from the stored predictions of {runs}"
        print_line(console, line, "green")
        return EXIT_DONE
    for line in built.report.omissions:
        print_line(console, line, "yellow")
    more = len(found) - MAX_FINDINGS_SHOWN
    for line in [
        *map(str, found[:MAX_FINDINGS_SHOWN]),
        *([f"... and {more} more"] if more > 0 else []),
        f"{place}: {plural(len(found), 'difference')}",
    ]:
        print_line(console, line, "red")
    return EXIT_INCOMPLETE


def _build_report(query: dict[str, Any], results: Path, tracking: str | None) -> BuiltReport:
    name = query["name"]
    studies = get_or_suggest(name, STUDIES, "study") if name else ()
    selection = _parse_query(query, [arm for study in studies for arm in study.arms])
    pages = tracking if tracking is not None and tracking.startswith(("http://", "https://")) else LOCAL_MLFLOW
    return build_report(results, name or UNNAMED_REPORT, studies, selection, MlflowStore(results, tracking), pages)


def _hash_setting_files(query: dict[str, Any]) -> list[str]:
    """Return the values of --set, files as their sha256, so that the report can be checked on another machine."""
    arms = [arm for study in STUDIES.get(query["name"], ()) for arm in study.arms]
    return [f"{name}={value}" for name, value in hash_files(arms, parse_overrides(query["settings"])).items()]


def _parse_query(query: dict[str, Any], arms: list[str]) -> ReportQuery:
    """Return the filters of a report. Raises ConfigError for an invalid filter, preset or setting."""
    if not query["name"] and not query["runs"]:
        raise ConfigError(f"report: no study given; name one of {', '.join(STUDIES)}, or use --runs dataset=ekman6")
    if not query["name"] and (query["preset"] or query["settings"]):
        option = "--preset" if query["preset"] else "--set"
        raise ConfigError(
            f"{option}: needs the name of a study; without one, filter with --runs, e.g. --runs preset=quick"
        )
    preset = get_or_suggest(query["preset"], {"quick": "quick", "paper": "paper"}, "preset") if query["preset"] else ""
    settings = parse_overrides(query["settings"]) if query["settings"] else None
    check_fields([find_arm(arm) for arm in arms], settings or {})
    return ReportQuery(parse_filter(query["runs"]) if query["runs"] else RunFilter(), preset, settings)


def _find_report_folder(results: Path, query: dict[str, Any], out: Path | None) -> Path:
    return out or results / "reports" / (query["name"] or UNNAMED_REPORT)


def sync_records(console: Console, results: Path, tracking_uri: str | None, pull: bool) -> int:
    """Exchange records with MLflow and return the exit code."""
    check_destinations(results, tracking_uri)
    store = MlflowStore(results, tracking_uri)
    with logs_to(results / "log"):
        done = sync(store, push=not pull)
    completed = f", {done.completed} completed with downloaded files" if done.completed else ""
    print_line(console, f"{plural(done.pushed, 'record')} pushed, {done.pulled} pulled{completed}")
    conflicts = [
        f"run {key}: several machines have different records of it; none was changed, delete the wrong ones"
        for key in done.conflicts
    ]
    for line in [*sorted(conflicts), *done.skipped]:
        print_line(console, line, "yellow")
    if store.unavailable_reason:
        return print_unavailable(console, store.unavailable_reason)
    return EXIT_INCOMPLETE if conflicts or done.skipped else EXIT_DONE


def open_mlflow(results: Path, tracking_uri: str | None, port: int) -> None:
    """Replace this process by MLflow's server. Raises StoreError if the store cannot be reached."""
    check_destinations(results, tracking_uri)
    store = MlflowStore(results, tracking_uri)
    with logs_to(results / "log"):
        store.open()
    if store.unavailable_reason:
        raise StoreError(store.unavailable_reason)
    page = f"http://127.0.0.1:{port}/#/experiments?workflowType=machine_learning"  # MLflow opens on traces by default
    print_line(Console(), f"MLflow: {page} (Ctrl-C stops it)")
    sys.stdout.flush()
    words = ["-m", "mlflow", "ui", "--backend-store-uri", store.uri, "--host", "127.0.0.1", "--port", str(port)]
    words += ["--default-artifact-root", store.artifact_location] if store.artifact_location else []
    os.execv(sys.executable, [sys.executable, *words])


def open_dashboard(results: Path, storage: str | None, port: int) -> None:
    """Replace this process by Optuna's dashboard. Raises ConfigError if it is missing, StoreError without a search."""
    from studies.storage import make_storage_url

    url = make_storage_url(results, storage)
    if find_spec("optuna_dashboard") is None:
        raise ConfigError("--searches: Optuna's dashboard is not installed; run `pip install optuna-dashboard`")
    if storage is None and not (results / "optuna.db").exists():
        raise StoreError(
            f"--searches: no search in {results}; run one with --trials, or name another folder with --results"
        )
    print_line(Console(), f"Optuna: http://127.0.0.1:{port}/dashboard (Ctrl-C stops it)")
    sys.stdout.flush()
    code = "import sys; from optuna_dashboard._cli import main; sys.exit(main())"
    os.execv(sys.executable, [sys.executable, "-c", code, url, "--host", "127.0.0.1", "--port", str(port)])
