"""A report of made runs, composed, written with a figure or none, and checked."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

from bench.mlflow import MlflowStore
from reports.check import Finding, check_report
from reports.write import read_manifest, write_report
from studies.build_report import BuiltReport, build_report
from studies.select import ReportQuery
from studies.studies import STUDIES
from tests.reports.made import make_run

FIGURE = "ablation_results"  # the one that is drawn: each takes half a second


def results_of(folder: Path, *arms: str, seeds: int = 2) -> Path:
    """A results folder with runs of a few clips. Of arms that nothing is held against, as probe and majority, a report
    takes no time: comparisons are what takes long."""
    for arm in arms:
        for seed in range(seeds):
            make_run(folder, arm, seed=seed, clips=30, request={})
    return folder


def composed(results: Path, name: str = "comparison", figures: tuple[str, ...] = ()) -> BuiltReport:
    """The report, with these figures alone."""
    built = build_report(results, name, STUDIES[name], ReportQuery(), MlflowStore(results), "http://127.0.0.1:5000")
    sections = tuple(
        replace(section, figures=tuple(picture for picture in section.figures if picture.name in figures))
        for section in built.report.sections
    )
    return replace(built, report=replace(built.report, sections=sections))


def write(built: BuiltReport, out: Path, progress=lambda *told: None) -> None:
    """Write it."""
    asked = {"name": built.report.name, "runs": "", "preset": "", "settings": []}
    write_report(built.report, built.results, built.searches, asked, out, progress)


def check(built: BuiltReport, out: Path) -> list[Finding]:
    """Hold a written report against one that is composed anew."""
    manifest = read_manifest(out)
    assert manifest is not None and manifest.finished
    return check_report(
        built.report, built.results, built.searches, manifest, out, built.predictions, lambda stage, done, total: None
    )


def copied(folder: Path, place: Path) -> Path:
    """A copy that a test may spoil."""
    return Path(shutil.copytree(folder, place))


def told(findings: list[Finding], what: str) -> list[Finding]:
    """The findings that say this."""
    return [finding for finding in findings if what in finding.message]
