"""A report of made runs, composed, written with a figure or none, and checked."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

from bench.store import Store
from reports.audit.check import Finding, check_report
from reports.audit.manifest import read_manifest
from reports.audit.write import write_report
from studies.registry import STUDIES
from studies.report.build import Built, build
from studies.report.select import Wish
from tests.reports.made import make_run

FIGURE = "ablation_results"  # the one that is drawn: each takes half a second


def results_of(folder: Path, *arms: str, seeds: int = 2) -> Path:
    """A results folder with runs of a few clips. Of arms that nothing is held against, as probe and majority, a report
    takes no time: comparisons are what takes long."""
    for arm in arms:
        for seed in range(seeds):
            make_run(folder, arm, seed=seed, clips=30, request={})
    return folder


def composed(results: Path, name: str = "comparison", figures: tuple[str, ...] = ()) -> Built:
    """The report, with these figures alone."""
    built = build(results, name, STUDIES[name], Wish(), Store(results), "http://127.0.0.1:5000")
    sections = tuple(
        replace(section, pictures=tuple(picture for picture in section.pictures if picture.name in figures))
        for section in built.report.sections
    )
    return replace(built, report=replace(built.report, sections=sections))


def write(built: Built, out: Path, progress=lambda *told: None) -> None:
    """Write it."""
    asked = {"name": built.report.name, "runs": "", "preset": "", "settings": []}
    write_report(built.report, built.parts, built.searches, asked, out, progress)


def check(built: Built, out: Path) -> list[Finding]:
    """Hold a written report against one that is composed anew."""
    manifest = read_manifest(out)
    assert manifest is not None and manifest.finished
    return check_report(
        built.report, built.parts, built.searches, manifest, out, built.shelf, lambda stage, done, total: None
    )


def copied(folder: Path, place: Path) -> Path:
    """A copy that a test may spoil."""
    return Path(shutil.copytree(folder, place))


def told(findings: list[Finding], what: str) -> list[Finding]:
    """The findings that say this."""
    return [finding for finding in findings if what in finding.what]
