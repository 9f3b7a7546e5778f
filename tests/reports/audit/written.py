"""Compose, write and check reports of synthetic runs."""

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

FIGURE = "ablation_results"  # only one figure is drawn: each takes half a second


def results_of(folder: Path, *arms: str, seeds: int = 2) -> Path:
    """Write a results folder with runs of a few clips.

    A report of arms without comparisons, such as probe and majority, is fast; comparisons take most of the time."""
    for arm in arms:
        for seed in range(seeds):
            make_run(folder, arm, seed=seed, clips=30, request={})
    return folder


def composed(results: Path, name: str = "comparison", figures: tuple[str, ...] = ()) -> BuiltReport:
    """Build the report with these figures only."""
    built = build_report(results, name, STUDIES[name], ReportQuery(), MlflowStore(results), "http://127.0.0.1:5000")
    sections = tuple(
        replace(section, figures=tuple(picture for picture in section.figures if picture.name in figures))
        for section in built.report.sections
    )
    return replace(built, report=replace(built.report, sections=sections))


def write(built: BuiltReport, out: Path, progress=lambda *call: None) -> None:
    """Write the report."""
    asked = {"name": built.report.name, "runs": "", "preset": "", "settings": []}
    write_report(built.report, built.results, built.searches, asked, out, progress)


def check(built: BuiltReport, out: Path) -> list[Finding]:
    """Check a written report against one that is composed again."""
    manifest = read_manifest(out)
    assert manifest is not None and manifest.finished
    return check_report(
        built.report, built.results, built.searches, manifest, out, built.predictions, lambda stage, done, total: None
    )


def copied(folder: Path, place: Path) -> Path:
    """Return a copy that a test may change."""
    return Path(shutil.copytree(folder, place))


def find_messages(findings: list[Finding], text: str) -> list[Finding]:
    """Return the findings whose message contains the text."""
    return [finding for finding in findings if text in finding.message]
