"""Reports on the command line: tables, figures and a page from records alone, and whether they still hold."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console

from bench.errors import ConfigError, StoreError
from studies.command.exits import INCOMPLETE
from studies.command.options import RESULTS, Interrupted, Results, Settings, Tracking

if TYPE_CHECKING:
    from reports.audit.check import Finding
    from studies.report.build import Built
    from studies.report.select import Wish

SHOWN = 20  # findings of a check
OPTIONS = {"runs": "--runs", "preset": "--preset", "settings": "--set"}
PAGES = "http://127.0.0.1:5000"  # where `ui` opens MLflow's


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
    results: Results = RESULTS,
    tracking_uri: Tracking = None,
) -> None:
    """Tables, statistics, figures and a web page of a study, from its records alone; nothing is run.

    Example: python bench.py report ablation --out paper/ablation
    """
    asked = {"name": name, "runs": runs, "preset": preset, "settings": settings or []}
    try:
        if check:
            raise typer.Exit(_check(Console(), asked, out, results, tracking_uri))
        _write(Console(), asked, out, pdf, results, tracking_uri)
    except KeyboardInterrupt:
        raise Interrupted("interrupted; the report is not finished, the same command writes it anew") from None


def _write(
    console: Console, asked: dict[str, Any], out: Path | None, pdf: bool, results: Path, tracking: str | None
) -> None:
    from reports.audit.texts import grids_of, pictures_of
    from reports.audit.write import PAGE, check_folder, write_report
    from reports.paper.printed import PRINTED, SOURCE, find_latex
    from studies.command.screen import Terminal

    place = out or _place(results, asked)
    check_folder(place)
    asked = {**asked, "settings": _by_content(asked)}
    latex = find_latex() if pdf else None
    with Terminal(console) as screen:
        built = _build(asked, results, tracking)
        write_report(built.report, built.parts, built.searches, asked, place, screen.progress, latex)
        for warning in (*built.report.warnings, *built.report.left_out):
            screen.notice(warning)
        if pdf and latex is None:
            screen.notice(f"no LaTeX is installed: {place / SOURCE} is there, {PRINTED} is not; pdflatex makes it")
    tables, figures = len(grids_of(built.report)), len(pictures_of(built.report))
    again = ["python", "bench.py", "report", *([asked["name"]] if asked["name"] else []), "--check"]
    again += ["--out", str(out)] if out is not None else []
    again += ["--results", str(results)] if results != RESULTS else []
    again += ["--tracking-uri", tracking] if tracking is not None else []
    for line in (
        f"{tables} tables, {figures} figures, {len(built.report.runs)} runs: {place / PAGE}",
        f"for papers: {place / 'tables'}, all of them in {place / (PRINTED if latex is not None else SOURCE)}",
        f"to recompute every number: {shlex.join(again)}",
    ):
        console.print(line, highlight=False, soft_wrap=True, markup=False)


def _check(console: Console, asked: dict[str, Any], out: Path | None, results: Path, tracking: str | None) -> int:
    from reports.audit.check import check_report
    from reports.audit.manifest import read_manifest
    from studies.command.screen import Terminal

    place = out or _place(results, asked)
    manifest = read_manifest(place)
    if manifest is None:
        raise StoreError(f"no report in {place}; leave --check out to write one, or name its folder with --out")
    if not manifest.finished:
        raise StoreError(f"the report in {place} was interrupted while it was written; write it again")
    if asked["name"] and asked["name"] != manifest.asked["name"]:
        raise ConfigError(f"{place} holds a report of '{manifest.asked['name']}', not of '{asked['name']}'")
    for name in ("runs", "preset", "settings"):
        given = _by_content(asked) if name == "settings" else asked[name]
        if given and given != manifest.asked[name]:
            raise ConfigError(
                f"the report in {place} was asked for otherwise ({manifest.asked[name] or 'without'}); "
                f"--check takes what was asked then, leave {OPTIONS[name]} out"
            )
    with Terminal(console) as screen:
        built = _build(manifest.asked, results, tracking)
        if not manifest.runs.keys() & {run.record.key for run in built.report.runs}:
            raise StoreError(f"none of the runs of {place} is under {results}; name the --results it was made from")
        found = check_report(built.report, built.parts, built.searches, manifest, place, built.shelf, screen.progress)
    return _say(console, found, place, built)


def _say(console: Console, found: list[Finding], place: Path, built: Built) -> int:
    if not found:
        runs = len(built.report.runs)
        line = f"{place}: every number follows from the stored predictions and records of its {runs} runs"
        console.print(line, style="green", markup=False, highlight=False, soft_wrap=True)
        return 0
    for line in built.report.left_out:
        console.print(line, style="yellow", markup=False, highlight=False, soft_wrap=True)
    for finding in found[:SHOWN]:
        console.print(str(finding), style="red", markup=False, highlight=False, soft_wrap=True)
    if len(found) > SHOWN:
        console.print(f"... and {len(found) - SHOWN} more", style="red", highlight=False)
    line = f"{place} does not hold: {len(found)} {'findings' if len(found) > 1 else 'finding'}"
    console.print(line, style="red", markup=False, highlight=False, soft_wrap=True)
    return INCOMPLETE


def _build(asked: dict[str, Any], results: Path, tracking: str | None) -> Built:
    from bench.names import look_up
    from bench.store import Store
    from studies.registry import STUDIES
    from studies.report.build import OTHERS, build

    name = asked["name"]
    studies = look_up(name, STUDIES, "study") if name else ()
    wish = _wish(asked, [arm for study in studies for arm in study.arms])
    return build(results, name or OTHERS, studies, wish, Store(results, tracking), _pages(tracking))


def _by_content(asked: dict[str, Any]) -> list[str]:
    """Values set by hand, files by their sha256: they mean the same when the report is checked elsewhere."""
    from bench.config import parse_overrides
    from studies.registry import STUDIES
    from studies.report.select import by_content

    arms = [arm for study in STUDIES.get(asked["name"], ()) for arm in study.arms]
    return [f"{name}={value}" for name, value in by_content(arms, parse_overrides(asked["settings"])).items()]


def _wish(asked: dict[str, Any], arms: list[str]) -> Wish:
    """What the command narrows the report down to. Raises ConfigError for what is no filter, preset or setting."""
    from bench.config import parse_overrides
    from bench.names import look_up
    from studies.ask import check_fields, find_arm
    from studies.report.filters import Filter, parse_filter
    from studies.report.select import Wish

    if not asked["name"] and not asked["runs"]:
        from studies.registry import STUDIES

        raise ConfigError(f"a report of what? name one of {', '.join(STUDIES)}, or say --runs dataset=ekman6")
    if not asked["name"] and (asked["preset"] or asked["settings"]):
        raise ConfigError("--preset and --set choose among the runs of a study; without one say --runs preset=quick")
    preset = look_up(asked["preset"], {"quick": "quick", "paper": "paper"}, "preset") if asked["preset"] else ""
    settings = parse_overrides(asked["settings"]) if asked["settings"] else None
    check_fields([find_arm(arm) for arm in arms], settings or {})
    return Wish(parse_filter(asked["runs"]) if asked["runs"] else Filter(), preset, settings)


def _place(results: Path, asked: dict[str, Any]) -> Path:
    return results / "reports" / (asked["name"] or "runs")


def _pages(tracking: str | None) -> str:
    """Where MLflow's pages are: on a server, or where `ui` opens them."""
    return tracking if tracking is not None and tracking.startswith(("http://", "https://")) else PAGES
