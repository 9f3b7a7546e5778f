"""Every table, letter by letter: after a change that is meant, REWRITE_GOLDEN=1 pytest writes them anew."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from reports.formats.markdown import markdown
from tests.reports.tables.cases import CASES

GOLDEN = Path(__file__).parent / "golden"


@pytest.mark.parametrize("name", CASES)
def test_a_table_says_letter_by_letter_what_it_said_before(name, tmp_path):
    text = markdown(CASES[name](tmp_path))
    path = GOLDEN / f"{name}.md"
    if os.environ.get("REWRITE_GOLDEN"):
        path.write_text(text)
    assert text == path.read_text()


def test_no_golden_text_of_a_table_that_is_gone_stays_behind():
    assert {path.name for path in GOLDEN.iterdir()} == {f"{name}.md" for name in CASES}
