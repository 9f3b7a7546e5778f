"""Golden files of a table as in a paper; after an intended change, `REWRITE_GOLDEN=1 pytest` rewrites them."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.reports.formats.grids import FORMS, paper

GOLDEN = Path(__file__).parent / "golden"
FILES = {
    "md": "comparison.md",
    "tex": "comparison.tex",
    "csv": "comparison.csv",
    "html": "comparison.html",
    "table": "table.html",
}


@pytest.mark.parametrize("form", FORMS)
def test_a_table_as_in_a_paper_is_written_letter_by_letter_as_before(form):
    text = FORMS[form].write(paper())
    if os.environ.get("REWRITE_GOLDEN"):
        (GOLDEN / FILES[form]).write_text(text, newline="")
    assert text == (GOLDEN / FILES[form]).read_bytes().decode()


def test_no_file_of_a_form_that_is_gone_stays_behind():
    assert {path.name for path in GOLDEN.iterdir()} == set(FILES.values())
