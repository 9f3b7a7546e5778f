"""The document takes every table and every figure of its report in, once."""

from __future__ import annotations

import re

import pytest

from bench.mlflow import MlflowStore
from reports.paper import make_document
from reports.write import list_figures, list_tables
from studies.build_report import build_report
from studies.select import ReportQuery
from studies.studies import STUDIES
from tests.reports.made import make_run, make_search


@pytest.fixture(scope="module")
def report(tmp_path_factory):
    results = tmp_path_factory.mktemp("results")
    search = make_search(results, "mart")
    for arm in ("mbt", "mart-mask-random", "mart"):
        for seed in range(2):
            told = {"set": search["winner"]["params"], "request": {"winner": search}} if arm != "mbt" else {}
            make_run(results, arm, seed=seed, clips=60, notes={"a": 1.0}, **told)
    make_run(results, "mart-no-masking", clips=60, error="it cost 100 % & {failed}")
    return build_report(
        results, "paper", STUDIES["paper"], ReportQuery(), MlflowStore(results), "http://127.0.0.1:5000"
    ).report


def test_every_table_and_figure_is_taken_in_once_and_no_other(report):
    text = make_document(report)
    tables = re.findall(r"\\input\{tables/([^}]*)\}", text)
    figures = re.findall(r"\\shown\{figures/([^}]*)\.pdf\}", text)
    assert sorted(tables) == sorted(grid.name for grid in list_tables(report)) and len(tables) > 10
    assert sorted(figures) == sorted(picture.name for picture in list_figures(report)) and len(figures) > 5
    assert len(set(tables)) == len(tables) and len(set(figures)) == len(figures)


def test_macros_come_first_and_details_last_and_every_section_has_its_heading(report):
    text = make_document(report)
    assert text.index(r"\input{macros}") < text.index(r"\begin{document}") < text.index(r"\input{details}")
    assert text.rstrip().endswith(r"\end{document}") and text.count(r"\input{details}") == 1
    headings = re.findall(r"\\section\*\{([^}]*)\}", text)
    assert headings == [report.title, *(section.title for section in report.sections), "Implementation details"]


def test_figures_have_labels_of_their_own(report):
    labels = re.findall(r"\\label\{fig:([^}]*)\}", make_document(report))
    assert len(set(labels)) == len(labels) == len(list_figures(report))
