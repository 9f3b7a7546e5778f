"""Tests that the document includes every table and figure of its report once."""

from __future__ import annotations

import re
import shutil
import subprocess
from dataclasses import replace

import pytest
from matplotlib.figure import Figure

from bench.files import atomic_write
from bench.mlflow import MlflowStore
from reports.formats.latex import escape_latex, render_latex
from reports.paper import compile_paper, render_details, render_document, render_macros
from reports.types import Cell, Column, Report, ReportFigure, Row, Section, Table
from reports.write import list_figures, list_tables
from studies.build_report import build_report
from studies.select import ReportQuery
from studies.studies import STUDIES
from tests.reports.formats.grids import NASTY
from tests.reports.made import make_run, make_search


@pytest.fixture(scope="module")
def report(tmp_path_factory):
    results = tmp_path_factory.mktemp("results")
    search = make_search(results, "mart")
    for arm in ("mbt", "mart-mask-random", "mart"):
        for seed in range(2):
            fields = {"set": search["winner"]["params"], "request": {"winner": search}} if arm != "mbt" else {}
            make_run(results, arm, seed=seed, clips=60, notes={"a": 1.0}, **fields)
    make_run(results, "mart-no-masking", clips=60, error="it cost 100 % & {failed}")
    return build_report(
        results, "paper", STUDIES["paper"], ReportQuery(), MlflowStore(results), "http://127.0.0.1:5000"
    ).report


def test_every_table_and_figure_is_included_once_and_no_other(report):
    text = render_document(report)
    tables = re.findall(r"\\input\{tables/([^}]*)\}", text)
    figures = re.findall(r"\\shown\{figures/([^}]*)\.pdf\}", text)
    assert sorted(tables) == sorted(grid.name for grid in list_tables(report)) and len(tables) > 10
    assert sorted(figures) == sorted(picture.name for picture in list_figures(report)) and len(figures) > 5
    assert len(set(tables)) == len(tables) and len(set(figures)) == len(figures)


def test_macros_come_first_and_details_last_and_every_section_has_its_heading(report):
    text = render_document(report)
    assert text.index(r"\input{macros}") < text.index(r"\begin{document}") < text.index(r"\input{details}")
    assert text.rstrip().endswith(r"\end{document}") and text.count(r"\input{details}") == 1
    headings = re.findall(r"\\section\*\{([^}]*)\}", text)
    last = ["How to read this report", "Implementation details"]
    assert headings == [report.title, *(section.title for section in report.sections), *last]


def test_figures_have_unique_labels(report):
    labels = re.findall(r"\\label\{fig:([^}]*)\}", render_document(report))
    assert len(set(labels)) == len(labels) == len(list_figures(report))


HOSTILE = (
    r"\input{/etc/passwd}",
    r"\write18{date}",
    "^^5cinput{x}",
    "%",
    "a\nb",
    r"\end{document}",
    "}{",
    r"\VAR{report}",
    "[x]",
)


def everywhere(text: str) -> Report:
    """Return a report in which every text is `text`."""
    picture = ReportFigure("f", text, text, Figure, ())
    grid = Table("t", text, text, (Column("m", text),), (Row("r", (Cell(text, footnotes=(text,)),)),), (text,), (text,))
    section = Section("s", text, (text, text), (grid,), (picture,))
    return Report("name", text, text, (section,), (), False, (text,))


@pytest.mark.parametrize("text", [*HOSTILE, *NASTY])
def test_any_text_in_the_document_is_escaped_and_changes_nothing_else(text):
    assert render_document(everywhere(text)) == render_document(everywhere("usual")).replace(
        "usual", escape_latex(text)
    )
    assert render_details([text, text]) == render_details(["usual", "usual"]).replace("usual", escape_latex(text))


@pytest.mark.parametrize("text", [*HOSTILE, *NASTY])
def test_any_warning_before_the_macros_stays_a_comment(text):
    lines = render_macros((), [text]).splitlines()
    assert len(lines) == len(render_macros((), ["usual"]).splitlines())
    assert all(line.startswith("%") and line.isprintable() for line in lines)


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("pdflatex") is None, reason="pdflatex is not installed")
def test_a_document_of_hostile_texts_prints_them_and_does_nothing_else(tmp_path):
    text = " ".join((*HOSTILE, *(sign.replace("\ud800", "") for sign in NASTY)))
    report = everywhere(text)
    report = replace(report, sections=(replace(report.sections[0], figures=()),))
    files = {"paper.tex": render_document(report), "macros.tex": render_macros((), [text])}
    files |= {"details.tex": render_details([text]), "tables/t.tex": render_latex(report.sections[0].tables[0])}
    for name, content in files.items():
        atomic_write(tmp_path / name, content.encode())
    compile_paper(tmp_path, "pdflatex")
    assert {path.name for path in tmp_path.iterdir()} == {
        "paper.tex",
        "paper.pdf",
        "macros.tex",
        "details.tex",
        "tables",
    }
    if shutil.which("pdftotext"):
        shown = subprocess.run(
            ["pdftotext", tmp_path / "paper.pdf", "-"], capture_output=True, check=True
        ).stdout.decode()
        for part in (r"\input{/etc/passwd}", r"\write18{date}", "^^5cinput{x}", r"\end{document}", "[U+4E2D]"):
            assert part in shown.replace("\n", " ")
