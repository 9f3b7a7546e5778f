"""The commands on finished runs: report, sync and ui."""

from __future__ import annotations

import os
import shlex
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from rich.console import Console

from bench.config import get_or_suggest, parse_overrides
from bench.errors import ConfigError, StoreError
from bench.files import logs_to
from bench.mlflow import MlflowStore, sync
from reports.check import Finding, check_report
from reports.paper import PAPER_PDF, PAPER_SOURCE, find_latex
from reports.write import PAGE_FILE, check_folder, list_figures, list_tables, read_manifest, write_report
from studies.build_report import UNNAMED_REPORT, BuiltReport, build_report
from studies.cli.options import DEFAULT_RESULTS, EXIT_DONE, EXIT_INCOMPLETE, check_destinations
from studies.cli.progress import TerminalReporter, print_line, print_unavailable
from studies.requests import check_fields, find_arm
from studies.select import ReportQuery, RunFilter, hash_files, parse_filter
from studies.studies import STUDIES

MAX_FINDINGS_SHOWN = 20  # findings of a check
QUERY_OPTIONS = {"runs": "--runs", "preset": "--preset", "settings": "--set"}
LOCAL_MLFLOW = "http://127.0.0.1:5000"  # where `ui` opens MLflow's


def write_report_folder(
    console: Console, asked: dict[str, Any], out: Path | None, pdf: bool, results: Path, tracking: str | None
) -> None:
    """Write a report and say where it is."""
    place = _find_report_folder(results, asked, out)
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
        print_line(console, line)


def check_report_folder(
    console: Console, asked: dict[str, Any], out: Path | None, results: Path, tracking: str | None
) -> int:
    """Recompute a written report, print what does not hold, and return the exit code."""
    place = _find_report_folder(results, asked, out)
    manifest = read_manifest(place)
    if manifest is None:
        raise StoreError(f"no report in {place}; leave --check out to write one, or name its folder with --out")
    if not manifest.finished:
        raise StoreError(f"the report in {place} was interrupted while it was written; write it again")
    if asked["name"] and asked["name"] != manifest.asked["name"]:
        raise ConfigError(f"{place} holds a report of '{manifest.asked['name']}', not of '{asked['name']}'")
    for name, option in QUERY_OPTIONS.items():
        given = _hash_setting_files(asked) if name == "settings" else asked[name]
        if given and given != manifest.asked[name]:
            raise ConfigError(
                f"the report in {place} was asked for otherwise ({manifest.asked[name] or 'without'}); "
                f"--check takes what was asked then, leave {option} out"
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
        print_line(console, line, "green")
        return EXIT_DONE
    for line in built.report.omissions:
        print_line(console, line, "yellow")
    more = len(found) - MAX_FINDINGS_SHOWN
    for line in [
        *map(str, found[:MAX_FINDINGS_SHOWN]),
        *([f"... and {more} more"] if more > 0 else []),
        f"{place} does not hold: {len(found)} {'findings' if len(found) > 1 else 'finding'}",
    ]:
        print_line(console, line, "red")
    return EXIT_INCOMPLETE


def _build_report(asked: dict[str, Any], results: Path, tracking: str | None) -> BuiltReport:
    name = asked["name"]
    studies = get_or_suggest(name, STUDIES, "study") if name else ()
    query = _parse_query(asked, [arm for study in studies for arm in study.arms])
    pages = tracking if tracking is not None and tracking.startswith(("http://", "https://")) else LOCAL_MLFLOW
    return build_report(results, name or UNNAMED_REPORT, studies, query, MlflowStore(results, tracking), pages)


def _hash_setting_files(asked: dict[str, Any]) -> list[str]:
    """Values set by hand, files by their sha256: they mean the same when the report is checked elsewhere."""
    arms = [arm for study in STUDIES.get(asked["name"], ()) for arm in study.arms]
    return [f"{name}={value}" for name, value in hash_files(arms, parse_overrides(asked["settings"])).items()]


def _parse_query(asked: dict[str, Any], arms: list[str]) -> ReportQuery:
    """What the command narrows the report down to. Raises ConfigError for what is no filter, preset or setting."""
    if not asked["name"] and not asked["runs"]:
        raise ConfigError(f"a report of what? name one of {', '.join(STUDIES)}, or say --runs dataset=ekman6")
    if not asked["name"] and (asked["preset"] or asked["settings"]):
        raise ConfigError("--preset and --set choose among the runs of a study; without one say --runs preset=quick")
    preset = get_or_suggest(asked["preset"], {"quick": "quick", "paper": "paper"}, "preset") if asked["preset"] else ""
    settings = parse_overrides(asked["settings"]) if asked["settings"] else None
    check_fields([find_arm(arm) for arm in arms], settings or {})
    return ReportQuery(parse_filter(asked["runs"]) if asked["runs"] else RunFilter(), preset, settings)


def _find_report_folder(results: Path, asked: dict[str, Any], out: Path | None) -> Path:
    return out or results / "reports" / (asked["name"] or UNNAMED_REPORT)


def sync_records(console: Console, results: Path, tracking_uri: str | None, pull: bool) -> int:
    """Exchange records with MLflow and return the exit code."""
    check_destinations(results, tracking_uri)
    store = MlflowStore(results, tracking_uri)
    with logs_to(results / "log"):
        done = sync(store, push=not pull)
    completed = f", {done.completed} completed with their files" if done.completed else ""
    console.print(f"{done.pushed} records pushed, {done.pulled} pulled{completed}", highlight=False)
    told = [f"run {key}: there are different records of this run; none was changed" for key in sorted(done.conflicts)]
    for line in [*told, *done.skipped]:
        print_line(console, line, "yellow")
    if store.unavailable_reason:
        return print_unavailable(console, store.unavailable_reason)
    return EXIT_INCOMPLETE if told or done.skipped else EXIT_DONE


def open_mlflow(results: Path, tracking_uri: str | None, port: int) -> None:
    """Become MLflow's server of pages. Raises StoreError where the store cannot be reached."""
    check_destinations(results, tracking_uri)
    store = MlflowStore(results, tracking_uri)
    with logs_to(results / "log"):
        store.open()
    if store.unavailable_reason:
        raise StoreError(store.unavailable_reason)
    page = f"http://127.0.0.1:{port}/#/experiments?workflowType=machine_learning"  # else it opens on chats and traces
    print_line(Console(), f"MLflow at {page} (Ctrl-C ends it)")
    sys.stdout.flush()
    words = ["-m", "mlflow", "ui", "--backend-store-uri", store.uri, "--host", "127.0.0.1", "--port", str(port)]
    words += ["--default-artifact-root", store.artifact_location] if store.artifact_location else []
    os.execv(sys.executable, [sys.executable, *words])


def open_dashboard(results: Path, storage: str | None, port: int) -> None:
    """Become Optuna's dashboard. Raises ConfigError where it is not installed, StoreError without a search."""
    from studies.storage import make_storage_url

    url = make_storage_url(results, storage)
    if find_spec("optuna_dashboard") is None:
        raise ConfigError("--searches wants Optuna's dashboard: pip install optuna-dashboard")
    if storage is None and not (results / "optuna.db").exists():
        raise StoreError(f"no search was made under {results}; --trials makes one, --results names another place")
    print_line(Console(), f"searches at http://127.0.0.1:{port}/dashboard (Ctrl-C ends it)")
    sys.stdout.flush()
    code = "import sys; from optuna_dashboard._cli import main; sys.exit(main())"
    os.execv(sys.executable, [sys.executable, "-c", code, url, "--host", "127.0.0.1", "--port", str(port)])
