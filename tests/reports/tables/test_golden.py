"""Golden numbers, marks, footnotes and runs of every table; the wording of a table may change.

After an intended change, `REWRITE_GOLDEN=1 pytest` rewrites them. formats/test_golden.py covers the text of a table.
"""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.reports.tables.cases import CASES
from tests.reports.tables.outline import outline

GOLDEN = Path(__file__).parent / "golden"


@pytest.mark.parametrize("name", CASES)
def test_a_table_has_the_numbers_marks_footnotes_and_runs_that_it_had_before(name, tmp_path):
    grid = CASES[name](tmp_path)
    assert grid.title and grid.caption and all(column.title for column in grid.columns if column.numeric)
    path = GOLDEN / f"{name}.tsv"
    if os.environ.get("REWRITE_GOLDEN"):
        path.write_text(outline(grid))
    assert outline(grid) == path.read_text()


def test_no_golden_numbers_of_a_table_that_is_gone_stay_behind():
    assert {path.name for path in GOLDEN.iterdir()} == {f"{name}.tsv" for name in CASES}
